//! `shard`: moving shards between orders, and dividing them.

use clap::{Args, Subcommand};
use shardbearer_client::pb::move_request::{Kind, Plan, Split};
use shardbearer_client::pb::rebalance_request;
use shardbearer_client::{Client, pb};

use super::output::{self, Output};
use super::rebalance::{self, How};
use super::watching::Watch;
use super::{Global, explain, undo};
use crate::report;
use crate::report::migration::Migration;

/// Arguments of `shard`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer shard move 7 --to 3 --watch
  shardbearer shard move 7 --to 3 --dry-run
  shardbearer shard split 7 --watch
  shardbearer shard pause
  shardbearer shard cancel --why 'not during the sale'
  shardbearer --output json shard undo
  shardbearer shard pin 7 --to 3
  shardbearer shard explain 7

One shard moves at a time. It is served all the while; its writers wait for some milliseconds when it changes hands.")]
pub(super) struct Shard {
    #[command(subcommand)]
    action: Action,
    /// The reason, for the history of the cluster
    #[arg(long, global = true, value_name = "TEXT", default_value = "")]
    why: String,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Move a shard to another order
    #[command(after_help = "Examples:
  shardbearer shard move 7 --to 3
  shardbearer shard move 7 --to 3 --watch --why 'order 2 is full'
  shardbearer --output json shard move 7 --to 3 --dry-run")]
    Move {
        /// The shard
        #[arg(value_name = "ID")]
        shard: u64,
        /// The order that shall own it
        #[arg(long, value_name = "ID")]
        to: u64,
        /// Show progress until it is over
        #[arg(long)]
        watch: bool,
        /// Say what would be moved, and move nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Divide a shard: its upper slots become a new shard, with another order or the same
    #[command(after_help = "Examples:
  shardbearer shard split 7 --watch                      at the middle, to the order with the least to do
  shardbearer shard split 7 --to 3 --at 900 --why 'hot'  slots 900 on, to order 3
  shardbearer --output json shard split 7 | jq .shard    the number of the new one

What is split is not merged again: `shard move` can take the new shard anywhere, `shard undo` refuses.")]
    Split {
        /// The shard
        #[arg(value_name = "ID")]
        shard: u64,
        /// The order of the new shard; without it the one with the least to do
        #[arg(long, value_name = "ID")]
        to: Option<u64>,
        /// The first slot of the new shard; without it the one in the middle
        #[arg(long, value_name = "SLOT", value_parser = clap::value_parser!(u32).range(1..16_384))]
        at: Option<u32>,
        /// Show progress until it is over
        #[arg(long)]
        watch: bool,
    },
    /// Halt the copying
    #[command(after_help = "Examples:
  shardbearer shard pause")]
    Pause,
    /// Let a halted copying go on
    #[command(after_help = "Examples:
  shardbearer shard resume")]
    Resume,
    /// Call the migration off: the shard stays where it was
    #[command(after_help = "Examples:
  shardbearer shard cancel --why 'not during the sale'")]
    Cancel,
    /// Move the shard that was moved last back to where it was; if the last step of that move is under way, as soon as it is over
    #[command(after_help = "Examples:
  shardbearer shard undo
  shardbearer shard undo 42 --why 'order 3 is slow'    the migration that began in epoch 42: asking again does nothing more")]
    Undo {
        /// The migration, by the epoch that began it; without it the last one
        #[arg(value_name = "EPOCH")]
        migration: Option<u64>,
    },
    /// Have a shard belong to an order whatever the shares are; it moves there with the next rebalance
    #[command(after_help = "Examples:
  shardbearer shard pin 7 --to 3 --why 'it needs the fast disks'
  shardbearer shard pin 7 --to 3 --dry-run
  shardbearer shard pin 7 --to 3 && shardbearer rebalance")]
    Pin {
        /// The shard
        #[arg(value_name = "ID")]
        shard: u64,
        /// Its order
        #[arg(long, value_name = "ID")]
        to: u64,
        /// Only show what would follow
        #[arg(long)]
        dry_run: bool,
    },
    /// Let a pinned shard be anywhere
    #[command(after_help = "Examples:
  shardbearer shard unpin 7
  shardbearer shard unpin 7 --dry-run")]
    Unpin {
        /// The shard
        #[arg(value_name = "ID")]
        shard: u64,
        /// Only show what would follow
        #[arg(long)]
        dry_run: bool,
    },
    /// Tell why a shard is where it is: its moves, their reasons, what else could have been done, what they changed
    #[command(after_help = "Examples:
  shardbearer shard explain 7
  shardbearer --output json shard explain 7 | jq '.moves[-1].effect'")]
    Explain {
        /// The shard
        #[arg(value_name = "ID")]
        shard: u64,
    },
    /// Show the migration until it is over
    #[command(after_help = "Examples:
  shardbearer shard watch")]
    Watch,
}

impl Shard {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let client = global.client().await?;
        let pin = |shard, order| rebalance_request::Kind::Pin(pb::Pin { shard, order });
        let how = How::because(self.why.clone());
        let kind = match self.action {
            Action::Pin { shard, to, dry_run } => {
                return rebalance::ask(&client, global, pin(shard, to), dry_run, how).await.map(drop);
            }
            Action::Unpin { shard, dry_run } => {
                return rebalance::ask(&client, global, pin(shard, 0), dry_run, how).await.map(drop);
            }
            Action::Explain { shard } => return explain::run(&client, global, shard).await,
            Action::Move { shard, to, dry_run: true, .. } => {
                return predict(&client, global, shard, to).await;
            }
            Action::Move { shard, to, .. } => Kind::Plan(Plan { shard, to }),
            Action::Split { shard, to, at, .. } => {
                Kind::Split(Split { shard, to: to.unwrap_or(0), at: at.unwrap_or(0) })
            }
            Action::Pause => Kind::Pause(0),
            Action::Resume => Kind::Resume(0),
            Action::Cancel => Kind::Cancel(0),
            Action::Undo { migration } => {
                let undone = undo::run(&client, migration.unwrap_or(0), self.why).await?;
                return undone.map_or(Ok(()), |migration| show(global, &migration));
            }
            Action::Watch => return watch(&client, global, 0).await,
        };
        let plans = matches!(self.action, Action::Move { .. });
        let watched =
            matches!(self.action, Action::Move { watch: true, .. } | Action::Split { watch: true, .. });
        let who = String::new();
        let begun = client.move_shard(pb::MoveRequest { kind: Some(kind), who, why: self.why }).await?;
        match begun.map(Migration::from) {
            // A move that begins is not over yet.
            Some(migration) if plans && migration.over && global.output == Output::Table => {
                let Migration { shard, to, .. } = migration;
                Ok(output::line(format!("nothing had to be done: shard {shard} is with order {to} already"))?)
            }
            Some(migration) if watched && !migration.over => watch(&client, global, migration.id).await,
            Some(migration) => show(global, &migration),
            None => Ok(output::line("nothing had to be done")?),
        }
    }
}

