//! The laws of [`ConsensusEngine`](shardbearer_core::engine::ConsensusEngine) and its factory. They bring their own
//! network, disks and data, so that an engine from any crate is checked by one line:
//!
//! ```text
//! conformance::engine::check(&Subject::new(Arc::new(MyFactory)));
//! ```
//!
//! Each law founds groups of members and does to them what the world does: cuts and mends links ([`net`]),
//! loses, doubles and delays frames, takes the power away ([`disk`]: what was not synced is gone; [`data`]:
//! back to what was persisted). Time is virtual where the engine waits through tokio's timers
//! ([`Subject::virtual_time`]): minutes pass in milliseconds.
//!
//! A law that needs what the engine's capabilities do not claim is skipped, and the skip is shown.

mod agreement;
pub mod card;
mod controller;
pub mod data;
pub mod disk;
mod durability;
mod elections;
mod excluded;
pub mod group;
pub mod history;
mod lists;
mod membership;
pub mod net;
mod reads;
mod relisted;
mod repetition;
mod shutdown;
mod snapshots;
pub mod world;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use shardbearer_core::engine::{Capabilities, EngineFactory, EngineLimits, Timing};
use shardbearer_core::log::LogStore;

use self::group::Group;
use self::net::Sent;
use super::Broken;

/// Puts something between an engine and its log: the log, and whether the member lived before.
pub type Between = Arc<dyn Fn(Arc<dyn LogStore>, bool) -> Arc<dyn LogStore>>;

/// An engine under test.
#[derive(Clone)]
pub struct Subject {
    /// Makes it.
    pub factory: Arc<dyn EngineFactory>,
    /// What everything random is drawn from. The same seed is the same weather.
    pub seed: u64,
    /// Whether time may be virtual: the engine waits through tokio's timers or the `World` only.
    pub virtual_time: bool,
    /// For broken doubles.
    pub between: Option<Between>,
}

impl Subject {
    /// A subject on virtual time.
    pub fn new(factory: Arc<dyn EngineFactory>) -> Self {
        Subject { factory, seed: 1, virtual_time: true, between: None }
    }
}

/// What a law gets: the subject, and where groups come from.
pub struct Lab<'a> {
    subject: &'a Subject,
    timing: Timing,
    limits: Cell<EngineLimits>,
    rng: RefCell<StdRng>,
    noted: RefCell<Option<Vec<Sent>>>,
}

impl<'a> Lab<'a> {
    fn new(subject: &'a Subject) -> Self {
        let real = Timing {
            heartbeat: Duration::from_millis(30),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
        };
        Lab {
            subject,
            timing: if subject.virtual_time { Timing::default() } else { real },
            limits: Cell::default(),
            rng: RefCell::new(StdRng::seed_from_u64(subject.seed)),
            noted: RefCell::default(),
        }
    }

