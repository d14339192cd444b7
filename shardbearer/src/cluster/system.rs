//! The control order that has lost its majority for good, when an operator asks for it to go on: any radiant that is up asks all
//! others what they have, gives the account, and tells the member with the furthest log to begin anew. What follows from what
//! they say is [`shardbearer_state::membership::system`]; that it is carried out is up to `node::seats`.
//!
//! ```text
//!   operator ──▶ any radiant: asks all, judges ──▶ survivor: asks all, judges again, notes what is to begin ──▶ node::seats
//! ```
//!
//! No majority can be asked, so this is the only place where something is decided by one radiant. The survivor decides: it
//! sees for itself that there is no majority, and what it notes on its disk is what happens.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use shardbearer_core::control::{Anew, Change, ControlCommand};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::membership::Standing;
use shardbearer_core::migration::Migration;
use shardbearer_core::topology::Topology;
use shardbearer_core::transport::{CallError, Channel, Frame};
use shardbearer_proto::pb::{control_request, control_response};
use shardbearer_proto::{convert, pb};
use shardbearer_state::membership::reset::{Judgement, Known};
use shardbearer_state::membership::system::{Told, generation, judge_system};
use tokio::time::Instant;

use super::Cluster;
use super::control;
use super::reset::{account, log_end_at, of_seat, who_and_why};
use crate::order::generation::Beginning;

const CONTROL: OrderId = OrderId::CONTROL;

/// For a radiant to say what it has. Long enough for one that is busy: whoever does not answer counts as lost.
const SAYS_WITHIN: Duration = Duration::from_millis(1_500);

/// For the control order to answer a read, if it is there after all.
const SERVES_WITHIN: Duration = SAYS_WITHIN;

/// For the survivor to look for itself, to note what begins, and to see it begun.
const TOLD_WITHIN: Duration = Duration::from_secs(7);

/// For it to have begun, once that is noted. After that it goes on by itself.
const BEGUN_WITHIN: Duration = Duration::from_secs(4);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// An operator's request.
pub(super) async fn ask(
    cluster: &Cluster,
    request: pb::ResetRequest,
) -> Result<pb::ResetResponse, RequestError> {
    let seen = Seen::look(cluster, None).await?;
    let (mut answer, survivor) = account(&seen.told.topology, CONTROL, &seen.known, seen.judge(cluster));
    let Some(survivor) = survivor.filter(|_| request.force && !request.dry_run) else { return Ok(answer) };
    let (who, why) = who_and_why(&request);
    let order = pb::SurviveRequest { who, why, seen: Some(seen.as_told(survivor)) };
    let said = match survivor == cluster.me {
        true => survive(cluster, order).await?,
        false => tell(cluster, survivor, order).await?,
    };
    answer.done = said.done;
    answer.blockers.extend(said.blockers);
    answer.account.extend(said.account);
    if said.done {
        answer.epoch = said.epoch;
    }
    Ok(answer)
}

async fn tell(
    cluster: &Cluster,
    survivor: RadiantId,
    order: pb::SurviveRequest,
) -> Result<pb::ResetResponse, RequestError> {
    let kind = Some(control_request::Kind::Survive(order));
    let body = pb::ControlRequest { kind }.encode_to_vec().into();
    let called =
        cluster.transport.call(survivor, Frame { channel: Channel::Control, body }, TOLD_WITHIN).await;
    let answer = called.map_err(|error| match error {
        CallError::Unreachable { .. } => unavailable(error.to_string()),
        CallError::Unknown { .. } => {
            RequestError::Unknown(format!("the survivor does not say whether it begins: {error}"))
        }
    })?;
    match pb::ControlResponse::decode(answer).unwrap_or_default().kind {
        Some(control_response::Kind::Reset(said)) => Ok(said),
        Some(control_response::Kind::Error(error)) => {
            Err(RequestError::try_from(error).unwrap_or_else(|error| unavailable(error.to_string())))
        }
        Some(_) | None => Err(unavailable("the survivor is of a version that does not know this".into())),
    }
}

/// What another radiant, or this one, decided for the control order's seat here, if it holds from here, too.
pub(super) async fn survive(
    cluster: &Cluster,
    order: pb::SurviveRequest,
) -> Result<pb::ResetResponse, RequestError> {
    let refused = |why: String| pb::ResetResponse { blockers: vec![why], ..pb::ResetResponse::default() };
    let Ok(_one_at_a_time) = cluster.beginning.try_acquire() else {
        return Ok(refused("order 1 is asked to begin anew by somebody else at this moment".into()));
    };
    let pb::SurviveRequest { who, why, seen: said } = order;
    let said = said.unwrap_or_default();
    let seen = Seen::look(cluster, Some(&said)).await?;
    let judgement = seen.judge(cluster);
    if !judgement.blockers.is_empty() {
        return Ok(pb::ResetResponse { blockers: judgement.blockers, ..pb::ResetResponse::default() });
    }
    let mine = seen.known.get(&cluster.me).and_then(|known| known.end);
    let (Some(mine), Some(seat), true) = (mine, cluster.control(), judgement.survivor == Some(cluster.me))
    else {
        return Ok(refused(format!(
            "{} is not the member with the furthest log any more: look again",
            cluster.name
        )));
    };
    let was = LogPos { term: said.last_term, index: said.last_index };
    if mine.generation != Epoch(said.generation) || mine.last < was {
        return Ok(refused(format!("what {} has of order 1 is not what it was: look again", cluster.name)));
    }
    let Told { topology, migration, .. } = seen.told;
    let unapplied = mine.last.index.saturating_sub(mine.applied);
    let begins = generation(topology.epoch, unapplied, cluster.me);
    let anew = Anew { known: topology, migration, generation: begins, survivor: cluster.me };
    let change = Change::Anew(anew.into());
    let command = ControlCommand { who, why, at_ms: cluster.world.wall_ms(), change };
    tracing::warn!(generation = %begins, "the control order begins anew here, because {}", command.why);
    let first = convert::control_command_to_bytes(&command);
    let beginning = Beginning { from: mine.generation, generation: begins, first };
    let storage = seat.applier.storage().clone();
    let noted = cluster.world.block(move || beginning.note(storage.as_ref(), CONTROL)).await;
    // From here on it happens, now or after a restart.
    noted
        .unwrap_or_else(|| Err(shardbearer_core::storage::StorageError::Io("noting it failed".into())))
        .map_err(|error| {
            RequestError::Unknown(format!("what is to begin may not be on disk: {error}; look again"))
        })?;
    cluster.news.notify_one();
    let mut answer = pb::ResetResponse { done: true, epoch: begins.0, ..pb::ResetResponse::default() };
    if !begun(cluster, begins).await {
        answer.account.push(
            "it is decided, and not done yet: `shardbearer status` tells when order 1 has a herald".into(),
        );
    }
    Ok(answer)
}

