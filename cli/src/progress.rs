//! What is going on, on standard error: a moving line in a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line repeats what has not ended.
const PLAIN: Duration = Duration::from_secs(5);

/// Answers on standard output; who has closed it does not want to know.
pub(crate) fn answer(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Instant,
    shown: String,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            last: Instant::now(),
            shown: String::new(),
        }
    }

    /// Something new is being done.
    pub(crate) fn step(&mut self, text: &str) {
        if self.shown == text {
            return;
        }
        text.clone_into(&mut self.shown);
        self.last = Instant::now();
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => eprintln!("{text}"),
        }
    }

    /// The same goes on: `text` says how far.
    pub(crate) fn detail(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if self.last.elapsed() >= PLAIN => {
                self.last = Instant::now();
                eprintln!("  {text}");
            }
            None => {}
        }
    }

    /// A line that stays.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
