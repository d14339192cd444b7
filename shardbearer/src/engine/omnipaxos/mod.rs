//! An engine on the omnipaxos library: Sequence Paxos with Ballot Leader Election. Nothing outside this folder names it.
//!
//! - [`replica`]: the task that owns the library's instance
//! - [`journal`]: its storage over the shared log, durable before anything is said
//! - [`link`]: the ordered, unrepeated way to each other member that it relies on
//! - [`apply`], [`image`]: decided entries to the data; images to who is far behind
//! - [`wire`]: its messages as bytes
//!
//! **Reads** are linearizable without a log entry and without a lease: the leader asks the others whether they promised
//! anybody more than it. When a majority says no, nobody else can have decided anything before the question; the read then
//! waits until what was decided by then is applied.
//!
//! **What it cannot do**, and says so in its capabilities: members do not change. An order has at least two of
//! them. See docs/adr/0012-omnipaxos.md.

mod apply;
mod fragments;
mod image;
mod journal;
mod link;
mod replica;
#[cfg(test)]
mod tests;
pub(super) mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use shardbearer_core::engine::{
    Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory, EngineStatus, Start,
};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::journal::Journal;
use self::replica::{Input, Replica};
use self::wire::{Frame, Hard};
use crate::watch;

/// Inputs that may wait for the replica; more are refused or, from peers, lost.
const INBOX_MAX: usize = 8_192;

/// What a proposal is answered.
type Answer = Result<Bytes, RequestError>;

/// What a read is answered.
type Read = Result<LogPos, RequestError>;

/// Makes orders that run Sequence Paxos.
pub struct OmnipaxosFactory;

#[async_trait]
impl EngineFactory for OmnipaxosFactory {
    fn name(&self) -> &'static str {
        "omnipaxos"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linearizable_reads: true,
            reads_at_every_member: false,
            reconfigure: false,
            members_decided_elsewhere: false,
            snapshots: true,
            tolerates: |members| members.saturating_sub(1) / 2,
        }
    }

    fn refuses(&self, members: usize) -> Option<String> {
        (members < 2)
            .then(|| "omnipaxos needs at least two members; for an order of one choose another engine".into())
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        let order = context.order;
        let engine = Omnipaxos::open(context).map_err(|why| EngineError { order, why })?;
        Ok(Arc::new(engine))
    }
}

/// What the tasks of one member share.
struct Shared {
    context: EngineContext,
    /// Ascending; a member's number in the library is its place here, from one.
    members: Vec<RadiantId>,
    me: u64,
    journal: Arc<Journal>,
    status: watch::Sender<EngineStatus>,
    inbox: mpsc::Sender<Input>,
    installs: mpsc::Sender<apply::Install>,
    /// Up to where the data may be brought.
    commit: watch::Sender<u64>,
    waiting: Mutex<Waiting>,
    images: tokio::sync::Mutex<image::Images>,
    /// To whom images are on their way.
    sending: Mutex<BTreeSet<RadiantId>>,
    closing: CancellationToken,
    /// Tasks that have not ended.
    running: watch::Sender<usize>,
}

/// Who waits for what to be applied.
#[derive(Default)]
struct Waiting {
    /// By the index of the entry, with its term.
    proposals: BTreeMap<u64, (u64, oneshot::Sender<Answer>)>,
    reads: BTreeMap<u64, Vec<oneshot::Sender<Read>>>,
}

impl Shared {
    fn pid(&self, radiant: RadiantId) -> Option<u64> {
        self.members.binary_search(&radiant).ok().map(|place| place as u64 + 1)
    }

    fn radiant(&self, pid: u64) -> Option<RadiantId> {
        self.members.get(usize::try_from(pid).ok()?.checked_sub(1)?).copied()
    }

    /// What is stored beside the entries.
    fn hard(&self) -> Result<Hard, String> {
        match self.context.log.bounds(self.context.order).hard {
            None => Ok(Hard::default()),
            Some(bytes) => {
                wire::decode_hard(bytes).ok_or_else(|| "the hard state is of an unknown version".into())
            }
        }
    }

