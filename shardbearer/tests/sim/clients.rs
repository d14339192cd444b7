//! Clients that ask random radiants, and write down what they were answered.

mod asking;
mod wishes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::{Command, RequestId};
use shardbearer_sim::history::{Answer, Ask};

pub use self::asking::{Wanted, execute, operate, put, request};
use super::cluster::Cluster;
use super::machine::Machine;

/// Few, so that clients meet.
const REGISTERS: usize = 6;
const COUNTERS: usize = 3;

/// Every key that clients use with plain reads and writes.
pub fn keys() -> Vec<Bytes> {
    (0..REGISTERS).map(register_key).chain((0..COUNTERS).map(counter_key)).collect()
}

/// Every other key.
pub fn other_keys() -> Vec<Bytes> {
    wishes::keys()
}

/// A page request over all that clients write.
pub fn everything() -> Command {
    wishes::scan(0)
}

fn register_key(number: usize) -> Bytes {
    format!("register-{number}").into()
}

fn counter_key(number: usize) -> Bytes {
    format!("counter-{number}").into()
}

/// One client until the end of the safety phase.
pub async fn client(cluster: Arc<Cluster>, number: usize, until_ms: u64) {
    let rng = cluster.universe.rng(&format!("client {number}"));
    // Some clients have a session of their own and ask again, elsewhere, until they know.
    let session = (number % 2 == 1).then_some(SessionId(number as u128));
    let mut client = Client {
        cluster: cluster.clone(),
        number,
        rng,
        session,
        requests: 0,
        seen: [0; REGISTERS],
        written: 0,
    };
    while cluster.universe.now_ms() < until_ms {
        tokio::time::sleep(Duration::from_millis(client.rng.random_range(0..50))).await;
        client.once().await;
    }
}

struct Client {
    cluster: Arc<Cluster>,
    number: usize,
    rng: StdRng,
    session: Option<SessionId>,
    requests: u64,
    seen: [u64; REGISTERS],
    written: u64,
}

impl Client {
    async fn once(&mut self) {
        let wanted = self.wanted();
        let cluster = self.cluster.clone();
        match self.rng.random_range(0..10) {
            0..3 => {
                let key = counter_key(self.rng.random_range(0..COUNTERS));
                let ask = if self.rng.random_bool(0.4) { Ask::Read } else { Ask::Add };
                operate(&cluster, &wanted, &key, ask).await;
            }
            3..7 => {
                let register = self.rng.random_range(0..REGISTERS);
                let value = self.value();
                let ask = match self.rng.random_range(0..10) {
                    0..4 => Ask::Read,
                    4..6 => Ask::WriteIf(self.seen[register], value),
                    _ => Ask::Write(value),
                };
                let answer = operate(&cluster, &wanted, &register_key(register), ask).await;
                self.seen[register] = revision(&answer).unwrap_or(self.seen[register]);
            }
            _ => {
                let value = self.value();
                let now_ms = cluster.universe.wall_ms();
                let command = wishes::draw(&mut self.rng, value, cluster.clocks_agree.then_some(now_ms));
                request(&cluster, &wanted, command).await;
            }
        }
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> Bytes {
        self.written += 1;
        format!("{}-{}", self.number, self.written).into()
    }

    /// Whom to ask for how long. Mostly patient; the impatient make outcomes unknown.
    fn wanted(&mut self) -> Wanted {
        self.requests += 1;
        let number = self.requests;
        let first = self.rng.random_range(0..self.cluster.machines.len());
        let deadline = Duration::from_millis(match self.rng.random_range(0..10) {
            0 => self.rng.random_range(1..100),
            1..7 => self.rng.random_range(200..800),
            _ => 3_000,
        });
        // It waits for one answer at a time.
        let id = |session| RequestId { session, number, unanswered_from: number, retry: false };
        Wanted { client: self.number, first, id: self.session.map(id), deadline }
    }
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

/// A machine of a cluster, counted round.
fn machine(cluster: &Cluster, number: usize) -> &Machine {
    &cluster.machines[number % cluster.machines.len()]
}
