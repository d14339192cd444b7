//! The segmented log against a model, with restarts, damage and compaction. The laws that every
//! log store keeps are in the conformance suite.

use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::log::LogPos;

use super::*;

const ORDER: OrderId = OrderId(2);

/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn small() -> LogOptions {
    let options = LogOptions { segment_bytes: 64 << 10, cache_bytes: 4 << 10, ..LogOptions::default() };
    LogOptions { queue_bytes_max: 1 << 20, ..options }
}

fn append(index: u64, payload: &[u8]) -> LogWrite {
    let position = LogPos { term: 1, index };
    LogWrite::Append(LogRecord { position, payload: Bytes::copy_from_slice(payload) })
}

/// Writes and waits until it is durable.
fn write(log: &SegmentedLog, order: OrderId, writes: Vec<LogWrite>) -> Result<(), LogError> {
    let (done, result) = channel();
    log.write(order, writes, Box::new(move |outcome| done.send(outcome).expect("the test waits")))?;
    result.recv_timeout(PATIENCE).expect("every accepted write is answered in time")
}

fn payloads(log: &SegmentedLog, order: OrderId) -> Vec<(u64, Bytes)> {
    let bounds = log.bounds(order);
    let range = bounds.purged.index + 1..bounds.last.index + 1;
    let records = log.entries(order, range, usize::MAX).expect("readable");
    records.into_iter().map(|record| (record.position.index, record.payload)).collect()
}

#[test]
fn everything_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let expect: Vec<(u64, Bytes)> =
        (1..=500).map(|index| (index, Bytes::from(vec![index as u8; 300]))).collect();
    {
        let log = SegmentedLog::open(dir.path(), small()).expect("opens");
        write(&log, ORDER, vec![LogWrite::Hard(Bytes::from_static(b"vote"))]).expect("durable");
        for (index, payload) in &expect {
            write(&log, ORDER, vec![append(*index, payload)]).expect("durable");
        }
        assert_eq!(payloads(&log, ORDER), expect, "old payloads are read back from disk");
    }
    let log = SegmentedLog::open(dir.path(), small()).expect("opens again");
    assert_eq!(payloads(&log, ORDER), expect);
    assert_eq!(log.bounds(ORDER).hard.as_deref(), Some(&b"vote"[..]));
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let _log = SegmentedLog::open(dir.path(), small()).expect("opens");
    let error = SegmentedLog::open(dir.path(), small()).err().expect("refused").to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn disk_use_is_bounded_while_one_idle_order_keeps_a_little() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = SegmentedLog::open(dir.path(), small()).expect("opens");
    let idle = OrderId(3);
    write(&log, idle, vec![append(1, b"kept"), LogWrite::Hard(Bytes::from_static(b"h"))]).expect("durable");
    for index in 1..=2_000 {
        write(&log, ORDER, vec![append(index, &[7; 1_000])]).expect("durable");
        if index % 20 == 0 {
            write(&log, ORDER, vec![LogWrite::Purge { upto: LogPos { term: 1, index } }]).expect("durable");
        }
    }
    assert!(log.disk_bytes() <= 4 * small().segment_bytes, "{} bytes", log.disk_bytes());
    drop(log);
    let log = SegmentedLog::open(dir.path(), small()).expect("opens again");
    assert_eq!(payloads(&log, idle), vec![(1, Bytes::from_static(b"kept"))]);
    assert_eq!(log.bounds(idle).hard.as_deref(), Some(&b"h"[..]));
    assert_eq!(log.bounds(ORDER).purged.index, 2_000);
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let log = SegmentedLog::open(dir.path(), small()).expect("opens");
        for index in 1..=30 {
            write(&log, ORDER, vec![append(index, &[index as u8; 50])]).expect("durable");
        }
    }
    let path = dir.path().join(format!("{:016x}.log", 1));
    let good = fs::read(&path).expect("the segment");
    let used = good.iter().rposition(|byte| *byte != 0).expect("something is in it");
    // The last frame only attests the one before: to lose it loses nothing.
    let attest = used & !7;
    let written: Vec<(u64, Bytes)> = (1..=30).map(|index| (index, vec![index as u8; 50].into())).collect();
    let (mut flipped, mut refused) = (0, 0);
    for offset in (0..attest.saturating_sub(24)).step_by(7) {
        let mut bad = good.clone();
        bad[offset] ^= 0x40;
        fs::write(&path, &bad).expect("writable");
        match SegmentedLog::open(dir.path(), small()) {
            Err(LogError::Corrupt { file, .. }) => {
                assert!(file.ends_with(".log"));
                refused += 1;
            }
            Err(other) => panic!("byte {offset}: {other}"),
            // Padding and the rest of the header carry nothing.
            Ok(log) => assert_eq!(payloads(&log, ORDER), written, "byte {offset} changed what is read"),
        }
        flipped += 1;
        fs::write(&path, &good).expect("writable");
    }
    assert!(
        refused * 10 > flipped * 9,
        "{refused} of {flipped} were refused: more than padding carries nothing"
    );
}

