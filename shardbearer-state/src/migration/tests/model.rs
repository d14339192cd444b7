//! What is explored: everybody who takes part in a migration, and what may happen next.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use shardbearer_core::kv::Standing;
use shardbearer_core::migration::Phase;

use super::bounds::Bounds;
use super::doubles::{Double, broken};
use super::*;
use crate::migration::{
    Attendant, Driver, Duty, Effect, Event, FROZEN_MS_MAX, Failure, Owned, Pace, left_over,
};

/// What is lost of an effect.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Nothing,
    /// All of it: it may still arrive later.
    All,
    /// Only the question, where a step and a question are sent together.
    Question,
}

#[derive(Clone, Hash, PartialEq, Eq)]
pub(super) struct State {
    pub world: World,
    drivers: Vec<(Driver, Effect)>,
    /// What is still on its way, or was repeated.
    late: BTreeSet<Message>,
    released: bool,
    /// The client's requests so far, and those acknowledged.
    sent: u64,
    acknowledged: u64,
    losses: u8,
    crashes: u8,
    cancelled: bool,
}

#[derive(Clone, Hash, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Step(usize, Migrate),
    Change(MigrationChange),
    Write(usize, u64),
}

impl State {
    pub(super) fn new(bounds: Bounds) -> State {
        let mut world = if bounds.split { World::to_be_split() } else { World::new() };
        assert!(matches!(world.increment(0, "k", 0), Reply::Number { value: 1, .. }));
        if !bounds.split {
            world.change(MigrationChange::Plan { shard: SHARD, to: ORDERS[1] }).expect("nothing moves");
        }
        let mut state = State::of(world);
        state.drivers = vec![(bounds.driver(state.drivers[0].0.record()), Effect::Wait(0)); bounds.drivers];
        state
    }

