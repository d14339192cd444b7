//! Where a call should go: the shard map as last heard, and the links to radiants.
//!
//! Everything here is a guess. A wrong one costs a hop or another attempt, never a wrong answer: ownership is checked
//! where the command is applied.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::seq::SliceRandom;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::kv::Command;
use shardbearer_core::placement::ShardingScheme;
use shardbearer_core::slots::Slots;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;

use crate::link::Link;

/// The shard map with what is derived from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    pub(crate) topology: Arc<Topology>,
    schemes: BTreeMap<String, Slots>,
    leads: BTreeMap<OrderId, Lead>,
}

#[derive(Clone, Copy, Debug)]
struct Lead {
    term: u64,
    herald: RadiantId,
}

impl Routes {
    /// These routes after a radiant said what it knows. Configurations only move to newer ones, leads to higher terms.
    pub(crate) fn with(&self, map: pb::MapResponse) -> Result<Routes, String> {
        let mut next = self.clone();
        let topology: Topology =
            map.topology.unwrap_or_default().try_into().map_err(|error| format!("{error}"))?;
        if topology.cluster != next.topology.cluster {
            next = Routes::default();
        }
        if topology.version() >= next.topology.version() {
            // A scheme that this version does not know is no error: any radiant forwards what it is sent.
            let known = topology.tables.iter().filter_map(|table| {
                let scheme = Slots::parse(&table.scheme)?;
                (scheme.shards() == table.shards.len()).then(|| (table.name.clone(), scheme))
            });
            next.schemes = known.collect();
            next.topology = Arc::new(topology);
        }
        for lead in map.leads {
            let (order, herald) = (OrderId(lead.order), RadiantId(lead.herald));
            let older = next.leads.get(&order).is_none_or(|known| known.term <= lead.term);
            if older && !herald.is_none() {
                next.leads.insert(order, Lead { term: lead.term, herald });
            }
        }
        Ok(next)
    }

    /// These routes after somebody who was asked for an order named its herald.
    pub(crate) fn with_lead(&self, order: OrderId, herald: RadiantId) -> Routes {
        let mut next = self.clone();
        let term = next.leads.get(&order).map_or(0, |known| known.term);
        next.leads.insert(order, Lead { term, herald });
        next
    }

    /// The address of the radiant that leads the order of the command's shard.
    pub(crate) fn address(&self, table: &str, command: &Command) -> Option<&str> {
        let position = self.schemes.get(table)?.shard_of(command.key()?);
        let shard = self.topology.table(table)?.shards.get(position)?;
        let herald = self.leads.get(&shard.order)?.herald;
        let address = &self.topology.radiant(herald)?.doors.grpc;
        (!address.is_empty()).then_some(address.as_str())
    }

    fn addresses(&self) -> impl Iterator<Item = &str> {
        self.topology
            .radiants
            .iter()
            .map(|radiant| radiant.doors.grpc.as_str())
            .filter(|door| !door.is_empty())
    }
}

/// The links to all radiants that are known.
pub(crate) struct Links {
    endpoints: Vec<String>,
    connect_timeout: Duration,
    links: Mutex<HashMap<String, Arc<Link>>>,
}

impl Links {
    /// Knows the endpoints; an error names the one that is no address.
    pub(crate) fn new(endpoints: Vec<String>, connect_timeout: Duration) -> Result<Links, String> {
        if endpoints.is_empty() {
            return Err("no endpoint is given".into());
        }
        let links = Links { endpoints, connect_timeout, links: Mutex::default() };
        for endpoint in &links.endpoints {
            if !endpoint
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            {
                return Err(format!("{endpoint:?} is not an address: write host:port"));
            }
            links.link(endpoint)?;
        }
        Ok(links)
    }

    /// Forgets radiants that have left.
    pub(crate) fn keep(&self, routes: &Routes) {
        let known: Vec<&str> = routes.addresses().collect();
        self.links
            .lock()
            .retain(|address, _| known.contains(&address.as_str()) || self.endpoints.contains(address));
    }

