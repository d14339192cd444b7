//! The cluster in the terms of Redis Cluster: `CLUSTER ...` and `-MOVED`.
//!
//! A radiant that leads any order is shown as a master of the slots of those orders, every other member of
//! an order as a replica. A radiant that leads one order and follows in another is shown as a master only,
//! since clients think of a node as one or the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bytes::Bytes;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::kv::{Command, Scan};
use shardbearer_core::topology::Topology;
use shardbearer_state::placement::{SLOTS, Slots, slot_of};

use super::args;
use super::commands::{subcommand_arity, unknown_subcommand};
use super::failure::Failure;
use super::plan::Plan;
use super::reply::Writer;
use super::scan::{page, successor};
use super::session::{Gateway, Session, no_table};
use crate::gateway::Inside;
use crate::kv::{Call, Target};
use crate::map::{Extent, extents_of};

/// Where a client reaches a radiant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
}

/// A run of slots and who serves them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    first: usize,
    last: usize,
    master: RadiantId,
    replicas: Vec<RadiantId>,
}

/// The map of slots, as known here.
struct Map {
    topology: std::sync::Arc<Topology>,
    me: RadiantId,
    /// This end of the client's connection, for want of an advertised address.
    here: Address,
    parts: Vec<Part>,
}

/// Where a client that knows the cluster should ask instead, if the keys of the plan are led elsewhere.
pub fn moved(session: &Session, inside: &Inside, plan: &Plan) -> Option<Failure> {
    let mut keys = plan.commands().iter().filter_map(Command::key);
    let key = keys.next()?;
    let slot = slot_of(key);
    if !keys.all(|key| slot_of(key) == slot) {
        return None;
    }
    let (_, order) = inside.door.locate(&session.gateway.options.table, key)?;
    let herald = inside.door.herald(order).filter(|herald| *herald != inside.door.me())?;
    let address = address(&inside.door.topology().radiant(herald)?.doors.resp)?;
    Some(format!("MOVED {slot} {}:{}", address.host, address.port).into())
}

/// The id under which `CLUSTER` shows this radiant.
pub fn my_node_id(gateway: &Gateway) -> Option<String> {
    let inside = gateway.entrance.get()?;
    Some(node_id(&inside.door.topology(), inside.door.me()))
}

/// `CLUSTER subcommand ...`.
pub async fn run(session: &mut Session, args: &[Bytes], writer: &mut Writer) -> Result<(), Failure> {
    let name = args::lower(&args[1]);
    let arguments = &args[2..];
    match (name.as_str(), arguments) {
        ("keyslot", [key]) => writer.integer(i64::from(slot_of(key))),
        ("slots", []) => Map::of(session)?.write_slots(writer),
        ("shards", []) => Map::of(session)?.write_shards(writer),
        ("nodes", []) => writer.text(&Map::of(session)?.nodes()),
        ("info", []) => writer.text(&Map::of(session)?.info()),
        ("myid", []) => writer.bulk(my_node_id(&session.gateway).ok_or(Failure::LOADING)?.as_bytes()),
        ("countkeysinslot", [slot]) => {
            writer.integer(keys_in_slot(session, slot, usize::MAX).await?.len() as i64);
        }
        ("getkeysinslot", [slot, count]) => {
            let count = usize::try_from(args::integer(count)?);
            let count = count.map_err(|_| Failure::from("ERR Invalid number of keys"))?;
            let keys = keys_in_slot(session, slot, count).await?;
            writer.array(keys.len());
            keys.iter().for_each(|key| writer.value(key));
        }
        ("help", []) => {
            let lines = [
                "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "SLOTS, SHARDS, NODES, INFO, MYID",
                "    The map of slots; a connection that asked for it is sent on with MOVED.",
                "KEYSLOT <key>, COUNTKEYSINSLOT <slot>, GETKEYSINSLOT <slot> <count>",
                "    Keys and slots.",
            ];
            writer.array(lines.len());
            lines.iter().for_each(|line| writer.simple(line));
        }
        (
            "keyslot" | "slots" | "shards" | "nodes" | "info" | "myid" | "countkeysinslot" | "getkeysinslot"
            | "help",
            _,
        ) => return Err(subcommand_arity("cluster", &name)),
        _ => return Err(unknown_subcommand("cluster", &args[1])),
    }
    if matches!(name.as_str(), "slots" | "shards" | "nodes") {
        session.aware = true;
    }
    Ok(())
}

