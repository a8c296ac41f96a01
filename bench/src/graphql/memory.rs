//! What the BFF takes while nothing happens, and after documents that nobody will send again.

use std::time::Duration;

use super::Bench;
use super::process::Process;

/// Long enough for everything to have begun, and for what only the beginning needs to be gone.
const SETTLING: Duration = Duration::from_secs(5);

/// A document of its own each time, by a name within it and not only by a comment.
fn document(number: u64) -> String {
    format!(
        "{{\"query\":\"query($after: String) {{ offers(first: 1, after: $after) {{ nodes {{ id a{number}: title \
         price {{ amountMinor currency }} organisation {{ id name }} }} }} }}\",\
         \"variables\":{{\"after\":\"{number}\"}}}}"
    )
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<()> {
    let bff = bench.bff(&[]).await?;
    tokio::time::sleep(SETTLING).await;
    println!(
        "{:<36}{:>12}{:>12}",
        "memory of the BFF", "resident", "at most"
    );
    print("idle", &bff)?;
    let target = bench.target(&bff, ("/graphql", document));
    let mut sent = 0;
    for share in [10, 2, 1] {
        let documents = bench.args.documents / share;
        target
            .times(bench.args.connections, documents - sent)
            .await?;
        sent = documents;
        print(&format!("after {sent} different documents"), &bff)?;
    }
    println!();
    Ok(())
}

fn print(name: &str, bff: &Process) -> anyhow::Result<()> {
    let memory = bff.memory()?;
    let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
    println!(
        "{name:<36}{:>12}{:>12}",
        mib(memory.resident_kib),
        mib(memory.peak_kib)
    );
    Ok(())
}
