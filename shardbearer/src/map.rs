//! The configuration in force as this radiant knows it, and the way from a key to its order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use shardbearer_core::ids::{Epoch, OrderId, ShardId};
use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::topology::{Shard, Table, Topology};
use shardbearer_state::placement::Slots;

use crate::watch;

/// A configuration with what is derived from it.
struct Prepared {
    topology: Arc<Topology>,
    schemes: BTreeMap<String, Slots>,
    shards: BTreeMap<ShardId, Place>,
}

/// Where a shard is: in which table, at which position, with which order.
#[derive(Clone, Copy)]
struct Place {
    table: usize,
    position: usize,
    order: OrderId,
}

/// A shard as far as it reaches: the slot before which it ends, 1 to 16384.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The shard.
    pub shard: ShardId,
    /// Its end. A shard that has been split meanwhile ends elsewhere, and refuses whoever takes it for the whole.
    pub until: u16,
}

/// The newest configuration known here. It only moves to newer ones, see [`Topology::version`].
pub struct Map {
    prepared: ArcSwap<Prepared>,
    epoch: watch::Sender<Epoch>,
}

impl Map {
    /// Starts with a configuration. An error names a scheme that this radiant does not know.
    pub fn new(topology: Topology) -> Result<Map, String> {
        let epoch = topology.epoch;
        let prepared = ArcSwap::from_pointee(Prepared::new(topology)?);
        Ok(Map { prepared, epoch: watch::Sender::new(epoch) })
    }

    /// The configuration.
    pub fn topology(&self) -> Arc<Topology> {
        self.prepared.load().topology.clone()
    }

    /// Its number.
    pub fn epoch(&self) -> Epoch {
        *self.epoch.borrow()
    }

    /// Takes over a configuration if it is newer. Returns whether it was.
    pub fn advance(&self, topology: Topology) -> Result<bool, String> {
        let (epoch, version) = (topology.epoch, topology.version());
        let next = Arc::new(Prepared::new(topology)?);
        let mut newer = false;
        self.epoch.send_if_modified(|current| {
            newer = version > self.prepared.load().topology.version();
            if newer {
                self.prepared.store(next);
                *current = epoch;
            }
            newer
        });
        Ok(newer)
    }

    /// The shard of a key, and its owner; `None` for an unknown table.
    pub fn locate(&self, table: &str, key: &[u8]) -> Option<Shard> {
        let prepared = self.prepared.load();
        let position = prepared.schemes.get(table)?.shard_of(key);
        prepared.topology.table(table)?.shards.get(position).copied()
    }

    /// The order that owns a shard.
    pub fn owner(&self, shard: ShardId) -> Option<OrderId> {
        self.prepared.load().shards.get(&shard).map(|place| place.order)
    }

    /// The shard that has a key now, of the table that a shard belongs to: of one that was split it may be another.
    pub fn relocate(&self, shard: ShardId, key: &[u8]) -> Option<ShardId> {
        let prepared = self.prepared.load();
        let table = prepared.topology.tables.get(prepared.shards.get(&shard)?.table)?;
        let position = prepared.schemes.get(&table.name)?.shard_of(key);
        table.shards.get(position).map(|shard| shard.id)
    }

    /// A shard as far as it reaches now.
    pub fn extent(&self, shard: ShardId) -> Option<Extent> {
        let prepared = self.prepared.load();
        let (slots, place) = prepared.slots_of(shard)?;
        Some(Extent { shard, until: slots.end_of(place.position) })
    }

    /// What has become of a shard that was known to end at a slot: it, and those that were split off it.
    pub fn extents(&self, known: Extent) -> Vec<Extent> {
        let prepared = self.prepared.load();
        let Some((slots, place)) = prepared.slots_of(known.shard) else { return vec![known] };
        let Some(table) = prepared.topology.tables.get(place.table) else { return vec![known] };
        let behind = table.shards.iter().enumerate().skip(place.position);
        let all = behind.map(|(position, shard)| (slots.slots_of(position), shard.id));
        let within = all.take_while(|(Range { start, .. }, _)| *start < usize::from(known.until));
        within.map(|(Range { end, .. }, shard)| Extent { shard, until: end as u16 }).collect()
    }
}

/// The shards of a table as far as they reach; none if its scheme is not known.
pub fn extents_of(table: &Table) -> Vec<Extent> {
    let Some(slots) = Slots::parse(&table.scheme) else { return Vec::new() };
    let shards = table.shards.iter().enumerate();
    shards.map(|(position, shard)| Extent { shard: shard.id, until: slots.end_of(position) }).collect()
}

