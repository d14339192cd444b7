//! The control order: its seat here, requests to it from anywhere, and what its herald, the
//! scherald, does by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::engine::{ConsensusEngine, not_herald};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::storage::{StorageError, View};
use shardbearer_core::topology::Topology;
use shardbearer_core::transport::{CallError, Channel, Frame};
use shardbearer_proto::pb::{control_request, control_response};
use shardbearer_proto::{convert, pb};
use shardbearer_state::controller::{self, ControlMachine};
use tokio::time::Instant;

use super::Cluster;
use super::attempts::{adds, changes, error_of, last_word, settled};
use crate::order::applier::MachineApplier;

/// How long one attempt to reach the scherald may take.
const HOP_DEADLINE: Duration = Duration::from_secs(2);

/// How long to wait for news of a scherald before asking again.
const NEWS_WAIT: Duration = Duration::from_millis(50);

/// How often a seat looks whether the configuration has changed.
const LOOK: Duration = Duration::from_millis(100);

/// A member of the control order.
pub struct ControlSeat {
    /// Its engine.
    pub engine: Arc<dyn ConsensusEngine>,
    /// Its data.
    pub applier: Arc<MachineApplier<ControlMachine>>,
}

impl ControlSeat {
    pub(super) async fn propose(&self, command: &ControlCommand) -> Result<ControlReply, RequestError> {
        let founding = matches!(command.change, Change::Found(_));
        if !founding && matches!(controller::topology(self.applier.view().as_ref()), Ok(None)) {
            return Err(Refused::Unavailable("the cluster is still being founded".into()).into());
        }
        // A scherald cut off from its majority would wait for as long as it is.
        let proposed = self.engine.propose(convert::control_command_to_bytes(command));
        let late = |_| RequestError::Unknown("not committed within the deadline".into());
        let reply = tokio::time::timeout(HOP_DEADLINE, proposed).await.map_err(late)??;
        convert::control_reply_from_bytes(reply).map_err(|error| RequestError::Unknown(error.to_string()))
    }

    /// What is in the rows of a majority at least.
    async fn look<T>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, StorageError>,
    ) -> Result<T, RequestError> {
        let late = |_| RequestError::from(Refused::Unavailable("no majority within the deadline".into()));
        tokio::time::timeout(HOP_DEADLINE, self.engine.read_barrier()).await.map_err(late)??;
        match self.applier.look(read) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Refused::Unavailable("an image is being installed here".into()).into()),
            Err(error) => Err(Refused::Unavailable(error.to_string()).into()),
        }
    }
}

/// Answers a request that reached this radiant; does not pass it on.
async fn answer_here(cluster: &Cluster, request: pb::ControlRequest) -> pb::ControlResponse {
    use control_request::Kind;
    let kind = match request.kind {
        Some(Kind::Map(_)) => control_response::Kind::Topology(cluster.map.topology().as_ref().into()),
        Some(Kind::Epochs(asked)) => said(
            read(cluster, |view| super::history::page(view, &asked))
                .await
                .map(control_response::Kind::Epochs),
        ),
        Some(Kind::EpochAt(pb::EpochAtRequest { epoch })) => {
            let found = read(cluster, |view| controller::epoch_at(view, epoch.into())).await;
            said(found.map(|found| {
                let (record, topology) = found.unzip();
                control_response::Kind::EpochAt(pb::EpochAtResponse {
                    record: record.as_ref().map(Into::into),
                    topology: topology.as_ref().map(Into::into),
                })
            }))
        }
        Some(Kind::Story(_)) => {
            control_response::Kind::Story(pb::StoryResponse { events: cluster.story.all() })
        }
        Some(Kind::Command(command)) => match (scherald(cluster), ControlCommand::try_from(command)) {
            (_, Ok(ControlCommand { change: Change::Anew(_), .. })) => {
                let error = RequestError::Refused(Refused::Invalid("only a survivor begins anew".into()));
                control_response::Kind::Error((&error).into())
            }
            (_, Err(error)) => {
                let error = RequestError::Refused(Refused::Invalid(error.to_string()));
                control_response::Kind::Error((&error).into())
            }
            (Err(error), Ok(_)) => control_response::Kind::Error((&error).into()),
            (Ok(seat), Ok(command)) => match seat.propose(&command).await {
                Ok(reply) => {
                    notice(cluster, &seat);
                    control_response::Kind::Reply((&reply).into())
                }
                Err(error) => control_response::Kind::Error((&error).into()),
            },
        },
        Some(Kind::Members(asked)) => {
            let answer = match scherald(cluster) {
                Ok(seat) => super::scherald::answer(cluster, &seat, asked).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(answer) => control_response::Kind::Members(answer),
                Err(error) => control_response::Kind::Error((&error).into()),
            }
        }
        Some(Kind::Reset(asked)) => said(match scherald(cluster) {
            Ok(seat) => super::reset::answer(cluster, &seat, asked).await.map(control_response::Kind::Reset),
            Err(error) => Err(error),
        }),
        Some(Kind::LogEnd(pb::LogEndRequest { order })) => {
            said(super::reset::log_end(cluster, order.into()).map(control_response::Kind::LogEnd))
        }
        Some(Kind::Migration(_)) => said(read(cluster, controller::migration).await.map(|found| {
            let migration = found.as_ref().map(Into::into);
            control_response::Kind::Migration(pb::MigrationResponse { migration })
        })),
        Some(Kind::Rebalance(asked)) => said(match scherald(cluster) {
            Ok(seat) => {
                super::rebalance::answer(cluster, &seat, asked).await.map(control_response::Kind::Rebalance)
            }
            Err(error) => Err(error),
        }),
        Some(Kind::Explain(asked)) => {
            let moves = read(cluster, |view| controller::moves_of(view, asked.shard.into())).await;
            said(moves.map(|moves| {
                let moves = moves.iter().map(Into::into).collect();
                control_response::Kind::Explain(pb::ExplainResponse { moves })
            }))
        }
        // A survivor is told by its peers, see `receive`.
        Some(Kind::Survive(_)) | None => {
            let error = RequestError::Refused(Refused::Invalid("an empty request".into()));
            control_response::Kind::Error((&error).into())
        }
    };
    pb::ControlResponse { kind: Some(kind) }
}

