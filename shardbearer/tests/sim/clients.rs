//! Clients that ask random radiants, and write down what they were answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer::kv::{Call, CallResult, Request};
use shardbearer_core::error::RequestError;
use shardbearer_core::kv::{Command, Condition, Expiry, Record, Reply};
use shardbearer_sim::history::{Answer, Ask, Seen};
use tokio::sync::oneshot;

use super::cluster::Cluster;
use super::machine::Machine;

/// Few, so that clients meet.
const REGISTERS: usize = 6;
const COUNTERS: usize = 3;

/// One client until the end of the safety phase.
pub async fn client(cluster: Arc<Cluster>, number: usize, until_ms: u64) {
    let mut rng = cluster.universe.rng(&format!("client {number}"));
    let mut seen = [0; REGISTERS];
    let mut written = 0;
    while cluster.universe.now_ms() < until_ms {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..50))).await;
        let machine = &cluster.machines[rng.random_range(0..cluster.machines.len())];
        let counter = rng.random_bool(0.3);
        let register = rng.random_range(0..REGISTERS);
        let read = rng.random_bool(0.4);
        let (key, ask) = if counter {
            (counter_key(rng.random_range(0..COUNTERS)), if read { Ask::Read } else { Ask::Add })
        } else {
            written += 1;
            let value = Bytes::from(format!("{number}-{written}"));
            let ask = match read {
                true => Ask::Read,
                false if rng.random_bool(0.4) => Ask::WriteIf(seen[register], value),
                false => Ask::Write(value),
            };
            (register_key(register), ask)
        };
        let answer = operate(&cluster, machine, number, &key, ask, deadline(&mut rng)).await;
        if let (false, Some(revision)) = (counter, revision(&answer)) {
            seen[register] = revision;
        }
    }
}

/// Every key that clients use.
pub fn keys() -> Vec<Bytes> {
    (0..REGISTERS).map(register_key).chain((0..COUNTERS).map(counter_key)).collect()
}

fn register_key(number: usize) -> Bytes {
    format!("register-{number}").into()
}

fn counter_key(number: usize) -> Bytes {
    format!("counter-{number}").into()
}

/// Mostly patient; the impatient make outcomes unknown.
fn deadline(rng: &mut StdRng) -> Duration {
    Duration::from_millis(match rng.random_range(0..10) {
        0 => rng.random_range(1..100),
        1..7 => rng.random_range(200..800),
        _ => 3_000,
    })
}

fn revision(answer: &Answer) -> Option<u64> {
    match answer {
        Answer::Found(seen) | Answer::Failed(seen) => {
            Some(seen.as_ref().map_or(0, |(_, revision)| *revision))
        }
        Answer::Wrote(revision) => Some(*revision),
        Answer::Unknown | Answer::Refused | Answer::Counted(..) => None,
    }
}

/// One operation through one radiant, written down.
pub async fn operate(
    cluster: &Cluster,
    machine: &Machine,
    client: usize,
    key: &Bytes,
    ask: Ask,
    deadline: Duration,
) -> Answer {
    let number = cluster.history.begin(client, key, ask.clone());
    let answer = match execute(machine, command(key, &ask), deadline).await {
        Some(Ok(reply)) => answer_of(reply),
        Some(Err(error)) => {
            cluster.universe.event(format_args!("client {client} is told: {error}"));
            match error {
                RequestError::Refused(_) => Answer::Refused,
                RequestError::Unknown(_) => Answer::Unknown,
            }
        }
        None => Answer::Unknown,
    };
    if answer == Answer::Unknown {
        cluster.universe.trace.cover("unknown outcome");
    }
    let key = String::from_utf8_lossy(key);
    cluster.universe.event(format_args!("client {client} at {}: {key} {ask:?}: {answer:?}", machine.name));
    cluster.history.end(number, answer.clone());
    answer
}

/// A command at a radiant's door; `None` if the radiant does not serve, or died under it.
pub async fn execute(machine: &Machine, command: Command, deadline: Duration) -> Option<CallResult> {
    const NOT_HERE: Duration = Duration::from_millis(20);
    let Some((running, life)) = machine.running() else {
        tokio::time::sleep(NOT_HERE).await;
        // Nobody was asked.
        let why = shardbearer_core::error::Refused::Closed;
        return Some(Err(why.into()));
    };
    let (sender, answer) = oneshot::channel();
    let request = Request { table: "default".into(), calls: vec![Call::new(command)], deadline };
    // In the radiant's life, as its gateways' tasks are.
    life.spawn("request", async move {
        let results = running.door.execute(request).await;
        let _ = sender.send(results);
    });
    let answer = tokio::time::timeout(deadline + Duration::from_millis(50), answer).await;
    answer.ok()?.ok()?.pop()
}

fn command(key: &Bytes, ask: &Ask) -> Command {
    let put = |value: &Bytes, condition| Command::Put {
        key: key.clone(),
        value: value.clone(),
        condition,
        expiry: Expiry::Never,
        previous: false,
    };
    match ask {
        Ask::Read => Command::Get { key: key.clone() },
        Ask::Write(value) => put(value, Condition::Always),
        Ask::WriteIf(revision, value) => put(value, Condition::Revision(*revision)),
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
        Reply::Refused(_) => Answer::Refused,
        other => panic!("an answer to another question: {other:?}"),
    }
}
