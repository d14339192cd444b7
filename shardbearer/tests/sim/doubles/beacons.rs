//! Beacons that lie.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer::bootstrap::Beacons;
use shardbearer_core::bootstrap::{Ask, Response, Say, View};
use shardbearer_proto::convert::bootstrap as convert;
use shardbearer_proto::convert::{topology_from_bytes, topology_to_bytes};
use shardbearer_proto::pb;

use crate::environment::VirtualBeacons;

/// What is wrong with beacons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// They promise and accept every founding for whoever was ever heard, without asking.
    Agree,
    /// They tell what was founded, but not the same to all.
    Garble,
}

/// Beacons that do.
pub struct Lying {
    lie: Lie,
    inner: VirtualBeacons,
    heard: Mutex<BTreeMap<String, View>>,
}

impl Lying {
    pub fn new(lie: Lie, inner: VirtualBeacons) -> Lying {
        Lying { lie, inner, heard: Mutex::default() }
    }

    /// The request with the owners of two shards exchanged.
    fn garbled(body: Bytes) -> Option<Bytes> {
        let mut request = convert::request_from_bytes(body).ok()?;
        let Ask::Founded(founding) = &mut request.ask else { return None };
        let mut topology = topology_from_bytes(founding.topology.clone()).ok()?;
        let shards = &mut topology.tables.first_mut()?.shards;
        let other = shards.iter().position(|shard| shard.order != shards[0].order)?;
        (shards[0].order, shards[other].order) = (shards[other].order, shards[0].order);
        founding.topology = topology_to_bytes(&topology);
        Some(convert::request_to_bytes(&request))
    }

    fn agreed(&self, address: &str, body: Bytes) -> Option<Bytes> {
        let from = self.heard.lock().get(address).cloned()?;
        let say = match convert::request_from_bytes(body).ok()?.ask {
            Ask::Promise(ballot) => Say::Promised { ballot, accepted: None },
            Ask::Accept(accepted) => Say::Accepted(accepted.ballot),
            Ask::Beacon | Ask::Founded(_) => return None,
        };
        Some(convert::response_to_bytes(&Response { from, say }))
    }
}

#[async_trait]
impl Beacons for Lying {
    async fn call(&self, address: &str, body: Bytes, deadline: Duration) -> Result<Bytes, String> {
        let body = match self.lie {
            Lie::Agree => match self.agreed(address, body.clone()) {
                Some(answer) => return Ok(answer),
                None => body,
            },
            Lie::Garble => Self::garbled(body.clone()).unwrap_or(body),
        };
        let answer = self.inner.call(address, body, deadline).await?;
        if let Ok(response) = convert::response_from_bytes(answer.clone()) {
            self.heard.lock().insert(address.to_owned(), response.from);
        }
        Ok(answer)
    }

    async fn control(
        &self,
        address: &str,
        request: pb::ControlRequest,
        deadline: Duration,
    ) -> Result<pb::ControlResponse, String> {
        self.inner.control(address, request, deadline).await
    }
}