/// Reads from the scherald's rows, if that is this radiant.
async fn read<T>(
    cluster: &Cluster,
    read: impl FnOnce(&dyn View) -> Result<T, StorageError>,
) -> Result<T, RequestError> {
    // The first scherald leads for a moment before the founding is decided.
    let founded = |view: &dyn View| match controller::topology(view)? {
        Some(_) => read(view).map(Some),
        None => Ok(None),
    };
    let found = scherald(cluster)?.look(founded).await?;
    found.ok_or_else(|| Refused::Unavailable("the cluster is still being founded".into()).into())
}

fn said(answer: Result<control_response::Kind, RequestError>) -> control_response::Kind {
    answer.unwrap_or_else(|error| control_response::Kind::Error((&error).into()))
}

/// Tells the others at once how far a migration is, if that is news: clients may wait for it.
fn notice(cluster: &Cluster, seat: &ControlSeat) {
    match controller::migration(seat.applier.view().as_ref()) {
        Ok(Some(migration)) => {
            if cluster.learn_migration(migration) {
                cluster.hurry.notify_one();
            }
        }
        Ok(None) => {}
        Err(error) => tracing::error!("{error}"),
    }
}

fn scherald(cluster: &Cluster) -> Result<Arc<ControlSeat>, RequestError> {
    let seat = cluster.control().filter(|seat| seat.engine.status().leading);
    seat.ok_or_else(|| {
        let hint = cluster.leads.herald(OrderId::CONTROL).filter(|herald| *herald != cluster.me);
        not_herald(OrderId::CONTROL, hint)
    })
}

/// A request from a peer.
pub async fn receive(cluster: &Cluster, body: Bytes) -> Option<Bytes> {
    let request = pb::ControlRequest::decode(body).ok()?;
    let answer = match request.kind {
        Some(control_request::Kind::Survive(told)) => {
            let begun = super::system::survive(cluster, told).await;
            pb::ControlResponse { kind: Some(said(begun.map(control_response::Kind::Reset))) }
        }
        _ => answer_here(cluster, request).await,
    };
    Some(answer.encode_to_vec().into())
}

/// What the control order answers to a request of this radiant, or why it does not.
pub(super) async fn ask(
    cluster: &Cluster,
    kind: control_request::Kind,
    deadline: Duration,
) -> Result<control_response::Kind, RequestError> {
    let unavailable = |why: String| RequestError::Refused(Refused::Unavailable(why));
    match request(cluster, pb::ControlRequest { kind: Some(kind) }, deadline).await.kind {
        Some(control_response::Kind::Error(error)) => {
            Err(RequestError::try_from(error).unwrap_or_else(|error| unavailable(error.to_string())))
        }
        Some(answer) => Ok(answer),
        None => Err(unavailable("the control order did not answer".into())),
    }
}

/// The answer was to something else, as from a radiant of another version.
pub(super) fn odd() -> RequestError {
    Refused::Unavailable("the control order answered something else".into()).into()
}

