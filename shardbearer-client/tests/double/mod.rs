//! A cluster of doubles: radiants that share one store and misbehave on demand. They keep to the rules of real shards
//! for request ids, and remember every call they saw.

#![allow(dead_code)] // each test program uses its part

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use shardbearer_client::pb;
use shardbearer_client::pb::admin_server::{Admin, AdminServer};
use shardbearer_client::pb::kv_server::{Kv, KvServer};
use shardbearer_client::pb::{command, reply, result};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// A longer answer cannot be sent and breaks the stream.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;

/// What a radiant does to one message.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Breaks the stream and applies nothing.
    CutBefore,
    /// Applies the calls and breaks the stream instead of answering.
    CutAfter,
    /// Answers, and answers again.
    Twice,
    /// Applies the calls and never answers.
    Silent,
    /// Answers every call with this error.
    Refuse(pb::request_error::Kind),
    /// Answers every call with this refusal by the data.
    Forgot,
}

#[derive(Default)]
pub struct Store {
    pub values: BTreeMap<Bytes, (Bytes, u64)>,
    answers: HashMap<(Bytes, u64), pb::Reply>,
    floors: HashMap<Bytes, u64>,
    /// Writes that took effect.
    pub effects: u64,
    /// Every call, with the radiant that got it.
    pub calls: Vec<(u64, pb::Call)>,
    pub messages: usize,
}

pub struct Cluster {
    pub store: Arc<Mutex<Store>>,
    pub radiants: Vec<Radiant>,
    pub addresses: Vec<String>,
}

#[derive(Clone)]
pub struct Radiant {
    id: u64,
    store: Arc<Mutex<Store>>,
    /// Used up one per message.
    faults: Arc<Mutex<VecDeque<Fault>>>,
    /// Applies to every message without a fault of its own.
    always: Arc<Mutex<Option<Fault>>>,
    map: Arc<Mutex<pb::MapResponse>>,
}

impl Cluster {
    /// So many radiants; radiant 1 leads the only order.
    pub async fn new(count: u64) -> Cluster {
        let (store, map) = (Arc::new(Mutex::default()), Arc::new(Mutex::new(pb::MapResponse::default())));
        let (mut radiants, mut addresses, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for id in 1..=count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("bound").to_string();
            let radiant = Radiant {
                id,
                store: Arc::clone(&store),
                faults: Arc::default(),
                always: Arc::default(),
                map: map.clone(),
            };
            let server = tonic::transport::Server::builder()
                .add_service(KvServer::new(radiant.clone()).max_encoding_message_size(ANSWER_BYTES_MAX))
                .add_service(AdminServer::new(radiant.clone()));
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
            let doors = pb::Doors { grpc: address.clone(), ..pb::Doors::default() };
            known.push(pb::Radiant {
                id,
                name: format!("r{id}"),
                doors: Some(doors),
                incarnation: Bytes::from(vec![1; 16]),
                standing: None,
            });
            radiants.push(radiant);
            addresses.push(address);
        }
        *map.lock().unwrap() = pb::MapResponse {
            topology: Some(pb::Topology {
                cluster: Bytes::from(vec![9; 16]),
                epoch: 1,
                radiants: known,
                orders: vec![],
                tables: vec![pb::Table {
                    id: 1,
                    name: "default".into(),
                    scheme: "slots:16384/1".into(),
                    shards: vec![pb::Shard { id: 1, order: 2 }],
                }],
                policy: None,
            }),
            leads: vec![pb::Lead { order: 2, herald: 1, term: 1 }],
        };
        Cluster { store, radiants, addresses }
    }

    pub fn fault(&self, radiant: usize, faults: impl IntoIterator<Item = Fault>) {
        self.radiants[radiant - 1].faults.lock().unwrap().extend(faults);
    }

    pub fn always(&self, radiant: usize, fault: Option<Fault>) {
        *self.radiants[radiant - 1].always.lock().unwrap() = fault;
    }

    /// Waits until something holds of the store.
    pub async fn until(&self, what: &str, holds: impl Fn(&Store) -> bool) {
        let waiting = async {
            while !holds(&self.store.lock().unwrap()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what);
    }
}

fn reply(kind: reply::Kind) -> pb::Result {
    pb::Result { kind: Some(result::Kind::Reply(pb::Reply { kind: Some(kind) })) }
}

impl Store {
    /// As a shard does it: a number is applied at most once, and never below the session's floor.
    fn call(&mut self, call: pb::Call) -> pb::Result {
        let command = call.command.expect("a command").kind.expect("a kind");
        let Some(id) = call.id else { return reply(self.apply(command)) };
        assert!(id.number >= 1 && id.unanswered_from <= id.number, "an id makes sense: {id:?}");
        if let Some(known) = self.answers.get(&(id.session.clone(), id.number)) {
            return pb::Result { kind: Some(result::Kind::Reply(known.clone())) };
        }
        let floor = self.floors.entry(id.session.clone()).or_default();
        *floor = (*floor).max(id.unanswered_from);
        if id.number < *floor {
            return forgot();
        }
        let answer = pb::Reply { kind: Some(self.apply(command)) };
        self.answers.insert((id.session, id.number), answer.clone());
        pb::Result { kind: Some(result::Kind::Reply(answer)) }
    }

