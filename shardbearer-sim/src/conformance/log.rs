//! The laws of [`LogStore`]: contiguous, truncate then append, purge moves the bounds, hard state never older than
//! acknowledged, orders apart, everything acknowledged survives.

mod model;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogError, LogPos, LogRecord, LogStore, LogWrite};

use self::model::random_writes_and_restarts_agree_with_a_model;
use super::{Broken, Law, Subject, ensure, ensure_eq, laws};

type Logs<'a> = Subject<'a, dyn LogStore>;

const ORDER: OrderId = OrderId(2);
const OTHER: OrderId = OrderId(3);

/// How long a write may take to be answered before it counts as never.
const ANSWER: Duration = Duration::from_secs(30);

/// All laws.
pub const LAWS: &[Law<dyn LogStore>] = laws! {
    Nothing:
        a_new_log_is_empty
        what_was_appended_is_readable_at_once
        pages_are_cut_by_bytes_but_never_to_nothing
        a_gap_is_refused_and_nothing_of_its_batch_happens
        truncating_makes_room_for_other_entries
        purging_moves_the_bounds_and_leaves_no_gap
        purging_beyond_the_end_empties_the_log
        the_hard_state_is_the_latest
        orders_are_apart
        a_removed_order_is_forgotten
        every_accepted_write_is_answered_also_when_the_store_closes;
    Persistence:
        everything_acknowledged_is_there_when_opened_again
        a_removed_order_stays_forgotten
        random_writes_and_restarts_agree_with_a_model;
    Crash:
        everything_acknowledged_survives_the_death_of_the_process
        a_removed_order_stays_forgotten_whenever_the_process_dies;
};

/// Runs all laws; panics with what is broken.
pub fn check(subject: &Logs<'_>) {
    super::check(LAWS, subject);
}

/// An entry of term 1.
fn append(index: u64, payload: &str) -> LogWrite {
    append_in(1, index, payload)
}

fn append_in(term: u64, index: u64, payload: &str) -> LogWrite {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    LogWrite::Append(LogRecord { position: LogPos { term, index }, payload })
}

fn purge(index: u64) -> LogWrite {
    LogWrite::Purge { upto: LogPos { term: 1, index } }
}

fn hard(state: &str) -> LogWrite {
    LogWrite::Hard(Bytes::copy_from_slice(state.as_bytes()))
}

/// Writes without waiting.
fn submit(
    log: &dyn LogStore,
    order: OrderId,
    writes: Vec<LogWrite>,
) -> Result<Receiver<Result<(), LogError>>, LogError> {
    let (done, answer) = channel();
    // A law that has failed already does not wait any more.
    log.write(order, writes, Box::new(move |outcome| drop(done.send(outcome))))?;
    Ok(answer)
}

/// Writes and waits until it is durable.
fn write(log: &dyn LogStore, order: OrderId, writes: Vec<LogWrite>) -> Result<(), Broken> {
    answered(&submit(log, order, writes)?)
}

fn answered(answer: &Receiver<Result<(), LogError>>) -> Result<(), Broken> {
    match answer.recv_timeout(ANSWER) {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Broken("an accepted write was never answered".into())),
    }
}

/// Everything of an order's log as `term.index payload`.
fn all(log: &dyn LogStore, order: OrderId) -> Result<Vec<String>, Broken> {
    let bounds = log.bounds(order);
    words(log, order, bounds.purged.index + 1, bounds.last.index + 1)
}

fn words(log: &dyn LogStore, order: OrderId, from: u64, to: u64) -> Result<Vec<String>, Broken> {
    Ok(log.entries(order, from..to, usize::MAX)?.iter().map(word).collect())
}

fn word(record: &LogRecord) -> String {
    let LogRecord { position, payload } = record;
    format!("{}.{} {}", position.term, position.index, String::from_utf8_lossy(payload))
}

