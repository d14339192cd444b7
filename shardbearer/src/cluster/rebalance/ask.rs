//! What operators ask: found out by making the change of a copy of the configuration and planning from there, so that
//! what is shown and what is done cannot differ.

use std::collections::BTreeMap;
use std::time::Duration;

use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, OrderId, RadiantId, ShardId};
use shardbearer_core::membership::Standing;
use shardbearer_core::rebalancing::{Mode, RebalanceChange};
use shardbearer_core::storage::StorageError;
use shardbearer_core::topology::{Order, Topology};
use shardbearer_proto::pb;
use shardbearer_proto::pb::{control_request, control_response, rebalance_request};
use shardbearer_state::controller::{self, policy};
use shardbearer_state::membership::called;
use shardbearer_state::placement::rebalance::{Move, Plan, Share, plan, shares};

use super::super::Cluster;
use super::super::control::{self, ControlSeat};
use super::{in_force, sight, usual};

/// For a request to be brought to the scherald and decided.
const DEADLINE: Duration = Duration::from_secs(8);

/// What is asked for: what to change, and which moves of what follows concern it.
pub(in super::super) struct Asked {
    pub(in super::super) change: Option<RebalanceChange>,
    mode: Option<Mode>,
    concerns: fn(&Move, &RebalanceChange) -> bool,
}

/// From any radiant.
pub(in super::super) async fn ask(
    cluster: &Cluster,
    request: pb::RebalanceRequest,
) -> Result<pb::RebalanceResponse, RequestError> {
    match control::ask(cluster, control_request::Kind::Rebalance(request), DEADLINE).await? {
        control_response::Kind::Rebalance(answer) => Ok(answer),
        _ => Err(control::odd()),
    }
}

/// Every move of a shard, from any radiant.
pub(in super::super) async fn explain(
    cluster: &Cluster,
    request: pb::ExplainRequest,
) -> Result<pb::ExplainResponse, RequestError> {
    match control::ask(cluster, control_request::Kind::Explain(request), DEADLINE).await? {
        control_response::Kind::Explain(answer) => Ok(answer),
        _ => Err(control::odd()),
    }
}

/// Where the scherald is.
pub(in super::super) async fn answer(
    cluster: &Cluster,
    seat: &ControlSeat,
    request: pb::RebalanceRequest,
) -> Result<pb::RebalanceResponse, RequestError> {
    let topology = in_force(cluster, seat);
    let invalid = |why: String| RequestError::Refused(Refused::Invalid(why));
    let create = |order| created(cluster, &topology, order);
    let asked = asked(&topology, request.kind.clone(), create).map_err(invalid)?;
    let mut answer = pb::RebalanceResponse { epoch: topology.epoch.0, ..pb::RebalanceResponse::default() };
    let changed = match &asked.change {
        None => topology.as_ref().clone(),
        Some(change) => match policy::carry_out(&topology, change) {
            Ok((changed, _)) => changed,
            Err(why) => {
                answer.refused = why;
                answer.policy = Some((&topology.policy).into());
                return Ok(answer);
            }
        },
    };
    let mode = asked.mode.unwrap_or(usual(changed.policy.mode));
    let mut sight = sight(cluster, &changed);
    // An order that is created now is led a moment later.
    for order in sight.orders.iter_mut().filter(|order| topology.order(order.id).is_none()) {
        order.up = true;
    }
    let Plan { mut moves, blockers, .. } = plan(&sight, mode, cluster.membership.gain_min_percent);
    if let Some(change) = &asked.change {
        moves.retain(|made| (asked.concerns)(made, change));
    }
    answer.dangers = dangers(cluster, &changed, &moves);
    answer.policy = Some((&changed.policy).into());
    answer.shares = shares(&sight, &moves).iter().map(share).collect();
    answer.moves = moves.iter().map(|made| planned(cluster, made)).collect();
    answer.blockers = blockers;
    answer.order = came(&topology, &changed);
    let Some(change) = asked.change.filter(|_| !request.dry_run) else { return Ok(answer) };
    if !answer.dangers.is_empty() && !request.force {
        answer.refused = "it is unsafe; --force does it all the same".into();
        return Ok(answer);
    }
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    let command = ControlCommand {
        who: or(request.who, "operator"),
        why: or(request.why, "asked for"),
        at_ms: cluster.world.wall_ms(),
        change: Change::Rebalance(change),
    };
    match seat.propose(&command).await? {
        ControlReply::Changed { epoch, .. } => {
            (answer.done, answer.epoch) = (true, epoch.0);
            if answer.order > 0 {
                answer.order = created_on(seat, epoch).map_err(|error| {
                    RequestError::Unknown(format!("an order was created; which one cannot be read: {error}"))
                })?;
            }
        }
        ControlReply::Refused(why) => answer.refused = why,
    }
    Ok(answer)
}

/// The order that one configuration has and the one before it has not; 0 if there is none.
fn came(before: &Topology, after: &Topology) -> u64 {
    let mut orders = after.orders.iter().map(|order| order.id);
    orders.find(|id| before.order(*id).is_none()).unwrap_or_default().0
}

/// The order that came with an epoch. What was expected may have gone to somebody else, who asked at the same moment.
fn created_on(seat: &ControlSeat, epoch: Epoch) -> Result<u64, StorageError> {
    let view = seat.applier.view();
    let at = |epoch: u64| controller::topology_at(view.as_ref(), Epoch(epoch));
    let (before, after) = (at(epoch.0.saturating_sub(1))?, at(epoch.0)?);
    Ok(before.zip(after).map_or(0, |(before, after)| came(&before, &after)))
}

