//! What a driver learns from the answers of the two orders.

use bytes::Bytes;
use shardbearer_core::kv::{Import, Migrated, MovedRow, Progress, Seal, Standing, rows_weight};
use shardbearer_core::migration::Phase;

use super::{BACKLOG_MAX, Driver, Failure, PAUSE_MS_MAX, PRUNE_PAUSE_MS, ROUND_BYTES_SMALL, WEIGHED_BYTES};

impl Driver {
    /// Returns why the answer is no use, if it is none.
    pub(super) fn hear_source(&mut self, now_ms: u64, answer: Migrated) -> Option<Failure> {
        let fail = |why: &str| Some(Failure { why: why.to_owned(), disk_full: false });
        match answer {
            Migrated::Part(part) => {
                let mine = part.migration == self.record.id;
                self.report.bytes_total = part.bytes.max(self.report.bytes_total);
                match (self.record.phase, part.standing) {
                    (Phase::Copying, Standing::Leaving) if mine => {
                        // Of a split, the source is watched once the rows that cross are weighed.
                        if !self.watched {
                            self.watched = !part.more;
                            if part.more {
                                // Others have as much of the source's log as this, and more where they have to wait.
                                let took_ms = now_ms.saturating_sub(self.chunk.since_ms);
                                self.owed_ms = took_ms.max(self.pace.takes_ms(WEIGHED_BYTES));
                            }
                        } else if !part.more {
                            self.forget = None;
                        }
                        None
                    }
                    (Phase::Frozen, Standing::Frozen) if mine => {
                        self.frozen = true;
                        None
                    }
                    (Phase::Serving, Standing::Gone) if part.migration >= self.record.id => {
                        self.collected = true;
                        None
                    }
                    // Of a split the source keeps a part, and nothing of a shard that moves.
                    (Phase::Serving, Standing::Serving)
                        if mine && self.record.split.is_some() && part.until == self.record.at() =>
                    {
                        self.collected = !part.more && !part.pruning;
                        if !self.collected {
                            // It is there, and drops rows for as long as that takes.
                            (self.serving_ms, self.owed_ms) = (None, PRUNE_PAUSE_MS);
                        }
                        None
                    }
                    _ => fail("the source does not take part in it"),
                }
            }
            Migrated::Image { rows, through, complete, seen } => {
                // A source of an older program does not say.
                let last =
                    if through.is_empty() { rows.last().map(|row| row.key.clone()) } else { Some(through) };
                let image = last.unwrap_or_else(|| self.part.progress.image.clone());
                let to = Progress { image, complete, through: self.part.progress.through };
                self.gather(rows, to, seen, None);
                None
            }
            Migrated::Changes { lost: true, .. } => {
                self.give_up = Some("the writers are faster than the copy can follow".into());
                None
            }
            Migrated::Changes { rows, through, seen, seal, .. } => {
                self.report.rounds += 1;
                let small = rows_weight(&rows) <= ROUND_BYTES_SMALL;
                let complete = self.part.progress.complete;
                self.settled = complete && through == seen && (small || self.is_in_vain());
                if rows.is_empty() && through == self.part.progress.through && seal.is_none() {
                    if self.full_since_ms.is_none() {
                        self.worked();
                    }
                    return None;
                }
                let to = Progress { through, ..self.part.progress.clone() };
                self.gather(rows, to, seen, seal);
                None
            }
            Migrated::Differs { .. } => fail("the source's answer makes no sense"),
        }
    }

    fn gather(&mut self, rows: Vec<MovedRow>, to: Progress, seen: u64, seal: Option<Seal>) {
        (self.chunk.rows, self.chunk.bytes) = (rows.len() as u64, rows_weight(&rows) as u64);
        self.backlog = seen.saturating_sub(to.through);
        self.rows = Some(Import { from: self.part.progress.clone(), to, seen, rows, seal });
    }

    /// A chunk has arrived while the source serves: is it the last such, and when may the next begin?
    fn crossed(&mut self, now_ms: u64) {
        let is_round = self.part.progress.complete;
        let round_ms = now_ms.saturating_sub(self.chunk.since_ms);
        if self.settled && self.chunk.bytes > ROUND_BYTES_SMALL as u64 && round_ms > PAUSE_MS_MAX {
            self.settled = false;
        }
        if is_round && !self.settled {
            if self.backlog >= self.backlog_least {
                self.vain_rounds = self.vain_rounds.saturating_add(1);
            }
            self.backlog_least = self.backlog_least.min(self.backlog);
            if self.is_in_vain() {
                self.report.blocker =
                    format!("rows change as fast as they are copied: {} changes are left", self.backlog);
            }
        }
        let wait_ms = self.pace.passed(self.chunk.bytes, now_ms.saturating_sub(self.chunk.sent_ms));
        // Rounds of changes are paced like the image, with three exceptions, without which there might be no end. What changes
        // while a round that is the last waits would have to cross in the pause. Writers who have been faster than the
        // copy for many rounds are not caught up with by waiting. And if too many notes gather, the migration is called
        // off: then all that was copied is copied in vain.
        let hurries = self.settled || self.is_in_vain() || self.backlog >= BACKLOG_MAX;
        self.owed_ms = if hurries { 0 } else { wait_ms };
    }

    /// Rows have arrived, or there were none to be sent. That the source answers is not enough: it does so before each
    /// of the attempts that a full disk refuses.
    fn worked(&mut self) {
        (self.failures, self.full_since_ms) = (0, None);
        self.report.blocker.clear();
    }

    /// Returns why the answer is no use, if it is none.
    pub(super) fn hear_own(&mut self, now_ms: u64, answer: Migrated) -> Option<Failure> {
        match answer {
            Migrated::Part(part) => {
                if part.progress.complete || part.progress.image != self.part.progress.image {
                    self.report.cursor = user_key(&part.progress.image);
                }
                let forward = part.progress != self.part.progress;
                if forward && matches!(self.record.phase, Phase::Copying | Phase::Frozen) {
                    self.worked();
                    self.report.rows += self.chunk.rows;
                    self.report.bytes += self.chunk.bytes;
                }
                if self.record.phase == Phase::Copying {
                    if part.progress.through > self.part.progress.through {
                        self.forget = Some(part.progress.through);
                    }
                    if forward {
                        self.crossed(now_ms);
                    }
                }
                let before = std::mem::replace(&mut self.part, part);
                let expected = match self.record.phase {
                    Phase::Planned => {
                        self.part.standing == Standing::Arriving && self.part.migration == self.record.id
                    }
                    Phase::Copying | Phase::Frozen => {
                        self.part.standing == Standing::Verified || self.part.progress != before.progress
                    }
                    Phase::Serving => self.part.standing.serves(),
                    Phase::Returning => self.part.standing == Standing::Gone,
                    Phase::Collected | Phase::Returned => true,
                };
                let why = "this order does not take part in it, or somebody else drives";
                (!expected).then(|| Failure { why: why.into(), disk_full: false })
            }
            Migrated::Differs { here, wanted } => {
                self.give_up = Some(format!("the copies differ: here {here:?}, at the source {wanted:?}"));
                None
            }
            Migrated::Image { .. } | Migrated::Changes { .. } => {
                Some(Failure { why: "this order's answer makes no sense".into(), disk_full: false })
            }
        }
    }
}

/// What people know of a row key.
fn user_key(row: &Bytes) -> Vec<u8> {
    match crate::keys::carried(row) {
        Some(crate::keys::Carried::Record(key)) => key.to_vec(),
        Some(crate::keys::Carried::Session) | None => Vec::new(),
    }
}
