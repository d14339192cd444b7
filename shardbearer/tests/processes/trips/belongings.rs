//! What belongs to the shard, and must be where it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::SeedableRng;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use serde_json::{Value, json};
use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::{Command, Reply as Answer, RequestId};
use shardbearer_proto::convert::result_from_wire;
use shardbearer_proto::pb;
use shardbearer_proto::pb::kv_client::KvClient;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use super::super::harness::{Cluster, PATIENCE};
use super::super::load::read_all;
use super::super::resp::{Connection, Reply};

/// That nobody writes again.
pub const ROWS: usize = 256;
const VALUE_BYTES: usize = 4 << 10;

/// Keys that are written over or deleted before every move.
const CHURNED: usize = 24;

/// Keys that can be taken once, and keys that live for an hour. Older ones make room.
const KEPT: usize = 16;

/// How long keys live at least that expire soon. Others are given the half of the last move, and twice the longest.
const BRIEF: Duration = Duration::from_millis(400);
/// An expiry that is later than this is late.
const LATE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// All of one shard, by their hash tag.
fn key(kind: &str, number: usize) -> String {
    format!("{{trip}}-{kind}{number}")
}

/// A key that was given a time to live.
struct Expired {
    sent: Instant,
    acknowledged: Instant,
    lives: Duration,
    /// When it was last asked for and still there.
    there: Instant,
    /// When it was known to be gone.
    gone: Instant,
}

/// What the shard has, and what was done with it.
pub struct Belongings {
    doors: Vec<String>,
    door: Connection,
    clients: Vec<KvClient<Channel>>,
    session: SessionId,
    rows: BTreeMap<String, String>,
    churned: Vec<Option<String>>,
    /// To the request of each move.
    answers: Vec<Answer>,
    again: Option<(Arc<AtomicBool>, JoinHandle<usize>)>,
    repeated: usize,
    /// Of keys that live longer than the test, in Unix milliseconds.
    deadlines: Vec<i64>,
    expiring: JoinSet<Expired>,
}

impl Belongings {
    pub async fn fill(cluster: &Cluster) -> Belongings {
        let mut dice = StdRng::seed_from_u64(1);
        let doors = cluster.resp_doors();
        let door = Connection::open(&doors[0]).await.unwrap();
        let mut clients = Vec::new();
        for radiant in &cluster.radiants {
            let endpoint = Endpoint::from_shared(format!("http://{}", radiant.grpc)).unwrap();
            clients.push(KvClient::new(endpoint.connect_lazy()));
        }
        let value = |dice: &mut StdRng| Alphanumeric.sample_string(dice, VALUE_BYTES);
        let rows = (0..ROWS).map(|number| (key("row", number), value(&mut dice))).collect();
        let mut belongings = Belongings {
            doors,
            door,
            clients,
            session: SessionId(1),
            churned: vec![None; CHURNED],
            answers: Vec::new(),
            again: None,
            repeated: 0,
            deadlines: Vec::new(),
            expiring: JoinSet::new(),
            rows,
        };
        for (key, value) in &belongings.rows {
            assert_eq!(call(&mut belongings.door, &["SET", key, value]).await.1, ok());
        }
        belongings
    }

    async fn call(&mut self, words: &[&str]) -> Reply {
        call(&mut self.door, words).await.1
    }