#[test]
fn a_torn_tail_that_nobody_was_told_of_is_cut() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let log = SegmentedLog::open(dir.path(), small()).expect("opens");
        write(&log, ORDER, vec![append(1, b"whole")]).expect("durable");
    }
    let path = dir.path().join(format!("{:016x}.log", 1));
    let mut bytes = fs::read(&path).expect("the segment");
    let end =
        (bytes.iter().rposition(|byte| *byte != 0).expect("something is in it") as u64).next_multiple_of(8);
    // A group of two frames of which only the second reached the disk.
    let body = frame::encode_body(ORDER, &[append(3, b"later")]);
    let mut torn = Vec::new();
    frame::put_frame(&mut torn, 1, end + 64, end, &body);
    bytes[end as usize..end as usize + 20].fill(0xaa);
    bytes[end as usize + 64..end as usize + 64 + torn.len()].copy_from_slice(&torn);
    fs::write(&path, &bytes).expect("writable");
    for _ in 0..2 {
        let log = SegmentedLog::open(dir.path(), small()).expect("a torn tail is no damage");
        assert_eq!(payloads(&log, ORDER), vec![(1, Bytes::from_static(b"whole"))]);
    }
    let log = SegmentedLog::open(dir.path(), small()).expect("opens");
    write(&log, ORDER, vec![append(2, b"next")]).expect("goes on");
    assert_eq!(payloads(&log, ORDER).len(), 2);
}

#[test]
fn a_broken_batch_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = SegmentedLog::open(dir.path(), small()).expect("opens");
    write(&log, ORDER, vec![append(1, b"a")]).expect("durable");
    for bad in [vec![append(3, b"gap")], vec![append(2, b"b"), append(2, b"twice")]] {
        assert!(matches!(write(&log, ORDER, bad), Err(LogError::Misuse(_))));
    }
    assert_eq!(payloads(&log, ORDER).len(), 1);
}

#[test]
fn an_order_may_write_an_index_of_the_same_term_anew_before_the_first_is_on_disk() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = LogOptions { cache_bytes: 0, ..small() };
    let log = SegmentedLog::open(dir.path(), options).expect("opens");
    let mut payload = Vec::new();
    for round in 1..=300 {
        payload = vec![round as u8; 1 + round % 97];
        let writes = vec![LogWrite::Truncate { from: 1 }, append(1, &payload)];
        // Not waited for, so that the second is applied while the first is being written.
        log.write(ORDER, writes, Box::new(drop)).expect("accepted");
        assert_eq!(payloads(&log, ORDER), vec![(1, Bytes::from(payload.clone()))]);
    }
    write(&log, ORDER, vec![append(2, b"end")]).expect("the writer is well");
    let expect = vec![(1, Bytes::from(payload)), (2, Bytes::from_static(b"end"))];
    assert_eq!(payloads(&log, ORDER), expect, "read from disk");
}

#[test]
fn a_removed_order_is_not_listed_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    {
        let log = SegmentedLog::open(dir.path(), small()).expect("opens");
        write(&log, ORDER, vec![append(1, b"x"), LogWrite::Hard(Bytes::from_static(b"vote"))])
            .expect("durable");
        log.remove(ORDER).expect("accepted");
    }
    let log = SegmentedLog::open(dir.path(), small()).expect("opens again");
    assert_eq!(log.orders(), []);
}

