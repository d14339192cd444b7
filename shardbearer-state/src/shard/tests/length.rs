//! Answers that would be too long. A few bytes may ask for the same large value thousands of times; since every
//! replica answers every entry, also when it replays its log, that must not take more memory than there is.

use shardbearer_core::kv::Condition;
use shardbearer_core::limits;

use super::words::{command, request};
use super::*;

const LARGE: usize = limits::GROWN_VALUE_BYTES_MAX;

fn put(key: &'static str, value: Bytes, condition: Condition, previous: bool) -> Command {
    let expiry = shardbearer_core::kv::Expiry::Never;
    Command::Put { key: key.into(), value, condition, expiry, previous }
}

/// A replica with a value of the largest size under `k`.
fn with_large() -> Replica {
    let mut replica = Replica::with_shard();
    replica.one(1, None, put("k", vec![0; LARGE].into(), Condition::Always, false));
    replica
}

fn items(count: u64, command: &Command) -> Vec<Item> {
    (1..=count).map(|_| Item::of(SHARD, command.clone())).collect()
}

fn too_large(limit: usize) -> Reply {
    Reply::Refused(Refusal::TooLarge { limit: limit as u64 })
}

#[test]
fn a_batch_that_asks_for_too_much_does_nothing() {
    let mut replica = with_large();
    let before = replica.meta(SHARD);
    for all_or_nothing in [false, true] {
        let commands = [vec![command(&["put", "a", "1"])], vec![command(&["get", "k"]); 1_000]].concat();
        let batch = Command::Batch { commands, all_or_nothing };
        assert_eq!(replica.one(1, None, batch), too_large(limits::REPLY_BYTES_MAX));
        assert_eq!(replica.meta(SHARD), before);
        assert_eq!(replica.one(1, None, command(&["get", "a"])), Reply::Record(None));
    }
    let read = Command::Batch { commands: vec![command(&["get", "k"]); 1_000], all_or_nothing: false };
    assert_eq!(replica.query(SHARD, &read, 1), QueryOutcome::Reply(too_large(limits::REPLY_BYTES_MAX)));
    let one = Command::Batch { commands: vec![command(&["get", "k"])], all_or_nothing: false };
    assert!(
        matches!(replica.one(1, None, one), Reply::Batch { applied: true, .. }),
        "one value of any size fits"
    );
}

#[test]
fn an_entry_answers_only_so_much_and_goes_on_with_what_is_answered_briefly() {
    let asks = [
        command(&["get", "k"]),
        command(&["check", "k", "if", "absent"]),
        put("k", Bytes::new(), Condition::Absent, false),
        Command::Batch { commands: vec![command(&["get", "k"])], all_or_nothing: false },
    ];
    for ask in asks {
        let mut replica = with_large();
        let mut entry = items(4_000, &ask);
        entry.push(Item::of(SHARD, command(&["put", "a", "1"])));
        let replies = replica.apply(Entry { time_ms: 1, items: entry });
        let bytes: usize = replies.iter().map(Reply::weight).sum();
        assert!(bytes < limits::ANSWERS_BYTES_MAX + 2 * LARGE, "{ask:?}: {bytes} bytes");
        assert_eq!(replies[3_999], too_large(limits::ANSWERS_BYTES_MAX), "{ask:?}");
        assert!(matches!(replies[4_000], Reply::Written { .. }), "{ask:?}");
    }
}

/// What was applied is never said to be refused, and what was refused stays so.
#[test]
fn a_repeated_request_in_a_full_entry_is_not_refused() {
    let mut replica = with_large();
    let swap = |number, retry| Item {
        shard: SHARD,
        until: 0,
        id: Some(request(7, number, 1, retry)),
        command: put("a", Bytes::from_static(b"1"), Condition::Absent, false),
    };
    let applied = replica.apply(Entry { time_ms: 1, items: vec![swap(1, false)] });
    assert!(matches!(applied[..], [Reply::Written { .. }]));
    let full = [items(100, &command(&["get", "k"])), vec![swap(1, true), swap(2, false)]].concat();
    let replies = replica.apply(Entry { time_ms: 1, items: full });
    assert_eq!(replies[100], Reply::Refused(Refusal::SessionExpired));
    assert_eq!(replies[101], too_large(limits::ANSWERS_BYTES_MAX));
    let again = replica.apply(Entry { time_ms: 1, items: vec![swap(1, true), swap(2, true)] });
    assert_eq!(again, [applied[0].clone(), too_large(limits::ANSWERS_BYTES_MAX)]);
}
