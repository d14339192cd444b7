//! How configurations are stored: length-prefixed fields in a fixed order behind a version. Total to decode.

pub(super) mod migration;
mod policy;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::control::EpochRecord;
use shardbearer_core::ids::{ClusterId, Epoch, Incarnation};
use shardbearer_core::membership::{Reset, Roster, Standing};
use shardbearer_core::rebalancing::Policy;
use shardbearer_core::topology::{Doors, Order, Radiant, Shard, Table, Topology};

const VERSION: u8 = 3;

/// Where an order was reset. Written only then, so that replicas of an older program write the same bytes until somebody
/// asks for what they do not know.
const VERSION_WITH_RESETS: u8 = 4;

/// Without a policy and without reasons of migrations; still read.
const VERSION_WITHOUT_POLICY: u8 = 2;

/// A configuration as a row.
pub(super) fn encode_topology(topology: &Topology) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(version_of(topology));
    put_topology(&mut out, topology);
    out.freeze()
}

/// The inverse of [`encode_topology`].
pub(super) fn decode_topology(row: &Bytes) -> Option<Topology> {
    let (version, mut rest) = versioned(row)?;
    let topology = take_topology(version, &mut rest)?;
    rest.is_empty().then_some(topology).filter(|topology| fits(version, topology))
}

/// An epoch's record and configuration as a row.
pub(super) fn encode_epoch(record: &EpochRecord, topology: &Topology) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(version_of(topology));
    out.put_u64(record.epoch.0);
    out.put_u64(record.at_ms);
    for text in [&record.who, &record.why, &record.what] {
        put_text(&mut out, text);
    }
    put_topology(&mut out, topology);
    out.freeze()
}

/// The inverse of [`encode_epoch`].
pub(super) fn decode_epoch(row: &Bytes) -> Option<(EpochRecord, Topology)> {
    let (version, mut rest) = versioned(row)?;
    let record = EpochRecord {
        epoch: Epoch(long(&mut rest)?),
        at_ms: long(&mut rest)?,
        who: text(&mut rest)?,
        why: text(&mut rest)?,
        what: text(&mut rest)?,
    };
    let topology = take_topology(version, &mut rest)?;
    (rest.is_empty() && fits(version, &topology)).then_some((record, topology))
}

fn version_of(topology: &Topology) -> u8 {
    let reset = topology.orders.iter().any(|order| order.roster.reset.is_some());
    if reset { VERSION_WITH_RESETS } else { VERSION }
}

/// Whether a row of this version can hold such a configuration.
fn fits(version: u8, topology: &Topology) -> bool {
    version == VERSION_WITHOUT_POLICY || version == version_of(topology)
}

fn versioned(row: &Bytes) -> Option<(u8, Bytes)> {
    let mut rest = row.clone();
    let version = rest.try_get_u8().ok()?;
    [VERSION_WITH_RESETS, VERSION, VERSION_WITHOUT_POLICY].contains(&version).then_some((version, rest))
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32(text.len() as u32); // names, addresses and sentences, far below 4 GiB
    out.put_slice(text.as_bytes());
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32(count as u32); // radiants, orders and shards, far below 2^32
}

fn put_topology(out: &mut BytesMut, topology: &Topology) {
    let resets = version_of(topology) == VERSION_WITH_RESETS;
    out.put_u128(topology.cluster.0);
    out.put_u64(topology.epoch.0);
    put_count(out, topology.radiants.len());
    for radiant in &topology.radiants {
        out.put_u64(radiant.id.0);
        out.put_u128(radiant.incarnation.0);
        for text in [&radiant.name, &radiant.doors.grpc, &radiant.doors.resp, &radiant.doors.http] {
            put_text(out, text);
        }
        put_standing(out, radiant.standing);
    }
    put_count(out, topology.orders.len());
    for order in &topology.orders {
        out.put_u64(order.id.0);
        put_text(out, &order.engine);
        out.put_u64(order.preferred_herald.0);
        put_count(out, order.members.len());
        order.members.iter().for_each(|member| out.put_u64(member.0));
        put_roster(out, &order.roster);
        if resets {
            let Reset { epoch, survivor } = order.roster.reset.unwrap_or_default();
            out.put_u64(epoch.0);
            out.put_u64(survivor.0);
        }
    }
    put_count(out, topology.tables.len());
    for table in &topology.tables {
        out.put_u64(table.id.0);
        put_text(out, &table.name);
        put_text(out, &table.scheme);
        put_count(out, table.shards.len());
        for shard in &table.shards {
            out.put_u64(shard.id.0);
            out.put_u64(shard.order.0);
        }
    }
    policy::put(out, &topology.policy);
}

