//! `kv cas`: compare and set.

use clap::Args;
use shardbearer_client::Client;

use super::super::output::Output;

/// Arguments of `kv cas`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer kv cas leader node-1 node-2

Exit code 1 if the key holds something else; nothing is written then.
For a key that must not exist yet use `kv put --if-absent`.")]
pub(in crate::cli) struct Cas {
    /// The key
    key: String,
    /// What it must hold
    old: String,
    /// What it is to hold
    new: String,
}

impl Cas {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let result = client.put(self.key.clone(), self.new).keep_ttl().if_value(self.old).await?;
        super::put::written(&self.key, result, output)
    }
}
