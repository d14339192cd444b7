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

use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::kv::{Command, Item, Migrate, Migrated, Reply, Step};
use shardbearer_core::migration::{Migration, Phase, Split};
use shardbearer_core::slots::slot_of;
use shardbearer_core::topology::Topology;
use shardbearer_state::migration::{Attendant, Duty, Owned, left_over};
use shardbearer_state::shard::{moving_shards, part};

pub use self::known::Known;
use crate::cluster::{Cluster, migrations};
use crate::kv::CallResult;
use crate::map::extents_of;
use crate::order::Order;
use crate::router::Router;

/// How often an order is looked after when nothing is heard.
const ROUND: Duration = Duration::from_millis(200);

/// How often led orders are looked through for what is left over when nothing changed: a step of a migration that is over
/// may still have been in a log.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

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
    let mut clean = true;
    for order in led(cluster) {
        let found = moving_shards(order.view().as_ref(), order.id()).and_then(|mut shards| {
            // One that forgot that it has given the shard away does not look as if that were moving.
            if last.from == order.id() && !shards.contains(&last.source()) {
                shards.push(last.source());
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
            let until = until(&topology, shard);
            let owned = Owned { shard, epoch: topology.epoch, order: owner, until };
            if let Some((migration, step)) = left_over(&last, &part, order.id(), owned) {
                clean = false;
                clear_away(&order, shard, migration, step).await;
            }
        }
    }
    clean
}

/// The slot before which a shard ends in a configuration; 0 if that cannot be told.
fn until(topology: &Topology, shard: ShardId) -> u16 {
    let extents = topology.tables.iter().flat_map(extents_of);
    extents.into_iter().find(|extent| extent.shard == shard).map_or(0, |extent| extent.until)
}

/// Takes a step of a migration that is over, as often as it takes.
async fn clear_away(order: &Order, shard: ShardId, migration: Epoch, step: Step) {
    tracing::info!(order = %order.id(), %shard, %migration, ?step, "after a migration");
    loop {
        let command = Command::Migrate(Migrate { migration, step: step.clone() });
        match one(order.execute(vec![Item::of(shard, command)], STEP_DEADLINE).await) {
            Ok(Migrated::Part(part)) if part.more => {}
            Ok(_) => return,
            Err(error) => return tracing::debug!(order = %order.id(), %shard, %error, "not done yet"),
        }
    }
}

/// A step as an item of a shard of the migration.
fn item(record: &Migration, shard: ShardId, step: Step) -> Item {
    Item::of(shard, Command::Migrate(Migrate { migration: record.id, step }))
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

    /// Whether the source's shard is asked for something that the detour leads to: of a split, for a key that crosses.
    pub fn concerns(&self, item: &Item) -> bool {
        item.shard == self.source()
            && self.split.is_none_or(|split| item.command.key().is_some_and(|key| slot_of(key) >= split.at))
    }
}
