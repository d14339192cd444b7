//! `order`: giving orders more or less, creating and removing them, saving those that lost their majority.

use clap::{Args, Subcommand};
use shardbearer_client::pb;
use shardbearer_client::pb::rebalance_request::Kind;

use super::Global;
use super::rebalance::{self, How};
use super::reset;
use crate::report;

/// Arguments of `order`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer order weight 3 --to 2              order 3 gets twice the share of an order with weight 1
  shardbearer order weight 3 --to 0              it is emptied by the next rebalance, and stays
  shardbearer order create                       one more, like the others
  shardbearer order remove 4 --dry-run           which shards would move where
  shardbearer order remove 4                     empty it, then remove it
  shardbearer order reset 3 --dry-run            most of its members are lost: what can be saved

Shards move by `shardbearer rebalance`, or by themselves where that is automatic; the removal of an order moves its own.")]
pub(super) struct Order {
    #[command(subcommand)]
    action: Action,
    /// Only show what would follow
    #[arg(long, global = true)]
    dry_run: bool,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give an order another share of the shards
    #[command(after_help = "Examples:
  shardbearer order weight 3 --to 2
  shardbearer order weight 3 --to 0 --why 'its disks are slow'")]
    Weight {
        /// The order
        #[arg(value_name = "ID")]
        order: u64,
        /// Its share relative to the others, which have 1 unless told otherwise; 0 takes none
        #[arg(long, value_name = "N")]
        to: u32,
    },
    /// Create an order without shards
    #[command(after_help = "Examples:
  shardbearer order create
  shardbearer order create --engine chain --members r1,r2,r3
  shardbearer order create && shardbearer rebalance --watch")]
    Create {
        /// How it is replicated; without this option as the first data order
        #[arg(long, value_name = "NAME")]
        engine: Option<String>,
        /// Names or ids of its members, the one that leads first in front; without this option those with the fewest seats
        #[arg(long, value_name = "RADIANT,...", value_delimiter = ',')]
        members: Vec<String>,
    },
    /// Empty an order, then remove it
    #[command(after_help = "Examples:
  shardbearer order remove 4 --dry-run
  shardbearer order remove 4 --why 'one too many'
  shardbearer order remove 4 --keep")]
    Remove {
        /// The order
        #[arg(value_name = "ID")]
        order: u64,
        /// Call it off: the order stays, without the shards that have gone
        #[arg(long)]
        keep: bool,
    },
    /// Have an order that lost most of its members for good go on from the one that is left
    #[command(after_help = "Examples:
  shardbearer order reset 3 --dry-run
  shardbearer order reset 3 --force --why 'the disks of r2 and r3 are lost'

First start every member that can still be started: an order with most of its members elects a herald by itself. The account
says which member the order would go on from, and which acknowledged writes may be lost; for those it takes --force. Members that
are not reached must be off. The control order has to have its majority; if that is lost, `shardbearer system reset` comes first.")]
    Reset {
        /// The order
        #[arg(value_name = "ID")]
        order: u64,
    },
}

impl Order {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let client = global.client().await?;
        let kind = match self.action {
            Action::Weight { order, to } => Kind::Weight(pb::Weight { order, weight: to }),
            Action::Create { engine, members } => {
                let status: report::Status = client.status().await?.into();
                let members = members.iter().map(|text| named(&status.radiants, text));
                let members = members.collect::<anyhow::Result<_>>()?;
                Kind::Create(pb::NewOrder { engine: engine.unwrap_or_default(), members })
            }
            Action::Remove { order, keep: false } => Kind::Remove(order),
            Action::Remove { order, keep: true } => Kind::Keep(order),
            Action::Reset { order } => {
                let (dry_run, How { force, why }) = (self.dry_run, self.how);
                let who = String::new();
                let request = pb::ResetRequest { order, dry_run, force, who, why, system: false };
                return reset::run(&client, global, request).await;
            }
        };
        rebalance::ask(&client, global, kind, self.dry_run, self.how).await.map(drop)
    }
}

/// The id of the radiant of that name or id.
fn named(radiants: &[report::Radiant], text: &str) -> anyhow::Result<u64> {
    let by_name = radiants.iter().find(|radiant| radiant.name == text);
    let by_id = || radiants.iter().find(|radiant| radiant.id.to_string() == text);
    let found = by_name.or_else(by_id).map(|radiant| radiant.id);
    found.ok_or_else(|| anyhow::anyhow!("there is no radiant {text:?}; `shardbearer radiants` lists them"))
}
