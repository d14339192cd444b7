//! The first that a control order decides after it lost its majority for good: its next generation. Applied to the survivor's
//! rows after everything in its log, and to nobody else's: the others get an image.
//!
//! The others may know more of the configuration than the survivor's log: it had been decided, and they were told. So what
//! goes on is the newest that anybody told, and the same goes for the record of the last migration.

use shardbearer_core::control::{Anew, EpochRecord};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::machine::Workspace;
use shardbearer_core::membership::Reset;
use shardbearer_core::topology::Topology;

use super::{Decision, SPACE, last_migration, stored};
use crate::{keys, membership};

/// May be repeated: a crash in the middle of a reset has all of it done again.
pub(super) fn begin(
    present: Option<Topology>,
    anew: &Anew,
    at_ms: u64,
    work: &mut Workspace<'_>,
) -> Decision {
    let Anew { known, migration, generation, survivor } = anew;
    if let Some(present) = &present {
        let reset = present.order(OrderId::CONTROL).and_then(|order| order.roster.reset);
        if reset == Some(Reset { epoch: *generation, survivor: *survivor }) {
            return Decision::AsItIs(present.epoch, RadiantId::NONE);
        }
        if present.cluster != known.cluster {
            return Decision::Refuse(format!("this is cluster {}, not {}", present.cluster, known.cluster));
        }
        if *generation <= present.epoch {
            return Decision::Refuse(format!("epoch {generation} is over: {} is in force", present.epoch));
        }
    }
    // Only if that has been in force here: what is in this log besides, and was not decided by a majority, is not to win over it.
    let then = work.get(SPACE, &keys::epoch(known.epoch)).and_then(|row| stored::decode_epoch(&row));
    let here = present.filter(|_| then.is_some_and(|(_, then)| then == *known));
    let newest = here.as_ref().unwrap_or(known);
    let (topology, what) = match membership::system::begin_anew(newest, *generation, *survivor) {
        Ok(begun) => begun,
        Err(why) => return Decision::Refuse(why),
    };
    if here.is_none() {
        // Its history is with those who are lost; that it was, is not.
        let record = EpochRecord {
            epoch: known.epoch,
            at_ms,
            who: "unknown".into(),
            why: "who knew why has been lost".into(),
            what: "told by radiants that had heard of it".into(),
        };
        work.put(SPACE, keys::epoch(known.epoch), stored::encode_epoch(&record, known));
    }
    if let Some(told) = migration
        && last_migration(work).is_none_or(|last| told.is_newer_than(&last))
    {
        let row = stored::migration::encode(told);
        work.put(SPACE, keys::moved(told.shard, told.id), row.clone());
        work.put(SPACE, keys::moved(told.source(), told.id), row.clone());
        work.put(SPACE, keys::migration(), row);
    }
    Decision::Make { topology: topology.into(), what, radiant: RadiantId::NONE }
}
