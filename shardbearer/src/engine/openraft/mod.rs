//! The default engine: Raft by the openraft library. Nothing outside this folder names it.
//!
//! - [`log`], [`machine`], [`network`]: openraft's three seams over ours
//! - [`receive`]: what comes from the other members, images among it
//! - [`notices`]: news of commits ride with the next entries
//! - [`compact`]: when the log may go, and how much of it
//! - [`newcomer`]: bringing up a member before it counts
//! - [`lease`]: reads that ask nobody, and why that is sound
//! - [`reset`]: how an order that lost its majority begins anew from one member
//! - [`stand`]: when a member stands for election
//! - [`status`]: who leads and how far it is, for everybody else
//! - [`wire`]: its messages as bytes
//! - [`runtime`], [`mod@watch`]: its tasks, random numbers and channels, from our [`World`](shardbearer_core::world::World)
//! - [`types`]: its types, and positions in both countings

mod compact;
mod lease;
mod log;
mod machine;
mod network;
mod newcomer;
mod notices;
mod receive;
mod reset;
mod runtime;
mod silence;
mod stand;
mod status;
#[cfg(test)]
mod tests;
mod types;
mod watch;
pub(super) mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::rt::{WatchReceiver, WatchSender};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use shardbearer_core::engine::{
    Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory, EngineStatus, Start, not_herald,
};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;

use self::log::OrderLog;
use self::machine::OrderMachine;
use self::network::{Network, Transfers};
use self::silence::Silence;
use self::types::{Proposal, Types};

/// How many times as long as usual a log may grow while an image is on its way.
const TRANSFER_PATIENCE: u64 = 16;

type Raft = openraft::Raft<Types, OrderMachine>;

/// Makes orders that run Raft.
pub struct OpenraftFactory;

#[async_trait]
impl EngineFactory for OpenraftFactory {
    fn name(&self) -> &'static str {
        "openraft"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linearizable_reads: true,
            reads_at_every_member: false,
            reconfigure: true,
            members_decided_elsewhere: false,
            snapshots: true,
            tolerates: |members| members.saturating_sub(1) / 2,
        }
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        Ok(Openraft::open(context).await?)
    }

    fn can_reset(&self) -> bool {
        true
    }

    async fn reset(
        &self,
        context: EngineContext,
        term: u64,
        first: Option<Bytes>,
    ) -> Result<(), EngineError> {
        let order = context.order;
        let reset = reset::begin_anew(&context, term, first).await;
        reset.map_err(|error| EngineError { order, why: error.to_string() })
    }
}

