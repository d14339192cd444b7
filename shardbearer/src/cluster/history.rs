//! The past: earlier configurations, the way back, and what all radiants remember, in one order.

use std::time::Duration;

use prost::Message;
use shardbearer_core::control::EpochRecord;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::limits;
use shardbearer_core::membership::Standing;
use shardbearer_core::migration::MigrationChange;
use shardbearer_core::rebalancing::RebalanceChange;
use shardbearer_core::storage::{StorageError, View};
use shardbearer_core::topology::Topology;
use shardbearer_core::transport::{Channel, Frame};
use shardbearer_proto::pb;
use shardbearer_proto::pb::control_request::Kind as Ask;
use shardbearer_proto::pb::control_response::Kind as Said;
use shardbearer_proto::pb::{member_request, rebalance_request};
use shardbearer_state::controller::{self, Page, policy};
use shardbearer_state::epochs::{Undo, revert as way_back};
use shardbearer_state::membership::ask::Action;

use super::migrations::Failed;
use super::{Cluster, control, migrations, rebalance, scherald};
use crate::story;

/// For an answer of the scherald's.
const DEADLINE: Duration = Duration::from_secs(3);

/// For what another radiant remembers; one that is down is told so rather than waited for.
const STORY_DEADLINE: Duration = Duration::from_secs(1);

/// A timeline has room in a message of gRPC's usual bound, with its radiants' names.
const TIMELINE_BYTES_MAX: usize = 3 << 20;

fn unavailable(why: impl Into<String>) -> RequestError {
    Refused::Unavailable(why.into()).into()
}

/// Records of a page at most.
const PAGE: u32 = 1_000;

/// Their bytes: far from what a message may have.
const PAGE_BYTES: usize = limits::MESSAGE_BYTES_MAX / 4;

/// What the scherald has of a part of the history. Who names no limit gets all of it, as it always was.
pub(super) fn page(view: &dyn View, asked: &pb::EpochsRequest) -> Result<pb::EpochsResponse, StorageError> {
    let (limit, bytes) = match asked.limit {
        0 => (usize::MAX, usize::MAX),
        limit => (limit as usize, PAGE_BYTES), // 32 bits fit
    };
    let Page { records, more } = controller::epochs_from(view, asked.from.into(), limit, bytes)?;
    Ok(pb::EpochsResponse { epochs: records.iter().map(Into::into).collect(), more })
}

/// A part of the history, from any radiant.
pub(super) async fn epochs_page(
    cluster: &Cluster,
    asked: pb::EpochsRequest,
) -> Result<pb::EpochsResponse, RequestError> {
    match control::ask(cluster, Ask::Epochs(asked), DEADLINE).await? {
        Said::Epochs(page) => Ok(page),
        _ => Err(control::odd()),
    }
}

/// Every configuration's record from an epoch on, oldest first.
pub(super) async fn epochs(cluster: &Cluster, from: u64) -> Result<Vec<pb::EpochRecord>, RequestError> {
    let (mut all, mut from): (Vec<pb::EpochRecord>, u64) = (Vec::new(), from);
    loop {
        let page = epochs_page(cluster, pb::EpochsRequest { from, limit: PAGE }).await?;
        all.extend(page.epochs);
        match all.last().filter(|_| page.more).and_then(|last| last.epoch.checked_add(1)) {
            // A scherald that does not get on is asked no more.
            Some(next) if next > from => from = next,
            Some(_) | None => return Ok(all),
        }
    }
}

/// One configuration of the past.
pub(super) async fn epoch_at(cluster: &Cluster, epoch: u64) -> Result<pb::EpochAtResponse, RequestError> {
    match control::ask(cluster, Ask::EpochAt(pb::EpochAtRequest { epoch }), DEADLINE).await? {
        Said::EpochAt(found) => Ok(found),
        _ => Err(control::odd()),
    }
}