fn a_new_log_is_empty(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    ensure_eq!(log.bounds(ORDER), Bounds::default(), "bounds");
    ensure_eq!(log.orders(), Vec::new(), "orders");
    ensure_eq!(log.entries(ORDER, 1..9, usize::MAX)?, Vec::new(), "entries");
    ensure_eq!(log.held_bytes(ORDER), 0, "bytes held");
    Ok(())
}

fn what_was_appended_is_readable_at_once(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    let answer = submit(&*log, ORDER, vec![append(1, "a"), append(2, "b")])?;
    ensure_eq!(all(&*log, ORDER)?, ["1.1 a", "1.2 b"], "before it is durable");
    let last = LogPos { term: 1, index: 2 };
    ensure_eq!(log.bounds(ORDER), Bounds { last, ..Bounds::default() }, "bounds");
    answered(&answer)?;
    write(&*log, ORDER, vec![append_in(4, 3, "")])?;
    ensure_eq!(all(&*log, ORDER)?, ["1.1 a", "1.2 b", "4.3 "], "after it is durable");
    ensure_eq!(words(&*log, ORDER, 2, 3)?, ["1.2 b"], "the end of a range is exclusive");
    ensure_eq!(words(&*log, ORDER, 3, 99)?, ["4.3 "], "what does not exist yet shortens the result");
    ensure_eq!(words(&*log, ORDER, 4, 99)?, [""; 0], "behind the end");
    Ok(())
}

fn pages_are_cut_by_bytes_but_never_to_nothing(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, vec![append(1, "12345"), append(2, "12345"), append(3, "1")])?;
    for (bytes_max, entries) in [(0, 1), (5, 1), (9, 1), (10, 2), (11, 3), (usize::MAX, 3)] {
        let page = log.entries(ORDER, 1..4, bytes_max)?;
        ensure_eq!(page.len(), entries, "entries within {bytes_max} bytes");
    }
    Ok(())
}

fn a_gap_is_refused_and_nothing_of_its_batch_happens(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, vec![append(1, "a"), append(2, "b"), hard("old")])?;
    let bad = [
        vec![append(4, "gap")],
        vec![append(2, "again")],
        vec![hard("new"), append(3, "c"), append(5, "gap")],
        vec![LogWrite::Truncate { from: 2 }, append(3, "gap")],
        vec![purge(1), append(2, "again")],
    ];
    for writes in bad {
        let words = format!("{writes:?}");
        match submit(&*log, ORDER, writes) {
            Err(LogError::Misuse(_)) => {}
            other => return Err(Broken(format!("{words} was not refused as misuse: {other:?}"))),
        }
        ensure_eq!(all(&*log, ORDER)?, ["1.1 a", "1.2 b"], "after {words}");
        ensure_eq!(log.bounds(ORDER).hard.as_deref(), Some(&b"old"[..]), "after {words}");
    }
    write(&*log, ORDER, vec![append(3, "c")])?;
    ensure_eq!(all(&*log, ORDER)?, ["1.1 a", "1.2 b", "1.3 c"], "the log goes on");
    Ok(())
}

fn truncating_makes_room_for_other_entries(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, (1..=5).map(|index| append(index, "old")).collect())?;
    write(&*log, ORDER, vec![LogWrite::Truncate { from: 3 }])?;
    ensure_eq!(log.bounds(ORDER).last, LogPos { term: 1, index: 2 }, "the end");
    ensure_eq!(words(&*log, ORDER, 1, 9)?, ["1.1 old", "1.2 old"], "after truncating");
    write(&*log, ORDER, vec![LogWrite::Truncate { from: 2 }, append_in(2, 2, "new")])?;
    ensure_eq!(all(&*log, ORDER)?, ["1.1 old", "2.2 new"], "in one batch");
    write(&*log, ORDER, vec![LogWrite::Truncate { from: 7 }])?;
    ensure_eq!(all(&*log, ORDER)?, ["1.1 old", "2.2 new"], "truncating behind the end changes nothing");
    write(&*log, ORDER, vec![LogWrite::Truncate { from: 1 }])?;
    ensure_eq!(log.bounds(ORDER), Bounds::default(), "after truncating everything");
    Ok(())
}

