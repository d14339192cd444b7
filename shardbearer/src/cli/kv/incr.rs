//! `kv incr`: adds to a number.

use clap::Args;
use serde_json::json;
use shardbearer_client::Client;

use super::super::output::{self, Output};

/// Arguments of `kv incr`.
#[derive(Debug, Args)]
#[command(after_help = "Prints the new number. A key that does not exist counts as 0.

Examples:
  shardbearer kv incr visits
  shardbearer kv incr stock -3")]
pub(in crate::cli) struct Incr {
    /// The key
    key: String,
    /// What to add
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    by: i64,
}

impl Incr {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let number = client.increment(self.key.clone(), self.by).await?;
        match output {
            Output::Table => output::line(number.value)?,
            Output::Json => {
                output::json(&json!({ "key": self.key, "value": number.value, "revision": number.revision }))?
            }
        }
        Ok(())
    }
}