/// At most so many keys of a slot; reads through the slot's whole shard.
async fn keys_in_slot(session: &Session, slot: &[u8], most: usize) -> Result<Vec<Bytes>, Failure> {
    let slot = args::integer(slot)?;
    let slot = u16::try_from(slot).ok().filter(|slot| usize::from(*slot) < SLOTS);
    let slot = slot.ok_or(Failure::from("ERR Invalid slot"))?;
    let inside = session.gateway.inside()?;
    let topology = inside.door.topology();
    let extent = shard_of(&topology, &session.gateway.options.table, slot)?;
    let (mut keys, mut start) = (Vec::new(), Bytes::new());
    while keys.len() < most {
        let scan = Scan { start: start.clone(), keys_only: true, ..Scan::default() };
        let call = Call { target: Target::Shard(extent), ..Call::new(Command::Scan(scan)) };
        let (rows, more) = page(session.gateway.execute_one(call).await)?;
        let last = rows.last().map(|row| successor(&row.key));
        keys.extend(rows.into_iter().map(|row| row.key).filter(|key| slot_of(key) == slot));
        match last {
            Some(next) if more => start = next,
            Some(_) | None => break,
        }
    }
    keys.truncate(most);
    Ok(keys)
}

fn shard_of(topology: &Topology, table: &str, slot: u16) -> Result<Extent, Failure> {
    let described = topology.table(table).ok_or_else(|| no_table(table))?;
    let slots = Slots::parse(&described.scheme).ok_or_else(no_slots)?;
    extents_of(described).get(slots.shard_of_slot(slot)).copied().ok_or_else(no_slots)
}

fn no_slots() -> Failure {
    "ERR the table is not sharded by slots".into()
}

impl Map {
    fn of(session: &Session) -> Result<Map, Failure> {
        let inside = session.gateway.inside()?;
        let topology = inside.door.topology();
        let name = &session.gateway.options.table;
        let table = topology.table(name).ok_or_else(|| no_table(name))?;
        let slots = Slots::parse(&table.scheme).ok_or_else(no_slots)?;
        let mut parts: Vec<Part> = Vec::new();
        for (position, shard) in table.shards.iter().enumerate().take(SLOTS) {
            let range = slots.slots_of(position);
            let Some(order) = topology.order(shard.order) else { continue };
            // Without a known herald it is this one, which passes on what it is asked, or waits until there is
            // somebody to pass it on to. Any other may be the one that is gone.
            let master = inside.door.herald(order.id).unwrap_or(inside.door.me());
            match parts.last_mut() {
                Some(part) if part.master == master && part.replicas == order.members => {
                    part.last = range.end - 1;
                }
                _ => parts.push(Part {
                    first: range.start,
                    last: range.end - 1,
                    master,
                    replicas: order.members.clone(),
                }),
            }
        }
        let masters: BTreeSet<RadiantId> = parts.iter().map(|part| part.master).collect();
        for part in &mut parts {
            part.replicas.retain(|member| {
                !masters.contains(member)
                    && topology.radiant(*member).is_some_and(|radiant| !radiant.doors.resp.is_empty())
            });
        }
        let local = session.client.local;
        let here = Address { host: local.ip().to_string(), port: local.port() };
        Ok(Map { me: inside.door.me(), topology: topology.clone(), here, parts })
    }

    /// Where the radiant is reached. One without a door for Redis is reached through this one.
    fn address(&self, radiant: RadiantId) -> Address {
        let doors = |id| self.topology.radiant(id).and_then(|radiant| address(&radiant.doors.resp));
        doors(radiant).or_else(|| doors(self.me)).unwrap_or_else(|| self.here.clone())
    }

    fn write_slots(&self, writer: &mut Writer) {
        writer.array(self.parts.len());
        for part in &self.parts {
            writer.array(3 + part.replicas.len());
            writer.integer(part.first as i64);
            writer.integer(part.last as i64);
            for radiant in std::iter::once(&part.master).chain(&part.replicas) {
                let address = self.address(*radiant);
                writer.array(4);
                writer.bulk(address.host.as_bytes());
                writer.integer(i64::from(address.port));
                writer.bulk(node_id(&self.topology, *radiant).as_bytes());
                writer.array(0);
            }
        }
    }

