//! `kv`: data.

mod append;
mod backup;
mod cas;
mod count;
mod delete;
mod export;
mod get;
mod import;
mod incr;
mod lines;
mod put;
mod scan;

use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use shardbearer_client::{Client, Record};

use super::Global;
use super::failure::Failure;
use super::output;

/// Arguments of `kv`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer kv put user:1 '{\"name\":\"Ada\"}'
  shardbearer kv get user:1
  shardbearer kv scan --prefix user:
  shardbearer kv import users.jsonl --key id --prefix user:
  shardbearer kv export users.jsonl --prefix user:
  shardbearer kv export all.backup --format backup
  shardbearer kv import all.backup --format backup")]
pub(super) struct Kv {
    /// The table
    #[arg(long, global = true, default_value = "default", value_name = "NAME")]
    table: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the value of a key
    Get(get::Get),
    /// Write a key
    Put(put::Put),
    /// Remove a key
    Delete(delete::Delete),
    /// Replace a value if it is still the old one
    Cas(cas::Cas),
    /// Add to a number
    Incr(incr::Incr),
    /// Append to a value
    Append(append::Append),
    /// List rows in key order
    Scan(scan::Scan),
    /// Count rows
    Count(count::Count),
    /// Write every line of a file of JSON objects, or a backup back
    Import(import::Import),
    /// Write values, or a backup, to a file: a line each, in key order
    Export(export::Export),
}

impl Kv {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let client = global.client().await?.table(&self.table);
        let output = global.output;
        match self.command {
            Command::Get(get) => get.run(&client, output).await,
            Command::Put(put) => put.run(&client, output).await,
            Command::Delete(delete) => delete.run(&client, output).await,
            Command::Cas(cas) => cas.run(&client, output).await,
            Command::Incr(incr) => incr.run(&client, output).await,
            Command::Append(append) => append.run(&client, output).await,
            Command::Scan(scan) => scan.run(&client, output).await,
            Command::Count(count) => count.run(&client, output).await,
            Command::Import(import) => import.run(&client, output).await,
            Command::Export(export) => export.run(&client, output).await,
        }
    }
}

/// Which keys.
#[derive(Debug, Args)]
struct Span {
    /// Only keys that begin with this
    #[arg(long, conflicts_with_all = ["start", "end"])]
    prefix: Option<String>,
    /// From this key on, inclusive
    #[arg(long, value_name = "KEY")]
    start: Option<String>,
    /// Up to this key, exclusive
    #[arg(long, value_name = "KEY")]
    end: Option<String>,
}

impl Span {
    fn scan(self, client: &Client) -> shardbearer_client::ScanStream {
        let scan = client.scan();
        match self.prefix {
            Some(prefix) => scan.prefix(prefix),
            None => scan.start(self.start.unwrap_or_default()).end(self.end.unwrap_or_default()),
        }
    }
}

/// A row for programs.
fn row_json(key: &[u8], record: &Record, with_value: bool) -> Value {
    let mut object = Map::new();
    output::insert_bytes(&mut object, "key", key);
    if with_value {
        output::insert_bytes(&mut object, "value", &record.value);
    }
    object.insert("revision".into(), record.revision.into());
    object.insert("expires_at_ms".into(), record.expires_at_ms.into());
    object.into()
}

/// What is said when a condition did not hold.
fn condition_failed(key: &str, current: Option<Record>) -> anyhow::Error {
    let why = match current {
        None => format!("there is no key {key:?}"),
        Some(record) => {
            format!("{key:?} holds {:?} at revision {}", shortened(&record.value), record.revision)
        }
    };
    Failure::Refused(format!("nothing was written: {why}")).into()
}

/// The beginning of a value, for people.
fn shortened(value: &Bytes) -> String {
    const CHARACTERS: usize = 72;
    let head = &value[..value.len().min(4 * CHARACTERS)];
    let text = output::text(head);
    match text.char_indices().nth(CHARACTERS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None if head.len() < value.len() => format!("{text}..."),
        None => text,
    }
}
