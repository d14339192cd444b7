//! What is stored: entries, and the hard state beside them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::storage::NoSnapshot;

use super::{VERSION, put_ballot, take_ballot};

/// An entry: the ballot it was proposed in, as a term, and what was proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub term: u64,
    pub proposal: Bytes,
}

impl omnipaxos::storage::Entry for Entry {
    type Snapshot = NoSnapshot; // images are ours, see `super::image`
}

/// A ballot as a term: greater for every later one, and never the same for two members.
pub fn term(ballot: Ballot) -> u64 {
    (u64::from(ballot.n) << 16) | (ballot.pid & 0xffff)
}

/// What is kept beside the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hard {
    /// Grows each time the member begins anew: after a restart, after an image.
    pub incarnation: u64,
    pub promise: Ballot,
    pub accepted: Ballot,
    /// A lower bound of what is decided.
    pub decided: u64,
    /// The members, ascending; a member's number in the library is its place here, from one.
    pub members: Vec<u64>,
}

/// The bytes of a stored entry.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + entry.proposal.len());
    out.put_u8(VERSION);
    out.put_slice(&entry.proposal);
    out.freeze()
}

/// The inverse of [`encode_entry`].
pub fn decode_entry(term: u64, mut bytes: Bytes) -> Option<Entry> {
    (bytes.try_get_u8().ok()? == VERSION).then_some(Entry { term, proposal: bytes })
}

/// The bytes of a hard state.
pub fn encode_hard(hard: &Hard) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u64(hard.incarnation);
    put_ballot(&mut out, hard.promise);
    put_ballot(&mut out, hard.accepted);
    out.put_u64(hard.decided);
    hard.members.iter().for_each(|member| out.put_u64(*member));
    out.freeze()
}

/// The inverse of [`encode_hard`].
pub fn decode_hard(mut bytes: Bytes) -> Option<Hard> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let incarnation = bytes.try_get_u64().ok()?;
    let (promise, accepted) = (take_ballot(&mut bytes)?, take_ballot(&mut bytes)?);
    let decided = bytes.try_get_u64().ok()?;
    let mut members = Vec::new();
    while bytes.has_remaining() {
        members.push(bytes.try_get_u64().ok()?);
    }
    Some(Hard { incarnation, promise, accepted, decided, members })
}
