//! The seam for a replication protocol of your own: a pure, deterministic step function.
//!
//! ```text
//!   tick · message · propose · barrier · persisted · applied ──▶ Protocol::step ──▶ Ready
//!                                                                                     │
//!       log writes · messages after them · messages at once · commit · answers ◀──────┘
//! ```
//!
//! One driver (`shardbearer::engine::driver`) turns any `Protocol` into a
//! [`ConsensusEngine`](crate::engine::ConsensusEngine). What an author therefore never writes: timers, retries
//! (of clients, or of what one member says to another), connections, the order of fsync and send, the transfer of
//! snapshots, the table of who waits for what and until when, the compaction of the log. What an author must not use: a
//! clock, randomness but [`Boot::seed`], any IO, any collection whose order differs from run to run. The same inputs give
//! the same [`Ready`], always.
//!
//! **Entries stay outside.** A protocol knows where its log begins and ends and which term wrote what ([`Terms`]);
//! it never holds what is in the entries. A message names a range of the sender's log, the driver attaches what of
//! it fits into one frame, and the receiver gets message and entries together.
//!
//! This file has the inputs and the trait, [`ready`] the outputs, [`terms`] the outline of a log. [`Letters`] is the part of a driver
//! that sends again.

mod letters;
pub mod ready;
pub mod terms;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};

pub use self::letters::Letters;
pub use self::ready::{Answer, Envelope, Persist, Ready, Standing};
pub use self::terms::Terms;
use crate::engine::{Applied, Start};
use crate::ids::{Epoch, OrderId, RadiantId};
use crate::log::LogPos;

/// A replication protocol as a pure step function.
pub trait Protocol: Sized + Send + 'static {
    /// What members say to each other.
    type Message: Message;

    /// The state of a member that starts, from what is durable. An error is a sentence that says why it cannot run
    /// here. Nothing may be sent from here; the first [`Input::Tick`] comes soon.
    fn recover(boot: Boot, durable: Durable) -> Result<Self, String>;

    /// Takes one input in, and adds to `ready` whatever follows from it. Total: a message may hold anything.
    fn step(&mut self, input: Input<Self::Message>, ready: &mut Ready<Self::Message>);

    /// What others are to know. Cheap; asked after every few steps.
    fn status(&self) -> Status;
}

/// A message of a protocol, and how it looks as bytes.
pub trait Message: Sized + Clone + Debug + PartialEq + Send + 'static {
    /// Appends the message's bytes. The driver adds the protocol's frame, not a version of the message: begin with one.
    fn encode(&self, out: &mut BytesMut);

    /// The inverse, from exactly those bytes; `None` for bytes that make no sense.
    fn decode(bytes: Bytes) -> Option<Self>;
}

/// Who a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The order.
    pub order: OrderId,
    /// This member.
    pub me: RadiantId,
    /// How it begins if nothing is stored. What is stored wins.
    pub start: Start,
    /// The only randomness, drawn anew at each start.
    pub seed: u64,
    /// Its times.
    pub ticks: Ticks,
}

/// The times of [`Timing`](crate::engine::Timing), counted in ticks. A tick may be late, when the process or its disk
/// stalls, and is never early: good for suspecting others, not for leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// How often to show that one lives.
    pub heartbeat: u64,
    /// Shortest silence after which another may be taken for dead.
    pub election_min: u64,
    /// Longest such silence.
    pub election_max: u64,
}

/// What survived.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Durable {
    /// The hard state as last written.
    pub hard: Option<Bytes>,
    /// The outline of the log; all of it is durable.
    pub log: Terms,
    /// The protocol's own entries in the log, ascending. Those up to the applied position are in the note as well.
    pub own: Vec<(LogPos, Bytes)>,
    /// What is applied, with the last own entry as its note. Never beyond the log's end.
    pub applied: Applied,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: LogPos,
    /// What it holds.
    pub payload: Payload,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: it moves the applied position on.
    Blank,
    /// A client's proposal.
    Proposal(Bytes),
    /// The protocol's own, such as its members. Once applied it is the note of [`Applied`], and part of snapshots.
    Own(Bytes),
}

