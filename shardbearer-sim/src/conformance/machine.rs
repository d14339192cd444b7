//! The laws of [`StateMachine`]: the same commands leave the same rows, however they are cut into batches and how often the
//! machine starts anew; a snapshot is its spaces; nothing else is touched; rubbish is an error.
//!
//! ```text
//! conformance::machine::check(&Subject { new: &Mine::new, order: OrderId(2), command: &|rng, step| any_command(rng, step) });
//! ```
//!
//! Commands are drawn by the subject: anything that could stand in a log, also what makes no sense.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::ids::{OrderId, ShardId};
use shardbearer_core::log::LogPos;
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::{Batch, Space, Stored};

use super::suite::{self, Law, suite};
use super::{Broken, ensure, ensure_eq};

/// A machine under test.
pub struct Subject<'a, M: StateMachine> {
    /// One without anything.
    pub new: &'a dyn Fn() -> M,
    /// The order whose rows are its own.
    pub order: OrderId,
    /// The command at a step; the same draws give the same command.
    pub command: &'a dyn Fn(&mut StdRng, u64) -> M::Command,
}

/// Histories that are tried, and commands in each.
const SEEDS: u64 = 40;
const STEPS: u64 = 60;

/// All laws.
pub fn laws<'a, M>() -> Vec<Law<Subject<'a, M>>>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    suite! {
        |_| None =>
            the_same_commands_leave_the_same_rows_and_replies
            a_machine_that_starts_anew_goes_on_the_same
            batches_decide_nothing
            a_snapshot_is_its_spaces
            what_was_not_committed_never_was
            it_keeps_to_its_own_rows
            damaged_rows_are_no_panic;
    }
}

/// Runs all laws; panics with what is broken.
///
/// # Panics
/// With everything that is broken, if anything is.
pub fn check<M>(subject: &Subject<'_, M>)
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    suite::check(&laws(), subject);
}

/// A machine over its rows, as an order runs it.
struct Replica<M> {
    machine: M,
    store: Stored,
    index: u64,
}

impl<M: StateMachine> Replica<M> {
    fn open(subject: &Subject<'_, M>, store: Stored) -> Result<Replica<M>, Broken> {
        let mut machine = (subject.new)();
        machine.load(&store)?;
        Ok(Replica { machine, store, index: 0 })
    }

    /// Applies some commands in one batch.
    fn apply(&mut self, commands: Vec<M::Command>) -> Result<Vec<M::Reply>, Broken> {
        let (replies, batch) = self.work(commands)?;
        self.store.commit(batch);
        for space in self.machine.take_dropped() {
            self.store.0.remove(&space);
        }
        Ok(replies)
    }

    fn work(&mut self, commands: Vec<M::Command>) -> Result<(Vec<M::Reply>, Batch), Broken> {
        let mut work = Workspace::new(&self.store);
        let mut replies = Vec::new();
        for command in commands {
            self.index += 1;
            let position = LogPos { term: 1 + self.index / 20, index: self.index };
            replies.push(self.machine.apply(position, command, &mut work));
        }
        Ok((replies, work.finish()?))
    }

    fn restart(&mut self) -> Result<(), Broken> {
        Ok(self.machine.load(&self.store)?)
    }
}

/// The commands of a history.
fn history<M: StateMachine>(subject: &Subject<'_, M>, seed: u64) -> Vec<M::Command> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..STEPS).map(|step| (subject.command)(&mut rng, step)).collect()
}

/// Two replicas apply the same histories, one command after the other; before each, something may happen to the second.
fn compare<M>(
    subject: &Subject<'_, M>,
    mut meanwhile: impl FnMut(&mut Replica<M>, &mut StdRng) -> Result<(), Broken>,
) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let (mut one, mut other) =
            (Replica::open(subject, Stored::default())?, Replica::open(subject, Stored::default())?);
        for (step, command) in history(subject, seed).into_iter().enumerate() {
            meanwhile(&mut other, &mut rng)?;
            let replies = one.apply(vec![command.clone()])?;
            let others = other.apply(vec![command.clone()])?;
            ensure_eq!(others, replies, "replies to {command:?}, command {step} of history {seed}");
            ensure_same(
                &one.store,
                &other.store,
                &format!("after {command:?}, command {step} of history {seed}"),
            )?;
            ensure_eq!(other.machine.spaces(), one.machine.spaces(), "spaces after command {step} of {seed}");
        }
    }
    Ok(())
}

fn ensure_same(one: &Stored, other: &Stored, when: &str) -> Result<(), Broken> {
    let all = |store: &Stored| -> Vec<(Space, Bytes, Bytes)> {
        let rows = |(space, rows): (&Space, &BTreeMap<Bytes, Bytes>)| {
            let space = *space;
            rows.iter().map(move |(key, value)| (space, key.clone(), value.clone())).collect::<Vec<_>>()
        };
        store.0.iter().flat_map(rows).collect()
    };
    let (one, other) = (all(one), all(other));
    type Row = (Space, Bytes, Bytes);
    let differs = |rows: &[Row], others: &[Row]| rows.iter().find(|row| !others.contains(row)).cloned();
    ensure_eq!(differs(&one, &other), None, "a row that one has and the other does not, {when}");
    ensure_eq!(differs(&other, &one), None, "a row that the other has and the one does not, {when}");
    Ok(())
}

