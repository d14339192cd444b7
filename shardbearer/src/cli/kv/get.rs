//! `kv get`: the raw value, for pipes.

use clap::Args;
use shardbearer_client::Client;

use super::super::failure::Failure;
use super::super::output::{self, Output};

/// Arguments of `kv get`.
#[derive(Debug, Args)]
#[command(after_help = "Prints the value's bytes and nothing else; on a terminal, a newline after them.

Examples:
  shardbearer kv get greeting
  shardbearer kv get photo > photo.jpg
  shardbearer --output json kv get greeting     with revision and expiry")]
pub(in crate::cli) struct Get {
    /// The key
    key: String,
}

impl Get {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let Some(record) = client.get(self.key.clone()).await? else {
            anyhow::bail!(Failure::no_key(&self.key));
        };
        match output {
            Output::Table => output::raw(&record.value)?,
            Output::Json => output::json(&super::row_json(self.key.as_bytes(), &record, true))?,
        }
        Ok(())
    }
}
