//! What becomes of requests when there are too many. What they wait for is held, so that the limit of the
//! server is what is short, and not this machine, which asks as well.

use std::time::Duration;

use http::StatusCode;

use super::Bench;
use super::lists::KNOWN;
use super::load::Fate;
use super::upstream::{HELD, HOLD};

/// Requests at once.
const RUNNING: usize = 8;

/// The known document, with a page that is held.
fn held(number: u64) -> String {
    (KNOWN.1)(number).replace("\"after\":\"", &format!("\"after\":\"{HELD}"))
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<()> {
    let bff = bench.bff(&[("REQUESTS_MAX", &RUNNING.to_string())]).await?;
    let target = bench.target(&bff, ("/graphql", held));
    let time = bench.args.time;
    target.load(RUNNING, time / 4).await?;
    let answered = target.load(RUNNING, time).await?;
    let capacity = answered as f64 / time.as_secs_f64();
    println!(
        "overload: {RUNNING} at once, each held for {HOLD:?}: {capacity:.0} requests/s; the queue as by default"
    );
    println!(
        "{:<16}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "asked", "per s", "accepted", "p50", "p99", "refused", "p50", "p99", "other"
    );
    for (name, times) in [("at capacity", 0.9), ("twice", 2.0), ("ten times", 10.0)] {
        let fates = target.flood(capacity * times, time).await?;
        let of = |status| sorted(&fates, status);
        let accepted = of(StatusCode::OK);
        let refused = of(StatusCode::SERVICE_UNAVAILABLE);
        println!(
            "{name:<16}{:>9.0}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>8}",
            fates.len() as f64 / time.as_secs_f64(),
            accepted.len(),
            at(&accepted, 50),
            at(&accepted, 99),
            refused.len(),
            at(&refused, 50),
            at(&refused, 99),
            fates.len() - accepted.len() - refused.len(),
        );
    }
    println!();
    Ok(())
}

fn sorted(fates: &[Fate], status: StatusCode) -> Vec<Duration> {
    let fates = fates.iter().filter(|fate| fate.status == status);
    let mut after: Vec<Duration> = fates.map(|fate| fate.after).collect();
    after.sort_unstable();
    after
}

fn at(sorted: &[Duration], percent: usize) -> String {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or("-".to_owned(), |after| {
        format!("{:.1} ms", after.as_secs_f64() * 1e3)
    })
}
