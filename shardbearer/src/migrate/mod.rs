//! Moving shards: what the heralds of the two orders do, as the machines of `shardbearer_state::migration` decide.
//!
//! ```text
//!   control order ──record, by pulses──▶ drive_all, where the destination is led   (every step forward)
//!                                        attend_all, where the source is led       (back)
//!                                                    and wherever an order is led    (away with what is left over)
//! ```
//!
//! The record as it arrives here may be old. That is a reason to be slow, never to be wrong: what is decided from it is
//! refused by the control order or by the order's log if it does not hold any more.

mod drive;
mod known;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::kv::{Command, Item, Migrate, Migrated, Reply, Step};
use shardbearer_core::migration::{Migration, Phase, Split};
use shardbearer_core::slots::{Slots, slot_of};
use shardbearer_core::topology::Topology;
use shardbearer_state::migration::{Attendant, Duty, Owned, left_over};
use shardbearer_state::shard::{moving_shards, part};

pub use self::known::Known;
use crate::cluster::{Cluster, migrations};
use crate::kv::CallResult;
use crate::map::{Extent, extents_of};
use crate::order::Order;
use crate::router::Router;

/// How often an order is looked after when nothing is heard.
const ROUND: Duration = Duration::from_millis(200);

/// How often led orders are looked through for what is left over when nothing changed: a step of a migration that is over
/// may still have been in a log.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// So long what splits left over is dropped in one go, in all orders together, save that each shard gets a step. The rest is
/// for the next round: clients come first, and so do sources that are to be attended to.
const CLEAR_UP: Duration = Duration::from_millis(20);

/// For one step at either order.
const STEP_DEADLINE: Duration = Duration::from_secs(2);

/// Drives migrations to the orders that are led here, until the world ends.
pub async fn drive_all(cluster: Arc<Cluster>, router: Arc<Router>) {
    loop {
        cluster.migrations.changed(ROUND).await;
        if let Some((record, order)) = concerned(&cluster, |record| record.to) {
            drive::drive(&cluster, &router, &order, record).await;
        }
    }
}

/// Attends to migrations from the orders that are led here, until the world ends.
pub async fn attend_all(cluster: Arc<Cluster>) {
    let mut attended: Option<(Epoch, Attendant)> = None;
    let mut looked = Looked::default();
    loop {
        cluster.migrations.changed(ROUND).await;
        if looked.is_due(&cluster) {
            looked.clean = clear_up(&cluster).await;
        }
        let Some((record, order)) = concerned(&cluster, |record| record.from) else {
            attended = None;
            continue;
        };
        let known = attended.take().filter(|(id, _)| *id == record.id);
        let (id, mut attendant) = known.unwrap_or((record.id, Attendant::default()));
        attend(&cluster, &order, &record, &mut attendant).await;
        attended = Some((id, attendant));
    }
}

/// The migration under way and one of its orders, if that is led here.
fn concerned(cluster: &Cluster, which: impl Fn(&Migration) -> OrderId) -> Option<(Migration, Arc<Order>)> {
    let record = cluster.migrations.last().filter(|record| !record.phase.is_over())?;
    let order = cluster.orders.find(which(&record))?;
    order.engine().status().leading.then_some((record, order))
}

