//! A member alone, in unlucky moments: tasks that begin late, an end between two steps.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnipaxos::ballot_leader_election::Ballot;
use shardbearer_core::engine::{Committed, ConsensusEngine, EngineContext, EngineLimits, Start, Timing};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::{LogPos, LogRecord, LogStore, LogWrite};
use shardbearer_core::transport::{CallError, Frame, Transport};
use shardbearer_core::world::{Nature, Task, Work, World};
use shardbearer_state::shard::ShardMachine;
use tokio::sync::Semaphore;

use super::Omnipaxos;
use super::wire::{CONFIGURATION, Entry, Hard, encode_entry, encode_hard, term};
use crate::order::applier::MachineApplier;
use crate::order::codec::DataCodec;
use crate::storage::log::{LogOptions, SegmentedLog};
use crate::storage::memory::Memory;
use crate::world::Real;

const ORDER: OrderId = OrderId(2);

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody is there.
struct Alone;

#[async_trait::async_trait]
impl Transport for Alone {
    fn send(&self, _: RadiantId, _: Frame) {}

    async fn call(&self, to: RadiantId, _: Frame, _: Duration) -> Result<Bytes, CallError> {
        Err(CallError::Unreachable { to, why: "nobody is there".into() })
    }
}

/// The real world, in which one task begins only when it is let.
struct Tardy {
    real: Arc<Real>,
    late: &'static str,
    begin: Arc<Semaphore>,
}

impl Nature for Tardy {
    fn monotonic_ns(&self) -> u64 {
        self.real.monotonic_ns()
    }

    fn wall_ms(&self) -> u64 {
        self.real.wall_ms()
    }

    fn draw(&self) -> u64 {
        self.real.draw()
    }

    fn spawn(&self, name: &'static str, task: Task) {
        let begin = self.begin.clone();
        let late = name == self.late;
        let task = async move {
            if late {
                drop(begin.acquire().await);
            }
            task.await;
        };
        self.real.spawn(name, Box::pin(task));
    }

    fn block(&self, work: Work) -> Task {
        self.real.block(work)
    }
}

/// What a member leaves behind that had `count` entries decided, all of them in its log.
async fn decided(log: &SegmentedLog, count: u64) {
    let ballot = Ballot::with(CONFIGURATION, 1, 0, 2);
    let entry = Entry { term: term(ballot), proposal: Bytes::new() };
    let record =
        |index| LogRecord { position: LogPos { term: entry.term, index }, payload: encode_entry(&entry) };
    let hard =
        Hard { incarnation: 1, promise: ballot, accepted: ballot, decided: count, members: vec![1, 2, 3] };
    let mut writes: Vec<LogWrite> = (1..=count).map(|index| LogWrite::Append(record(index))).collect();
    writes.push(LogWrite::Hard(encode_hard(&hard)));
    let (done, written) = tokio::sync::oneshot::channel();
    log.write(ORDER, writes, Box::new(move |outcome| drop(done.send(outcome)))).expect("taken");
    written.await.expect("reported").expect("written");
}

fn log(folder: &Path) -> Arc<SegmentedLog> {
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
    SegmentedLog::open(&folder.join("log"), options).expect("a folder")
}

fn context(folder: &Path, log: Arc<dyn LogStore>, world: World) -> EngineContext {
    let storage = Arc::new(Memory::open(&folder.join("data")).expect("a folder"));
    let (machine, images) = (ShardMachine::new(ORDER), folder.join("images"));
    let applier = MachineApplier::open(ORDER, storage, machine, DataCodec, images, world.clone());
    EngineContext {
        order: ORDER,
        me: RadiantId(1),
        start: Start::Join,
        log,
        applier: applier.expect("nothing is stored"),
        transport: Arc::new(Alone),
        world,
        timing: Timing::default(),
        limits: EngineLimits::default(),
    }
}

/// Once an order stood still for good: its control order answered no reads, or a replica stayed behind, until something else
/// was decided.
#[tokio::test]
async fn what_was_decided_before_the_data_listen_is_applied() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    decided(&log, 3).await;
    let begin = Arc::new(Semaphore::new(0));
    let nature = Tardy { real: Real::create().1, late: "omnipaxos-apply", begin: begin.clone() };
    let world = World::new(Arc::new(nature));
    let member = Omnipaxos::open(context(folder.path(), log.clone(), world)).expect("it opens");
    let mut commit = member.shared.commit.subscribe();
    let known = tokio::time::timeout(PATIENCE, commit.wait_for(|upto| *upto == 3)).await;
    drop(known.expect("in time").expect("it is open"));
    begin.add_permits(1);
    let (read, answer) = tokio::sync::oneshot::channel();
    member.shared.answer_reads_at(3, vec![read]);
    let position = tokio::time::timeout(PATIENCE, answer).await.expect("applied in time");
    assert_eq!(position.expect("answered").expect("applied").index, 3);
    member.close().await;
    log.close();
}

/// Once such a member promised to have decided more than it had accepted. The others were to continue its log where theirs was
/// purged, and stopped, again after each start.
#[tokio::test]
async fn a_member_that_ended_right_after_an_image_was_installed_begins_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    decided(&log, 3).await;
    let context = context(folder.path(), log.clone(), Real::create().0);
    let image = LogPos { term: 1 << 16, index: 9 };
    let last = Committed { position: image, proposal: None, wanted: false, note: None };
    context.applier.apply(vec![last]).await.expect("applied");
    let member = Omnipaxos::open(context).expect("it opens");
    let mut status = member.shared.status.subscribe();
    let known = tokio::time::timeout(PATIENCE, status.wait_for(|status| status.last_log > 0)).await;
    assert_eq!(known.expect("in time").expect("it is open").last_log, image.index);
    let bounds = log.bounds(ORDER);
    assert_eq!((bounds.purged, bounds.last), (image, image));
    member.close().await;
    log.close();
}
