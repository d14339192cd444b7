//! One call at a time: what is asked, at which door, and how what comes back is written down.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_client::{Client, Conditional};
use shardbearer_core::kv::{Condition, Record};
use shardbearer_sim::recorder::Call;
use shardbearer_state::history::{Action, Answer, Before, Kind, Lifetime, Seen, Step};

use super::super::resp::{Connection, Reply};
use super::clients::{BREATH, COUNTERS, LISTS, REGISTERS, REPLY_MAX, Shared, keys};

/// Of a client that only reads.
const BETWEEN_PROBES: Duration = Duration::from_millis(3);

/// What a client asks of one key.
pub enum Ask {
    Get,
    Put(String),
    PutNew(String),
    /// Returns what was there.
    Swap(String),
    Delete,
    Increment,
    Append(String),
}

/// A client.
pub struct Caller {
    pub shared: Arc<Shared>,
    pub number: usize,
    pub dice: StdRng,
    /// Those it has written.
    pub values: u64,
}

impl Caller {
    fn goes_on(&self) -> bool {
        self.shared.goes_on()
    }

    /// What next, of which key.
    fn draw(&mut self) -> (String, Ask) {
        let generation = self.shared.next_call();
        if generation > 0 && self.dice.random_ratio(1, 30) {
            let left = self.dice.random_range(0..generation);
            let keys: Vec<String> = keys(left).collect();
            return (keys[self.dice.random_range(0..keys.len())].clone(), Ask::Get);
        }
        self.values += 1;
        let value = format!("{}.{}", self.number, self.values);
        let kind = self.dice.random_range(0..20);
        let (name, count) = match kind {
            0..13 => ("r", REGISTERS),
            13..18 => ("c", COUNTERS),
            _ => ("l", LISTS),
        };
        let key = format!("g{generation}-{name}{}", self.dice.random_range(0..count));
        let ask = match kind {
            0..4 | 17 | 19 => Ask::Get,
            4..8 => Ask::Put(value),
            8 => Ask::PutNew(value),
            9..11 => Ask::Swap(value),
            11..13 => Ask::Delete,
            13..17 => Ask::Increment,
            _ => Ask::Append(format!("{value};")),
        };
        (key, ask)
    }

    fn begin(&self, key: &str, kind: &Kind) -> Call {
        self.shared.recorder.begin(self.number as u64, one(key, kind, None))
    }

    fn error(&self, text: &str) {
        let word = text.split(' ').next().unwrap_or_default().to_owned();
        *self.shared.errors.lock().entry(word).or_default() += 1;
    }

