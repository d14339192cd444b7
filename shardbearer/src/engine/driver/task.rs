//! The loop of one order, and what becomes of each input.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::engine::{Applied, InstallError, Timing};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::{LogError, LogWrite};
use shardbearer_core::protocol::{Boot, Durable, Input, Letters, Protocol, Ready, Terms, Ticket, Ticks};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};

use super::waiting::{Waiter, Waiting};
use super::{Ask, Mail, Shared, images, recover};
use crate::watch;

/// Inputs stepped together at most; what they ask for shares one log write.
const TOGETHER_MAX: usize = 256;
/// Entries that may be in the log and not applied before proposals are refused: an order that is stuck does not fill
/// the disk.
const UNAPPLIED_MAX: u64 = 256;
/// Barriers on their way at once; reads that arrive meanwhile share the next.
const BARRIERS_MAX: usize = 2;
/// Rest after a snapshot was sent, or was not.
const SNAPSHOT_REST: Duration = Duration::from_millis(500);
/// Entries kept behind a compaction that is due for its bytes: they are large, and few are enough.
const KEEP_LARGE: u64 = 64;

/// How far the log's thread has come.
#[derive(Clone, Default)]
pub(super) struct Progress {
    /// Writes up to this number are durable.
    pub(super) written: u64,
    pub(super) failure: Option<LogError>,
}

/// A write that is not durable yet.
pub(super) struct Write {
    pub(super) number: u64,
    /// The log's end after it, cut by later truncations.
    pub(super) last: u64,
}

/// What may leave only when a write is durable.
pub(super) enum Held {
    Frame(RadiantId, bytes::Bytes),
    Done(Ticket),
}

/// One order's task.
pub(super) struct Task<P: Protocol> {
    pub(super) protocol: P,
    pub(super) shared: Arc<Shared<P::Message>>,
    pub(super) ready: Ready<P::Message>,
    pub(super) waiting: Waiting,
    pub(super) standing: Letters<P::Message>,
    /// The log as it is readable.
    pub(super) log: Terms,
    pub(super) writes: VecDeque<Write>,
    pub(super) write_number: u64,
    /// What the protocol says of its term and of its being complete, and the last write when it began to.
    pub(super) claimed: ((u64, bool), u64),
    /// What waits for a write, with its number.
    pub(super) held: VecDeque<(u64, Held)>,
    pub(super) durable: u64,
    pub(super) commit: u64,
    pub(super) applied: u64,
    pub(super) progress: watch::Sender<Progress>,
    /// Peers that get a snapshot, or just got one: until when (monotonic, ns) they get no other.
    pub(super) sending: BTreeMap<RadiantId, u64>,
    compacting: bool,
    /// Bytes of log that the last compaction could not give back.
    kept_bytes: u64,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Two ticks a heartbeat, so that what misses one is not late by a whole one.
fn tick(timing: Timing) -> Duration {
    (timing.heartbeat / 2).max(Duration::from_millis(1))
}

fn ticks(timing: Timing) -> Ticks {
    let tick = nanoseconds(tick(timing));
    let count = |duration| nanoseconds(duration).div_ceil(tick).max(1);
    Ticks {
        heartbeat: count(timing.heartbeat),
        election_min: count(timing.election_min),
        election_max: count(timing.election_max),
    }
}

impl<P: Protocol> Task<P> {
    pub(super) fn recover(shared: Arc<Shared<P::Message>>, durable: Durable) -> Result<Self, String> {
        use rand::RngCore;
        let context = &shared.context;
        let boot = Boot {
            order: context.order,
            me: context.me,
            start: context.start.clone(),
            seed: context.world.rng().next_u64(),
            ticks: ticks(context.timing),
        };
        let (log, applied) = (durable.log.clone(), durable.applied.position.index);
        let mut task = Task {
            protocol: P::recover(boot, durable)?,
            shared,
            ready: Ready::default(),
            waiting: Waiting::default(),
            standing: Letters::default(),
            durable: log.last().index,
            log,
            writes: VecDeque::new(),
            write_number: 0,
            claimed: ((0, false), 0),
            held: VecDeque::new(),
            commit: applied,
            applied,
            progress: watch::Sender::default(),
            sending: BTreeMap::new(),
            compacting: false,
            kept_bytes: 0,
        };
        task.publish();
        Ok(task)
    }

