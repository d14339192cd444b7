//! `epochs`: the configurations the cluster has had, what differs between them, and the way back.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;
use shardbearer_client::{Client, pb};
use shardbearer_core::topology::Topology;
use shardbearer_state::epochs::{Difference, differences};

use super::Global;
use super::failure::Failure;
use super::output::{self, Output};
use crate::gateway::TABLE_DEFAULT;
use crate::map::Map;
use crate::report::history::{Configuration, Epoch};

/// Arguments of `epochs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer epochs                       who changed what, when and why
  shardbearer epochs --at 12               the whole configuration of epoch 12
  shardbearer epochs --at 12 key user:1    which order owned that key then, and on which radiants
  shardbearer epochs diff 12 15            what is different in 15
  shardbearer epochs revert 14             take back what epoch 14 changed
  shardbearer --output json epochs | jq '.[-1].why'

Every change of the configuration is an epoch and stays for ever; nothing is ever changed in the past. Going back is a new
change, with an epoch of its own that names the old one.")]
pub(super) struct Epochs {
    /// The configuration of this epoch; without it the latest
    #[arg(long, value_name = "EPOCH")]
    at: Option<u64>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What differs between two configurations: radiants, orders, tables, shards, weights, pins, how shards are spread
    #[command(after_help = "Examples:
  shardbearer epochs diff 12 15
  shardbearer --output json epochs diff 1 15 | jq '.[] | select(.kind == \"shard\")'")]
    Diff {
        /// The earlier epoch, though any will do
        from: u64,
        /// The later one
        to: u64,
    },
    /// Who owns a key, or owned it at --at
    #[command(after_help = "Examples:
  shardbearer epochs --at 12 key user:1
  shardbearer epochs key user:1 --table default")]
    Key {
        /// The key
        key: String,
        /// Its table
        #[arg(long, default_value = TABLE_DEFAULT)]
        table: String,
    },
    /// Take back what one epoch changed, by what an operator could ask for: a move back, another part for a radiant, the
    /// former weight, pin or mode
    #[command(after_help = "Examples:
  shardbearer epochs revert 14 --dry-run   what would follow, or why it cannot be
  shardbearer epochs revert 14

A move is reverted by the epoch that ended it. Seats, joins, doors and whole orders are not reverted: the sentence says what
to do instead. What is something else by now is not changed either: the epoch that made it so is to be reverted first.")]
    Revert {
        /// The epoch whose change is to be taken back
        epoch: u64,
        /// Only show what would follow or what stands in the way
        #[arg(long)]
        dry_run: bool,
    },
}

/// Who owned a key, as printed for programs.
#[derive(Debug, Serialize)]
struct Owner {
    epoch: u64,
    at_ms: u64,
    table: String,
    key: String,
    shard: u64,
    order: Option<u64>,
    members: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Different {
    id: u64,
    kind: &'static str,
    part: &'static str,
    before: String,
    after: String,
}

impl From<Difference> for Different {
    fn from(difference: Difference) -> Self {
        let Difference { kind, id, part, before, after } = difference;
        Different { id, kind, part, before, after }
    }
}

#[derive(Debug, Serialize)]
struct Reverted {
    done: bool,
    steps: Vec<String>,
    blockers: Vec<String>,
}

impl Epochs {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.at.is_none() || matches!(self.what, None | Some(What::Key { .. })),
            "--at goes with `epochs` alone and with `epochs key`"
        );
        let client = global.client().await?;
        match self.what {
            None => match self.at {
                None => list(&client, global.output).await,
                Some(epoch) => whole(&client, epoch, global.output).await,
            },
            Some(What::Diff { from, to }) => diff(&client, from, to, global.output).await,
            Some(What::Key { key, table }) => owner(&client, self.at, &table, &key, global.output).await,
            Some(What::Revert { epoch, dry_run }) => revert(&client, epoch, dry_run, global.output).await,
        }
    }
}

async fn list(client: &Client, to: Output) -> anyhow::Result<()> {
    let epochs: Vec<Epoch> = client.epochs().await?.into_iter().map(Into::into).collect();
    match to {
        Output::Json => output::json(&epochs)?,
        Output::Table => {
            let mut table = output::table(&["epoch", "when", "who", "what", "why"]);
            for epoch in epochs {
                table.add_row([epoch.id.to_string(), ago(epoch.at_ms), epoch.who, epoch.what, epoch.why]);
            }
            output::line(table)?;
        }
    }
    Ok(())
}