    /// The migration of a world, and one driver.
    pub(super) fn of(world: World) -> State {
        let record = world.record().expect("planned");
        State {
            drivers: vec![(Driver::new(record, Pace::default()), Effect::Wait(0))],
            world,
            late: BTreeSet::new(),
            released: false,
            sent: 0,
            acknowledged: 0,
            losses: 0,
            crashes: 0,
            cancelled: false,
        }
    }

    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }

    /// A driver's effect happens and is answered, or is lost: then it may still happen later.
    pub(super) fn act(&mut self, which: usize, lost: Lost, double: Option<Double>) {
        let (mut driver, effect) = self.drivers[which].clone();
        let failed = || Failure { why: "lost".into(), disk_full: false };
        let id = driver.record().id;
        let question_lost = lost == Lost::Question;
        let lost = lost == Lost::All;
        let event = match effect {
            Effect::Over => return,
            Effect::Wait(_) => Event::Waited,
            Effect::Look if lost => Event::Looked(None, self.world.part(1)),
            Effect::Look => Event::Looked(self.world.record().map(Box::new), self.world.part(1)),
            Effect::Both { own, .. } if lost => {
                self.late.insert(Message::Step(1, migrate(id, own)));
                Event::Both(Err(failed()), Err(failed()))
            }
            Effect::Both { own, source } => {
                let own = Ok(self.world.step(1, migrate(id, own)));
                let read = broken(self.world.step(0, migrate(id, source)), double);
                Event::Both(own, if question_lost { Err(failed()) } else { Ok(read) })
            }
            Effect::Own(step) | Effect::Source(step) if lost => {
                let source = matches!(self.drivers[which].1, Effect::Source(_));
                self.late.insert(Message::Step(usize::from(!source), migrate(id, step)));
                if source { Event::Source(Err(failed())) } else { Event::Own(Err(failed())) }
            }
            Effect::Own(step) => Event::Own(Ok(self.world.step(1, migrate(id, step)))),
            Effect::Source(step) => Event::Source(Ok(broken(self.world.step(0, migrate(id, step)), double))),
            Effect::Control(change, why) => {
                if double == Some(Double::ActivatesUndecided)
                    && matches!(change, MigrationChange::Commit { .. })
                {
                    self.world.step(1, migrate(id, Step::Activate { epoch: id }));
                }
                match lost {
                    true => {
                        self.late.insert(Message::Change(change));
                        Event::Control(Err(failed()))
                    }
                    false => Event::Control(
                        self.world
                            .change_because(change, &why)
                            .map_err(|why| Failure { why, disk_full: false }),
                    ),
                }
            }
        };
        let next = driver.step(0, event);
        driver.settle();
        self.drivers[which] = (driver, next);
    }

    /// What the source's herald does by itself; `late_ms`: how long it has seen the shard frozen.
    pub(super) fn attend(&mut self, late_ms: u64, double: Option<Double>) {
        let Some(record) = self.world.record() else { return };
        let mut attendant = Attendant::default();
        let part = self.world.part(0);
        if self.released {
            attendant.done(&record, &part);
        }
        attendant.duty(&record, &part, 0);
        let duty = attendant.duty(&record, &part, late_ms);
        match duty {
            Duty::Nothing => {}
            Duty::Step(Step::Release) if double == Some(Double::NeverReleases) => {}
            Duty::Step(Step::Collect { .. }) if double == Some(Double::KeepsWhatItGave) => {
                self.world.step(0, migrate(record.id, Step::Release));
            }
            Duty::Control(MigrationChange::Cancel { .. }, _) if double == Some(Double::TakesBack) => {
                self.world.step(0, migrate(record.id, Step::Release));
            }
            Duty::Step(step) => {
                let release = step == Step::Release;
                self.world.step(0, migrate(record.id, step));
                self.released |= release;
            }
            Duty::Control(change, _) => {
                let _ = self.world.change(change);
            }
        }
    }

    /// An order's herald does what is left to do of a migration that is over.
    pub(super) fn clear_up(&mut self, order: usize, double: Option<Double>) {
        let (part, topology) = (self.world.part(order), self.world.topology());
        let shard = self.world.shards[order];
        let owner = topology.owner_of(shard).unwrap_or_default();
        let (until, cut) = self.world.until(order);
        let owner = Owned { shard, epoch: topology.epoch, order: owner, until, cut };
        let Some(last) = self.world.record() else { return };
        if let Some((migration, step)) = left_over(&last, &part, ORDERS[order], owner) {
            let keeps = double == Some(Double::KeepsWhatItGave) && matches!(step, Step::Collect { .. });
            self.world.step(order, migrate(migration, if keeps { Step::Release } else { step }));
        }
    }

    /// A source or a destination is taken for gone, rightly or not.
    fn give_up_on(&mut self, source: bool, double: Option<Double>) {
        let Some(Migration { id, phase, .. }) = self.world.record() else { return };
        let serves = self.world.part(1).standing.serves() || double == Some(Double::EndsTooEarly);
        let change = match phase {
            Phase::Planned | Phase::Copying | Phase::Frozen => MigrationChange::Cancel { id },
            Phase::Returning => MigrationChange::Returned { id, released: source, discarded: !source },
            Phase::Serving if source && serves => MigrationChange::Collected { id },
            Phase::Serving | Phase::Collected | Phase::Returned => return,
        };
        let _ = self.world.change(change);
    }

    /// The client's request arrives at an order. The answer is what says that it was applied.
    pub(super) fn write(&mut self, order: usize, number: u64) -> Result<(), String> {
        match self.world.increment(order, "k", number) {
            Reply::Number { value, .. } if value == number as i64 + 1 => {
                self.acknowledged = self.acknowledged.max(number);
                Ok(())
            }
            Reply::Number { value, .. } => Err(format!("request {number} was answered {value}")),
            Reply::Refused(_) => Ok(()),
            other => Err(format!("request {number}: {other:?}")),
        }
    }

    fn deliver(&mut self, message: Message) -> Result<(), String> {
        match message {
            Message::Step(order, step) => {
                self.world.step(order, step);
            }
            Message::Change(change) => {
                let _ = self.world.change(change);
            }
            Message::Write(order, number) => return self.write(order, number),
        }
        Ok(())
    }

    /// All that may happen next.
    pub(super) fn next(&self, bounds: Bounds) -> Vec<Result<State, String>> {
        let mut next = Vec::new();
        let mut with = |change: &dyn Fn(&mut State) -> Result<(), String>| {
            let mut state = self.clone();
            next.push(change(&mut state).map(|()| {
                state.prune();
                state
            }));
        };
        for which in 0..self.drivers.len() {
            with(&|state| {
                state.act(which, Lost::Nothing, bounds.double);
                Ok(())
            });
            let both = matches!(self.drivers[which].1, Effect::Both { .. });
            for lost in [Lost::All, Lost::Question] {
                if self.losses < bounds.losses && (both || lost == Lost::All) {
                    with(&|state| {
                        state.losses += 1;
                        state.act(which, lost, bounds.double);
                        Ok(())
                    });
                }
            }
            if self.crashes < bounds.crashes {
                with(&|state| {
                    state.crashes += 1;
                    let anew = bounds.driver(state.drivers[which].0.record());
                    state.drivers[which] = (anew, Effect::Wait(0));
                    Ok(())
                });
            }
        }
        for late_ms in [0, FROZEN_MS_MAX] {
            with(&|state| {
                state.attend(late_ms, bounds.double);
                Ok(())
            });
        }
        for order in 0..2 {
            with(&|state| {
                state.clear_up(order, bounds.double);
                Ok(())
            });
            if bounds.gone {
                with(&|state| {
                    state.give_up_on(order == 0, bounds.double);
                    Ok(())
                });
            }
        }
        if self.acknowledged == self.sent && self.sent < bounds.writes {
            with(&|state| {
                state.sent += 1;
                for order in 0..2 {
                    state.late.insert(Message::Write(order, state.sent));
                }
                Ok(())
            });
        }
        if bounds.cancel && !self.cancelled {
            with(&|state| {
                state.cancelled = true;
                let id = state.world.record().map_or(Epoch::NONE, |record| record.id);
                let _ = state.world.change(MigrationChange::Cancel { id });
                Ok(())
            });
        }
        for message in &self.late {
            with(&|state| state.deliver(message.clone()));
        }
        next
    }

    /// Forgets messages that can have no effect any more, so that states which differ only in them are one.
    fn prune(&mut self) {
        let phase = self.world.record().map_or(Phase::Planned, |record| record.phase);
        let parts = [self.world.part(0), self.world.part(1)];
        let sent = self.sent;
        self.late.retain(|message| match message {
            Message::Write(_, number) => *number == sent,
            Message::Change(change) => match change {
                MigrationChange::Copy { .. } => phase == Phase::Planned,
                MigrationChange::Freeze { .. } => phase.can_return(),
                MigrationChange::Commit { .. } | MigrationChange::Cancel { .. } => phase.can_return(),
                MigrationChange::Collected { .. } => phase == Phase::Serving,
                _ => !phase.is_over(),
            },
            Message::Step(order, Migrate { migration, step }) => {
                let part = &parts[*order];
                match step {
                    Step::Watch { at } if *at != 0 && part.standing == Standing::Leaving => true,
                    Step::Collect { until, .. } if *until != 0 => {
                        part.migration < *migration || part.standing != Standing::Serving || part.pruning
                    }
                    Step::Watch { .. } | Step::Begin => part.migration < *migration,
                    Step::Freeze => part.standing == Standing::Leaving,
                    Step::Import(import) => part.progress == import.from,
                    Step::Activate { .. } => part.standing == Standing::Verified,
                    Step::Release => part.standing == Standing::Frozen,
                    Step::Collect { .. } => part.migration <= *migration && part.standing != Standing::Gone,
                    Step::Discard => part.standing != Standing::Gone || part.migration < *migration,
                    Step::Forget { .. } | Step::Image { .. } | Step::Changes { .. } => false,
                }
            }
        });
    }

    /// What must hold now.
    pub(super) fn check(&self) -> Result<(), String> {
        let serving: Vec<usize> = (0..2).filter(|order| self.world.serves(*order, "k")).collect();
        if serving.len() > 1 {
            return Err("two orders serve".into());
        }
        for order in serving {
            let value = self.world.get(order, "k");
            let value: u64 =
                value.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0);
            if value < self.acknowledged + 1 || value > self.sent + 1 {
                return Err(format!("{} acknowledged, {} sent, {value} there", self.acknowledged, self.sent));
            }
        }
        self.check_split()
    }

    /// Nothing is lost any more and everybody acts.
    pub(super) fn finish(&self, double: Option<Double>) -> State {
        let mut state = self.clone();
        state.drivers.truncate(1);
        for _ in 0..200 {
            state.act(0, Lost::Nothing, double);
            state.attend(0, double);
            if state.world.record().is_some_and(|record| record.phase.is_over()) {
                break;
            }
        }
        // As often as it takes: rows are dropped one at a time.
        for order in [0, 1].repeat(8) {
            state.clear_up(order, double);
        }
        state
    }

    /// How it ends, and that the right order serves then.
    pub(super) fn ends(&self, double: Option<Double>) -> Result<Phase, String> {
        let state = self.finish(double);
        let record = state.world.record().ok_or("no record")?;
        if !record.phase.is_over() {
            return Err(format!("it does not end: {:?}", record.phase));
        }
        let owner = usize::from(record.phase == Phase::Collected);
        if record.split.is_some() {
            return state.ends_split(owner == 1).map(|()| record.phase);
        }
        let left = state.world.part(1 - owner);
        if !matches!(left.standing, Standing::Gone | Standing::Absent) {
            return Err(format!("it left something behind: {left:?}"));
        }
        let order = state.world.topology().tables[0].shards[0].order;
        match order == ORDERS[owner] && state.world.part(owner).standing.serves() {
            true => Ok(record.phase),
            false => Err(format!("{:?}, but order {} does not serve", record.phase, ORDERS[owner])),
        }
    }
}