    /// A founded group of `count`; of one, where the engine refuses so many.
    async fn found(&'a self, count: u64) -> Result<Group<'a>, Broken> {
        let refused = self.factory().refuses(count as usize).is_some();
        Group::found(self, if refused { 1 } else { count }).await
    }

    /// Makes engines opened from now on compact their logs after so many entries, and keep few behind.
    fn compact_after(&self, entries: u64) {
        self.limits.set(EngineLimits {
            compact_after_entries: entries,
            keep_entries: entries / 4,
            ..EngineLimits::default()
        });
    }

    /// Makes engines opened from now on send short messages, some fifteen of which hold the longest entry.
    fn short_messages(&self) -> usize {
        const ENTRY: usize = 60 << 10;
        let limits =
            EngineLimits { message_bytes_max: 4 << 10, entry_bytes_max: ENTRY, ..EngineLimits::default() };
        self.limits.set(limits);
        ENTRY
    }

    /// Notes what has to be the same when the law runs again. It does, in a runtime of its own.
    fn note(&self, sent: Vec<Sent>) {
        self.noted.replace(Some(sent));
    }

    fn draw(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    /// A number below `bound`.
    fn below(&self, bound: u64) -> u64 {
        self.draw() % bound
    }

    fn factory(&self) -> &dyn EngineFactory {
        &*self.subject.factory
    }

    fn capabilities(&self) -> Capabilities {
        self.factory().capabilities()
    }

    fn wrap_log(&self, log: Arc<dyn LogStore>, again: bool) -> Arc<dyn LogStore> {
        match &self.subject.between {
            Some(between) => between(log, again),
            None => log,
        }
    }
}

/// What an engine must claim for a law to apply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// It runs orders of several members: `EngineFactory::refuses` does not refuse three.
    Others,
    /// `Capabilities::tolerates`: of three, one may fail while the others go on.
    Failures,
    /// `Capabilities::linearizable_reads`.
    LinearizableReads,
    /// `Capabilities::reconfigure`.
    Reconfigure,
    /// `Capabilities::members_decided_elsewhere`.
    DecidedElsewhere,
    /// `Capabilities::snapshots`.
    Snapshots,
}

impl Needs {
    fn met(self, factory: &dyn EngineFactory) -> bool {
        let capabilities = factory.capabilities();
        match self {
            Needs::Others => factory.refuses(3).is_none(),
            Needs::Failures => (capabilities.tolerates)(3) > 0,
            Needs::LinearizableReads => capabilities.linearizable_reads,
            Needs::Reconfigure => capabilities.reconfigure,
            Needs::DecidedElsewhere => capabilities.members_decided_elsewhere,
            Needs::Snapshots => capabilities.snapshots,
        }
    }
}

/// What a law found out, later.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Result<(), Broken>> + 'a>>;

/// A law of engines.
pub struct Law {
    /// A sentence.
    pub name: &'static str,
    /// To whom it applies: who claims all of this.
    pub needs: &'static [Needs],
    /// Finds out.
    pub run: for<'a> fn(&'a Lab<'a>) -> Finding<'a>,
}

impl Law {
    /// What an engine does not claim and the law needs, if anything.
    pub fn lacks(&self, factory: &dyn EngineFactory) -> Option<Needs> {
        self.needs.iter().copied().find(|needs| !needs.met(factory))
    }
}

/// Names each function a law, by its own name.
macro_rules! laws {
    ($($needs:expr => $($room:ident :: $law:ident)+;)+) => {
        &[$($(Law {
            name: stringify!($law),
            needs: &$needs,
            run: |lab| Box::pin($room::$law(lab)),
        },)+)+]
    };
}

/// All laws.
pub const LAWS: &[Law] = laws! {
    [] =>
        elections::a_first_leader_is_elected_and_stays
        agreement::all_members_apply_what_was_acknowledged
        agreement::writes_at_once_are_each_applied_once
        agreement::what_was_refused_is_never_applied
        agreement::rubbish_from_a_peer_has_no_effect
        durability::acknowledged_writes_survive_a_crash_of_all
        durability::members_restarted_in_turn_lose_nothing
        repetition::the_same_seed_gives_the_same_trace
        shutdown::a_closed_member_says_so_and_refuses;
    [Needs::Others] =>
        elections::nobody_leads_without_a_quorum
        agreement::an_idle_or_healthy_group_resends_nothing_needlessly
        agreement::each_entry_goes_to_each_member_once
        agreement::entries_longer_than_a_message_are_replicated
        agreement::nothing_is_acknowledged_without_a_quorum
        agreement::a_foul_network_delays_and_changes_nothing
        shutdown::pending_submits_end_when_the_member_closes;
    [Needs::Failures] =>
        elections::another_leads_when_the_leader_is_cut_off
        elections::many_elections_never_give_two_leaders_of_one_term
        elections::a_member_that_only_hears_does_not_depose_the_leader
        elections::a_member_that_only_speaks_does_not_depose_the_leader
        elections::a_leader_that_hears_nobody_is_replaced
        elections::a_campaign_and_a_hand_over_move_the_lead
        agreement::followers_that_fail_are_not_missed
        agreement::who_was_away_gets_entries_longer_than_a_message
        agreement::a_new_leader_goes_on_where_the_old_one_failed
        agreement::a_hundred_submits_in_a_minority_do_not_succeed
        agreement::a_partitioned_leader_rejoins_and_its_own_entries_vanish_or_stay_everywhere
        agreement::a_long_wrong_log_is_backed_up_fast
        durability::crashes_one_after_the_other_lose_nothing
        durability::terms_do_not_go_back_over_crashes
        durability::commitment_needs_the_own_term
        durability::churn_loses_nothing;
    [Needs::LinearizableReads] =>
        reads::reads_after_a_barrier_see_every_acknowledged_write;
    [Needs::LinearizableReads, Needs::Failures] =>
        reads::a_partitioned_old_leader_does_not_answer_reads
        reads::a_leader_that_stood_still_does_not_answer_old_reads
        reads::reads_through_churn_are_never_old;
    [Needs::Snapshots] =>
        snapshots::logs_stay_short;
    [Needs::Snapshots, Needs::Failures] =>
        snapshots::a_member_far_behind_is_brought_up_by_an_image
        snapshots::images_arrive_over_a_foul_network
        snapshots::a_damaged_image_is_asked_for_again
        snapshots::an_image_that_is_refused_leaves_all_as_it_was
        snapshots::images_and_crashes_lose_nothing;
    [Needs::Reconfigure] =>
        membership::a_member_is_added
        membership::a_member_is_removed
        membership::the_leader_is_replaced;
    [Needs::Reconfigure, Needs::Failures] =>
        membership::a_member_is_replaced_while_another_is_down
        membership::a_newcomer_that_never_catches_up_stops_nobody;
    [Needs::DecidedElsewhere] =>
        lists::each_member_is_left_out_and_taken_back
        lists::all_but_one_fail_one_after_the_other
        lists::an_epoch_that_is_over_changes_nothing;
    [Needs::DecidedElsewhere, Needs::Others] =>
        relisted::writes_on_their_way_when_the_list_changes_are_neither_lost_nor_doubled;
    [Needs::DecidedElsewhere, Needs::Others, Needs::LinearizableReads] =>
        excluded::who_is_excluded_while_cut_off_acknowledges_nothing_and_reads_nothing_old
        excluded::who_is_excluded_while_it_stands_still_acknowledges_nothing_and_reads_nothing_old
        relisted::reads_at_every_member_through_many_lists_are_linearizable;
    [Needs::DecidedElsewhere, Needs::Snapshots] =>
        lists::a_learner_that_needs_an_image_does_not_say_that_it_has_caught_up
        lists::a_learner_that_got_a_damaged_image_gets_another;
};

/// Runs one law; `None` if it does not apply.
pub fn violation(law: &Law, subject: &Subject) -> Option<Result<(), Broken>> {
    if law.lacks(&*subject.factory).is_some() {
        return None;
    }
    Some(run(law, subject).and_then(|noted| match noted {
        // Without virtual time the machine decides as well.
        Some(once) if subject.virtual_time => {
            repetition::compare(&once, &run(law, subject)?.unwrap_or_default())
        }
        Some(_) | None => Ok(()),
    }))
}

/// Runs a law once; what it noted for a second time.
fn run(law: &Law, subject: &Subject) -> Result<Option<Vec<Sent>>, Broken> {
    let lab = Lab::new(subject);
    in_runtime(subject, (law.run)(&lab))?;
    Ok(lab.noted.take())
}

/// Runs a future in a runtime of its own, on virtual time if the subject allows it.
fn in_runtime<T>(subject: &Subject, future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(subject.virtual_time);
    runtime.build().expect("a runtime of one thread needs nothing but memory").block_on(future)
}

/// Runs all laws; panics with what is broken.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check(subject: &Subject) {
    let mut broken = Vec::new();
    for law in LAWS {
        match violation(law, subject) {
            Some(Ok(())) => {}
            Some(Err(what)) => broken.push(format!("{}: {what}", law.name)),
            None => println!("skipped, as not all of {:?} is claimed: {}", law.needs, law.name),
        }
    }
    let name = subject.factory.name();
    assert!(
        broken.is_empty(),
        "{name} breaks {} of {} laws:\n{}",
        broken.len(),
        LAWS.len(),
        broken.join("\n")
    );
}
