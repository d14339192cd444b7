//! Configurations.

use shardbearer_core::ids::{ClusterId, Incarnation};
use shardbearer_core::topology::{Doors, Order, Radiant, Shard, Table, Topology};

use super::{ConvertError, id16, id16_bytes};
use crate::pb;

impl From<&Doors> for pb::Doors {
    fn from(doors: &Doors) -> Self {
        pb::Doors { grpc: doors.grpc.clone(), resp: doors.resp.clone(), http: doors.http.clone() }
    }
}

impl From<pb::Doors> for Doors {
    fn from(doors: pb::Doors) -> Self {
        Doors { grpc: doors.grpc, resp: doors.resp, http: doors.http }
    }
}

impl From<&Topology> for pb::Topology {
    fn from(topology: &Topology) -> Self {
        pb::Topology {
            cluster: id16_bytes(topology.cluster.0),
            epoch: topology.epoch.0,
            radiants: topology
                .radiants
                .iter()
                .map(|radiant| pb::Radiant {
                    id: radiant.id.0,
                    name: radiant.name.clone(),
                    doors: Some((&radiant.doors).into()),
                    incarnation: id16_bytes(radiant.incarnation.0),
                    standing: Some(radiant.standing.into()),
                })
                .collect(),
            orders: topology
                .orders
                .iter()
                .map(|order| pb::Order {
                    id: order.id.0,
                    engine: order.engine.clone(),
                    members: order.members.iter().map(|member| member.0).collect(),
                    preferred_herald: order.preferred_herald.0,
                    roster: Some((&order.roster).into()),
                })
                .collect(),
            tables: topology
                .tables
                .iter()
                .map(|table| pb::Table {
                    id: table.id.0,
                    name: table.name.clone(),
                    scheme: table.scheme.clone(),
                    shards: table
                        .shards
                        .iter()
                        .map(|shard| pb::Shard { id: shard.id.0, order: shard.order.0 })
                        .collect(),
                })
                .collect(),
            policy: Some((&topology.policy).into()),
        }
    }
}

impl TryFrom<pb::Topology> for Topology {
    type Error = ConvertError;

    fn try_from(topology: pb::Topology) -> Result<Self, ConvertError> {
        let radiants = topology.radiants.into_iter().map(|radiant| {
            Ok(Radiant {
                id: radiant.id.into(),
                name: radiant.name,
                incarnation: Incarnation(id16("Radiant.incarnation", &radiant.incarnation)?),
                doors: radiant.doors.unwrap_or_default().into(),
                standing: radiant.standing.unwrap_or_default().try_into()?,
            })
        });
        let orders = topology.orders.into_iter().map(|order| Order {
            id: order.id.into(),
            engine: order.engine,
            members: order.members.into_iter().map(Into::into).collect(),
            preferred_herald: order.preferred_herald.into(),
            roster: order.roster.unwrap_or_default().into(),
        });
        let tables = topology.tables.into_iter().map(|table| Table {
            id: table.id.into(),
            name: table.name,
            scheme: table.scheme,
            shards: table
                .shards
                .into_iter()
                .map(|shard| Shard { id: shard.id.into(), order: shard.order.into() })
                .collect(),
        });
        Ok(Topology {
            cluster: ClusterId(id16("Topology.cluster", &topology.cluster)?),
            epoch: topology.epoch.into(),
            radiants: radiants.collect::<Result<_, ConvertError>>()?,
            orders: orders.collect(),
            tables: tables.collect(),
            policy: topology.policy.unwrap_or_default().try_into()?,
        })
    }
}
