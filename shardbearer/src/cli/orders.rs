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
            match order.replicas_missing {
                0 => order.state.clone(),
                _ => {
                    format!("{}, {} of {} replicas", order.state, order.members.len(), order.replicas_wanted)
                }
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_lacks_replicas_says_how_many() {
        let order = |missing| report::Order {
            id: 2,
            state: if missing > 0 { "degraded" } else { "ok" }.into(),
            members: (1..=3 - u64::from(missing)).collect(),
            replicas_wanted: 3,
            replicas_missing: missing,
            ..report::Order::default()
        };
        let shown = table(&[order(0), order(2)], &[]).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].contains("ok") && !lines[1].contains("replicas"), "{shown}");
        assert!(lines[2].contains("degraded, 1 of 3 replicas"), "{shown}");
    }
}
