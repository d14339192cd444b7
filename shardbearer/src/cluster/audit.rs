//! Each replica reads the records it holds now and then, and holds them against the sums that writes keep up to date
//! ([`crate::order::Order::audit`]). What was altered on a disk is found so although nobody reads or writes it, and no other replica
//! has to be asked. [`super::held`] compares what is written, all the time and for nothing; this reads what is not.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_proto::pb;
use shardbearer_state::shard::Audited;
use tokio::time::Instant;

use super::Cluster;
use crate::order::Order;

/// Of the time, what reading may take: a tenth, unless there is too much to read for that.
const IDLE: u32 = 9;

/// Between two shards, so that the many small ones of a start do not come all at once.
const PAUSE: Duration = Duration::from_millis(100);

/// The first round begins within this after a start, so that one that is started every day reads everything, too.
const FIRST_WITHIN: Duration = Duration::from_secs(600);

/// Whatever is found is looked at once more after this: a disk may have been out of breath.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Alarms that are told, and characters of each. A disk that dies has as many as there are shards.
const TOLD_MAX: usize = 8;
const WORDS_MAX: usize = 200;

/// What is not as it was written.
#[derive(Default)]
pub struct Audits(Mutex<BTreeMap<(OrderId, ShardId), Alarm>>);

struct Alarm {
    /// Of whom it was found, and of which rows: whoever has another seat or got an image since then has others.
    order: Weak<Order>,
    installs: u64,
    words: String,
}

impl Alarm {
    fn is_of(&self, order: &Arc<Order>) -> bool {
        std::ptr::eq(self.order.as_ptr(), Arc::as_ptr(order)) && self.installs == order.installs()
    }
}

impl Audits {
    /// What is wrong here, as far as it is told: the first few, the last of which says how many more there are.
    pub fn told(&self, cluster: &Cluster) -> Vec<pb::Unsound> {
        let known = self.0.lock();
        let holds = |(order, shard): &(OrderId, ShardId), alarm: &Alarm| {
            cluster.map.owner(*shard) == Some(*order)
                && cluster.orders.find(*order).is_some_and(|order| alarm.is_of(&order))
        };
        let mut all = known.iter().filter(|(place, alarm)| holds(place, alarm));
        let told = |((order, shard), alarm): (&(OrderId, ShardId), &Alarm)| pb::Unsound {
            order: order.0,
            shard: shard.0,
            what: alarm.words.clone(),
        };
        let mut first: Vec<pb::Unsound> = all.by_ref().take(TOLD_MAX).map(told).collect();
        let more = all.count();
        if let Some(last) = first.last_mut().filter(|_| more > 0) {
            last.what.push_str(&format!(" (and so it is with {more} shards more)"));
        }
        first
    }

    /// Alarms of which nobody knows whether they hold, because the seat or its rows are others now.
    fn stale(&self, cluster: &Cluster) -> Vec<(OrderId, ShardId)> {
        let known = self.0.lock();
        let stale = known.iter().filter(|((order, _), alarm)| {
            !cluster.orders.find(*order).is_some_and(|order| alarm.is_of(&order))
        });
        stale.map(|(place, _)| *place).collect()
    }

    /// Takes in what an audit found. Returns whether it is news: that something is wrong, or is no longer.
    fn learn(&self, order: &Arc<Order>, installs: u64, shard: ShardId, found: Option<String>) -> bool {
        let mut known = self.0.lock();
        match found {
            Some(words) => {
                let alarm = Alarm { order: Arc::downgrade(order), installs, words };
                known.insert((order.id(), shard), alarm).is_none()
            }
            None => known.remove(&(order.id(), shard)).is_some(),
        }
    }

    fn forget(&self, order: OrderId, shard: ShardId) {
        self.0.lock().remove(&(order, shard));
    }
}

/// Audits all that is held here, once within each period. Ends with the radiant.
pub async fn run(cluster: Arc<Cluster>, period: Duration) {
    if period.is_zero() {
        return;
    }
    // Radiants that were started together do not read together.
    let part = cluster.me.0.wrapping_mul(0x9e37_79b9) % 64;
    tokio::time::sleep(period.min(FIRST_WITHIN) / 64 * part as u32).await;
    let again = AGAIN_AFTER.min(period / 4);
    loop {
        let end = Instant::now() + period;
        round(&cluster, end, again).await;
        while Instant::now() < end {
            tokio::time::sleep_until(end.min(Instant::now() + again)).await;
            look_again(&cluster, again).await;
        }
    }
}

async fn round(cluster: &Cluster, end: Instant, again: Duration) {
    let held = held(cluster);
    for (done, (order, shard)) in held.iter().enumerate() {
        look_again(cluster, again).await;
        let took = one(cluster, *order, *shard, again).await;
        // What is left of the period is shared by the shards that are left.
        let left = (held.len() - done) as u32;
        let share = end.saturating_duration_since(Instant::now()) / left;
        tokio::time::sleep((took * IDLE).max(PAUSE).min(share)).await;
    }
}

/// Audits what there are stale alarms of.
async fn look_again(cluster: &Cluster, again: Duration) {
    for (order, shard) in cluster.audits.stale(cluster) {
        if cluster.map.owner(shard) == Some(order) && cluster.orders.find(order).is_some() {
            one(cluster, order, shard, again).await;
        } else {
            cluster.audits.forget(order, shard);
        }
    }
}

fn held(cluster: &Cluster) -> Vec<(OrderId, ShardId)> {
    let topology = cluster.map.topology();
    let here = topology.orders.iter().filter(|order| cluster.orders.find(order.id).is_some());
    here.flat_map(|order| topology.shards_of(order.id).into_iter().map(|shard| (order.id, shard))).collect()
}

/// Audits one shard, twice if need be; how long reading took.
async fn one(cluster: &Cluster, order: OrderId, shard: ShardId, again: Duration) -> Duration {
    let mut took = Duration::ZERO;
    for last in [false, true] {
        let Some(held) = cluster.orders.find(order) else { return took };
        let (start, installs) = (Instant::now(), held.installs());
        let found = held.audit(shard).await;
        took += start.elapsed();
        let alarm = match found {
            Ok(Audited::Sound) => None,
            Ok(Audited::Unknown) if last => return took,
            Ok(Audited::Altered { written, stored }) if last && stored.rows != written.rows => {
                Some(format!("{} rows are stored where {} were written", stored.rows, written.rows))
            }
            Ok(Audited::Altered { .. }) if last => Some("some rows are not as they were written".into()),
            Err(error) if last => Some(format!("it cannot be read: {error}")),
            Ok(Audited::Unknown | Audited::Altered { .. }) | Err(_) => {
                tokio::time::sleep(again).await;
                continue;
            }
        };
        let alarm = alarm.map(shortened);
        if cluster.audits.learn(&held, installs, shard, alarm.clone()) {
            tell(cluster, order, shard, alarm);
        }
        return took;
    }
    took
}

fn shortened(words: String) -> String {
    match words.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words,
    }
}

fn tell(cluster: &Cluster, order: OrderId, shard: ShardId, alarm: Option<String>) {
    match alarm {
        Some(what) => {
            tracing::error!(%order, %shard, "a shard is not stored as it was written: {what}");
            cluster.story.trouble(format!("of shard {shard} of order {order}: {what}"));
        }
        None => {
            tracing::info!(%order, %shard, "a shard is stored as it was written again");
            cluster.story.trouble(format!("shard {shard} of order {order} is as it was written again"));
        }
    }
}
