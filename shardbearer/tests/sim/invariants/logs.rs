//! Logs have no holes, and what stands at one position of an order is the same in all of them. Of what is durable: a
//! chain's head may lose an entry that it has told nobody of, and give its position to another.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogPos, LogRecord};

use super::Invariant;
use crate::cluster::Cluster;

#[derive(Default)]
pub struct Logs {
    /// What was first seen at a position, and where.
    seen: BTreeMap<(OrderId, LogPos), (String, u64)>,
}

impl Logs {
    /// With what was first seen at its position.
    fn compare(&mut self, order: OrderId, name: &str, record: &LogRecord) -> Result<(), String> {
        let mut digest = DefaultHasher::new();
        record.payload.hash(&mut digest);
        let here = (name.to_owned(), digest.finish());
        let (first, known) = self.seen.entry((order, record.position)).or_insert_with(|| here.clone());
        if *known == here.1 {
            return Ok(());
        }
        let position = record.position;
        Err(format!("order {order}: {position:?} is one thing on {first} and another on {name}"))
    }
}

impl Invariant for Logs {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        for machine in &cluster.machines {
            for order in cluster.orders() {
                let (purged, records) = machine.disk.durable_log_of(order);
                let mut before = purged.index;
                for record in records {
                    let index = record.position.index;
                    // An order that was never purged may begin at 0 or 1, as its engine likes.
                    if index != before + 1 && before != 0 {
                        return Err(format!(
                            "order {order} on {}: entry {index} follows {before}",
                            machine.name
                        ));
                    }
                    before = index;
                    self.compare(order, &machine.name, &record)?;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn two_things_at_one_position_are_named() {
    let mut logs = Logs::default();
    let mut see = |name, term, payload: &'static str| {
        let record = LogRecord { position: LogPos { term, index: 7 }, payload: payload.into() };
        logs.compare(OrderId(2), name, &record)
    };
    assert_eq!(see("r0", 3, "an entry"), Ok(()));
    assert_eq!(see("r1", 3, "an entry"), Ok(()));
    assert_eq!(see("r1", 4, "another"), Ok(()), "of a later term: the first may be cut");
    assert!(see("r2", 3, "another").is_err_and(|why| why.contains("one thing on r0 and another on r2")));
}
