//! How entries, the hard state and messages look as bytes. Total to decode: what a peer sent is input, and nothing that
//! the library would trip over gets past here or [`super::replica`]. Numbers are big-endian.

mod stored;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use omnipaxos::ballot_leader_election::Ballot;
use omnipaxos::messages::ballot_leader_election::{HeartbeatMsg, HeartbeatReply, HeartbeatRequest};
use omnipaxos::messages::sequence_paxos::{
    AcceptDecide, AcceptSync, Accepted, Decide, NotAccepted, PaxosMsg, Prepare, PrepareReq, Promise,
};
use omnipaxos::util::{LogSync, SequenceNumber};

pub use self::stored::{Entry, Hard, decode_entry, decode_hard, encode_entry, encode_hard, term};

use super::fragments::Fragment;

/// Version of frames, of stored entries and of the hard state.
const VERSION: u8 = 1;

/// The only configuration there is: members do not change.
pub const CONFIGURATION: u32 = 1;

/// Ballots above are not believed: one a millisecond takes weeks to get there, and the library adds to them.
const ROUND_MAX: u32 = 1 << 31;

/// What one member tells another, all at once.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The sender's incarnation, and the receiver's as the sender knows it; zero if it does not.
    pub from: u64,
    pub to: u64,
    /// The number of this packet if it has `ordered` messages, else of the last that had.
    pub number: u64,
    /// How many times the sender saw that packets of the receiver were missing.
    pub lost: u64,
    /// In order, each once, with gaps known: what the library relies on.
    pub ordered: Vec<PaxosMsg<Entry>>,
    /// In any order.
    pub loose: Vec<Loose>,
}

/// Messages that may be lost, doubled and late.
#[derive(Clone, Debug)]
pub enum Loose {
    Heartbeat(HeartbeatMsg),
    /// "Has anybody been promised more than this?" for reads.
    Probe {
        ballot: Ballot,
        round: u64,
    },
    /// "No."
    Confirmed {
        round: u64,
    },
    /// "Stand for election", from the leader of this ballot.
    Campaign {
        ballot: Ballot,
    },
}

/// What comes in a frame.
#[derive(Clone, Debug)]
pub enum Frame {
    Packet(Packet),
    /// A piece of an image. The first (`number` 0) begins a transfer, the last installs it.
    Chunk {
        transfer: u64,
        number: u64,
        last: bool,
        bytes: Bytes,
    },
    /// A part of a frame that is longer than a message.
    Fragment(Fragment),
}

fn put_ballot(out: &mut BytesMut, ballot: Ballot) {
    out.put_u32(ballot.n);
    out.put_u32(ballot.priority);
    out.put_u64(ballot.pid);
}

fn take_ballot(rest: &mut Bytes) -> Option<Ballot> {
    let (n, priority) = (rest.try_get_u32().ok()?, rest.try_get_u32().ok()?);
    let pid = rest.try_get_u64().ok()?;
    // A ballot of nobody is the library's own "none", which differs in its configuration too.
    let ballot = if pid == 0 { Ballot::default() } else { Ballot::with(CONFIGURATION, n, priority, pid) };
    (n <= ROUND_MAX).then_some(ballot)
}

fn put_entries(out: &mut BytesMut, entries: &[Entry]) {
    out.put_u32(entries.len() as u32); // bounded by the bytes of a message
    for entry in entries {
        out.put_u64(entry.term);
        out.put_u32(entry.proposal.len() as u32); // bounded by the proposal's limit
        out.put_slice(&entry.proposal);
    }
}

fn take_entries(rest: &mut Bytes) -> Option<Vec<Entry>> {
    let count = rest.try_get_u32().ok()?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let term = rest.try_get_u64().ok()?;
        let length = rest.try_get_u32().ok()? as usize;
        if rest.len() < length {
            return None;
        }
        entries.push(Entry { term, proposal: rest.split_to(length) });
    }
    Some(entries)
}

fn put_sync(out: &mut BytesMut, sync: &LogSync<Entry>) {
    out.put_u64(sync.sync_idx as u64);
    put_entries(out, &sync.suffix);
}

fn take_sync(rest: &mut Bytes) -> Option<LogSync<Entry>> {
    let sync_idx = take_index(rest)?;
    Some(LogSync { decided_snapshot: None, suffix: take_entries(rest)?, sync_idx, stopsign: None })
}

fn take_index(rest: &mut Bytes) -> Option<usize> {
    usize::try_from(rest.try_get_u64().ok()?).ok()
}

fn put_number(out: &mut BytesMut, number: SequenceNumber) {
    out.put_u64(number.session);
    out.put_u64(number.counter);
}

fn take_number(rest: &mut Bytes) -> Option<SequenceNumber> {
    Some(SequenceNumber { session: rest.try_get_u64().ok()?, counter: rest.try_get_u64().ok()? })
}

