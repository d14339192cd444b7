//! Which key belongs to which shard, and which shard to which order.

use crate::ids::{OrderId, ShardId};

/// Maps keys to the shards of one table.
pub trait ShardingScheme: Send + Sync {
    /// How many shards there are.
    fn shards(&self) -> usize;

    /// The position of the key's shard, below [`Self::shards`]. Total: any bytes have one.
    fn shard_of(&self, key: &[u8]) -> usize;

    /// The scheme in words that identify it completely; stored, so that two radiants with
    /// different schemes refuse each other.
    fn describe(&self) -> String;
}

/// An order as placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderView {
    /// The order.
    pub id: OrderId,
    /// Its share of the shards, relative to the others; 0 takes none.
    pub weight: u32,
}

/// Decides which order owns which shard. Pure and total: the same input gives the same answer on
/// every radiant.
pub trait Placement: Send + Sync {
    /// The owner of each shard, in the order given. `current` has [`OrderId::NONE`] where there is none.
    fn assign(&self, shards: &[ShardId], orders: &[OrderView], current: &[OrderId]) -> Vec<OrderId>;
}
