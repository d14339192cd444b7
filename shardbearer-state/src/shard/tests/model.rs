//! Random commands against a plain map: the machine answers what the map answers, its counters and indexes are
//! those of its rows, and two replicas that applied the same entries hold the same bytes, also if one of them restarts all the time.

use proptest::prelude::*;
use shardbearer_core::kv::{Condition, ExpireWhen, Expiry, Record, Scan};

use super::*;

/// A shard as a person would write it down: no indexes, no counters, no sessions.
#[derive(Clone, Default)]
struct Model {
    rows: BTreeMap<Bytes, Record>,
    revision: u64,
    time_ms: u64,
}

impl Model {
    /// Lets time come to an entry's.
    fn at(&mut self, time_ms: u64) {
        let now = self.time_ms.max(time_ms);
        self.time_ms = now;
        self.rows.retain(|_, record| record.expires_at_ms.is_none_or(|at| at > now));
    }

    fn command(&mut self, command: &Command) -> Reply {
        let old = command.key().and_then(|key| self.rows.get(key)).cloned();
        let expires = old.as_ref().and_then(|old| old.expires_at_ms);
        match command {
            Command::Get { .. } => Reply::Record(old),
            Command::Put { condition, .. }
            | Command::Delete { condition, .. }
            | Command::Check { condition, .. }
                if !holds(condition, old.as_ref()) =>
            {
                Reply::ConditionFailed { current: old }
            }
            Command::Put { key, value, expiry, previous, .. } => {
                let expires = match expiry {
                    Expiry::Never => None,
                    Expiry::Keep => expires,
                    Expiry::At(at) => Some((*at).max(1)),
                };
                let revision = self.set(key, value.clone(), expires);
                Reply::Written { revision, previous: old.filter(|_| *previous) }
            }
            Command::Delete { key, previous, .. } => {
                if self.rows.remove(key).is_some() {
                    self.revision += 1;
                }
                Reply::Deleted { existed: old.is_some(), previous: old.filter(|_| *previous) }
            }
            Command::Increment { key, by } => {
                let text = old.as_ref().map_or("0", |old| std::str::from_utf8(&old.value).unwrap_or("?"));
                let canonical = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
                let Some(present) = canonical else { return Reply::Refused(Refusal::NotAnInteger) };
                let Some(value) = present.checked_add(*by) else { return Reply::Refused(Refusal::Overflow) };
                Reply::Number { value, revision: self.set(key, value.to_string().into(), expires) }
            }
            Command::Append { key, value } => {
                let head = old.map(|old| old.value).unwrap_or_default();
                let value: Bytes = [head, value.clone()].concat().into();
                Reply::Length { length: value.len() as u64, revision: self.set(key, value, expires) }
            }
            Command::SetRange { key, offset, value } => {
                let mut whole = old.as_ref().map(|old| old.value.to_vec()).unwrap_or_default();
                if value.is_empty() {
                    let revision = old.map_or(0, |old| old.revision);
                    return Reply::Length { length: whole.len() as u64, revision };
                }
                for (at, byte) in (*offset as usize..).zip(value) {
                    whole.resize(whole.len().max(at + 1), 0);
                    whole[at] = *byte;
                }
                Reply::Length { length: whole.len() as u64, revision: self.set(key, whole.into(), expires) }
            }
            Command::Expire { key, at_ms, when } => {
                let Some(old) = old else { return Reply::Touched { changed: false } };
                let late = |at: Option<u64>| at.unwrap_or(u64::MAX);
                let changed = !(at_ms.is_none() && expires.is_none())
                    && match when {
                        ExpireWhen::Always => true,
                        ExpireWhen::HasNone => expires.is_none(),
                        ExpireWhen::HasOne => expires.is_some(),
                        ExpireWhen::Later => late(*at_ms) > late(expires),
                        ExpireWhen::Earlier => late(*at_ms) < late(expires),
                        ExpireWhen::HasOneAndEarlier => expires.is_some_and(|present| late(*at_ms) < present),
                    };
                if changed {
                    self.set(key, old.value, *at_ms);
                }
                Reply::Touched { changed }
            }
            Command::Check { .. } => Reply::Touched { changed: false },
            Command::Batch { commands, all_or_nothing } => self.batch(commands, *all_or_nothing),
            other => panic!("not generated: {other:?}"),
        }
    }