/// What a request says; `create` completes what is said of an order that is to be created.
pub(in super::super) fn asked(
    topology: &Topology,
    kind: Option<rebalance_request::Kind>,
    create: impl FnOnce(pb::NewOrder) -> Result<RebalanceChange, String>,
) -> Result<Asked, String> {
    use rebalance_request::Kind;
    let all = |_: &Move, _: &RebalanceChange| true;
    let none = |_: &Move, _: &RebalanceChange| false;
    let of_the_order = |made: &Move, change: &RebalanceChange| match change {
        RebalanceChange::Remove { order, .. } => made.from == *order,
        _ => false,
    };
    let of_the_shard = |made: &Move, change: &RebalanceChange| match change {
        RebalanceChange::Pin { shard, .. } => made.shard == *shard,
        _ => false,
    };
    let asked = |change, concerns| Ok(Asked { change: Some(change), mode: None, concerns });
    match kind.ok_or("the request names nothing to do")? {
        Kind::Plan(by) => Ok(Asked { change: None, mode: how(topology, &by)?, concerns: all }),
        Kind::Run(by) => {
            let mode = how(topology, &by)?;
            Ok(Asked { change: Some(RebalanceChange::Run(mode)), mode, concerns: all })
        }
        Kind::Stop(_) => asked(RebalanceChange::Run(None), none),
        Kind::Pause(paused) => asked(RebalanceChange::Pause(paused), none),
        Kind::Mode(name) => {
            let mode = Mode::named(&name);
            let unknown = || format!("{name:?} is no mode; there are off, manual, count and load");
            let mode = mode.ok_or_else(unknown)?;
            asked(RebalanceChange::Mode(mode), if mode.is_automatic() { all } else { none })
        }
        Kind::Pin(pin) => {
            let (shard, to) = (ShardId(pin.shard), OrderId(pin.order));
            asked(RebalanceChange::Pin { shard, to }, of_the_shard)
        }
        Kind::Weight(pb::Weight { order, weight }) => {
            asked(RebalanceChange::Weight { order: order.into(), weight }, all)
        }
        Kind::Create(order) => asked(create(order)?, all),
        Kind::Remove(order) => {
            asked(RebalanceChange::Remove { order: order.into(), remove: true }, of_the_order)
        }
        Kind::Keep(order) => asked(RebalanceChange::Remove { order: order.into(), remove: false }, none),
    }
}

fn how(topology: &Topology, by: &str) -> Result<Option<Mode>, String> {
    match (by, Mode::named(by)) {
        ("", _) => Ok(Some(usual(topology.policy.mode))),
        (_, Some(mode)) if mode.is_automatic() => Ok(Some(mode)),
        (_, _) => Err(format!("shards are spread by count or by load, not by {by:?}")),
    }
}

/// A new order with what was left open: the engine and the size of the first data order, on radiants that have the
/// fewest seats.
fn created(cluster: &Cluster, topology: &Topology, order: pb::NewOrder) -> Result<RebalanceChange, String> {
    let model = topology.orders.iter().find(|order| !order.id.is_control());
    let model_engine = || model.map(|order| order.engine.clone()).unwrap_or_default();
    let engine = if order.engine.is_empty() { model_engine() } else { order.engine };
    if !cluster.membership.knows(&engine) {
        return Err(format!("there is no engine {engine:?} here"));
    }
    let mut members: Vec<RadiantId> = order.members.into_iter().map(Into::into).collect();
    if members.is_empty() {
        let now = cluster.world.monotonic_ns();
        let able = topology.radiants.iter().filter(|radiant| {
            matches!(radiant.standing, Standing::Active | Standing::Spare)
                && (radiant.id == cluster.me || cluster.peers.is_up(radiant.id, now))
        });
        members = able.map(|radiant| radiant.id).collect();
        // Who leads the fewest comes first and is to lead it.
        let leads = |id| topology.orders.iter().filter(|order| order.preferred_herald == id).count();
        members.sort_by_key(|id| (topology.orders_of(*id).count(), leads(*id), *id));
        members.truncate(model.map_or(1, |order| order.members.len()));
    }
    Ok(RebalanceChange::Create { engine, members })
}

/// Why it would be unsafe: radiants whose disks cannot take what comes.
fn dangers(cluster: &Cluster, topology: &Topology, moves: &[Move]) -> Vec<String> {
    let mut arriving: BTreeMap<RadiantId, u64> = BTreeMap::new();
    for made in moves {
        let bytes = cluster.peers.load(made.shard).unwrap_or_default().bytes;
        for member in topology.order(made.to).into_iter().flat_map(Order::seats) {
            *arriving.entry(member).or_default() += bytes;
        }
    }
    // A copy is in the log and in the store for a while.
    const FACTOR: u64 = 2;
    let full = arriving.into_iter().filter_map(|(radiant, bytes)| {
        let free = cluster.peers.of(radiant)?.status.disk_free_bytes;
        let name = topology.radiant(radiant).map_or_else(String::new, |radiant| called(&radiant.name));
        (free > 0 && bytes.saturating_mul(FACTOR) > free).then(|| {
            format!("{bytes} bytes would come to {name}, whose disk has {free} free; twice that is needed")
        })
    });
    full.collect()
}

fn share(share: &Share) -> pb::OrderShare {
    pb::OrderShare {
        order: share.id.0,
        weight: share.weight,
        shards_before: share.shards_before as u64,
        shards_after: share.shards_after as u64,
        load_before: share.load_before,
        load_after: share.load_after,
    }
}

fn planned(cluster: &Cluster, made: &Move) -> pb::PlannedMove {
    let load = cluster.peers.load(made.shard).unwrap_or_default();
    pb::PlannedMove {
        shard: made.shard.0,
        from: made.from.0,
        to: made.to.0,
        why: made.why.clone(),
        reason: Some((&made.reason).into()),
        rows: load.rows,
        bytes: load.bytes,
    }
}