/// A message's bytes; nothing for one that is never sent, see [`is_sent`].
fn put_message(out: &mut BytesMut, message: &PaxosMsg<Entry>) {
    match message {
        PaxosMsg::PrepareReq(PrepareReq { n }) => {
            out.put_u8(1);
            put_ballot(out, *n);
        }
        PaxosMsg::Prepare(prepare) => {
            out.put_u8(2);
            put_ballot(out, prepare.n);
            out.put_u64(prepare.decided_idx as u64);
            put_ballot(out, prepare.n_accepted);
            out.put_u64(prepare.accepted_idx as u64);
        }
        PaxosMsg::Promise(promise) => {
            out.put_u8(3);
            put_ballot(out, promise.n);
            put_ballot(out, promise.n_accepted);
            out.put_u64(promise.decided_idx as u64);
            out.put_u64(promise.accepted_idx as u64);
            out.put_u8(promise.log_sync.is_some().into());
            promise.log_sync.iter().for_each(|sync| put_sync(out, sync));
        }
        PaxosMsg::AcceptSync(accept) => {
            out.put_u8(4);
            put_ballot(out, accept.n);
            put_number(out, accept.seq_num);
            out.put_u64(accept.decided_idx as u64);
            put_sync(out, &accept.log_sync);
        }
        PaxosMsg::AcceptDecide(accept) => {
            out.put_u8(5);
            put_ballot(out, accept.n);
            put_number(out, accept.seq_num);
            out.put_u64(accept.decided_idx as u64);
            put_entries(out, &accept.entries);
        }
        PaxosMsg::Accepted(Accepted { n, accepted_idx }) => {
            out.put_u8(6);
            put_ballot(out, *n);
            out.put_u64(*accepted_idx as u64);
        }
        PaxosMsg::NotAccepted(NotAccepted { n }) => {
            out.put_u8(7);
            put_ballot(out, *n);
        }
        PaxosMsg::Decide(decide) => {
            out.put_u8(8);
            put_ballot(out, decide.n);
            put_number(out, decide.seq_num);
            out.put_u64(decide.decided_idx as u64);
        }
        PaxosMsg::ProposalForward(_)
        | PaxosMsg::Compaction(_)
        | PaxosMsg::AcceptStopSign(_)
        | PaxosMsg::ForwardStopSign(_) => {}
    }
}

fn take_message(rest: &mut Bytes) -> Option<PaxosMsg<Entry>> {
    let kind = rest.try_get_u8().ok()?;
    let n = take_ballot(rest)?;
    Some(match kind {
        1 => PaxosMsg::PrepareReq(PrepareReq { n }),
        2 => PaxosMsg::Prepare(Prepare {
            n,
            decided_idx: take_index(rest)?,
            n_accepted: take_ballot(rest)?,
            accepted_idx: take_index(rest)?,
        }),
        3 => {
            let n_accepted = take_ballot(rest)?;
            let (decided_idx, accepted_idx) = (take_index(rest)?, take_index(rest)?);
            let log_sync = if rest.try_get_u8().ok()? == 0 { None } else { Some(take_sync(rest)?) };
            PaxosMsg::Promise(Promise { n, n_accepted, decided_idx, accepted_idx, log_sync })
        }
        4 => {
            let (seq_num, decided_idx) = (take_number(rest)?, take_index(rest)?);
            PaxosMsg::AcceptSync(AcceptSync { n, seq_num, decided_idx, log_sync: take_sync(rest)? })
        }
        5 => {
            let (seq_num, decided_idx) = (take_number(rest)?, take_index(rest)?);
            PaxosMsg::AcceptDecide(AcceptDecide { n, seq_num, decided_idx, entries: take_entries(rest)? })
        }
        6 => PaxosMsg::Accepted(Accepted { n, accepted_idx: take_index(rest)? }),
        7 => PaxosMsg::NotAccepted(NotAccepted { n }),
        8 => PaxosMsg::Decide(Decide { n, seq_num: take_number(rest)?, decided_idx: take_index(rest)? }),
        _ => return None,
    })
}

fn put_loose(out: &mut BytesMut, loose: &Loose) {
    match loose {
        Loose::Heartbeat(HeartbeatMsg::Request(HeartbeatRequest { round })) => {
            out.put_u8(1);
            out.put_u32(*round);
        }
        Loose::Heartbeat(HeartbeatMsg::Reply(reply)) => {
            out.put_u8(2);
            out.put_u32(reply.round);
            put_ballot(out, reply.ballot);
            put_ballot(out, reply.leader);
            out.put_u8(reply.happy.into());
        }
        Loose::Probe { ballot, round } => {
            out.put_u8(3);
            put_ballot(out, *ballot);
            out.put_u64(*round);
        }
        Loose::Confirmed { round } => {
            out.put_u8(4);
            out.put_u64(*round);
        }
        Loose::Campaign { ballot } => {
            out.put_u8(5);
            put_ballot(out, *ballot);
        }
    }
}

