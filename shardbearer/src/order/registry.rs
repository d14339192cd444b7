//! The orders that this radiant is a member of.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use shardbearer_core::ids::OrderId;

use super::Order;

/// The local data orders by id; read on every request, changed hardly ever.
#[derive(Default)]
pub struct Registry {
    orders: ArcSwap<BTreeMap<OrderId, Arc<Order>>>,
}

impl Registry {
    /// The order, if this radiant takes part in it.
    pub fn find(&self, id: OrderId) -> Option<Arc<Order>> {
        self.orders.load().get(&id).cloned()
    }

    /// All of them, ascending.
    pub fn all(&self) -> Vec<Arc<Order>> {
        self.orders.load().values().cloned().collect()
    }

    /// Adds an order.
    pub fn insert(&self, order: Arc<Order>) {
        self.orders.rcu(|orders| {
            let mut orders = BTreeMap::clone(orders);
            orders.insert(order.id(), order.clone());
            orders
        });
    }

    /// Takes an order out; it is still open.
    pub fn remove(&self, id: OrderId) -> Option<Arc<Order>> {
        let mut removed = None;
        self.orders.rcu(|orders| {
            let mut orders = BTreeMap::clone(orders);
            removed = orders.remove(&id);
            orders
        });
        removed
    }
}
