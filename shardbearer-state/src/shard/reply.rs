//! Replies as sessions remember them: only those a write can have, compact, total to decode.

use bytes::{Buf, BufMut, Bytes};
use shardbearer_core::kv::{Record, RecordInfo, Refusal, Reply};

/// The bytes that are kept, in place of what is in `out`.
pub(super) fn encode(reply: &Reply, out: &mut Vec<u8>) {
    out.clear();
    put(out, reply);
}

/// The inverse of [`encode`].
pub(super) fn decode(bytes: &[u8]) -> Option<Reply> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let reply = take(&mut rest, true)?;
    if rest.is_empty() { Some(reply) } else { None }
}

fn put(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Record(record) => {
            out.put_u8(1);
            put_record(out, record.as_ref());
        }
        Reply::Info(info) => {
            out.put_u8(2);
            out.put_u8(info.is_some().into());
            if let Some(info) = info {
                out.put_u64(info.length);
                out.put_u64(info.revision);
                out.put_u64(info.expires_at_ms.unwrap_or(0));
            }
        }
        Reply::Written { revision, previous } => {
            out.put_u8(3);
            out.put_u64(*revision);
            put_record(out, previous.as_ref());
        }
        Reply::Deleted { existed, previous } => {
            out.put_u8(4);
            out.put_u8((*existed).into());
            put_record(out, previous.as_ref());
        }
        Reply::ConditionFailed { current } => {
            out.put_u8(5);
            put_record(out, current.as_ref());
        }
        Reply::Number { value, revision } => {
            out.put_u8(6);
            out.put_i64(*value);
            out.put_u64(*revision);
        }
        Reply::Decimal { value, revision } => {
            out.put_u8(7);
            put_bytes(out, value);
            out.put_u64(*revision);
        }
        Reply::Length { length, revision } => {
            out.put_u8(8);
            out.put_u64(*length);
            out.put_u64(*revision);
        }
        Reply::Touched { changed } => {
            out.put_u8(9);
            out.put_u8((*changed).into());
        }
        Reply::Batch { applied, replies } => {
            out.put_u8(10);
            out.put_u8((*applied).into());
            out.put_u32(replies.len() as u32); // at most BATCH_COMMANDS_MAX
            for reply in replies {
                put(out, reply);
            }
        }
        Reply::Count { rows, bytes } => {
            out.put_u8(11);
            out.put_u64(*rows);
            out.put_u64(*bytes);
        }
        Reply::Swept { removed, more } => {
            out.put_u8(12);
            out.put_u32(*removed);
            out.put_u8((*more).into());
        }
        Reply::Refused(refusal) => {
            out.put_u8(13);
            put_refusal(out, refusal);
        }
        // A scan never goes through the log, so no session ever has one to remember.
        Reply::Page { .. } => out.put_u8(0),
        // Steps of a migration come without a session.
        Reply::Migrated(_) => out.put_u8(0),
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32(bytes.len() as u32); // values are far below 4 GiB
    out.put_slice(bytes);
}

fn put_record(out: &mut Vec<u8>, record: Option<&Record>) {
    out.put_u8(record.is_some().into());
    if let Some(record) = record {
        out.put_u64(record.revision);
        out.put_u64(record.expires_at_ms.unwrap_or(0));
        put_bytes(out, &record.value);
    }
}

fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    match refusal {
        Refusal::NotAnInteger => out.put_u8(1),
        Refusal::NotANumber => out.put_u8(2),
        Refusal::Overflow => out.put_u8(3),
        Refusal::TooLarge { limit } => {
            out.put_u8(4);
            out.put_u64(*limit);
        }
        Refusal::WrongOrder => out.put_u8(5),
        Refusal::SessionExpired => out.put_u8(6),
        Refusal::SessionsFull => out.put_u8(7),
        Refusal::Malformed(why) => {
            out.put_u8(8);
            put_bytes(out, why.as_bytes());
        }
    }
}