/// An epoch's record and configuration.
async fn past(client: &Client, epoch: u64) -> anyhow::Result<(Epoch, Topology)> {
    let pb::EpochAtResponse { record, topology } = client.epoch_at(epoch).await?;
    let (record, topology) = record
        .zip(topology)
        .with_context(|| format!("there is no epoch {epoch}; `shardbearer epochs` lists those there are"))?;
    Ok((record.into(), topology.try_into()?))
}

async fn whole(client: &Client, epoch: u64, to: Output) -> anyhow::Result<()> {
    let (epoch, topology) = past(client, epoch).await?;
    let configuration = Configuration::new(epoch, &topology);
    match to {
        Output::Json => output::json(&configuration)?,
        Output::Table => {
            let Epoch { id, at_ms, who, what, why } = &configuration.epoch;
            output::line(format!("epoch {id}, {}: {what} ({who}: {why})", ago(*at_ms)))?;
            let mut table = output::table(&["radiant", "name", "standing"]);
            for radiant in &configuration.radiants {
                table.add_row([radiant.id.to_string(), radiant.name.clone(), radiant.standing.clone()]);
            }
            output::line(table)?;
            let mut table = output::table(&["order", "engine", "members", "learners", "shards"]);
            for order in &configuration.orders {
                let (members, learners) = (output::list(&order.members), output::list(&order.learners));
                let shards = output::ranges(&order.shards);
                table.add_row([order.id.to_string(), order.engine.clone(), members, learners, shards]);
            }
            output::line(table)?;
        }
    }
    Ok(())
}

async fn diff(client: &Client, from: u64, until: u64, to: Output) -> anyhow::Result<()> {
    let (_, before) = past(client, from).await?;
    let (_, after) = past(client, until).await?;
    let found = differences(&before, &after);
    match to {
        Output::Json => output::json(&found.into_iter().map(Different::from).collect::<Vec<_>>())?,
        Output::Table if found.is_empty() => output::line("There is no difference.")?,
        Output::Table => found.iter().try_for_each(output::line)?,
    }
    Ok(())
}

async fn owner(client: &Client, at: Option<u64>, table: &str, key: &str, to: Output) -> anyhow::Result<()> {
    let at = match at {
        Some(at) => at,
        None => client.epochs().await?.last().context("there is no configuration yet")?.epoch,
    };
    let (epoch, topology) = past(client, at).await?;
    let map = Map::new(topology).map_err(anyhow::Error::msg)?;
    let shard = map
        .locate(table, key.as_bytes())
        .with_context(|| format!("there was no table {table:?} at epoch {at}"))?;
    let topology = map.topology();
    let name = |id: &shardbearer_core::ids::RadiantId| {
        topology.radiant(*id).map_or_else(|| id.to_string(), |radiant| radiant.name.clone())
    };
    let members = topology.order(shard.order).map(|order| order.members.iter().map(name).collect());
    let found = Owner {
        epoch: epoch.id,
        at_ms: epoch.at_ms,
        table: table.into(),
        key: key.into(),
        shard: shard.id.0,
        order: Some(shard.order.0).filter(|order| *order != 0),
        members: members.unwrap_or_default(),
    };
    match (to, found.order) {
        (Output::Json, _) => output::json(&found)?,
        (Output::Table, Some(order)) => output::line(format!(
            "epoch {}: {key} is in shard {} of table {table}, which order {order} owns, on {}",
            found.epoch,
            found.shard,
            found.members.join(", ")
        ))?,
        (Output::Table, None) => {
            output::line(format!(
                "epoch {}: {key} is in shard {}, which nobody owns",
                found.epoch, found.shard
            ))?;
        }
    }
    Ok(())
}

async fn revert(client: &Client, epoch: u64, dry_run: bool, to: Output) -> anyhow::Result<()> {
    let asked = pb::RevertRequest { epoch, dry_run, who: "operator".into() };
    let pb::RevertResponse { done, steps, blockers } = client.revert(asked).await?;
    let answer = Reverted { done, steps, blockers };
    match to {
        Output::Json => output::json(&answer)?,
        Output::Table => {
            let head = if done { "Decided. What follows:" } else { "Nothing was changed. It would follow:" };
            if !answer.steps.is_empty() {
                output::line(head)?;
                answer.steps.iter().try_for_each(|step| output::line(format!("  {step}")))?;
            }
        }
    }
    let refused = !answer.blockers.is_empty() && !done;
    let why = format!("epoch {epoch} is not reverted: {}", answer.blockers.join("; "));
    anyhow::ensure!(!refused, Failure::Refused(why));
    Ok(())
}

/// A time of the past in words.
pub(super) fn ago(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    match u64::try_from(now).unwrap_or(u64::MAX).saturating_sub(at_ms) / 1_000 {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
