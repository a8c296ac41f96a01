//! `homeward watch`: follows subscriptions and prints a line per change.

mod feed;

use std::{
    process::ExitCode,
    str::FromStr,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use self::feed::{Feed, Said};
use super::Base;
use crate::{
    checkout::Checkout,
    http,
    os::signals::Stop,
    progress::answer,
    stack::state::{State, Status},
};

const TIMEOUT: Duration = Duration::from_secs(15);
/// How often to look whether somebody asked to stop.
const TICK: Duration = Duration::from_millis(50);

const VOTES: &str = "subscription Watch($id: ID!, $after: String) { \
    offerVotes(offerId: $id, after: $after) { votes { up down version } cursor reset } }";
const EVENTS: &str = "subscription Watch($filter: OfferEventFilter, $after: String) { \
    offerEvents(filter: $filter, after: $after) { \
    change { kind offerId version offer { title kind area } } cursor reset } }";

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    base: Base,
    /// Asks here and not at the stack; may be given for each of several replicas.
    #[arg(long, global = true, value_name = "URL")]
    url: Vec<Endpoint>,
    /// Prints an object per line.
    #[arg(long, global = true)]
    json: bool,
    /// Ends after so many lines.
    #[arg(long, global = true, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Follows the votes of these offers; without ids, of the newest ones.
    Votes {
        #[arg(value_name = "OFFER_ID")]
        offers: Vec<String>,
    },
    /// Follows offers that are published, changed and taken back.
    Offers {
        /// Those of one area, such as berlin-mitte.
        #[arg(long)]
        area: Option<String>,
        /// Those of this kind, such as crew; may be given several times.
        #[arg(long)]
        kind: Vec<String>,
    },
}

/// Where a BFF answers on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    port: u16,
    path: String,
}

impl FromStr for Endpoint {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let rest = url.strip_prefix("http://")?;
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let (host, port) = authority.split_once(':')?;
            matches!(host, "127.0.0.1" | "localhost").then_some(())?;
            Some(Self {
                port: port.parse().ok()?,
                path: if path.len() > 1 { path } else { "/graphql" }.to_owned(),
            })
        };
        parse().ok_or("a URL on this machine is like http://127.0.0.1:4600/graphql")
    }
}

pub(crate) fn run(checkout: &Checkout, args: &Args) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let endpoints = endpoints(checkout, args)?;
    let feeds = match &args.what {
        What::Votes { offers } => votes(&endpoints, offers)?,
        What::Offers { area, kind } => vec![offers(area.as_deref(), kind)],
    };
    let (sender, said) = mpsc::channel();
    for (number, feed) in feeds.iter().cloned().enumerate() {
        let (endpoints, sender) = (endpoints.clone(), sender.clone());
        // Ends with the process, as it mostly waits for something to be said.
        thread::spawn(move || feed.follow(number, &endpoints, &sender));
    }
    drop(sender);
    print(&feeds, &said, args, &stop)?;
    Ok(ExitCode::SUCCESS)
}

fn endpoints(checkout: &Checkout, args: &Args) -> anyhow::Result<Vec<Endpoint>> {
    if !args.url.is_empty() {
        return Ok(args.url.clone());
    }
    let base = args.base.port_base;
    let state = State::read(&checkout.folder(base))?.filter(State::supervised);
    let Some(State {
        status: Status { graphql, .. },
        ..
    }) = state
    else {
        bail!("no stack runs at port base {base}; `./homeward up` starts one");
    };
    let endpoints: Vec<Endpoint> = graphql.iter().filter_map(|url| url.parse().ok()).collect();
    if endpoints.is_empty() {
        bail!("the stack at port base {base} has no BFF");
    }
    Ok(endpoints)
}

/// A feed per offer.
fn votes(endpoints: &[Endpoint], ids: &[String]) -> anyhow::Result<Vec<Feed>> {
    let mut found = Vec::new();
    if ids.is_empty() {
        let query = "query Watch { offers { nodes { id title area } } }";
        let data = ask(endpoints, query, &json!({}))?;
        found.extend(
            data["offers"]["nodes"]
                .as_array()
                .into_iter()
                .flatten()
                .cloned(),
        );
        if found.is_empty() {
            bail!("there are no offers yet");
        }
    }
    for id in ids {
        let query = "query Watch($id: ID!) { offer(id: $id) { id title area } }";
        let mut data = ask(endpoints, query, &json!({ "id": id }))
            .with_context(|| format!("cannot look for the offer {id}"))?;
        match data["offer"].take() {
            Value::Null => bail!("there is no offer {id}"),
            offer => found.push(offer),
        }
    }
    let feeds = found.iter().map(|offer| Feed {
        query: VOTES,
        field: "offerVotes",
        variables: json!({ "id": offer["id"] }),
        about: offer.clone(),
    });
    Ok(feeds.collect())
}

fn offers(area: Option<&str>, kinds: &[String]) -> Feed {
    let mut filter = json!({});
    if let Some(area) = area {
        filter["area"] = json!(area);
    }
    if !kinds.is_empty() {
        let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_ascii_uppercase()).collect();
        filter["kinds"] = json!(kinds);
    }
    Feed {
        query: EVENTS,
        field: "offerEvents",
        variables: json!({ "filter": filter }),
        about: Value::Null,
    }
}

