//! A Redis Cluster: each command goes to the node of its key's slot. A slot that has moved is an error, after which
//! the map is asked for again.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::slots::{SLOTS, slot_of};

use super::driver::{Driver, Op};
use super::resp::{Connection, Reply, check};

/// One client's connections to all nodes.
pub(super) struct Cluster {
    seeds: Vec<String>,
    /// The node of each slot; empty when it is to be asked for.
    map: Vec<Option<String>>,
    nodes: BTreeMap<String, Connection>,
}

impl Cluster {
    /// Asks one of the seeds for the map.
    pub(super) async fn open(seeds: &[String]) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster { seeds: seeds.to_vec(), map: Vec::new(), nodes: BTreeMap::new() };
        cluster.learn().await?;
        Ok(cluster)
    }

    async fn learn(&mut self) -> anyhow::Result<()> {
        let mut failed = anyhow::anyhow!("no endpoint");
        for seed in &self.seeds {
            match ask(seed).await {
                Ok(map) => {
                    self.map = map;
                    self.nodes.clear();
                    return Ok(());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn exchange(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for op in ops {
            let slot = slot_of(&op.key);
            let Some(Some(node)) = self.map.get(usize::from(slot)) else {
                bail!("nobody serves slot {slot}")
            };
            if !self.nodes.contains_key(node) {
                self.nodes.insert(node.clone(), Connection::open(node).await?);
            }
            if let Some(connection) = self.nodes.get_mut(node) {
                connection.push_op(op, value);
                *counts.entry(node.clone()).or_default() += 1;
            }
        }
        for node in counts.keys() {
            if let Some(connection) = self.nodes.get_mut(node) {
                connection.send().await?;
            }
        }
        for (node, count) in counts {
            if let Some(connection) = self.nodes.get_mut(&node) {
                check(&connection.receive(count).await?)?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Driver for Cluster {
    async fn run(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()> {
        if self.map.is_empty() {
            self.learn().await?;
        }
        let result = self.exchange(ops, value).await;
        if result.is_err() {
            // Also connections whose answers were not read.
            self.map.clear();
            self.nodes.clear();
        }
        result
    }
}

async fn ask(seed: &str) -> anyhow::Result<Vec<Option<String>>> {
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
fn map_of(reply: &Reply, asked: &str) -> Option<Vec<Option<String>>> {
    let Reply::Array(Some(ranges)) = reply else { return None };
    let mut map = vec![None; SLOTS];
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
        map.get_mut(first..=last)?.fill(Some(address));
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
        assert_eq!(map[99].as_deref(), Some("a:1"));
        assert_eq!(map[16_383].as_deref(), Some("asked:2"));
        assert_eq!(map_of(&Reply::Array(Some(vec![range(5, 16_384, "a", 1)])), "x"), None);
        assert_eq!(map_of(&Reply::Array(Some(vec![range(-1, 5, "a", 1)])), "x"), None);
        assert_eq!(map_of(&Reply::Simple("OK".into()), "x"), None);
    }
}