fn take_loose(rest: &mut Bytes) -> Option<Loose> {
    Some(match rest.try_get_u8().ok()? {
        1 => Loose::Heartbeat(HeartbeatMsg::Request(HeartbeatRequest { round: rest.try_get_u32().ok()? })),
        2 => Loose::Heartbeat(HeartbeatMsg::Reply(HeartbeatReply {
            round: rest.try_get_u32().ok()?,
            ballot: take_ballot(rest)?,
            leader: take_ballot(rest)?,
            happy: rest.try_get_u8().ok()? != 0,
        })),
        3 => Loose::Probe { ballot: take_ballot(rest)?, round: rest.try_get_u64().ok()? },
        4 => Loose::Confirmed { round: rest.try_get_u64().ok()? },
        5 => Loose::Campaign { ballot: take_ballot(rest)? },
        _ => return None,
    })
}

/// A frame's bytes: version, checksum of the rest, kind, content.
pub fn encode_frame(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    out.put_u32(0);
    match frame {
        Frame::Packet(packet) => {
            out.put_u8(1);
            for number in [packet.from, packet.to, packet.number, packet.lost] {
                out.put_u64(number);
            }
            out.put_u32(packet.ordered.len() as u32); // what one step of the library said
            packet.ordered.iter().for_each(|message| put_message(&mut out, message));
            out.put_u32(packet.loose.len() as u32);
            packet.loose.iter().for_each(|loose| put_loose(&mut out, loose));
        }
        Frame::Chunk { transfer, number, last, bytes } => {
            out.put_u8(2);
            out.put_u64(*transfer);
            out.put_u64(*number);
            out.put_u8((*last).into());
            out.put_slice(bytes);
        }
        Frame::Fragment(Fragment { whole: (incarnation, number), place, of, bytes }) => {
            out.put_u8(3);
            out.put_u64(*incarnation);
            out.put_u64(*number);
            out.put_u32(*place);
            out.put_u32(*of);
            out.put_slice(bytes);
        }
    }
    let checksum = crc32fast::hash(&out[5..]);
    out[1..5].copy_from_slice(&checksum.to_be_bytes());
    out.freeze()
}

/// The inverse of [`encode_frame`].
pub fn decode_frame(mut bytes: Bytes) -> Option<Frame> {
    let rest = &mut bytes;
    if rest.try_get_u8().ok()? != VERSION || rest.try_get_u32().ok()? != crc32fast::hash(rest) {
        return None;
    }
    match rest.try_get_u8().ok()? {
        1 => {
            let (from, to) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
            let (number, lost) = (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?);
            let (mut ordered, mut loose) = (Vec::new(), Vec::new());
            for _ in 0..rest.try_get_u32().ok()? {
                ordered.push(take_message(rest)?);
            }
            for _ in 0..rest.try_get_u32().ok()? {
                loose.push(take_loose(rest)?);
            }
            Some(Frame::Packet(Packet { from, to, number, lost, ordered, loose }))
        }
        2 => Some(Frame::Chunk {
            transfer: rest.try_get_u64().ok()?,
            number: rest.try_get_u64().ok()?,
            last: rest.try_get_u8().ok()? != 0,
            bytes,
        }),
        3 => Some(Frame::Fragment(Fragment {
            whole: (rest.try_get_u64().ok()?, rest.try_get_u64().ok()?),
            place: rest.try_get_u32().ok()?,
            of: rest.try_get_u32().ok()?,
            bytes,
        })),
        _ => None,
    }
}

/// Whether a message is one that is ever sent: members do not change, the library does not compact, and
/// proposals are not passed on.
pub fn is_sent(message: &PaxosMsg<Entry>) -> bool {
    !matches!(
        message,
        PaxosMsg::ProposalForward(_)
            | PaxosMsg::Compaction(_)
            | PaxosMsg::AcceptStopSign(_)
            | PaxosMsg::ForwardStopSign(_)
    )
}

/// About how many bytes of entries before this position a message has, for who lacks them.
pub fn bytes_before(message: &PaxosMsg<Entry>, end: usize) -> usize {
    let sync = match message {
        PaxosMsg::AcceptSync(accept) => Some(&accept.log_sync),
        PaxosMsg::Promise(promise) => promise.log_sync.as_ref(),
        _ => None,
    };
    let Some(sync) = sync else { return 0 };
    let entries = sync.suffix.iter().take(end.saturating_sub(sync.sync_idx));
    entries.map(|entry| 12 + entry.proposal.len()).sum()
}

#[cfg(test)]
mod tests;
