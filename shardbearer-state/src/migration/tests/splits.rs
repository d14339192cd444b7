//! Single scenarios of splits; the interleavings are in `explore`.

use shardbearer_core::kv::{Expiry, Import, Progress, Refusal, Scan, Standing};
use shardbearer_core::migration::Phase;

use super::bounds::Bounds;
use super::model::{Lost, State};
use super::*;
use crate::migration::{Owned, left_over};

const SPLIT: Bounds = Bounds { split: true, ..Bounds::CALM };

fn put(key: &'static str, value: &'static str, expiry: Expiry) -> Command {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()));
    Command::Put { key, value, condition: Default::default(), expiry, previous: false }
}

fn refused() -> Reply {
    Reply::Refused(Refusal::WrongOrder)
}

/// Drives until something holds.
fn until(state: &mut State, what: &str, holds: impl Fn(&State) -> bool) {
    for _ in 0..200 {
        if holds(state) {
            return;
        }
        state.act(0, Lost::Nothing, None);
    }
    panic!("{what} never came");
}

fn phase(state: &State) -> Phase {
    state.world.record().expect("there is one").phase
}

fn divided() -> State {
    let mut state = State::new(SPLIT);
    until(&mut state, "the end", |state| phase(state) == Phase::Collected);
    state
}

#[test]
fn a_stale_router_neither_reads_nor_writes_what_is_elsewhere() {
    let mut state = divided();
    let world = &mut state.world;
    let at = split().at;
    for command in [put("k", "2", Expiry::Never), Command::Get { key: "k".into() }] {
        assert_eq!(world.apply(0, vec![Item::of(SHARD, command)]), [refused()]);
    }
    let both = vec![put(STAYS, "2", Expiry::Never), put("k", "2", Expiry::Never)];
    let batch = Command::Batch { commands: both, all_or_nothing: false };
    assert_eq!(world.apply(0, vec![Item::of(SHARD, batch)]), [refused()], "nor half of it");
    assert_eq!(world.get(0, STAYS).as_deref(), Some(&b"1"[..]));
    for whole in [Command::Count, Command::Scan(Scan::default())] {
        assert_eq!(world.ask(0, 16_384, whole.clone()), refused(), "{whole:?}");
        assert_eq!(world.ask(0, 0, whole.clone()), refused(), "{whole:?}, and says not what it takes it for");
        assert_ne!(world.ask(0, at, whole.clone()), refused(), "{whole:?}");
        assert_ne!(world.ask(1, 16_384, whole.clone()), refused(), "{whole:?}");
    }
    let clear = |until| Item { until, ..Item::of(SHARD, Command::Clear) };
    assert_eq!(world.apply(0, vec![clear(16_384), clear(0)]), [refused(), refused()]);
    assert_eq!(world.apply(0, vec![clear(at)]), [Reply::Touched { changed: true }]);
    assert_eq!((world.get(0, STAYS), world.get(1, "k").as_deref()), (None, Some(&b"1"[..])));
}

/// What was applied before the split is answered as it was, on whichever side it is asked again.
#[test]
fn both_sides_remember_what_was_applied_before() {
    let mut state = divided();
    for order in 0..2 {
        assert!(matches!(state.world.increment(order, "k", 0), Reply::Number { value: 1, .. }), "{order}");
    }
    assert_eq!(state.world.increment(0, "k", 1), refused());
    let Reply::Number { value, revision } = state.world.increment(1, "k", 1) else { panic!("not served") };
    assert_eq!((value, revision), (2, 4), "revisions go on where they were");
}