/// Does what is to be done at the source now.
async fn attend(cluster: &Arc<Cluster>, order: &Arc<Order>, record: &Migration, attendant: &mut Attendant) {
    while order.engine().status().leading {
        let present = match part(order.view().as_ref(), order.id(), record.source()) {
            Ok(part) => part,
            Err(error) => return tracing::error!(order = %order.id(), %error, "cannot read a shard's record"),
        };
        let now_ms = cluster.world.monotonic_ns() / 1_000_000;
        match attendant.duty(record, &present, now_ms) {
            Duty::Nothing => return,
            Duty::Step(step) => {
                tracing::debug!(order = %order.id(), shard = %record.shard, ?step, "at the source");
                let results = order.execute(vec![item(record, record.source(), step)], STEP_DEADLINE).await;
                match one(results) {
                    Ok(Migrated::Part(part)) => {
                        attendant.done(record, &part);
                        if part == present {
                            // It had no effect; what is known here may be old.
                            return;
                        }
                    }
                    Ok(_) => return,
                    Err(error) => {
                        return tracing::debug!(order = %order.id(), %error, "the source's step failed");
                    }
                }
            }
            Duty::Control(change, why) => {
                tracing::info!(migration = %record.id, shard = %record.shard, "{why}");
                let who = format!("order {}", order.id());
                if let Err(why) = migrations::change(cluster, change, who, why.to_owned()).await {
                    tracing::debug!(migration = %record.id, "not taken: {why}");
                }
                return;
            }
        }
    }
}

/// Orders that are led here.
fn led(cluster: &Cluster) -> impl Iterator<Item = Arc<Order>> + use<> {
    cluster.orders.all().into_iter().filter(|order| order.engine().status().leading)
}

/// When orders were looked through for what is left over. Each time costs a look at every shard's record.
#[derive(Default)]
struct Looked {
    last: Option<(Epoch, Phase)>,
    /// By which it is known who owns what.
    epoch: Epoch,
    led: Vec<OrderId>,
    at_ns: u64,
    /// Nothing was left.
    clean: bool,
}

impl Looked {
    fn is_due(&mut self, cluster: &Cluster) -> bool {
        let now = Looked {
            last: cluster.migrations.last().map(|last| (last.id, last.phase)),
            epoch: cluster.map.topology().epoch,
            led: led(cluster).map(|order| order.id()).collect(),
            at_ns: cluster.world.monotonic_ns(),
            clean: false,
        };
        let same = (self.last, self.epoch, &self.led) == (now.last, now.epoch, &now.led);
        let lately = Duration::from_nanos(now.at_ns.saturating_sub(self.at_ns)) < LOOK_AGAIN;
        let due = !(same && self.clean && lately);
        if due {
            *self = now;
        }
        due
    }
}

/// Does what is left to do in orders that are led here about migrations that are over; returns whether nothing was.
async fn clear_up(cluster: &Arc<Cluster>) -> bool {
    let Some(last) = cluster.migrations.last() else { return true };
    let topology = cluster.map.topology();
    let ends = Ends::of(&topology);
    let end_ns = cluster.world.monotonic_ns().saturating_add(CLEAR_UP.as_nanos() as u64);
    let mut clean = true;
    for order in led(cluster) {
        let found = moving_shards(order.view().as_ref(), order.id()).and_then(|mut shards| {
            // One that forgot that it has given a shard away, or a part of one, does not look as if that were moving.
            let given = (last.from == order.id()).then(|| last.source());
            for shard in given.into_iter().chain(ends.cut_of(&topology, order.id())) {
                if !shards.contains(&shard) {
                    shards.push(shard);
                }
            }
            let part_of = |shard| Ok((shard, part(order.view().as_ref(), order.id(), shard)?));
            shards.into_iter().map(part_of).collect::<Result<Vec<_>, _>>()
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(order = %order.id(), %error, "cannot read the shards' records");
                clean = false;
                continue;
            }
        };
        for (shard, part) in found {
            // One that was to be split off is no shard, and left over all the same.
            let owner = topology.owner_of(shard).unwrap_or_default();
            let (until, cut) = ends.of_shard(shard);
            let owned = Owned { shard, epoch: topology.epoch, order: owner, until, cut };
            if let Some((migration, step)) = left_over(&last, &part, order.id(), owned) {
                clean = false;
                // Only what a split left can be told from other rows again, and go on in the next round.
                let goes_on_later = matches!(step, Step::Collect { until, .. } if until != 0);
                let end_ns = if goes_on_later { end_ns } else { u64::MAX };
                clear_away(cluster, &order, item_of(shard, migration, step), end_ns).await;
            }
        }
    }
    clean
}

