//! `kv append`: adds to the end of a value.

use clap::Args;
use serde_json::json;
use shardbearer_client::Client;

use super::super::output::{self, Output};

/// Arguments of `kv append`.
#[derive(Debug, Args)]
#[command(
    after_help = "Prints the length of the whole value in bytes. A key that does not exist counts as empty.

Examples:
  shardbearer kv append log \"$(date) started;\""
)]
pub(in crate::cli) struct Append {
    /// The key
    key: String,
    /// What to append
    value: String,
}

impl Append {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let done = client.append(self.key.clone(), self.value).await?;
        match output {
            Output::Table => output::line(done.length)?,
            Output::Json => {
                output::json(&json!({ "key": self.key, "length": done.length, "revision": done.revision }))?
            }
        }
        Ok(())
    }
}