/// Takes back what one epoch changed, by what an operator could have asked for.
pub(super) async fn revert(
    cluster: &Cluster,
    request: pb::RevertRequest,
) -> Result<pb::RevertResponse, RequestError> {
    let refused = |why: String| pb::RevertResponse { blockers: vec![why], ..pb::RevertResponse::default() };
    let Some((record, after)) = past(cluster, request.epoch).await? else {
        return Ok(refused(format!("there is no epoch {}", request.epoch)));
    };
    // Before the first there was nothing; the way back says so.
    let before = past(cluster, request.epoch.saturating_sub(1)).await?.map(|(_, before)| before);
    let before = before.unwrap_or_default();
    // Not the map of this radiant, which may not have heard of the latest.
    let last = epochs(cluster, request.epoch).await?.last().map_or(0, |record| record.epoch);
    let Some((_, present)) = past(cluster, last).await? else {
        return Err(unavailable("the history changed meanwhile; try again"));
    };
    let undo = match way_back(&record, &before, &after, &present) {
        Ok(undo) => undo,
        Err(why) => return Ok(refused(why)),
    };
    let who = if request.who.is_empty() { "operator".to_owned() } else { request.who };
    let why = format!("to revert epoch {}: {}", record.epoch, record.what);
    match undo {
        Undo::Move { shard, to } => {
            let steps = vec![format!("shard {shard} moves to order {to}; `shard watch` shows how far it is")];
            if request.dry_run {
                return Ok(pb::RevertResponse { steps, ..pb::RevertResponse::default() });
            }
            let plan = MigrationChange::Plan { shard, to };
            match migrations::change(cluster, plan, who, why).await {
                Ok(_) => Ok(pb::RevertResponse { done: true, steps, blockers: Vec::new() }),
                Err(Failed::Refused(why)) => Ok(refused(why)),
                Err(Failed::Unanswered(error)) => Err(error),
            }
        }
        Undo::Stand { radiant, action } => {
            let asked = pb::MemberRequest {
                action: wire(action).into(),
                radiant: radiant.to_string(),
                dry_run: request.dry_run,
                who,
                why,
                ..pb::MemberRequest::default()
            };
            let pb::MemberResponse { done, steps, blockers, .. } = scherald::ask(cluster, asked).await?;
            Ok(pb::RevertResponse { done, steps, blockers })
        }
        Undo::Spread(change) => {
            let (dry_run, kind) = (request.dry_run, Some(asked_for(&change)));
            let asked = pb::RebalanceRequest { kind, dry_run, who, why, ..pb::RebalanceRequest::default() };
            let answer = rebalance::ask(cluster, asked).await?;
            let what = policy::carry_out(&present, &change).map(|(_, what)| what);
            Ok(spread(answer, what.unwrap_or_default()))
        }
    }
}

/// What an operator would ask for to have that change.
fn asked_for(change: &RebalanceChange) -> rebalance_request::Kind {
    use rebalance_request::Kind;
    match change {
        RebalanceChange::Pin { shard, to } => Kind::Pin(pb::Pin { shard: shard.0, order: to.0 }),
        RebalanceChange::Weight { order, weight } => {
            Kind::Weight(pb::Weight { order: order.0, weight: *weight })
        }
        RebalanceChange::Mode(mode) => Kind::Mode(mode.name().into()),
        RebalanceChange::Pause(paused) => Kind::Pause(*paused),
        RebalanceChange::Remove { order, remove: true } => Kind::Remove(order.0),
        RebalanceChange::Remove { order, remove: false } => Kind::Keep(order.0),
        // Of the rest, only this is ever the way back.
        RebalanceChange::Run(_)
        | RebalanceChange::Create { .. }
        | RebalanceChange::Removed { .. }
        | RebalanceChange::Move { .. }
        | RebalanceChange::Measured { .. } => Kind::Stop(true),
    }
}

