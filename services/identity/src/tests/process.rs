use super::*;
use crate::{GrantArgs, grant, migrate};

#[test]
fn the_command_line_is_well_formed() {
    platform::config::debug_assert::<Config>();
}

#[tokio::test]
async fn the_stored_queries_match_the_schema() {
    let db = platform_testkit::db(MIGRATORS).await;
    platform_testkit::queries::assert_match(&db, env!("CARGO_MANIFEST_DIR")).await;
}

#[tokio::test]
async fn the_first_operator_is_made_by_command() {
    let world = World::start().await;
    let (person, _) = world.somebody(UserKind::Mover).await;
    let grant = async |email: &str| {
        let config = platform::config::parse("identity", &world.vars).unwrap();
        let args = GrantArgs {
            email: email.to_owned(),
            role: "operator".to_owned(),
        };
        grant(config, args).await
    };
    grant(&person.email.to_uppercase()).await.unwrap();
    assert_eq!(world.versions(person.id()).await, (3, 1));
    grant(&person.email).await.unwrap();
    assert_eq!(world.versions(person.id()).await, (3, 1), "nothing new");
    assert_eq!(
        world.login(&person).await.claims().roles,
        ["user-mover", "operator"]
    );

    let unknown = grant(&email()).await.unwrap_err();
    assert_eq!(unknown.to_string(), "no account has this e-mail address");
    assert!(grant("nobody").await.is_err());
}

#[tokio::test]
async fn it_serves_with_a_role_that_owns_nothing() {
    let db = platform_testkit::db_with_roles(&[]).await;
    let mut vars = settings();
    vars.extend(db.vars());
    vars.insert("SEAL_KEY".to_owned(), platform_testkit::secret());
    vars.insert("ISSUER_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    migrate(platform::config::parse("identity", &vars).unwrap())
        .await
        .unwrap();
    let running = replica(&vars).await;
    let endpoint = Channel::from_shared(format!("http://{}", running.grpc.unwrap())).unwrap();
    let mut client = IdentityServiceClient::new(endpoint.connect_lazy());
    let request = registration(UserKind::Business);
    client.register(request.clone()).await.unwrap();
    let login = LoginRequest {
        email: request.email,
        password: request.password,
        organisation_id: String::new(),
    };
    client.login(login).await.unwrap();
}

#[tokio::test]
async fn a_login_under_way_is_answered_before_the_process_ends() {
    let mut world = World::start_with(&[
        ("PASSWORD_MEMORY_KIB", "65536"),
        ("PASSWORD_PASSES", "4"),
        ("PASSWORD_THREADS", "1"),
    ])
    .await;
    let person = world.register(UserKind::Mover).await;
    let mut client = world.client_of(0);
    // A call before, so that the connection stands.
    client.login(LoginRequest::default()).await.unwrap_err();
    let login = tokio::spawn(async move { client.login(person.login()).await });
    platform_testkit::until("the login to be under way", async || {
        let (_, _, metrics) = super::keys::get(world.replicas[0].admin, "/metrics").await;
        in_flight(&metrics).then_some(())
    })
    .await;
    world.replicas.remove(0).stop().await.unwrap();
    login.await.unwrap().unwrap();
}

/// Whether a call is being worked on, as the metrics tell it.
fn in_flight(metrics: &str) -> bool {
    metrics
        .lines()
        .any(|line| line.starts_with("rpc_server_calls_in_flight") && line.ends_with(" 1"))
}

#[tokio::test]
async fn five_mistakes_in_the_configuration_are_all_named() {
    let vars = [
        ("LISTEN_GRPC", "nowhere"),
        ("ACCESS_TOKEN_TTL", "11m"),
        ("KAFKA_BROKERS", "k"),
        ("PASSWORD_THREADS", "0"),
        ("PASSWORD_QUEUE_MAX", "-1"),
        ("SEAL_KEY", "k"),
        ("DATABASE_URL", "postgres://db"),
        ("SERVICE_SECRETS", "s"),
    ];
    let vars = vars
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let errors = platform::config::parse::<Config>("identity", &vars).unwrap_err();
    let mut named: Vec<_> = errors
        .mistakes
        .iter()
        .map(|m| m.variable.as_str())
        .collect();
    named.sort_unstable();
    let expected = [
        "ACCESS_TOKEN_TTL",
        "ISSUER_URL",
        "LISTEN_GRPC",
        "PASSWORD_QUEUE_MAX",
        "PASSWORD_THREADS",
    ];
    assert_eq!(named, expected);
}