    /// Before move `number`; when the others began and were over.
    pub async fn pack(&mut self, number: usize, moves: &[(Instant, Instant)]) {
        // Radiants were stopped before the first.
        self.door = Connection::open(&self.doors[number % self.doors.len()]).await.unwrap();
        for at in 0..CHURNED {
            let name = key("churned", at);
            if (at + number).is_multiple_of(3) {
                self.call(&["DEL", &name]).await;
                self.churned[at] = None;
            } else {
                let value = format!("of move {number}");
                assert_eq!(self.call(&["SET", &name, &value]).await, ok());
                self.churned[at] = Some(value);
            }
        }
        let (once, lasting) = (key("once", number % KEPT), key("lasting", number % KEPT));
        self.call(&["DEL", &once]).await;
        assert_eq!(self.call(&["SET", &once, &format!("first of {number}"), "NX"]).await, ok());
        assert_eq!(self.call(&["SET", &lasting, "1", "EX", "3600"]).await, ok());
        match self.call(&["PEXPIRETIME", &lasting]).await {
            Reply::Integer(at) => self.deadlines.push(at),
            other => panic!("{other:?}"),
        }
        self.request(number).await;
        let took = |(begun, over): &(Instant, Instant)| *over - *begun;
        let last = moves.last().map_or(BRIEF, took);
        let longest = moves.iter().map(took).max().unwrap_or(5 * BRIEF);
        for (which, lives) in [BRIEF, BRIEF + last / 2, BRIEF + 2 * longest].into_iter().enumerate() {
            self.expire(key("brief", number * 3 + which), lives).await;
        }
    }

    /// Sets a key that is to expire, and has somebody look until it has.
    async fn expire(&mut self, key: String, lives: Duration) {
        let words = ["SET", &key, "1", "PX", &lives.as_millis().to_string()];
        let (sent, reply) = call(&mut self.door, &words).await;
        assert_eq!(reply, ok());
        let (acknowledged, door) =
            (Instant::now(), self.doors[self.expiring.len() % self.doors.len()].clone());
        self.expiring.spawn(async move {
            let mut door = Connection::open(&door).await.unwrap();
            let mut there = sent;
            loop {
                let (asked, reply) = call(&mut door, &["GET", &key]).await;
                match reply {
                    Reply::Bulk(Some(_)) => there = asked,
                    Reply::Bulk(None) => {
                        return Expired { sent, acknowledged, lives, there, gone: Instant::now() };
                    }
                    other => panic!("{key}: {other:?}"),
                }
                tokio::time::sleep(LOOK).await;
            }
        });
    }

