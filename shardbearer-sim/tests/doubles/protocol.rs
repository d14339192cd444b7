//! Protocols that break a promise, each of which the net must notice, and an honest one.

use bytes::{Bytes, BytesMut};
use shardbearer_core::error::Refused;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Answer, Boot, Durable, Input, Message, Payload, Protocol, Ready, Status};
use shardbearer_sim::protocol::Net;
use shardbearer_sim::protocol::walk::{ROUGH, walk};

/// What is wrong, as a number, because a type cannot take an enum.
const HONEST: u8 = 0;
const READS_THE_PAST: u8 = 1;
const REFUSES_WHAT_IT_APPENDED: u8 = 2;
const LEAVES_GAPS: u8 = 3;
const COMMITS_WHAT_IT_DOES_NOT_HAVE: u8 = 4;
const CUTS_WHAT_IS_COMMITTED: u8 = 5;
const NEVER_LEADS: u8 = 6;
const FORGETS_AT_A_CRASH: u8 = 7;

/// A member that replicates to nobody.
#[derive(Clone, Debug)]
struct Alone<const FLAW: u8> {
    me: RadiantId,
    last: u64,
    durable: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct Nothing;

impl Message for Nothing {
    fn encode(&self, _: &mut BytesMut) {}

    fn decode(_: Bytes) -> Option<Self> {
        Some(Nothing)
    }
}

impl<const FLAW: u8> Protocol for Alone<FLAW> {
    type Message = Nothing;

    fn recover(boot: Boot, durable: Durable) -> Result<Self, String> {
        let last = if FLAW == FORGETS_AT_A_CRASH { 0 } else { durable.log.last().index };
        Ok(Alone { me: boot.me, last, durable: last })
    }

    fn step(&mut self, input: Input<Nothing>, ready: &mut Ready<Nothing>) {
        match input {
            Input::Propose { ticket, proposal } => {
                self.last += if FLAW == LEAVES_GAPS { 2 } else { 1 };
                let position = LogPos { term: 1, index: self.last };
                ready.append(position, Payload::Proposal(proposal), Some(ticket));
                if FLAW == REFUSES_WHAT_IT_APPENDED {
                    ready.refuse(ticket, Refused::Closed);
                }
                if FLAW == COMMITS_WHAT_IT_DOES_NOT_HAVE {
                    ready.commit(self.last + 1);
                }
            }
            Input::Persisted { upto } => {
                self.durable = upto;
                ready.commit(upto);
            }
            Input::Applied { upto } if FLAW == CUTS_WHAT_IS_COMMITTED => ready.truncate(upto),
            Input::Tick => ready.commit(self.durable),
            Input::ReadBarrier { ticket } => {
                let index = if FLAW == READS_THE_PAST { 0 } else { self.durable };
                ready.answer(ticket, Answer::Read(index));
            }
            _ => {}
        }
    }

    fn status(&self) -> Status {
        Status { leading: FLAW != NEVER_LEADS, herald: Some(self.me), ..Status::default() }
    }
}

/// What the walks say: the first thing that is broken, if anything is.
fn walked<const FLAW: u8>(members: u64) -> Option<String> {
    (0..20).find_map(|seed| {
        let mut net = Net::<Alone<FLAW>>::founded(members);
        let ids: Vec<RadiantId> = net.members.keys().copied().collect();
        walk(&mut net, seed, 300, ROUGH, &ids).err().map(|broken| broken.to_string())
    })
}

#[test]
fn an_honest_protocol_keeps_every_promise() {
    assert_eq!(walked::<HONEST>(1), None);
}

#[test]
fn every_broken_promise_is_noticed() {
    for (found, words) in [
        (walked::<HONEST>(2), "another member"),
        (walked::<READS_THE_PAST>(1), "was acknowledged before it"),
        (walked::<REFUSES_WHAT_IT_APPENDED>(1), "refused"),
        (walked::<LEAVES_GAPS>(1), "does not follow"),
        (walked::<COMMITS_WHAT_IT_DOES_NOT_HAVE>(1), "does not have"),
        (walked::<CUTS_WHAT_IS_COMMITTED>(1), "is committed"),
        (walked::<NEVER_LEADS>(1), "no service"),
        (walked::<FORGETS_AT_A_CRASH>(1), "does not follow"),
    ] {
        let found = found.unwrap_or_else(|| panic!("nobody noticed: {words}"));
        assert!(found.contains(words), "{words}: {found:.300}");
    }
}