    /// Even clients stay with their radiant, so that they hear what it says after a pause; the others move on.
    pub async fn through_resp(mut self, doors: Vec<String>) {
        let mut door = self.number / 2 % doors.len();
        let mut moved = false;
        while self.goes_on() {
            if self.number % 2 == 1 && !std::mem::take(&mut moved) {
                door = (door + 1) % doors.len();
            }
            let Ok(mut connection) = Connection::open(&doors[door]).await else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            if self.number % 4 == 3 {
                // Who has asked for the map is sent on with MOVED. An answer that comes too late is not that of the next call.
                if connection.call_within(&["CLUSTER", "SLOTS"], REPLY_MAX).await.is_err() {
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            }
            while self.goes_on() {
                let (key, ask) = self.draw();
                match self.resp(&mut connection, &key, &ask, REPLY_MAX).await {
                    Ok(Reply::Error(text)) if text.starts_with("MOVED ") => {
                        let to = doors.iter().position(|door| text.ends_with(door.as_str()));
                        door = to.expect("MOVED names one of the radiants");
                        moved = true;
                        break;
                    }
                    Ok(Reply::Error(_)) => {
                        tokio::time::sleep(BREATH).await;
                        break;
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// What the others write, always at the same door. No write that waits for an order keeps it from hearing what a radiant
    /// says which others have left behind.
    pub async fn only_reading(mut self, door: String, within: Duration) {
        while self.goes_on() {
            let Ok(mut connection) = Connection::open(&door).await else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            while self.goes_on() {
                let keys: Vec<String> = keys(self.shared.generation()).collect();
                let key = &keys[self.dice.random_range(0..keys.len())];
                match self.resp(&mut connection, key, &Ask::Get, within).await {
                    Ok(_) => tokio::time::sleep(BETWEEN_PROBES).await,
                    Err(_) => break,
                }
            }
        }
    }

    /// One call at a Redis door. Only `UNKNOWN` and silence leave open whether it happened.
    pub async fn resp(
        &mut self,
        connection: &mut Connection,
        key: &str,
        ask: &Ask,
        within: Duration,
    ) -> std::io::Result<Reply> {
        let (words, kind): (Vec<&str>, Kind) = match ask {
            Ask::Get => (vec!["GET", key], Kind::Get),
            Ask::Put(value) => (vec!["SET", key, value], put(value, Condition::Always)),
            Ask::PutNew(value) => (vec!["SET", key, value, "NX"], put(value, Condition::Absent)),
            Ask::Swap(value) => (vec!["SET", key, value, "GET"], put(value, Condition::Always)),
            Ask::Delete => (vec!["DEL", key], Kind::Delete { condition: Condition::Always }),
            Ask::Increment => (vec!["INCR", key], Kind::Increment { by: 1 }),
            Ask::Append(value) => (vec!["APPEND", key, value], Kind::Append { value: value.clone().into() }),
        };
        let call = self.begin(key, &kind);
        let reply = connection.call_within(&words, within).await;
        let was = |value: &Option<String>| Answer::found(value.clone().map(Bytes::from)).before;
        let answer = match (&reply, ask) {
            (Ok(Reply::Error(text)), _) => {
                self.error(text);
                if text.starts_with("UNKNOWN ") {
                    call.unknown();
                } else {
                    call.refused();
                }
                return reply;
            }
            (Err(_), _) => {
                self.error("(silence)");
                call.unknown();
                return reply;
            }
            (Ok(Reply::Bulk(found)), Ask::Get | Ask::Swap(_)) => {
                Answer { before: was(found), ..Answer::APPLIED }
            }
            (Ok(Reply::Simple(_)), Ask::Put(_) | Ask::PutNew(_)) => Answer::APPLIED,
            (Ok(Reply::Bulk(None)), Ask::PutNew(_)) => Answer::failed(Before::Present(Seen::default())),
            (Ok(Reply::Integer(1)), Ask::Delete) => {
                Answer { before: Before::Present(Seen::default()), ..Answer::APPLIED }
            }
            (Ok(Reply::Integer(0)), Ask::Delete) => Answer { before: Before::Absent, ..Answer::APPLIED },
            (Ok(Reply::Integer(number)), Ask::Increment) => {
                Answer { number: Some(*number), ..Answer::APPLIED }
            }
            (Ok(Reply::Integer(length)), Ask::Append(_)) => {
                Answer { length: u64::try_from(*length).ok(), ..Answer::APPLIED }
            }
            (Ok(other), _) => panic!("{words:?}: {other:?}"),
        };
        call.answered(one(key, &kind, Some(answer)));
        reply
    }

    /// The smart client: revisions, compare-and-set, and repeats under the same number that must not count twice.
    pub async fn through_grpc(mut self, client: Client) {
        while self.goes_on() {
            let (key, ask) = self.draw();
            let answered = match ask {
                Ask::Get => self.read(&client, &key).await.map(drop),
                Ask::Put(value) | Ask::Swap(value) => self.compare_and_set(&client, &key, value).await,
                Ask::PutNew(value) => self.set(&client, &key, value, Condition::Absent).await,
                Ask::Delete => {
                    let kind = Kind::Delete { condition: Condition::Always };
                    let call = self.begin(&key, &kind);
                    let answer = client.delete(key.clone()).previous().await;
                    self.end(call, &key, &kind, answer, |deleted| Answer {
                        before: before(&deleted.previous),
                        ..Answer::APPLIED
                    })
                }
                Ask::Increment => {
                    let kind = Kind::Increment { by: 1 };
                    let call = self.begin(&key, &kind);
                    let answer = client.increment(key.clone(), 1).await;
                    self.end(call, &key, &kind, answer, |number| Answer {
                        number: Some(number.value),
                        revision: Some(number.revision),
                        ..Answer::APPLIED
                    })
                }
                Ask::Append(value) => {
                    let kind = Kind::Append { value: value.clone().into() };
                    let call = self.begin(&key, &kind);
                    let answer = client.append(key.clone(), value).await;
                    self.end(call, &key, &kind, answer, |length| Answer {
                        length: Some(length.length),
                        revision: Some(length.revision),
                        ..Answer::APPLIED
                    })
                }
            };
            if answered.is_none() {
                tokio::time::sleep(BREATH).await;
            }
        }
    }

    async fn read(&self, client: &Client, key: &str) -> Option<Option<Record>> {
        let call = self.begin(key, &Kind::Get);
        let answer = client.get(key.to_owned()).await;
        let mut found = None;
        self.end(call, key, &Kind::Get, answer, |record| {
            let answer = Answer { before: before(&record), ..Answer::APPLIED };
            found = Some(record);
            answer
        });
        found
    }

    /// Reads, and writes if nobody else did in between.
    async fn compare_and_set(&self, client: &Client, key: &str, value: String) -> Option<()> {
        let revision = self.read(client, key).await?.map_or(0, |record| record.revision);
        self.set(client, key, value, Condition::Revision(revision)).await
    }

    async fn set(&self, client: &Client, key: &str, value: String, condition: Condition) -> Option<()> {
        let kind = put(&value, condition.clone());
        let call = self.begin(key, &kind);
        let answer = client.put(key.to_owned(), value).condition(condition).await;
        self.end(call, key, &kind, answer, |written| match written {
            Conditional::Done(written) => Answer { revision: Some(written.revision), ..Answer::APPLIED },
            Conditional::ConditionFailed { current } => Answer::failed(before(&current)),
        })
    }

    fn end<T>(
        &self,
        call: Call,
        key: &str,
        kind: &Kind,
        answer: Result<T, shardbearer_client::Error>,
        told: impl FnOnce(T) -> Answer,
    ) -> Option<()> {
        match answer {
            Ok(answer) => {
                call.answered(one(key, kind, Some(told(answer))));
                Some(())
            }
            Err(error) if error.may_have_happened() => {
                self.error("(native-unknown)");
                call.unknown();
                None
            }
            Err(_) => {
                self.error("(native-refused)");
                call.refused();
                None
            }
        }
    }
}

fn one(key: &str, kind: &Kind, answer: Option<Answer>) -> Action {
    Action::One(Step { key: key.to_owned().into(), kind: kind.clone(), answer })
}

fn put(value: &str, condition: Condition) -> Kind {
    Kind::Put { value: value.to_owned().into(), condition, lifetime: Lifetime::Forever }
}

fn before(record: &Option<Record>) -> Before {
    record.as_ref().map_or(Before::Absent, |record| {
        Before::Present(Seen { value: Some(record.value.clone()), revision: Some(record.revision) })
    })
}
