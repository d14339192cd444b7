//! At any moment one order at most serves a shard, in whatever epochs: a source has stopped before a destination begins, and does
//! not begin again. And of the orders that begin to serve it, each does so in an epoch of its own.
//!
//! Of a shard that is split the same holds for the part that becomes another shard: from when that is served, the shard serves no
//! more than what stays.
//!
//! What an order serves is what its log has come to, as far as any replica has applied it. The rows of a single replica would
//! not tell: one that lags, or lost in a crash what it had applied, still takes itself for the owner, rightly by what it has
//! seen. Nobody acts on an entry before some replica has applied it, so the first to show it is in time.

use std::collections::{BTreeMap, BTreeSet};

use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::kv::{Migrated, Step};

use super::applied::{Judge, Place, Seen};

#[derive(Default)]
pub struct OneOwner {
    /// How far each order has come. Replicas that follow show the same again.
    come: BTreeMap<OrderId, Place>,
    serving: BTreeMap<ShardId, BTreeSet<OrderId>>,
    /// Who began to serve in an epoch.
    owners: BTreeMap<(ShardId, Epoch), OrderId>,
    /// Which shard a migration splits, and where.
    splits: BTreeMap<Epoch, (ShardId, u16)>,
    /// Where a shard must end, because what is behind is served as another.
    ends: BTreeMap<ShardId, u16>,
    /// The slot before which a shard ends where it is served; 0: it is as it was founded.
    until: BTreeMap<(ShardId, OrderId), u16>,
}

impl Judge for OneOwner {
    fn judge(&mut self, seen: &Seen) -> Result<(), String> {
        let (at, shard, serves, begins, until) = match seen {
            Seen::Adopted { at, shard, epoch } => (*at, *shard, true, Some(*epoch), 0),
            Seen::Step { at, shard, migrate, reply: Migrated::Part(part) } => {
                let serves = part.standing.serves();
                let begins = match migrate.step {
                    Step::Activate { epoch } if serves && part.migration == migrate.migration => Some(epoch),
                    _ => None,
                };
                if let Step::Watch { at } = migrate.step
                    && at != 0
                {
                    self.splits.entry(migrate.migration).or_insert((*shard, at));
                }
                if let (Some(_), Some((parent, at))) = (begins, self.splits.get(&migrate.migration)) {
                    let end = self.ends.entry(*parent).or_insert(*at);
                    *end = (*end).min(*at);
                    self.is_within(*parent)?;
                }
                (*at, *shard, serves, begins, part.until)
            }
            Seen::Step { .. } | Seen::Decision { .. } => return Ok(()),
        };
        let order = at.order;
        if self.come.get(&order).is_some_and(|come| at <= *come) {
            return Ok(());
        }
        self.come.insert(order, at);
        if let Some(epoch) = begins {
            let owner = *self.owners.entry((shard, epoch)).or_insert(order);
            if owner != order {
                return Err(format!(
                    "in epoch {epoch} shard {shard} is served by orders {owner} and {order}"
                ));
            }
        }
        let serving = self.serving.entry(shard).or_default();
        if !serves {
            serving.remove(&order);
            self.until.remove(&(shard, order));
            return Ok(());
        }
        serving.insert(order);
        self.until.insert((shard, order), until);
        match serving.iter().find(|one| **one != order) {
            None => self.is_within(shard),
            Some(other) => Err(format!("shard {shard} is served by order {order} while order {other} does")),
        }
    }
}

impl OneOwner {
    /// Whether nobody serves more of a shard than there is of it.
    fn is_within(&self, shard: ShardId) -> Result<(), String> {
        let Some(end) = self.ends.get(&shard) else { return Ok(()) };
        let mut served = self.until.range((shard, OrderId(0))..=(shard, OrderId(u64::MAX)));
        match served.find(|(_, until)| **until == 0 || **until > *end) {
            None => Ok(()),
            Some(((_, order), until)) => Err(format!(
                "order {order} serves shard {shard} up to slot {until} (0: all), and from {end} on it is another's"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_core::kv::{Migrate, Part, Standing};
    use shardbearer_core::log::LogPos;

    use super::*;

    /// Steps of a split of shard 1 in order 2: shard 9 becomes order 3's, from slot 100 on.
    fn judged(judge: &mut OneOwner, index: u64, order: u64, step: Step, until: u16) -> Result<(), String> {
        let position = LogPos { term: 1, index };
        let at = Place { order: OrderId(order), position, item: 0 };
        let migration = Epoch(5);
        let part = Part { standing: Standing::Serving, migration, until, ..Part::default() };
        let shard = ShardId(if order == 2 { 1 } else { 9 });
        let migrate = Migrate { migration, step };
        judge.judge(&Seen::Step { at, shard, migrate, reply: Migrated::Part(part) })
    }

    #[test]
    fn a_parent_that_serves_what_it_gave_is_named() {
        let watch = Step::Watch { at: 100 };
        let activate = Step::Activate { epoch: Epoch(6) };
        let collect = Step::Collect { epoch: Epoch(6), until: 100 };
        for (until, fine) in [(100, true), (99, true), (101, false), (0, false)] {
            // The parent ends first, as it may; or has yet to, and does not.
            let mut judge = OneOwner::default();
            judged(&mut judge, 1, 2, watch.clone(), 0).expect("it serves all, and may");
            judged(&mut judge, 2, 2, collect.clone(), until).expect("nobody else serves");
            assert_eq!(judged(&mut judge, 1, 3, activate.clone(), 0).is_ok(), fine, "up to {until}");
            let mut judge = OneOwner::default();
            judged(&mut judge, 1, 2, watch.clone(), 0).expect("it serves all, and may");
            let frozen = Part { standing: Standing::Frozen, ..Part::default() };
            let at = Place { order: OrderId(2), position: LogPos { term: 1, index: 2 }, item: 0 };
            let migrate = Migrate { migration: Epoch(5), step: Step::Freeze };
            let reply = Migrated::Part(frozen);
            judge.judge(&Seen::Step { at, shard: ShardId(1), migrate, reply }).expect("nobody serves");
            judged(&mut judge, 1, 3, activate.clone(), 0).expect("the parent has stopped");
            assert_eq!(judged(&mut judge, 3, 2, collect.clone(), until).is_ok(), fine, "up to {until}");
        }
    }
}
