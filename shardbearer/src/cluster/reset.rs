//! What the scherald does about an order that has lost its majority for good, when an operator asks for it: it finds out how far
//! the members that are left are, and commits from whom the order goes on. What follows from that is
//! [`shardbearer_state::membership::reset`]; that it is carried out is up to `node::seats`.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::membership::MemberChange;
use shardbearer_core::topology::Topology;
use shardbearer_core::transport::{Channel, Frame};
use shardbearer_proto::pb;
use shardbearer_proto::pb::{control_request, control_response};
use shardbearer_state::membership::reset::{self, Judgement, Known, LogEnd};

use super::Cluster;
use super::control::{self, ControlSeat};
use super::rebalance::in_force;
use super::scherald::ATTEMPTS;
use crate::order::generation;

/// For an operator's request to be brought to the scherald and decided.
const DEADLINE: Duration = Duration::from_secs(8);

/// For a member to say how far it is. All of it has to fit into one hop to the scherald.
const SAYS_WITHIN: Duration = Duration::from_millis(800);

/// An operator's request, from any radiant.
pub(super) async fn ask(
    cluster: &Cluster,
    request: pb::ResetRequest,
) -> Result<pb::ResetResponse, RequestError> {
    if OrderId(request.order).is_control() {
        let why = "order 1 is the control order, which decides about resets and cannot decide its own: where it has lost its \
                   majority for good there is `shardbearer system reset`";
        return Ok(pb::ResetResponse { blockers: vec![why.into()], ..pb::ResetResponse::default() });
    }
    match control::ask(cluster, control_request::Kind::Reset(request), DEADLINE).await {
        Ok(control_response::Kind::Reset(answer)) => Ok(answer),
        Ok(_) => Err(control::odd()),
        Err(error) => Err(pointed(cluster, error)),
    }
}

/// Where nobody decides about resets, says what comes before this one.
fn pointed(cluster: &Cluster, error: RequestError) -> RequestError {
    if cluster.peers.leader(OrderId::CONTROL, cluster.world.monotonic_ns()).is_some() {
        return error;
    }
    let point = |why: String| {
        format!(
            "{why}; first start them again, or where they are lost for good, run `shardbearer system reset`"
        )
    };
    match error {
        RequestError::Refused(Refused::Unavailable(why)) => Refused::Unavailable(point(why)).into(),
        RequestError::Unknown(why) => RequestError::Unknown(point(why)),
        other => other,
    }
}

/// The same, where the scherald is.
pub(super) async fn answer(
    cluster: &Cluster,
    seat: &ControlSeat,
    request: pb::ResetRequest,
) -> Result<pb::ResetResponse, RequestError> {
    let known = known(cluster, &in_force(cluster, seat), request.order.into()).await;
    let mut answer = pb::ResetResponse::default();
    for _ in 0..ATTEMPTS {
        let topology = in_force(cluster, seat);
        answer = attempt(cluster, seat, &request, &topology, &known).await?;
        // Something else was decided meanwhile, as happens while members change: it is looked at again on top of that.
        if answer.done || in_force(cluster, seat).epoch == topology.epoch {
            break;
        }
    }
    Ok(answer)
}

async fn attempt(
    cluster: &Cluster,
    seat: &ControlSeat,
    request: &pb::ResetRequest,
    topology: &Topology,
    known: &BTreeMap<RadiantId, Known>,
) -> Result<pb::ResetResponse, RequestError> {
    let id = OrderId(request.order);
    let can = topology.order(id).is_some_and(|order| cluster.membership.can_reset(&order.engine));
    let moving = cluster.migrations.last().filter(|record| !record.phase.is_over());
    let of = |radiant| known.get(&radiant).copied().unwrap_or_default();
    let judgement = reset::judge(topology, id, can, moving.as_ref(), of);
    let (mut answer, survivor) = account(topology, id, known, judgement);
    let Some(survivor) = survivor.filter(|_| request.force && !request.dry_run) else { return Ok(answer) };
    let (who, why) = who_and_why(request);
    let command = ControlCommand {
        who,
        why,
        at_ms: cluster.world.wall_ms(),
        change: Change::Members { on: topology.epoch, change: MemberChange::Reset { order: id, survivor } },
    };
    match seat.propose(&command).await? {
        ControlReply::Changed { epoch, .. } => {
            (answer.done, answer.epoch) = (true, epoch.0);
            tracing::warn!(order = %id, %survivor, %epoch, "an order begins anew, because {}", command.why);
            cluster.hurry.notify_one();
        }
        ControlReply::Refused(why) => answer.blockers.push(why),
    }
    Ok(answer)
}