/// A batch that no prepared segment can take gets one of its own, and leaves the prepared one to those that come after it.
#[test]
fn a_batch_larger_than_a_segment_harms_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = small();
    let large = vec![7; usize::try_from(options.segment_bytes).expect("small") + 1_000];
    {
        let log = SegmentedLog::open(dir.path(), options).expect("opens");
        for index in 1..=60 {
            let payload = if index % 10 == 0 { large.as_slice() } else { &[1; 1_000] };
            write(&log, ORDER, vec![append(index, payload)]).expect("durable");
        }
    }
    let log = SegmentedLog::open(dir.path(), options).expect("opens again");
    let entries = log.entries(ORDER, 1..61, usize::MAX).expect("readable");
    let lengths: Vec<usize> = entries.iter().map(|entry| entry.payload.len()).collect();
    let expected = (1..=60).map(|index| if index % 10 == 0 { large.len() } else { 1_000 });
    assert_eq!(lengths, expected.collect::<Vec<_>>());
}

/// A disk that is full gets room again; a broken one does not mend itself, and nobody would hear of it before the segment
/// in use is full.
#[test]
#[allow(clippy::disallowed_methods)] // a real disk, and a thread that would go on for ever
fn a_segment_that_cannot_be_prepared_stops_the_log_unless_the_disk_is_full() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = SegmentedLog::open(dir.path(), small()).expect("opens");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let spare = dir.path().join("next-1.prepared");
    while !spare.exists() {
        assert!(std::time::Instant::now() < end, "the first is never prepared");
        std::thread::yield_now();
    }
    fs::remove_file(&spare).expect("removable");
    fs::create_dir(&spare).expect("writable"); // where no file can be made
    let ((wanted, asked), (ready, _none)) =
        (std::sync::mpsc::sync_channel(1), std::sync::mpsc::sync_channel(1));
    wanted.send(()).expect("room for one");
    let shared = log.shared.clone();
    let preparer = std::thread::spawn(move || prepare::prepare_all(&shared, &asked, &ready));
    let mut written = (1..).map(|index| write(&log, ORDER, vec![append(index, b"x")]));
    let why = loop {
        if let Some(Err(LogError::Poisoned(why))) = written.next() {
            break why;
        }
        assert!(std::time::Instant::now() < end, "it goes on for ever");
    };
    assert!(why.contains("the next segment"), "{why}");
    preparer.join().expect("no panic");
}

/// Twenty entries, the last perhaps not attested yet, as the death of the process would leave them; and the
/// offset behind the last byte in use.
fn killed() -> (Vec<u8>, usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let log = SegmentedLog::open(dir.path(), small()).expect("opens");
    for index in 1..=20 {
        write(&log, ORDER, vec![append(index, &[index as u8; 40])]).expect("durable");
    }
    let bytes = fs::read(dir.path().join(format!("{:016x}.log", 1))).expect("the segment");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("something is in it") + 1;
    (bytes, used)
}

/// How many entries a damaged segment gives; `None` if it is recognised as damaged. What it gives must have been written.
fn survivors(bytes: &[u8]) -> Option<usize> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join(format!("{:016x}.log", 1)), bytes).expect("writable");
    let log = match SegmentedLog::open(dir.path(), small()) {
        Ok(log) => log,
        Err(LogError::Corrupt { .. }) => return None,
        Err(other) => panic!("{other}"),
    };
    let found = payloads(&log, ORDER);
    let written: Vec<(u64, Bytes)> = (1..=20).map(|index| (index, vec![index as u8; 40].into())).collect();
    assert_eq!(found, written[..found.len()], "entries that nobody wrote");
    write(&log, ORDER, vec![append(found.len() as u64 + 1, b"next")]).expect("goes on");
    Some(found.len())
}

#[test]
fn wherever_the_tail_is_torn_no_entry_but_the_last_is_lost() {
    let (good, used) = killed();
    for cut in used - 40..used {
        let mut torn = good.clone();
        torn[cut..].fill(0);
        let left = survivors(&torn).expect("a torn tail is no damage");
        assert!(left >= 19, "torn at {cut}: {left} entries are left");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn whatever_is_damaged_nothing_is_read_that_was_not_written(
        spoils in proptest::collection::vec((0..1_800usize, proptest::prelude::any::<u8>(), 1..30usize), 1..4),
    ) {
        let (mut bytes, _) = killed();
        for (at, value, length) in spoils {
            bytes[at..at + length].fill(value);
        }
        survivors(&bytes);
    }
}
