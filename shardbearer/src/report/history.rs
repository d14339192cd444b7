//! The past as JSON: epochs, whole configurations, the story of the cluster.

use serde::{Deserialize, Serialize};
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;
use shardbearer_proto::pb::story_event::Kind;
use shardbearer_state::membership::{called_once, word};

use super::known;
use crate::story::{Names, words};

/// One configuration: when, who, what, why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number.
    pub id: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Who asked for it.
    pub who: String,
    /// What changed.
    pub what: String,
    /// The reason.
    pub why: String,
}

impl From<pb::EpochRecord> for Epoch {
    fn from(record: pb::EpochRecord) -> Self {
        let pb::EpochRecord { epoch, at_ms, who, why, what } = record;
        let [who, what, why] = [who, what, why].map(|said| called_once(&said));
        Epoch { id: epoch, at_ms, who, what, why }
    }
}

/// The same with everything that was in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// What it was.
    #[serde(flatten)]
    pub epoch: Epoch,
    /// Nodes, those that have left included.
    pub radiants: Vec<Radiant>,
    /// Replica groups.
    pub orders: Vec<Order>,
    /// Slices of tables.
    pub shards: Vec<Shard>,
}

/// A node of an earlier configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Radiant {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// "active", "a spare", "draining", "leaving" or "gone".
    pub standing: String,
}

/// A replica group of an earlier configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: u64,
    /// Its consensus engine.
    pub engine: String,
    /// Radiants.
    pub members: Vec<u64>,
    /// Those that were to be members.
    pub learners: Vec<u64>,
    /// Shards it owned.
    pub shards: Vec<u64>,
}

/// A shard of an earlier configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its id.
    pub id: u64,
    /// Name of its table.
    pub table: String,
    /// The order that owned it.
    pub order: Option<u64>,
}

impl Configuration {
    /// A configuration and its record.
    pub fn new(epoch: Epoch, topology: &Topology) -> Configuration {
        let radiants = topology.radiants.iter().map(|radiant| Radiant {
            id: radiant.id.0,
            name: radiant.name.clone(),
            standing: word(radiant.standing).into(),
        });
        let orders = topology.orders.iter().map(|order| Order {
            id: order.id.0,
            engine: order.engine.clone(),
            members: order.members.iter().map(|member| member.0).collect(),
            learners: order.roster.learners.iter().map(|learner| learner.0).collect(),
            shards: topology.shards_of(order.id).iter().map(|shard| shard.0).collect(),
        });
        let shards = topology.tables.iter().flat_map(|table| {
            let named = |shard: &shardbearer_core::topology::Shard| Shard {
                id: shard.id.0,
                table: table.name.clone(),
                order: known(shard.order.0),
            };
            table.shards.iter().map(named)
        });
        Configuration {
            epoch,
            radiants: radiants.collect(),
            orders: orders.collect(),
            shards: shards.collect(),
        }
    }
}

/// What happened, causes before effects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// What came first is first.
    pub events: Vec<Event>,
    /// Names of radiants that did not answer, so that what they remember is missing.
    pub missing: Vec<String>,
    /// So many older events had no room in the answer.
    #[serde(default)]
    pub left_out: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unix milliseconds by the clock of whoever noticed; not always in order.
    pub at_ms: u64,
    /// "started", "stopping", "won", "lost", "epoch", "migration", "silent", "heard" or "trouble".
    pub kind: String,
    /// Who noticed; none: the control order.
    pub radiant: Option<u64>,
    /// The epoch; of what a radiant noticed, the one in force there.
    pub epoch: u64,
    /// Of a lead.
    pub order: Option<u64>,
    /// Of a lead.
    pub term: Option<u64>,
    /// Another radiant that it is about.
    pub other: Option<u64>,
    /// The epoch that began the migration.
    pub migration: Option<u64>,
    /// All of it in a sentence.
    pub text: String,
}

impl From<pb::TimelineResponse> for Timeline {
    fn from(timeline: pb::TimelineResponse) -> Self {
        let names = Names::new(&timeline.radiants);
        let event = |event: &pb::StoryEvent| Event {
            at_ms: event.at_ms,
            kind: word_of(event.kind()).into(),
            radiant: known(event.radiant),
            epoch: event.epoch,
            order: known(event.order),
            term: known(event.term),
            other: known(event.other),
            migration: known(event.migration),
            text: words(event, &names),
        };
        let missing = timeline.radiants.iter().filter(|radiant| !radiant.answered);
        Timeline {
            events: timeline.events.iter().map(event).collect(),
            missing: missing.map(|radiant| radiant.name.clone()).collect(),
            left_out: timeline.left_out,
        }
    }
}

fn word_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Started => "started",
        Kind::Stopping => "stopping",
        Kind::Won => "won",
        Kind::Lost => "lost",
        Kind::Epoch => "epoch",
        Kind::Migration => "migration",
        Kind::Silent => "silent",
        Kind::Heard => "heard",
        Kind::Trouble => "trouble",
        Kind::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_a_radiant_twice() {
        let record = pb::EpochRecord {
            who: "radiant radiant-2".into(),
            what: "radiant radiant-2 (2) joins as a spare".into(),
            why: "radiant r1 was told to leave".into(),
            ..pb::EpochRecord::default()
        };
        let Epoch { who, what, why, .. } = record.into();
        assert_eq!(
            [who, what, why],
            ["radiant-2", "radiant-2 (2) joins as a spare", "radiant r1 was told to leave"]
        );
    }
}