    fn batch(&mut self, commands: &[Command], all_or_nothing: bool) -> Reply {
        let before = self.clone();
        let mut replies = Vec::new();
        for command in commands {
            let reply = self.command(command);
            if matches!((command, &reply), (Command::Check { .. }, Reply::ConditionFailed { .. })) {
                *self = before;
                return reply;
            }
            replies.push(reply);
        }
        let failed = |reply: &Reply| matches!(reply, Reply::ConditionFailed { .. } | Reply::Refused(_));
        let applied = !(all_or_nothing && replies.iter().any(failed));
        if !applied {
            *self = before;
        }
        Reply::Batch { applied, replies }
    }

    /// `changed`: the machine had rows, perhaps only expired ones.
    fn clear(&mut self, changed: bool) -> Reply {
        let changed = changed || !self.rows.is_empty();
        self.revision += u64::from(changed);
        self.rows.clear();
        Reply::Touched { changed }
    }

    fn set(&mut self, key: &Bytes, value: Bytes, expires_at_ms: Option<u64>) -> u64 {
        self.revision += 1;
        self.rows.insert(key.clone(), Record { value, revision: self.revision, expires_at_ms });
        if expires_at_ms.is_some_and(|at| at <= self.time_ms) {
            self.rows.remove(key);
        }
        self.revision
    }
}

fn holds(condition: &Condition, record: Option<&Record>) -> bool {
    match (condition, record) {
        (Condition::Always, _) | (Condition::Absent, None) | (Condition::Present, Some(_)) => true,
        (Condition::Absent, Some(_)) | (Condition::Present, None) => false,
        (Condition::Revision(wanted), None) => *wanted == 0,
        (Condition::Revision(wanted), Some(record)) => *wanted == record.revision,
        (Condition::Value(_), None) => false,
        (Condition::Value(wanted), Some(record)) => *wanted == record.value,
        (Condition::NotValue(_), None) => true,
        (Condition::NotValue(wanted), Some(record)) => *wanted != record.value,
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "x", "1", "-7", "9223372036854775807"])
        .prop_map(|value| Bytes::from_static(value.as_bytes()))
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        3 => Just(Condition::Always),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => (0..20u64).prop_map(Condition::Revision),
        1 => value().prop_map(Condition::Value),
        1 => value().prop_map(Condition::NotValue),
    ]
}

/// Times around those of the entries, so that things expire on the way.
fn time() -> impl Strategy<Value = u64> {
    1..60u64
}

fn single() -> impl Strategy<Value = Command> {
    let expiry =
        prop_oneof![2 => Just(Expiry::Never), 1 => Just(Expiry::Keep), 2 => time().prop_map(Expiry::At)];
    let when = prop::sample::select(vec![
        ExpireWhen::Always,
        ExpireWhen::HasNone,
        ExpireWhen::HasOne,
        ExpireWhen::Later,
        ExpireWhen::Earlier,
        ExpireWhen::HasOneAndEarlier,
    ]);
    prop_oneof![
        key().prop_map(|key| Command::Get { key }),
        (key(), value(), condition(), expiry, any::<bool>()).prop_map(
            |(key, value, condition, expiry, previous)| Command::Put {
                key,
                value,
                condition,
                expiry,
                previous
            }
        ),
        (key(), condition(), any::<bool>()).prop_map(|(key, condition, previous)| Command::Delete {
            key,
            condition,
            previous
        }),
        (key(), prop_oneof![-3..4i64, Just(i64::MAX)]).prop_map(|(key, by)| Command::Increment { key, by }),
        (key(), value()).prop_map(|(key, value)| Command::Append { key, value }),
        (key(), 0..9u64, value()).prop_map(|(key, offset, value)| Command::SetRange { key, offset, value }),
        (key(), prop::option::of(time()), when).prop_map(|(key, at_ms, when)| Command::Expire {
            key,
            at_ms,
            when
        }),
        (key(), condition()).prop_map(|(key, condition)| Command::Check { key, condition }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => single(),
        3 => (prop::collection::vec(single(), 0..6), any::<bool>())
            .prop_map(|(commands, all_or_nothing)| Command::Batch { commands, all_or_nothing }),
        1 => Just(Command::Clear),
    ]
}

fn entries() -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    prop::collection::vec((0..50u64, prop::collection::vec(any_command(), 1..5)), 1..25)
}

