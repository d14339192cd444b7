//! Entries down the chain, acknowledgements up.
//!
//! One message with entries is on its way to the successor at a time, which the driver repeats until it arrives; the
//! acknowledgement that it did, which promises nothing durable, lets the next go. Beats go down from the head all the time and
//! come back from the tail; they are the same message without entries.

use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Entry, Ready};

use super::{Chain, Say};

impl Chain {
    /// Takes in what the predecessor sent.
    pub(super) fn append(
        &mut self,
        prev: LogPos,
        base: u64,
        beat: u64,
        mut entries: Vec<Entry>,
        ready: &mut Ready<Say>,
    ) {
        let epoch = self.configuration.epoch;
        let purged = self.log.purged();
        let mut before = prev;
        // What was purged here is committed, so it is the same there.
        while before.index < purged.index && !entries.is_empty() {
            before = entries.remove(0).position;
        }
        if before.index >= purged.index && !self.log.holds(before) {
            let last = self.log.last().index;
            let other = if before.index > last {
                last
            } else {
                self.log.first_of_term(before.index).saturating_sub(1)
            };
            let back = other.max(self.commit);
            if self.is_learner() {
                self.base = None;
            }
            if let Some(predecessor) = self.predecessor() {
                ready.send_now(predecessor, Say::Reject { epoch, back });
            }
            return;
        }
        let mut matched = before.index;
        for entry in entries {
            let position = entry.position;
            if position.index != matched + 1 || position.term > epoch.0 {
                break;
            }
            if !self.log.holds(position) {
                if position.index <= self.commit {
                    return; // no chain says this: somebody forged it
                }
                if position.index <= self.log.last().index {
                    self.cut(position.index, ready);
                }
                if !self.log.push(position) {
                    break;
                }
                ready.append(position, entry.payload, None);
            }
            matched = position.index;
        }
        self.matched = self.matched.max(matched);
        self.base = Some(base);
        let new_beat = self.beat != beat;
        self.beat = beat;
        if self.is_tail() {
            self.echo = Some(beat);
        }
        self.send_up(ready);
        self.advance(ready);
        if new_beat {
            self.send_down(ready);
        }
    }

    /// The log here went another way in an earlier epoch.
    fn cut(&mut self, from: u64, ready: &mut Ready<Say>) {
        ready.truncate(from);
        self.log.truncate(from);
        self.durable = self.durable.min(from - 1);
        self.below.next = self.below.next.min(from);
    }

    /// The successor says how far it is.
    pub(super) fn acknowledged(&mut self, matched: u64, commit: u64, beat: u64, ready: &mut Ready<Say>) {
        let matched = matched.min(self.sendable());
        if matched >= self.below.next {
            self.below.next = matched + 1;
            self.arrived(ready);
        }
        self.below.matched = self.below.matched.max(matched);
        if self.is_tail() {
            return self.pump(ready); // a learner, for which nobody waits
        }
        self.below.commit = self.below.commit.max(commit);
        let news = if self.is_head() {
            // Only one of its own, and only forwards: messages overtake each other.
            beat <= self.beat && self.echo.is_none_or(|echo| echo < beat)
        } else {
            self.echo != Some(beat)
        };
        if news {
            self.echo = Some(beat);
        }
        if !self.advance(ready) && news {
            self.send_up(ready);
        }
    }

    /// The successor's log is another, or shorter than it was taken for.
    pub(super) fn rejected(&mut self, back: u64, ready: &mut Ready<Say>) {
        self.below.next = back.min(self.sendable()) + 1;
        self.arrived(ready);
        if self.log.term(self.below.next - 1).is_some() {
            self.pump(ready);
        } else if let Some(successor) = self.successor() {
            // It hears of this member with the next beat; to go on at once would be to be rejected at once.
            self.below.busy = true;
            ready.snapshot(successor);
        }
    }

    /// A snapshot took the place of the log's beginning, or of all of it.
    pub(super) fn installed(&mut self, position: LogPos, ready: &mut Ready<Say>) {
        if self.log.install(position) {
            self.durable = position.index;
            self.matched = position.index;
        }
        self.matched = self.matched.max(position.index);
        self.commit = self.commit.max(position.index);
        self.below.next = self.below.next.min(self.log.last().index + 1);
        self.send_up(ready);
        self.advance(ready);
    }

    /// What was sent to the successor is there, or of no use.
    fn arrived(&mut self, ready: &mut Ready<Say>) {
        self.below.busy = false;
        if let Some(successor) = self.successor() {
            ready.delivered(successor);
        }
    }

    /// What may be sent on: durable here, and the head's.
    fn sendable(&self) -> u64 {
        self.durable.min(self.matched)
    }

    /// Finds out what is committed and sends on what is durable. Returns whether the predecessor was told.
    pub(super) fn advance(&mut self, ready: &mut Ready<Say>) -> bool {
        if self.place().is_none() {
            return false;
        }
        self.settle(ready);
        // What reaches a learner has passed the tail.
        let commit = match self.is_tail() || self.is_learner() {
            true => self.sendable(),
            false => self.sendable().min(self.below.commit),
        };
        let more = commit > self.commit;
        if more {
            self.commit = commit;
            ready.commit(commit);
            self.send_up(ready);
        }
        self.pump(ready);
        more
    }

    /// Sends entries on, if there are any and none are on their way.
    fn pump(&mut self, ready: &mut Ready<Say>) {
        if !self.below.busy && self.below.next <= self.sendable() {
            self.send_down(ready);
        }
    }

    /// A beat, and entries if none are on their way.
    pub(super) fn send_down(&mut self, ready: &mut Ready<Say>) {
        let (Some(successor), Some(base)) = (self.successor(), self.base) else { return };
        let next = self.below.next.min(self.sendable() + 1);
        let before = next - 1;
        // Where the log does not reach back, the message only shows that this member lives.
        let known = self.log.term(before);
        if known.is_none() {
            ready.snapshot(successor);
        }
        let prev = known.map_or(self.log.purged(), |term| LogPos { term, index: before });
        let say = Say::Append { epoch: self.configuration.epoch, prev, base, beat: self.beat };
        if known.is_some() && !self.below.busy && next <= self.sendable() {
            self.below.busy = true;
            ready.deliver(successor, say, next..self.sendable() + 1);
        } else {
            ready.send_now(successor, say);
        }
    }

    /// Tells the predecessor how far it is from here on.
    fn send_up(&mut self, ready: &mut Ready<Say>) {
        let Some(predecessor) = self.predecessor() else { return };
        let say = Say::Ack {
            epoch: self.configuration.epoch,
            matched: self.matched,
            commit: self.commit,
            beat: self.echo.unwrap_or_default(),
        };
        ready.send_now(predecessor, say);
    }
}
