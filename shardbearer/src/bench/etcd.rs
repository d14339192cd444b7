//! As much of etcd's v3 API as is needed to compare: Put and (linearizable) Range of one key. The messages are written
//! by hand after `etcdserverpb`; fields that are not looked at are left out.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use prost::Message;
use tonic::Code;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::driver::{Driver, Kind, Op};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// Between attempts at a call that was refused for overload.
const BACK_OFF: Duration = Duration::from_millis(20);
/// A hundred seconds of them.
const ATTEMPTS_MAX: u32 = 5_000;

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

/// A connection to one member.
pub(super) struct Etcd {
    channel: Channel,
}

impl Etcd {
    /// Connects.
    pub(super) async fn open(address: &str) -> anyhow::Result<Etcd> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .with_context(|| format!("{address:?} is not a host:port"))?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.with_context(|| format!("cannot connect to {address}"))?;
        Ok(Etcd { channel })
    }

    /// A call that etcd refuses for overload ("too many requests": what is committed is far ahead of what is applied)
    /// is made again after a pause, as its own clients do; the pause counts as latency.
    async fn call<Q, A>(&self, path: &'static str, request: Q) -> anyhow::Result<A>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone());
        for attempt in 1.. {
            grpc.ready().await.context("the connection is closed")?;
            let request = tonic::Request::new(request.clone());
            let codec = ProstCodec::<Q, A>::default();
            match grpc.unary(request, PathAndQuery::from_static(path), codec).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) if status.code() == Code::ResourceExhausted && attempt < ATTEMPTS_MAX => {
                    tokio::time::sleep(BACK_OFF).await;
                }
                Err(status) => anyhow::bail!("{}", status.message().to_owned()),
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn one(&self, op: &Op, value: &Bytes) -> anyhow::Result<()> {
        let key = op.key.clone();
        match op.kind {
            Kind::Read => {
                self.call::<_, RangeResponse>(RANGE, RangeRequest { key }).await?;
            }
            Kind::Write => {
                self.call::<_, PutResponse>(PUT, PutRequest { key, value: value.clone() }).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Driver for Etcd {
    async fn run(&mut self, ops: &[Op], value: &Bytes) -> anyhow::Result<()> {
        try_join_all(ops.iter().map(|op| self.one(op, value))).await?;
        Ok(())
    }
}
