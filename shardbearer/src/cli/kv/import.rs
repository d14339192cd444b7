//! `kv import`: every line of a JSONL file becomes a row, or those of a backup the rows they were.
//!
//! A thread reads and parses, a bounded channel carries lines, this task keeps many writes in flight. Each row is one
//! write, so none is ever half there. Of lines with the same key the last wins: a key's next write waits for its last.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::future::IntoFuture;
use std::hash::BuildHasher;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use shardbearer_client::{Client, Error, Refused};
use tokio::sync::mpsc;

use super::super::output::{self, Output};
use super::super::progress::Progress;
use super::backup::Restored;
use super::lines::{self, Keys, Kind, Line};

/// Writes in flight, and their bytes: enough to fill every order's pipeline.
const ROWS_MAX: usize = 2_048;
const BYTES_MAX: usize = 32 << 20;

/// Lines read ahead.
const AHEAD: usize = 256;

/// When so many rows in a row found no way to the cluster, the rest will not either.
const HOPELESS: u64 = 1_000;

/// Arguments of `kv import`.
#[derive(Debug, Args)]
#[command(
    after_help = "Each line must be a JSON object. Its key is the field given with --key (a string or an integer) \
after the prefix; its value is the line itself, byte by byte. A broken line is reported with its number and left out, \
the rest goes on, and the exit code is 1. Importing again is harmless.

With --format backup it reads what `kv export --format backup` wrote: keys, values and times of expiry. Keys that the \
backup does not have stay as they are.

Examples:
  shardbearer kv import users.jsonl --key id
  shardbearer kv import users.jsonl --key id --prefix user:
  zcat users.jsonl.gz | shardbearer kv import - --key id
  shardbearer kv import all.backup --format backup"
)]
pub(in crate::cli) struct Import {
    /// The file; `-` is standard input
    file: PathBuf,
    /// The field that is the key
    #[arg(long, value_name = "FIELD", required_unless_present = "format")]
    key: Option<String>,
    /// Goes before every key
    #[arg(long, default_value = "")]
    prefix: String,
    /// The file is a backup
    #[arg(long, value_enum, conflicts_with_all = ["key", "prefix"])]
    format: Option<Format>,
}

/// What a file can be besides lines of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines as `kv export --format backup` writes them
    #[value(alias = "jsonl")]
    Backup,
}

impl Import {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let name = self.file.display().to_string();
        let (reader, total): (Box<dyn Read + Send>, _) = if name == "-" {
            (Box::new(std::io::stdin()), None)
        } else {
            let file = File::open(&self.file).with_context(|| format!("cannot read {name}"))?;
            let total = file.metadata().ok().map(|metadata| metadata.len());
            (Box::new(file), total)
        };
        let kind = match (self.format, self.key) {
            (Some(Format::Backup), _) | (None, None) => Kind::Backup,
            (None, Some(field)) => Kind::Values(Keys { field, prefix: self.prefix }),
        };
        let (lines, parsed) = mpsc::channel(AHEAD);
        let reading = std::thread::spawn(move || {
            let reader = BufReader::with_capacity(1 << 20, reader);
            lines::read(reader, &kind, |line| lines.blocking_send(line).is_ok())
        });
        let progress = Progress::new("imported", total);
        let mut work =
            Work { progress, failed: 0, hopeless: 0, seen: Seen::default(), said: Said::default() };
        let stopped = work.write_all(client, parsed).await;
        work.said.rest(&work.progress);
        work.progress.finish();
        stopped?;
        // The channel is closed, so the thread has ended or is about to.
        match reading.join() {
            Ok(result) => result.with_context(|| format!("cannot read on in {name}"))?,
            Err(_) => anyhow::bail!("reading {name} broke off"),
        }
        work.conclude(output)
    }
}

struct Work {
    progress: Progress,
    failed: u64,
    hopeless: u64,
    seen: Seen,
    said: Said,
}

/// Counts keys that come again. For files beyond memory the count is only of the first keys.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    keys: HashSet<u64>,
    again: u64,
}

impl Seen {
    const KEYS_MAX: usize = 4_000_000;

    fn note(&mut self, key: &Bytes) {
        let hash = self.hasher.hash_one(key);
        if self.keys.contains(&hash) {
            self.again += 1;
        } else if self.keys.len() < Self::KEYS_MAX {
            self.keys.insert(hash);
        }
    }
}

