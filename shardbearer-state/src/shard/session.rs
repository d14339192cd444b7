//! Exactly once: what a shard remembers of the requests of client sessions.
//!
//! A session numbers its requests and says with each which number it still waits for (`unanswered_from`); replies
//! below that are dropped, so a session's row holds little more than what is in flight. A
//! remembered number is answered from memory. A number below the floor was answered long ago and
//! is refused. Any other number of a session that was never forgotten was provably never applied here, since
//! nothing above the floor is ever dropped from a row.
//!
//! Of an **unknown** session either nothing was ever applied here, or it was forgotten. Sessions
//! are forgotten only when the table is over [`SESSION_BYTES_MAX`], only after [`FORGET_AFTER_MS`] without use by
//! the shard's own time, oldest first. From then on an unknown session's *retries* are refused; its
//! first attempts are applied. That is sound as long as no copy of a first attempt is still on its way
//! after `FORGET_AFTER_MS`: every hop gives up after [`REQUEST_MS_MAX`], half of it. A forgotten session may
//! **come back** with a first attempt. That one was sent after the last use that is forgotten, and so was every higher
//! number; but lower numbers may be retries of what was applied before. So a session that appears after any was
//! forgotten notes its first number ([`Session::since`]), and retries of lower ones are refused.
//!
//! A table full of sessions in recent use takes no new ones, and a session that alone remembers as much as the table
//! should takes no new requests until its client says what it has been answered.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::{Refusal, Reply, RequestId};
use shardbearer_core::limits::{REQUEST_MS_MAX, SESSION_BYTES_MAX};
use shardbearer_core::machine::Workspace;
use shardbearer_core::storage::{Space, StorageError, View};
use smallvec::SmallVec;

use crate::keys::{self, ShardMeta};
use crate::shard::{notes, reply};

/// How long a session must be out of use before a shard may forget it, in milliseconds.
pub const FORGET_AFTER_MS: u64 = 2 * REQUEST_MS_MAX;

/// Version of a row's layout.
const VERSION: u8 = 1;

/// Bytes a session costs besides its replies: key, header, map entries.
const FIXED_BYTES: usize = 96;

/// So much room for encoding is kept.
const SCRATCH_BYTES: usize = 256;

/// A session keeps room for so many replies.
const ROOM: usize = 32;

/// What to do with a request.
pub(super) enum Verdict {
    /// Apply it.
    New,
    /// It was applied; this was the answer.
    Repeated(Reply),
    /// It may have been applied, and the answer is forgotten.
    Expired,
    /// No room for another session, or in this one.
    Full,
}

/// A reply as [`reply::encode`] writes it. Those of nearly all writes are short, and need no memory of their own.
type Kept = SmallVec<[u8; 24]>;

/// The sessions of one shard.
#[derive(Default)]
pub(super) struct Sessions {
    known: BTreeMap<SessionId, Session>,
    bytes: usize,
    /// Those that are to be written, each once.
    touched: Vec<SessionId>,
    /// Room in which replies are encoded.
    scratch: Vec<u8>,
}

#[derive(Default)]
struct Session {
    used_ms: u64,
    /// Numbers below this are answered for good.
    floor: u64,
    /// Of lower numbers it is unknown whether they were applied; 0 if nothing was forgotten before.
    since: u64,
    /// Ascending by number. Numbers come nearly in order and go in order.
    replies: VecDeque<(u64, Kept)>,
    /// What all this counts as. Derived, so that a replica that restarts counts the same.
    bytes: usize,
    /// Whether it is among those that are to be written.
    touched: bool,
}

impl Session {
    fn new(since: u64) -> Session {
        Session { since, bytes: FIXED_BYTES, ..Session::default() }
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        match self.replies.back() {
            // As nearly always.
            Some((last, _)) if *last < number => Err(self.replies.len()),
            _ => self.replies.binary_search_by_key(&number, |(number, _)| *number),
        }
    }

    fn get(&self, number: u64) -> Option<&Kept> {
        self.find(number).ok().map(|at| &self.replies[at].1)
    }

    fn insert(&mut self, number: u64, reply: Kept) {
        self.bytes += weight(&reply);
        match self.find(number) {
            Ok(at) => {
                let before = std::mem::replace(&mut self.replies[at].1, reply);
                self.bytes -= weight(&before);
            }
            Err(at) => self.replies.insert(at, (number, reply)),
        }
    }

    /// Forgets the replies below a number.
    fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some((_, gone)) = self.replies.front().filter(|(number, _)| *number < self.floor) {
            self.bytes -= weight(gone);
            self.replies.pop_front();
        }
        // Room is not counted, so no more of it is kept than what is remembered needs.
        if self.replies.capacity() > ROOM.max(4 * self.replies.len()) {
            self.replies.shrink_to(ROOM.max(2 * self.replies.len()));
        }
    }
}

fn weight(reply: &Kept) -> usize {
    24 + reply.len()
}

impl Sessions {
    pub(super) fn load(view: &dyn View, space: Space) -> Result<Sessions, StorageError> {
        let mut sessions = Sessions::default();
        for row in view.scan(space, &keys::sessions()) {
            let (key, value) = row?;
            let (Some(id), Some(session)) = (keys::session_of(&key), decode(value)) else {
                return Err(StorageError::Corrupt("a session's row is unreadable".into()));
            };
            sessions.bytes += session.bytes;
            sessions.known.insert(id, session);
        }
        Ok(sessions)
    }

