//! Engines with one flaw each: a good engine behind a log, data, a way or a handle that does one thing wrong. Each must be
//! caught by the laws that are meant for it, and each law must catch one; the table in docs/testing.md lists them.

mod below;
mod chain;
mod engine;
mod raft;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use shardbearer::engine::chain::ChainFactory;
use shardbearer::engine::driver;
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
    GivesUpOnDamage,
    ForgetsChangesOfMembers,
    TakesOldLists,
    SaysThatItHasCaughtUp,
    KeepsItsLog,
    SaysEverythingFiveTimes,
    DropsLongFrames,
    AnswersAfterItsEnd,
    WaitsForEverybody,
    ChokesOnStrangers,
    KeepsTheLead,
    LeadsWithTheHerald,
    HidesAMember,
    DrawsFromElsewhere,
    CutsOneEntryAHeartbeat,
    AcknowledgesInHaste,
    StandsForNothing,
    CountsOldTerms,
    ProposesAgain,
    ReadsCleanAlone,
    TrustsItsTicks,
    ConfirmsOldEpochs,
    CountsWithoutTheTail,
}

/// Each with a law that is meant to find it, and words of what that law says.
const FLAWS: &[(Flaw, &str, &str)] = &[
    (
        Flaw::AcknowledgesBeforeDurable,
        "acknowledged_writes_survive_a_crash_of_all",
        "all have applied everything",
    ),
    (
        Flaw::AcknowledgesBeforeDurable,
        "members_restarted_in_turn_lose_nothing",
        "all have applied everything",
    ),
    (Flaw::ForgetsItsVote, "terms_do_not_go_back_over_crashes", "and follows term"),
    (Flaw::LosesEntriesAfterTruncating, "a_long_wrong_log_is_backed_up_fast", "and failed: when Write Logs"),
    (
        Flaw::LosesEntriesAfterTruncating,
        "a_partitioned_leader_rejoins_and_its_own_entries_vanish_or_stay_everywhere",
        "and failed: when Write Logs",
    ),
    (Flaw::LosesEntriesAfterTruncating, "commitment_needs_the_own_term", "and failed: when Write Logs"),
    (Flaw::ReadsWithoutBarrier, "reads_after_a_barrier_see_every_acknowledged_write", "not seen by a read"),
    (Flaw::ReadsWithoutBarrier, "a_partitioned_old_leader_does_not_answer_reads", "not seen by a read"),
    (Flaw::ReadsWithoutBarrier, "a_leader_that_stood_still_does_not_answer_old_reads", "not seen by a read"),
    (Flaw::ReadsWithoutBarrier, "reads_through_churn_are_never_old", "not seen by a read"),
    (Flaw::AppliesTwice, "all_members_apply_what_was_acknowledged", "was given to the data after"),
    (Flaw::AppliesTwice, "writes_at_once_are_each_applied_once", "was given to the data after"),
    (Flaw::SkipsAnEntry, "all_members_apply_what_was_acknowledged", "was answered"),
    (
        Flaw::AcceptsInAMinority,
        "a_hundred_submits_in_a_minority_do_not_succeed",
        "a minority acknowledged a write",
    ),
    (Flaw::AcceptsInAMinority, "nothing_is_acknowledged_without_a_quorum", "acknowledged a write, alone"),
    (Flaw::AcceptsInAMinority, "a_foul_network_delays_and_changes_nothing", "was answered"),
    (Flaw::AcceptsInAMinority, "churn_loses_nothing", "was answered"),
    (Flaw::RefusesWhatItAppends, "what_was_refused_is_never_applied", "refused and yet applied"),
    (Flaw::KeepsSubmitsWaiting, "pending_submits_end_when_the_member_closes", "never ended after close"),
    (Flaw::AnswersAfterItsEnd, "a_closed_member_says_so_and_refuses", "a closed member was proposed to"),
    (Flaw::LeadsAlone, "nobody_leads_without_a_quorum", "nobody leads"),
    (Flaw::LeadsAlone, "another_leads_when_the_leader_is_cut_off", "the old leader gives up"),
    (Flaw::LeadsWithTheHerald, "many_elections_never_give_two_leaders_of_one_term", "leader of term"),
    (Flaw::HidesAMember, "a_first_leader_is_elected_and_stays", "members"),
    (Flaw::KeepsTheLead, "a_campaign_and_a_hand_over_move_the_lead", "the lead was handed over"),
    (Flaw::WaitsForEverybody, "followers_that_fail_are_not_missed", "no write was acknowledged"),
    (Flaw::WaitsForEverybody, "a_new_leader_goes_on_where_the_old_one_failed", "no write was acknowledged"),
    (Flaw::WaitsForEverybody, "crashes_one_after_the_other_lose_nothing", "no write was acknowledged"),
    (Flaw::WaitsForEverybody, "a_leader_that_hears_nobody_is_replaced", "no write was acknowledged"),
    (
        Flaw::WaitsForEverybody,
        "a_member_that_only_hears_does_not_depose_the_leader",
        "no write was acknowledged",
    ),
    (
        Flaw::WaitsForEverybody,
        "a_member_that_only_speaks_does_not_depose_the_leader",
        "no write was acknowledged",
    ),
    (
        Flaw::SaysEverythingFiveTimes,
        "an_idle_or_healthy_group_resends_nothing_needlessly",
        "an idle group sent",
    ),
    (Flaw::SaysEverythingFiveTimes, "each_entry_goes_to_each_member_once", "to two others, allowed"),
    (Flaw::DropsLongFrames, "entries_longer_than_a_message_are_replicated", "bytes was acknowledged"),
    (Flaw::DropsLongFrames, "who_was_away_gets_entries_longer_than_a_message", "bytes was acknowledged"),
    (Flaw::ChokesOnStrangers, "rubbish_from_a_peer_has_no_effect", "rubbish is never done with"),
    (Flaw::DrawsFromElsewhere, "the_same_seed_gives_the_same_trace", "with the same seed frame"),
    (Flaw::KeepsItsLog, "logs_stay_short", "every log is short"),
    (Flaw::InstallsNothing, "a_member_far_behind_is_brought_up_by_an_image", "all have applied everything"),
    (Flaw::InstallsNothing, "images_arrive_over_a_foul_network", "an image arrives"),
    (Flaw::InstallsNothing, "an_image_that_is_refused_leaves_all_as_it_was", "an image is refused"),
    (Flaw::InstallsNothing, "images_and_crashes_lose_nothing", "all have applied everything"),
    (Flaw::GivesUpOnDamage, "a_damaged_image_is_asked_for_again", "damaged images arrive until a good one"),
    (Flaw::GivesUpOnDamage, "a_learner_that_got_a_damaged_image_gets_another", "the learner catches up"),
    (Flaw::ForgetsChangesOfMembers, "a_member_is_added", "4 follows in term 0"),
    (Flaw::ForgetsChangesOfMembers, "a_member_is_removed", "members: ["),
    (Flaw::ForgetsChangesOfMembers, "the_leader_is_replaced", "4 follows in term 0"),
    (Flaw::ForgetsChangesOfMembers, "a_member_is_replaced_while_another_is_down", "6 follows in term 0"),
    (
        Flaw::ForgetsChangesOfMembers,
        "a_newcomer_that_never_catches_up_stops_nobody",
        "is said to be a member",
    ),
    (Flaw::ForgetsChangesOfMembers, "each_member_is_left_out_and_taken_back", "one of them leads"),
    (Flaw::ForgetsChangesOfMembers, "all_but_one_fail_one_after_the_other", "one of them leads"),
    (Flaw::TakesOldLists, "an_epoch_that_is_over_changes_nothing", "an old epoch is taken over"),
    (
        Flaw::SaysThatItHasCaughtUp,
        "a_learner_that_needs_an_image_does_not_say_that_it_has_caught_up",
        "a learner without an image",
    ),
    (
        Flaw::CutsOneEntryAHeartbeat,
        "a_long_wrong_log_is_backed_up_fast",
        "to back up over 200 entries, allowed",
    ),
    (Flaw::AcknowledgesInHaste, "commitment_needs_the_own_term", "all have applied everything"),
    (Flaw::CountsOldTerms, "commitment_needs_the_own_term", "is to be cut and"),
    (
        Flaw::StandsForNothing,
        "a_campaign_and_a_hand_over_move_the_lead",
        "the first leader, after a campaign",
    ),
    (
        Flaw::ReadsCleanAlone,
        "who_is_excluded_while_cut_off_acknowledges_nothing_and_reads_nothing_old",
        "were there before it began",
    ),
    (
        Flaw::AcceptsInAMinority,
        "who_is_excluded_while_cut_off_acknowledges_nothing_and_reads_nothing_old",
        "that is excluded, and that nobody hears",
    ),
    (
        Flaw::TrustsItsTicks,
        "who_is_excluded_while_it_stands_still_acknowledges_nothing_and_reads_nothing_old",
        "were there before it began",
    ),
    (
        Flaw::ConfirmsOldEpochs,
        "reads_at_every_member_through_many_lists_are_linearizable",
        "were there before it began",
    ),
    (
        Flaw::CountsWithoutTheTail,
        "who_is_excluded_while_cut_off_acknowledges_nothing_and_reads_nothing_old",
        "were there before it began",
    ),
    (
        Flaw::AcknowledgesInHaste,
        "writes_on_their_way_when_the_list_changes_are_neither_lost_nor_doubled",
        "is lost",
    ),
    (Flaw::ProposesAgain, "writes_on_their_way_when_the_list_changes_are_neither_lost_nor_doubled", "twice"),
];