/// What was said of lines: the same reason again and again is said of a few, and counted.
#[derive(Default)]
struct Said {
    why: String,
    times: u64,
}

impl Said {
    const TIMES_MAX: u64 = 5;

    fn say(&mut self, progress: &Progress, number: u64, why: &str) {
        if self.why != why {
            self.rest(progress);
            *self = Said { why: why.to_owned(), times: 0 };
        }
        self.times += 1;
        if self.times <= Self::TIMES_MAX {
            progress.say(&format!("line {number}: {why}"));
        }
    }

    fn rest(&mut self, progress: &Progress) {
        if let more @ 1.. = self.times.saturating_sub(Self::TIMES_MAX) {
            progress.say(&format!("and {} for the same reason", output::count(more, "more line")));
        }
        self.times = 0;
    }
}

impl Work {
    async fn write_all(&mut self, client: &Client, mut lines: mpsc::Receiver<Line>) -> anyhow::Result<()> {
        let mut in_flight = FuturesUnordered::new();
        let mut keys: HashSet<Bytes> = HashSet::new();
        let mut bytes = 0;
        // A line whose key is still being written by an earlier one.
        let mut held: Option<Line> = None;
        let mut over = false;
        while !over || held.is_some() || !in_flight.is_empty() {
            if let Some(line) =
                held.take_if(|line| line.row.as_ref().is_ok_and(|row| !keys.contains(&row.key)))
                && let Ok(Restored { key, value, expires_at_ms }) = line.row
            {
                keys.insert(key.clone());
                self.seen.note(&key);
                bytes += value.len();
                let (size, number, taken) = (value.len(), line.number, line.bytes);
                let put = client.put(key.clone(), value);
                let put = expires_at_ms.into_iter().fold(put, |put, at| put.expires_at_ms(at)).into_future();
                in_flight.push(async move { (key, size, number, taken, put.await) });
            }
            let room = in_flight.len() < ROWS_MAX && bytes < BYTES_MAX && held.is_none() && !over;
            tokio::select! {
                line = lines.recv(), if room => match line {
                    None => over = true,
                    Some(line) => match &line.row {
                        Ok(_) => held = Some(line),
                        Err(why) => {
                            self.refuse(line.number, why);
                            self.progress.advance(0, line.bytes);
                        }
                    },
                },
                Some((key, size, number, taken, result)) = in_flight.next(), if !in_flight.is_empty() => {
                    keys.remove(&key);
                    bytes -= size;
                    self.progress.advance(u64::from(result.is_ok()), taken);
                    match result {
                        Ok(_) => self.hopeless = 0,
                        Err(error) => self.fail(number, &error)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, number: u64, why: &str) {
        self.failed += 1;
        self.said.say(&self.progress, number, why);
    }

    fn fail(&mut self, number: u64, error: &Error) -> anyhow::Result<()> {
        self.refuse(number, &error.to_string());
        match error {
            Error::Refused(Refused::Invalid(_)) | Error::Rejected(_) => self.hopeless = 0,
            Error::Refused(_) | Error::Unknown(_) => self.hopeless += 1,
        }
        anyhow::ensure!(
            self.hopeless < HOPELESS,
            "the last {HOPELESS} rows found no way into the cluster ({error}); {} rows were imported. \
             See `{} status`, then import the file again",
            self.progress.rows(),
            output::program()
        );
        Ok(())
    }

    fn conclude(&self, output: Output) -> anyhow::Result<()> {
        let Work { progress, failed, seen, .. } = self;
        if seen.again > 0 {
            let lines = output::count(seen.again, "line");
            progress.say(&format!("{lines} had the key of an earlier line; the last line of a key counts"));
        }
        match output {
            Output::Table => output::line(format!(
                "imported {} in {:.1} s ({:.0} rows/s)",
                output::count(progress.rows(), "row"),
                progress.seconds(),
                progress.rate()
            ))?,
            Output::Json => output::json(&json!({
                "rows": progress.rows(),
                "failed": failed,
                "same_key": seen.again,
                "seconds": progress.seconds(),
                "rows_per_second": progress.rate(),
            }))?,
        }
        anyhow::ensure!(*failed == 0, "{} not imported; the reasons are above", {
            let be = if *failed == 1 { "was" } else { "were" };
            format!("{} {be}", output::count(*failed, "line"))
        });
        Ok(())
    }
}
