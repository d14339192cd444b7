//! Single scenarios: what a shard may go through while it moves, and what the control order refuses.

use shardbearer_core::kv::{Condition, ExpireWhen, Expiry, Standing};
use shardbearer_core::migration::Phase;

use super::bounds::Bounds;
use super::model::{Lost, State};
use super::*;
use crate::migration::DISCARD_MS_MAX;

/// As in logs of older programs.
const UNDO_LAST: MigrationChange = MigrationChange::Undo { id: Epoch::NONE };

fn put(key: &'static str, value: &'static str, expiry: Expiry) -> Command {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()));
    Command::Put { key, value, condition: Condition::Always, expiry, previous: false }
}

fn source(state: &mut State, command: Command) -> Reply {
    state.world.apply(0, vec![Item::of(SHARD, command)]).remove(0)
}

/// Drives until the destination has the whole image; the migration is `Copying`.
fn copied() -> State {
    let mut state = State::new(Bounds::CALM);
    while !state.world.part(1).progress.complete {
        state.act(0, Lost::Nothing, None);
    }
    state
}

#[test]
fn a_shard_that_is_cleared_while_it_moves_arrives_cleared() {
    let mut state = copied();
    source(&mut state, put("before", "1", Expiry::Never));
    assert_eq!(source(&mut state, Command::Clear), Reply::Touched { changed: true });
    source(&mut state, put("after", "2", Expiry::Never));
    assert_eq!(state.ends(None), Ok(Phase::Collected));
    let end = state.finish(None);
    assert_eq!(end.world.part(1).rows, 1);
    assert_eq!(end.world.get(1, "before"), None);
    assert_eq!(end.world.get(1, "after"), Some(Bytes::from_static(b"2")));
    // What it remembered of its clients has travelled all the same.
    let mut world = end.world;
    assert_eq!(world.increment(1, "k", 0), Reply::Number { value: 1, revision: 1 }, "a repetition");
}

#[test]
fn expiries_deletes_and_revisions_travel() {
    let mut state = copied();
    source(&mut state, put("kept", "1", Expiry::At(9_000)));
    source(&mut state, put("gone", "1", Expiry::Never));
    let key = Bytes::from_static(b"gone");
    source(&mut state, Command::Delete { key, condition: Condition::Always, previous: false });
    let Reply::Written { revision, .. } = source(&mut state, put("last", "1", Expiry::Never)) else {
        panic!("written");
    };
    let mut end = state.finish(None);
    assert_eq!((end.world.part(0).standing, end.world.part(1).standing), (Standing::Gone, Standing::Serving));
    assert_eq!(end.world.get(1, "gone"), None);
    let touch = Command::Expire { key: Bytes::from_static(b"kept"), at_ms: None, when: ExpireWhen::HasOne };
    let items = vec![Item::of(SHARD, touch), Item::of(SHARD, put("last", "2", Expiry::Never))];
    let replies = end.world.apply(1, items);
    assert_eq!(replies[0], Reply::Touched { changed: true });
    assert_eq!(replies[1], Reply::Written { revision: revision + 2, previous: None }, "revisions grow on");
}

/// There and back: the former owner's record of the first visit must not be in the way, nor its rows.
#[test]
fn a_shard_comes_back_to_an_order_that_had_it() {
    let mut world = State::new(Bounds::CALM).finish(None).world;
    world.apply(1, vec![Item::of(SHARD, put("k", "new", Expiry::Never))]);
    let moved = world.record().expect("it moved").id;
    let id = world.change(MigrationChange::Undo { id: moved }).expect("there is something to undo");
    let step = |world: &mut World, order: usize, step: Step| world.step(order, migrate(id, step));
    // The roles are exchanged; a late step of the first migration changes nothing.
    step(&mut world, 0, Step::Begin);
    let Migrated::Part(part) = world.step(0, migrate(Epoch(2), Step::Release)) else { panic!("a part") };
    assert_eq!(part.standing, Standing::Arriving);
    let Migrated::Part(part) = world.step(1, migrate(Epoch(2), Step::Activate { epoch: Epoch(3) })) else {
        panic!("a part")
    };
    assert_eq!(part.standing, Standing::Serving);
    assert_eq!((part.rows, world.part(0).rows), (1, 0), "no old row is there");
}

