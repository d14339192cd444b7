//! `shardbearer check`: whether a recorded history is linearizable. Any store's, not only ours.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use shardbearer_state::history::{self, Operation, Options, Report, Violation};

use super::output::{self, Output};
use super::progress::Progress;
use super::{Global, args};

/// Checks whether a recorded history is linearizable, and shows the operations that contradict each other if it is not.
/// The format is described in docs/history.md. The exit code is 0 if it is, 1 if it is not or if that is too hard to
/// tell, 2 if the file cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer check history.jsonl
  shardbearer check history.jsonl --slack 50ms         the store's clock may be that much ahead of the clients'
  shardbearer check history.jsonl --from-anything      the store was not empty when the recording began
  zcat history.jsonl.gz | shardbearer --output json check -")]
pub struct Check {
    /// The file, one operation a line; - reads from standard input
    #[arg(value_name = "HISTORY.jsonl")]
    file: PathBuf,
    /// By how much the store's clock may be ahead: so much before its expiry a value may be gone
    #[arg(long, value_name = "TIME", value_parser = args::duration_or_zero, default_value = "0s")]
    slack: Duration,
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

/// The input cannot be read as a history: exit code 2, so that nobody takes it for a verdict.
#[derive(Debug)]
pub struct BrokenInput(String);

impl fmt::Display for BrokenInput {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BrokenInput {}

impl Check {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        let history = read(&self.file)?;
        let options = Options {
            slack_ns: u64::try_from(self.slack.as_nanos()).unwrap_or(u64::MAX),
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
        match report.violations_count {
            0 => Ok(()),
            1 => bail!("the history is not linearizable, or not shown to be"),
            count => bail!("the history is not linearizable, or not shown to be, in {count} places"),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Operation>> {
    let name = path.display();
    let unreadable = |error: io::Error| anyhow!(BrokenInput(format!("cannot read {name}: {error}")));
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
            history.push(operation.map_err(|broken| BrokenInput(format!("{name}: {broken}")))?);
        }
    }
    progress.finish();
    if history.is_empty() {
        return Err(anyhow!(BrokenInput(format!("{name} has no operation: there is nothing to check"))));
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
    let Report { operations, refused, unknown, keys, states, .. } = report;
    let verdict = match report.violations_count {
        0 => "linearizable".to_owned(),
        count if count > report.violations.len() => {
            format!("{count} violations, {} of them shown", report.violations.len())
        }
        count => output::count(count as u64, "violation"),
    };
    output::line(format!(
        "{verdict}: {operations} operations ({refused} refused, {unknown} unknown) on {keys} keys, \
         {states} situations, {seconds:.1} s"
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
    json!({
        "linearizable": report.passed(),
        "operations": report.operations,
        "refused": report.refused,
        "unknown": report.unknown,
        "keys": report.keys,
        "states": report.states,
        "violations_count": report.violations_count,
        "violations": report.violations.iter().map(violation).collect::<Vec<_>>(),
    })
}
