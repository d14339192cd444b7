//! One request: to whom, how often, and what is written down of it.

use std::time::Duration;

use bytes::Bytes;
use shardbearer::kv::{Call, CallResult, Request};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::kv::{Command, Condition, Expiry, Record, Refusal, Reply, RequestId};
use shardbearer_sim::actions::action;
use shardbearer_sim::history::{Answer, Ask, Seen};
use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::machine::Machine;

/// Who asks whom.
pub struct Wanted {
    pub client: usize,
    /// The machine that is asked first; others follow it.
    pub first: usize,
    /// The client's own id of the request. With one it asks again until it knows.
    pub id: Option<RequestId>,
    /// Of each attempt.
    pub deadline: Duration,
}

/// Attempts of a client that asks again.
const ATTEMPTS: usize = 6;

/// One operation on a register or a counter, written down for both judges.
pub async fn operate(cluster: &Cluster, wanted: &Wanted, key: &Bytes, ask: Ask) -> Answer {
    let number = cluster.history.begin(wanted.client, key, ask.clone());
    let answer = match request(cluster, wanted, command(key, &ask)).await {
        Some(Ok(reply)) => answer_of(reply),
        Some(Err(RequestError::Refused(_))) => Answer::Refused,
        Some(Err(RequestError::Unknown(_))) | None => Answer::Unknown,
    };
    cluster.history.end(number, answer.clone());
    answer
}

/// One request, written down for the exact oracle; `None` if it was not answered.
pub async fn request(cluster: &Cluster, wanted: &Wanted, command: Command) -> Option<CallResult> {
    let Cluster { universe, recorder, .. } = cluster;
    let now_ms = universe.wall_ms();
    let asked = action(&command, None, now_ms).expect("clients ask what the oracle understands");
    let call = recorder.begin(wanted.client as u64, asked);
    let result = attempts(cluster, wanted, &command).await;
    match &result {
        Some(Ok(Reply::Refused(Refusal::SessionExpired))) | Some(Err(RequestError::Unknown(_))) | None => {
            universe.trace.cover("unknown outcome");
            call.unknown();
        }
        Some(Ok(Reply::Refused(_))) | Some(Err(RequestError::Refused(_))) => call.refused(),
        Some(Ok(reply)) => {
            call.answered(action(&command, Some(reply), now_ms).expect("as above"));
        }
    }
    universe.event(format_args!("client {}: {command:?}: {result:?}", wanted.client));
    result
}

async fn attempts(cluster: &Cluster, wanted: &Wanted, command: &Command) -> Option<CallResult> {
    let attempts = if wanted.id.is_some() { ATTEMPTS } else { 1 };
    // What an earlier attempt may have done, a later refusal does not undo.
    let mut open = false;
    let mut last = None;
    for attempt in 0..attempts {
        let machine = super::machine(cluster, wanted.first + attempt);
        let id = wanted.id.map(|id| RequestId { retry: attempt > 0, ..id });
        let result = execute_as(machine, id, command.clone(), wanted.deadline).await;
        let result = result.filter(|_| !cluster.loses_answer());
        match result {
            Some(Err(RequestError::Refused(_))) => last = result,
            Some(Err(RequestError::Unknown(_))) | None => {
                open = true;
                last = result;
            }
            Some(Ok(Reply::Refused(Refusal::SessionsFull))) if open => last = result,
            Some(Ok(_)) => {
                if open {
                    cluster.universe.trace.cover("retry of a client answered");
                }
                return result;
            }
        }
    }
    if open && command.is_write() { None } else { last }
}

/// A command at a radiant's door; `None` if the radiant died under it.
pub async fn execute(machine: &Machine, command: Command, deadline: Duration) -> Option<CallResult> {
    execute_as(machine, None, command, deadline).await
}

async fn execute_as(
    machine: &Machine,
    id: Option<RequestId>,
    command: Command,
    deadline: Duration,
) -> Option<CallResult> {
    const NOT_HERE: Duration = Duration::from_millis(20);
    let Some((running, life)) = machine.running() else {
        tokio::time::sleep(NOT_HERE).await;
        // Nobody was asked.
        return Some(Err(Refused::Closed.into()));
    };
    let (sender, answer) = oneshot::channel();
    let call = Call { id, ..Call::new(command) };
    let request = Request { table: "default".into(), calls: vec![call], deadline };
    // In the radiant's life, as its gateways' tasks are.
    life.spawn("request", async move {
        let results = running.door.execute(request).await;
        let _ = sender.send(results);
    });
    let answer = tokio::time::timeout(deadline + Duration::from_millis(50), answer).await;
    answer.ok()?.ok()?.pop()
}

/// Sets a key, whatever it is.
pub fn put(key: &Bytes, value: &Bytes, condition: Condition) -> Command {
    let (key, value) = (key.clone(), value.clone());
    Command::Put { key, value, condition, expiry: Expiry::Never, previous: false }
}

fn command(key: &Bytes, ask: &Ask) -> Command {
    match ask {
        Ask::Read => Command::Get { key: key.clone() },
        Ask::Write(value) => put(key, value, Condition::Always),
        Ask::WriteIf(revision, value) => put(key, value, Condition::Revision(*revision)),
        Ask::Add => Command::Increment { key: key.clone(), by: 1 },
    }
}

fn answer_of(reply: Reply) -> Answer {
    let seen = |record: Option<Record>| -> Seen { record.map(|record| (record.value, record.revision)) };
    match reply {
        Reply::Record(record) => Answer::Found(seen(record)),
        Reply::Written { revision, .. } => Answer::Wrote(revision),
        Reply::ConditionFailed { current } => Answer::Failed(seen(current)),
        Reply::Number { value, revision } => Answer::Counted(value, revision),
        Reply::Refused(Refusal::SessionExpired) => Answer::Unknown,
        Reply::Refused(_) => Answer::Refused,
        other => panic!("an answer to another question: {other:?}"),
    }
}
