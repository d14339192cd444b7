//! How the driver's frames and log records look as bytes. Total to decode; what an entry holds is a slice of the frame
//! that it came in. Numbers are big-endian, a frame begins with its version and kind.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::log::{LogPos, LogRecord};
use shardbearer_core::protocol::{Entry, Message, Payload};

/// Version of frames. Records have the version in their kind.
const VERSION: u8 = 1;

const MESSAGE: u8 = 1;
const CHUNK: u8 = 2;

const BLANK: u8 = 0;
const PROPOSAL: u8 = 1;
const OWN: u8 = 2;

/// What one member's driver says to another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<M> {
    /// The protocol's.
    Message { message: M, entries: Vec<Entry> },
    /// A part of a snapshot. It is a call; the answer is [`TAKEN`] or nothing.
    Chunk(Chunk),
}

/// A part of a snapshot. The first (`number` 0) begins a transfer, the last installs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub transfer: u64,
    pub number: u64,
    pub last: bool,
    pub bytes: Bytes,
}

/// The answer to a chunk that was taken; after the last one, it is installed.
pub const TAKEN: &[u8] = b"\x01";

/// An entry as the log keeps it.
pub fn record(entry: Entry) -> LogRecord {
    let (kind, bytes) = match entry.payload {
        Payload::Blank => (BLANK, Bytes::new()),
        Payload::Proposal(bytes) => (PROPOSAL, bytes),
        Payload::Own(bytes) => (OWN, bytes),
    };
    let mut payload = BytesMut::with_capacity(1 + bytes.len());
    payload.put_u8(kind);
    payload.put_slice(&bytes);
    LogRecord { position: entry.position, payload: payload.freeze() }
}

/// The inverse of [`record`]; `None` for a kind that this version does not know.
pub fn entry(record: LogRecord) -> Option<Entry> {
    let mut bytes = record.payload;
    let payload = match bytes.try_get_u8().ok()? {
        BLANK if bytes.is_empty() => Payload::Blank,
        PROPOSAL => Payload::Proposal(bytes),
        OWN => Payload::Own(bytes),
        _ => return None,
    };
    Some(Entry { position: record.position, payload })
}

/// A message and the records that go with it.
pub fn encode_message<M: Message>(message: &M, records: &[LogRecord]) -> Bytes {
    let bytes: usize = records.iter().map(|record| 20 + record.payload.len()).sum();
    let mut head = BytesMut::new();
    message.encode(&mut head);
    let mut out = BytesMut::with_capacity(6 + head.len() + bytes);
    out.put_u8(VERSION);
    out.put_u8(MESSAGE);
    out.put_u32(head.len() as u32); // a message is small, entries are not part of it
    out.put_slice(&head);
    for record in records {
        out.put_u64(record.position.term);
        out.put_u64(record.position.index);
        out.put_u32(record.payload.len() as u32); // bounded by the proposal's limit
        out.put_slice(&record.payload);
    }
    out.freeze()
}

/// A part of a snapshot.
pub fn encode_chunk(chunk: &Chunk) -> Bytes {
    let mut out = BytesMut::with_capacity(19 + chunk.bytes.len());
    out.put_u8(VERSION);
    out.put_u8(CHUNK);
    out.put_u64(chunk.transfer);
    out.put_u64(chunk.number);
    out.put_u8(chunk.last.into());
    out.put_slice(&chunk.bytes);
    out.freeze()
}

/// The inverse of both.
pub fn decode<M: Message>(mut bytes: Bytes) -> Option<Frame<M>> {
    let rest = &mut bytes;
    if rest.try_get_u8().ok()? != VERSION {
        return None;
    }
    match rest.try_get_u8().ok()? {
        MESSAGE => {
            let head = take(rest)?;
            let message = M::decode(head)?;
            let mut entries: Vec<Entry> = Vec::new();
            while rest.has_remaining() {
                let position = LogPos { term: rest.try_get_u64().ok()?, index: rest.try_get_u64().ok()? };
                // Without a gap, so that no protocol has to look.
                if entries
                    .last()
                    .is_some_and(|last| last.position.index.checked_add(1) != Some(position.index))
                {
                    return None;
                }
                entries.push(entry(LogRecord { position, payload: take(rest)? })?);
            }
            Some(Frame::Message { message, entries })
        }
        CHUNK => {
            let (transfer, number) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
            let last = rest.try_get_u8().ok()? != 0;
            Some(Frame::Chunk(Chunk { transfer, number, last, bytes }))
        }
        _ => None,
    }
}

/// Bytes behind their length.
fn take(rest: &mut Bytes) -> Option<Bytes> {
    let length = rest.try_get_u32().ok()? as usize;
    (length <= rest.len()).then(|| rest.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Word(Bytes);

    impl Message for Word {
        fn encode(&self, out: &mut BytesMut) {
            out.put_slice(&self.0);
        }

        fn decode(bytes: Bytes) -> Option<Self> {
            Some(Word(bytes))
        }
    }

    fn payload() -> impl Strategy<Value = Payload> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        prop_oneof![Just(Payload::Blank), bytes().prop_map(Payload::Proposal), bytes().prop_map(Payload::Own),]
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(
            head in proptest::collection::vec(any::<u8>(), 0..40),
            first in 0..u64::MAX / 2,
            payloads in proptest::collection::vec((any::<u64>(), payload()), 0..5),
        ) {
            let message = Word(head.into());
            let entries: Vec<Entry> = (first..).zip(payloads).map(|(index, (term, payload))| Entry {
                position: LogPos { term, index },
                payload,
            }).collect();
            let records: Vec<LogRecord> = entries.iter().cloned().map(record).collect();
            let bytes = encode_message(&message, &records);
            prop_assert_eq!(decode(bytes), Some(Frame::Message { message, entries }));
        }

        #[test]
        fn any_bytes_are_a_frame_or_none(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), sane in any::<bool>()) {
            if sane && bytes.len() > 1 {
                bytes[0] = VERSION;
                bytes[1] = bytes[1] % 2 + 1;
            }
            let _ = decode::<Word>(bytes.into());
        }
    }

    #[test]
    fn a_gap_between_entries_makes_no_sense() {
        let at = |index| record(Entry { position: LogPos { term: 1, index }, payload: Payload::Blank });
        assert!(decode::<Word>(encode_message(&Word(Bytes::new()), &[at(1), at(2)])).is_some());
        assert!(decode::<Word>(encode_message(&Word(Bytes::new()), &[at(1), at(3)])).is_none());
    }
}