    /// Runs until the order closes; marks it as closed if it ends by itself.
    pub(super) async fn run(mut self, mut mailbox: mpsc::Receiver<Mail<P::Message>>) {
        let why = match self.live(&mut mailbox).await {
            Ok(()) => return,
            Err(why) => why,
        };
        tracing::error!(order = %self.shared.context.order, why, "the order stops");
        self.waiting.close();
        self.shared.closed(Some(why));
        self.shared.reads.lock().clear();
    }

    async fn live(&mut self, mailbox: &mut mpsc::Receiver<Mail<P::Message>>) -> Result<(), String> {
        let mut ticks: Interval = tokio::time::interval(tick(self.shared.context.timing));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = self.progress.subscribe();
        let shared = self.shared.clone();
        loop {
            let room = self.waiting.barriers() < BARRIERS_MAX;
            tokio::select! {
                biased;
                changed = progress.changed() => {
                    // The other end is a field of this task.
                    changed.map_err(|_| "the log's progress is not known any more".to_owned())?;
                    let now = progress.borrow_and_update().clone();
                    self.progressed(now)?;
                }
                _ = ticks.tick() => self.tick()?,
                () = shared.reads_arrived.notified(), if room => self.read(),
                mail = mailbox.recv() => {
                    let Some(mail) = mail else { return Ok(()) };
                    self.take(mail).await?;
                    for _ in 1..TOGETHER_MAX {
                        let Ok(mail) = mailbox.try_recv() else { break };
                        self.take(mail).await?;
                    }
                }
            }
            self.flush().await?;
        }
    }

    pub(super) fn step(&mut self, input: Input<P::Message>) {
        self.protocol.step(input, &mut self.ready);
    }

    pub(super) fn now(&self) -> u64 {
        self.shared.context.world.monotonic_ns()
    }

    async fn take(&mut self, mail: Mail<P::Message>) -> Result<(), String> {
        match mail {
            Mail::Propose { proposal, reply } => {
                let unapplied = self.log.last().index - self.applied + self.waiting.len() as u64;
                if unapplied >= UNAPPLIED_MAX {
                    let why = format!("{unapplied} entries are not applied yet");
                    let _ = reply.send(Err(RequestError::Refused(Refused::Busy(why))));
                    return Ok(());
                }
                let ticket = self.waiting.enter(Waiter::Proposal(reply), self.now());
                self.step(Input::Propose { ticket, proposal });
            }
            Mail::Ask { ask, reply } => {
                let ticket = self.waiting.enter(Waiter::Ask(reply), self.now());
                self.step(match ask {
                    Ask::Reconfigure(change) => Input::Reconfigure { ticket, change },
                    Ask::HandOver(to) => Input::HandOver { ticket, to },
                });
            }
            Mail::Campaign => self.step(Input::Campaign),
            Mail::Message { from, message, entries } => self.step(Input::Receive { from, message, entries }),
            Mail::Image { from, image, done } => self.install(from, image, done).await?,
            Mail::Sent { to, result } => {
                if let Err(why) = result {
                    tracing::debug!(order = %self.shared.context.order, %to, why, "the snapshot did not arrive");
                }
                self.sending.insert(to, self.now() + nanoseconds(SNAPSHOT_REST));
            }
            Mail::Persistent(result) => self.purge(&result.map_err(|error| error.to_string())?).await?,
        }
        Ok(())
    }

    /// One barrier for all who wait for one.
    fn read(&mut self) {
        let replies = std::mem::take(&mut *self.shared.reads.lock());
        if !replies.is_empty() {
            let ticket = self.waiting.enter(Waiter::Reads(replies), self.now());
            self.step(Input::ReadBarrier { ticket });
        }
    }

    fn tick(&mut self) -> Result<(), String> {
        let now = self.now();
        for ticket in self.waiting.expire(now) {
            self.step(Input::GivenUp { ticket });
        }
        self.step(Input::Tick);
        self.standing.keep(|ticket| self.waiting.waits(ticket));
        for envelope in self.standing.due(now, nanoseconds(self.shared.context.timing.heartbeat)) {
            let (to, frame) = self.seal(envelope)?;
            self.send(to, frame);
        }
        self.compact();
        Ok(())
    }