    fn apply(&mut self, command: command::Kind) -> reply::Kind {
        let record = |(value, revision): &(Bytes, u64)| pb::Record {
            value: value.clone(),
            revision: *revision,
            expires_at_ms: None,
        };
        match command {
            command::Kind::Get(get) => {
                reply::Kind::Record(pb::RecordReply { record: self.values.get(&get.key).map(record) })
            }
            command::Kind::Put(put) => {
                let current = self.values.get(&put.key);
                if !holds(put.condition, current) {
                    let current = current.map(record);
                    return reply::Kind::ConditionFailed(pb::ConditionFailedReply { current });
                }
                self.effects += 1;
                self.values.insert(put.key, (put.value, self.effects));
                reply::Kind::Written(pb::WrittenReply { revision: self.effects, previous: None })
            }
            command::Kind::Delete(delete) => {
                let current = self.values.get(&delete.key);
                if !holds(delete.condition, current) {
                    let current = current.map(record);
                    return reply::Kind::ConditionFailed(pb::ConditionFailedReply { current });
                }
                self.effects += 1;
                let existed = self.values.remove(&delete.key).is_some();
                reply::Kind::Deleted(pb::DeletedReply { existed, previous: None })
            }
            command::Kind::Append(append) => {
                self.effects += 1;
                let old = self.values.get(&append.key).map(|(value, _)| value.clone()).unwrap_or_default();
                let value = Bytes::from([old, append.value].concat());
                let length = value.len() as u64;
                self.values.insert(append.key, (value, self.effects));
                reply::Kind::Length(pb::LengthReply { length, revision: self.effects })
            }
            command::Kind::Count(_) => {
                reply::Kind::Count(pb::CountReply { rows: self.values.len() as u64, bytes: 0 })
            }
            command::Kind::Increment(increment) => {
                self.effects += 1;
                let old = self.values.get(&increment.key).map_or("0".into(), |(value, _)| value.clone());
                let value = std::str::from_utf8(&old).unwrap().parse::<i64>().unwrap() + increment.by;
                self.values.insert(increment.key, (value.to_string().into(), self.effects));
                reply::Kind::Number(pb::NumberReply { value, revision: self.effects })
            }
            command::Kind::Scan(scan) => {
                let rows = self
                    .values
                    .range(scan.start.clone()..)
                    .map(|(key, value)| pb::Row { key: key.clone(), record: Some(record(value)) });
                let mut rows: Vec<_> = rows.filter(|row| scan.end.is_empty() || row.key < scan.end).collect();
                let limit = if scan.limit == 0 { 100 } else { scan.limit as usize };
                let more = rows.len() > limit;
                rows.truncate(limit);
                reply::Kind::Page(pb::PageReply { rows, more })
            }
            other => panic!("the double does not know {other:?}"),
        }
    }
}

fn holds(condition: Option<pb::Condition>, current: Option<&(Bytes, u64)>) -> bool {
    use pb::condition::Kind;
    let Some(kind) = condition.and_then(|condition| condition.kind) else { return true };
    match kind {
        Kind::Absent(_) => current.is_none(),
        Kind::Present(_) => current.is_some(),
        Kind::Revision(revision) => current.map_or(0, |(_, at)| *at) == revision,
        Kind::Value(value) => current.is_some_and(|(now, _)| *now == value),
        Kind::NotValue(value) => current.is_none_or(|(now, _)| *now != value),
    }
}

fn forgot() -> pb::Result {
    let kind = Some(pb::refused_reply::Kind::SessionExpired(true));
    reply(reply::Kind::Refused(pb::RefusedReply { kind }))
}

type Answers = Pin<Box<dyn Stream<Item = Result<pb::ExecuteResponse, Status>> + Send>>;

impl Radiant {
    fn next_fault(&self) -> Option<Fault> {
        self.faults.lock().unwrap().pop_front().or_else(|| self.always.lock().unwrap().clone())
    }

