//! The gRPC door over real sockets, before a radiant in memory.

mod services;
mod stream;
mod unary;

use shardbearer_core::error::RequestError;
use shardbearer_core::kv::{Command, Condition, Expiry, Reply};
use shardbearer_proto::convert::result_from_wire;
use shardbearer_proto::pb;
use shardbearer_proto::pb::kv_client::KvClient;
use tonic::transport::{Channel, Endpoint};

use super::{Settings, serve};
use crate::gateway::testing::{self, Served};

type Outcome = Result<(), tonic::transport::Error>;

async fn closed() -> Served<Outcome> {
    testing::serve(|listener, entrance, world, closing| {
        serve(listener, entrance, None, Settings::default(), world, closing)
    })
    .await
}

async fn open() -> Served<Outcome> {
    closed().await.opened()
}

async fn channel(served: &Served<Outcome>) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).expect("an address");
    endpoint.connect().await.expect("it listens")
}

async fn kv(served: &Served<Outcome>) -> KvClient<Channel> {
    KvClient::new(channel(served).await)
}

fn put(key: &str, value: &str) -> pb::Call {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    call(&Command::Put { key, value, condition: Condition::Always, expiry: Expiry::Never, previous: false })
}

fn get(key: &str) -> pb::Call {
    call(&Command::Get { key: key.to_owned().into() })
}

fn call(command: &Command) -> pb::Call {
    pb::Call { command: Some(command.into()), ..Default::default() }
}

fn request(tag: u64, calls: impl Into<Vec<pb::Call>>) -> pb::ExecuteRequest {
    pb::ExecuteRequest { tag, calls: calls.into(), ..Default::default() }
}

fn results(answer: pb::ExecuteResponse) -> Vec<Result<Reply, RequestError>> {
    answer.results.into_iter().map(|result| result_from_wire(result).expect("valid")).collect()
}
