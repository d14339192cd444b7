//! Random batches, restarts included, against a plain list of entries.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogPos, LogRecord, LogStore, LogWrite};

use super::{Logs, answered, submit};
use crate::conformance::{Broken, ensure, ensure_eq};

/// An order's log as a person would write it down.
#[derive(Default)]
struct Model {
    purged: LogPos,
    entries: Vec<LogRecord>,
    hard: Option<Bytes>,
}

impl Model {
    fn last(&self) -> LogPos {
        self.entries.last().map_or(self.purged, |record| record.position)
    }

    /// A random batch that keeps the contract, already carried out here.
    fn batch(&mut self, random: &mut StdRng) -> Vec<LogWrite> {
        let count = random.random_range(1..5);
        let write = |_| {
            let last = self.last();
            match random.random_range(0..10) {
                0 => {
                    let from = random.random_range(self.purged.index + 1..=last.index + 2);
                    self.entries.retain(|record| record.position.index < from);
                    LogWrite::Truncate { from }
                }
                1 => {
                    let upto = random.random_range(self.purged.index..=last.index + 3);
                    let term = self.entries.iter().find(|record| record.position.index == upto);
                    let term = term.map_or(last.term, |record| record.position.term);
                    if upto > self.purged.index {
                        self.purged = LogPos { term, index: upto };
                    }
                    self.entries.retain(|record| record.position.index > upto);
                    LogWrite::Purge { upto: LogPos { index: upto, ..self.purged } }
                }
                2 => {
                    let state = Bytes::from(random.random::<u64>().to_string());
                    self.hard = Some(state.clone());
                    LogWrite::Hard(state)
                }
                _ => {
                    let position =
                        LogPos { term: last.term + random.random_range(0..2), index: last.index + 1 };
                    let length = if random.random_bool(0.05) { 20_000 } else { random.random_range(0..300) };
                    let payload = Bytes::from(vec![random.random::<u8>(); length]);
                    let record = LogRecord { position, payload };
                    self.entries.push(record.clone());
                    LogWrite::Append(record)
                }
            }
        };
        (0..count).map(write).collect()
    }

    fn ensure_same(&self, log: &dyn LogStore, order: OrderId) -> Result<(), Broken> {
        let expected = Bounds { purged: self.purged, last: self.last(), hard: self.hard.clone() };
        ensure_eq!(log.bounds(order), expected, "bounds of order {order}");
        let range = self.purged.index + 1..self.last().index + 1;
        let entries = log.entries(order, range, usize::MAX)?;
        ensure!(entries == self.entries, "entries of order {order} are not those that were written");
        Ok(())
    }
}

pub(super) fn random_writes_and_restarts_agree_with_a_model(
    subject: &Logs<'_>,
    place: &str,
) -> Result<(), Broken> {
    let mut random = StdRng::seed_from_u64(7);
    let mut models: BTreeMap<OrderId, Model> = BTreeMap::new();
    for life in 0..8 {
        let log = (subject.open)(place);
        for (order, model) in &models {
            model.ensure_same(&*log, *order).map_err(|what| Broken(format!("life {life}: {what}")))?;
        }
        for _ in 0..60 {
            let order = OrderId(random.random_range(1..5));
            let model = models.entry(order).or_default();
            let answer = submit(&*log, order, model.batch(&mut random))?;
            if random.random_bool(0.3) {
                answered(&answer)?;
            }
            model.ensure_same(&*log, order)?;
        }
    }
    Ok(())
}
