//! Leader completeness: whoever leads has everything that was committed in its term or in an earlier one. An acknowledged
//! write is committed, so no lead passes it over. (Raft, figure 3; a chain's head and the leader of a Paxos ballot alike.)

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use shardbearer_core::engine::EngineStatus;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogPos, LogRecord};

use super::Invariant;
use crate::cluster::Cluster;
use crate::machine::Machine;

/// The last entry that a member had applied when it knew of a term: committed by whoever led then, or before.
struct Committed {
    index: u64,
    /// What stands there, unless its log was purged.
    what: Option<u64>,
    by: String,
}

#[derive(Default)]
pub struct Complete {
    /// By order and term; of a later term an entry further on.
    committed: BTreeMap<OrderId, BTreeMap<u64, Committed>>,
}

impl Complete {
    fn learn(&mut self, order: OrderId, term: u64, new: Committed) {
        let of_order = self.committed.entry(order).or_default();
        if of_order.get(&term).is_none_or(|known| new.index > known.index) {
            of_order.insert(term, new);
        }
    }

    /// Whether the log of who leads in a term has what was committed until then.
    fn judge(&self, order: OrderId, status: &EngineStatus, leader: &str, log: &Log) -> Result<(), String> {
        let until = self.committed.get(&order).into_iter().flat_map(|terms| terms.range(..=status.term));
        for (term, Committed { index, what, by }) in until {
            let here = log.at(*index);
            if log.purged.index >= *index || (here.is_some() && (what.is_none() || here == *what)) {
                continue;
            }
            let has = if here.is_some() { "another" } else { "none" };
            let now = status.term;
            return Err(format!(
                "{leader} leads order {order} in term {now} without entry {index}, which {by} applied in term {term}: \
                 it has {has}"
            ));
        }
        Ok(())
    }
}

/// A member's log, with what is not durable yet.
struct Log {
    purged: LogPos,
    records: Vec<LogRecord>,
}

impl Log {
    fn of(machine: &Machine, order: OrderId) -> Log {
        let (purged, records) = machine.disk.log_of(order);
        Log { purged, records }
    }

    fn at(&self, index: u64) -> Option<u64> {
        let place = self.records.binary_search_by_key(&index, |record| record.position.index).ok()?;
        let mut digest = DefaultHasher::new();
        self.records[place].position.hash(&mut digest);
        self.records[place].payload.hash(&mut digest);
        Some(digest.finish())
    }
}

impl Invariant for Complete {
    fn look(&mut self, cluster: &Cluster) -> Result<(), String> {
        let mut leaders = Vec::new();
        for machine in &cluster.machines {
            for (order, engine) in machine.engines() {
                let status = engine.status();
                // Of a member that has only begun to start.
                if status.term == 0 || status.applied == 0 {
                    continue;
                }
                let log = Log::of(machine, order);
                let (index, by) = (status.applied, machine.name.clone());
                self.learn(order, status.term, Committed { index, what: log.at(index), by });
                if status.leading {
                    leaders.push((order, status, machine.name.clone(), log));
                }
            }
        }
        leaders.iter().try_for_each(|(order, status, leader, log)| self.judge(*order, status, leader, log))
    }
}

#[test]
fn a_leader_that_lacks_what_was_committed_is_named() {
    let order = OrderId(2);
    let log = |last: u64, payload: &'static str| Log {
        purged: LogPos::default(),
        records: (1..=last)
            .map(|index| LogRecord { position: LogPos { term: 1, index }, payload: payload.into() })
            .collect(),
    };
    let mut complete = Complete::default();
    let what = log(5, "an entry").at(5);
    complete.learn(order, 3, Committed { index: 5, what, by: "n1".into() });
    let judge = |term, log: Log| {
        complete.judge(order, &EngineStatus { term, leading: true, ..EngineStatus::default() }, "n2", &log)
    };
    assert_eq!(judge(3, log(5, "an entry")), Ok(()));
    assert_eq!(judge(4, Log { purged: LogPos { term: 1, index: 5 }, records: vec![] }), Ok(()));
    assert_eq!(judge(2, log(4, "an entry")), Ok(()), "committed after it was deposed");
    assert!(judge(4, log(4, "an entry")).is_err_and(|why| why.ends_with("it has none")));
    assert!(judge(3, log(5, "something else")).is_err_and(|why| why.ends_with("it has another")));
}