/// Everything the meta row and the expiry index say, counted anew from the rows.
fn assert_books_balance(replica: &Replica) {
    let meta = replica.meta(SHARD).expect("adopted");
    let space = space(ORDER, SHARD, &meta);
    let rows = replica.stored.0.get(&space).cloned().unwrap_or_default();
    let (mut count, mut bytes, mut expected, mut indexed) = (0, 0, Vec::new(), Vec::new());
    for (key, value) in &rows {
        if let Some((at, user)) = keys::expiry_parts(key) {
            indexed.push((at, user));
        } else if key.starts_with(&keys::data(b"")) {
            let record = keys::decode_record(value).expect("readable");
            count += 1;
            bytes += (key.len() - 1 + record.value.len()) as u64;
            expected.extend(record.expires_at_ms.map(|at| (at, keys::user_key(key))));
        }
    }
    expected.sort();
    assert_eq!(indexed, expected, "the expiry index has an entry for each record that expires, and no other");
    assert_eq!((meta.rows, meta.bytes), (count, bytes), "the counters count what is stored");
    assert_eq!(
        audit(&replica.stored, ORDER, SHARD, &|| true),
        Ok(Audited::Sound),
        "the sum is that of the rows"
    );
    let spaces: Vec<Space> = replica.stored.0.keys().copied().collect();
    assert!(spaces.iter().all(|space| replica.machine.spaces().contains(space)), "{spaces:?}: left behind");
}

proptest! {
    #[test]
    fn answers_are_those_of_a_plain_map(entries in entries()) {
        let (mut replica, mut model) = (Replica::with_shard(), Model::default());
        for (time_ms, commands) in entries {
            let items = commands.iter().map(|command| Item::of(SHARD, command.clone()));
            let replies = replica.apply(Entry { time_ms, items: items.collect() });
            model.at(time_ms);
            for (command, reply) in commands.iter().zip(&replies) {
                let expected = match (command, reply) {
                    // Whether expired rows that nobody swept yet were cleared, only the machine knows.
                    (Command::Clear, Reply::Touched { changed }) => model.clear(*changed),
                    _ => model.command(command),
                };
                prop_assert_eq!(reply, &expected, "{:?}", command);
            }
            assert_books_balance(&replica);
            let now = model.time_ms;
            let page = replica.query(SHARD, &Command::Scan(Scan::default()), now);
            let QueryOutcome::Reply(Reply::Page { rows, more: false }) = page else { panic!("{page:?}") };
            let rows: Vec<(Bytes, Record)> = rows.into_iter().map(|row| (row.key, row.record)).collect();
            let expected: Vec<(Bytes, Record)> = model.rows.iter().map(|(key, record)| (key.clone(), record.clone())).collect();
            let bytes: usize = expected.iter().map(|(key, record)| key.len() + record.value.len()).sum();
            let count = Reply::Count { rows: expected.len() as u64, bytes: bytes as u64 };
            prop_assert_eq!(rows, expected);
            prop_assert_eq!(replica.query(SHARD, &Command::Count, now), QueryOutcome::Reply(count));
        }
    }

    #[test]
    fn replicas_that_applied_the_same_hold_the_same_bytes(
        entries in entries(),
        sweeps in prop::collection::vec(0..4u32, 25),
    ) {
        let (mut one, mut other) = (Replica::with_shard(), Replica::with_shard());
        for (number, ((time_ms, commands), limit)) in (1..).zip(entries.into_iter().zip(sweeps)) {
            let mut items: Vec<Item> = Vec::new();
            for (position, command) in commands.into_iter().enumerate() {
                let id = (position % 2 == 0)
                    .then(|| words::request(position as u128 + 1, number, number.saturating_sub(3).max(1), false));
                items.push(Item { shard: SHARD, id, until: 0, command });
            }
            items.push(Item::of(SHARD, Command::Sweep { limit }));
            let entry = Entry { time_ms, items };
            prop_assert_eq!(one.apply(entry.clone()), other.apply(entry));
            other.restart();
            prop_assert_eq!(&one.stored, &other.stored);
            let remembered = |replica: &Replica| replica.machine.shards[&SHARD].sessions.bytes();
            prop_assert_eq!(remembered(&one), remembered(&other), "who is forgotten depends on it");
            assert_books_balance(&one);
        }
    }
}
