//! What clients want besides registers and counters: all that the exact oracle understands.

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::kv::{Command, Condition, Expiry, Scan};

/// Keys that come and go.
const FREE: usize = 4;
/// Keys of one shard, of which batches take two.
const PAIRS: usize = 2;
/// Keys that expire.
const PASSING: usize = 2;

pub fn keys() -> Vec<Bytes> {
    let pairs = (0..PAIRS).flat_map(|number| [pair(number, "a"), pair(number, "b")]);
    (0..FREE).map(free).chain(pairs).chain((0..PASSING).map(passing)).collect()
}

fn free(number: usize) -> Bytes {
    format!("free-{number}").into()
}

/// The braces are a hash tag: both keys are of one shard.
fn pair(number: usize, which: &str) -> Bytes {
    format!("{{pair-{number}}}{which}").into()
}

fn passing(number: usize) -> Bytes {
    format!("passing-{number}").into()
}

/// Everything that clients write; what the liveness phase writes comes before it.
pub fn scan(limit: u32) -> Command {
    Command::Scan(Scan { start: "b".into(), limit, ..Scan::default() })
}

/// A command. Expiries only where clocks agree, and then counted from `now_ms`.
pub fn draw(rng: &mut StdRng, value: Bytes, now_ms: Option<u64>) -> Command {
    match (rng.random_range(0..10), now_ms) {
        (0, _) => scan(if rng.random_bool(0.5) { 0 } else { rng.random_range(1..12) }),
        (1..4, _) => batch(rng, value),
        (4..6, Some(now_ms)) => expiring(rng, value, now_ms),
        _ => {
            let key = free(rng.random_range(0..FREE));
            one(rng, key, value)
        }
    }
}

/// Something with one key.
fn one(rng: &mut StdRng, key: Bytes, value: Bytes) -> Command {
    let condition = match rng.random_range(0..5) {
        0 => Condition::Absent,
        1 => Condition::Present,
        2 => Condition::NotValue(value.clone()),
        _ => Condition::Always,
    };
    let previous = rng.random_bool(0.5);
    match rng.random_range(0..6) {
        0 | 1 => Command::Put { key, value, condition, expiry: Expiry::Never, previous },
        2 => Command::Delete { key, condition, previous },
        3 => Command::Append { key, value },
        _ => Command::Get { key },
    }
}

/// Two keys in one step.
fn batch(rng: &mut StdRng, value: Bytes) -> Command {
    let number = rng.random_range(0..PAIRS);
    let (a, b) = (pair(number, "a"), pair(number, "b"));
    let set = |key: &Bytes, condition| Command::Put {
        key: key.clone(),
        value: value.clone(),
        condition,
        expiry: Expiry::Never,
        previous: false,
    };
    let commands = match rng.random_range(0..5) {
        0 => vec![set(&a, Condition::Always), set(&b, Condition::Always)],
        1 => vec![
            Command::Check { key: a.clone(), condition: Condition::Present },
            Command::Delete { key: a, condition: Condition::Always, previous: true },
            set(&b, Condition::Always),
        ],
        2 => vec![set(&a, Condition::Always), set(&b, Condition::Absent)],
        _ => vec![Command::Get { key: a }, Command::Get { key: b }],
    };
    Command::Batch { commands, all_or_nothing: rng.random_bool(0.5) }
}

/// Something with a key that expires.
fn expiring(rng: &mut StdRng, value: Bytes, now_ms: u64) -> Command {
    let key = passing(rng.random_range(0..PASSING));
    let expiry =
        if rng.random_bool(0.3) { Expiry::Keep } else { Expiry::At(now_ms + rng.random_range(20..2_000)) };
    match rng.random_range(0..4) {
        0 | 1 => Command::Put { key, value, condition: Condition::Always, expiry, previous: false },
        _ => Command::Get { key },
    }
}