fn the_same_commands_leave_the_same_rows_and_replies<M>(subject: &Subject<'_, M>) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    compare(subject, |_, _| Ok(()))
}

fn a_machine_that_starts_anew_goes_on_the_same<M>(subject: &Subject<'_, M>) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    compare(subject, |replica, rng| if rng.random_ratio(1, 3) { replica.restart() } else { Ok(()) })
}

/// How many entries came in one go differs from replica to replica.
fn batches_decide_nothing<M>(subject: &Subject<'_, M>) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut one, mut other) =
            (Replica::open(subject, Stored::default())?, Replica::open(subject, Stored::default())?);
        let mut rest = history(subject, seed);
        while !rest.is_empty() {
            let batch: Vec<_> = rest.drain(..rng.random_range(1..=rest.len().min(9))).collect();
            let mut replies = Vec::new();
            for command in &batch {
                replies.extend(one.apply(vec![command.clone()])?);
            }
            ensure_eq!(other.apply(batch.clone())?, replies, "replies to {batch:?} in one batch");
            ensure_same(&one.store, &other.store, &format!("after {batch:?} one by one and at once"))?;
        }
    }
    Ok(())
}

/// What its spaces hold is all it needs to go on, and all that is left behind.
fn a_snapshot_is_its_spaces<M>(subject: &Subject<'_, M>) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    compare(subject, |replica, rng| {
        let spaces = replica.machine.spaces();
        ensure_eq!(replica.machine.spaces(), spaces, "its spaces, asked again");
        let stray = replica.store.0.keys().find(|space| !spaces.contains(space));
        ensure_eq!(stray, None, "a space with rows that is none of {spaces:?}");
        let foreign = spaces.iter().find(|space| space.order() != subject.order);
        ensure_eq!(foreign, None, "a space of another order");
        if rng.random_ratio(1, 5) {
            let image = Stored(replica.store.0.clone());
            let index = replica.index;
            *replica = Replica { index, ..Replica::open(subject, image)? };
        }
        Ok(())
    })
}

fn what_was_not_committed_never_was<M>(subject: &Subject<'_, M>) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    compare(subject, |replica, rng| {
        if rng.random_ratio(1, 3) {
            let commands = (0..3).map(|_| (subject.command)(rng, STEPS)).collect();
            let index = replica.index;
            drop(replica.work(commands)?);
            replica.index = index;
            replica.restart()?;
            let dropped = replica.machine.take_dropped();
            ensure!(dropped.is_empty(), "{dropped:?} are to be dropped for a commit that did not happen");
        }
        Ok(())
    })
}

fn it_keeps_to_its_own_rows<M>(subject: &Subject<'_, M>) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    let foreign = |store: &mut Stored, rng: &mut StdRng| {
        let key = Bytes::from(vec![rng.random_range(0..9), rng.random()]);
        let other = OrderId(subject.order.0 + 1);
        for space in [Space::Order(other), Space::Shard { order: other, shard: ShardId(1), generation: 1 }] {
            store.0.entry(space).or_default().insert(key.clone(), Bytes::from_static(b"theirs"));
        }
    };
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut one, mut other) =
            (Replica::open(subject, Stored::default())?, Replica::open(subject, Stored::default())?);
        let mut theirs = Stored::default();
        (0..30).for_each(|_| foreign(&mut theirs, &mut rng));
        other.store.0.extend(theirs.0.clone());
        for command in history(subject, seed) {
            let replies = one.apply(vec![command.clone()])?;
            ensure_eq!(
                other.apply(vec![command.clone()])?,
                replies,
                "replies to {command:?} beside others' rows"
            );
            other.restart()?;
        }
        let (mine, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            other.store.0.into_iter().partition(|(space, _)| space.order() == subject.order);
        ensure_same(&theirs, &Stored(rest), "of another order")?;
        ensure_same(&one.store, &Stored(mine), "beside others' rows")?;
    }
    Ok(())
}

fn damaged_rows_are_no_panic<M>(subject: &Subject<'_, M>) -> Result<(), Broken>
where
    M: StateMachine,
    M::Command: Clone + Debug,
    M::Reply: PartialEq + Debug,
{
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut replica = Replica::open(subject, Stored::default())?;
        replica.apply(history(subject, seed))?;
        for _ in 0..50 {
            let mut store = replica.store.clone();
            let rows: Vec<&mut Bytes> = store.0.values_mut().flat_map(BTreeMap::values_mut).collect();
            let count = rows.len().max(1);
            let Some(row) = rows.into_iter().nth(rng.random_range(0..count)) else { break };
            let mut bytes = row.to_vec();
            match rng.random_range(0..3) {
                0 => bytes.truncate(rng.random_range(0..=bytes.len())),
                1 => bytes.push(rng.random()),
                _ => bytes.iter_mut().for_each(|byte| *byte ^= u8::from(rng.random_ratio(1, 4)) << 7),
            }
            *row = bytes.into();
            // An error or not; whoever opens it decides. A panic is caught above.
            drop(Replica::open(subject, store));
        }
    }
    Ok(())
}
