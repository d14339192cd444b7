//! How openraft's messages and entries look as bytes, in the log and between radiants. Total to
//! decode; proposals are slices of the frame they came in.
//!
//! Numbers are big-endian. A frame begins with its version and kind.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openraft::impls::EmptyNode;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};

use super::types::{
    Entry, LeaderId, LogId, Membership, Payload, Proposal, StoredMembership, Types, Vote, log_id_of,
};

/// Version of frames and of stored entries.
const VERSION: u8 = 1;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// What one radiant's engine asks another's.
pub enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer {
        from: Vote,
        to: u64,
        last: Option<LogId>,
    },
    /// Whether the member is there. Answered without a disk and without openraft.
    Probe,
    /// A chunk of an image. The first (`number` 0) begins a transfer, the last installs it.
    Chunk {
        vote: Vote,
        transfer: u64,
        number: u64,
        last: bool,
        bytes: Bytes,
    },
}

/// What it is answered.
pub enum Response {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    /// The transfer was accepted, or not.
    Transfer(bool),
    /// The chunk was taken; after the last the image is installed. The vote tells a deposed sender.
    Chunk(Vote),
    /// The transfer has to begin anew, for this reason.
    ChunkRefused(String),
    /// Not now: the engine is closing, or may not vote yet.
    Declined,
    /// It is there.
    Here,
}

fn start(kind: u8, capacity: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(capacity + 2);
    out.put_u8(VERSION);
    out.put_u8(kind);
    out
}

fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64(vote.leader_id.term);
    out.put_u64(vote.leader_id.voted_for);
    out.put_u8(vote.committed.into());
}

fn take_vote(rest: &mut Bytes) -> Option<Vote> {
    let leader_id = LeaderId { term: rest.try_get_u64().ok()?, voted_for: rest.try_get_u64().ok()? };
    Some(Vote { leader_id, committed: rest.try_get_u8().ok()? != 0 })
}

fn put_id(out: &mut BytesMut, id: Option<&LogId>) {
    out.put_u8(id.is_some().into());
    if let Some(id) = id {
        out.put_u64(id.leader_id.term);
        out.put_u64(id.index);
    }
}

fn take_id(rest: &mut Bytes) -> Option<Option<LogId>> {
    if rest.try_get_u8().ok()? == 0 {
        return Some(None);
    }
    let term = rest.try_get_u64().ok()?;
    Some(Some(log_id_of(term, rest.try_get_u64().ok()?)))
}

fn put_membership(out: &mut BytesMut, membership: &Membership) {
    let configs = membership.get_joint_config();
    out.put_u32(configs.len() as u32); // one or two
    for config in configs {
        out.put_u32(config.len() as u32); // members, a handful
        config.iter().for_each(|member| out.put_u64(*member));
    }
    let nodes: Vec<u64> = membership.nodes().map(|(id, _)| *id).collect();
    out.put_u32(nodes.len() as u32);
    nodes.into_iter().for_each(|node| out.put_u64(node));
}

fn take_ids(rest: &mut Bytes) -> Option<BTreeSet<u64>> {
    let count = rest.try_get_u32().ok()?;
    (0..count).map(|_| rest.try_get_u64().ok()).collect()
}

fn take_membership(rest: &mut Bytes) -> Option<Membership> {
    let count = rest.try_get_u32().ok()?;
    let mut configs = Vec::new();
    for _ in 0..count {
        configs.push(take_ids(rest)?);
    }
    let nodes = take_ids(rest)?
        .into_iter()
        .map(|id| (id, EmptyNode::new()))
        .collect::<std::collections::BTreeMap<_, _>>();
    Membership::new(configs, nodes).ok()
}

/// A hard state.
pub fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = start(0, 17);
    put_vote(&mut out, vote);
    out.freeze()
}

/// The inverse of [`encode_vote`].
pub fn decode_vote(mut bytes: Bytes) -> Option<Vote> {
    if bytes.try_get_u8().ok()? != VERSION || bytes.try_get_u8().ok()? != 0 {
        return None;
    }
    take_vote(&mut bytes)
}