fn show(global: &Global, migration: &Migration) -> anyhow::Result<()> {
    match global.output {
        Output::Json => output::json(migration)?,
        Output::Table => output::line(migration.sentence())?,
    }
    Ok(())
}

/// Shows a migration, the last if it is not named, until it is over.
async fn watch(client: &Client, global: &Global, id: u64) -> anyhow::Result<()> {
    let mut watch = Watch::new("the migration");
    loop {
        let status = watch.look(client).await?;
        match status.migration.filter(|migration| migration.id >= id) {
            Some(migration) if migration.over => {
                watch.finish();
                show(global, &migration)?;
                let stays =
                    migration.parent.map_or("the shard stays with", |_| "the shard stays whole, with");
                anyhow::ensure!(
                    migration.phase == "collected",
                    "{stays} order {}: {}",
                    migration.from,
                    migration.called_off.as_deref().unwrap_or("it was called off")
                );
                return Ok(());
            }
            Some(migration) => watch.say(&migration.phase, &migration.sentence()),
            None if id == 0 => {
                watch.finish();
                return Ok(output::line("no shard was ever moved")?);
            }
            // The radiant asked has not heard of it yet.
            None => {}
        }
    }
}

/// Says what a move would do.
async fn predict(client: &Client, global: &Global, shard: u64, to: u64) -> anyhow::Result<()> {
    let status: report::Status = client.status().await?.into();
    let found = status.shards.iter().find(|one| one.id == shard);
    let found = found.ok_or_else(|| anyhow::anyhow!("there is no shard {shard}"))?;
    let order = status.orders.iter().find(|order| order.id == to && !order.control);
    let order = order.ok_or_else(|| anyhow::anyhow!("there is no data order {to}"))?;
    let under_way = status.migration.as_ref().filter(|migration| !migration.over);
    let obstacle = match (under_way, found.order) {
        (Some(migration), _) => Some(format!("one shard moves at a time: {}", migration.sentence())),
        (None, Some(owner)) if owner == to => Some(format!("order {to} owns it already")),
        (None, None) => Some("it belongs to no order".into()),
        (None, Some(_)) if order.state == "down" => Some(format!("order {to} has no herald")),
        (None, Some(_)) => None,
    };
    match global.output {
        Output::Json => output::json(&serde_json::json!({
            "shard": shard, "from": found.order, "to": to,
            "rows": found.rows, "bytes": found.bytes, "obstacle": obstacle,
        }))?,
        Output::Table => {
            let from = output::or_dash(found.order);
            let bytes = output::bytes(found.bytes);
            output::line(format!("shard {shard}, order {from} to {to}: {} rows, {bytes}", found.rows))?;
            output::line(obstacle.unwrap_or_else(|| "nothing is in the way".into()))?;
        }
    }
    Ok(())
}
