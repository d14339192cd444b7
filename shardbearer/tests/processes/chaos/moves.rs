//! An operator who never rests: shards move from order to order, are called off and moved back, and radiants give their
//! seats away and take them again, while everything else goes on.
//!
//! What became of it is asked of the cluster itself in the end, once the migration under way is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_client::pb::member_request::Action;
use shardbearer_client::pb::move_request::Kind;
use shardbearer_client::{Error, pb};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::desk::{Desk, ENDS_WITHIN, any_move, is_over, is_settled};
use super::super::harness::{Cluster, PATIENCE};
use super::one_of;
use super::plan::Plan;
use super::summary::Tally;

const LOOK: Duration = Duration::from_millis(15);
/// Before what was refused is asked again.
const BREATH: Duration = Duration::from_millis(50);
/// How long seats may take before the operator has another idea.
const SEATS_MAX: Duration = Duration::from_secs(15);

/// The operator.
pub struct Moves {
    pub desk: Desk,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// Of the migration under way.
    phase: Option<String>,
    /// What was asked, and how it was taken.
    asked: Tally,
}

impl Moves {
    /// Does what the plan says of moves and members until told to stop.
    pub async fn start(cluster: &Cluster, plan: &Plan) -> Moves {
        let desk = Desk::at(cluster).await;
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        let worker = |number: u64| Worker {
            desk: desk.clone(),
            seen: seen.clone(),
            stop: stop.clone(),
            dice: StdRng::seed_from_u64(plan.seed.wrapping_mul(1_000_003) + number),
        };
        if plan.moves {
            tasks.spawn(worker(0).move_shards());
        }
        if plan.members {
            tasks.spawn(worker(1).change_seats());
        }
        Moves { desk, seen, stop, tasks }
    }

    /// Of the migration that the operator last saw under way.
    pub fn phase(&self) -> Option<String> {
        self.seen.lock().phase.clone()
    }

    /// Waits until the last migration is over and every seat is where it should be; counts what was done.
    pub async fn end(mut self, tally: &mut Tally) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.desk.over(None, ENDS_WITHIN).await;
        self.desk.settled(2 * PATIENCE).await;
        let all = self.desk.all_moves().await;
        for record in &all {
            assert!(is_over(record), "another began after it, and it is not over: {record:?}");
        }
        let ended = |phase: &str| all.iter().filter(|record| record.phase == phase).count() as u64;
        (tally.moves.completed, tally.moves.returned) = (ended("collected"), ended("returned"));
        tally.moves.times = all.iter().filter(|record| record.phase == "collected").map(time_of).collect();
        for (what, count) in std::mem::take(&mut self.seen.lock().asked.notes) {
            *tally.notes.entry(what).or_default() += count;
        }
    }
}

fn time_of(record: &pb::Migration) -> Duration {
    Duration::from_millis(record.changed_ms.saturating_sub(record.started_ms))
}

/// A task of the operator's.
struct Worker {
    desk: Desk,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    dice: StdRng,
}

impl Worker {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, what: &str) {
        self.seen.lock().asked.note(what);
    }

    /// One after the other: where one is under way it is watched until it is over.
    async fn move_shards(mut self) {
        while self.goes_on() {
            let Some(status) = self.desk.status().await else { continue };
            let last = status.migration.as_ref();
            if let Some(record) = last.filter(|record| !is_over(record)) {
                self.seen.lock().phase = Some(record.phase.clone());
                sleep(LOOK).await;
                continue;
            }
            self.seen.lock().phase = None;
            let undo = last.is_some_and(|last| last.phase == "collected") && self.dice.random_ratio(1, 8);
            let kind = match any_move(&status, &mut self.dice) {
                Some(_) if undo => Kind::Undo(true),
                Some(aim) => Kind::Plan(aim),
                None => continue,
            };
            let what = if undo { "moves: asked to undo" } else { "moves: asked" };
            match self.desk.ask(kind).await {
                Ok(Some(record)) => {
                    self.note(what);
                    if self.dice.random_ratio(1, 5) {
                        self.meddle(record.id).await;
                    }
                }
                Ok(None) | Err(Error::Refused(_) | Error::Rejected(_)) => self.note("moves: refused"),
                Err(Error::Unknown(_)) => self.note("moves: no answer"),
            }
            sleep(LOOK).await;
        }
    }

    /// Calls it off, or halts it for a while, at whatever it is just then.
    async fn meddle(&mut self, id: u64) {
        sleep(Duration::from_millis(self.dice.random_range(0..300))).await;
        if self.dice.random_bool(0.5) {
            let called = self.desk.ask(Kind::Cancel(id)).await.is_ok();
            self.note(if called {
                "moves: called off"
            } else {
                "moves: not called off, too late or no answer"
            });
            return;
        }
        if self.desk.ask(Kind::Pause(id)).await.is_err() {
            return;
        }
        self.note("moves: halted");
        sleep(Duration::from_millis(self.dice.random_range(0..1000))).await;
        // Whoever halted it lets it go on, however long nobody listens.
        while let Err(Error::Refused(shardbearer_core::error::Refused::Unavailable(_)) | Error::Unknown(_)) =
            self.desk.ask(Kind::Resume(id)).await
        {
            sleep(BREATH).await;
        }
    }

    /// One radiant after the other gives all its seats away and takes some again.
    async fn change_seats(mut self) {
        while self.goes_on() {
            let Some(status) = self.desk.status().await else { continue };
            let spare = status.radiants.iter().find(|radiant| radiant.standing == "a spare");
            let draining = status.radiants.iter().find(|radiant| radiant.standing == "draining");
            let (action, one, what) = match (spare, draining) {
                (Some(spare), _) => (Action::Join, spare, "members: a spare joins"),
                (None, Some(draining)) => (Action::Undrain, draining, "members: takes seats again"),
                (None, None) => {
                    let all: Vec<&pb::RadiantStatus> = status.radiants.iter().collect();
                    (Action::Drain, one_of(&mut self.dice, &all), "members: gives its seats away")
                }
            };
            match self.desk.member(action, &one.name).await {
                Ok(()) => self.note(what),
                Err(why) => {
                    self.note(&format!("members: not now: {why:.60}"));
                    sleep(BREATH).await;
                    continue;
                }
            }
            let (start, patience) = (Instant::now(), SEATS_MAX.mul_f64(self.dice.random_range(0.1..1.0)));
            let mut settled = false;
            while !settled && self.goes_on() && start.elapsed() < patience {
                sleep(BREATH).await;
                settled = self.desk.status().await.is_some_and(|status| is_settled(&status));
            }
            self.note(if settled {
                "members: every seat is taken"
            } else {
                "members: changed again before it was done"
            });
        }
    }
}
