//! Commands of one connection that wait to be handed to the door together, and the order of their replies.

use shardbearer_core::kv::Command;
use shardbearer_core::limits;

use super::failure::Failure;
use super::plan::{Calls, Plan, Shape, write_results};
use super::reply::Writer;
use super::session::Gateway;
use crate::kv::Call;

/// Calls in one request at most, while answers are small.
const CALLS_MAX: usize = 1_024;

/// Calls in one request at least, however large answers are.
const CALLS_MIN: usize = 8;

/// Bytes of calls in one request, unless a single command has more: what an order proposes at once.
const REQUEST_BYTES_MAX: usize = limits::PROPOSAL_BYTES_MAX;

/// Answers of more bytes make the next requests smaller: all of a request's are in memory at once.
const ANSWER_BYTES_WANTED: usize = 4 << 20;

/// What was gathered and not handed in yet.
#[derive(Debug)]
pub struct Pipeline {
    calls: Vec<Call>,
    bytes: usize,
    steps: Vec<Step>,
    calls_max: usize,
}

#[derive(Debug)]
enum Step {
    /// The next so many results are its own.
    Data(Shape, usize),
    Failed(Failure),
}

impl Default for Pipeline {
    fn default() -> Pipeline {
        Pipeline { calls: Vec::new(), bytes: 0, steps: Vec::new(), calls_max: CALLS_MAX }
    }
}

impl Pipeline {
    /// Whether the plan can be added before the rest is handed in. Any plan has room in an empty pipeline.
    pub fn has_room_for(&self, plan: &Plan) -> bool {
        self.calls.is_empty()
            || self.calls.len() + plan.calls.count() <= self.calls_max
                && self.bytes + weight(plan) <= REQUEST_BYTES_MAX
    }

    /// Adds a command.
    pub fn add(&mut self, plan: Plan) {
        self.bytes += weight(&plan);
        self.steps.push(Step::Data(plan.shape, plan.calls.count()));
        match plan.calls {
            Calls::One(command) => self.calls.push(Call::new(command)),
            Calls::Each(commands) => self.calls.extend(commands.into_iter().map(Call::new)),
            Calls::Together(commands) => {
                self.calls.push(Call::new(Command::Batch { commands, all_or_nothing: false }));
            }
        }
    }

    /// Adds a command that failed already: its error takes its place among the replies.
    pub fn fail(&mut self, failure: Failure) {
        self.steps.push(Step::Failed(failure));
    }

    /// Hands the calls to the door and writes the replies.
    pub async fn hand_in(&mut self, gateway: &Gateway, writer: &mut Writer) {
        if self.steps.is_empty() {
            return;
        }
        self.bytes = 0;
        let (calls, steps) = (std::mem::take(&mut self.calls), std::mem::take(&mut self.steps));
        let before = writer.len();
        let results = if calls.is_empty() { Vec::new() } else { gateway.execute(calls).await };
        let now_ms = gateway.world.wall_ms();
        let mut results = results.as_slice();
        for step in steps {
            match step {
                Step::Failed(failure) => writer.failure(&failure),
                Step::Data(shape, count) => {
                    // The gateway has seen to it that there is one result per call.
                    let (own, rest) = results.split_at(count.min(results.len()));
                    results = rest;
                    write_results(shape, own, now_ms, writer);
                }
            }
        }
        self.calls_max = match writer.len() - before {
            bytes if bytes > ANSWER_BYTES_WANTED => (self.calls_max / 2).max(CALLS_MIN),
            _ => (self.calls_max * 2).min(CALLS_MAX),
        };
    }
}

fn weight(plan: &Plan) -> usize {
    plan.commands().iter().map(Command::weight).sum()
}
