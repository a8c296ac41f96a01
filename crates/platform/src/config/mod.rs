//! Configuration: environment variables through clap, all mistakes named at once.
//!
//! A service writes one struct, its `Config`, with the shared groups flattened:
//!
//! ```
//! #[derive(clap::Args)]
//! struct Config {
//!     #[command(flatten)]
//!     grpc: platform::config::GrpcArgs,
//!     /// Votes that one user may have.
//!     #[arg(env = "VOTES_PER_USER_MAX", default_value_t = 1000)]
//!     votes_per_user_max: u32,
//! }
//! ```
//!
//! Each option has a variable and a flag made from the field's name; a [`Secret`] has no flag, but
//! can come from a file. An empty variable counts as one that is not set.

mod groups;
mod secret;
mod values;

use std::{
    any::TypeId,
    collections::BTreeMap,
    error::Error as _,
    ffi::{OsStr, OsString},
    fmt,
    net::SocketAddr,
    time::Duration,
};

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, builder::ValueParser,
    parser::ValueSource,
};
use url::Url;

pub use groups::{AuthArgs, CommonArgs, Environment, GrpcArgs, HttpArgs, LogFormat, SealArgs};
use secret::Given;
pub use secret::Secret;
use values::log_filter;
pub use values::{at_least_one, duration, http_url};

/// Variables by name; a map, so that tests need no process environment.
pub type Variables = BTreeMap<String, String>;

/// The variables of this process; one that is not UTF-8 counts as not set.
pub fn process_variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads a configuration from variables alone.
pub fn parse<C: Args>(name: &'static str, variables: &Variables) -> Result<C, ConfigErrors> {
    let command = C::augment_args(Command::new(name));
    from_values::<C>(name, &command, variables, None)
}

/// Panics unless the configuration is well formed; for a test in each service.
pub fn debug_assert<C: Args>() {
    let command = Whole::<C>::augment_args(Command::new("config"));
    for arg in options(&command) {
        assert!(
            arg.get_env().is_some(),
            "the option {} has no variable",
            arg.get_id()
        );
    }
    flags(&command).debug_assert();
    injected(&command).debug_assert();
}

/// What every service is told, and what this one is.
#[derive(Args, Debug)]
pub(crate) struct Whole<C: Args> {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) config: C,
}

/// All mistakes of a configuration.
#[derive(Debug)]
pub struct ConfigErrors {
    name: &'static str,
    /// In the order of the options.
    pub mistakes: Vec<Mistake>,
}

/// One mistake of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable, as in `LISTEN_GRPC`.
    pub variable: String,
    /// What is wrong with it; never the value of a secret.
    pub problem: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; expected {}",
            self.variable, self.problem, self.expected
        )
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let s = if count == 1 { "" } else { "s" };
        write!(f, "{}: {count} mistake{s} in the configuration", self.name)?;
        for mistake in &self.mistakes {
            write!(f, "\n  {mistake}")?;
        }
        write!(f, "\n`{} --help` describes every option", self.name)
    }
}

impl std::error::Error for ConfigErrors {}

/// The options of a configuration, without clap's own.
pub(crate) fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments()
}

pub(crate) fn is_secret(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<Secret>()
}

pub(crate) fn variable(arg: &Arg) -> String {
    match arg.get_env() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => arg.get_id().as_str().to_ascii_uppercase(),
    }
}

/// An option without a flag in the derive would be a positional argument.
fn flag(arg: &Arg) -> String {
    match arg.get_long() {
        Some(long) => long.to_owned(),
        None => arg.get_id().as_str().replace('_', "-"),
    }
}

/// The command line that a user sees: no secrets, nothing required, values not yet looked at, so
/// that flags and variables are judged together.
pub(crate) fn flags(command: &Command) -> Command {
    let mut secrets = String::new();
    let mut line = Command::new(command.get_name().to_owned());
    for arg in options(command) {
        let name = variable(arg);
        let required = if is_required(arg) { " [required]" } else { "" };
        let note = |help: &dyn fmt::Display| format!("{help} [env: {name}]{required}");
        if is_secret(arg) {
            let help = help(arg);
            secrets += &format!("\n  {name}, or {name}_FILE{required}\n          {help}\n");
            continue;
        }
        let mut arg = arg
            .clone()
            .long(flag(arg))
            .required(false)
            .env(None::<&str>);
        if arg.get_possible_values().is_empty() && takes_value(&arg) {
            arg = arg.value_parser(ValueParser::os_string());
        } else if takes_value(&arg) {
            let values = arg.get_possible_values();
            let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
            let text = format!("{}: {}", help(&arg), names.join(", "));
            arg = arg.help(text).value_parser(ValueParser::os_string());
        }
        if let Some(long) = arg.get_long_help().map(|help| note(help)) {
            arg = arg.long_help(long);
        }
        let short = note(&help(&arg));
        line = line.arg(arg.help(short));
    }
    if secrets.is_empty() {
        line
    } else {
        line.after_help(format!("Secrets, by variable or file only:\n{secrets}"))
    }
}

