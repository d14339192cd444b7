//! Engines with one flaw each: a good engine behind a log, data or a handle that does one thing wrong. Each must be caught
//! by the law that is meant for it; the table in docs/testing.md lists them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer_core::engine::{
    Applied, Applier, Capabilities, Committed, ConsensusEngine, EngineContext, EngineError, EngineFactory,
    EngineStatus, ReceivedSnapshot, SnapshotReader, SnapshotWriter,
};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::{Bounds, LogDone, LogError, LogPos, LogRecord, LogStore, LogWrite};
use shardbearer_core::storage::StorageError;
use shardbearer_sim::conformance::engine::{Between, LAWS, Subject, violation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    AcknowledgesBeforeDurable,
    ForgetsItsVote,
    LosesEntriesAfterTruncating,
    ReadsWithoutBarrier,
    AppliesTwice,
    SkipsAnEntry,
    AcceptsInAMinority,
    RefusesWhatItAppends,
    KeepsSubmitsWaiting,
    LeadsAlone,
    InstallsNothing,
    ForgetsChangesOfMembers,
}

/// Each with the law that is meant to find it.
const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::AcknowledgesBeforeDurable, "acknowledged_writes_survive_a_crash_of_all"),
    (Flaw::ForgetsItsVote, "terms_do_not_go_back_over_crashes"),
    (Flaw::LosesEntriesAfterTruncating, "a_long_wrong_log_is_backed_up_fast"),
    (Flaw::ReadsWithoutBarrier, "a_partitioned_old_leader_does_not_answer_reads"),
    (Flaw::AppliesTwice, "all_members_apply_what_was_acknowledged"),
    (Flaw::SkipsAnEntry, "all_members_apply_what_was_acknowledged"),
    (Flaw::AcceptsInAMinority, "a_hundred_submits_in_a_minority_do_not_succeed"),
    (Flaw::RefusesWhatItAppends, "what_was_refused_is_never_applied"),
    (Flaw::KeepsSubmitsWaiting, "pending_submits_end_when_the_member_closes"),
    (Flaw::LeadsAlone, "nobody_leads_without_a_quorum"),
    (Flaw::InstallsNothing, "a_member_far_behind_is_brought_up_by_an_image"),
    (Flaw::ForgetsChangesOfMembers, "a_member_is_added"),
];

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    for (flaw, name) in FLAWS {
        let law = LAWS.iter().find(|law| law.name == *name).expect("there is such a law");
        let found = violation(law, &subject(*flaw));
        assert!(matches!(found, Some(Err(_))), "{flaw:?} was not caught by {name}: {found:?}");
    }
}

#[test]
fn the_table_in_the_docs_names_every_flaw_and_its_law() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    for (flaw, law) in FLAWS {
        let row = text.lines().find(|line| line.contains(&format!("`{flaw:?}`")));
        assert!(row.is_some_and(|row| row.contains(law)), "docs/testing.md: {flaw:?} is caught by {law}");
    }
}

fn subject(flaw: Flaw) -> Subject {
    let between: Between =
        Arc::new(move |log, again| Arc::new(FlawedLog { log, flaw, forgot: AtomicBool::new(!again) }));
    Subject { between: Some(between), ..Subject::new(Arc::new(FlawedFactory(flaw))) }
}

struct FlawedLog {
    log: Arc<dyn LogStore>,
    flaw: Flaw,
    /// Whether there is nothing (more) to forget: a vote was written in this life, or it is the first.
    forgot: AtomicBool,
}

impl LogStore for FlawedLog {
    fn write(&self, order: OrderId, mut writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError> {
        if writes.iter().any(|write| matches!(write, LogWrite::Hard(_))) {
            self.forgot.store(true, Ordering::Release);
        }
        if self.flaw == Flaw::LosesEntriesAfterTruncating {
            for write in &mut writes {
                if let LogWrite::Truncate { from } = write {
                    *from = from.saturating_sub(1).max(1);
                }
            }
        }
        if self.flaw != Flaw::AcknowledgesBeforeDurable {
            return self.log.write(order, writes, done);
        }
        self.log.write(order, writes, Box::new(drop))?;
        done(Ok(()));
        Ok(())
    }

    fn entries(&self, order: OrderId, range: Range<u64>, max: usize) -> Result<Vec<LogRecord>, LogError> {
        self.log.entries(order, range, max)
    }

    fn bounds(&self, order: OrderId) -> Bounds {
        let bounds = self.log.bounds(order);
        match self.flaw {
            Flaw::ForgetsItsVote if !self.forgot.load(Ordering::Acquire) => Bounds { hard: None, ..bounds },
            _ => bounds,
        }
    }

    fn orders(&self) -> Vec<OrderId> {
        self.log.orders()
    }

    fn remove(&self, order: OrderId) -> Result<(), LogError> {
        self.log.remove(order)
    }

    fn disk_bytes(&self) -> u64 {
        self.log.disk_bytes()
    }

    fn held_bytes(&self, order: OrderId) -> u64 {
        self.log.held_bytes(order)
    }
}

struct FlawedData {
    data: Arc<dyn Applier>,
    flaw: Flaw,
}

#[async_trait]
impl Applier for FlawedData {
    fn applied(&self) -> Applied {
        self.data.applied()
    }