    /// The link to take: the preferred radiant unless it is down or to be avoided, then any other that is up.
    pub(crate) fn choose(
        &self,
        routes: &Routes,
        preferred: Option<&str>,
        avoid: Option<&str>,
    ) -> Option<Arc<Link>> {
        if let Some(address) = preferred.filter(|address| Some(*address) != avoid)
            && let Ok(link) = self.link(address)
            && !link.is_down()
        {
            return Some(link);
        }
        let others = self.shuffled(routes);
        let best = others.iter().find(|link| Some(link.address.as_str()) != avoid && !link.is_down());
        best.or_else(|| others.iter().find(|link| Some(link.address.as_str()) != avoid))
            .or(others.first())
            .cloned()
    }

    /// Every link, those that are up first, otherwise in random order.
    pub(crate) fn shuffled(&self, routes: &Routes) -> Vec<Arc<Link>> {
        let mut addresses: Vec<&str> = routes.addresses().collect();
        addresses.extend(self.endpoints.iter().map(String::as_str));
        addresses.sort_unstable();
        addresses.dedup();
        addresses.shuffle(&mut rand::rng());
        let mut links: Vec<_> = addresses.into_iter().filter_map(|address| self.link(address).ok()).collect();
        links.sort_by_key(|link| link.is_down());
        links
    }

    fn link(&self, address: &str) -> Result<Arc<Link>, String> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(address) {
            return Ok(link.clone());
        }
        let link = Arc::new(Link::new(address, self.connect_timeout)?);
        links.insert(address.to_owned(), link.clone());
        Ok(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn map(epoch: u64, herald: u64, term: u64) -> pb::MapResponse {
        let radiant = |id: u64| pb::Radiant {
            id,
            name: format!("r{id}"),
            doors: Some(pb::Doors { grpc: format!("127.0.0.1:{id}"), ..pb::Doors::default() }),
            incarnation: Bytes::from_static(&[1; 16]),
            standing: None,
        };
        let topology = pb::Topology {
            cluster: Bytes::from_static(&[7; 16]),
            epoch,
            radiants: vec![radiant(1), radiant(2), radiant(3)],
            orders: vec![],
            tables: vec![pb::Table {
                id: 1,
                name: "default".into(),
                scheme: "slots:16384/1".into(),
                shards: vec![pb::Shard { id: 1, order: 2 }],
            }],
            policy: None,
        };
        pb::MapResponse { topology: Some(topology), leads: vec![pb::Lead { order: 2, herald, term }] }
    }

    /// Hearsay from a radiant that lags behind must not undo what is known better.
    #[test]
    fn newer_epochs_and_terms_win() {
        let get = Command::Get { key: Bytes::from_static(b"k") };
        let routes = Routes::default().with(map(5, 1, 3)).expect("valid");
        assert_eq!(routes.address("default", &get), Some("127.0.0.1:1"));
        let stale = routes.with(map(4, 2, 2)).expect("valid");
        assert_eq!((stale.topology.epoch.0, stale.address("default", &get)), (5, Some("127.0.0.1:1")));
        let hinted = routes.with_lead(OrderId(2), RadiantId(3));
        assert_eq!(hinted.address("default", &get), Some("127.0.0.1:3"));
        let newer = hinted.with(map(6, 2, 4)).expect("valid");
        assert_eq!((newer.topology.epoch.0, newer.address("default", &get)), (6, Some("127.0.0.1:2")));
        assert_eq!(newer.address("other", &get), None, "any radiant will do");
    }

    #[tokio::test]
    async fn what_is_no_address_is_said_so() {
        for wrong in ["", "host", ":1", "host:port", "http://host:1/x y"] {
            assert!(Links::new(vec![wrong.into()], Duration::from_secs(1)).is_err(), "{wrong:?}");
        }
        assert!(Links::new(vec![], Duration::from_secs(1)).is_err());
    }

    #[tokio::test]
    async fn links_that_are_down_or_avoided_come_last() {
        let routes = Routes::default().with(map(1, 1, 1)).expect("valid");
        let links = Links::new(vec!["127.0.0.1:1".into()], Duration::from_secs(1)).expect("an address");
        let pick = |preferred, avoid| links.choose(&routes, preferred, avoid).expect("one").address.clone();
        assert_eq!(pick(Some("127.0.0.1:1"), None), "127.0.0.1:1");
        assert_ne!(pick(Some("127.0.0.1:1"), Some("127.0.0.1:1")), "127.0.0.1:1");
        links.link("127.0.0.1:1").expect("an address").doubt();
        links.link("127.0.0.1:2").expect("an address").doubt();
        assert_eq!(pick(Some("127.0.0.1:1"), None), "127.0.0.1:3");
    }
}