    /// The request of this move, and then the same again and again while the shard moves.
    async fn request(&mut self, number: usize) {
        let first = self.request_of(number, false);
        let answer = increment(&self.clients, number, first).await;
        assert!(matches!(answer, Answer::Number { value, .. } if value == number as i64 + 1), "{answer:?}");
        self.answers.push(answer.clone());
        let (clients, again, stop) =
            (self.clients.clone(), self.request_of(number, true), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut repeated = 0;
            while !stopped.load(Ordering::Relaxed) {
                assert_eq!(increment(&clients, repeated, again).await, answer, "it was applied already");
                repeated += 1;
                tokio::time::sleep(LOOK).await;
            }
            repeated
        });
        self.again = Some((stop, task));
    }

    fn request_of(&self, number: usize, retry: bool) -> RequestId {
        // The client says of none that it was answered, so that all are remembered.
        RequestId { session: self.session, number: number as u64 + 1, unanswered_from: 1, retry }
    }

    /// After move `number`: everything is as it was.
    pub async fn unpack(&mut self, number: usize) {
        for at in 0..CHURNED {
            let found = self.call(&["GET", &key("churned", at)]).await;
            assert_eq!(found, Reply::Bulk(self.churned[at].clone()), "move {number}, churned key {at}");
        }
        let (stop, task) = self.again.take().expect("it was packed");
        stop.store(true, Ordering::Relaxed);
        self.repeated += task.await.expect("each was answered as before");
        for one in [number, number / 2, 0] {
            let answer = increment(&self.clients, number, self.request_of(one, true)).await;
            assert_eq!(answer, self.answers[one], "request {one} after move {number}");
            self.repeated += 1;
        }
        for one in [number, (number + 1).saturating_sub(KEPT)] {
            let (once, first) = (key("once", one % KEPT), format!("first of {one}"));
            assert_eq!(self.call(&["SET", &once, "second", "NX"]).await, Reply::Bulk(None), "it is taken");
            assert_eq!(self.call(&["GET", &once]).await, Reply::Bulk(Some(first)));
            let deadline = self.call(&["PEXPIRETIME", &key("lasting", one % KEPT)]).await;
            assert_eq!(deadline, Reply::Integer(self.deadlines[one]), "it has the same end");
        }
    }

    /// Every row that nobody wrote again is there.
    pub async fn are_all_there(&self) {
        let names: Vec<String> = self.rows.keys().cloned().collect();
        let found = read_all(&self.doors[1], &names).await;
        assert!(found == self.rows, "{} rows of {}, or others", found.len(), self.rows.len());
    }

    /// Waits until the last key has expired; what was counted, if all came at their time.
    pub async fn end(&mut self, moves: &[(Instant, Instant)]) -> Value {
        let mut expired = Vec::new();
        while let Some(one) = self.expiring.join_next().await {
            expired.push(one.expect("nothing else fails"));
        }
        let early = expired.iter().filter(|one| one.gone < one.sent + one.lives).count();
        let lateness = |one: &Expired| one.there.saturating_duration_since(one.acknowledged + one.lives);
        let latest = expired.iter().map(lateness).max().expect("some have expired");
        assert!(
            early == 0 && latest <= LATE,
            "{early} of {} too early, or late by {latest:?}",
            expired.len()
        );
        let due = |one: &Expired| one.acknowledged + one.lives;
        let in_time = |holds: fn(Instant, Instant) -> bool| {
            let one = |one: &&Expired| {
                moves.iter().any(|(begun, over)| {
                    one.acknowledged < *begun && *begun < due(one) && holds(due(one), *over)
                })
            };
            expired.iter().filter(one).count()
        };
        let during = in_time(|due, over| due <= over);
        let after = in_time(|due, over| due > over);
        assert!(during > 0 && after > 0, "{during} expired while the shard moved, {after} after");
        let (rows, once, lasting) = (self.rows.len(), self.answers.len(), self.deadlines.len());
        json!({"rows": rows, "requests": once, "repeated": self.repeated, "taken_once": once, "lasting": lasting,
            "expired": {"all": expired.len(), "while_moving": during, "after": after, "latest_ms": latest.as_millis() as u64}})
    }
}

/// A counter of the shard is incremented by a numbered request, which is sent to one radiant after the other until one answers.
async fn increment(clients: &[KvClient<Channel>], first: usize, mut id: RequestId) -> Answer {
    let command = Command::Increment { key: key("counter", 0).into(), by: 1 };
    let start = Instant::now();
    for client in clients.iter().cycle().skip(first % clients.len()) {
        let calls =
            vec![pb::Call { id: Some((&id).into()), command: Some((&command).into()), ..Default::default() }];
        let request = pb::ExecuteRequest { calls, deadline_ms: 2_000, ..Default::default() };
        let said = client.clone().execute(request).await;
        let results = said.map(|said| said.into_inner().results);
        let result = results.as_ref().ok().and_then(|results| results.first().cloned());
        match result.map(|result| result_from_wire(result).unwrap()) {
            Some(Ok(answer)) => return answer,
            other => assert!(start.elapsed() < PATIENCE, "{id:?}: {other:?}, {results:?}"),
        }
        id.retry = true;
    }
    unreachable!("a cycle does not end")
}

/// When it was asked, and what it was answered. What is refused has not happened, and is asked again: a busy machine may hold
/// elections.
async fn call(door: &mut Connection, words: &[&str]) -> (Instant, Reply) {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        match door.call_within(words, PATIENCE).await.unwrap() {
            Reply::Error(why) if why.starts_with("CLUSTERDOWN ") || why.starts_with("TRYAGAIN ") => {
                assert!(start.elapsed() < PATIENCE, "{words:?}: {why}");
            }
            reply => return (asked, reply),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn ok() -> Reply {
    Reply::Simple("OK".into())
}