#[test]
fn every_flaw_is_caught_by_the_law_that_is_meant_for_it() {
    let mut missed = Vec::new();
    for (flaw, name, words) in FLAWS {
        let law = LAWS.iter().find(|law| law.name == *name).expect("there is such a law");
        let found = violation(law, &subject(*flaw, law));
        let caught = matches!(&found, Some(Err(why)) if why.to_string().contains(words));
        if !caught {
            missed.push(format!("{flaw:?} was not caught by {name} as {words:?}: {found:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// What is wrong with the least Raft is the one line that its double has.
#[test]
fn a_raft_that_counts_its_own_term_only_keeps_the_law_of_that() {
    let law =
        LAWS.iter().find(|law| law.name == "commitment_needs_the_own_term").expect("there is such a law");
    for seed in 1..=5 {
        let subject = Subject { seed, ..Subject::new(Arc::new(LeastRaft)) };
        assert_eq!(violation(law, &subject), Some(Ok(())), "seed {seed}");
    }
}

#[test]
fn every_law_catches_something() {
    for law in LAWS {
        assert!(FLAWS.iter().any(|(_, name, _)| *name == law.name), "{} was never seen to fail", law.name);
    }
}

#[test]
fn the_table_in_the_docs_names_every_flaw_and_its_law() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/testing.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    for (flaw, law, _) in FLAWS {
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
        context.applier =
            Arc::new(FlawedData { data: context.applier, flaw: self.flaw, gave_up: Arc::default() });
        let (me, applier) = (context.me, context.applier.clone());
        context.transport = Arc::new(FlawedTransport { transport: context.transport, flaw: self.flaw });
        let engine = match self.flaw {
            Flaw::CountsOldTerms => driver::open::<raft::Raft<true>>(context).await?,
            Flaw::ReadsCleanAlone => {
                driver::open::<chain::Flawed<{ chain::READS_CLEAN_ALONE }>>(context).await?
            }
            Flaw::TrustsItsTicks => {
                driver::open::<chain::Flawed<{ chain::TRUSTS_ITS_TICKS }>>(context).await?
            }
            Flaw::ConfirmsOldEpochs => {
                driver::open::<chain::Flawed<{ chain::CONFIRMS_OLD_EPOCHS }>>(context).await?
            }
            Flaw::CountsWithoutTheTail => {
                driver::open::<chain::Flawed<{ chain::COUNTS_WITHOUT_THE_TAIL }>>(context).await?
            }
            _ => self.good().open(context).await?,
        };
        Ok(Arc::new(Flawed { engine, applier, flaw: self.flaw, me }))
    }
}

struct LeastRaft;

#[async_trait]
impl EngineFactory for LeastRaft {
    fn name(&self) -> &'static str {
        "least-raft"
    }

    fn capabilities(&self) -> Capabilities {
        OpenraftFactory.capabilities()
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        driver::open::<raft::Raft<false>>(context).await
    }
}
