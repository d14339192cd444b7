//! `kv put`: writes a key, on a condition if wanted.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use shardbearer_client::{Client, Condition, Conditional, Written};

use super::super::args;
use super::super::output::{self, Output};

/// Arguments of `kv put`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer kv put greeting hello
  shardbearer kv put photo --file photo.jpg
  date | shardbearer kv put now                     the value from standard input
  shardbearer kv put lock me --if-absent --ttl 30s  take a lock that expires
  shardbearer kv put greeting hi --if-revision 7    only if nobody wrote meanwhile

Exit code 1 if the condition does not hold; nothing is written then.")]
pub(in crate::cli) struct Put {
    /// The key
    key: String,
    /// The value; without it and without --file, everything that comes on standard input
    #[arg(conflicts_with = "file")]
    value: Option<String>,
    /// Read the value from this file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Only if there is no such key
    #[arg(long, group = "condition")]
    if_absent: bool,
    /// Only if there is such a key
    #[arg(long, group = "condition")]
    if_present: bool,
    /// Only if the key's revision is this; 0 means that there is no such key
    #[arg(long, group = "condition", value_name = "REVISION")]
    if_revision: Option<u64>,
    /// Only if the key holds this value
    #[arg(long, group = "condition", value_name = "VALUE")]
    if_value: Option<String>,
    /// The key expires after this time, such as 30s or 12h
    #[arg(long, value_name = "TIME", value_parser = args::duration)]
    ttl: Option<Duration>,
}

impl Put {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let condition = self.condition();
        let value = match (self.value, self.file) {
            (Some(value), _) => value.into_bytes(),
            (None, Some(path)) => {
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?
            }
            (None, None) => {
                let mut value = Vec::new();
                std::io::stdin().lock().read_to_end(&mut value).context("cannot read standard input")?;
                value
            }
        };
        let mut put = client.put(self.key.clone(), value).condition(condition);
        if let Some(ttl) = self.ttl {
            put = put.ttl(ttl);
        }
        written(&self.key, put.await?, output)
    }

    fn condition(&self) -> Condition {
        match (self.if_absent, self.if_present, self.if_revision, &self.if_value) {
            (true, ..) => Condition::Absent,
            (_, true, ..) => Condition::Present,
            (.., Some(revision), _) => Condition::Revision(revision),
            (.., Some(value)) => Condition::Value(Bytes::copy_from_slice(value.as_bytes())),
            (false, false, None, None) => Condition::Always,
        }
    }
}

/// Says how a write ended.
pub(super) fn written(key: &str, result: Conditional<Written>, output: Output) -> anyhow::Result<()> {
    match result {
        Conditional::ConditionFailed { current } => Err(super::condition_failed(key, current)),
        Conditional::Done(written) => {
            match output {
                Output::Table => output::line(format!("written at revision {}", written.revision))?,
                Output::Json => output::json(&json!({ "key": key, "revision": written.revision }))?,
            }
            Ok(())
        }
    }
}
