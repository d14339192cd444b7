//! Exactly once: clients over a network that doubles, reorders, delays and loses, and a shard that restarts and
//! forgets. Each request adds one to the counter of its session, so that what was applied can be counted.
//!
//! The check is shown to work on a shard that loses its session table at restarts.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::*;

/// One thing that happens. Numbers choose among what there is, modulo.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends a new request.
    Send { client: usize },
    /// A client sends an unanswered request again.
    Retry { client: usize, which: usize },
    /// A message arrives; its copy may stay on the way, its answer may be lost.
    Arrive { which: usize, stays: bool, answered: bool },
    /// The shard loads everything from its rows.
    Restart,
    /// Longer than any message lives; then so many sessions that the idle ones are forgotten.
    Crowd,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (0..3usize).prop_map(|client| Step::Send { client }),
        20 => (0..3usize, 0..9usize).prop_map(|(client, which)| Step::Retry { client, which }),
        60 => (0..99usize, any::<bool>(), any::<bool>())
            .prop_map(|(which, stays, answered)| Step::Arrive { which, stays, answered }),
        5 => Just(Step::Restart),
        1 => Just(Step::Crowd),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Default)]
struct Client {
    sent: u64,
    unanswered: BTreeSet<u64>,
}

struct Run {
    replica: Replica,
    /// Whether restarts lose the session table.
    forgetful: bool,
    clients: [Client; 3],
    /// Client and request, in any order.
    on_the_way: Vec<(usize, RequestId)>,
    /// What each request that was applied was answered.
    applied: BTreeMap<(usize, u64), i64>,
    now_ms: u64,
    strangers: u128,
}

impl Run {
    fn new(forgetful: bool) -> Run {
        Run {
            replica: Replica::with_shard(),
            forgetful,
            clients: Default::default(),
            on_the_way: Vec::new(),
            applied: BTreeMap::new(),
            now_ms: 1,
            strangers: 1_000,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Send { client } => {
                let known = &mut self.clients[client];
                known.sent += 1;
                known.unanswered.insert(known.sent);
                self.send(client, self.clients[client].sent, false);
            }
            Step::Retry { client, which } => {
                let unanswered = &self.clients[client].unanswered;
                let chosen = unanswered.iter().nth(which % unanswered.len().max(1)).copied();
                if let Some(number) = chosen {
                    self.send(client, number, true);
                }
            }
            Step::Arrive { which, stays, answered } => {
                let Some(at) = which.checked_rem(self.on_the_way.len()) else { return Ok(()) };
                let (client, id) = self.on_the_way[at];
                if !stays {
                    self.on_the_way.swap_remove(at);
                }
                return self.arrive(client, id, answered);
            }
            Step::Restart => {
                if self.forgetful {
                    for rows in self.replica.stored.0.values_mut() {
                        rows.retain(|key, _| keys::session_of(key).is_none());
                    }
                }
                self.replica.restart();
            }
            Step::Crowd => self.crowd(),
        }
        Ok(())
    }

    fn send(&mut self, client: usize, number: u64, retry: bool) {
        let from = self.clients[client].unanswered.first().copied().unwrap_or(number);
        self.on_the_way.push((client, words::request(client as u128 + 1, number, from, retry)));
    }

    fn arrive(&mut self, client: usize, id: RequestId, answered: bool) -> Result<(), String> {
        let key = Bytes::from(format!("n{client}"));
        let reply = self.replica.one(self.now_ms, Some(id), Command::Increment { key, by: 1 });
        let waited_for = self.clients[client].unanswered.contains(&id.number);
        match reply {
            Reply::Number { value, .. } => {
                let first = *self.applied.entry((client, id.number)).or_insert(value);
                if first != value {
                    return Err(format!("{id:?} was answered {first}, and then {value}"));
                }
            }
            Reply::Refused(Refusal::SessionExpired) => {
                let forgot = self.replica.meta(SHARD).is_some_and(|meta| meta.forgot);
                if waited_for && !(forgot && id.retry) {
                    return Err(format!("{id:?} was refused while the client waits for it"));
                }
            }
            other => return Err(format!("{id:?}: {other:?}")),
        }
        if answered {
            self.clients[client].unanswered.remove(&id.number);
        }
        Ok(())
    }

    fn crowd(&mut self) {
        // No message outlives its deadline, and nobody waits for longer than that for an answer.
        self.on_the_way.clear();
        self.now_ms += FORGET_AFTER_MS;
        let value = Bytes::from(vec![0; shardbearer_core::limits::SESSION_BYTES_MAX / 4]);
        for _ in 0..6 {
            self.strangers += 1;
            let id = words::request(self.strangers, 1, 1, false);
            let key = Bytes::from_static(b"crowd");
            let put = Command::Put {
                key,
                value: value.clone(),
                condition: Default::default(),
                expiry: Default::default(),
                previous: true,
            };
            self.replica.one(self.now_ms, Some(id), put);
        }
    }

    /// Whether the counters are those of what was applied.
    fn settle(&mut self) -> Result<(), String> {
        for client in 0..self.clients.len() {
            let key = Bytes::from(format!("n{client}"));
            let reply = self.replica.one(self.now_ms, None, Command::Increment { key, by: 0 });
            let applied = self.applied.keys().filter(|(of, _)| *of == client).count() as i64;
            match reply {
                Reply::Number { value, .. } if value == applied => {}
                other => return Err(format!("client {client}: {applied} requests were applied, {other:?}")),
            }
        }
        Ok(())
    }
}

/// What is wrong after the steps, if anything is.
fn check(steps: &[Step], forgetful: bool) -> Result<(), String> {
    let mut run = Run::new(forgetful);
    steps.iter().try_for_each(|step| run.step(step))?;
    run.settle()
}

proptest! {
    #[test]
    fn each_request_takes_effect_once(steps in steps()) {
        check(&steps, false).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn a_session_table_that_forgets_is_caught() {
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, max_shrink_iters: 0, ..Config::default() });
    let outcome = runner.run(&steps(), |steps| check(&steps, true).map_err(TestCaseError::fail));
    assert!(matches!(outcome, Err(TestError::Fail(..))), "{outcome:?}");
}
