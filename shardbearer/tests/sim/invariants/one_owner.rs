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