    fn write_shards(&self, writer: &mut Writer) {
        let mut by_master: BTreeMap<RadiantId, (Vec<&Part>, BTreeSet<RadiantId>)> = BTreeMap::new();
        for part in &self.parts {
            let (parts, replicas) = by_master.entry(part.master).or_default();
            parts.push(part);
            replicas.extend(&part.replicas);
        }
        writer.array(by_master.len());
        for (master, (parts, replicas)) in by_master {
            writer.map(2);
            writer.bulk(b"slots");
            writer.array(parts.len() * 2);
            for part in parts {
                writer.integer(part.first as i64);
                writer.integer(part.last as i64);
            }
            writer.bulk(b"nodes");
            writer.array(1 + replicas.len());
            self.write_node(master, "master", writer);
            replicas.into_iter().for_each(|replica| self.write_node(replica, "replica", writer));
        }
    }

    fn write_node(&self, radiant: RadiantId, role: &str, writer: &mut Writer) {
        let address = self.address(radiant);
        writer.map(7);
        writer.bulk(b"id");
        writer.bulk(node_id(&self.topology, radiant).as_bytes());
        writer.bulk(b"port");
        writer.integer(i64::from(address.port));
        for (field, text) in [("ip", address.host.as_str()), ("endpoint", &address.host), ("role", role)] {
            writer.bulk(field.as_bytes());
            writer.bulk(text.as_bytes());
        }
        writer.bulk(b"replication-offset");
        writer.integer(0);
        writer.bulk(b"health");
        writer.bulk(b"online");
    }

    fn nodes(&self) -> String {
        let epoch = self.topology.epoch;
        let mut text = String::new();
        for radiant in &self.topology.radiants {
            let led: Vec<&Part> = self.parts.iter().filter(|part| part.master == radiant.id).collect();
            if radiant.doors.resp.is_empty() && led.is_empty() && radiant.id != self.me {
                continue;
            }
            let followed = self.parts.iter().find(|part| part.replicas.contains(&radiant.id));
            let myself = if radiant.id == self.me { "myself," } else { "" };
            let (role, master) = match followed {
                Some(part) => ("slave", node_id(&self.topology, part.master)),
                None => ("master", "-".into()),
            };
            let (id, Address { host, port }) =
                (node_id(&self.topology, radiant.id), self.address(radiant.id));
            // Writing to a string cannot fail.
            let _ = write!(text, "{id} {host}:{port}@{port} {myself}{role} {master} 0 0 {epoch} connected");
            for part in led {
                let _ = match part.last - part.first {
                    0 => write!(text, " {}", part.first),
                    _ => write!(text, " {}-{}", part.first, part.last),
                };
            }
            text.push('\n');
        }
        text
    }

    fn info(&self) -> String {
        let assigned: usize = self.parts.iter().map(|part| part.last + 1 - part.first).sum();
        let masters: BTreeSet<RadiantId> = self.parts.iter().map(|part| part.master).collect();
        format!(
            "cluster_enabled:1\r\ncluster_state:{}\r\ncluster_slots_assigned:{assigned}\r\n\
             cluster_slots_ok:{assigned}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
             cluster_known_nodes:{}\r\ncluster_size:{}\r\ncluster_current_epoch:{epoch}\r\n\
             cluster_my_epoch:{epoch}\r\n",
            if assigned == SLOTS { "ok" } else { "fail" },
            self.topology.radiants.len(),
            masters.len(),
            epoch = self.topology.epoch,
        )
    }
}

/// 40 hexadecimal digits, as clients expect: of the cluster and of the radiant.
fn node_id(topology: &Topology, radiant: RadiantId) -> String {
    format!("{:024x}{:016x}", topology.cluster.0 >> 32, radiant.0)
}

/// Host and port of an advertised address; `None` where the door is off.
fn address(advertised: &str) -> Option<Address> {
    let (host, port) = advertised.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Address { host: host.to_owned(), port: port.parse().ok()? })
}
