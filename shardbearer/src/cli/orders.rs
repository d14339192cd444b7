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
            Output::Table => output::line(table(&status.orders, &status.radiants))?,
        }
        Ok(())
    }
}

/// The orders for people.
pub(super) fn table(orders: &[report::Order], radiants: &[report::Radiant]) -> Table {
    let name = |id: u64| match radiants.iter().find(|radiant| radiant.id == id) {
        Some(radiant) => format!("{} ({id})", radiant.name),
        None => id.to_string(),
    };
    let names = |ids: &[u64]| ids.iter().map(|id| name(*id)).collect::<Vec<_>>().join(", ");
    let mut table = output::table(&[
        "order", "state", "herald", "members", "weight", "shards", "engine", "term", "applied",
    ]);
    for order in orders {
        let title = if order.control { format!("{} (control)", order.id) } else { order.id.to_string() };
        table.add_row([
            title,
            order.state.clone(),
            order.herald.map_or_else(|| "-".into(), name),
            match order.learners.as_slice() {
                [] => names(&order.members),
                learners => {
                    format!("{} (learning: {})", names(&order.members), names(learners))
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
