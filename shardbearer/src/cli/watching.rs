//! Following something that goes on for long by looking again and again: an outage is waited out for a while, and what is
//! going on is said on a terminal as it changes, elsewhere in a line now and then.

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;
use shardbearer_client::Client;
use tokio::time::Instant;

use super::progress;
use crate::report;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// For how long nobody may answer: longer than an election, or than a radiant takes to start anew.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two plain lines where nothing but numbers has changed.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What is followed, and what was said of it.
pub(super) struct Watch {
    bar: ProgressBar,
    is_terminal: bool,
    /// Since when nobody answers.
    silent_since: Option<Instant>,
    /// The last plain line: when, and in which phase.
    said: Option<(Instant, String)>,
    looked: bool,
    /// What goes on all the same if the watch ends: part of the sentence that says so.
    what: &'static str,
}

impl Watch {
    /// Of something that goes on without a watcher, as in "the migration".
    pub(super) fn new(what: &'static str) -> Watch {
        let is_terminal = std::io::stderr().is_terminal();
        let (silent_since, said) = (None, None);
        Watch { bar: progress::spinner(), is_terminal, silent_since, said, looked: false, what }
    }

    /// The cluster as it is now, a moment after the last look.
    pub(super) async fn look(&mut self, client: &Client) -> anyhow::Result<report::Status> {
        self.ask(async || client.status().await).await.map(Into::into)
    }

    /// Asks until there is an answer, for as long as there is patience.
    async fn ask<T, E: Display>(&mut self, mut ask: impl AsyncFnMut() -> Result<T, E>) -> anyhow::Result<T> {
        loop {
            if std::mem::replace(&mut self.looked, true) {
                tokio::time::sleep(LOOK).await;
            }
            match ask().await {
                Ok(answer) => {
                    if let Some(since) = self.silent_since.take() {
                        self.note(&format!("somebody answers again after {} s", since.elapsed().as_secs()));
                    }
                    return Ok(answer);
                }
                Err(error) => self.unanswered(&error)?,
            }
        }
    }

    fn unanswered(&mut self, error: &impl Display) -> anyhow::Result<()> {
        let (first, now) = (self.silent_since.is_none(), Instant::now());
        let since = *self.silent_since.get_or_insert(now);
        if first {
            self.note(&format!("nobody says how it goes ({error}); asking for {} s", PATIENCE.as_secs()));
        }
        if now.duration_since(since) < PATIENCE {
            return Ok(());
        }
        self.finish();
        anyhow::bail!(
            "nobody has said how it goes for {} s: {error}; {} does not need a watcher and goes on as soon as it can. See \
             that the radiants run and that --endpoints names some of them, then look by `shardbearer status`",
            PATIENCE.as_secs(),
            self.what
        )
    }

    /// Says how it goes: on a terminal in the one line there is, elsewhere when the phase is another or some time has passed.
    pub(super) fn say(&mut self, phase: &str, sentence: &str) {
        self.bar.set_message(sentence.to_owned());
        if !self.is_terminal && self.is_due(phase) {
            eprintln!("{sentence}");
        }
    }

    fn is_due(&mut self, phase: &str) -> bool {
        let now = Instant::now();
        let due = match &self.said {
            Some((when, last)) => last != phase || now.duration_since(*when) >= LINE_EVERY,
            None => true,
        };
        if due {
            self.said = Some((now, phase.to_owned()));
        }
        due
    }

    /// Says something once, without tearing the line on a terminal.
    pub(super) fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Removes the line.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_waited_out() {
        let (mut watch, began) = (Watch::new("it"), Instant::now());
        let back = began + PATIENCE / 2;
        let answer =
            watch.ask(async || if Instant::now() < back { Err("nobody is up") } else { Ok(7) }).await;
        assert_eq!(answer.expect("it was short"), 7);
        assert!(began.elapsed() >= PATIENCE / 2);
        // The next one is another outage, with as much patience.
        let back = Instant::now() + PATIENCE - LOOK;
        let answer =
            watch.ask(async || if Instant::now() < back { Err("nobody is up") } else { Ok(8) }).await;
        assert_eq!(answer.expect("it was short, too"), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_with_what_to_do() {
        let (mut watch, began) = (Watch::new("the migration"), Instant::now());
        let answer: anyhow::Result<()> = watch.ask(async || Err("nobody is up")).await;
        let said = answer.expect_err("nobody ever answers").to_string();
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE * 2);
        for expected in
            ["nobody is up", "the migration does not need a watcher", "--endpoints", "shardbearer status"]
        {
            assert!(said.contains(expected), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_has_a_line_for_each_phase_and_now_and_then() {
        let mut watch = Watch::new("it");
        assert!(watch.is_due("copying"));
        assert!(!watch.is_due("copying"), "only numbers have changed");
        assert!(watch.is_due("frozen"), "that is news");
        tokio::time::advance(LINE_EVERY).await;
        assert!(watch.is_due("frozen"), "it goes on");
    }
}
