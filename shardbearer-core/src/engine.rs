//! The seam behind which a replication protocol lives.
//!
//! ```text
//!   order ──propose──▶ ConsensusEngine ──committed entries──▶ Applier ──▶ StateMachine
//!                         │       ▲
//!                     LogStore  Transport (opaque frames of the same order)
//! ```
//!
//! The rest of the system sees an order's protocol only as an `Arc<dyn ConsensusEngine>`; an
//! engine sees the data only as opaque bytes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

use crate::error::{Refused, RequestError};
use crate::ids::{OrderId, RadiantId};
use crate::limits;
use crate::log::{LogPos, LogStore};
use crate::protocol::Configuration;
use crate::storage::StorageError;
use crate::transport::Transport;
use crate::world::World;

/// The handle of one order on one radiant.
#[async_trait]
pub trait ConsensusEngine: Send + Sync {
    /// Replicates `entry`; returns the applier's reply once it is committed and applied here.
    /// `Refused` means that it never entered a log; everything after acceptance is `Unknown`.
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError>;

    /// When this returns, the applied state here contains every write that was acknowledged
    /// anywhere before the call. The position is what was waited for.
    async fn read_barrier(&self) -> Result<LogPos, RequestError>;

    /// A frame of this order from a peer; the answer goes back to it. Bytes that make no sense are
    /// answered with `None` and have no effect.
    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes>;

    /// Makes `members` the members, by whatever steps the protocol needs. Refused if a change is under way.
    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError>;

    /// Takes over members that were decided elsewhere; for protocols that cannot decide it among themselves.
    /// Whoever calls this must never give one epoch two lists. Refused if the epoch is none newer.
    async fn configure(&self, _: Configuration) -> Result<(), RequestError> {
        Err(Refused::Invalid("the members of this engine agree on changes themselves".into()).into())
    }

    /// Gives up the lead, to `to` if it is caught up. Returns when asked for, not when done.
    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError>;

    /// Stands for election now, whatever the timers say; used once for the herald drawn at founding.
    async fn campaign(&self) -> Result<(), RequestError>;

    /// The latest status; cheap, never blocks.
    fn status(&self) -> EngineStatus;

    /// Who leads as far as known, and whether this radiant does for certain: of the status what every request asks for.
    fn lead(&self) -> (Option<RadiantId>, bool) {
        let status = self.status();
        (status.herald, status.leading)
    }

    /// Waits until the status' `version` differs from `since`, then returns it. Does not return after `close`
    /// except with `closed` set.
    async fn changed(&self, since: u64) -> EngineStatus;

    /// Stops all tasks of the order. Pending proposals end with `Unknown`. Idempotent.
    async fn close(&self);
}

/// What an engine says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EngineStatus {
    /// Grows with each change of the fields below that others act on (herald, term, members, health).
    pub version: u64,
    /// Who leads, as far as known.
    pub herald: Option<RadiantId>,
    /// Whether this radiant leads and has heard from a majority within the last election timeout.
    pub leading: bool,
    /// The protocol's term or ballot.
    pub term: u64,
    /// The last entry stored here.
    pub last_log: u64,
    /// The last entry applied here.
    pub applied: u64,
    /// Present members.
    pub members: Vec<RadiantId>,
    /// On the herald: how far each other member's log is known to match. An engine may leave out who does not answer at the moment:
    /// the lead is given to nobody who is not here.
    pub matched: Vec<(RadiantId, u64)>,
    /// Of engines whose members are decided elsewhere: whether this member, by what is durable here, has all that was
    /// acknowledged before the present list, so that it may lead the next. Once true for a `term`, it stays true for it. Of a
    /// learner: whether it has that and its log goes on as the members' does, so that they would not wait for it long were it one
    /// of them; this may become false again.
    pub complete: bool,
    /// The sentence that says why the engine stopped, if it did so by itself.
    pub failure: Option<String>,
    /// After `close` or a failure.
    pub closed: bool,
}

/// What an implementation of a protocol can do.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// Reads after a barrier are linearizable.
    pub linearizable_reads: bool,
    /// So they are at every member: a barrier is answered there too, not by the leader alone.
    pub reads_at_every_member: bool,
    /// Members can change while it runs: [`ConsensusEngine::reconfigure`].
    pub reconfigure: bool,
    /// Members change by [`ConsensusEngine::configure`] only: somebody with a quorum of his own, the control order, decides.
    /// What `tolerates` says is without him.
    pub members_decided_elsewhere: bool,
    /// A member that is far behind is brought up by a snapshot.
    pub snapshots: bool,
    /// How many of `n` members may fail while it goes on.
    pub tolerates: fn(usize) -> usize,
}

/// How an engine begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A new order with these members. All of them open it so, with the same list, and it is
    /// harmless to repeat while or after it runs.
    Found(Vec<RadiantId>),
    /// A member that is yet to be told everything by the others.
    Join,
}

/// Times that an engine keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a herald shows that it lives.
    pub heartbeat: Duration,
    /// Shortest silence after which another stands for election.
    pub election_min: Duration,
    /// Longest such silence.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
        }
    }
}

/// Bounds that an engine keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Bytes of entries in one message.
    pub message_bytes_max: usize,
    /// Bytes of one entry; a longer one is refused, as no message to the other members could hold it.
    pub entry_bytes_max: usize,
    /// Entries applied since the last compaction after which the log is compacted again.
    pub compact_after_entries: u64,
    /// Bytes of log an order may hold before it is compacted, whatever the number of entries.
    pub compact_after_bytes: u64,
    /// Entries kept behind a compaction, so that a member a little behind needs no snapshot.
    pub keep_entries: u64,
}