/// One order that runs Raft.
struct Openraft {
    context: EngineContext,
    raft: Raft,
    status: crate::watch::Sender<EngineStatus>,
    /// Before this moment (monotonic, ns) the member neither votes nor stands, see [`lease`].
    votes_from_ns: u64,
    /// Until this moment (monotonic, ns) a lead that was offered to another gives no lease.
    no_lease_until_ns: AtomicU64,
    /// The suspension of the machine that leases have taken notice of (ns).
    suspended_ns: AtomicU64,
    /// The highest term for which a vote was asked here. Noted before openraft hears of it.
    asked_term: AtomicU64,
    /// When a herald was last heard of (monotonic, ns), or the engine began.
    heard_ns: AtomicU64,
    /// Who answered when, and whether appends are held back.
    silence: Silence,
    /// Images being received.
    receiving: tokio::sync::Mutex<receive::Images>,
    closed: AtomicBool,
    compaction: Mutex<compact::Compaction>,
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Openraft {
    async fn open(context: EngineContext) -> Result<Arc<Self>, EngineError> {
        let order = context.order;
        let refuse = |why: String| EngineError { order, why };
        let timing = context.timing;
        let config = Config {
            cluster_name: format!("order-{order}"),
            heartbeat_interval: milliseconds(timing.heartbeat),
            election_timeout_min: milliseconds(timing.election_min),
            election_timeout_max: milliseconds(timing.election_max),
            enable_pre_vote: Some(true),
            enable_elect: false, // until it may vote, see `ready_to_vote`
            // A herald that restarts is elected anew. It may have forgotten what it applied and acknowledged, since commits are
            // not fsynced, and would answer reads from that; and it sends entries before they are on its own disk, so going
            // on in the same term it could give the index and term of a lost one to another, as the law
            // `commitment_needs_the_own_term` shows.
            enable_leader_restore: Some(false),
            max_payload_entries: 1_024,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(context.limits.compact_after_entries),
            // Never purges by itself, see `compact`.
            max_in_snapshot_log_to_keep: u64::MAX,
            ..Config::default()
        };
        let config = config.validate().map_err(|error| refuse(error.to_string()))?;
        let log = OrderLog {
            order,
            store: context.log.clone(),
            message_bytes_max: context.limits.message_bytes_max,
        };
        let transfers = Transfers::default();
        let machine = OrderMachine {
            applier: context.applier.clone(),
            current: Arc::default(),
            transfers: transfers.clone(),
            held_bytes_max: context.limits.compact_after_bytes.saturating_mul(TRANSFER_PATIENCE),
            log: context.log.clone(),
            order,
        };
        let silence = Silence::new(context.world.clone(), timing.election_max);
        let network = Network {
            order,
            transport: context.transport.clone(),
            applier: context.applier.clone(),
            world: context.world.clone(),
            transfers,
            silence: silence.clone(),
        };
        super::without_gap(&context).map_err(refuse)?;
        let bounds = context.log.bounds(order);
        // Only a member that stored something can have acknowledged anybody before.
        let fresh = bounds == shardbearer_core::log::Bounds::default();
        let wait = if fresh { 0 } else { nanoseconds(timing.election_max) };
        let raft = Raft::new(context.me.0, Arc::new(config), network, log, machine);
        let raft = runtime::inside(&context.world, raft).await.map_err(|error| refuse(error.to_string()))?;
        let suspended_ns = context.world.suspended_ns();
        let began_ns = context.world.monotonic_ns();
        let engine = Arc::new(Openraft {
            votes_from_ns: began_ns + wait,
            context,
            raft,
            status: crate::watch::Sender::new(EngineStatus::default()),
            no_lease_until_ns: AtomicU64::new(0),
            suspended_ns: AtomicU64::new(suspended_ns),
            asked_term: AtomicU64::new(0),
            heard_ns: AtomicU64::new(began_ns),
            silence,
            receiving: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            compaction: Mutex::default(),
        });
        if let Start::Found(members) = &engine.context.start {
            engine.found(members).await?;
        }
        engine.refresh();
        let world = engine.context.world.clone();
        world.spawn("openraft-status", status::watch(engine.clone()));
        world.spawn("openraft-votes", lease::ready_to_vote(engine.clone()));
        Ok(engine)
    }

    /// Gives every founding member the same first entry; openraft takes it only if nothing is stored.
    async fn found(&self, members: &[RadiantId]) -> Result<(), EngineError> {
        let members = members.iter().map(|member| (member.0, openraft::impls::EmptyNode::new()));
        let members: std::collections::BTreeMap<_, _> = members.collect();
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(openraft::error::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(EngineError { order: self.context.order, why: error.to_string() }),
        }
    }
}

#[async_trait]
impl ConsensusEngine for Openraft {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed.into());
        }
        let most = self.context.limits.entry_bytes_max;
        if entry.len() > most {
            // In the log it could never reach the other members, and nothing behind it either.
            let why = format!("the request has {} bytes; an order takes at most {most} at once", entry.len());
            return Err(Refused::Invalid(why).into());
        }
        match self.raft.client_write(Proposal(entry)).await {
            Ok(response) => Ok(response.data.0),
            // openraft says this only of an entry that it did not append.
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(not_herald(self.context.order, forward.leader_id.map(RadiantId)))
            }
            Err(error) => Err(RequestError::Unknown(error.to_string())),
        }
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Refused::Closed.into());
        }
        if let Some(position) = self.under_lease() {
            return Ok(position);
        }
        let lease = if self.lease_is_suspended() { Duration::ZERO } else { self.lease() };
        let option = LinearizerOption::new(Some(lease), true);
        match self.raft.ensure_linearizable(option).await {
            Ok(read) => Ok(types::position(read.log_id())),
            Err(RaftError::APIError(openraft::error::LinearizableReadError::ForwardToLeader(forward))) => {
                Err(not_herald(self.context.order, forward.leader_id.map(RadiantId)))
            }
            // A read that did not happen had no effect, whatever the reason.
            Err(error) => Err(Refused::Unavailable(error.to_string()).into()),
        }
    }

    async fn receive(&self, _: RadiantId, frame: Bytes) -> Option<Bytes> {
        let request = wire::decode_request(frame)?;
        Some(wire::encode_response(&self.answer(request).await))
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        let members: std::collections::BTreeSet<u64> = members.into_iter().map(|member| member.0).collect();
        let present: std::collections::BTreeSet<u64> = self.raft.voter_ids().collect();
        for newcomer in members.difference(&present) {
            self.bring_up(*newcomer).await?;
        }
        let unknown = |error: RaftError<_, _>| RequestError::Unknown(error.to_string());
        self.raft.change_membership(members.clone(), false).await.map_err(unknown)?;
        // Learners of an earlier attempt that are wanted no more.
        let known: std::collections::BTreeSet<u64> = {
            let metrics = self.raft.metrics();
            metrics.borrow_watched().membership_config.nodes().map(|(id, _)| *id).collect()
        };
        let strays: std::collections::BTreeSet<u64> = known.difference(&members).copied().collect();
        if !strays.is_empty() && members.contains(&self.context.me.0) {
            let forget = openraft::ChangeMembers::RemoveNodes(strays);
            self.raft.change_membership(forget, false).await.map_err(unknown)?;
        }
        Ok(())
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        let until = self.context.world.monotonic_ns() + nanoseconds(self.context.timing.election_max) * 4;
        self.no_lease_until_ns.fetch_max(until, Ordering::AcqRel);
        let asked = self.raft.trigger().transfer_leader(to.0).await;
        asked.map_err(|error| Refused::Unavailable(error.to_string()).into())
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        if !self.may_vote() {
            return Ok(());
        }
        let asked = self.raft.trigger().elect(true).await;
        asked.map_err(|error| Refused::Unavailable(error.to_string()).into())
    }

    fn status(&self) -> EngineStatus {
        self.with_progress(self.status.borrow_watched().clone())
    }

    fn lead(&self) -> (Option<RadiantId>, bool) {
        let status = self.status.borrow_watched();
        (status.herald, status.leading)
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        let mut status = self.status.subscribe();
        // The sender lives as long as the engine, so this ends only with a status.
        match status.wait_until(|status| status.version != since || status.closed).await {
            Ok(status) => self.with_progress(status),
            Err(_) => self.status(),
        }
    }

    async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // An error here says that it has stopped already.
        let _ = self.raft.shutdown().await;
        self.status.send_if_modified(|status| {
            status.closed = true;
            status.leading = false;
            status.version += 1;
            true
        });
    }
}
