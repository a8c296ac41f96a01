//! Servers asked in turn, there and back, and what each made of its time.

use std::time::Duration;

use super::Args;
use super::load::Target;
use super::process::Process;

/// Before anything is counted, for connections, caches and compilers.
const WARM_UP: Duration = Duration::from_secs(2);

/// One line of a table.
pub(super) struct Row<'p> {
    name: &'static str,
    process: &'p Process,
    target: Target,
    passes: Vec<Pass>,
}

struct Pass {
    answered: u64,
    cpu: Duration,
}

impl<'p> Row<'p> {
    pub(super) fn new(name: &'static str, process: &'p Process, target: Target) -> Row<'p> {
        Row {
            name,
            process,
            target,
            passes: Vec::new(),
        }
    }

    /// Answers per second of processor.
    pub(super) fn rate(&self) -> f64 {
        rate(&self.passes)
    }
}

/// Mirrored, so that what slowly changes meanwhile is shared out evenly.
pub(super) async fn measure(args: &Args, rows: &mut [Row<'_>]) -> anyhow::Result<()> {
    for row in &*rows {
        row.target.load(args.connections, WARM_UP).await?;
    }
    for pass in 0..args.passes {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if pass % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let row = &mut rows[at];
            let before = row.process.cpu()?;
            let answered = row.target.load(args.connections, args.time).await?;
            let cpu = row.process.cpu()? - before;
            row.passes.push(Pass { answered, cpu });
        }
    }
    Ok(())
}

/// All rows, beside the first; `A/A` is the second half of its passes by the first half.
pub(super) fn print(title: &str, rows: &[Row<'_>]) {
    println!(
        "{title:<36}{:>12}{:>10}{:>8}{:>9}  per pass",
        "per CPU s", "us each", "A/A", "ratio"
    );
    for row in rows {
        let (first, second) = row.passes.split_at(row.passes.len() / 2);
        let passes: Vec<String> = row
            .passes
            .iter()
            .map(|pass| format!("{:.0}", rate(std::slice::from_ref(pass))))
            .collect();
        println!(
            "{:<36}{:>12.0}{:>10.1}{:>8.2}{:>9.3}  {}",
            row.name,
            row.rate(),
            1e6 / row.rate(),
            rate(second) / rate(first),
            row.rate() / rows[0].rate(),
            passes.join(" "),
        );
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
fn rate(passes: &[Pass]) -> f64 {
    let answered: u64 = passes.iter().map(|pass| pass.answered).sum();
    let cpu: Duration = passes.iter().map(|pass| pass.cpu).sum();
    answered as f64 / cpu.as_secs_f64()
}
