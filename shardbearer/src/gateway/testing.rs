//! A radiant in memory, for tests of gateways: two orders, one table, and keys that behave badly on request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId, ShardId, TableId};
use shardbearer_core::kv::{Command, Condition, Expiry, Record, RecordInfo, Refusal, Reply};
use shardbearer_core::topology::{Shard, Table, Topology};
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Entrance, Inside, Overview, TABLE_DEFAULT};
use crate::kv::{CallResult, Door, Request};
use crate::world::Real;

/// Longer than anything a test waits for takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The radiant. Keys that begin with `slow` wait for [`Double::release`], `busy` is refused, `lost` has an
/// unknown outcome, `odd` is refused by the data. Even first bytes belong to order 2, odd ones to order 3.
pub(super) struct Double {
    rows: Mutex<BTreeMap<Bytes, Record>>,
    revision: AtomicUsize,
    gate: Semaphore,
    /// How many requests the door saw.
    pub(super) executed: AtomicUsize,
    /// Whether order 3 has no herald.
    pub(super) headless: AtomicBool,
}

impl Double {
    pub(super) fn new() -> Arc<Double> {
        Arc::new(Double {
            rows: Mutex::default(),
            revision: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            executed: AtomicUsize::new(0),
            headless: AtomicBool::new(false),
        })
    }

    pub(super) fn open(self: &Arc<Self>, entrance: &Entrance) {
        let inside = Inside { door: self.clone(), overview: self.clone() };
        assert!(entrance.set(inside).is_ok(), "opened once");
    }

    /// Lets the slow ones go on.
    pub(super) fn release(&self) {
        self.gate.close();
    }

    fn holds(&self, key: &Bytes, condition: &Condition) -> Result<Option<Record>, Reply> {
        let current = self.rows.lock().get(key).cloned();
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => current.is_none(),
            Condition::Present => current.is_some(),
            Condition::Revision(revision) => current.as_ref().map_or(0, |row| row.revision) == *revision,
            Condition::Value(value) => current.as_ref().is_some_and(|row| row.value == value),
            Condition::NotValue(value) => current.as_ref().is_none_or(|row| row.value != value),
        };
        if holds { Ok(current) } else { Err(Reply::ConditionFailed { current }) }
    }

    fn apply(&self, command: Command) -> Reply {
        match command {
            Command::Get { key } => Reply::Record(self.rows.lock().get(&key).cloned()),
            Command::Inspect { key } => Reply::Info(self.rows.lock().get(&key).map(|row| RecordInfo {
                length: row.value.len() as u64,
                revision: row.revision,
                expires_at_ms: row.expires_at_ms,
            })),
            Command::Put { key, .. } if key == "odd" => Reply::Refused(Refusal::NotAnInteger),
            Command::Put { key, value, condition, expiry, .. } => match self.holds(&key, &condition) {
                Err(failed) => failed,
                Ok(_) => {
                    let revision = self.revision.fetch_add(1, Ordering::SeqCst) as u64 + 1;
                    let expires_at_ms = match expiry {
                        Expiry::At(at_ms) => Some(at_ms),
                        Expiry::Never | Expiry::Keep => None,
                    };
                    self.rows.lock().insert(key, Record { value, revision, expires_at_ms });
                    Reply::Written { revision, previous: None }
                }
            },
            Command::Delete { key, condition, .. } => match self.holds(&key, &condition) {
                Err(failed) => failed,
                Ok(_) => Reply::Deleted { existed: self.rows.lock().remove(&key).is_some(), previous: None },
            },
            Command::Batch { commands, .. } => Reply::Batch {
                applied: true,
                replies: commands.into_iter().map(|command| self.apply(command)).collect(),
            },
            other => Reply::Refused(Refusal::Malformed(format!("the double cannot {other:?}"))),
        }
    }
}

#[async_trait]
impl Door for Double {
    async fn execute(&self, request: Request) -> Vec<CallResult> {
        self.executed.fetch_add(1, Ordering::SeqCst);
        let mut results = Vec::new();
        for call in request.calls {
            let key = call.command.key().cloned().unwrap_or_default();
            if key.starts_with(b"slow") {
                // Ends with an error, which is the signal.
                let _ = tokio::time::timeout(request.deadline, self.gate.acquire()).await;
            }
            results.push(match key.as_ref() {
                b"busy" => Err(Refused::Busy("the queue is full".into()).into()),
                b"lost" => Err(RequestError::Unknown("the answer got lost".into())),
                _ => Ok(self.apply(call.command)),
            });
        }
        results
    }