impl Prepared {
    fn slots_of(&self, shard: ShardId) -> Option<(&Slots, Place)> {
        let place = self.shards.get(&shard)?;
        let table = self.topology.tables.get(place.table)?;
        Some((self.schemes.get(&table.name)?, *place))
    }

    fn new(topology: Topology) -> Result<Prepared, String> {
        let mut schemes = BTreeMap::new();
        for table in &topology.tables {
            let scheme = Slots::parse(&table.scheme).ok_or_else(|| {
                format!(
                    "table {} is sharded by {:?}, which this version does not know",
                    table.name, table.scheme
                )
            })?;
            if scheme.shards() != table.shards.len() {
                return Err(format!(
                    "table {} has {} shards, its scheme {}",
                    table.name,
                    table.shards.len(),
                    scheme.shards()
                ));
            }
            schemes.insert(table.name.clone(), scheme);
        }
        let mut shards = BTreeMap::new();
        for (table, described) in topology.tables.iter().enumerate() {
            let places = described.shards.iter().enumerate();
            shards.extend(places.map(|(position, shard)| {
                let order = shard.order;
                (shard.id, Place { table, position, order })
            }));
        }
        Ok(Prepared { topology: Arc::new(topology), schemes, shards })
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_core::membership::{Reset, Roster};
    use shardbearer_core::topology::Order;

    use super::*;

    /// Those who were given up when the control order was reset may have counted on further than it has since.
    #[test]
    fn what_a_given_up_control_order_decides_is_never_newer() {
        let decided = |generation: u64, epoch: u64| {
            let reset = Some(Reset { epoch: Epoch(generation), ..Reset::default() });
            let roster = Roster { reset: reset.filter(|_| generation > 0), ..Roster::default() };
            let orders = vec![Order { id: OrderId::CONTROL, roster, ..Order::default() }];
            Topology { epoch: Epoch(epoch), orders, ..Topology::default() }
        };
        let map = Map::new(decided(0, 9_000)).expect("known");
        for (topology, newer) in [
            (decided(0, 9_000), false),
            (decided(2_001, 2_001), true),
            (decided(0, 9_001), false),
            (decided(2_001, 2_002), true),
            (decided(2_001, 2_001), false),
            (decided(3_002, 3_002), true),
            (decided(2_001, 9_002), false),
        ] {
            assert_eq!(map.advance(topology.clone()), Ok(newer), "{topology:?}");
        }
        assert_eq!(map.epoch(), Epoch(3_002));
    }

    #[test]
    fn a_shard_that_was_split_is_found_in_its_parts() {
        let shard = |id, order| Shard { id: ShardId(id), order: OrderId(order) };
        let of = |scheme: &str, shards| {
            let table = Table { name: "default".into(), scheme: scheme.into(), shards, ..Table::default() };
            Topology { tables: vec![table], ..Topology::default() }
        };
        let extent = |id, until| Extent { shard: ShardId(id), until };
        let map = Map::new(of("slots:16384/2", vec![shard(1, 2), shard(2, 3)])).expect("known");
        let known = map.extent(ShardId(1)).expect("there");
        assert_eq!((known, map.extents(known)), (extent(1, 8_192), vec![known]));
        // "k" has slot 7629, "hello" 866.
        assert_eq!(map.relocate(ShardId(1), b"k"), Some(ShardId(1)));

        let cut = vec![shard(1, 2), shard(4, 2), shard(3, 3), shard(2, 3)];
        let topology = Topology { epoch: Epoch(2), ..of("slots:16384/2+900+4096", cut) };
        assert_eq!(extents_of(&topology.tables[0])[1..3], [extent(4, 4_096), extent(3, 8_192)]);
        assert_eq!(map.advance(topology), Ok(true));
        assert_eq!(map.relocate(ShardId(1), b"k"), Some(ShardId(3)));
        assert_eq!(map.relocate(ShardId(1), b"hello"), Some(ShardId(1)));
        assert_eq!(map.relocate(ShardId(9), b"k"), None);
        assert_eq!(map.extents(known), [extent(1, 900), extent(4, 4_096), extent(3, 8_192)]);
        assert_eq!(map.extents(extent(4, 8_192)), [extent(4, 4_096), extent(3, 8_192)]);
        assert_eq!(map.extents(extent(1, 900)), [extent(1, 900)]);
        assert_eq!((map.extent(ShardId(1)), map.owner(ShardId(4))), (Some(extent(1, 900)), Some(OrderId(2))));
        assert_eq!(map.extents(extent(9, 5)), [extent(9, 5)], "there is none");
    }
}