/// An applied membership, as the applier's note.
pub fn encode_stored_membership(stored: &StoredMembership) -> Bytes {
    let mut out = start(0, 64);
    put_id(&mut out, stored.log_id().as_ref());
    put_membership(&mut out, stored.membership());
    out.freeze()
}

/// The inverse of [`encode_stored_membership`]; no bytes are the empty membership.
pub fn decode_stored_membership(mut bytes: Bytes) -> Option<StoredMembership> {
    if bytes.is_empty() {
        return Some(StoredMembership::default());
    }
    if bytes.try_get_u8().ok()? != VERSION || bytes.try_get_u8().ok()? != 0 {
        return None;
    }
    let id = take_id(&mut bytes)?;
    Some(StoredMembership::new(id, take_membership(&mut bytes)?))
}

/// An entry's payload as stored in the log.
pub fn encode_payload(payload: &Payload) -> Bytes {
    let mut out = BytesMut::with_capacity(payload_bytes(payload));
    put_payload(&mut out, payload);
    out.freeze()
}

fn put_payload(out: &mut BytesMut, payload: &Payload) {
    out.put_u8(VERSION);
    match payload {
        Payload::Blank => out.put_u8(BLANK),
        Payload::Normal(Proposal(bytes)) => {
            out.put_u8(NORMAL);
            out.put_slice(bytes);
        }
        Payload::Membership(membership) => {
            out.put_u8(MEMBERSHIP);
            put_membership(out, membership);
        }
    }
}

/// About how many bytes a payload has; of a proposal exactly.
fn payload_bytes(payload: &Payload) -> usize {
    2 + match payload {
        Payload::Normal(Proposal(bytes)) => bytes.len(),
        Payload::Blank | Payload::Membership(_) => 64,
    }
}

/// The inverse of [`encode_payload`].
pub fn decode_payload(mut bytes: Bytes) -> Option<Payload> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    Some(match bytes.try_get_u8().ok()? {
        BLANK => Payload::Blank,
        NORMAL => Payload::Normal(Proposal(bytes)),
        MEMBERSHIP => Payload::Membership(take_membership(&mut bytes)?),
        _ => return None,
    })
}