impl Default for EngineLimits {
    fn default() -> Self {
        EngineLimits {
            message_bytes_max: 4 << 20,
            entry_bytes_max: limits::ENTRY_BYTES_MAX,
            compact_after_entries: 20_000,
            compact_after_bytes: 64 << 20,
            keep_entries: 1_000,
        }
    }
}

/// Everything an engine gets from its radiant.
#[derive(Clone)]
pub struct EngineContext {
    /// The order to run.
    pub order: OrderId,
    /// This radiant.
    pub me: RadiantId,
    /// How it begins if nothing is stored yet. Stored state always wins.
    pub start: Start,
    /// Shared by all orders of the radiant.
    pub log: Arc<dyn LogStore>,
    /// The data.
    pub applier: Arc<dyn Applier>,
    /// To the other members.
    pub transport: Arc<dyn Transport>,
    /// Time, randomness, tasks.
    pub world: World,
    /// Its times.
    pub timing: Timing,
    /// Its bounds.
    pub limits: EngineLimits,
}

/// Makes engines of one protocol.
#[async_trait]
pub trait EngineFactory: Send + Sync {
    /// The name by which configuration chooses it.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// The sentence that says why an order of so many members cannot be run, if it cannot.
    fn refuses(&self, _members: usize) -> Option<String> {
        None
    }

    /// Whether an order that has lost its majority can begin anew from one member: [`EngineFactory::reset`].
    fn can_reset(&self) -> bool {
        false
    }

    /// Makes this radiant the only member of an order that is not open: everything in its log is applied, committed or
    /// not, and what comes next comes after it, in `term` or a later one. Newcomers are brought up by an image, so that nobody
    /// ever sees the members that were before. May be repeated, also after a crash in the middle. `first` is applied as the first
    /// proposal of what comes next, together with that this member is the only one.
    async fn reset(
        &self,
        context: EngineContext,
        _term: u64,
        _first: Option<Bytes>,
    ) -> Result<(), EngineError> {
        let why = format!("{} cannot begin anew from one member", self.name());
        Err(EngineError { order: context.order, why })
    }

    /// Opens the order. An error means that this radiant cannot run it at all.
    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError>;
}

/// Why an engine cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("engine of order {order}: {why}")]
pub struct EngineError {
    /// The order.
    pub order: OrderId,
    /// A sentence.
    pub why: String,
}

/// A committed entry on its way to the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where it stands.
    pub position: LogPos,
    /// What was proposed; `None` for the protocol's own entries (an empty one of a new term, a
    /// change of members), which only move the applied position on.
    pub proposal: Option<Bytes>,
    /// Whether somebody here waits for the reply. On most replicas nobody does, and it may be long.
    pub wanted: bool,
    /// If given, becomes the engine's note: its own bytes (such as its membership), stored with the applied
    /// position in the same atomic commit.
    pub note: Option<Bytes>,
}

/// Where the data stand.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Applied {
    /// The last entry applied; zero if none.
    pub position: LogPos,
    /// The engine's note as of then; empty if none was written.
    pub note: Bytes,
}

/// The only bridge from an engine to the data of its order.
#[async_trait]
pub trait Applier: Send + Sync {
    /// What is applied.
    fn applied(&self) -> Applied;

    /// Applies entries in order, all in one atomic commit, and returns a reply per entry (empty for
    /// those without a proposal, and for those of which none is wanted). Entries at or below the applied position must not be given again.
    /// An error stops the order for good: replicas must not diverge.
    async fn apply(&self, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError>;

    /// Makes everything applied so far survive a loss of power, and says up to where: the log may
    /// be purged up to there and no further.
    async fn persist(&self) -> Result<Applied, StorageError>;

    /// A consistent image of the data as of now, to be read in chunks.
    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError>;

    /// A place to receive an image; nothing changes until it is installed.
    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError>;

    /// Replaces the data by a received image, atomically and durably: after a crash at any moment
    /// either the old or the new state is there. An image older than what is applied is ignored.
    ///
    /// # Errors
    /// [`InstallError::Refused`] leaves everything as it was; after [`InstallError::Failed`] nothing is applied any more.
    async fn install(&self, snapshot: ReceivedSnapshot) -> Result<(), InstallError>;
}

/// Why an image was not installed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InstallError {
    /// It is not what was received, which was seen before anything was replaced: another one is to be had from who sent it.
    #[error("the image is refused: {0}")]
    Refused(StorageError),
    /// The data cannot be replaced, or are in part.
    #[error(transparent)]
    Failed(#[from] StorageError),
}

/// An image being read.
pub trait SnapshotReader: Send {
    /// What the image is of.
    fn applied(&self) -> Applied;

    /// The next chunk, at most about 1 MiB; `None` after the last. May block for the disk.
    fn next(&mut self) -> Result<Option<Bytes>, StorageError>;
}

/// An image being received, aside from the live data.
pub trait SnapshotWriter: Send {
    /// The next chunk, in order. May block for the disk.
    fn write(&mut self, chunk: &[u8]) -> Result<(), StorageError>;

    /// Checks that the image is whole and makes it durable. An image that is not is an error and is discarded.
    fn finish(self: Box<Self>) -> Result<ReceivedSnapshot, StorageError>;
}

/// A complete image that waits to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSnapshot {
    /// What it is of.
    pub applied: Applied,
    /// Where it is; a name only the applier understands.
    pub place: String,
}

/// Shorthand for the commonest refusal.
pub fn not_herald(order: OrderId, hint: Option<RadiantId>) -> RequestError {
    RequestError::Refused(Refused::NotHerald { order, hint })
}
