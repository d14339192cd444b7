//! What long work says while it goes on: a bar on a terminal, a line every few seconds elsewhere. On standard error.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A line that says what is going on, on a terminal only.
pub(super) fn spinner() -> ProgressBar {
    if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() }
}

/// Progress in rows, and in bytes of a known total if there is one.
pub(super) struct Progress {
    bar: ProgressBar,
    verb: &'static str,
    is_terminal: bool,
    total: Option<u64>,
    began: Instant,
    said: Instant,
    rows: u64,
    bytes: u64,
}

impl Progress {
    /// `verb` such as "imported".
    pub(super) fn new(verb: &'static str, total_bytes: Option<u64>) -> Progress {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total_bytes, target);
        let template = match total_bytes {
            Some(_) => "{bar:30} {bytes}/{total_bytes} {msg} eta {eta}",
            None => "{spinner} {bytes} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Progress { bar, verb, is_terminal, total: total_bytes, began: now, said: now, rows: 0, bytes: 0 }
    }

    /// So many more are done.
    pub(super) fn advance(&mut self, rows: u64, bytes: u64) {
        self.rows += rows;
        self.bytes += bytes;
        self.bar.inc(bytes);
        if self.is_terminal {
            self.bar.set_message(format!("{} rows, {:.0} rows/s", self.rows, self.rate()));
        } else if self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            let share = match self.total {
                Some(total) if total > 0 => format!(" ({} %)", self.bytes * 100 / total),
                Some(_) | None => String::new(),
            };
            eprintln!("{} {} rows{share}, {:.0} rows/s", self.verb, self.rows, self.rate());
        }
    }

    /// Says something without tearing the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows a second so far.
    pub(super) fn rate(&self) -> f64 {
        self.rows as f64 / self.began.elapsed().as_secs_f64().max(0.001)
    }

    /// Seconds so far.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
