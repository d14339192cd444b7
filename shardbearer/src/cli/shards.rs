//! `shards`: the slices of tables.

use anyhow::bail;
use clap::Args;
use comfy_table::Table;

use super::Global;
use super::output::{self, Output};
use crate::report;

/// Arguments of `shards`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer shards
  shardbearer shards --order 3
  shardbearer --output json shards | jq 'map(.rows) | add'")]
pub(super) struct Shards {
    /// Only those that this order owns
    #[arg(long, value_name = "ID")]
    order: Option<u64>,
    /// Only those of this table
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
}

impl Shards {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let status: report::Status = global.client().await?.status().await?.into();
        if let Some(order) = self.order.filter(|order| status.orders.iter().all(|known| known.id != *order)) {
            let known: Vec<u64> = status.orders.iter().map(|order| order.id).collect();
            bail!("there is no order {order}; there are {}", output::ranges(&known));
        }
        if let Some(table) =
            self.table.as_ref().filter(|name| status.tables.iter().all(|known| known.name != **name))
        {
            let known: Vec<&str> = status.tables.iter().map(|table| table.name.as_str()).collect();
            bail!("there is no table {table:?}; there are {}", known.join(", "));
        }
        let mut shards = status.shards;
        shards.retain(|shard| {
            self.order.is_none_or(|order| shard.order == Some(order))
                && self.table.as_ref().is_none_or(|table| shard.table == *table)
        });
        match global.output {
            Output::Json => output::json(&shards)?,
            Output::Table => output::line(table(&shards))?,
        }
        Ok(())
    }
}

fn table(shards: &[report::Shard]) -> Table {
    let mut table =
        output::table(&["shard", "table", "order", "state", "rows", "bytes", "reads/s", "writes/s"]);
    for shard in shards {
        table.add_row([
            shard.id.to_string(),
            shard.table.clone(),
            match shard.pin {
                Some(pin) if shard.order == Some(pin) => format!("{pin} (pinned)"),
                Some(pin) => format!("{} (pinned to {pin})", output::or_dash(shard.order)),
                None => output::or_dash(shard.order),
            },
            shard.state.clone(),
            shard.rows.to_string(),
            output::bytes(shard.bytes),
            shard.reads_per_s.to_string(),
            shard.writes_per_s.to_string(),
        ]);
    }
    output::right(&mut table, &[4, 5, 6, 7]);
    table
}
