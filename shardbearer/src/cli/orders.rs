//! `orders`: the replica groups.

use clap::Args;
use comfy_table::Table;

use super::Global;
use super::output::{self, Output};
use crate::report;

/// Arguments of `orders`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer orders
  shardbearer --output json orders | jq '.[] | select(.control | not) | .herald'")]
pub(super) struct Orders {}

impl Orders {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let status: report::Status = global.client().await?.status().await?.into();
        match global.output {
            Output::Json => output::json(&status.orders)?,
            Output::Table => output::line(table(&status.orders))?,
        }
        Ok(())
    }
}

/// The orders for people.
pub(super) fn table(orders: &[report::Order]) -> Table {
    let mut table = output::table(&[
        "order", "state", "herald", "members", "weight", "shards", "engine", "term", "applied",
    ]);
    for order in orders {
        let name = if order.control { format!("{} (control)", order.id) } else { order.id.to_string() };
        table.add_row([
            name,
            order.state.clone(),
            output::or_dash(order.herald),
            match order.learners.as_slice() {
                [] => output::list(&order.members),
                learners => {
                    format!("{} (learning: {})", output::list(&order.members), output::list(learners))
                }
            },
            match (order.control, order.removing) {
                (true, _) => "-".to_owned(),
                (false, true) => "leaving".to_owned(),
                (false, false) => order.weight.to_string(),
            },
            output::ranges(&order.shards),
            order.engine.clone(),
            order.term.to_string(),
            order.applied.to_string(),
        ]);
    }
    output::right(&mut table, &[4, 7, 8]);
    table
}
