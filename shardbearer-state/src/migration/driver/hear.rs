//! What a driver learns from the answers of the two orders.

use bytes::Bytes;
use shardbearer_core::kv::{Import, Migrated, MovedRow, Progress, Seal, Standing, rows_weight};
use shardbearer_core::migration::Phase;

use super::{Driver, Failure, ROUND_BYTES_SMALL};

impl Driver {
    /// Returns why the answer is no use, if it is none.
    pub(super) fn hear_source(&mut self, answer: Migrated) -> Option<Failure> {
        let fail = |why: &str| Some(Failure { why: why.to_owned(), disk_full: false });
        match answer {
            Migrated::Part(part) => {
                let mine = part.migration == self.record.id;
                self.report.bytes_total = part.bytes.max(self.report.bytes_total);
                match (self.record.phase, part.standing) {
                    (Phase::Copying, Standing::Leaving) if mine => {
                        if self.watched && !part.more {
                            self.forget = None;
                        }
                        self.watched = true;
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
                    _ => fail("the source does not take part in it"),
                }
            }
            Migrated::Image { rows, complete, seen } => {
                self.worked();
                let image =
                    rows.last().map_or_else(|| self.part.progress.image.clone(), |row| row.key.clone());
                let to = Progress { image, complete, through: self.part.progress.through };
                self.gather(rows, to, seen, None);
                None
            }
            Migrated::Changes { lost: true, .. } => {
                self.give_up = Some("the writers are faster than the copy can follow".into());
                None
            }
            Migrated::Changes { rows, through, seen, seal, .. } => {
                self.worked();
                self.report.rounds += 1;
                self.settled = through == seen && rows_weight(&rows) <= ROUND_BYTES_SMALL;
                if rows.is_empty() && through == self.part.progress.through && seal.is_none() {
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
        self.chunk_bytes = rows_weight(&rows) as u64;
        self.backlog = seen.saturating_sub(to.through);
        self.report.rows += rows.len() as u64;
        self.report.bytes += self.chunk_bytes;
        self.rows = Some(Import { from: self.part.progress.clone(), to, seen, rows, seal });
    }

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
                if self.record.phase == Phase::Copying {
                    let forward = part.progress != self.part.progress;
                    if part.progress.through > self.part.progress.through {
                        self.forget = Some(part.progress.through);
                    }
                    if forward && !part.progress.complete {
                        self.owed_ms =
                            self.pace.passed(self.chunk_bytes, now_ms.saturating_sub(self.chunk_ms));
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
