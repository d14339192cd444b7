//! One member whose peers are away: what it does alone, and what it must not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::raft::{AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::storage::RaftStateMachine;
use parking_lot::Mutex;
use shardbearer_core::engine::{Applier, ConsensusEngine, EngineContext, EngineLimits, Start, Timing};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::limits;
use shardbearer_core::log::{LogPos, LogRecord, LogStore, LogWrite};
use shardbearer_core::transport::{CallError, Frame, Transport};
use shardbearer_state::shard::ShardMachine;

use super::Openraft;
use super::machine::OrderMachine;
use super::network::Transfers;
use super::types::{LeaderId, Membership, Payload, Proposal, Vote};
use super::wire::{self, Request, Response};
use crate::order::applier::MachineApplier;
use crate::order::codec::DataCodec;
use crate::storage::log::{LogOptions, SegmentedLog};
use crate::storage::memory::Memory;
use crate::world::Real;

const ORDER: OrderId = OrderId(2);
const ME: RadiantId = RadiantId(1);

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody is there.
struct Alone;

#[async_trait]
impl Transport for Alone {
    fn send(&self, _: RadiantId, _: Frame) {}

    async fn call(&self, to: RadiantId, _: Frame, _: Duration) -> Result<Bytes, CallError> {
        Err(CallError::Unreachable { to, why: "nobody is there".into() })
    }
}

/// The others grant every vote and take every entry.
struct Willing;

#[async_trait]
impl Transport for Willing {
    fn send(&self, _: RadiantId, _: Frame) {}

    async fn call(&self, _: RadiantId, frame: Frame, _: Duration) -> Result<Bytes, CallError> {
        let response = match wire::decode_request(frame.body).expect("ours") {
            Request::Vote(asked) | Request::PreVote(asked) => {
                Response::Vote(VoteResponse::new(asked.vote, asked.last_log_id, true))
            }
            Request::Append(_) => Response::Append(AppendEntriesResponse::Success),
            Request::Transfer { .. } | Request::Chunk { .. } => Response::Declined,
            Request::Probe => Response::Here,
        };
        Ok(wire::encode_response(&response))
    }
}

/// The others are [`Willing`] while this says so; else nothing comes back of appends, or of anything.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Willing,
    SlowDisks,
    Deaf,
}

struct Moody(Arc<Mutex<Mood>>);

#[async_trait]
impl Transport for Moody {
    fn send(&self, _: RadiantId, _: Frame) {}

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        let append = matches!(wire::decode_request(frame.body.clone()), Some(Request::Append(_)));
        let mood = *self.0.lock();
        if mood == Mood::Deaf || mood == Mood::SlowDisks && append {
            tokio::time::sleep(deadline).await;
            return Err(CallError::Unknown { to, why: "nothing came back".into() });
        }
        Willing.call(to, frame, deadline).await
    }
}

fn log(folder: &Path) -> Arc<SegmentedLog> {
    let options = LogOptions { segment_bytes: 1 << 20, ..LogOptions::default() };
    SegmentedLog::open(&folder.join("log"), options).expect("a folder")
}

async fn open(
    folder: &Path,
    log: Arc<dyn LogStore>,
    transport: impl Transport + 'static,
    members: &[u64],
) -> Arc<Openraft> {
    Openraft::open(context(folder, log, transport, members)).await.expect("it opens")
}

fn context(
    folder: &Path,
    log: Arc<dyn LogStore>,
    transport: impl Transport + 'static,
    members: &[u64],
) -> EngineContext {
    let (world, _) = Real::create();
    let storage = Arc::new(Memory::open(&folder.join("data")).expect("a folder"));
    let images = folder.join("images");
    let machine = ShardMachine::new(ORDER);
    let applier = MachineApplier::open(ORDER, storage, machine, DataCodec, images, world.clone());
    EngineContext {
        order: ORDER,
        me: ME,
        start: Start::Found(members.iter().copied().map(RadiantId).collect()),
        log,
        applier: applier.expect("nothing is stored"),
        transport: Arc::new(transport),
        world,
        timing: Timing::default(),
        limits: EngineLimits::default(),
    }
}

/// Stands for election and waits until it leads.
async fn lead(engine: &Openraft) {
    engine.campaign().await.expect("it may");
    let leads = async {
        let mut version = engine.status().version;
        while !engine.status().leading {
            version = engine.changed(version).await.version;
        }
    };
    tokio::time::timeout(PATIENCE, leads).await.expect("it leads in time");
}

/// Writes and waits until it is on disk.
async fn write(log: &SegmentedLog, writes: Vec<LogWrite>) {
    let (done, written) = tokio::sync::oneshot::channel();
    let report = Box::new(move |outcome| drop(done.send(outcome)));
    log.write(ORDER, writes, report).expect("taken");
    let reported = tokio::time::timeout(PATIENCE, written).await.expect("reported in time");
    reported.expect("reported").expect("written");
}