#[test]
fn what_is_cleared_or_expires_while_it_is_weighed_is_not_missed() {
    let mut state = State::new(SPLIT);
    until(&mut state, "the weighing", |state| state.world.part(0).standing == Standing::Leaving);
    let fleeting = Expiry::At(1);
    let items = [Command::Clear, put("k", "3", Expiry::Never), put(CROSSES_TOO, "3", fleeting)];
    state.world.apply(0, items.map(|command| Item { until: 0, ..Item::of(SHARD, command) }).into());
    until(&mut state, "the end", |state| phase(state) == Phase::Collected);
    assert_eq!(state.world.get(1, "k").as_deref(), Some(&b"3"[..]));
    assert_eq!(state.world.ask(1, 16_384, Command::Count), Reply::Count { rows: 1, bytes: 2 });
    assert_eq!(state.world.ask(0, split().at, Command::Count), Reply::Count { rows: 0, bytes: 0 });
}

/// Rows that are yet to be dropped are nowhere to be seen, also where they expire.
#[test]
fn what_is_left_over_is_not_counted_scanned_or_swept_into_the_sums() {
    let mut state = State::new(SPLIT);
    let late = put(CROSSES_TOO, "1", Expiry::At(50));
    state.world.apply(0, vec![Item::of(SHARD, late)]);
    until(&mut state, "the cut", |state| state.world.part(0).pruning);
    assert!(state.world.holds(0, CROSSES_TOO), "the first step drops nothing");
    state.check().expect("it is not seen");
    state.world.apply_at(0, 60, vec![Item::of(SHARD, Command::Sweep { limit: 9 })]);
    assert!(!state.world.holds(0, CROSSES_TOO));
    state.check().expect("nor missed");
    until(&mut state, "the end", |state| phase(state) == Phase::Collected);
    assert_eq!(state.ends(None), Ok(Phase::Collected));
}

/// A shard that was split goes to another order, and a router that slept through both finds it there, but not whole.
#[test]
fn the_end_of_a_shard_moves_with_it() {
    let mut state = divided();
    state.world.shards = [SHARD; 2];
    let id =
        state.world.change(MigrationChange::Plan { shard: SHARD, to: ORDERS[1] }).expect("nothing moves");
    let mut state = State::of(state.world);
    until(&mut state, "the end", |state| phase(state) == Phase::Collected);
    assert_eq!(state.world.part(1).migration, id);
    assert_eq!(state.world.part(1).until, split().at);
    assert_eq!(state.world.get(1, STAYS).as_deref(), Some(&b"1"[..]));
    assert!(!state.world.serves(1, "k"));
}

