//! The cluster's status as JSON: what `GET /v1/status` answers and what the CLI prints for programs.
//!
//! A shape of its own, kept stable by hand, so that the wire may grow without breaking scripts. Every list is
//! an array of objects, each with its `id`; what is not known is `null`, never 0.

pub mod history;
pub mod migration;
pub mod rebalance;

use serde::{Deserialize, Serialize};
use shardbearer_proto::pb;

/// A cluster as one radiant sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// "ok", "degraded" (something is down, everything is served) or "down" (something is not served).
    pub health: String,
    /// A sentence each.
    pub problems: Vec<String>,
    /// Name of the radiant that says all this.
    pub answered_by: String,
    /// The cluster's id, 32 hexadecimal digits.
    pub cluster: Option<String>,
    /// Number of the configuration in force.
    pub epoch: u64,
    /// The radiant that leads the control order.
    pub scherald: Option<u64>,
    /// Nodes.
    pub radiants: Vec<Radiant>,
    /// Replica groups.
    pub orders: Vec<Order>,
    /// Key spaces.
    pub tables: Vec<Table>,
    /// Slices of tables.
    pub shards: Vec<Shard>,
    /// How shards are being spread.
    #[serde(default)]
    pub rebalance: Option<rebalance::Standing>,
    /// The last migration of a shard, under way or over.
    pub migration: Option<migration::Migration>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Radiant {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// "up", "silent" or "unknown".
    pub state: String,
    /// Whether it belongs to no order.
    pub spare: bool,
    /// "active", "a spare", "draining" or "leaving".
    #[serde(default)]
    pub standing: String,
    /// Milliseconds since it was last heard.
    pub silent_ms: u64,
    /// Orders it leads.
    pub leads: Vec<u64>,
    /// Orders it is a member of.
    pub orders: Vec<u64>,
    /// `host:port` of its gRPC door; empty if off. So are the next two.
    pub grpc: String,
    /// Of its Redis door.
    pub resp: String,
    /// Of its HTTP door.
    pub http: String,
    /// Of its program.
    pub version: String,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Of its data.
    pub data_bytes: u64,
    /// On its disk.
    pub disk_free_bytes: u64,
    /// Whether it refuses writes for want of space.
    pub disk_full: bool,
    /// Whether it is about to end, and takes no leads.
    #[serde(default)]
    pub stopping: bool,
    /// Shards that it does not store as they were written.
    #[serde(default)]
    pub unsound: Vec<Unsound>,
}

/// A shard of which a replica does not store what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsound {
    /// The shard's order.
    pub order: u64,
    /// The shard.
    pub shard: u64,
    /// What was found, in words.
    pub what: String,
}

/// A replica group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its id.
    pub id: u64,
    /// Whether it is the control order.
    pub control: bool,
    /// "ok", "degraded" (a member is missing, down or catching up) or "down".
    pub state: String,
    /// Its consensus engine.
    pub engine: String,
    /// The radiant that leads it.
    pub herald: Option<u64>,
    /// The term of that lead.
    pub term: u64,
    /// Radiants.
    pub members: Vec<u64>,
    /// Those that catch up and are then to be members.
    #[serde(default)]
    pub learners: Vec<u64>,
    /// Shards it owns.
    pub shards: Vec<u64>,
    /// Log index applied by its herald.
    pub applied: u64,
    /// Its share of the shards relative to the others.
    #[serde(default)]
    pub weight: u32,
    /// Whether it is emptied and then removed.
    #[serde(default)]
    pub removing: bool,
    /// How many members it should have.
    #[serde(default)]
    pub replicas_wanted: u32,
    /// How many of them it lacks. A member that is down is not missing.
    #[serde(default)]
    pub replicas_missing: u32,
}

/// A key space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// How keys map to shards.
    pub scheme: String,
    /// Its shards, in the scheme's order.
    pub shards: Vec<u64>,
}

/// A slice of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its id.
    pub id: u64,
    /// Name of its table.
    pub table: String,
    /// The order that owns it.
    pub order: Option<u64>,
    /// "serving" or "down".
    pub state: String,
    /// Live rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Commands that read, a second, over the last seconds.
    #[serde(default)]
    pub reads_per_s: u64,
    /// Commands that write, likewise.
    #[serde(default)]
    pub writes_per_s: u64,
    /// The order it is pinned to.
    #[serde(default)]
    pub pin: Option<u64>,
}