/// The command that makes the configuration, from values that were found before.
fn injected(command: &Command) -> Command {
    let long = |arg: Arg| {
        let name = flag(&arg);
        arg.long(name).env(None::<&str>)
    };
    command
        .clone()
        .mut_args(long)
        .no_binary_name(true)
        .disable_help_flag(true)
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

pub(crate) fn is_required(arg: &Arg) -> bool {
    arg.is_required_set() && arg.get_default_values().is_empty()
}

/// The first paragraph of an option's doc comment.
pub(crate) fn help(arg: &Arg) -> String {
    arg.get_help()
        .map(|help| help.to_string())
        .unwrap_or_default()
}

/// Reads a configuration from the flags of a command line and, where there is none, variables.
pub(crate) fn from_values<C: FromArgMatches>(
    name: &'static str,
    command: &Command,
    variables: &Variables,
    line: Option<&ArgMatches>,
) -> Result<C, ConfigErrors> {
    let whole = injected(command);
    // For looking at one option at a time.
    let lenient = whole.clone().mut_args(|arg| arg.required(false));
    let mut mistakes = Vec::new();
    let mut all = Vec::new();

    for arg in options(command) {
        let mut mistake = |problem| {
            mistakes.push(Mistake {
                variable: variable(arg),
                problem,
                expected: expected(arg),
            });
        };
        match given(arg, variables, line) {
            Err(problem) => mistake(problem),
            Ok(values) if values.is_empty() && is_required(arg) => mistake("missing".to_owned()),
            Ok(values) => match lenient.clone().try_get_matches_from(&values) {
                Ok(_) => all.extend(values),
                Err(error) => mistake(problem(arg, &values, &error)),
            },
        }
    }
    if !mistakes.is_empty() {
        return Err(ConfigErrors { name, mistakes });
    }
    whole
        .try_get_matches_from(&all)
        .and_then(|matches| C::from_arg_matches(&matches))
        .map_err(|error| {
            let problem = error.to_string();
            let expected = "options that fit each other".to_owned();
            let mistakes = vec![Mistake {
                variable: "together".to_owned(),
                problem,
                expected,
            }];
            ConfigErrors { name, mistakes }
        })
}

/// What was given for one option, as arguments for [`injected`].
fn given(
    arg: &Arg,
    variables: &Variables,
    line: Option<&ArgMatches>,
) -> Result<Vec<OsString>, String> {
    let flag = format!("--{}", flag(arg));
    let with = |value: &OsStr| {
        let mut text = OsString::from(format!("{flag}="));
        text.push(value);
        text
    };
    let name = variable(arg);
    let get = |name: &str| variables.get(name).filter(|value| !value.is_empty());

    if is_secret(arg) {
        let file = format!("{name}_FILE");
        return Ok(match (get(&name), get(&file)) {
            (Some(_), Some(_)) => return Err(format!("given twice, also as {file}")),
            (Some(value), None) => vec![with(Given::Value(value).to_string().as_ref())],
            (None, Some(path)) => vec![with(Given::File(path).to_string().as_ref())],
            (None, None) => Vec::new(),
        });
    }
    let id = arg.get_id().as_str();
    if let Some(line) = line.filter(|l| l.value_source(id) == Some(ValueSource::CommandLine)) {
        let values = line.get_raw(id).unwrap_or_default();
        return Ok(if takes_value(arg) {
            values.map(with).collect()
        } else {
            vec![flag.into()]
        });
    }
    match get(&name).map(String::as_str) {
        None => Ok(Vec::new()),
        Some(value) if takes_value(arg) => Ok(vec![with(value.as_ref())]),
        // A switch: its flag has no value, its variable says yes or no.
        Some("true") => Ok(vec![flag.into()]),
        Some("false") => Ok(Vec::new()),
        Some(value) => Err(format!("{value:?} is neither true nor false")),
    }
}

fn problem(arg: &Arg, values: &[OsString], error: &clap::Error) -> String {
    let cause = match error.source() {
        Some(source) => source.to_string(),
        None => "not one of the possible values".to_owned(),
    };
    if is_secret(arg) {
        return cause;
    }
    let value = values
        .first()
        .map(|value| value.to_string_lossy())
        .unwrap_or_default();
    let value: String = value
        .split_once('=')
        .map_or("", |(_, value)| value)
        .chars()
        .take(100)
        .collect();
    format!("{value:?} is not right: {cause}")
}

fn expected(arg: &Arg) -> String {
    let parser = arg.get_value_parser().type_id();
    let is = |types: &[TypeId]| types.iter().any(|t| parser == *t);
    let possible = arg.get_possible_values();
    let kind = if is_secret(arg) {
        format!(
            "a secret, here or in a file named by {}_FILE",
            variable(arg)
        )
    } else if !possible.is_empty() {
        let names: Vec<_> = possible.iter().map(|value| value.get_name()).collect();
        format!("one of {}", names.join(", "))
    } else if is(&[TypeId::of::<SocketAddr>()]) {
        "an address like 127.0.0.1:8080".to_owned()
    } else if is(&[TypeId::of::<Duration>()]) {
        "a time like 1500ms, 10s, 5m or 24h".to_owned()
    } else if is(&[TypeId::of::<Url>()]) {
        "a URL like http://127.0.0.1:8080".to_owned()
    } else if is(&[
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ]) {
        "a whole number".to_owned()
    } else {
        "a value".to_owned()
    };
    format!("{kind} ({})", help(arg))
}

#[cfg(test)]
mod tests;