/// What an operator is told of it, and who would go on.
pub(super) fn account(
    topology: &Topology,
    id: OrderId,
    known: &BTreeMap<RadiantId, Known>,
    judgement: Judgement,
) -> (pb::ResetResponse, Option<RadiantId>) {
    let Judgement { survivor, account, blockers, dangers } = judgement;
    let answer = pb::ResetResponse {
        epoch: topology.epoch.0,
        members: members(topology, id, known),
        survivor: survivor.unwrap_or_default().0,
        account,
        blockers,
        dangers,
        ..pb::ResetResponse::default()
    };
    (answer, survivor)
}

/// Who asks for it and why, also where they do not say.
pub(super) fn who_and_why(request: &pb::ResetRequest) -> (String, String) {
    let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
    (or(&request.who, "operator"), or(&request.why, "most of its members are lost for good"))
}

/// How far the order's log reaches here. Of the control order, whose rows are not the only place of what it decided, also what
/// this radiant knows of that.
pub(super) fn log_end(cluster: &Cluster, id: OrderId) -> Result<pb::LogEndResponse, RequestError> {
    let known = match id.is_control() {
        true => pb::LogEndResponse {
            topology: Some(cluster.map.topology().as_ref().into()),
            migration: cluster.migrations.last().as_ref().map(Into::into),
            ..pb::LogEndResponse::default()
        },
        false => pb::LogEndResponse::default(),
    };
    let (Some(engine), Some(view)) = (cluster.engine(id), cluster.view(id)) else { return Ok(known) };
    let status = engine.status();
    let generation = generation::of(view.as_ref(), id);
    let generation =
        generation.map_err(|error| RequestError::from(Refused::Unavailable(error.to_string())))?;
    let last = cluster.log.bounds(id).last;
    Ok(pb::LogEndResponse {
        generation: generation.0,
        last_term: last.term,
        last_index: last.index,
        applied: status.applied,
        seated: !status.closed,
        leading: status.leading,
        ..known
    })
}

/// What is known of everybody who has a seat in the order.
async fn known(cluster: &Cluster, topology: &Topology, id: OrderId) -> BTreeMap<RadiantId, Known> {
    let seats = topology.order(id).into_iter().flat_map(|order| order.seats());
    let asked = seats.map(|seat| async move {
        (seat, of_seat(cluster, seat, id, &log_end_at(cluster, seat, id, SAYS_WITHIN).await))
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// What a radiant says of its seat in an order, and what was heard of it before.
pub(super) fn of_seat(
    cluster: &Cluster,
    seat: RadiantId,
    id: OrderId,
    said: &Option<pb::LogEndResponse>,
) -> Known {
    let end = said.as_ref().filter(|end| end.seated).map(|end| LogEnd {
        generation: end.generation.into(),
        last: LogPos { term: end.last_term, index: end.last_index },
        applied: end.applied,
        leading: end.leading,
    });
    let heard = cluster.peers.of(seat).filter(|heard| heard.at_ns > 0);
    let silent_ns =
        heard.as_ref().map_or(0, |heard| cluster.world.monotonic_ns().saturating_sub(heard.at_ns));
    let heard = heard.and_then(|heard| heard.progress.get(&id).map(|progress| progress.applied));
    Known { end, heard, silent_ms: silent_ns / 1_000_000 }
}

/// How far the log of an order reaches at a radiant; none if it does not say.
pub(super) async fn log_end_at(
    cluster: &Cluster,
    at: RadiantId,
    id: OrderId,
    within: Duration,
) -> Option<pb::LogEndResponse> {
    if at == cluster.me {
        return log_end(cluster, id).ok();
    }
    let kind = Some(control_request::Kind::LogEnd(pb::LogEndRequest { order: id.0 }));
    let body = pb::ControlRequest { kind }.encode_to_vec().into();
    let frame = Frame { channel: Channel::Control, body };
    let answer = cluster.transport.call(at, frame, within).await.ok()?;
    match pb::ControlResponse::decode(answer).ok()?.kind? {
        control_response::Kind::LogEnd(end) => Some(end),
        _ => None,
    }
}

fn members(topology: &Topology, id: OrderId, known: &BTreeMap<RadiantId, Known>) -> Vec<pb::MemberLog> {
    let member = |(radiant, known): (&RadiantId, &Known)| {
        let name = topology.radiant(*radiant).map_or_else(String::new, |radiant| radiant.name.clone());
        let end = known.end.unwrap_or_default();
        pb::MemberLog {
            radiant: radiant.0,
            name,
            reached: known.end.is_some(),
            last_term: end.last.term,
            last_index: end.last.index,
            applied: known.end.map_or(known.heard.unwrap_or_default(), |end| end.applied),
        }
    };
    let counts =
        |radiant: &RadiantId| topology.order(id).is_some_and(|order| order.members.contains(radiant));
    known.iter().filter(|(radiant, _)| counts(radiant)).map(member).collect()
}