/// Where shards end by a configuration.
struct Ends(BTreeMap<ShardId, (u16, bool)>);

impl Ends {
    fn of(topology: &Topology) -> Ends {
        let ends = topology.tables.iter().flat_map(|table| {
            let slots = Slots::parse(&table.scheme);
            let is_cut = move |slot| slots.as_ref().is_some_and(|slots| slots.is_cut(slot));
            let extents = extents_of(table).into_iter();
            extents.map(move |Extent { shard, until }| (shard, (until, is_cut(until))))
        });
        Ends(ends.collect())
    }

    /// The slot before which a shard ends, and whether it was split there; 0 if that cannot be told.
    fn of_shard(&self, shard: ShardId) -> (u16, bool) {
        self.0.get(&shard).copied().unwrap_or_default()
    }

    /// The shards of an order that end where one was split.
    fn cut_of(&self, topology: &Topology, order: OrderId) -> Vec<ShardId> {
        let mut shards = topology.shards_of(order);
        shards.retain(|shard| self.of_shard(*shard).1);
        shards
    }
}

/// Takes a step of a migration that is over, once at least, and then as often as it takes until that time (monotonic, ns).
async fn clear_away(cluster: &Cluster, order: &Order, item: Item, end_ns: u64) {
    let shard = item.shard;
    tracing::debug!(order = %order.id(), %shard, command = ?item.command, "after a migration");
    loop {
        match one(order.execute(vec![item.clone()], STEP_DEADLINE).await) {
            Ok(Migrated::Part(part)) if part.more && cluster.world.monotonic_ns() < end_ns => {}
            Ok(_) => return,
            Err(error) => return tracing::debug!(order = %order.id(), %shard, %error, "not done yet"),
        }
    }
}

/// A step as an item of a shard of the migration.
fn item(record: &Migration, shard: ShardId, step: Step) -> Item {
    item_of(shard, record.id, step)
}

fn item_of(shard: ShardId, migration: Epoch, step: Step) -> Item {
    Item::of(shard, Command::Migrate(Migrate { migration, step }))
}

/// The answer to the only item.
fn one(results: Vec<CallResult>) -> Result<Migrated, RequestError> {
    match results.into_iter().next() {
        Some(Ok(Reply::Migrated(migrated))) => Ok(migrated),
        Some(Ok(_)) | None => Err(Refused::Unavailable("the answer makes no sense".into()).into()),
        Some(Err(error)) => Err(error),
    }
}

/// Where else a shard may be than the configuration says, or some of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour {
    /// The shard as it will be or is.
    pub shard: ShardId,
    /// The one that it is split off, and where.
    pub split: Option<Split>,
    /// Of a split: the slot before which that one ended; 0: not known.
    pub until: u16,
    /// Where it is or was.
    pub from: OrderId,
    /// Where it will be or is.
    pub to: OrderId,
    /// The epoch that says that it is there; none if it is not decided.
    pub since: Epoch,
    /// Whether the source has dropped what it gave. One that was split serves on.
    pub collected: bool,
}

impl Detour {
    /// The shard that its source has or had.
    pub fn source(&self) -> ShardId {
        self.split.map_or(self.shard, |split| split.parent)
    }

    /// Whether the source's shard is asked for something that the detour leads to: of a split, for keys that all cross.
    pub fn concerns(&self, item: &Item) -> bool {
        item.shard == self.source() && self.split.is_none_or(|split| self.crosses(split, &item.command))
    }

    fn crosses(&self, split: Split, command: &Command) -> bool {
        let within = |key: &Bytes| {
            let slot = slot_of(key);
            slot >= split.at && (self.until == 0 || slot < self.until)
        };
        match command {
            // The first key says nothing of the others: by an old configuration they are of one shard.
            Command::Batch { commands, .. } => {
                !commands.is_empty() && commands.iter().all(|command| command.key().is_some_and(&within))
            }
            command => command.key().is_some_and(&within),
        }
    }
}
