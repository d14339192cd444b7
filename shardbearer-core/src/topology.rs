//! The cluster's configuration as everybody sees it: who there is, who replicates what, who owns
//! which shard. Replicated by the control order, numbered by [`Epoch`], cached everywhere.

use crate::ids::{ClusterId, Epoch, Incarnation, OrderId, RadiantId, ShardId, TableId};
use crate::membership::{Roster, Standing};
use crate::rebalancing::Policy;

/// One configuration of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Topology {
    /// The cluster.
    pub cluster: ClusterId,
    /// This configuration's number.
    pub epoch: Epoch,
    /// Ascending by id.
    pub radiants: Vec<Radiant>,
    /// Ascending by id; the control order is the first.
    pub orders: Vec<Order>,
    /// Ascending by id.
    pub tables: Vec<Table>,
    /// How shards are to be spread over the orders.
    pub policy: Policy,
}

/// A node as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Radiant {
    /// Given at founding or joining; never reused.
    pub id: RadiantId,
    /// Unique in the cluster.
    pub name: String,
    /// Of its data directory.
    pub incarnation: Incarnation,
    /// Where others reach it.
    pub doors: Doors,
    /// What part it takes.
    pub standing: Standing,
}

/// `host:port` of each door as advertised; empty where the door is off.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Doors {
    /// gRPC: native clients, peers, admin.
    pub grpc: String,
    /// Redis' protocol.
    pub resp: String,
    /// HTTP.
    pub http: String,
}

/// A replica group.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Order {
    /// Never reused.
    pub id: OrderId,
    /// Name of the consensus engine that replicates it.
    pub engine: String,
    /// Ascending at the founding; of engines whose members are decided elsewhere, since then in the engine's order.
    pub members: Vec<RadiantId>,
    /// The member that should lead when all are well, so that heralds are spread evenly.
    pub preferred_herald: RadiantId,
    /// How the members came to be, and what they are becoming.
    pub roster: Roster,
}

/// A named key space.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// Never reused.
    pub id: TableId,
    /// Unique in the cluster.
    pub name: String,
    /// How keys map to shards, as [`crate::placement::ShardingScheme::describe`] says it.
    pub scheme: String,
    /// In the scheme's order: position `i` is what the scheme calls shard `i`.
    pub shards: Vec<Shard>,
}

/// A slice of a table's keys and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Shard {
    /// Never reused.
    pub id: ShardId,
    /// The order that owns it; none while unassigned.
    pub order: OrderId,
}

impl Topology {
    /// The radiant with this id.
    pub fn radiant(&self, id: RadiantId) -> Option<&Radiant> {
        self.radiants.iter().find(|radiant| radiant.id == id)
    }

    /// By which the newer of two configurations is told: the generation of the control order that decided it, then its number. A
    /// control order that was given up may have gone on counting.
    pub fn version(&self) -> (Epoch, Epoch) {
        let generation = self.order(OrderId::CONTROL).map_or(Epoch(0), Order::generation);
        (generation, self.epoch)
    }

    /// The order with this id.
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.iter().find(|order| order.id == id)
    }

    /// The table with this name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// The shards that an order owns, ascending.
    pub fn shards_of(&self, order: OrderId) -> Vec<ShardId> {
        let mut shards: Vec<ShardId> = self
            .tables
            .iter()
            .flat_map(|table| &table.shards)
            .filter(|shard| shard.order == order)
            .map(|shard| shard.id)
            .collect();
        shards.sort_unstable();
        shards
    }

    /// The order that owns a shard; `None` of a shard that there is not.
    pub fn owner_of(&self, shard: ShardId) -> Option<OrderId> {
        let all = self.tables.iter().flat_map(|table| &table.shards);
        all.into_iter().find(|one| one.id == shard).map(|one| one.order)
    }

    /// The orders in which a radiant has a seat: as a member, as one to be, or as one that is on its way out. Ascending.
    pub fn orders_of(&self, radiant: RadiantId) -> impl Iterator<Item = &Order> {
        self.orders.iter().filter(move |order| order.seats().any(|seat| seat == radiant))
    }

    /// Whether the radiant belongs to no order.
    pub fn is_spare(&self, radiant: RadiantId) -> bool {
        self.orders_of(radiant).next().is_none()
    }
}
