//! Frames and stored things come back as they were, and nothing else comes back at all.

use omnipaxos::messages::ballot_leader_election::HeartbeatReply;
use omnipaxos::messages::sequence_paxos::{AcceptDecide, AcceptSync, Promise};

use super::*;

fn ballot(n: u32) -> Ballot {
    Ballot::with(CONFIGURATION, n, 0, 2)
}

fn entries() -> Vec<Entry> {
    vec![Entry { term: 9, proposal: "one".into() }, Entry { term: 10, proposal: Bytes::new() }]
}

fn sync() -> LogSync<Entry> {
    LogSync { decided_snapshot: None, suffix: entries(), sync_idx: 4, stopsign: None }
}

fn packet() -> Frame {
    let seq_num = SequenceNumber { session: 1, counter: 2 };
    Frame::Packet(Packet {
        from: 3,
        to: 4,
        number: 5,
        lost: 6,
        ordered: vec![
            PaxosMsg::PrepareReq(PrepareReq { n: Ballot::default() }),
            PaxosMsg::Prepare(Prepare {
                n: ballot(2),
                decided_idx: 1,
                n_accepted: ballot(1),
                accepted_idx: 7,
            }),
            PaxosMsg::Promise(Promise {
                n: ballot(2),
                n_accepted: Ballot::default(),
                decided_idx: 1,
                accepted_idx: 7,
                log_sync: Some(sync()),
            }),
            PaxosMsg::AcceptSync(AcceptSync { n: ballot(2), seq_num, decided_idx: 3, log_sync: sync() }),
            PaxosMsg::AcceptDecide(AcceptDecide {
                n: ballot(2),
                seq_num,
                decided_idx: 3,
                entries: entries(),
            }),
            PaxosMsg::Accepted(Accepted { n: ballot(2), accepted_idx: 8 }),
            PaxosMsg::NotAccepted(NotAccepted { n: ballot(3) }),
            PaxosMsg::Decide(Decide { n: ballot(2), seq_num, decided_idx: 8 }),
        ],
        loose: vec![
            Loose::Heartbeat(HeartbeatMsg::Request(HeartbeatRequest { round: 1 })),
            Loose::Heartbeat(HeartbeatMsg::Reply(HeartbeatReply {
                round: 1,
                ballot: ballot(1),
                leader: ballot(2),
                happy: true,
            })),
            Loose::Probe { ballot: ballot(2), round: 9 },
            Loose::Confirmed { round: 9 },
            Loose::Campaign { ballot: ballot(2) },
        ],
    })
}

#[test]
fn frames_come_back_as_they_were() {
    let chunk = Frame::Chunk { transfer: 1, number: 2, last: true, bytes: "image".into() };
    let fragment = Frame::Fragment(Fragment { whole: (1, 2), place: 0, of: 3, bytes: "long".into() });
    for frame in [packet(), chunk, fragment] {
        let back = decode_frame(encode_frame(&frame)).expect("what was encoded");
        assert_eq!(format!("{back:?}"), format!("{frame:?}"));
    }
}

#[test]
fn a_frame_with_one_byte_changed_or_missing_is_none() {
    let bytes = encode_frame(&packet());
    for place in 0..bytes.len() {
        assert!(decode_frame(bytes.slice(..place)).is_none(), "cut at {place}");
        let mut changed = bytes.to_vec();
        changed[place] ^= 0x10;
        assert!(decode_frame(changed.into()).is_none(), "changed at {place}");
    }
}

#[test]
fn the_hard_state_and_entries_come_back() {
    let hard = Hard {
        incarnation: 3,
        promise: ballot(7),
        accepted: Ballot::default(),
        decided: 12,
        members: vec![1, 9],
    };
    assert_eq!(decode_hard(encode_hard(&hard)), Some(hard));
    assert_eq!(decode_hard(Bytes::from_static(&[2])), None, "another version");
    for entry in entries() {
        assert_eq!(decode_entry(entry.term, encode_entry(&entry)), Some(entry));
    }
}

#[test]
fn terms_grow_with_ballots_and_differ_between_members() {
    let (low, high) = (Ballot::with(CONFIGURATION, 1, 0, 3), Ballot::with(CONFIGURATION, 2, 0, 1));
    assert!(term(low) < term(high) && low < high);
    assert_ne!(term(Ballot::with(CONFIGURATION, 1, 0, 1)), term(Ballot::with(CONFIGURATION, 1, 0, 2)));
}

#[test]
fn what_an_image_would_hold_is_counted_and_nothing_else() {
    let seq_num = SequenceNumber { session: 1, counter: 2 };
    let message =
        PaxosMsg::AcceptSync(AcceptSync { n: ballot(2), seq_num, decided_idx: 3, log_sync: sync() });
    let counted = [0, 4, 5, 6, 9].map(|end| bytes_before(&message, end));
    assert_eq!(counted, [0, 0, 15, 27, 27], "of entries at 4 and 5");
    let decide =
        PaxosMsg::AcceptDecide(AcceptDecide { n: ballot(2), seq_num, decided_idx: 3, entries: entries() });
    assert_eq!(bytes_before(&decide, 9), 0);
}
