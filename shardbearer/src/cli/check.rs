//! `shardbearer check`: whether a recorded history is linearizable. Any store's, not only ours.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use shardbearer_state::history::{self, Operation, Options, Report, Violation};

use super::failure::Failure;
use super::output::{self, Output};
use super::progress::Progress;
use super::{Global, args};

/// Checks whether a recorded history is linearizable, and shows the operations that contradict each other if it is not.
/// The format is described in docs/history.md.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer check history.jsonl
  shardbearer check history.jsonl --slack 50ms         the store's clock may be that much ahead of the clients'
  shardbearer check history.jsonl --late 1s            values must be gone a second after their expiry
  shardbearer check history.jsonl --from-anything      the store was not empty when the recording began
  zcat history.jsonl.gz | shardbearer --output json check -

Exit code: 0 linearizable, 1 not linearizable, 2 the file cannot be read as a history, or wrong usage, 3 not proven either
way: the search gave up (--states-max) on some key and found no violation on the others. Needs no cluster, and takes no
--timeout.")]
pub struct Check {
    /// The file, one operation a line; - reads from standard input
    #[arg(value_name = "HISTORY.jsonl")]
    file: PathBuf,
    /// By how much the store's clock may be ahead: so much before its expiry a value may be gone
    #[arg(long, value_name = "TIME", value_parser = args::duration_or_zero, default_value = "0s")]
    slack: Duration,
    /// How long after its expiry a value may still be seen; without this it is not asked that it disappears
    #[arg(long, value_name = "TIME", value_parser = args::duration_or_zero)]
    late: Option<Duration>,
    /// Do not take for granted that every key was absent when the history began
    #[arg(long)]
    from_anything: bool,
    /// Situations to look at, per key, before giving up, which is no pass; each takes some hundred bytes of memory
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().states_max)]
    states_max: u64,
    /// Violations to show; the others are only counted
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().explained_max)]
    show: usize,
}

impl Check {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        global.without_timeout("check", "--states-max bounds the search")?;
        let history = read(&self.file)?;
        let options = Options {
            slack_ns: nanoseconds(self.slack),
            late_ns: self.late.map(nanoseconds),
            states_max: self.states_max,
            from_anything: self.from_anything,
            explained_max: self.show,
        };
        let mut progress = Progress::new("checked", None);
        let report = history::check(&history, &options, |operations| progress.advance(operations as u64, 0));
        progress.finish();
        match global.output {
            Output::Json => output::json(&document(&report, &history))?,
            Output::Table => print(&report, progress.seconds())?,
        }
        match verdict(&report) {
            Verdict::Linearizable => Ok(()),
            Verdict::NotLinearizable => bail!("the history is not linearizable"),
            Verdict::Unproven => bail!(Failure::Unproven(
                "not proven either way: the search gave up; raise --states-max, or record fewer concurrent operations per key"
                    .into()
            )),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What is known of a history as a whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Linearizable,
    NotLinearizable,
    /// Too hard to tell somewhere, and nothing wrong elsewhere.
    Unproven,
}

fn verdict(report: &Report) -> Verdict {
    match (report.violations_count, report.gave_up_count) {
        (0, _) => Verdict::Linearizable,
        (all, gave_up) if all == gave_up => Verdict::Unproven,
        (_, _) => Verdict::NotLinearizable,
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Operation>> {
    let name = path.display();
    let unreadable = |error: io::Error| anyhow!(Failure::Usage(format!("cannot read {name}: {error}")));
    let (input, total): (Box<dyn Read>, _) = if path.as_os_str() == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(unreadable)?;
        let total = file.metadata().map_err(unreadable)?.len();
        (Box::new(file), Some(total))
    };
    let mut input = BufReader::with_capacity(1 << 20, input);
    let mut progress = Progress::new("read", total);
    let (mut history, mut text) = (Vec::new(), String::new());
    for line in 1.. {
        text.clear();
        let bytes = input.read_line(&mut text).map_err(unreadable)?;
        if bytes == 0 {
            break;
        }
        progress.advance(1, bytes as u64);
        if !text.trim().is_empty() {
            let operation = history::json::parse_line(&text, line);
            history.push(operation.map_err(|broken| Failure::Usage(format!("{name}: {broken}")))?);
        }
    }
    progress.finish();
    if history.is_empty() {
        return Err(anyhow!(Failure::Usage(format!("{name} has no operation: there is nothing to check"))));
    }
    Ok(history)
}

fn print(report: &Report, seconds: f64) -> io::Result<()> {
    for violation in &report.violations {
        for line in violation.lines() {
            output::line(line)?;
        }
        output::line("")?;
    }
    let Report { operations, refused, unknown, keys, states, gave_up_count, .. } = report;
    let [operations, keys, states] =
        [(*operations as u64, "operation"), (*keys as u64, "key"), (*states, "situation")]
            .map(|(number, thing)| output::count(number, thing));
    let proven = report.violations_count - gave_up_count;
    let open = format!("not proven either way in {}", output::count(*gave_up_count as u64, "place"));
    let mut words = match verdict(report) {
        Verdict::Linearizable => "linearizable".to_owned(),
        Verdict::NotLinearizable if *gave_up_count > 0 => {
            format!("{}, and {open}", output::count(proven as u64, "violation"))
        }
        Verdict::NotLinearizable => output::count(proven as u64, "violation"),
        Verdict::Unproven => format!("{open}, and no violation elsewhere"),
    };
    if report.violations_count > report.violations.len() {
        words = format!("{words} ({} of them shown)", report.violations.len());
    }
    output::line(format!(
        "{words}: {operations} ({refused} refused, {unknown} unknown) on {keys}, {states}, {seconds:.1} s"
    ))
}

fn document(report: &Report, history: &[Operation]) -> Value {
    let names = |keys: &[bytes::Bytes]| -> Vec<String> { keys.iter().map(|key| output::text(key)).collect() };
    let violation = |violation: &Violation| {
        let text = violation.lines();
        match violation {
            Violation::NoOrder { keys, window, .. } => {
                let lines: Vec<u64> = window.iter().map(|index| history[*index].line).collect();
                json!({ "kind": "no_order", "keys": names(keys), "lines": lines, "text": text })
            }
            Violation::BadRow { key, scan, .. } => {
                let (keys, lines) = ([output::text(key)], [history[*scan].line]);
                json!({ "kind": "bad_row", "keys": keys, "lines": lines, "text": text })
            }
            Violation::GaveUp { keys, operations, states } => json!({
                "kind": "gave_up", "keys": names(keys), "operations": operations, "states": states, "text": text
            }),
        }
    };
    let (linearizable, words) = match verdict(report) {
        Verdict::Linearizable => (Some(true), "linearizable"),
        Verdict::NotLinearizable => (Some(false), "not linearizable"),
        Verdict::Unproven => (None, "not proven either way"),
    };
    let gave_up = |violation: &&Violation| matches!(violation, Violation::GaveUp { .. });
    let (open, wrong): (Vec<_>, Vec<_>) = report.violations.iter().partition(gave_up);
    json!({
        "linearizable": linearizable,
        "verdict": words,
        "operations": report.operations,
        "refused": report.refused,
        "unknown": report.unknown,
        "keys": report.keys,
        "states": report.states,
        "violations_count": report.violations_count - report.gave_up_count,
        "violations": wrong.into_iter().map(violation).collect::<Vec<_>>(),
        "gave_up_count": report.gave_up_count,
        "gave_up": open.into_iter().map(violation).collect::<Vec<_>>(),
    })
}