fn batch(keys: [&'static str; 2]) -> Command {
    let commands = keys.map(|key| put(key, "2", Expiry::Never)).into();
    Command::Batch { commands, all_or_nothing: true }
}

/// Whoever looks at the first key alone asks the new shard for both.
#[test]
fn what_came_of_a_split_takes_nothing_of_what_stayed() {
    let mut state = divided();
    let world = &mut state.world;
    assert_eq!((world.part(1).from, world.part(1).until), (split().at, 0));
    for keys in [["k", STAYS], [STAYS, "k"]] {
        for order in 0..2 {
            let item = Item::of(world.shards[order], batch(keys));
            assert_eq!(world.apply(order, vec![item]), [refused()], "{keys:?} of order {order}");
        }
    }
    let get = Command::Get { key: STAYS.into() };
    assert_eq!(world.ask(1, 0, get), refused());
    let both = Item::of(NEW, batch(["k", CROSSES_TOO]));
    assert!(matches!(world.apply(1, vec![both]).remove(0), Reply::Batch { applied: true, .. }));
    assert!(!world.holds(1, STAYS));
}

/// Of two shards that came of one, the second ends where the first begins.
#[test]
fn what_is_split_off_later_ends_where_the_parent_did() {
    let mut state = divided();
    state.world.shards = [SHARD, ShardId(3)];
    let further = Split { parent: SHARD, at: 500 };
    state.world.change(MigrationChange::Split { split: further, to: ORDERS[1] }).expect("nothing moves");
    assert_eq!(state.world.record().expect("planned").until, split().at);
    let mut state = State::of(state.world);
    until(&mut state, "the end", |state| phase(state) == Phase::Collected);
    let part = state.world.part(1);
    assert_eq!((part.from, part.until), (500, split().at));
    assert!(state.world.serves(1, STAYS) && !state.world.serves(1, "k"), "it is the other's");
    assert_eq!((state.world.part(0).from, state.world.part(0).until), (0, 500));
    state.world.shards = [SHARD, NEW];
    assert!(state.world.serves(1, "k") && !state.world.serves(1, STAYS));
}

/// Step by step, since here it goes back to where it came from.
#[test]
fn where_a_shard_begins_moves_with_it() {
    let mut world = divided().world;
    world.shards = [NEW; 2];
    let id = Epoch(99);
    world.step(1, migrate(id, Step::Watch { at: 0 }));
    world.step(1, migrate(id, Step::Freeze));
    let bytes = u64::MAX;
    let image = world.step(1, migrate(id, Step::Image { after: Bytes::new(), bytes }));
    let changes = world.step(1, migrate(id, Step::Changes { after: 0, bytes }));
    let (Migrated::Image { rows, through: image, .. }, Migrated::Changes { through, seal, .. }) =
        (image, changes)
    else {
        panic!("the source does not answer");
    };
    let to = Progress { image, complete: true, through };
    let import = Import { from: Progress::default(), to, seen: through, rows, seal };
    assert_eq!(import.seal.map(|seal| (seal.from, seal.until)), Some((split().at, 0)));
    world.step(0, migrate(id, Step::Begin));
    world.step(0, migrate(id, Step::Import(Box::new(import))));
    world.step(0, migrate(id, Step::Activate { epoch: id }));
    assert_eq!((world.part(0).standing, world.part(0).from), (Standing::Serving, split().at));
    assert!(world.serves(0, "k") && !world.serves(0, STAYS));
}

/// What stays is served again as soon as it is decided, whatever becomes of the destination.
#[test]
fn what_stays_does_not_wait_for_the_destination() {
    let mut state = State::new(SPLIT);
    until(&mut state, "the decision", |state| phase(state) == Phase::Serving);
    assert!(!state.world.serves(0, STAYS) && !state.world.serves(1, "k"));
    state.attend(0, None);
    assert!(state.world.serves(0, STAYS) && !state.world.serves(0, "k"));
    assert!(state.world.holds(0, "k"), "nothing is dropped before the destination serves");
    let pruning = state.world.part(0);
    state.attend(0, None);
    assert_eq!(state.world.part(0), pruning);
    assert_eq!(state.ends(None), Ok(Phase::Collected));
}

/// An order that lost the end of its log has neither frozen nor weighed anything, as far as it knows.
#[test]
fn an_order_that_forgot_the_split_gives_up_what_it_gave() {
    let before = State::new(SPLIT);
    let mut state = divided();
    state.world.restore(0, &before.world);
    assert!(state.world.serves(0, "k") && state.world.serves(1, "k"), "for as long as nobody looks");
    for _ in 0..20 {
        state.clear_up(0, None);
    }
    assert!(!state.world.serves(0, "k"));
    state.check().expect("and what stays is counted right");
    assert_eq!(state.ends(None), Ok(Phase::Collected));
}

/// It forgot a split that others have followed since: of the last migration it is nothing to do with it.
#[test]
fn an_order_that_forgot_an_earlier_split_gives_up_what_it_gave() {
    let mut state = divided();
    let divided = state.world.clone();
    state.world.restore(0, &State::new(SPLIT).world);
    state.world.change(MigrationChange::Plan { shard: NEW, to: ORDERS[0] }).expect("nothing moves");
    state.clear_up(0, None);
    assert!(!state.world.serves(0, "k"), "whoever is on its way");
    let id = state.world.record().expect("planned").id;
    state.world.change(MigrationChange::Cancel { id }).expect("it can be");
    let returned = MigrationChange::Returned { id, released: true, discarded: true };
    state.world.change(returned).expect("nothing was begun");
    for _ in 0..20 {
        state.clear_up(0, None);
    }
    assert!(!state.world.holds(0, "k"));
    assert_eq!((state.world.part(0).until, state.world.part(0).pruning), (split().at, false));
    state.check().expect("what stays is counted right");
    assert_eq!(state.world.get(1, "k"), divided.get(1, "k"));
}

/// What was forgotten is dropped after what is left of an earlier split, which is counted in another way.
#[test]
fn two_ends_are_made_good_one_after_the_other() {
    let mut world = World::to_be_split();
    let id = world.record().expect("planned").id;
    for _ in 0..5 {
        world.step(0, migrate(id, Step::Watch { at: split().at }));
    }
    world.step(0, migrate(id, Step::Freeze));
    world.step(0, migrate(id, Step::Collect { epoch: id, until: split().at }));
    let part = world.part(0);
    assert!(part.pruning && part.rows == 1, "{part:?}");
    let further = migrate(Epoch(id.0 + 1), Step::Collect { epoch: Epoch(id.0 + 1), until: 5 });
    for _ in 0..20 {
        world.step(0, further.clone());
    }
    let part = world.part(0);
    assert_eq!((part.until, part.pruning, part.rows), (5, false, 0), "{part:?}");
    assert!(!world.holds(0, STAYS) && !world.holds(0, CROSSES_TOO));
}

/// Who comes back reads from the shard's end whether it was divided: its owner is the same either way.
#[test]
fn who_was_gone_learns_from_the_configuration_how_it_ended() {
    let last = Migration { id: Epoch(9), phase: Phase::Collected, ended: Epoch(10), ..Migration::default() };
    let at = split().at;
    let part = |standing, pruning| shardbearer_core::kv::Part {
        standing,
        migration: Epoch(5),
        at: if pruning { 0 } else { at },
        until: if pruning { at } else { 0 },
        pruning,
        ..Default::default()
    };
    let ask = |part, until, epoch| {
        let owned = Owned {
            shard: SHARD,
            epoch: Epoch(epoch),
            order: ORDERS[0],
            until,
            cut: until == at || until == 7,
        };
        left_over(&last, &part, ORDERS[0], owned).map(|(_, step)| step)
    };
    for standing in [Standing::Leaving, Standing::Frozen] {
        let collect = Step::Collect { epoch: Epoch(12), until: at };
        assert_eq!(ask(part(standing, false), at, 12), Some(collect));
        let further = Step::Collect { epoch: Epoch(12), until: 7 };
        assert_eq!(ask(part(standing, false), 7, 12), Some(further), "and split again since");
        assert_eq!(ask(part(standing, false), 16_384, 12), Some(Step::Release));
        assert_eq!(ask(part(standing, false), 0, 12), None, "it cannot be told");
        assert_eq!(ask(part(standing, false), 16_384, 9), None, "it may have changed since");
    }
    assert!(matches!(ask(part(Standing::Serving, true), at, 12), Some(Step::Collect { .. })));
    let ended = |until| shardbearer_core::kv::Part { at: 0, until, ..part(Standing::Serving, false) };
    for until in [at, at - 1, 7] {
        assert_eq!(ask(ended(until), at, 12), None, "it ends there, or this configuration is old");
    }
    for (until, end) in [(0, at), (at + 1, at), (0, 7), (at, 7)] {
        let collect = Step::Collect { epoch: Epoch(12), until: end };
        assert_eq!(ask(ended(until), end, 12), Some(collect), "forgotten, whichever migration it was");
        assert_eq!(ask(ended(until), end, 9), None, "a configuration from before the last migration");
    }
    assert_eq!(ask(ended(0), 16_384, 12), None, "it was founded so");
}

/// While a shard is on its way, nobody takes a part of it away by the way.
#[test]
fn a_forgotten_end_is_made_good_between_migrations_of_the_shard() {
    let part = shardbearer_core::kv::Part { standing: Standing::Serving, ..Default::default() };
    let owned = Owned { shard: SHARD, epoch: Epoch(12), order: ORDERS[0], until: 7, cut: true };
    let collect = Step::Collect { epoch: Epoch(12), until: 7 };
    for (shard, phase, made_good) in [
        (SHARD, Phase::Collected, true),
        (SHARD, Phase::Returned, true),
        (SHARD, Phase::Copying, false),
        (NEW, Phase::Copying, true),
    ] {
        let last = Migration { id: Epoch(9), shard, phase, from: ORDERS[1], ..Migration::default() };
        let step = left_over(&last, &part, ORDERS[0], owned);
        assert_eq!(step, made_good.then(|| (Epoch(9), collect.clone())), "{shard} {phase:?}");
        let elsewhere = left_over(&last, &part, ORDERS[0], Owned { order: ORDERS[1], ..owned });
        assert_eq!(elsewhere, None, "that is another's to say");
    }
}

#[test]
fn what_cannot_be_split_is_refused_in_words() {
    let refuses = |world: &mut World, split: Split, to, why: &str| {
        let refused = world.change(MigrationChange::Split { split, to });
        assert!(refused.as_ref().is_err_and(|told| told.contains(why)), "{why:?}: {refused:?}");
    };
    let mut world = World::new();
    let at = |parent, at| Split { parent: ShardId(parent), at };
    refuses(&mut world, at(9, 5), ORDERS[1], "no shard 9");
    refuses(&mut world, at(1, 5), OrderId(9), "no data order 9");
    refuses(&mut world, at(1, 5), OrderId::CONTROL, "no data order");
    refuses(&mut world, at(1, 0), ORDERS[1], "the slots 0 to 16383: it can be split at those from 1 on");
    refuses(&mut world, at(1, 16_384), ORDERS[1], "it can be split at those from 1 on");

    let mut state = State::new(SPLIT);
    let id = state.world.record().expect("planned").id;
    let again = MigrationChange::Split { split: split(), to: ORDERS[1] };
    assert_eq!(state.world.change(again.clone()), Ok(id), "asked for once more");
    refuses(&mut state.world, at(1, 7), ORDERS[1], "shard 2 is being split off shard 1");
    until(&mut state, "the end", |state| phase(state) == Phase::Collected);
    let ended = state.world.record().expect("there is one").ended;
    assert_eq!(state.world.change(again), Ok(ended), "what came of it is not split");
    for id in [Epoch::NONE, id] {
        let refused = state.world.change(MigrationChange::Undo { id });
        assert!(refused.as_ref().is_err_and(|why| why.contains("shards are not merged")), "{refused:?}");
    }
    let moved = controller::moves_of(&state.world.control, SHARD).expect("readable");
    assert_eq!((moved.len(), moved[0].shard), (1, NEW), "it is in the history of both");
    refuses(&mut state.world, at(1, split().at), ORDERS[0], "the slots 0 to 7628");
}

/// The orders may have a record of it, and people have read of it.
#[test]
fn the_id_of_a_split_that_was_called_off_is_not_used_again() {
    let mut world = World::new();
    let call_off = |world: &mut World| {
        let id = world.record().expect("planned").id;
        world.change(MigrationChange::Cancel { id }).expect("nothing is decided");
        let returned = MigrationChange::Returned { id, released: true, discarded: true };
        world.change(returned).expect("nothing was begun");
    };
    let split = |at| MigrationChange::Split { split: Split { parent: SHARD, at }, to: ORDERS[1] };
    for (change, shard) in [
        (split(5), 2),
        (MigrationChange::Plan { shard: SHARD, to: ORDERS[1] }, 1),
        (split(5), 3),
        (MigrationChange::Plan { shard: SHARD, to: ORDERS[1] }, 1),
        (split(7), 4),
    ] {
        world.change(change).expect("nothing moves");
        assert_eq!(world.record().expect("planned").shard, ShardId(shard));
        call_off(&mut world);
    }
}
