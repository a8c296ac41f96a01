//! A page of offers with who offers them, and a request that asks for nothing.

use anyhow::{Context, ensure};
use bytes::Bytes;

use super::Bench;
use super::load::Target;
use super::rows::{self, Row};

/// Below these shares of what is done by hand the work is not finished.
const KNOWN_MIN: f64 = 0.85;
const NEW_MIN: f64 = 0.75;
/// What is aimed at.
const KNOWN_AIM: f64 = 0.90;
const NEW_AIM: f64 = 0.80;

const DOCUMENT: &str = "query($after: String) { offers(first: 100, after: $after) { nodes { \
    id title price { amountMinor currency } organisation { id name } } } }";

/// A path, and the body by the number of the request.
pub(super) type Probe = (&'static str, fn(u64) -> String);

pub(super) const PROBE: Probe = ("/graphql", probe_body);
const CONSTANT: Probe = ("/probe", probe_body);
pub(super) const KNOWN: Probe = ("/graphql", known);
const NEW: Probe = ("/graphql", new);

/// Another page each time, by the same text.
fn known(number: u64) -> String {
    format!("{{\"query\":\"{DOCUMENT}\",\"variables\":{{\"after\":\"{number}\"}}}}")
}

/// Another page each time, by a text that nobody has sent before.
fn new(number: u64) -> String {
    format!("{{\"query\":\"{DOCUMENT} # {number}\",\"variables\":{{\"after\":\"{number}\"}}}}")
}

fn probe_body(number: u64) -> String {
    format!("{{\"query\":\"{{ __typename }}\",\"variables\":{{\"n\":{number}}}}}")
}

/// Answers which rows are slower than they should be.
pub(super) async fn lists(bench: &Bench) -> anyhow::Result<Vec<String>> {
    let by_hand = bench.peer("by-hand", CONSTANT).await?;
    let again = bench.peer("by-hand", CONSTANT).await?;
    let ours = bench.bff(&[]).await?;
    // Far above what is asked, but counted.
    let high = "1000000000/1m";
    let limits = [
        ("RATE_ADDRESS", high),
        ("RATE_USER", high),
        ("RATE_COST", high),
    ];
    let limited = bench.bff(&limits).await?;
    let apollo = bench.apollo().await?;
    let target = |process, probe| bench.target(process, probe);
    for number in [1, 17, 1234] {
        same(
            bench,
            number,
            &target(&by_hand, KNOWN),
            &target(&ours, KNOWN),
            &target(&apollo, KNOWN),
        )
        .await?;
    }

    let mut rows = [
        Row::new("by hand", &by_hand, target(&by_hand, KNOWN)),
        Row::new("by hand, another process", &again, target(&again, KNOWN)),
        Row::new("ours, known document", &ours, target(&ours, KNOWN)),
        Row::new("ours, new document", &ours, target(&ours, NEW)),
        Row::new(
            "ours, known, rate limits in Redis",
            &limited,
            target(&limited, KNOWN),
        ),
        Row::new(
            "Apollo Server, known document",
            &apollo,
            target(&apollo, KNOWN),
        ),
        Row::new("Apollo Server, new document", &apollo, target(&apollo, NEW)),
    ];
    rows::measure(&bench.args, &mut rows).await?;
    rows::print("100 offers with organisation", &rows);
    let ratio = |at: usize| rows[at].rate() / rows[0].rate();
    println!("A against A                         {:>9.3}", ratio(1));
    let mut slow = Vec::new();
    for (name, at, min, aim) in [
        ("known", 2, KNOWN_MIN, KNOWN_AIM),
        ("new", 3, NEW_MIN, NEW_AIM),
    ] {
        let share = ratio(at);
        println!(
            "{:<36}{share:>9.3}   (at least {min}, aimed at {aim})",
            format!("{name} / by hand")
        );
        if share < min {
            slow.push(format!("{name} {share:.3} < {min}"));
        }
    }
    println!(
        "{:<36}{:>9.1}",
        "known / Apollo Server",
        rows[2].rate() / rows[5].rate()
    );
    println!(
        "{:<36}{:>9.1}\n",
        "new / Apollo Server",
        rows[3].rate() / rows[6].rate()
    );
    Ok(slow)
}

/// Letter by letter the same from ours as by hand, the same meaning from Apollo, and two calls each.
async fn same(
    bench: &Bench,
    number: u64,
    by_hand: &Target,
    ours: &Target,
    apollo: &Target,
) -> anyhow::Result<()> {
    let expected = asked(bench, by_hand, number).await?;
    let found = asked(bench, ours, number).await?;
    ensure!(expected == found, "by hand {expected:?}\nours {found:?}");
    let found = asked(bench, apollo, number).await?;
    let meaning = |json: &Bytes| serde_json::from_slice::<serde_json::Value>(json);
    let (expected, found) = (meaning(&expected)?, meaning(&found)?);
    ensure!(expected == found, "by hand {expected}\nApollo {found}");
    let rows = expected["data"]["offers"]["nodes"]
        .as_array()
        .context("no rows")?;
    ensure!(rows.len() == 100, "{} rows", rows.len());
    Ok(())
}

async fn asked(bench: &Bench, target: &Target, number: u64) -> anyhow::Result<Bytes> {
    let before = bench.upstream.calls();
    let answer = target.ask(number).await?;
    let calls = bench.upstream.calls() - before;
    ensure!(calls == 2, "{calls} upstream calls");
    Ok(answer)
}

/// `{ __typename }` beside axum alone.
pub(super) async fn probe(bench: &Bench) -> anyhow::Result<()> {
    let bare = bench.peer("bare", CONSTANT).await?;
    let by_hand = bench.peer("by-hand", CONSTANT).await?;
    let ours = bench.bff(&[]).await?;
    let target = |process, probe| bench.target(process, probe);
    let expected = target(&bare, CONSTANT).ask(1).await?;
    let found = target(&ours, PROBE).ask(1).await?;
    ensure!(expected == found, "bare {expected:?}\nours {found:?}");
    let mut rows = [
        Row::new("bare axum", &bare, target(&bare, CONSTANT)),
        Row::new(
            "axum in our HTTP server",
            &by_hand,
            target(&by_hand, CONSTANT),
        ),
        Row::new("ours", &ours, target(&ours, PROBE)),
    ];
    rows::measure(&bench.args, &mut rows).await?;
    rows::print("{ __typename }", &rows);
    println!();
    Ok(())
}
