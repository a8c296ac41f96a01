use super::*;

#[derive(Args, Debug)]
struct Config {
    #[command(flatten)]
    grpc: GrpcArgs,
    #[command(flatten)]
    auth: AuthArgs,
    #[command(flatten)]
    seal: SealArgs,
    /// Areas served.
    #[arg(env = "AREAS", value_delimiter = ',')]
    areas: Vec<String>,
    /// Whether votes are open.
    #[arg(env = "VOTES_OPEN")]
    votes_open: bool,
}

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const GOOD: &[(&str, &str)] = &[
    ("ISSUER_URL", "http://127.0.0.1:4610"),
    ("SEAL_KEY", "0123456789abcdef0123456789abcdef"),
];

fn with(more: &[(&str, &str)]) -> Result<Whole<Config>, ConfigErrors> {
    parse("catalog", &variables(&[GOOD, more].concat()))
}

#[test]
fn the_command_line_is_well_formed() {
    debug_assert::<Config>();
}

#[test]
fn variables_and_defaults_make_a_configuration() {
    let Whole { common, config } = with(&[
        ("LISTEN_GRPC", "127.0.0.1:0"),
        ("SHUTDOWN_GRACE", "1500ms"),
        ("AREAS", "north,south"),
        ("VOTES_OPEN", "true"),
        ("LOG_LEVEL", ""),
    ])
    .unwrap();
    assert_eq!(config.grpc.listen_grpc.port(), 0);
    assert_eq!(common.shutdown_grace, Duration::from_millis(1500));
    assert_eq!(common.log_level, "info");
    assert_eq!(common.environment, Environment::Production);
    assert_eq!(
        config.auth.jwks_url(),
        "http://127.0.0.1:4610/.well-known/jwks.json"
    );
    assert_eq!(
        config.seal.seal_key.expose(),
        "0123456789abcdef0123456789abcdef"
    );
    assert!(config.seal.seal_key_previous.is_none());
    assert_eq!(config.areas, ["north", "south"]);
    assert!(config.votes_open);
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
}

#[test]
fn five_mistakes_are_all_named() {
    let given = variables(&[
        ("LISTEN_GRPC", "nowhere"),
        ("SHUTDOWN_GRACE", "10 seconds"),
        ("LOG_FORMAT", "xml"),
        ("SEAL_KEY", "verysecret"),
        ("SEAL_KEY_FILE", "/run/seal"),
    ]);
    let errors = parse::<Whole<Config>>("catalog", &given).unwrap_err();
    let named: Vec<_> = errors
        .mistakes
        .iter()
        .map(|m| m.variable.as_str())
        .collect();
    assert_eq!(
        named,
        [
            "SHUTDOWN_GRACE",
            "LOG_FORMAT",
            "LISTEN_GRPC",
            "ISSUER_URL",
            "SEAL_KEY"
        ]
    );

    let text = errors.to_string();
    assert!(text.contains("catalog: 5 mistakes"), "{text}");
    assert!(text.contains("ISSUER_URL: missing"), "{text}");
    assert!(text.contains("one of json, human"), "{text}");
    assert!(
        text.contains("SEAL_KEY: given twice, also as SEAL_KEY_FILE"),
        "{text}"
    );
    assert!(
        text.contains("\"nowhere\" is not right: invalid socket address"),
        "{text}"
    );
    assert!(!text.contains("verysecret"), "{text}");
    assert_eq!(text.lines().count(), 7);
}

#[test]
fn a_secret_comes_from_a_file() {
    let path = std::env::temp_dir().join(format!("seal-{}", uuid::Uuid::now_v7()));
    std::fs::write(&path, "from the file\n").unwrap();
    let file = path.to_string_lossy().into_owned();
    let given = variables(&[("ISSUER_URL", "http://a"), ("SEAL_KEY_FILE", &file)]);
    let Whole { config, .. }: Whole<Config> = parse("catalog", &given).unwrap();
    assert_eq!(config.seal.seal_key.expose(), "from the file");
    std::fs::remove_file(&path).unwrap();

    let errors = parse::<Whole<Config>>("catalog", &given)
        .unwrap_err()
        .to_string();
    assert!(
        errors.contains("SEAL_KEY: cannot read the file"),
        "{errors}"
    );
}

#[test]
fn a_flag_goes_before_its_variable_and_is_judged_with_the_rest() {
    let command = Whole::<Config>::augment_args(Command::new("catalog"));
    let line = flags(&command)
        .try_get_matches_from(["catalog", "--listen-grpc=127.0.0.1:7", "--calls-max", "0"])
        .unwrap();
    let given = variables(&[GOOD, &[("LISTEN_GRPC", "127.0.0.1:8"), ("CALLS_MAX", "9")]].concat());
    let errors =
        from_values::<Whole<Config>>("catalog", &command, &given, Some(&line)).unwrap_err();
    assert_eq!(errors.mistakes.len(), 1, "{errors}");
    assert!(
        errors
            .to_string()
            .contains("CALLS_MAX: \"0\" is not right: it is zero"),
        "{errors}"
    );

    let line = flags(&command)
        .try_get_matches_from(["catalog", "--listen-grpc=127.0.0.1:7", "--votes-open"])
        .unwrap();
    let Whole { config, .. } =
        from_values::<Whole<Config>>("catalog", &command, &given, Some(&line)).unwrap();
    assert_eq!(config.grpc.listen_grpc.port(), 7);
    assert_eq!(config.grpc.calls_max, 9);
    assert!(config.votes_open);
}

#[test]
fn a_secret_has_no_flag_and_help_is_the_reference() {
    let command = Whole::<Config>::augment_args(Command::new("catalog"));
    assert!(
        flags(&command)
            .try_get_matches_from(["catalog", "--seal-key=x"])
            .is_err()
    );
    assert!(
        flags(&command)
            .try_get_matches_from(["catalog", "x"])
            .is_err()
    );

    let help = flags(&command).render_help().to_string();
    assert!(help.contains("--listen-grpc <LISTEN_GRPC>"), "{help}");
    assert!(help.contains("[env: LISTEN_GRPC]"), "{help}");
    assert!(help.contains("[default: 127.0.0.1:8081]"), "{help}");
    assert!(help.contains("Address of the gRPC server"), "{help}");
    assert!(help.contains("[env: ISSUER_URL] [required]"), "{help}");
    assert!(
        help.contains("SEAL_KEY, or SEAL_KEY_FILE [required]"),
        "{help}"
    );
    assert!(!help.contains("--seal-key"), "{help}");
}