/// What a herald of three members leaves behind: its vote, confirmed by a quorum, and entries of its term. The storage
/// has lost what was applied, as it may at a loss of power.
async fn led_before(log: &SegmentedLog) {
    let vote = Vote { leader_id: LeaderId { term: 1, voted_for: ME.0 }, committed: true };
    let members =
        std::collections::BTreeMap::from([1, 2, 3].map(|id| (id, openraft::impls::EmptyNode::new())));
    let ids = members.keys().copied().collect();
    let membership = Payload::Membership(Membership::new(vec![ids], members).expect("sound"));
    let payloads =
        [(0, membership), (1, Payload::Blank), (1, Payload::Normal(Proposal(Bytes::from_static(b"x"))))];
    let mut writes = vec![LogWrite::Hard(wire::encode_vote(&vote))];
    for ((term, payload), index) in payloads.iter().zip(1..) {
        let position = LogPos { term: *term, index };
        writes.push(LogWrite::Append(LogRecord { position, payload: wire::encode_payload(payload) }));
    }
    write(log, writes).await;
}

/// What three members had and one is left with: all of its log counts, nobody else is needed, and whoever joins gets an image.
#[tokio::test]
async fn an_order_that_lost_its_majority_begins_anew_from_one_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    led_before(&log).await;
    // Twice, as after a crash in between.
    for index in [4, 5] {
        let context = context(folder.path(), log.clone(), Alone, &[]);
        super::reset::begin_anew(&context, 7_000, None).await.expect("it can");
        let applied = context.applier.applied();
        assert_eq!((applied.position.index, applied.position.term >= 7_000), (index, true));
        let bounds = log.bounds(ORDER);
        assert_eq!((bounds.purged, bounds.last), (applied.position, applied.position));
    }
    let engine = open(folder.path(), log, Alone, &[]).await;
    let mut status = engine.status();
    while !status.leading {
        status = engine.changed(status.version).await;
    }
    assert_eq!((status.members.as_slice(), status.term > 7_000), ([ME].as_slice(), true), "{status:?}");
    engine.propose(Bytes::from_static(b"y")).await.expect("nobody else is asked");
    engine.close().await;
}

/// Without entries that the log has no more and the data lack, it would go on from a hole.
#[tokio::test]
async fn an_order_does_not_begin_anew_from_a_hole() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    led_before(&log).await;
    write(&log, vec![LogWrite::Purge { upto: LogPos { term: 1, index: 2 } }]).await;
    let context = context(folder.path(), log, Alone, &[]);
    let refused = super::reset::begin_anew(&context, 7_000, None).await.expect_err("entries are missing");
    assert!(refused.to_string().contains("what is between is lost"), "{refused}");
}

/// As herald of its old term it would answer reads from what is left of its data.
#[tokio::test]
async fn a_herald_that_restarts_does_not_lead_until_it_is_elected_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    led_before(&log).await;
    let engine = open(folder.path(), log, Alone, &[1, 2, 3]).await;
    let status = engine.status();
    assert_eq!((status.herald, status.leading), (None, false), "{status:?}");
    assert!(engine.read_barrier().await.is_err());
    engine.close().await;
}

/// A longer entry would be in the log and could never be sent to anybody.
#[tokio::test]
async fn an_entry_that_fits_no_message_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), log(folder.path()), Alone, &[ME.0]).await;
    lead(&engine).await;
    let before = engine.status().last_log;
    let longest = vec![0; limits::ENTRY_BYTES_MAX];
    let refused = engine.propose([&longest[..], &[0]].concat().into()).await;
    assert!(matches!(refused, Err(RequestError::Refused(Refused::Invalid(_)))), "{refused:?}");
    assert_eq!(engine.status().last_log, before);
    engine.propose(longest.into()).await.expect("the longest that fits");
    engine.close().await;
}

fn machine(applier: Arc<dyn Applier>, log: Arc<SegmentedLog>, transfers: Transfers) -> OrderMachine {
    OrderMachine { applier, current: Arc::default(), transfers, held_bytes_max: 1 << 20, log, order: ORDER }
}