fn put_standing(out: &mut BytesMut, standing: Standing) {
    let (kind, to) = match standing {
        Standing::Active => (0, None),
        Standing::Spare => (1, None),
        Standing::Draining { to } => (2, Some(to)),
        Standing::Leaving { to } => (3, Some(to)),
        Standing::Gone => (4, None),
    };
    out.put_u8(kind);
    if let Some(to) = to {
        out.put_u64(to.0);
    }
}

fn put_roster(out: &mut BytesMut, roster: &Roster) {
    out.put_u64(roster.epoch.0);
    out.put_u64(roster.previous.0);
    out.put_u32(roster.size);
    for radiants in [&roster.learners, &roster.leaving] {
        put_count(out, radiants.len());
        radiants.iter().for_each(|radiant| out.put_u64(radiant.0));
    }
}

fn standing(rest: &mut Bytes) -> Option<Standing> {
    Some(match rest.try_get_u8().ok()? {
        0 => Standing::Active,
        1 => Standing::Spare,
        2 => Standing::Draining { to: long(rest)?.into() },
        3 => Standing::Leaving { to: long(rest)?.into() },
        4 => Standing::Gone,
        _ => return None,
    })
}

fn roster(rest: &mut Bytes) -> Option<Roster> {
    let (epoch, previous) = (Epoch(long(rest)?), Epoch(long(rest)?));
    let size = rest.try_get_u32().ok()?;
    let mut radiants = || many(rest, |rest| Some(long(rest)?.into()));
    Some(Roster { epoch, previous, size, learners: radiants()?, leaving: radiants()?, reset: None })
}

/// Whether and how an order was reset; epoch 0 says that it was not.
fn reset(rest: &mut Bytes) -> Option<Option<Reset>> {
    let reset = Reset { epoch: Epoch(long(rest)?), survivor: long(rest)?.into() };
    Some(Some(reset).filter(|reset| *reset != Reset::default()))
}

fn long(rest: &mut Bytes) -> Option<u64> {
    rest.try_get_u64().ok()
}

fn text(rest: &mut Bytes) -> Option<String> {
    let length = rest.try_get_u32().ok()? as usize;
    if rest.remaining() < length {
        return None;
    }
    String::from_utf8(rest.split_to(length).to_vec()).ok()
}

fn many<T>(rest: &mut Bytes, mut one: impl FnMut(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let count = rest.try_get_u32().ok()?;
    // No capacity from an unchecked count: each element must be there to be paid for.
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(one(rest)?);
    }
    Some(all)
}

fn take_topology(version: u8, rest: &mut Bytes) -> Option<Topology> {
    Some(Topology {
        cluster: ClusterId(rest.try_get_u128().ok()?),
        epoch: Epoch(long(rest)?),
        radiants: many(rest, |rest| {
            Some(Radiant {
                id: long(rest)?.into(),
                incarnation: Incarnation(rest.try_get_u128().ok()?),
                name: text(rest)?,
                doors: Doors { grpc: text(rest)?, resp: text(rest)?, http: text(rest)? },
                standing: standing(rest)?,
            })
        })?,
        orders: many(rest, |rest| {
            Some(Order {
                id: long(rest)?.into(),
                engine: text(rest)?,
                preferred_herald: long(rest)?.into(),
                members: many(rest, |rest| Some(long(rest)?.into()))?,
                roster: match (roster(rest)?, version) {
                    (roster, VERSION_WITH_RESETS) => Roster { reset: reset(rest)?, ..roster },
                    (roster, _) => roster,
                },
            })
        })?,
        tables: many(rest, |rest| {
            Some(Table {
                id: long(rest)?.into(),
                name: text(rest)?,
                scheme: text(rest)?,
                shards: many(rest, |rest| Some(Shard { id: long(rest)?.into(), order: long(rest)?.into() }))?,
            })
        })?,
        policy: match version {
            VERSION_WITHOUT_POLICY => Policy::default(),
            _ => policy::take(rest)?,
        },
    })
}
