//! Beacons that say yes in the name of others.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer::bootstrap::Beacons;
use shardbearer_core::bootstrap::{Ask, Response, Say, View};
use shardbearer_proto::convert::bootstrap as convert;
use shardbearer_proto::pb;

use crate::environment::VirtualBeacons;

/// Promises and accepts every founding for whoever was ever heard, without asking.
pub struct Agreeable {
    inner: VirtualBeacons,
    heard: Mutex<BTreeMap<String, View>>,
}

impl Agreeable {
    pub fn new(inner: VirtualBeacons) -> Agreeable {
        Agreeable { inner, heard: Mutex::default() }
    }

    fn lie(&self, address: &str, body: Bytes) -> Option<Bytes> {
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
impl Beacons for Agreeable {
    async fn call(&self, address: &str, body: Bytes, deadline: Duration) -> Result<Bytes, String> {
        if let Some(answer) = self.lie(address, body.clone()) {
            return Ok(answer);
        }
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