/// The data of one answer, from the first replica that has one.
fn ask(endpoints: &[Endpoint], query: &str, variables: &Value) -> anyhow::Result<Value> {
    let body = json!({ "query": query, "variables": variables }).to_string();
    let mut outcome = Err(anyhow::anyhow!("nobody to ask"));
    for Endpoint { port, path } in endpoints {
        outcome = http::post(*port, path, None, &body, TIMEOUT)
            .with_context(|| format!("nobody answers at http://127.0.0.1:{port}{path}"));
        if outcome.is_ok() {
            break;
        }
    }
    let answer = outcome?;
    let mut json: Value = serde_json::from_str(&answer.body)
        .with_context(|| format!("HTTP {} without JSON", answer.status))?;
    match feed::refusal(&json) {
        Some((message, _)) => bail!("{message}"),
        None => Ok(json["data"].take()),
    }
}

/// Prints what is said until all feeds have ended, enough was printed, or somebody asks to stop.
fn print(
    feeds: &[Feed],
    said: &mpsc::Receiver<Said>,
    args: &Args,
    stop: &Stop,
) -> anyhow::Result<()> {
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut away = false;
    while left > 0 {
        stop.check()?;
        match said.recv_timeout(TICK) {
            Ok(Said::Message { feed, message }) => {
                away = false;
                let about = &feeds[feed].about;
                let line = match &args.what {
                    What::Votes { .. } => Some(vote_line(about, &message, args.json)),
                    What::Offers { .. } => offer_line(&message, args.json),
                };
                if let Some(line) = line {
                    answer(&line);
                    left -= 1;
                }
            }
            Ok(Said::Cut(why)) => {
                // One line, however many feeds have been cut together.
                if !away {
                    eprintln!("reconnecting: {why}");
                }
                away = true;
            }
            Ok(Said::Refused(why)) => bail!("{why}"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(())
}

fn vote_line(offer: &Value, message: &Value, as_json: bool) -> String {
    let votes = &message["votes"];
    let reset = message["reset"] == true;
    if as_json {
        return json!({
            "offerId": offer["id"],
            "title": offer["title"],
            "up": votes["up"],
            "down": votes["down"],
            "version": votes["version"],
            "reset": reset,
        })
        .to_string();
    }
    let line = format!(
        "{:<40} {:<16} {:>5} up {:>5} down   change {}",
        word(offer, "title"),
        word(offer, "area"),
        number(votes, "up"),
        number(votes, "down"),
        number(votes, "version")
    );
    if reset {
        line + ", after some that were missed"
    } else {
        line
    }
}

/// Nothing for a message that says only where the feed stands.
fn offer_line(message: &Value, as_json: bool) -> Option<String> {
    let change = &message["change"];
    let reset = message["reset"] == true;
    if change.is_null() && !reset {
        return None;
    }
    if as_json {
        let mut line = json!({ "reset": reset });
        if let (Some(line), Some(change)) = (line.as_object_mut(), change.as_object()) {
            line.extend(change.clone());
        }
        return Some(line.to_string());
    }
    if change.is_null() {
        return Some("some changes were missed".to_owned());
    }
    let offer = &change["offer"];
    Some(format!(
        "{:<10} {:<10} {:<16} {:<40} {}",
        word(change, "kind").to_lowercase(),
        word(offer, "kind").to_lowercase(),
        word(offer, "area"),
        word(offer, "title"),
        word(change, "offerId")
    ))
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or("-")
}

fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_machine_are_taken_and_no_others() {
        let endpoint = |path: &str| Endpoint {
            port: 4600,
            path: path.to_owned(),
        };
        assert_eq!(
            "http://127.0.0.1:4600/graphql".parse(),
            Ok(endpoint("/graphql"))
        );
        assert_eq!("http://localhost:4600".parse(), Ok(endpoint("/graphql")));
        assert_eq!("http://localhost:4600/x".parse(), Ok(endpoint("/x")));
        for other in [
            "https://127.0.0.1:4600/",
            "http://example.com:80/",
            "http://127.0.0.1/",
            "4600",
        ] {
            assert!(other.parse::<Endpoint>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_count_is_a_line_that_says_of_which_offer() {
        let offer = json!({ "id": "abc", "title": "Two people, one van", "area": "berlin-mitte" });
        let message = json!({ "votes": { "up": 3, "down": 1, "version": 7 }, "reset": false });
        let line = vote_line(&offer, &message, false);
        assert!(line.starts_with("Two people, one van "), "{line}");
        assert!(line.ends_with("    3 up     1 down   change 7"), "{line}");
        let line: Value = serde_json::from_str(&vote_line(&offer, &message, true)).unwrap();
        let expected = json!({
            "offerId": "abc", "title": "Two people, one van", "up": 3, "down": 1, "version": 7, "reset": false
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_position_alone_is_no_line_but_a_gap_is() {
        let position = |reset| json!({ "change": null, "cursor": "c", "reset": reset });
        assert_eq!(offer_line(&position(false), false), None);
        assert_eq!(offer_line(&position(false), true), None);
        assert_eq!(
            offer_line(&position(true), false).unwrap(),
            "some changes were missed"
        );
        assert_eq!(
            offer_line(&position(true), true).unwrap(),
            r#"{"reset":true}"#
        );
        let change = json!({ "kind": "RETIRED", "offerId": "abc", "version": 4, "offer": null });
        let line = offer_line(&json!({ "change": change, "reset": false }), false).unwrap();
        assert!(
            line.starts_with("retired ") && line.ends_with(" abc"),
            "{line}"
        );
    }
}