fn purging_moves_the_bounds_and_leaves_no_gap(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, (1..=5).map(|index| append(index, "x")).collect())?;
    write(&*log, ORDER, vec![purge(2)])?;
    let bounds = log.bounds(ORDER);
    ensure_eq!((bounds.purged.index, bounds.last.index), (2, 5), "bounds");
    ensure_eq!(words(&*log, ORDER, 3, 9)?, ["1.3 x", "1.4 x", "1.5 x"], "what is left");
    let across = words(&*log, ORDER, 1, 9)?;
    ensure!(across.is_empty(), "a range that begins in the purged part must not begin later: {across:?}");
    write(&*log, ORDER, vec![purge(1)])?;
    ensure_eq!(log.bounds(ORDER), bounds, "purging less than before changes nothing");
    write(&*log, ORDER, vec![append(6, "y")])?;
    ensure_eq!(words(&*log, ORDER, 6, 7)?, ["1.6 y"], "the log goes on");
    Ok(())
}

fn purging_beyond_the_end_empties_the_log(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, vec![append(1, "x")])?;
    // After a snapshot was installed.
    let upto = LogPos { term: 7, index: 100 };
    write(&*log, ORDER, vec![LogWrite::Purge { upto }])?;
    ensure_eq!(log.bounds(ORDER), Bounds { purged: upto, last: upto, hard: None }, "bounds");
    write(&*log, ORDER, vec![append_in(7, 101, "next")])?;
    ensure_eq!(all(&*log, ORDER)?, ["7.101 next"], "the log goes on behind it");
    Ok(())
}

fn the_hard_state_is_the_latest(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, vec![hard("one"), append(1, "a"), hard("two")])?;
    ensure_eq!(log.bounds(ORDER).hard.as_deref(), Some(&b"two"[..]), "twice in a batch");
    write(&*log, ORDER, vec![LogWrite::Truncate { from: 1 }, purge(9), hard("")])?;
    ensure_eq!(log.bounds(ORDER).hard.as_deref(), Some(&b""[..]), "an empty one is one");
    Ok(())
}

fn orders_are_apart(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, OTHER, vec![append(1, "other"), hard("other")])?;
    write(&*log, ORDER, vec![append(1, "mine"), append(2, "mine")])?;
    write(&*log, ORDER, vec![LogWrite::Truncate { from: 2 }, purge(1)])?;
    ensure_eq!(log.orders(), [ORDER, OTHER], "orders, ascending");
    ensure_eq!(all(&*log, OTHER)?, ["1.1 other"], "the other order");
    ensure_eq!(log.bounds(ORDER).hard, None, "hard state of an order that wrote none");
    Ok(())
}

fn a_removed_order_is_forgotten(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, vec![append(1, "a"), append(2, "b"), hard("vote")])?;
    write(&*log, OTHER, vec![append(1, "other")])?;
    log.remove(ORDER)?;
    ensure_eq!(log.orders(), [OTHER], "orders");
    ensure_eq!(log.bounds(ORDER), Bounds::default(), "bounds");
    log.remove(ORDER)?;
    write(&*log, ORDER, vec![append(1, "anew")])?;
    ensure_eq!(all(&*log, ORDER)?, ["1.1 anew"], "an order that comes back begins anew");
    ensure_eq!(log.bounds(ORDER).hard, None, "with no vote");
    ensure_eq!(all(&*log, OTHER)?, ["1.1 other"], "the other order");
    Ok(())
}