fn take(rest: &mut Bytes, outer: bool) -> Option<Reply> {
    Some(match rest.try_get_u8().ok()? {
        1 => Reply::Record(take_record(rest)?),
        2 => Reply::Info(match flag(rest)? {
            false => None,
            true => {
                Some(RecordInfo { length: long(rest)?, revision: long(rest)?, expires_at_ms: time(rest)? })
            }
        }),
        3 => Reply::Written { revision: long(rest)?, previous: take_record(rest)? },
        4 => Reply::Deleted { existed: flag(rest)?, previous: take_record(rest)? },
        5 => Reply::ConditionFailed { current: take_record(rest)? },
        6 => Reply::Number { value: rest.try_get_i64().ok()?, revision: long(rest)? },
        7 => Reply::Decimal { value: take_bytes(rest)?, revision: long(rest)? },
        8 => Reply::Length { length: long(rest)?, revision: long(rest)? },
        9 => Reply::Touched { changed: flag(rest)? },
        10 if outer => {
            let applied = flag(rest)?;
            let count = rest.try_get_u32().ok()?;
            let mut replies = Vec::new();
            for _ in 0..count {
                replies.push(take(rest, false)?);
            }
            Reply::Batch { applied, replies }
        }
        11 => Reply::Count { rows: long(rest)?, bytes: long(rest)? },
        12 => Reply::Swept { removed: rest.try_get_u32().ok()?, more: flag(rest)? },
        13 => Reply::Refused(take_refusal(rest)?),
        _ => return None,
    })
}

fn long(rest: &mut Bytes) -> Option<u64> {
    rest.try_get_u64().ok()
}

fn flag(rest: &mut Bytes) -> Option<bool> {
    Some(rest.try_get_u8().ok()? != 0)
}

fn time(rest: &mut Bytes) -> Option<Option<u64>> {
    Some(Some(long(rest)?).filter(|at| *at != 0))
}

fn take_bytes(rest: &mut Bytes) -> Option<Bytes> {
    let length = rest.try_get_u32().ok()? as usize;
    if rest.remaining() < length { None } else { Some(rest.split_to(length)) }
}

fn take_record(rest: &mut Bytes) -> Option<Option<Record>> {
    if !flag(rest)? {
        return Some(None);
    }
    let (revision, expires_at_ms) = (long(rest)?, time(rest)?);
    Some(Some(Record { value: take_bytes(rest)?, revision, expires_at_ms }))
}

fn take_refusal(rest: &mut Bytes) -> Option<Refusal> {
    Some(match rest.try_get_u8().ok()? {
        1 => Refusal::NotAnInteger,
        2 => Refusal::NotANumber,
        3 => Refusal::Overflow,
        4 => Refusal::TooLarge { limit: long(rest)? },
        5 => Refusal::WrongOrder,
        6 => Refusal::SessionExpired,
        7 => Refusal::SessionsFull,
        8 => Refusal::Malformed(String::from_utf8(take_bytes(rest)?.to_vec()).ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(reply: &Reply) -> Vec<u8> {
        let mut out = b"what was there".to_vec();
        encode(reply, &mut out);
        out
    }

    /// One of each, with what is there and what is not.
    fn all() -> Vec<Reply> {
        let record = Record { value: Bytes::from_static(b"v"), revision: 7, expires_at_ms: Some(9) };
        let info = RecordInfo { length: 1, revision: 7, expires_at_ms: None };
        let refusals = [
            Refusal::NotAnInteger,
            Refusal::NotANumber,
            Refusal::Overflow,
            Refusal::TooLarge { limit: u64::MAX },
            Refusal::WrongOrder,
            Refusal::SessionExpired,
            Refusal::SessionsFull,
            Refusal::Malformed("why".into()),
        ];
        let mut all = vec![
            Reply::Record(None),
            Reply::Record(Some(Record { expires_at_ms: None, ..record.clone() })),
            Reply::Info(None),
            Reply::Info(Some(info)),
            Reply::Written { revision: 1, previous: Some(record.clone()) },
            Reply::Deleted { existed: true, previous: None },
            Reply::ConditionFailed { current: Some(record) },
            Reply::Number { value: i64::MIN, revision: 2 },
            Reply::Decimal { value: Bytes::from_static(b"0.1"), revision: 3 },
            Reply::Length { length: 4, revision: 5 },
            Reply::Touched { changed: true },
            Reply::Count { rows: 6, bytes: 7 },
            Reply::Swept { removed: 8, more: false },
        ];
        all.extend(refusals.map(Reply::Refused));
        all.push(Reply::Batch { applied: false, replies: all.clone() });
        all
    }

    #[test]
    fn replies_come_back_and_cut_ones_do_not() {
        for reply in all() {
            let bytes = encoded(&reply);
            assert_eq!(decode(&bytes), Some(reply));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn rubbish_is_no_panic(raw in prop::collection::vec(any::<u8>(), 0..80), kind in 0..14u8) {
            let raw: Bytes = [vec![kind], raw].concat().into();
            if let Some(reply) = decode(&raw) {
                // Flags may be any byte, so only the value has to come back.
                prop_assert_eq!(decode(&encoded(&reply)), Some(reply));
            }
        }
    }
}