/// Its source is gone when the shard has become the destination's: others may move, also that shard back to the source, which
/// drops what it has of the first before.
#[test]
fn a_migration_without_its_source_is_over_and_the_shard_may_come_back() {
    let mut state = copied();
    while state.world.record().expect("one").phase != Phase::Serving {
        state.act(0, Lost::Nothing, None);
    }
    let id = state.world.record().expect("one").id;
    while !state.world.part(1).standing.serves() {
        state.act(0, Lost::Nothing, None);
    }
    state.world.change(MigrationChange::Collected { id }).expect("the destination serves");
    assert_eq!(state.world.part(0).standing, Standing::Frozen, "nobody was there to drop it");
    let back = state.world.change(UNDO_LAST).expect("it is over");
    let Migrated::Part(part) = state.world.step(0, migrate(back, Step::Begin)) else { panic!("a part") };
    assert_eq!(part.standing, Standing::Frozen, "the first is in the way");
    state.clear_up(0, None);
    assert_eq!((state.world.part(0).standing, state.world.part(0).rows), (Standing::Gone, 0));
    let Migrated::Part(part) = state.world.step(0, migrate(back, Step::Begin)) else { panic!("a part") };
    assert_eq!(part.standing, Standing::Arriving);
}

/// A source that lost the end of its log, so that it serves what is another's: it stops once it is told.
#[test]
fn a_source_that_forgot_that_it_stopped_gives_the_shard_up_all_the_same() {
    for forgotten in [Standing::Leaving, Standing::Serving] {
        let mut state = State::new(Bounds::CALM);
        let mut before = state.world.clone();
        while state.world.record().expect("one").phase != Phase::Serving {
            if state.world.part(0).standing == forgotten {
                before = state.world.clone();
            }
            state.act(0, Lost::Nothing, None);
        }
        assert_eq!(before.part(0).standing, forgotten);
        // It is told when all is over, too, if that was without it.
        let mut late = state.clone();
        while late.world.record().expect("one").phase != Phase::Collected {
            late.act(0, Lost::Nothing, None);
        }
        late.world.restore(0, &before);
        late.clear_up(0, None);
        assert_eq!(late.world.part(0).standing, Standing::Gone, "{forgotten:?}");
        state.world.restore(0, &before);
        assert_eq!(state.ends(None), Ok(Phase::Collected), "{forgotten:?}");
        assert_eq!(state.finish(None).world.part(0).standing, Standing::Gone);
    }
}

/// Its destination is gone when a migration is called off: others may begin, also of that shard to that order, which drops
/// what it has of the first when it is back.
#[test]
fn a_migration_without_its_destination_is_called_off_and_leaves_nothing() {
    let mut state = copied();
    let first = state.world.record().expect("it is copying").id;
    let plan = || MigrationChange::Plan { shard: SHARD, to: ORDERS[1] };
    state.world.change(MigrationChange::Cancel { id: first }).expect("it is copying");
    for late_ms in [0, 0, DISCARD_MS_MAX - 1] {
        state.attend(late_ms, None);
        state.world.change(plan()).expect_err("the destination may still answer");
    }
    state.attend(DISCARD_MS_MAX, None);
    assert_eq!(state.world.record().expect("it was one").phase, Phase::Returned);
    assert_eq!(state.world.part(0).standing, Standing::Serving);
    assert_eq!(state.world.part(1).standing, Standing::Arriving, "nobody was there to drop it");

    let second = state.world.change(plan()).expect("nothing moves");
    let mut again = State::of(state.world);
    (0..20).for_each(|_| again.act(0, Lost::Nothing, None));
    assert_eq!(again.world.record().expect("planned").phase, Phase::Planned, "the first is in the way");
    again.clear_up(1, None);
    assert_eq!(again.world.part(1).standing, Standing::Gone);
    again.clear_up(1, None);
    assert_eq!(again.ends(None), Ok(Phase::Collected));
    assert_eq!(again.world.record().expect("planned").id, second);
}