/// The answer to a change of how shards are spread, as that of a revert.
fn spread(answer: pb::RebalanceResponse, what: String) -> pb::RevertResponse {
    let pb::RebalanceResponse { done, refused, moves, dangers, .. } = answer;
    let moves = moves.into_iter().map(|made| {
        let pb::PlannedMove { shard, from, to, why, .. } = made;
        format!("a rebalance moves shard {shard} from order {from} to order {to} then: {why}")
    });
    // There is no forcing here: what is unsafe can be asked for by itself.
    let blockers: Vec<String> = match (refused.is_empty(), dangers.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => vec![refused],
        (false, false) => dangers,
    };
    let steps = std::iter::once(what).filter(|what| !what.is_empty()).chain(moves).collect();
    pb::RevertResponse { done, steps, blockers }
}

fn wire(action: Action) -> member_request::Action {
    match action {
        Action::Join => member_request::Action::Join,
        Action::Drain => member_request::Action::Drain,
        Action::Undrain => member_request::Action::Undrain,
        Action::Leave => member_request::Action::Leave,
        Action::Replace(_) => member_request::Action::Replace,
    }
}

async fn past(cluster: &Cluster, epoch: u64) -> Result<Option<(EpochRecord, Topology)>, RequestError> {
    let pb::EpochAtResponse { record, topology } = epoch_at(cluster, epoch).await?;
    let (Some(record), Some(topology)) = (record, topology) else { return Ok(None) };
    let topology = Topology::try_from(topology).map_err(|error| unavailable(error.to_string()))?;
    Ok(Some((record.into(), topology)))
}

/// What all radiants that answer remember, and the control order's history, merged. Tells most of it without a scherald, too.
pub(super) async fn timeline(cluster: &Cluster) -> Result<pb::TimelineResponse, RequestError> {
    let topology = cluster.map.topology();
    let here = topology.radiants.iter().filter(|radiant| radiant.standing != Standing::Gone);
    let asked = here.map(|radiant| async move {
        let events = match radiant.id == cluster.me {
            true => Some(cluster.story.all()),
            false => remembered(cluster, radiant.id).await,
        };
        let name = radiant.name.clone();
        let told = pb::StoryRadiant { id: radiant.id.0, name, answered: events.is_some() };
        (told, events.unwrap_or_default())
    });
    let (told, epochs) = tokio::join!(
        biased;
        futures_util::future::join_all(asked),
        tokio::time::timeout(STORY_DEADLINE * 2, epochs(cluster, 0)),
    );
    let (mut radiants, events): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    // Nobody asks those who have left, and the others remember them by their numbers.
    let gone = topology.radiants.iter().filter(|radiant| radiant.standing == Standing::Gone);
    radiants.extend(gone.map(|radiant| pb::StoryRadiant {
        id: radiant.id.0,
        name: radiant.name.clone(),
        answered: true,
    }));
    let mut events: Vec<pb::StoryEvent> = events.into_iter().flatten().collect();
    match epochs {
        Ok(Ok(records)) => events.extend(records.into_iter().map(story::of_epoch)),
        Ok(Err(_)) | Err(_) => tracing::debug!("the timeline has no reasons of epochs: no scherald answers"),
    }
    let (events, left_out) = story::latest(story::merge(events), TIMELINE_BYTES_MAX);
    Ok(pb::TimelineResponse { events, radiants, left_out })
}

async fn remembered(cluster: &Cluster, radiant: RadiantId) -> Option<Vec<pb::StoryEvent>> {
    let request = pb::ControlRequest { kind: Some(Ask::Story(pb::StoryRequest {})) };
    let frame = Frame { channel: Channel::Control, body: request.encode_to_vec().into() };
    let answer = cluster.transport.call(radiant, frame, STORY_DEADLINE).await.ok()?;
    match pb::ControlResponse::decode(answer).ok()?.kind? {
        // Whoever it says that it is, it is this one that answered.
        Said::Story(story) => Some(
            story.events.into_iter().map(|event| pb::StoryEvent { radiant: radiant.0, ..event }).collect(),
        ),
        _ => None,
    }
}
