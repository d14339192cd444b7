//! A Redis Cluster: each command goes to the node of its key's slot. A slot that has moved is an error, after which
//! the map is asked for again.

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::slots::{SLOTS, slot_of};

use super::driver::{Driver, Op};
use super::resp::{Connection, Reply, check};

/// Who serves what. There may be thousands of clients, and each has one: so it is small.
#[derive(Debug, Default, PartialEq)]
struct Map {
    nodes: Vec<String>,
    /// Which of the nodes serves each slot; empty when it is to be asked for.
    slots: Vec<Option<u16>>,
}

impl Map {
    fn of(&self, slot: u16) -> Option<usize> {
        Some(usize::from((*self.slots.get(usize::from(slot))?)?))
    }
}

/// One client's connections to all nodes.
pub(super) struct Cluster {
    seeds: Vec<String>,
    map: Map,
    /// Those in use, in the order of the map's nodes, with how many answers each owes.
    connections: Vec<Option<(Connection, usize)>>,
}

impl Cluster {
    /// Asks one of the seeds for the map.
    pub(super) async fn open(seeds: &[String]) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster { seeds: seeds.to_vec(), map: Map::default(), connections: Vec::new() };
        cluster.learn().await?;
        Ok(cluster)
    }

    async fn learn(&mut self) -> anyhow::Result<()> {
        let mut failed = anyhow::anyhow!("no endpoint");
        for seed in &self.seeds {
            match ask(seed).await {
                Ok(map) => {
                    self.connections = map.nodes.iter().map(|_| None).collect();
                    self.map = map;
                    return Ok(());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn exchange(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()> {
        for op in ops {
            let slot = slot_of(&op.key);
            let Some(node) = self.map.of(slot) else { bail!("nobody serves slot {slot}") };
            let place = &mut self.connections[node];
            let (connection, owed) = match place {
                Some(present) => present,
                None => place.insert((Connection::open(&self.map.nodes[node]).await?, 0)),
            };
            connection.push_op(op, value);
            *owed += 1;
        }
        let asked =
            |place: &&mut Option<(Connection, usize)>| place.as_ref().is_some_and(|(_, owed)| *owed > 0);
        for (connection, _) in self.connections.iter_mut().filter(asked).flatten() {
            connection.send().await?;
        }
        for (connection, owed) in self.connections.iter_mut().filter(asked).flatten() {
            check(&connection.receive(std::mem::take(owed)).await?)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Driver for Cluster {
    async fn run(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()> {
        if self.map.slots.is_empty() {
            self.learn().await?;
        }
        let result = self.exchange(ops, value).await;
        if result.is_err() {
            // Also connections whose answers were not read.
            self.map = Map::default();
            self.connections.clear();
        }
        result
    }
}

async fn ask(seed: &str) -> anyhow::Result<Map> {
    let mut connection = Connection::open(seed).await?;
    connection.push(&[b"CLUSTER", b"SLOTS"]);
    connection.send().await?;
    let replies = connection.receive(1).await?;
    check(&replies)?;
    let host = seed.rsplit_once(':').map_or(seed, |(host, _)| host);
    replies
        .first()
        .and_then(|reply| map_of(reply, host))
        .context("the answer to CLUSTER SLOTS is not understood")
}

/// The first node of each range is its master. A node may leave its host empty, meaning the one that was asked.
fn map_of(reply: &Reply, asked: &str) -> Option<Map> {
    let Reply::Array(Some(ranges)) = reply else { return None };
    let mut map = Map { nodes: Vec::new(), slots: vec![None; SLOTS] };
    for range in ranges {
        let Reply::Array(Some(range)) = range else { return None };
        let [Reply::Integer(first), Reply::Integer(last), Reply::Array(Some(node)), ..] = range.as_slice()
        else {
            return None;
        };
        let [Reply::Bulk(host), Reply::Integer(port), ..] = node.as_slice() else { return None };
        let host = host.as_deref().map(String::from_utf8_lossy).filter(|host| !host.is_empty());
        let address = format!("{}:{port}", host.as_deref().unwrap_or(asked));
        let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
        let known = map.nodes.iter().position(|node| *node == address).unwrap_or_else(|| {
            map.nodes.push(address);
            map.nodes.len() - 1
        });
        map.slots.get_mut(first..=last)?.fill(Some(u16::try_from(known).ok()?));
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_map_is_read_and_nonsense_refused() {
        let range = |first, last, host: &str, port| {
            let node = vec![Reply::Bulk(Some(host.into())), Reply::Integer(port)];
            Reply::Array(Some(vec![Reply::Integer(first), Reply::Integer(last), Reply::Array(Some(node))]))
        };
        let reply = Reply::Array(Some(vec![range(0, 99, "a", 1), range(100, 16_383, "", 2)]));
        let map = map_of(&reply, "asked").expect("valid");
        let serves = |slot| map.of(slot).map(|node| map.nodes[node].as_str());
        assert_eq!((serves(99), serves(16_383)), (Some("a:1"), Some("asked:2")));
        assert_eq!(map_of(&Reply::Array(Some(vec![range(5, 16_384, "a", 1)])), "x"), None);
        assert_eq!(map_of(&Reply::Array(Some(vec![range(-1, 5, "a", 1)])), "x"), None);
        assert_eq!(map_of(&Reply::Simple("OK".into()), "x"), None);
    }
}
