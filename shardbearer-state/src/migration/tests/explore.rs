//! Every interleaving of a migration within bounds: the machines of both orders and of the control order, two drivers that do not
//! know of each other (a herald and its successor), the source's attendant, an operator who calls it off, somebody who takes
//! either order for gone, and a client whose requests go to either order.
//!
//! Whatever is sent may arrive at once, or later at any time and again, or never; its answer may be lost. A driver may crash at
//! any time. The machines are loaded from their rows before each entry, so every entry is also a restart. Visited
//! states are kept as 64-bit hashes.
//!
//! What must hold in every state: at most one order serves; a request is applied once, and what was acknowledged is
//! there. And from every state, once nothing is lost any more, the migration comes to its end and one order serves.

use std::collections::HashSet;

use shardbearer_core::migration::Phase;

use super::bounds::Bounds;
use super::doubles::Double;
use super::model::{Lost, State};

#[derive(Default)]
struct Seen {
    states: HashSet<u64>,
    collected: usize,
    returned: usize,
    violation: Option<String>,
}

fn explore(bounds: Bounds) -> Seen {
    let mut seen = Seen::default();
    let mut open = vec![State::new(bounds)];
    seen.states.insert(open[0].hash());
    while let Some(state) = open.pop() {
        if let Err(why) = look_at(state, bounds, &mut seen, &mut open) {
            seen.violation = Some(why);
            break;
        }
    }
    seen
}

/// Checks a state and adds what may come of it.
fn look_at(state: State, bounds: Bounds, seen: &mut Seen, open: &mut Vec<State>) -> Result<(), String> {
    state.check()?;
    if bounds.ends_every != 0 && state.hash().is_multiple_of(bounds.ends_every) {
        match state.ends(bounds.double)? {
            Phase::Collected => seen.collected += 1,
            _ => seen.returned += 1,
        }
    }
    for next in state.next(bounds) {
        let next = next?;
        if seen.states.insert(next.hash()) {
            open.push(next);
        }
    }
    Ok(())
}

/// The way to the end has a hundred steps, and the ways of neighbours meet soon: hence one in 64.
const NOTHING: Bounds = Bounds { ends_every: 64, ..Bounds::CALM };

#[track_caller]
fn holds(what: &str, bounds: Bounds) {
    let seen = explore(bounds);
    println!(
        "{what}: {} states; of those tried, {} end in the destination and {} in the source",
        seen.states.len(),
        seen.collected,
        seen.returned
    );
    assert_eq!(seen.violation, None, "{what}");
    assert!(seen.collected > 0, "{what}: the destination never came to serve");
    assert!(!(bounds.cancel || bounds.gone) || seen.returned > 0, "{what}: it was never called off");
}

#[test]
fn a_lost_message_anywhere_does_no_harm() {
    holds("1 driver, 1 loss, 1 write, cancel", Bounds { losses: 1, writes: 1, cancel: true, ..NOTHING });
}

#[test]
fn a_crash_anywhere_does_no_harm() {
    holds("1 driver, 1 crash, 2 writes", Bounds { crashes: 1, writes: 2, ..NOTHING });
}

#[test]
fn a_herald_and_its_successor_do_no_harm() {
    holds("2 drivers, cancel", Bounds { drivers: 2, cancel: true, ..NOTHING });
}

/// A row at a time, so that each is read while the one before it is imported.
#[test]
fn rows_that_are_read_ahead_do_no_harm() {
    let ahead = Bounds { piece: 1, ..NOTHING };
    holds("1 driver, ahead, 1 loss, 1 write", Bounds { losses: 1, writes: 1, ..ahead });
    holds(
        "1 driver, ahead, 1 crash, 1 write, cancel",
        Bounds { crashes: 1, writes: 1, cancel: true, ..ahead },
    );
    holds("2 drivers, ahead", Bounds { drivers: 2, ..ahead });
}

#[test]
fn nobody_is_waited_for_and_whoever_comes_back_does_its_part() {
    holds("1 driver, 1 write, anybody is gone at any moment", Bounds { writes: 1, gone: true, ..NOTHING });
    holds("1 driver, 1 loss, anybody is gone", Bounds { losses: 1, gone: true, ..NOTHING });
}