#[test]
fn one_shard_moves_at_a_time_and_stale_changes_are_refused() {
    let mut world = World::new();
    let plan = |shard: u64, to: OrderId| MigrationChange::Plan { shard: ShardId(shard), to };
    for wrong in [plan(9, ORDERS[1]), plan(1, OrderId::CONTROL), plan(1, OrderId(9)), UNDO_LAST] {
        world.change(wrong).expect_err("it cannot be");
    }
    assert_eq!(world.record(), None);
    let id = world.change(plan(1, ORDERS[1])).expect("nothing moves");
    assert_eq!(world.change(plan(1, ORDERS[1])), Ok(id), "asked twice");
    world.change(plan(1, ORDERS[0])).expect_err("one at a time");
    let stale = Epoch(id.0 - 1);
    for change in [
        MigrationChange::Copy { id: stale },
        MigrationChange::Cancel { id: stale },
        MigrationChange::Commit { id },
        MigrationChange::Freeze { id },
        MigrationChange::Collected { id },
        MigrationChange::Returned { id, released: true, discarded: true },
    ] {
        world.change(change).expect_err("stale, or not its turn");
    }
    world.change(MigrationChange::Pause { id, paused: true }).expect("it is planned");
    world.change(MigrationChange::Copy { id }).expect("its turn");
    world.change(MigrationChange::Freeze { id }).expect_err("it is paused");
    world.change(MigrationChange::Pause { id, paused: false }).expect("it is copying");
    world.change(MigrationChange::Freeze { id }).expect("its turn");
    let pause = || MigrationChange::Pause { id, paused: true };
    let frozen = world.change(pause()).expect_err("its writers wait");
    assert!(frozen.contains("wait for longer; cancel it, and order 2 goes on"), "{frozen}");
    let epoch = world.topology().epoch;
    let ended = world.change(MigrationChange::Commit { id }).expect("its turn");
    let decided = world.change(pause()).expect_err("nothing is copied any more");
    assert!(decided.contains("order 3 owns shard 1 already") && decided.contains("undo it"), "{decided}");
    assert_eq!((ended, world.topology().epoch), (Epoch(epoch.0 + 1), ended));
    assert_eq!(world.change(MigrationChange::Commit { id }), Ok(ended), "the first answer may be lost");
    world.change(MigrationChange::Cancel { id }).expect_err("it is decided");
    world.change(MigrationChange::Collected { id }).expect("its turn");
    let back = world.change(UNDO_LAST).expect("it is over");
    let record = world.record().expect("planned");
    assert_eq!((record.id, record.from, record.to), (back, ORDERS[1], ORDERS[0]));
}

/// Whoever asks may have lost the answer: asked again, nothing more is done, however far the opposite is by then.
#[test]
fn what_is_undone_stays_undone_when_it_is_asked_again() {
    let mut world = State::new(Bounds::CALM).finish(None).world;
    let first = world.record().expect("it moved").id;
    let undo = MigrationChange::Undo { id: first };
    let back = world.change(undo.clone()).expect("it is over");
    for step in [
        MigrationChange::Copy { id: back },
        MigrationChange::Freeze { id: back },
        MigrationChange::Commit { id: back },
        MigrationChange::Collected { id: back },
    ] {
        assert_eq!(world.change(undo.clone()), Ok(back), "before {step:?}");
        world.change(step).expect("its turn");
    }
    assert_eq!(world.change(undo.clone()), Ok(back), "it is not undone in its turn");
    assert_eq!(world.topology().tables[0].shards[0].order, ORDERS[0]);

    // The opposite can be undone, by its own name; after that the first is history.
    let again = world.change(MigrationChange::Undo { id: back }).expect("it is over");
    assert_eq!(world.record().expect("planned").id, again);
    assert_eq!(world.change(undo), Ok(back), "the next of its shard was its opposite");
    let nobody = world.change(MigrationChange::Undo { id: Epoch(1) }).expect_err("the founding");
    assert!(nobody.contains("no migration 1"), "{nobody}");
}

#[test]
fn an_undo_that_was_called_off_is_not_said_to_be_done() {
    let mut world = State::new(Bounds::CALM).finish(None).world;
    let first = world.record().expect("it moved").id;
    let undo = || MigrationChange::Undo { id: first };
    let back = world.change(undo()).expect("it is over");
    world.change(MigrationChange::Cancel { id: back }).expect("it is planned");
    let refused = world.change(undo()).expect_err("the operator called it off");
    assert!(refused.contains("called off"), "{refused}");
}