    /// Takes over a status; the version grows if something changed that others act on.
    fn refresh(&self, next: EngineStatus) {
        let applied = self.context.applier.applied().position.index;
        self.status.send_if_modified(|status| {
            let acts =
                |status: &EngineStatus| (status.herald, status.leading, status.term, status.members.clone());
            if status.closed {
                return false;
            }
            let changed = acts(status) != acts(&next);
            *status = EngineStatus { version: status.version + u64::from(changed), applied, ..next };
            changed
        });
    }

    /// Stops by itself, with a reason.
    fn fail(&self, why: &str) {
        tracing::error!(order = %self.context.order, why, "the order stops");
        self.stop(Some(why.to_owned()));
    }

    fn stop(&self, failure: Option<String>) {
        self.closing.cancel();
        self.status.send_modify(|status| {
            status.leading = false;
            status.version += u64::from(!status.closed);
            status.closed = true;
            status.failure = status.failure.take().or(failure);
        });
        self.forget_proposals(u64::MAX, "the order closed");
        let reads = std::mem::take(&mut self.waiting.lock().reads);
        for read in reads.into_values().flatten() {
            drop(read.send(Err(Refused::Closed.into())));
        }
    }

    /// Proposals up to an index are not going to be answered by what becomes of them.
    fn forget_proposals(&self, upto: u64, why: &str) {
        let mut waiting = self.waiting.lock();
        let rest = upto.checked_add(1).map(|next| waiting.proposals.split_off(&next)).unwrap_or_default();
        for (_, answer) in std::mem::replace(&mut waiting.proposals, rest).into_values() {
            drop(answer.send(Err(RequestError::Unknown(why.into()))));
        }
    }

    /// Answers reads when everything up to `floor` is applied.
    fn answer_reads_at(&self, floor: u64, reads: Vec<oneshot::Sender<Read>>) {
        self.waiting.lock().reads.entry(floor).or_default().extend(reads);
        self.applied(self.context.applier.applied().position.index);
    }

    /// Something was applied.
    fn applied(&self, upto: u64) {
        let mut waiting = self.waiting.lock();
        let later = waiting.reads.split_off(&(upto + 1));
        let ready = std::mem::replace(&mut waiting.reads, later);
        drop(waiting);
        let position = self.context.applier.applied().position;
        for read in ready.into_values().flatten() {
            drop(read.send(Ok(position)));
        }
        self.status.send_if_modified(|status| {
            status.applied = upto;
            false
        });
    }
}

/// Counts a task for as long as it lives, however it ends.
struct Running(Arc<Shared>);