impl From<pb::StatusResponse> for Status {
    fn from(status: pb::StatusResponse) -> Self {
        let topology = status.topology.unwrap_or_default();
        Status {
            health: status.health,
            problems: status.problems,
            answered_by: status.answered_by,
            cluster: hexadecimal(&topology.cluster),
            epoch: topology.epoch,
            scherald: known(status.scherald),
            radiants: status.radiants.into_iter().map(Into::into).collect(),
            orders: status.orders.into_iter().map(Into::into).collect(),
            tables: topology.tables.into_iter().map(Into::into).collect(),
            shards: status.shards.into_iter().map(Into::into).collect(),
            rebalance: status.rebalance.map(Into::into),
            migration: status.migration.map(Into::into),
        }
    }
}

impl From<pb::RadiantStatus> for Radiant {
    fn from(radiant: pb::RadiantStatus) -> Self {
        let doors = radiant.doors.unwrap_or_default();
        Radiant {
            id: radiant.id,
            name: radiant.name,
            state: radiant.state,
            spare: radiant.spare,
            standing: radiant.standing,
            silent_ms: radiant.silent_ms,
            leads: radiant.leads,
            orders: radiant.orders,
            grpc: doors.grpc,
            resp: doors.resp,
            http: doors.http,
            version: radiant.version,
            uptime_ms: radiant.uptime_ms,
            data_bytes: radiant.data_bytes,
            disk_free_bytes: radiant.disk_free_bytes,
            disk_full: radiant.disk_full,
            stopping: radiant.stopping,
            unsound: radiant.unsound.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<pb::Unsound> for Unsound {
    fn from(found: pb::Unsound) -> Self {
        Unsound { order: found.order, shard: found.shard, what: found.what }
    }
}

impl From<pb::OrderStatus> for Order {
    fn from(order: pb::OrderStatus) -> Self {
        let members = u32::try_from(order.members.len()).unwrap_or(u32::MAX);
        Order {
            id: order.id,
            control: order.control,
            state: order.state,
            engine: order.engine,
            herald: known(order.herald),
            term: order.term,
            members: order.members,
            learners: order.learners,
            shards: order.shards,
            applied: order.applied,
            weight: order.weight,
            removing: order.removing,
            replicas_wanted: order.replicas_wanted,
            replicas_missing: order.replicas_wanted.saturating_sub(members),
        }
    }
}

impl From<pb::Table> for Table {
    fn from(table: pb::Table) -> Self {
        let shards = table.shards.into_iter().map(|shard| shard.id).collect();
        Table { id: table.id, name: table.name, scheme: table.scheme, shards }
    }
}

impl From<pb::ShardStatus> for Shard {
    fn from(shard: pb::ShardStatus) -> Self {
        Shard {
            id: shard.id,
            table: shard.table,
            order: known(shard.order),
            state: shard.state,
            rows: shard.rows,
            bytes: shard.bytes,
            reads_per_s: shard.reads_per_s,
            writes_per_s: shard.writes_per_s,
            pin: known(shard.pin),
        }
    }
}

/// An id from the wire, where 0 is none.
fn known(id: u64) -> Option<u64> {
    Some(id).filter(|id| *id != 0)
}

fn hexadecimal(raw: &[u8]) -> Option<String> {
    shardbearer_core::ids::ClusterId::from_bytes(raw).map(|cluster| cluster.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_find_what_they_look_for() {
        let order = pb::OrderStatus {
            id: 7,
            members: vec![1, 2],
            shards: vec![3],
            replicas_wanted: 3,
            ..Default::default()
        };
        let shard = pb::ShardStatus { id: 3, table: "default".into(), order: 7, ..Default::default() };
        let radiant = pb::RadiantStatus { id: 1, ..Default::default() };
        let status = Status::from(pb::StatusResponse {
            radiants: vec![radiant],
            orders: vec![order],
            shards: vec![shard],
            ..Default::default()
        });
        let json = serde_json::to_value(&status).expect("plain data");
        assert_eq!(json["orders"][0]["id"], 7);
        assert_eq!(json["orders"][0]["control"], false);
        assert!(json["orders"][0]["herald"].is_null(), "none known");
        assert_eq!(json["orders"][0]["members"][1], 2);
        assert_eq!(json["orders"][0]["shards"][0], 3);
        assert_eq!(
            (&json["orders"][0]["replicas_wanted"], &json["orders"][0]["replicas_missing"]),
            (&3.into(), &1.into())
        );
        assert_eq!(json["shards"][0]["table"], "default");
        assert_eq!(json["shards"][0]["order"], 7);
        assert_eq!(json["radiants"][0]["id"], 1);
        let back: Status = serde_json::from_value(json).expect("the same shape");
        assert_eq!(back, status);
    }
}
