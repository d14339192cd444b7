//! `kv count`: how much there is.

use clap::Args;
use serde_json::json;
use shardbearer_client::Client;

use super::super::output::{self, Output};
use super::Span;

/// Arguments of `kv count`.
#[derive(Debug, Args)]
#[command(after_help = "Without bounds the shards know the number; with them the keys are scanned.

Examples:
  shardbearer kv count
  shardbearer kv count --prefix user:")]
pub(in crate::cli) struct Count {
    #[command(flatten)]
    span: Span,
}

impl Count {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let Span { prefix, start, end } = &self.span;
        let (rows, bytes) = if prefix.is_none() && start.is_none() && end.is_none() {
            let count = client.count().await?;
            (count.rows, Some(count.bytes))
        } else {
            let mut scan = self.span.scan(client).keys_only().page_rows(0);
            let mut rows = 0;
            while let Some(page) = scan.next_page().await? {
                rows += page.len() as u64;
            }
            (rows, None)
        };
        match output {
            Output::Table => output::line(rows)?,
            Output::Json => output::json(&json!({ "rows": rows, "bytes": bytes }))?,
        }
        Ok(())
    }
}