    /// The sessions of a shard that has arrived. A row that is no session was not one at the source either.
    pub(super) fn from_rows(rows: Vec<(Bytes, Bytes)>) -> Sessions {
        let mut sessions = Sessions::default();
        for (key, value) in rows {
            if let (Some(id), Some(session)) = (keys::session_of(&key), decode(value)) {
                sessions.bytes += session.bytes;
                sessions.known.insert(id, session);
            }
        }
        sessions
    }

    /// Whether to apply a request.
    pub(super) fn admit(&self, id: &RequestId, meta: &ShardMeta) -> Verdict {
        match self.known.get(&id.session) {
            Some(session) => match session.get(id.number) {
                Some(remembered) => Verdict::Repeated(
                    reply::decode(remembered).unwrap_or(Reply::Refused(Refusal::SessionExpired)),
                ),
                None if id.number < session.floor => Verdict::Expired,
                None if id.retry && id.number < session.since => Verdict::Expired,
                None if session.bytes > SESSION_BYTES_MAX && id.unanswered_from <= session.floor => {
                    Verdict::Full
                }
                None => Verdict::New,
            },
            None if id.retry && meta.forgot => Verdict::Expired,
            None if self.bytes > 2 * SESSION_BYTES_MAX => Verdict::Full,
            None => Verdict::New,
        }
    }

    /// Remembers the answer to a request that was just applied.
    pub(super) fn remember(&mut self, id: &RequestId, answer: &Reply, meta: &ShardMeta) {
        let since = if meta.forgot { id.number } else { 0 };
        let mut before = 0;
        let session = match self.known.entry(id.session) {
            Entry::Occupied(known) => {
                before = known.get().bytes;
                known.into_mut()
            }
            Entry::Vacant(place) => place.insert(Session::new(since)),
        };
        session.used_ms = meta.time_ms.max(1);
        session.raise_floor(id.unanswered_from);
        if id.number >= session.floor {
            reply::encode(answer, &mut self.scratch);
            session.insert(id.number, Kept::from_slice(&self.scratch));
            // There is one for each shard, and an answer may hold a value.
            self.scratch.clear();
            self.scratch.shrink_to(SCRATCH_BYTES);
        }
        self.bytes = self.bytes + session.bytes - before;
        if !std::mem::replace(&mut session.touched, true) {
            self.touched.push(id.session);
        }
    }

    /// Bytes of all sessions; decides who is refused and forgotten, so replicas must agree on it.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every session is to be written again: the shard has moved to another space.
    pub(super) fn touch_all(&mut self) {
        self.known.values_mut().for_each(|session| session.touched = true);
        self.touched = self.known.keys().copied().collect();
    }

    /// Writes what changed and forgets what there is no room for.
    pub(super) fn write(&mut self, space: Space, meta: &mut ShardMeta, work: &mut Workspace<'_>) {
        if self.bytes > SESSION_BYTES_MAX {
            meta.forgot |= self.forget(space, meta, work);
        }
        // In an order that is the same on every replica, whichever came first: notes are numbered.
        self.touched.sort_unstable();
        for id in self.touched.drain(..) {
            if let Some(session) = self.known.get_mut(&id) {
                session.touched = false;
                let row = keys::session(id);
                notes::note(meta, space, &row, work);
                work.put(space, row, encode(session));
            }
        }
    }

    /// Forgets the longest unused, down to three quarters of the room so that this is rare.
    fn forget(&mut self, space: Space, meta: &mut ShardMeta, work: &mut Workspace<'_>) -> bool {
        let now_ms = meta.time_ms;
        let idle = |session: &Session| session.used_ms.saturating_add(FORGET_AFTER_MS) <= now_ms;
        let mut oldest: Vec<(u64, SessionId)> =
            self.known.iter().filter(|(_, session)| idle(session)).map(|(id, s)| (s.used_ms, *id)).collect();
        oldest.sort_unstable();
        let mut forgot = false;
        for (_, id) in oldest {
            if self.bytes <= SESSION_BYTES_MAX / 4 * 3 {
                break;
            }
            if let Some(session) = self.known.remove(&id) {
                self.bytes -= session.bytes;
                let row = keys::session(id);
                notes::note(meta, space, &row, work);
                work.delete(space, row);
                forgot = true;
            }
        }
        forgot
    }
}

/// Version, last use (8), floor (8), since (8), then number (8), length (4) and reply, ascending.
fn encode(session: &Session) -> Bytes {
    let mut out = BytesMut::with_capacity(session.bytes);
    out.put_u8(VERSION);
    out.put_u64(session.used_ms);
    out.put_u64(session.floor);
    out.put_u64(session.since);
    for (number, reply) in &session.replies {
        out.put_u64(*number);
        out.put_u32(reply.len() as u32); // replies are far below 4 GiB: a record and its framing
        out.put_slice(reply);
    }
    out.freeze()
}

fn decode(mut row: Bytes) -> Option<Session> {
    if row.len() < 25 || row.get_u8() != VERSION {
        return None;
    }
    let (used_ms, floor, since) = (row.get_u64(), row.get_u64(), row.get_u64());
    let mut session = Session { used_ms, floor, ..Session::new(since) };
    while row.has_remaining() {
        if row.remaining() < 12 {
            return None;
        }
        let (number, length) = (row.get_u64(), row.get_u32() as usize);
        if row.remaining() < length {
            return None;
        }
        session.insert(number, Kept::from_slice(&row[..length]));
        row.advance(length);
    }
    Some(session)
}