/// Somebody waits under this number for an [`Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Members that were decided elsewhere, see [`Input::Reconfigure`]. An epoch has one list, ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Configuration {
    /// Its number; it fences off everything of lower ones.
    pub epoch: Epoch,
    /// The number of the order's configuration before it.
    pub previous: Epoch,
    /// The members, in an order that may mean something to the protocol.
    pub members: Vec<RadiantId>,
    /// Who is to be brought up to date, so that it could be a member of a later list. Counts for nothing.
    pub learners: Vec<RadiantId>,
}

/// What happens to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<M> {
    /// Time passes.
    Tick,
    /// A message arrived. It may be old, doubled, out of order, or nonsense; `from` is true.
    Receive {
        /// The sender.
        from: RadiantId,
        /// What it says.
        message: M,
        /// What the driver there attached: the first entries of the range that was named, without a gap; perhaps none.
        entries: Vec<Entry>,
    },
    /// A client wants this in the log: append it ([`Ready::append`]) or refuse the ticket, in this step or later.
    Propose {
        /// Under which to answer.
        ticket: Ticket,
        /// Opaque.
        proposal: Bytes,
    },
    /// A client wants to read what was acknowledged anywhere before now: answer with the index that has to be applied
    /// ([`Answer::Read`]). One ticket stands for all who wait.
    ReadBarrier {
        /// Under which to answer.
        ticket: Ticket,
    },
    /// Nobody waits under this ticket any more: its time was over before it was answered, or before its proposal was
    /// appended. What is asked for it stands no longer, and an answer would reach nobody.
    GivenUp {
        /// The ticket.
        ticket: Ticket,
    },
    /// Somebody wants other members.
    Reconfigure {
        /// Under which to answer.
        ticket: Ticket,
        /// Whom.
        change: Change,
    },
    /// The lead is to be given to that member.
    HandOver {
        /// Under which to answer: accepted, not done.
        ticket: Ticket,
        /// Who is to lead.
        to: RadiantId,
    },
    /// This member is to stand for election now, if the protocol has such a thing.
    Campaign,
    /// The log is durable up to this index as it is now, and so is every hard state asked for before.
    Persisted {
        /// Never beyond the log's end, also when it was cut meanwhile.
        upto: u64,
    },
    /// The data hold every entry up to here.
    Applied {
        /// At most what was committed.
        upto: u64,
    },
    /// The driver forgot the log up to here: who needs more of it gets a snapshot ([`Ready::snapshots`]).
    Purged {
        /// At most what is applied, durably.
        upto: LogPos,
    },
    /// A snapshot from a peer was installed, and is durable. All of it is committed.
    Installed {
        /// Who sent it.
        from: RadiantId,
        /// What the data hold now. Where the log here has no entry of this very position, the log was emptied and goes on
        /// behind it; do the same by [`Terms::install`].
        applied: Applied,
    },
}

/// Which members are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These; the protocol agrees on it among the members.
    Agree(Vec<RadiantId>),
    /// These; it has been agreed on elsewhere.
    Decided(Configuration),
}

/// What others are to know of a member. The driver adds what it knows better.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// Who leads, as far as known.
    pub herald: Option<RadiantId>,
    /// Whether this member leads, and could serve now: not while it is cut off.
    pub leading: bool,
    /// Its term, ballot or epoch.
    pub term: u64,
    /// The members.
    pub members: Vec<RadiantId>,
    /// On the herald: how far others are known to match.
    pub matched: Vec<(RadiantId, u64)>,
    /// Of protocols whose members are decided elsewhere: see [`EngineStatus::complete`](crate::engine::EngineStatus::complete).
    pub complete: bool,
}
