//! What engines hear from each other and read from their logs; see [`crate::fuzzing`].

use bytes::{BufMut, Bytes, BytesMut};
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::log::{LogPos, LogRecord};
use shardbearer_core::protocol::{
    Boot, Change, Configuration, Durable, Entry, Input, Payload, Persist, Protocol, Ready, Terms, Ticket,
    Ticks,
};

use super::chain::{Chain, wire as chain_wire};
use super::driver::frame;
use super::omnipaxos::wire as omnipaxos;
use super::openraft::wire as openraft;
use crate::fuzzing::Source;

/// Bytes that may be a frame or a record of one of the engines: the first says which.
pub fn engines(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let kind = source.byte();
    let raw = Bytes::copy_from_slice(source.rest());
    match kind % 11 {
        0 => again(raw, openraft::decode_request, openraft::encode_request),
        1 => again(raw, openraft::decode_response, openraft::encode_response),
        2 => again(raw, openraft::decode_payload, openraft::encode_payload),
        3 => again(raw, openraft::decode_vote, openraft::encode_vote),
        4 => again(raw, openraft::decode_stored_membership, openraft::encode_stored_membership),
        5 => again(sealed(&raw), omnipaxos::decode_frame, omnipaxos::encode_frame),
        6 => again(raw, omnipaxos::decode_hard, omnipaxos::encode_hard),
        7 => again(raw, |raw| omnipaxos::decode_entry(7, raw), omnipaxos::encode_entry),
        8 => again(raw, chain_wire::decode_hard, |(configuration, complete)| {
            chain_wire::encode_hard(configuration, *complete)
        }),
        9 => again(raw, frame::decode::<chain_wire::Say>, |frame| match frame {
            frame::Frame::Message { message, entries } => {
                let records: Vec<LogRecord> = entries.iter().cloned().map(frame::record).collect();
                frame::encode_message(message, &records)
            }
            frame::Frame::Chunk(chunk) => frame::encode_chunk(chunk),
        }),
        _ => {
            let position = LogPos { term: 1, index: 1 };
            again(
                raw,
                |payload| frame::entry(LogRecord { position, payload }),
                |entry| frame::record(entry.clone()).payload,
            );
        }
    }
}

/// The version in front, and a checksum behind it that fits the rest: random bytes never have that.
fn sealed(raw: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + raw.len());
    out.put_u8(1);
    out.put_u32(crc32fast::hash(raw));
    out.put_slice(raw);
    out.freeze()
}

/// What is understood, written down and read again, is the same.
fn again<T>(raw: Bytes, read: impl Fn(Bytes) -> Option<T>, write: impl Fn(&T) -> Bytes) {
    let length = raw.len();
    let Some(value) = read(raw) else { return };
    let written = write(&value);
    // A byte of a reason that is no text becomes the sign for that, which has three.
    assert!(written.len() <= 3 * length + 64, "{length} bytes came to {}", written.len());
    let back = read(written.clone()).expect("what was written is understood");
    assert_eq!(write(&back), written, "another value came back");
}

/// A member of a chain that hears anything from the others: it keeps its log in order, and does not fail.
pub fn chain(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let members = [RadiantId(1), RadiantId(2), RadiantId(3)];
    let boot = Boot {
        order: OrderId(source.below(4).into()),
        me: RadiantId(1),
        start: shardbearer_core::engine::Start::Found(members.to_vec()),
        seed: source.number(),
        ticks: Ticks { heartbeat: 2, election_min: 10, election_max: 20 },
    };
    let mut chain = Chain::recover(boot, Durable::default()).expect("it is a member");
    let mut log = Terms::default();
    let mut commit = 0;
    for step in 0..300 {
        if source.is_empty() {
            break;
        }
        let input = input(&mut source, Ticket(step), log.last().index, commit);
        let mut ready = Ready::default();
        chain.step(input, &mut ready);
        for change in ready.persist {
            match change {
                Persist::Append(entry, _) => {
                    assert!(log.push(entry.position), "{entry:?} does not follow {:?}", log.last());
                }
                Persist::Truncate { from } => log.truncate(from),
                Persist::Hard(hard) => {
                    assert!(chain_wire::decode_hard(hard).is_some(), "its own hard state is readable");
                }
            }
        }
        assert!(ready.commit <= log.last().index, "committed beyond the log's end");
        for envelope in ready.now.iter().chain(&ready.after) {
            assert!(envelope.entries.end <= log.last().index + 1, "{envelope:?} has more than the log");
        }
        commit = commit.max(ready.commit).min(log.last().index);
        let _ = chain.status();
    }
}

fn input(source: &mut Source<'_>, ticket: Ticket, last: u64, commit: u64) -> Input<chain_wire::Say> {
    let from = RadiantId(u64::from(source.below(3)) + 1);
    match source.below(12) {
        0 | 1 => Input::Tick,
        2 => Input::Propose { ticket, proposal: source.bytes() },
        3 => Input::ReadBarrier { ticket },
        4 => Input::Persisted { upto: last },
        5 => Input::Applied { upto: commit },
        6 => Input::Reconfigure { ticket, change: Change::Decided(configuration(source)) },
        7 => Input::HandOver { ticket, to: from },
        _ => {
            let (message, first) = say(source);
            let entries =
                (0..u64::from(source.below(4))).map_while(|count| first.checked_add(count)).map(|index| {
                    Entry {
                        position: LogPos { term: source.number(), index },
                        payload: if source.flag() {
                            Payload::Blank
                        } else {
                            Payload::Proposal(source.bytes())
                        },
                    }
                });
            Input::Receive { from, message, entries: entries.collect() }
        }
    }
}

/// A message, and where its entries begin.
fn say(source: &mut Source<'_>) -> (chain_wire::Say, u64) {
    use chain_wire::Say;
    let epoch = Epoch(source.number());
    let mut first = 1;
    let message = match source.below(8) {
        0..=2 => {
            let prev = LogPos { term: source.number(), index: source.number() };
            first = if source.byte() < 240 { prev.index.saturating_add(1) } else { source.number() };
            Say::Append { epoch, prev, base: source.number(), beat: source.number() }
        }
        3 => Say::Ack { epoch, matched: source.number(), commit: source.number(), beat: source.number() },
        4 => Say::Reject { epoch, back: source.number() },
        5 => Say::Confirm { epoch, round: source.number() },
        6 => {
            let last = source.flag().then(|| source.number());
            Say::Confirmed { epoch, round: source.number(), last }
        }
        _ if source.flag() => Say::Ask { epoch },
        _ => Say::Take(configuration(source)),
    };
    (message, first)
}

fn configuration(source: &mut Source<'_>) -> Configuration {
    Configuration {
        epoch: Epoch(source.number()),
        previous: Epoch(source.number()),
        members: (0..source.below(5)).map(|_| RadiantId(source.below(5).into())).collect(),
        learners: (0..source.below(3)).map(|_| RadiantId(source.below(5).into())).collect(),
    }
}
