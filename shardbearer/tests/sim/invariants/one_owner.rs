//! At any moment one order at most serves a shard, in whatever epochs: a source has stopped before a destination begins, and does
//! not begin again. And of the orders that begin to serve it, each does so in an epoch of its own.
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
}

impl Judge for OneOwner {
    fn judge(&mut self, seen: &Seen) -> Result<(), String> {
        let (at, shard, serves, begins) = match seen {
            Seen::Adopted { at, shard, epoch } => (*at, *shard, true, Some(*epoch)),
            Seen::Step { at, shard, migrate, reply: Migrated::Part(part) } => {
                let serves = part.standing.serves();
                let begins = match migrate.step {
                    Step::Activate { epoch } if serves && part.migration == migrate.migration => Some(epoch),
                    _ => None,
                };
                (*at, *shard, serves, begins)
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
            return Ok(());
        }
        serving.insert(order);
        match serving.iter().find(|one| **one != order) {
            None => Ok(()),
            Some(other) => Err(format!("shard {shard} is served by order {order} while order {other} does")),
        }
    }
}
