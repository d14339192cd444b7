//! At any moment one order at most serves a shard, in whatever epochs: a source has stopped before a destination begins, and does
//! not begin again. And of the orders that begin to serve it, each does so in an epoch of its own.
//!
//! Of a shard that is split the same holds for the part that becomes another shard: from when that is served, the shard serves no
//! more than what stays, and the other nothing of that, nor of what had been split off before.
//!
//! What an order serves is what its log has come to, as far as any replica has applied it. The rows of a single replica would
//! not tell: one that lags, or lost in a crash what it had applied, still takes itself for the owner, rightly by what it has
//! seen. Nobody acts on an entry before some replica has applied it, so the first to show it is in time.

use std::collections::btree_map::Entry;
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
    /// Where a shard must begin, because what is before is served as another.
    begins: BTreeMap<ShardId, u16>,
    /// The slots at which a shard begins and before which it ends where it is served; 0: it is as it was founded.
    served: BTreeMap<(ShardId, OrderId), (u16, u16)>,
}

impl Judge for OneOwner {
    fn judge(&mut self, seen: &Seen) -> Result<(), String> {
        let (at, shard, serves, begins, bounds) = match seen {
            Seen::Adopted { at, shard, epoch } => (*at, *shard, true, Some(*epoch), (0, 0)),
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
                    // Replicas that follow show it again, when the parent may have been split further.
                    if let Entry::Vacant(new) = self.begins.entry(*shard) {
                        new.insert(*at);
                        if let Some(end) = self.ends.get(parent).copied() {
                            self.ends.insert(*shard, end);
                        }
                    }
                    let end = self.ends.entry(*parent).or_insert(*at);
                    *end = (*end).min(*at);
                    self.is_within(*parent)?;
                }
                (*at, *shard, serves, begins, (part.from, part.until))
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
            self.served.remove(&(shard, order));
            return Ok(());
        }
        serving.insert(order);
        self.served.insert((shard, order), bounds);
        match serving.iter().find(|one| **one != order) {
            None => self.is_within(shard),
            Some(other) => Err(format!("shard {shard} is served by order {order} while order {other} does")),
        }
    }
}

impl OneOwner {
    /// Whether nobody serves more of a shard than there is of it.
    fn is_within(&self, shard: ShardId) -> Result<(), String> {
        let begin = self.begins.get(&shard).copied().unwrap_or(0);
        let end = self.ends.get(&shard).copied().unwrap_or(u16::MAX);
        let is_behind = |until: u16| end != u16::MAX && (until == 0 || until > end);
        let mut served = self.served.range((shard, OrderId(0))..=(shard, OrderId(u64::MAX)));
        match served.find(|(_, (from, until))| *from < begin || is_behind(*until)) {
            None => Ok(()),
            Some(((_, order), (from, until))) => Err(format!(
                "order {order} serves shard {shard} from slot {from} up to {until} (0: all), and before {begin} and from {end} \
                 on it is another's"
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
        let shard = if order == 2 { 1 } else { 9 };
        let from = if order == 2 { 0 } else { 100 };
        serves(judge, (index, order, shard), Migrate { migration: Epoch(5), step }, (from, until))
    }

    /// After a step, an entry of an order's log, the order serves a shard between two slots.
    fn serves(
        judge: &mut OneOwner,
        (index, order, shard): (u64, u64, u64),
        migrate: Migrate,
        (from, until): (u16, u16),
    ) -> Result<(), String> {
        let position = LogPos { term: 1, index };
        let at = Place { order: OrderId(order), position, item: 0 };
        let migration = migrate.migration;
        let part = Part { standing: Standing::Serving, migration, from, until, ..Part::default() };
        judge.judge(&Seen::Step { at, shard: ShardId(shard), migrate, reply: Migrated::Part(part) })
    }

    /// Shard 1 is split at slot 100, and then at 50.
    #[test]
    fn a_shard_that_takes_more_than_came_to_it_is_named() {
        let step = |migration, step| Migrate { migration: Epoch(migration), step };
        let activate = |migration| step(migration, Step::Activate { epoch: Epoch(migration + 1) });
        for (from, fine) in [(100, true), (101, true), (99, false), (0, false)] {
            let mut judge = OneOwner::default();
            let watch = step(5, Step::Watch { at: 100 });
            serves(&mut judge, (1, 2, 1), watch, (0, 0)).expect("it serves all, and may");
            let collect = step(5, Step::Collect { epoch: Epoch(6), until: 100 });
            serves(&mut judge, (2, 2, 1), collect, (0, 100)).expect("nobody else serves");
            assert_eq!(serves(&mut judge, (1, 3, 9), activate(5), (from, 0)).is_ok(), fine, "from {from} on");
        }
        for (until, fine) in [(100, true), (99, true), (101, false), (0, false)] {
            let mut judge = OneOwner::default();
            for (index, migration, at, was) in [(1, 5, 100, 0), (3, 7, 50, 100)] {
                let watch = step(migration, Step::Watch { at });
                serves(&mut judge, (index, 2, 1), watch, (0, was)).expect("it serves all, and may");
                let collect = step(migration, Step::Collect { epoch: Epoch(migration + 1), until: at });
                serves(&mut judge, (index + 1, 2, 1), collect, (0, at)).expect("nobody else serves");
                if migration == 5 {
                    serves(&mut judge, (1, 3, 9), activate(5), (100, 0)).expect("it is its own");
                }
            }
            let second = serves(&mut judge, (2, 3, 10), activate(7), (50, until));
            assert_eq!(second.is_ok(), fine, "up to {until}");
            // A replica that follows.
            serves(&mut judge, (1, 3, 9), activate(5), (100, 0)).expect("as it was");
            let sweep = step(9, Step::Release);
            serves(&mut judge, (3, 3, 9), sweep, (100, 0)).expect("the first has its end still");
        }
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