    async fn apply(&self, entries: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        match self.flaw {
            Flaw::AppliesTwice => {
                self.data.apply(entries.clone()).await?;
                self.data.apply(entries).await
            }
            Flaw::SkipsAnEntry => {
                let kept: Vec<_> =
                    entries.iter().filter(|entry| entry.position.index != 5).cloned().collect();
                let mut replies = self.data.apply(kept).await?;
                replies.resize(entries.len(), Bytes::new());
                Ok(replies)
            }
            _ => self.data.apply(entries).await,
        }
    }

    async fn persist(&self) -> Result<Applied, StorageError> {
        self.data.persist().await
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        self.data.snapshot().await
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.data.receive_snapshot().await
    }

    async fn install(&self, snapshot: ReceivedSnapshot) -> Result<(), StorageError> {
        match self.flaw {
            Flaw::InstallsNothing => Ok(()),
            _ => self.data.install(snapshot).await,
        }
    }
}

struct FlawedFactory(Flaw);

#[async_trait]
impl EngineFactory for FlawedFactory {
    fn name(&self) -> &'static str {
        "flawed"
    }

    fn capabilities(&self) -> Capabilities {
        OpenraftFactory.capabilities()
    }

    async fn open(&self, mut context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        context.applier = Arc::new(FlawedData { data: context.applier, flaw: self.0 });
        let (me, applier) = (context.me, context.applier.clone());
        let engine = OpenraftFactory.open(context).await?;
        Ok(Arc::new(Flawed { engine, applier, flaw: self.0, me }))
    }
}

struct Flawed {
    engine: Arc<dyn ConsensusEngine>,
    applier: Arc<dyn Applier>,
    flaw: Flaw,
    me: RadiantId,
}

/// After this a flawed engine has lost its patience.
const IMPATIENCE: Duration = Duration::from_millis(400);

/// Shorter than a sync of the kit's disks.
const HASTE: Duration = Duration::from_millis(4);

#[async_trait]
impl ConsensusEngine for Flawed {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        match self.flaw {
            Flaw::AcceptsInAMinority => {
                match tokio::time::timeout(IMPATIENCE, self.engine.propose(entry)).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(Bytes::new()),
                }
            }
            // Gives up early, and calls it a refusal.
            Flaw::RefusesWhatItAppends => match tokio::time::timeout(HASTE, self.engine.propose(entry)).await
            {
                Ok(answer) => answer,
                Err(_) => Err(Refused::Unavailable("too slow".into()).into()),
            },
            Flaw::KeepsSubmitsWaiting => match self.engine.propose(entry).await {
                Err(RequestError::Unknown(_)) => std::future::pending().await,
                other => other,
            },
            _ => self.engine.propose(entry).await,
        }
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        match self.flaw {
            Flaw::ReadsWithoutBarrier => Ok(self.applier.applied().position),
            _ => self.engine.read_barrier().await,
        }
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.engine.receive(from, frame).await
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        match self.flaw {
            Flaw::ForgetsChangesOfMembers => Ok(()),
            _ => self.engine.reconfigure(members).await,
        }
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        self.engine.hand_over(to).await
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.engine.campaign().await
    }

    fn status(&self) -> EngineStatus {
        let status = self.engine.status();
        let leading = match self.flaw {
            Flaw::LeadsAlone => status.herald == Some(self.me),
            _ => status.leading,
        };
        EngineStatus { leading, ..status }
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        self.engine.changed(since).await
    }

    async fn close(&self) {
        self.engine.close().await;
    }
}
