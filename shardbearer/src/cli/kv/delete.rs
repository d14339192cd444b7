//! `kv delete`: removes a key.

use clap::Args;
use serde_json::json;
use shardbearer_client::{Client, Condition, Conditional};

use super::super::failure::Failure;
use super::super::output::{self, Output};

/// Arguments of `kv delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer kv delete greeting
  shardbearer kv delete lock --if-value me

Exit code 1 if there is no such key or the condition does not hold.")]
pub(in crate::cli) struct Delete {
    /// The key
    key: String,
    /// Only if the key's revision is this
    #[arg(long, group = "condition", value_name = "REVISION")]
    if_revision: Option<u64>,
    /// Only if the key holds this value
    #[arg(long, group = "condition", value_name = "VALUE")]
    if_value: Option<String>,
}

impl Delete {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let condition = match (self.if_revision, self.if_value) {
            (Some(revision), _) => Condition::Revision(revision),
            (None, Some(value)) => Condition::Value(value.into()),
            (None, None) => Condition::Always,
        };
        match client.delete(self.key.clone()).condition(condition).await? {
            Conditional::ConditionFailed { current } => {
                return Err(super::condition_failed(&self.key, current));
            }
            Conditional::Done(deleted) if !deleted.existed => {
                anyhow::bail!(Failure::no_key(&self.key))
            }
            Conditional::Done(_) => {}
        }
        match output {
            Output::Table => output::line("deleted")?,
            Output::Json => output::json(&json!({ "key": self.key, "deleted": true }))?,
        }
        Ok(())
    }
}