/// Whoever is being brought up by an image needs the log from there on; but not at any price.
#[tokio::test]
async fn the_log_is_kept_while_an_image_is_on_its_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    led_before(&log).await;
    let storage = Arc::new(Memory::open(&folder.path().join("data")).expect("a folder"));
    let images = folder.path().join("images");
    let (world, _) = Real::create();
    let data = ShardMachine::new(ORDER);
    let applier = MachineApplier::open(ORDER, storage, data, DataCodec, images, world);
    let transfers = Transfers::default();
    let applier = applier.expect("nothing is stored");
    let mut machine = machine(applier, log, transfers.clone());
    assert!(machine.try_create_snapshot_builder(false).await.is_some());
    let transfer = transfers.begin();
    assert!(machine.try_create_snapshot_builder(false).await.is_none());
    assert!(machine.try_create_snapshot_builder(true).await.is_some(), "openraft insists");
    machine.held_bytes_max = 1;
    assert!(machine.try_create_snapshot_builder(false).await.is_some(), "the log is too long");
    drop(transfer);
    machine.held_bytes_max = 1 << 20;
    assert!(machine.try_create_snapshot_builder(false).await.is_some());
}

/// Metrics say that it leads for a while after openraft has voted for somebody else.
#[tokio::test]
async fn whoever_was_asked_for_a_later_vote_reads_under_no_lease() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), log(folder.path()), Willing, &[1, 2, 3]).await;
    lead(&engine).await;
    engine.read_barrier().await.expect("a quorum answers");
    assert!(engine.under_lease().is_some());
    let term = engine.status().term;
    for (asked, still) in [(term, true), (term + 1, false)] {
        let vote = Vote { leader_id: LeaderId { term: asked, voted_for: 2 }, committed: false };
        engine.answer(Request::Vote(VoteRequest::new(vote, None))).await;
        assert_eq!(engine.under_lease().is_some(), still, "term {asked}, present term {term}");
    }
    engine.read_barrier().await.expect("it still leads, and openraft knows");
    engine.close().await;
}

/// Its chunks would take over from those of its successor again and again.
#[tokio::test]
async fn a_deposed_sender_of_an_image_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let vote = |term| Vote { leader_id: LeaderId { term, voted_for: 2 }, committed: true };
    write(&log, vec![LogWrite::Hard(wire::encode_vote(&vote(5)))]).await;
    let engine = open(folder.path(), log, Alone, &[1, 2, 3]).await;
    let chunk = |vote, transfer| {
        let bytes = Bytes::from_static(b"x");
        engine.answer(Request::Chunk { vote, transfer, number: 0, last: false, bytes })
    };
    assert!(matches!(chunk(vote(5), 1).await, Response::Chunk(answer) if answer == vote(5)));
    assert!(matches!(chunk(vote(4), 2).await, Response::Chunk(answer) if answer == vote(5)));
    let bytes = Bytes::from_static(b"y");
    let next = Request::Chunk { vote: vote(5), transfer: 1, number: 1, last: false, bytes };
    assert!(matches!(engine.answer(next).await, Response::Chunk(_)), "the transfer goes on");
    engine.close().await;
}

/// Each holds a megabyte, and an install may take minutes.
#[tokio::test]
async fn a_chunk_that_comes_again_during_an_install_does_not_wait_for_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = open(folder.path(), log(folder.path()), Alone, &[1, 2, 3]).await;
    let vote = Vote { leader_id: LeaderId { term: 5, voted_for: 2 }, committed: true };
    let installing = engine.receiving.lock().await;
    tokio::time::pause();
    let chunk = Request::Chunk { vote, transfer: 1, number: 0, last: true, bytes: Bytes::new() };
    let answer = tokio::time::timeout(Duration::from_secs(60), engine.answer(chunk)).await;
    assert!(matches!(answer, Ok(Response::ChunkRefused(_))));
    tokio::time::resume();
    drop(installing);
    engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_answered_late_goes_on_and_who_is_not_answered_keeps_silent_for_as_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let mood = Arc::new(Mutex::new(Mood::Willing));
    let engine = open(folder.path(), log(folder.path()), Moody(mood.clone()), &[1, 2, 3]).await;
    lead(&engine).await;
    let election = engine.context.timing.election_max;
    let becomes = async |silent: bool| {
        let changes = async {
            while engine.silence.is_kept() != silent {
                tokio::time::sleep(election / 50).await;
            }
        };
        tokio::time::timeout(PATIENCE, changes).await.expect("in time");
    };
    *mood.lock() = Mood::SlowDisks;
    tokio::time::timeout(4 * election, becomes(true)).await.expect_err("they are there, and say so");
    *mood.lock() = Mood::Deaf;
    becomes(true).await;
    *mood.lock() = Mood::SlowDisks;
    let heard = tokio::time::Instant::now();
    becomes(false).await;
    // By the answers, and not because silence is broken now and then.
    assert!(heard.elapsed() < election, "{:?}", heard.elapsed());
    tokio::time::timeout(election, becomes(true)).await.expect_err("they are there again");
    // Others may have disks that do not hang.
    becomes(true).await;
    engine.close().await;
}
