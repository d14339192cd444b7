//! Engines with one flaw each: a good engine behind a log, data, a way or a handle that does one thing wrong. Each must be
//! caught by the laws that are meant for it, and each law must catch one; the table in docs/testing.md lists them.

mod below;
mod engine;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use shardbearer::engine::chain::ChainFactory;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer_core::engine::{Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory};
use shardbearer_sim::conformance::engine::{Between, LAWS, Law, Needs, Subject, violation};

use self::below::{FlawedData, FlawedLog, FlawedTransport};
use self::engine::Flawed;

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
    TakesOldLists,
    KeepsItsLog,
    SaysEverythingFiveTimes,
    AnswersAfterItsEnd,
    WaitsForEverybody,
    ChokesOnStrangers,
    KeepsTheLead,
    LeadsWithTheHerald,
    HidesAMember,
    Restless,
    DrawsFromElsewhere,
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
        let found = violation(law, &subject(*flaw, law));
        assert!(matches!(found, Some(Err(_))), "{flaw:?} was not caught by {name}: {found:?}");
    }
}

#[test]
fn zz_search() {
    use Flaw::*;
    let all = [
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
        TakesOldLists,
        KeepsItsLog,
        SaysEverythingFiveTimes,
        AnswersAfterItsEnd,
        WaitsForEverybody,
        ChokesOnStrangers,
        KeepsTheLead,
        LeadsWithTheHerald,
        HidesAMember,
        Restless,
        DrawsFromElsewhere,
    ];
    for law in LAWS {
        for flaw in all {
            let start = std::time::Instant::now();
            let found = std::panic::catch_unwind(|| violation(law, &subject(flaw, law)));
            if let Ok(Some(Err(why))) = found {
                println!("FOUND {} {flaw:?} {:?}: {why:.220}", law.name, start.elapsed());
            }
        }
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

fn subject(flaw: Flaw, law: &Law) -> Subject {
    let between: Between =
        Arc::new(move |log, again| Arc::new(FlawedLog { log, flaw, forgot: AtomicBool::new(!again) }));
    Subject {
        between: Some(between),
        ..Subject::new(Arc::new(FlawedFactory { flaw, told: law.needs.contains(&Needs::DecidedElsewhere) }))
    }
}

struct FlawedFactory {
    flaw: Flaw,
    /// Whether others decide on its members.
    told: bool,
}

impl FlawedFactory {
    /// The engine that would have no flaw.
    fn good(&self) -> &dyn EngineFactory {
        if self.told { &ChainFactory } else { &OpenraftFactory }
    }
}

#[async_trait]
impl EngineFactory for FlawedFactory {
    fn name(&self) -> &'static str {
        "flawed"
    }

    fn capabilities(&self) -> Capabilities {
        self.good().capabilities()
    }

    async fn open(&self, mut context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        context.applier = Arc::new(FlawedData { data: context.applier, flaw: self.flaw });
        let (me, applier) = (context.me, context.applier.clone());
        context.transport = Arc::new(FlawedTransport { transport: context.transport, flaw: self.flaw });
        let (world, timeout) = (context.world.clone(), context.timing.election_max);
        let engine = self.good().open(context).await?;
        if self.flaw == Flaw::Restless {
            let engine = engine.clone();
            world.spawn("restless", async move {
                while !engine.status().closed {
                    tokio::time::sleep(timeout).await;
                    let _ = engine.campaign().await;
                }
            });
        }
        Ok(Arc::new(Flawed { engine, applier, flaw: self.flaw, me }))
    }
}
