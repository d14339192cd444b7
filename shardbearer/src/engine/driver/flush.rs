//! Carrying out what the steps asked for: persist, send, apply, answer.

use shardbearer_core::engine::{Committed, EngineStatus};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::{LogDone, LogPos, LogWrite};
use shardbearer_core::protocol::{Answer, Envelope, Input, Payload, Persist, Protocol};
use shardbearer_core::transport::{Channel, Frame};

use super::frame;
use super::task::{Held, Task, Write};
use crate::engine::room;

/// Bytes of entries applied in one commit.
const APPLY_BYTES: usize = 8 << 20;

impl<P: Protocol> Task<P> {
    /// Carries everything out, also what follows from it. An error is final.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        while !self.ready.is_empty() || self.applicable() > self.applied {
            let ready = std::mem::take(&mut self.ready);
            self.persist(ready.persist).await?;
            for envelope in ready.now {
                let (to, frame) = self.seal(envelope)?;
                self.send(to, frame);
            }
            let now = if ready.standing.is_empty() { 0 } else { self.now() };
            for change in ready.standing {
                if let Some(envelope) = self.standing.change(change, now) {
                    let (to, frame) = self.seal(envelope)?;
                    self.send(to, frame);
                }
            }
            for envelope in ready.after {
                let (to, frame) = self.seal(envelope)?;
                self.hold(Held::Frame(to, frame));
            }
            if ready.commit > self.log.last().index {
                return Err(format!("entry {} is committed and not in the log", ready.commit));
            }
            self.commit = self.commit.max(ready.commit);
            for (ticket, answer) in ready.answers {
                match answer {
                    Answer::Done => self.hold(Held::Done(ticket)),
                    Answer::Read(_) | Answer::Refused(_) | Answer::Unknown(_) => {
                        self.waiting.answer(ticket, answer);
                    }
                }
            }
            for to in ready.snapshots {
                self.send_snapshot(to);
            }
            self.apply().await?;
            let applied = self.applied;
            let term = self.log.term(applied).unwrap_or_default();
            self.waiting.caught_up(LogPos { term, index: applied });
        }
        self.publish();
        Ok(())
    }

    /// Keeps something until all that was written so far is durable.
    fn hold(&mut self, held: Held) {
        match self.writes.back() {
            Some(write) => self.held.push_back((write.number, held)),
            None => self.release(held),
        }
    }

    pub(super) fn release(&mut self, held: Held) {
        match held {
            Held::Frame(to, frame) => self.send(to, frame),
            Held::Done(ticket) => self.waiting.answer(ticket, Answer::Done),
        }
    }

    /// An entry is applied once it is committed and durable here: data must not know more than the log.
    fn applicable(&self) -> u64 {
        self.commit.min(self.durable)
    }

    /// Takes changes over into the log, as one write.
    async fn persist(&mut self, changes: Vec<Persist>) -> Result<(), String> {
        let mut writes = Vec::with_capacity(changes.len());
        for change in changes {
            writes.push(match change {
                Persist::Append(entry, ticket) => {
                    let position = entry.position;
                    if !self.log.push(position) {
                        return Err(format!("{position:?} does not follow {:?}", self.log.last()));
                    }
                    if let Some(ticket) = ticket {
                        self.waiting.appended(ticket, position);
                    }
                    LogWrite::Append(frame::record(entry))
                }
                Persist::Truncate { from } => {
                    if from <= self.commit {
                        return Err(format!("entry {from} is to be cut and {} is committed", self.commit));
                    }
                    self.log.truncate(from);
                    let last = self.log.last().index;
                    self.writes.iter_mut().for_each(|write| write.last = write.last.min(last));
                    self.durable = self.durable.min(last);
                    self.waiting.truncated(from);
                    self.standing.truncated(from);
                    LogWrite::Truncate { from }
                }
                Persist::Hard(bytes) => LogWrite::Hard(bytes),
            });
        }
        if writes.is_empty() { Ok(()) } else { self.write(writes).await }
    }

    /// Hands a batch to the log. The order does nothing else while that is full.
    pub(super) async fn write(&mut self, writes: Vec<LogWrite>) -> Result<(), String> {
        self.write_number += 1;
        let number = self.write_number;
        self.writes.push_back(Write { number, last: self.log.last().index });
        let done = || -> LogDone {
            let progress = self.progress.clone();
            Box::new(move |outcome| {
                progress.send_modify(|progress| match outcome {
                    Ok(()) => progress.written = progress.written.max(number),
                    Err(error) => {
                        progress.failure.get_or_insert(error);
                    }
                });
            })
        };
        let context = &self.shared.context;
        let written = room::write(context.log.as_ref(), context.order, writes, done).await;
        written.map_err(|error| error.to_string())
    }

    /// A message with its entries as a frame.
    pub(super) fn seal(&self, envelope: Envelope<P::Message>) -> Result<(RadiantId, bytes::Bytes), String> {
        let context = &self.shared.context;
        let records = if envelope.entries.is_empty() {
            Vec::new()
        } else {
            let bytes_max = context.limits.message_bytes_max;
            let records = context.log.entries(context.order, envelope.entries.clone(), bytes_max);
            records.map_err(|error| error.to_string())?
        };
        // The range may begin before what is there still; then nothing of it can be sent.
        let fits = records.first().is_none_or(|first| first.position.index == envelope.entries.start);
        Ok((envelope.to, frame::encode_message(&envelope.message, if fits { &records } else { &[] })))
    }

    pub(super) fn send(&self, to: RadiantId, body: bytes::Bytes) {
        let context = &self.shared.context;
        if to != context.me {
            context.transport.send(to, Frame { channel: Channel::Engine(context.order), body });
        }
    }

    /// Applies what can be, and answers whoever proposed it.
    async fn apply(&mut self) -> Result<(), String> {
        let context = self.shared.context.clone();
        while self.applied < self.applicable() {
            let range = self.applied + 1..self.applicable() + 1;
            let records =
                context.log.entries(context.order, range, APPLY_BYTES).map_err(|error| error.to_string())?;
            let mut positions = Vec::with_capacity(records.len());
            let mut entries = Vec::with_capacity(records.len());
            for record in records {
                let position = record.position;
                let entry = frame::entry(record)
                    .ok_or_else(|| format!("log entry {} is of an unknown kind", position.index))?;
                positions.push(position);
                entries.push(match entry.payload {
                    Payload::Blank => Committed { position, proposal: None, note: None, wanted: false },
                    Payload::Proposal(bytes) => {
                        let wanted = self.waiting.wants(position);
                        Committed { position, proposal: Some(bytes), note: None, wanted }
                    }
                    Payload::Own(bytes) => {
                        Committed { position, proposal: None, note: Some(bytes), wanted: false }
                    }
                });
            }
            let Some(last) = positions.last().copied() else {
                return Err(format!("committed entry {} is not in the log", self.applied + 1));
            };
            let replies = context.applier.apply(entries).await.map_err(|error| error.to_string())?;
            for (position, reply) in positions.into_iter().zip(replies) {
                self.waiting.applied(position, reply);
            }
            self.applied = last.index;
            self.step(Input::Applied { upto: last.index });
        }
        Ok(())
    }

    /// Tells others what they may know.
    pub(super) fn publish(&mut self) {
        let status = self.protocol.status();
        if self.claimed.0 != (status.term, status.complete) {
            self.claimed = ((status.term, status.complete), self.write_number);
        }
        // Others act on it, so it is said only when it is on disk.
        let complete =
            status.complete && self.writes.front().is_none_or(|write| write.number > self.claimed.1);
        let (last_log, applied) = (self.log.last().index, self.applied);
        self.shared.status.send_if_modified(|known| {
            let changed = known.herald != status.herald
                || known.leading != status.leading
                || known.term != status.term
                || known.members != status.members;
            *known = EngineStatus {
                version: known.version + u64::from(changed),
                herald: status.herald,
                leading: status.leading && !known.closed,
                term: status.term,
                last_log,
                applied,
                members: status.members,
                matched: status.matched,
                complete,
                failure: known.failure.take(),
                closed: known.closed,
            };
            changed
        });
    }
}