/// A part of the shard moves, a row at a time is weighed and pruned, and writes come between any two.
#[test]
fn a_split_is_as_safe_as_a_move() {
    let split = Bounds { split: true, ends_every: 16, ..NOTHING };
    holds("split, 1 loss, 1 write, cancel", Bounds { losses: 1, writes: 1, cancel: true, ..split });
    holds("split, 1 crash, 1 write", Bounds { crashes: 1, writes: 1, ..split });
    holds("split, 2 drivers, cancel", Bounds { drivers: 2, cancel: true, ..split });
}

#[test]
fn a_split_waits_for_nobody_either() {
    let split = Bounds { split: true, ends_every: 16, ..NOTHING };
    holds("split, 1 write, anybody is gone at any moment", Bounds { writes: 1, gone: true, ..split });
    holds("split, ahead, anybody is gone", Bounds { piece: 1, gone: true, ..split });
}

#[test]
fn broken_doubles_are_caught() {
    let cancel = Bounds { cancel: true, ..Bounds::CALM };
    let gone = Bounds { gone: true, ..Bounds::CALM };
    let write = Bounds { writes: 1, ..Bounds::CALM };
    for (double, bounds, why) in [
        (Double::ActivatesUndecided, cancel, "two orders serve"),
        (Double::TakesBack, cancel, "two orders serve"),
        (Double::ForgetsSessions, write, "request 1 was answered 3"),
        (Double::KeepsWhatItGave, gone, "two orders serve"),
        (Double::EndsTooEarly, Bounds { ends_every: 1, crashes: 1, ..gone }, "but order 3 does not serve"),
        (Double::NeverReleases, Bounds { ends_every: 1, ..cancel }, "it does not end"),
        (Double::KeepsWhatItGave, Bounds { split: true, ..Bounds::CALM }, "two orders serve"),
        (Double::ActivatesUndecided, Bounds { split: true, ..cancel }, "two orders serve"),
        (Double::ForgetsSessions, Bounds { split: true, ..write }, "request 1 was answered 3"),
        (Double::TakesAnything, Bounds { split: true, ..Bounds::CALM }, "which is not its own"),
    ] {
        let seen = explore(Bounds { double: Some(double), ..bounds });
        println!("{double:?}: caught after {} states: {:?}", seen.states.len(), seen.violation);
        assert!(seen.violation.is_some_and(|found| found.contains(why)), "{double:?} goes unnoticed");
    }
}

/// A copy that is not the original is found by its digest, and the shard stays where it was.
#[test]
fn a_lost_change_calls_the_migration_off() {
    let mut state = State::new(NOTHING);
    while !state.world.part(1).progress.complete {
        state.act(0, Lost::Nothing, None);
    }
    let undisturbed = state.clone();
    state.write(0, 1).expect("the source serves");
    assert_eq!(state.ends(Some(Double::LosesChanges)), Ok(Phase::Returned));
    let record = state.finish(Some(Double::LosesChanges)).world.record().expect("there is one");
    assert!(record.called_off.contains("the copies differ"), "{}", record.called_off);
    assert_eq!(state.ends(None), Ok(Phase::Collected), "with its changes it is taken");
    assert_eq!(
        undisturbed.ends(Some(Double::LosesChanges)),
        Ok(Phase::Collected),
        "nothing changed, nothing is lost"
    );
}

/// What changes behind the cursor changes the sum: one that does not is no true sum, and the shard stays whole.
#[test]
fn a_sum_that_forgets_a_change_calls_the_split_off() {
    let mut state = State::new(Bounds { split: true, ..NOTHING });
    while !state.world.part(1).progress.complete {
        state.act(0, Lost::Nothing, None);
    }
    let mut forgetful = state.clone();
    forgetful.write_unweighed(1);
    assert_eq!(forgetful.ends(None), Ok(Phase::Returned));
    let record = forgetful.finish(None).world.record().expect("there is one");
    assert!(record.called_off.contains("the copies differ"), "{}", record.called_off);
    state.write(0, 1).expect("the source serves");
    assert_eq!(state.ends(None), Ok(Phase::Collected), "with its sum it is taken");
}
