//! `kv import`: every line of a JSONL file becomes a row.
//!
//! A thread reads and parses, a bounded channel carries lines, this task keeps many writes in flight. Each row is one
//! write, so none is ever half there. Of lines with the same key the last wins: a key's next write waits for its last.

use std::collections::HashSet;
use std::fs::File;
use std::future::IntoFuture;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use shardbearer_client::{Client, Error, Refused};
use shardbearer_core::limits;
use tokio::sync::mpsc;

use super::super::output::{self, Output};
use super::super::progress::Progress;
use super::lines::{self, Keys, Line};

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

Examples:
  shardbearer kv import users.jsonl --key id
  shardbearer kv import users.jsonl --key id --prefix user:
  zcat users.jsonl.gz | shardbearer kv import - --key id"
)]
pub(in crate::cli) struct Import {
    /// The file; `-` is standard input
    file: PathBuf,
    /// The field that is the key
    #[arg(long, value_name = "FIELD")]
    key: String,
    /// Goes before every key
    #[arg(long, default_value = "")]
    prefix: String,
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
        let keys = Keys { field: self.key, prefix: self.prefix };
        let (lines, parsed) = mpsc::channel(AHEAD);
        let reading = std::thread::spawn(move || {
            let reader = BufReader::with_capacity(1 << 20, reader);
            lines::read(reader, &keys, limits::GROWN_VALUE_BYTES_MAX, |line| {
                lines.blocking_send(line).is_ok()
            })
        });
        let mut work = Work { progress: Progress::new("imported", total), failed: 0, hopeless: 0 };
        let stopped = work.write_all(client, parsed).await;
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
                held.take_if(|line| line.row.as_ref().is_ok_and(|(key, _)| !keys.contains(key)))
                && let Ok((key, value)) = line.row
            {
                keys.insert(key.clone());
                bytes += value.len();
                let (size, number, taken) = (value.len(), line.number, line.bytes);
                let put = client.put(key.clone(), value).into_future();
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
        self.progress.say(&format!("line {number}: {why}"));
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
             See `shardbearer status`, then import the file again",
            self.progress.rows()
        );
        Ok(())
    }

    fn conclude(&self, output: Output) -> anyhow::Result<()> {
        let Work { progress, failed, .. } = self;
        match output {
            Output::Table => output::line(format!(
                "imported {} rows in {:.1} s ({:.0} rows/s)",
                progress.rows(),
                progress.seconds(),
                progress.rate()
            ))?,
            Output::Json => output::json(&json!({
                "rows": progress.rows(),
                "failed": failed,
                "seconds": progress.seconds(),
                "rows_per_second": progress.rate(),
            }))?,
        }
        anyhow::ensure!(*failed == 0, "{failed} lines were not imported; the reasons are above");
        Ok(())
    }
}