fn every_accepted_write_is_answered_also_when_the_store_closes(
    subject: &Logs<'_>,
    place: &str,
) -> Result<(), Broken> {
    let log = (subject.open)(place);
    let mut answers = Vec::new();
    for index in 1..=200 {
        for order in [ORDER, OTHER] {
            answers.push(submit(&*log, order, vec![append(index, "x")])?);
        }
    }
    drop(log);
    for answer in answers {
        let outcome = answer.recv_timeout(ANSWER);
        ensure!(outcome.is_ok(), "an accepted write was never answered");
    }
    Ok(())
}

/// A bit of everything, all of it acknowledged.
fn eventful_life(log: &dyn LogStore) -> Result<(), Broken> {
    write(log, ORDER, vec![hard("first")])?;
    for index in 1..=50 {
        write(log, ORDER, vec![append(index, "mine")])?;
    }
    write(log, OTHER, vec![append(1, "other")])?;
    write(log, ORDER, vec![LogWrite::Truncate { from: 41 }, append_in(2, 41, "new"), hard("second")])?;
    write(log, ORDER, vec![purge(38)])
}

fn ensure_eventful_life(log: &dyn LogStore) -> Result<(), Broken> {
    ensure_eq!(log.orders(), [ORDER, OTHER], "orders");
    ensure_eq!(all(log, ORDER)?, ["1.39 mine", "1.40 mine", "2.41 new"], "entries");
    ensure_eq!(log.bounds(ORDER).purged, LogPos { term: 1, index: 38 }, "purged");
    ensure_eq!(log.bounds(ORDER).hard.as_deref(), Some(&b"second"[..]), "hard state");
    ensure_eq!(all(log, OTHER)?, ["1.1 other"], "the other order");
    Ok(())
}

fn everything_acknowledged_is_there_when_opened_again(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    eventful_life(&*(subject.open)(place))?;
    ensure_eventful_life(&*(subject.open)(place))?;
    let log = (subject.open)(place);
    ensure_eventful_life(&*log)?;
    write(&*log, ORDER, vec![append_in(2, 42, "next")])?;
    drop(log);
    let log = (subject.open)(place);
    ensure_eq!(words(&*log, ORDER, 41, 99)?, ["2.41 new", "2.42 next"], "what came after");
    Ok(())
}

fn everything_acknowledged_survives_the_death_of_the_process(
    subject: &Logs<'_>,
    place: &str,
) -> Result<(), Broken> {
    let Some(crash) = subject.crash else { return Ok(()) };
    let log = (subject.open)(place);
    eventful_life(&*log)?;
    let copy = format!("{place}-died");
    crash(place, &copy);
    ensure_eventful_life(&*(subject.open)(&copy))
}

fn a_removed_order_stays_forgotten(subject: &Logs<'_>, place: &str) -> Result<(), Broken> {
    let log = (subject.open)(place);
    write(&*log, ORDER, vec![append(1, "a"), hard("vote")])?;
    log.remove(ORDER)?;
    write(&*log, OTHER, vec![append(1, "other")])?;
    drop(log);
    let log = (subject.open)(place);
    ensure_eq!(log.orders(), [OTHER], "orders");
    ensure_eq!(log.bounds(ORDER), Bounds::default(), "bounds");
    Ok(())
}

fn a_removed_order_stays_forgotten_whenever_the_process_dies(
    subject: &Logs<'_>,
    place: &str,
) -> Result<(), Broken> {
    let Some(crash) = subject.crash else { return Ok(()) };
    let log = (subject.open)(place);
    write(&*log, OTHER, vec![append(1, "other")])?;
    write(&*log, ORDER, vec![append(1, "a"), hard("vote")])?;
    log.remove(ORDER)?;
    // Nothing is written after it that would bring it to the disk.
    let copy = format!("{place}-died");
    crash(place, &copy);
    let log = (subject.open)(&copy);
    ensure_eq!(log.orders(), [OTHER], "orders");
    ensure_eq!(log.bounds(ORDER), Bounds::default(), "bounds");
    Ok(())
}