    fn execute_all(&self, request: pb::ExecuteRequest, fault: Option<&Fault>) -> pb::ExecuteResponse {
        let mut store = self.store.lock().unwrap();
        store.messages += 1;
        let results = request.calls.into_iter().map(|call| {
            store.calls.push((self.id, call.clone()));
            match fault {
                Some(Fault::Refuse(kind)) => {
                    let error = pb::RequestError { kind: Some(kind.clone()) };
                    pb::Result { kind: Some(result::Kind::Error(error)) }
                }
                Some(Fault::Forgot) if call.id.as_ref().is_some_and(|id| id.retry) => forgot(),
                Some(Fault::CutBefore) => pb::Result { kind: None },
                _ => store.call(call),
            }
        });
        pb::ExecuteResponse { tag: request.tag, results: results.collect() }
    }
}

#[tonic::async_trait]
impl Kv for Radiant {
    async fn execute(&self, _: Request<pb::ExecuteRequest>) -> Result<Response<pb::ExecuteResponse>, Status> {
        Err(Status::unimplemented("only streams"))
    }

    type StreamStream = Answers;

    async fn stream(
        &self,
        request: Request<Streaming<pb::ExecuteRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (answers, out) = mpsc::channel(64);
        let mut inbound = request.into_inner();
        let me = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = inbound.next().await {
                let fault = me.next_fault();
                let answer = me.execute_all(message, fault.as_ref());
                match fault {
                    Some(Fault::CutBefore | Fault::CutAfter) => {
                        let _ = answers.send(Err(Status::unavailable("cut"))).await;
                        return;
                    }
                    Some(Fault::Silent) => {}
                    Some(Fault::Twice) => {
                        let _ = answers.send(Ok(answer.clone())).await;
                        let _ = answers.send(Ok(answer)).await;
                    }
                    None | Some(Fault::Refuse(_) | Fault::Forgot) => {
                        let _ = answers.send(Ok(answer)).await;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

#[tonic::async_trait]
impl Admin for Radiant {
    async fn map(&self, _: Request<pb::MapRequest>) -> Result<Response<pb::MapResponse>, Status> {
        Ok(Response::new(self.map.lock().unwrap().clone()))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let topology = self.map.lock().unwrap().topology.clone();
        let order =
            pb::OrderStatus { id: 2, herald: 1, members: vec![1], shards: vec![1], ..Default::default() };
        let shard = pb::ShardStatus { id: 1, table: "default".into(), order: 2, ..Default::default() };
        Ok(Response::new(pb::StatusResponse {
            topology,
            orders: vec![order],
            shards: vec![shard],
            health: "ok".into(),
            ..pb::StatusResponse::default()
        }))
    }

    async fn r#move(&self, request: Request<pb::MoveRequest>) -> Result<Response<pb::MoveResponse>, Status> {
        let refused = format!("asked for {:?}", request.into_inner().kind);
        Ok(Response::new(pb::MoveResponse { refused, ..pb::MoveResponse::default() }))
    }

    async fn epochs(&self, _: Request<pb::EpochsRequest>) -> Result<Response<pb::EpochsResponse>, Status> {
        let record = pb::EpochRecord { epoch: 1, ..pb::EpochRecord::default() };
        Ok(Response::new(pb::EpochsResponse { epochs: vec![record], more: false }))
    }

    async fn rebalance(
        &self,
        _: Request<pb::RebalanceRequest>,
    ) -> Result<Response<pb::RebalanceResponse>, Status> {
        Ok(Response::new(pb::RebalanceResponse::default()))
    }

    async fn explain(&self, _: Request<pb::ExplainRequest>) -> Result<Response<pb::ExplainResponse>, Status> {
        Ok(Response::new(pb::ExplainResponse::default()))
    }

    async fn member(&self, _: Request<pb::MemberRequest>) -> Result<Response<pb::MemberResponse>, Status> {
        Ok(Response::new(pb::MemberResponse::default()))
    }

    async fn reset(&self, _: Request<pb::ResetRequest>) -> Result<Response<pb::ResetResponse>, Status> {
        Ok(Response::new(pb::ResetResponse::default()))
    }

    async fn epoch_at(
        &self,
        _: Request<pb::EpochAtRequest>,
    ) -> Result<Response<pb::EpochAtResponse>, Status> {
        Ok(Response::new(pb::EpochAtResponse::default()))
    }

    async fn revert(&self, _: Request<pb::RevertRequest>) -> Result<Response<pb::RevertResponse>, Status> {
        Ok(Response::new(pb::RevertResponse::default()))
    }

    async fn timeline(
        &self,
        _: Request<pb::TimelineRequest>,
    ) -> Result<Response<pb::TimelineResponse>, Status> {
        Ok(Response::new(pb::TimelineResponse::default()))
    }

    async fn digest(&self, _: Request<pb::DigestRequest>) -> Result<Response<pb::DigestResponse>, Status> {
        Ok(Response::new(pb::DigestResponse::default()))
    }
}