    /// The log's thread has come further.
    fn progressed(&mut self, progress: Progress) -> Result<(), String> {
        if let Some(failure) = progress.failure {
            return Err(failure.to_string());
        }
        let done = self.writes.partition_point(|write| write.number <= progress.written);
        if let Some(write) = self.writes.drain(..done).next_back() {
            self.durable = write.last;
        }
        let free = self.held.partition_point(|held| held.0 <= progress.written);
        for (_, held) in self.held.drain(..free).collect::<Vec<_>>() {
            self.release(held);
        }
        self.step(Input::Persisted { upto: self.durable });
        Ok(())
    }

    /// Puts a received image in the place of the data, and begins the log behind it where it has nothing of it.
    async fn install(
        &mut self,
        from: RadiantId,
        image: shardbearer_core::engine::ReceivedSnapshot,
        done: oneshot::Sender<()>,
    ) -> Result<(), String> {
        self.flush().await?;
        let applier = self.shared.context.applier.clone();
        match applier.install(image).await {
            Ok(()) => {}
            // Its sender hears that it was not taken, and sends another when it is asked for one again.
            Err(InstallError::Refused(_)) => return Ok(()),
            Err(InstallError::Failed(error)) => return Err(error.to_string()),
        }
        let applied = applier.applied();
        let position = applied.position;
        let (purged, last) = (self.log.purged(), self.log.last());
        if self.log.install(position) {
            self.standing.emptied();
            self.writes.iter_mut().for_each(|write| write.last = position.index);
            self.durable = position.index;
            self.write(recover::restart(purged, last, position)).await?;
        }
        self.commit = self.commit.max(position.index);
        self.applied = self.applied.max(position.index);
        self.waiting.installed(position.index);
        self.waiting.caught_up(position);
        self.step(Input::Installed { from, applied });
        // A sender that waits no longer asks again.
        let _ = done.send(());
        Ok(())
    }

    /// Begins a compaction if one is due: the data are made durable, then the log under them can go.
    fn compact(&mut self) {
        let context = &self.shared.context;
        let entries = self.applied - self.log.purged().index;
        let held = context.log.held_bytes(context.order);
        self.kept_bytes = self.kept_bytes.min(held);
        let limits = context.limits;
        let many = entries > limits.keep_entries + limits.compact_after_entries;
        let large = held > self.kept_bytes + limits.compact_after_bytes && entries > KEEP_LARGE;
        if self.compacting || !(many || large) {
            return;
        }
        self.compacting = true;
        self.kept_bytes = held;
        let shared = self.shared.clone();
        self.shared.spawn("engine-compaction", async move {
            let result = shared.context.applier.persist().await;
            // Without a task there is nothing to compact.
            let _ = shared.mail.send(Mail::Persistent(result)).await;
        });
    }

    async fn purge(&mut self, persistent: &Applied) -> Result<(), String> {
        // What is to be sent from there is known as such before it is forgotten.
        self.flush().await?;
        self.compacting = false;
        let limits = self.shared.context.limits;
        let entries = persistent.position.index.saturating_sub(self.log.purged().index);
        let many = entries > limits.keep_entries + limits.compact_after_entries;
        let keep = if many { limits.keep_entries } else { limits.keep_entries.min(KEEP_LARGE) };
        let index = persistent.position.index.saturating_sub(keep);
        let Some(term) = self.log.term(index) else { return Ok(()) };
        let upto = shardbearer_core::log::LogPos { term, index };
        if index > self.log.purged().index {
            self.log.purge(upto);
            self.standing.purged(upto.index);
            self.write(vec![LogWrite::Purge { upto }]).await?;
            self.step(Input::Purged { upto });
        }
        Ok(())
    }

    /// Begins to send a snapshot, unless the peer gets one or just got one.
    pub(super) fn send_snapshot(&mut self, to: RadiantId) {
        if self.sending.get(&to).is_some_and(|until| self.now() < *until) {
            return;
        }
        self.sending.insert(to, u64::MAX);
        let shared = self.shared.clone();
        tracing::info!(order = %shared.context.order, %to, "sends a snapshot");
        self.shared.spawn("engine-snapshot", async move {
            let result = images::send(&shared.context, to).await;
            // Without a task nobody waits for it.
            let _ = shared.mail.send(Mail::Sent { to, result }).await;
        });
    }
}
