//! How a radiant that finds a cluster is let in: the control order gives it an id, and it takes over the configuration.

use std::time::Duration;

use shardbearer_core::control::ControlReply;
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{ClusterId, RadiantId};
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::{Doors, Topology};
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use shardbearer_proto::pb::control_request::Kind as Ask;
use shardbearer_proto::pb::control_response::Kind as Said;

use super::NodeError;
use crate::bootstrap::{Beacons, Bootstrap, Identity, Outcome};
use crate::cluster::control;

/// For one call; the far side has to reach the scherald within it.
const CALL_DEADLINE: Duration = Duration::from_secs(6);
/// For others to say what they have that is newer. Whoever cannot be reached costs a restart that much.
const NEWS_DEADLINE: Duration = Duration::from_millis(500);
/// How often the configuration is asked for until it names this radiant.
const LOOKS: usize = 50;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long it may take to be let in before that is a problem.
const PATIENCE_NS: u64 = 10_000_000_000;

/// Finds the radiant's place: who it is, the configuration, and whether the cluster was founded just now.
pub(super) async fn find_cluster(
    bootstrap: &Bootstrap,
    identity: &Identity,
    doors: &Doors,
    world: &World,
    beacons: &dyn Beacons,
) -> Result<(RadiantId, Topology, bool), NodeError> {
    let mut warn_ns = world.monotonic_ns() + PATIENCE_NS;
    loop {
        match bootstrap.run().await? {
            Outcome::Founded { radiant, topology } => return Ok((radiant, topology, true)),
            Outcome::Rejoin { radiant, topology } => {
                let newest = newest(radiant, &topology, beacons).await;
                if let Some(newest) = &newest {
                    bootstrap.belongs(newest).await?;
                }
                return Ok((radiant, newest.unwrap_or(topology), false));
            }
            Outcome::Join { cluster, via } => {
                tracing::info!(%cluster, "found a cluster; asking to be let in");
                if let Some((radiant, topology)) =
                    join(cluster, &via, identity, doors, world, beacons).await?
                {
                    bootstrap.belongs(&topology).await?;
                    return Ok((radiant, topology, false));
                }
                if world.monotonic_ns() >= warn_ns {
                    warn_ns = world.monotonic_ns() + PATIENCE_NS;
                    tracing::warn!(
                        "nobody of cluster {cluster} at {} lets this radiant in; trying on. Has the control order a \
                         majority of its members?",
                        via.join(", ")
                    );
                }
            }
        }
    }
}

/// What the others have that is newer than what a radiant that comes back remembers. A seat that is no longer its own is then not
/// opened at all: of an order that began anew without it, it could otherwise go on with others who have not heard of it either.
async fn newest(me: RadiantId, topology: &Topology, beacons: &dyn Beacons) -> Option<Topology> {
    let others = topology.radiants.iter().filter(|radiant| {
        radiant.id != me && radiant.standing != Standing::Gone && !radiant.doors.grpc.is_empty()
    });
    let asked = others.map(|radiant| async {
        let map = Ask::Map(pb::MapRequest {});
        match call(beacons, &radiant.doors.grpc, map, NEWS_DEADLINE).await {
            Ok(Said::Topology(theirs)) => Topology::try_from(theirs).ok(),
            Ok(_) | Err(_) => None,
        }
    });
    let told = futures_util::future::join_all(asked).await.into_iter().flatten();
    let newer =
        told.filter(|theirs| theirs.cluster == topology.cluster && theirs.version() > topology.version());
    newer.max_by_key(Topology::version)
}

/// Asks members, the best first, until one lets the radiant in. `None` if none could; an error if the
/// cluster said no.
async fn join(
    cluster: ClusterId,
    via: &[String],
    identity: &Identity,
    doors: &Doors,
    world: &World,
    beacons: &dyn Beacons,
) -> Result<Option<(RadiantId, Topology)>, NodeError> {
    for address in via {
        match ask(cluster, address, identity, doors, world, beacons).await {
            Ok(welcomed) => return Ok(Some(welcomed)),
            Err(Refusal::Final(why)) => return Err(NodeError::NotWelcome { cluster, why }),
            // Usual while a cluster starts; who is waited for in vain is told so in the end.
            Err(Refusal::Here(why)) => tracing::info!("{address}: {why}"),
        }
    }
    Ok(None)
}

enum Refusal {
    /// Another member may know better.
    Here(String),
    /// The cluster has decided.
    Final(String),
}

async fn ask(
    cluster: ClusterId,
    address: &str,
    identity: &Identity,
    doors: &Doors,
    world: &World,
    beacons: &dyn Beacons,
) -> Result<(RadiantId, Topology), Refusal> {
    let here = |why: String| Refusal::Here(why);
    let command = control::welcome(identity.name(), identity.incarnation(), doors, world.wall_ms());
    match call(beacons, address, Ask::Command((&command).into()), CALL_DEADLINE).await.map_err(here)? {
        Said::Reply(reply) => match ControlReply::try_from(reply).map_err(|error| here(error.to_string()))? {
            ControlReply::Changed { .. } => {}
            ControlReply::Refused(why) => return Err(Refusal::Final(why)),
        },
        other => return Err(here(unexpected(other))),
    }
    for _ in 0..LOOKS {
        let topology =
            match call(beacons, address, Ask::Map(pb::MapRequest {}), CALL_DEADLINE).await.map_err(here)? {
                Said::Topology(topology) => {
                    Topology::try_from(topology).map_err(|error| here(error.to_string()))?
                }
                other => return Err(here(unexpected(other))),
            };
        if topology.cluster != cluster {
            return Err(here(format!("belongs to cluster {}, not to {cluster}", topology.cluster)));
        }
        let mine =
            |radiant: &&shardbearer_core::topology::Radiant| radiant.incarnation == identity.incarnation();
        if let Some(radiant) = topology.radiants.iter().find(mine) {
            return Ok((radiant.id, topology));
        }
        // The scherald has taken this radiant in; the one asked learns it with the next pulse.
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(here("has not heard yet that this radiant was let in".into()))
}

async fn call(beacons: &dyn Beacons, address: &str, ask: Ask, deadline: Duration) -> Result<Said, String> {
    let answer = beacons.control(address, pb::ControlRequest { kind: Some(ask) }, deadline).await?;
    answer.kind.ok_or_else(|| "an answer without content".into())
}

fn unexpected(said: Said) -> String {
    match said {
        Said::Error(error) => {
            RequestError::try_from(error).map_or_else(|error| error.to_string(), |error| error.to_string())
        }
        Said::Topology(_)
        | Said::Epochs(_)
        | Said::EpochAt(_)
        | Said::Story(_)
        | Said::Reply(_)
        | Said::Members(_)
        | Said::Migration(_)
        | Said::Rebalance(_)
        | Said::Explain(_)
        | Said::Reset(_)
        | Said::LogEnd(_) => "an answer to another question".into(),
    }
}