    fn topology(&self) -> Arc<Topology> {
        let shard = |id: u64| Shard { id: ShardId(id), order: OrderId(id) };
        let (name, scheme) = (TABLE_DEFAULT.to_owned(), String::new());
        let table = Table { id: TableId::DEFAULT, name, scheme, shards: vec![shard(2), shard(3)] };
        Arc::new(Topology { tables: vec![table], ..Topology::default() })
    }

    fn me(&self) -> RadiantId {
        RadiantId(1)
    }

    fn herald(&self, _: OrderId) -> Option<RadiantId> {
        Some(RadiantId(1))
    }

    fn locate(&self, table: &str, key: &[u8]) -> Option<(ShardId, OrderId)> {
        let id = 2 + u64::from(key.first().copied().unwrap_or(0) % 2);
        (table == TABLE_DEFAULT).then_some((ShardId(id), OrderId(id)))
    }
}

#[async_trait]
impl Overview for Double {
    fn map(&self) -> pb::MapResponse {
        pb::MapResponse { topology: Some(self.topology().as_ref().into()), leads: Vec::new() }
    }

    fn status(&self) -> pb::StatusResponse {
        let headless = self.headless.load(Ordering::SeqCst);
        let shard = |id: u64| pb::ShardStatus {
            id,
            table: TABLE_DEFAULT.into(),
            order: id,
            state: if id == 3 && headless { "down" } else { "serving" }.into(),
            ..Default::default()
        };
        pb::StatusResponse {
            topology: Some(self.topology().as_ref().into()),
            shards: vec![shard(2), shard(3)],
            answered_by: "double".into(),
            health: if headless { "down" } else { "ok" }.into(),
            ..Default::default()
        }
    }

    async fn migrate(&self, request: pb::MoveRequest) -> Result<pb::MoveResponse, RequestError> {
        Ok(pb::MoveResponse { refused: format!("{:?}", request.kind), ..Default::default() })
    }

    async fn epochs(&self) -> Result<Vec<pb::EpochRecord>, RequestError> {
        Ok(vec![pb::EpochRecord { epoch: 1, who: "founding".into(), ..Default::default() }])
    }

    async fn epoch_at(&self, epoch: u64) -> Result<pb::EpochAtResponse, RequestError> {
        let record = self.epochs().await?.into_iter().find(|record| record.epoch == epoch);
        let topology = record.as_ref().map(|_| self.topology().as_ref().into());
        Ok(pb::EpochAtResponse { record, topology })
    }

    async fn timeline(&self) -> Result<pb::TimelineResponse, RequestError> {
        let events = self.epochs().await?.into_iter().map(crate::story::of_epoch).collect();
        let radiants = vec![pb::StoryRadiant { id: 9, name: "away".into(), answered: false }];
        Ok(pb::TimelineResponse { events, radiants, left_out: 0 })
    }
}

/// A gateway of a double, on a port of its own.
pub(super) struct Served<T> {
    pub(super) address: SocketAddr,
    pub(super) double: Arc<Double>,
    pub(super) entrance: Entrance,
    pub(super) closing: CancellationToken,
    pub(super) task: JoinHandle<T>,
    _world: Arc<Real>,
}

/// Serves a double that is not inside its cluster yet.
pub(super) async fn serve<F>(
    gateway: impl FnOnce(TcpListener, Entrance, World, CancellationToken) -> F,
) -> Served<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (entrance, closing) = (Arc::new(OnceLock::new()), CancellationToken::new());
    let (world, real) = Real::create();
    let task = tokio::spawn(gateway(listener, entrance.clone(), world, closing.clone()));
    Served { address, double: Double::new(), entrance, closing, task, _world: real }
}

impl<T> Served<T> {
    /// Lets the double into its cluster.
    pub(super) fn opened(self) -> Self {
        self.double.open(&self.entrance);
        self
    }
}