/// A request from this radiant or through it, brought to the scherald wherever that is. Repeating is harmless: every
/// command of the control order says what shall be, not what to add. That it is refused is said only where no earlier attempt
/// may have been carried out.
pub async fn request(
    cluster: &Cluster,
    request: pb::ControlRequest,
    deadline: Duration,
) -> pb::ControlResponse {
    let end = Instant::now() + deadline;
    let anywhere =
        matches!(request.kind, Some(control_request::Kind::Map(_) | control_request::Kind::Story(_)));
    let mut turn = 0;
    // Whether an attempt may have been carried out, although nobody said so.
    let mut open = false;
    loop {
        let to = if anywhere || scherald(cluster).is_ok() { None } else { whom(cluster, turn) };
        let answer = match to {
            None => answer_here(cluster, request.clone()).await,
            Some(herald) => {
                let frame = Frame { channel: Channel::Control, body: request.encode_to_vec().into() };
                let answer = match cluster.transport.call(herald, frame, HOP_DEADLINE).await {
                    Ok(bytes) => pb::ControlResponse::decode(bytes).unwrap_or_default(),
                    Err(error) => {
                        cluster.leads.doubt(OrderId::CONTROL, herald, None);
                        refuse(&error)
                    }
                };
                if let Some(RequestError::Refused(Refused::NotHerald { hint, .. })) = error_of(&answer) {
                    cluster.leads.doubt(OrderId::CONTROL, herald, hint);
                }
                answer
            }
        };
        let error = error_of(&answer);
        open |= changes(&request) && matches!(error, Some(RequestError::Unknown(_)));
        let again = answer.kind.is_none() || error.as_ref().is_some_and(RequestError::is_retryable);
        // It may have been done, and would be done a second time.
        let once = adds(&request) && !matches!(error, Some(RequestError::Refused(_)));
        if !again {
            return settled(answer, open);
        }
        if once || Instant::now() >= end {
            return last_word(cluster, answer, open);
        }
        cluster.leads.changed(NEWS_WAIT).await;
        turn += 1;
    }
}

/// The scherald, as far as known; otherwise a member of the control order that may know, each in its turn.
fn whom(cluster: &Cluster, turn: usize) -> Option<RadiantId> {
    if let Some(herald) = cluster.leads.herald(OrderId::CONTROL).filter(|herald| *herald != cluster.me) {
        return Some(herald);
    }
    let topology = cluster.map.topology();
    let members = &topology.order(OrderId::CONTROL)?.members;
    members.get(turn.checked_rem(members.len())?).copied().filter(|member| *member != cluster.me)
}

fn refuse(error: &CallError) -> pb::ControlResponse {
    let error = match error {
        CallError::Unreachable { .. } => RequestError::Refused(Refused::Unavailable(error.to_string())),
        CallError::Unknown { .. } => RequestError::Unknown(error.to_string()),
    };
    pb::ControlResponse { kind: Some(control_response::Kind::Error((&error).into())) }
}

/// Follows the control order from a seat until that is given up: founds the configuration if there is none, takes over what is new.
pub async fn follow(cluster: Arc<Cluster>, seat: Arc<ControlSeat>, founding: Topology) {
    let mut seen = 0;
    loop {
        let status = seat.engine.status();
        if status.closed {
            return;
        }
        if status.applied != seen || status.applied == 0 {
            seen = status.applied;
            notice(&cluster, &seat);
            let found = controller::topology(seat.applier.view().as_ref());
            match found {
                Ok(Some(topology)) => {
                    if let Err(why) = cluster.advance(topology).await {
                        tracing::error!("the new configuration cannot be used: {why}");
                    }
                }
                Ok(None) if status.leading => {
                    let command = ControlCommand {
                        who: "founding".into(),
                        why: "the founders agreed on this configuration".into(),
                        at_ms: cluster.world.wall_ms(),
                        change: Change::Found(founding.clone()),
                    };
                    // Whoever leads next proposes the same; the second has no effect.
                    let _ = seat.propose(&command).await;
                    seen = 0;
                }
                Ok(None) => seen = 0,
                Err(error) => tracing::error!("{error}"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells the control order where this radiant can be reached now, whenever that is not known: at the start, and when the
/// control order began anew and what it was told was lost.
pub async fn introduce(cluster: Arc<Cluster>) {
    let known = |topology: &Topology| {
        topology.radiant(cluster.me).is_some_and(|radiant| radiant.doors == cluster.doors)
    };
    loop {
        if !known(&cluster.map.topology()) {
            let command =
                welcome(&cluster.name, cluster.incarnation, &cluster.doors, cluster.world.wall_ms());
            let asked = pb::ControlRequest { kind: Some(control_request::Kind::Command((&command).into())) };
            match request(&cluster, asked, Duration::from_secs(5)).await.kind {
                Some(control_response::Kind::Reply(reply)) => {
                    if let Ok(ControlReply::Refused(why)) = ControlReply::try_from(reply) {
                        tracing::error!("{why}");
                    }
                }
                Some(_) | None => {
                    tracing::warn!("the control order cannot be told where this radiant is; trying again")
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The command by which a radiant arrives or comes back.
pub fn welcome(
    name: &str,
    incarnation: shardbearer_core::ids::Incarnation,
    doors: &shardbearer_core::topology::Doors,
    at_ms: u64,
) -> ControlCommand {
    ControlCommand {
        who: shardbearer_state::membership::called(name),
        why: "it started".into(),
        at_ms,
        change: Change::Welcome { name: name.to_owned(), incarnation, doors: doors.clone() },
    }
}