/// A request as a frame.
pub fn encode_request(request: &Request) -> Bytes {
    match request {
        Request::Append(append) => {
            let bytes: usize = append.entries.iter().map(|entry| 20 + payload_bytes(&entry.payload)).sum();
            let mut out = start(1, 96 + bytes);
            put_vote(&mut out, &append.vote);
            put_id(&mut out, append.prev_log_id.as_ref());
            put_id(&mut out, append.leader_commit.as_ref());
            out.put_u32(append.entries.len() as u32); // bounded by the configuration
            for entry in &append.entries {
                out.put_u64(entry.log_id.leader_id.term);
                out.put_u64(entry.log_id.index);
                // Where the length goes, which is known once the payload is there. It is bounded by the proposal's limit.
                let at = out.len();
                out.put_u32(0);
                put_payload(&mut out, &entry.payload);
                let length = (out.len() - at - 4) as u32;
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            out.freeze()
        }
        Request::Vote(vote) => encode_vote_request(2, vote),
        Request::PreVote(vote) => encode_vote_request(3, vote),
        Request::Probe => start(6, 0).freeze(),
        Request::Transfer { from, to, last } => {
            let mut out = start(4, 48);
            put_vote(&mut out, from);
            out.put_u64(*to);
            put_id(&mut out, last.as_ref());
            out.freeze()
        }
        Request::Chunk { vote, transfer, number, last, bytes } => {
            let mut out = start(5, 48 + bytes.len());
            put_vote(&mut out, vote);
            out.put_u64(*transfer);
            out.put_u64(*number);
            out.put_u8((*last).into());
            out.put_slice(bytes);
            out.freeze()
        }
    }
}

fn encode_vote_request(kind: u8, request: &VoteRequest<Types>) -> Bytes {
    let mut out = start(kind, 48);
    put_vote(&mut out, &request.vote);
    put_id(&mut out, request.last_log_id.as_ref());
    out.put_u8(request.leadership_transfer.into());
    out.freeze()
}

/// The inverse of [`encode_request`].
pub fn decode_request(mut bytes: Bytes) -> Option<Request> {
    let rest = &mut bytes;
    if rest.try_get_u8().ok()? != VERSION {
        return None;
    }
    Some(match rest.try_get_u8().ok()? {
        1 => {
            let vote = take_vote(rest)?;
            let (prev_log_id, leader_commit) = (take_id(rest)?, take_id(rest)?);
            let count = rest.try_get_u32().ok()?;
            let mut entries = Vec::new();
            for _ in 0..count {
                let term = rest.try_get_u64().ok()?;
                let log_id = log_id_of(term, rest.try_get_u64().ok()?);
                let length = rest.try_get_u32().ok()? as usize;
                if rest.remaining() < length {
                    return None;
                }
                entries.push(Entry { log_id, payload: decode_payload(rest.split_to(length))? });
            }
            Request::Append(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
        }
        kind @ (2 | 3) => {
            let mut request = VoteRequest::new(take_vote(rest)?, take_id(rest)?);
            request.leadership_transfer = rest.try_get_u8().ok()? != 0;
            if kind == 2 { Request::Vote(request) } else { Request::PreVote(request) }
        }
        4 => Request::Transfer { from: take_vote(rest)?, to: rest.try_get_u64().ok()?, last: take_id(rest)? },
        5 => Request::Chunk {
            vote: take_vote(rest)?,
            transfer: rest.try_get_u64().ok()?,
            number: rest.try_get_u64().ok()?,
            last: rest.try_get_u8().ok()? != 0,
            bytes,
        },
        6 => Request::Probe,
        _ => return None,
    })
}

/// A response as a frame.
pub fn encode_response(response: &Response) -> Bytes {
    match response {
        Response::Append(append) => {
            let mut out = start(1, 32);
            match append {
                AppendEntriesResponse::Success => out.put_u8(0),
                AppendEntriesResponse::PartialSuccess(id) => {
                    out.put_u8(1);
                    put_id(&mut out, id.as_ref());
                }
                AppendEntriesResponse::Conflict => out.put_u8(2),
                AppendEntriesResponse::HigherVote(vote) => {
                    out.put_u8(3);
                    put_vote(&mut out, vote);
                }
            }
            out.freeze()
        }
        Response::Vote(vote) => {
            let mut out = start(2, 40);
            put_vote(&mut out, &vote.vote);
            out.put_u8(vote.vote_granted.into());
            put_id(&mut out, vote.last_log_id.as_ref());
            out.freeze()
        }
        Response::Transfer(accepted) => {
            let mut out = start(3, 1);
            out.put_u8((*accepted).into());
            out.freeze()
        }
        Response::Chunk(vote) => {
            let mut out = start(4, 17);
            put_vote(&mut out, vote);
            out.freeze()
        }
        Response::ChunkRefused(why) => {
            let mut out = start(5, why.len());
            out.put_slice(why.as_bytes());
            out.freeze()
        }
        Response::Declined => start(6, 0).freeze(),
        Response::Here => start(7, 0).freeze(),
    }
}

/// The inverse of [`encode_response`].
pub fn decode_response(mut bytes: Bytes) -> Option<Response> {
    let rest = &mut bytes;
    if rest.try_get_u8().ok()? != VERSION {
        return None;
    }
    Some(match rest.try_get_u8().ok()? {
        1 => Response::Append(match rest.try_get_u8().ok()? {
            0 => AppendEntriesResponse::Success,
            1 => AppendEntriesResponse::PartialSuccess(take_id(rest)?),
            2 => AppendEntriesResponse::Conflict,
            3 => AppendEntriesResponse::HigherVote(take_vote(rest)?),
            _ => return None,
        }),
        2 => {
            let vote = take_vote(rest)?;
            let granted = rest.try_get_u8().ok()? != 0;
            Response::Vote(VoteResponse::new(vote, take_id(rest)?, granted))
        }
        3 => Response::Transfer(rest.try_get_u8().ok()? != 0),
        4 => Response::Chunk(take_vote(rest)?),
        5 => Response::ChunkRefused(String::from_utf8_lossy(rest).into_owned()),
        6 => Response::Declined,
        7 => Response::Here,
        _ => return None,
    })
}
