//! `kv scan`: rows in key order.

use clap::Args;
use serde_json::Value;
use shardbearer_client::Client;

use super::super::output::{self, Output};
use super::Span;

/// Arguments of `kv scan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer kv scan --prefix user: --limit 20
  shardbearer kv scan --start a --end b --keys-only
  shardbearer --output json kv scan --prefix user: | jq '.[].key'

Long values are shortened; `kv export` writes them whole.")]
pub(in crate::cli) struct Scan {
    #[command(flatten)]
    span: Span,
    /// Rows at most
    #[arg(long, default_value_t = 100, value_name = "ROWS")]
    limit: u64,
    /// Keys without values
    #[arg(long)]
    keys_only: bool,
}

impl Scan {
    pub(super) async fn run(self, client: &Client, output: Output) -> anyhow::Result<()> {
        let mut scan = self.span.scan(client).limit(self.limit);
        if self.keys_only {
            scan = scan.keys_only();
        }
        let header: &[&str] =
            if self.keys_only { &["key", "revision"] } else { &["key", "revision", "value"] };
        let (mut table, mut rows) = (output::table(header), Vec::new());
        while let Some(page) = scan.next_page().await? {
            for row in page {
                match output {
                    Output::Json => rows.push(super::row_json(&row.key, &row.record, !self.keys_only)),
                    Output::Table => {
                        let mut cells = vec![output::text(&row.key), row.record.revision.to_string()];
                        if !self.keys_only {
                            cells.push(super::shortened(&row.record.value));
                        }
                        table.add_row(cells);
                    }
                }
            }
        }
        match output {
            Output::Json => output::json(&Value::from(rows))?,
            Output::Table if table.is_empty() => output::line("no rows")?,
            Output::Table => output::line(table)?,
        }
        Ok(())
    }
}