/// Waits until the control order serves as a generation or a later one; not for long.
async fn begun(cluster: &Cluster, generation: Epoch) -> bool {
    let end = Instant::now() + BEGUN_WITHIN;
    let leads = || cluster.control().is_some_and(|seat| seat.engine.status().leading);
    while cluster.map.topology().version().0 < generation || !leads() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// What is known of the control order, at one moment.
struct Seen {
    told: Told,
    known: BTreeMap<RadiantId, Known>,
    said: BTreeMap<RadiantId, pb::LogEndResponse>,
}

impl Seen {
    /// Asks everybody. What somebody else was told before counts as well.
    async fn look(cluster: &Cluster, before: Option<&pb::LogEndResponse>) -> Result<Seen, RequestError> {
        let topology = cluster.map.topology();
        let here = topology.radiants.iter().filter(|radiant| radiant.standing != Standing::Gone);
        let asked = here.map(|radiant| async move {
            (radiant.id, log_end_at(cluster, radiant.id, CONTROL, SAYS_WITHIN).await)
        });
        let (answers, serves) = tokio::join!(biased; futures_util::future::join_all(asked), serves(cluster));
        let mut told = Told {
            topology: topology.as_ref().clone(),
            migration: cluster.migrations.last(),
            serves,
            silent: Vec::new(),
        };
        for said in answers.iter().filter_map(|(_, said)| said.as_ref()).chain(before) {
            learn(&mut told, said)?;
        }
        let known = answers.iter().map(|(id, said)| (*id, of_seat(cluster, *id, CONTROL, said)));
        let seats = told.topology.order(CONTROL).map(|order| order.seats().collect::<Vec<_>>());
        let known = known.filter(|(id, _)| seats.as_ref().is_some_and(|seats| seats.contains(id))).collect();
        told.silent = answers.iter().filter(|(_, said)| said.is_none()).map(|(id, _)| *id).collect();
        let said = answers.into_iter().filter_map(|(id, said)| Some((id, said?))).collect();
        Ok(Seen { told, known, said })
    }

    fn judge(&self, cluster: &Cluster) -> Judgement {
        let order = self.told.topology.order(CONTROL);
        let can = order.is_some_and(|order| cluster.membership.can_reset(&order.engine));
        judge_system(&self.told, can, |id| self.known.get(&id).copied().unwrap_or_default())
    }

    /// What the survivor said, with the newest that anybody did.
    fn as_told(&self, survivor: RadiantId) -> pb::LogEndResponse {
        pb::LogEndResponse {
            topology: Some((&self.told.topology).into()),
            migration: self.told.migration.as_ref().map(Into::into),
            ..self.said.get(&survivor).cloned().unwrap_or_default()
        }
    }
}

/// Takes over what is newer.
pub(super) fn learn(told: &mut Told, said: &pb::LogEndResponse) -> Result<(), RequestError> {
    // What cannot be read may be the newest: without it, it is not known what goes on.
    let unreadable =
        |why: String| unavailable(format!("the configuration of a radiant cannot be read: {why}"));
    if let Some(theirs) = said.topology.clone() {
        let theirs = Topology::try_from(theirs).map_err(|error| unreadable(error.to_string()))?;
        if theirs.cluster == told.topology.cluster && theirs.version() > told.topology.version() {
            told.topology = theirs;
        }
    }
    if let Some(theirs) = said.migration.clone() {
        let theirs = Migration::try_from(theirs).map_err(|error| unreadable(error.to_string()))?;
        if told.migration.as_ref().is_none_or(|known| theirs.is_newer_than(known)) {
            told.migration = Some(theirs);
        }
    }
    Ok(())
}

/// Whether the control order answers a linearizable read.
async fn serves(cluster: &Cluster) -> bool {
    let read = control_request::Kind::Migration(pb::MigrationRequest {});
    let asked = tokio::time::timeout(SERVES_WITHIN, control::ask(cluster, read, SERVES_WITHIN)).await;
    matches!(asked, Ok(Ok(control_response::Kind::Migration(_))))
}

fn unavailable(why: String) -> RequestError {
    Refused::Unavailable(why).into()
}
