//! `system`: what concerns the cluster as a whole: saving its control order.

use clap::{Args, Subcommand};
use shardbearer_client::pb;

use super::Global;
use super::rebalance::How;
use super::reset;

/// Arguments of `system`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer system reset --dry-run             most of the control order is lost: what can be saved")]
pub(super) struct System {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have the control order, most of which is lost for good, go on from the member that is left
    #[command(after_help = "Examples:
  shardbearer system reset --dry-run
  shardbearer system reset --force --why 'the disks of r2 and r3 are lost'

Without its control order (order 1) a cluster serves its data on, but nothing about it changes: no member is replaced, no shard
moves, nobody joins. First start every control member that can still be started: most of them elect a herald by themselves.

Any radiant that is up can be asked. It asks all others and gives an account: which member the control order would go on from,
with which configuration, and which decisions may be lost; for those it takes --force. Control members that are not reached
must be off: together they could still decide, and it would be undone. While a majority of them answers it is refused, --force
or not.

Afterwards the lost seats are given to radiants that are up, and orders that are without a majority of their own can be
saved by `shardbearer order reset`.")]
    Reset {
        /// Only show what is known and what would follow
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        how: How,
    },
}

impl System {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let client = global.client().await?;
        let Action::Reset { dry_run, how: How { force, why } } = self.action;
        let request = pb::ResetRequest { order: 1, dry_run, force, who: String::new(), why, system: true };
        reset::run(&client, global, request).await
    }
}