impl Running {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.running.send_modify(|running| *running += 1);
        Running(shared.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

/// One order that runs Sequence Paxos.
struct Omnipaxos {
    shared: Arc<Shared>,
}

impl Omnipaxos {
    fn open(context: EngineContext) -> Result<Self, String> {
        let stored = context.log.bounds(context.order).hard;
        let stored =
            stored.map(|hard| wire::decode_hard(hard).ok_or("the hard state is of an unknown version"));
        let hard = stored.transpose()?.unwrap_or_default();
        let mut members: Vec<RadiantId> = match &context.start {
            _ if !hard.members.is_empty() => hard.members.iter().copied().map(RadiantId).collect(),
            Start::Found(members) => members.clone(),
            Start::Join => return Err("omnipaxos cannot take in members later".into()),
        };
        members.sort();
        members.dedup();
        let me = members.binary_search(&context.me).map_err(|_| "this radiant is no member".to_owned())?;
        if let Some(why) = OmnipaxosFactory.refuses(members.len()) {
            return Err(why);
        }
        super::without_gap(&context)?;
        let (inbox, inputs) = mpsc::channel(INBOX_MAX);
        let (installs, to_install) = mpsc::channel(1);
        let journal = Journal::new(context.order, context.log.clone());
        let shared = Arc::new(Shared {
            me: me as u64 + 1,
            members,
            journal,
            status: watch::Sender::new(EngineStatus::default()),
            inbox,
            installs,
            commit: watch::Sender::new(0),
            waiting: Mutex::default(),
            images: tokio::sync::Mutex::default(),
            sending: Mutex::default(),
            closing: CancellationToken::new(),
            running: watch::Sender::new(0),
            context,
        });
        let replica = Replica::new(shared.clone(), hard)?;
        // Before anybody decides anything: it would be no news to who begins to listen later.
        let commit = shared.commit.subscribe();
        let world = shared.context.world.clone();
        let running = Running::new(&shared);
        world.spawn("omnipaxos", async move {
            let _running = running;
            replica.run(inputs).await;
        });
        let running = Running::new(&shared);
        world.spawn("omnipaxos-apply", async move {
            apply::run(running.0.clone(), commit, to_install).await;
        });
        Ok(Omnipaxos { shared })
    }

    /// Asks the replica, which answers each once or is gone.
    async fn ask<T>(
        &self,
        input: impl FnOnce(oneshot::Sender<Result<T, RequestError>>) -> Input,
    ) -> Result<T, RequestError> {
        let (answer, outcome) = oneshot::channel();
        self.tell(input(answer))?;
        tokio::select! {
            biased;
            outcome = outcome => outcome.unwrap_or_else(|_| Err(RequestError::Unknown("the order closed".into()))),
            () = self.shared.closing.cancelled() => Err(RequestError::Unknown("the order closed".into())),
        }
    }

    fn tell(&self, input: Input) -> Result<(), RequestError> {
        if self.shared.closing.is_cancelled() {
            return Err(Refused::Closed.into());
        }
        let refused = |_| Refused::Busy("too much waits for the order".into()).into();
        self.shared.inbox.try_send(input).map_err(refused)
    }
}

#[async_trait]
impl ConsensusEngine for Omnipaxos {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        let most = self.shared.context.limits.entry_bytes_max;
        if entry.len() > most {
            return Err(
                Refused::Invalid(format!("an entry of {} bytes; {most} are allowed", entry.len())).into()
            );
        }
        self.ask(|answer| Input::Propose(entry, answer)).await
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        match self.ask(Input::Read).await {
            // A read that did not happen had no effect, whatever the reason.
            Err(RequestError::Unknown(why)) => Err(Refused::Unavailable(why).into()),
            answer => answer,
        }
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.shared.pid(from)?;
        match wire::decode_frame(frame)? {
            // A full inbox loses packets, as the way here may.
            Frame::Packet(packet) => drop(self.tell(Input::Packet(from, packet))),
            Frame::Fragment(fragment) => drop(self.tell(Input::Fragment(from, fragment))),
            Frame::Chunk { transfer, number, last, bytes } => {
                let taken = image::receive(&self.shared, transfer, number, last, bytes);
                return self.shared.closing.run_until_cancelled(taken).await;
            }
        }
        None
    }

    async fn reconfigure(&self, _: Vec<RadiantId>) -> Result<(), RequestError> {
        Err(Refused::Invalid("omnipaxos does not change members".into()).into())
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        self.tell(Input::HandOver(to))
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.tell(Input::Campaign)
    }

    fn status(&self) -> EngineStatus {
        self.shared.status.borrow().clone()
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        let mut status = self.shared.status.subscribe();
        // The sender lives as long as the engine, so this ends only with a status.
        match status.wait_for(|status| status.version != since || status.closed).await {
            Ok(status) => status.clone(),
            Err(_) => self.status(),
        }
    }

    async fn close(&self) {
        self.shared.stop(None);
        let mut running = self.shared.running.subscribe();
        // Both ends live in `shared`.
        drop(running.wait_for(|running| *running == 0).await);
        self.shared.stop(None);
    }
}
