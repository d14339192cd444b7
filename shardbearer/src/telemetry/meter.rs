//! Counts and times the requests of one gateway of one radiant.
//!
//! Every handle is made once, so that a request costs a few atomic additions.

use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};
use shardbearer_core::error::RequestError;
use shardbearer_core::kv::Command;
use shardbearer_core::world::World;

use super::{names, recorder};
use crate::kv::{Call, CallResult, Door, Request};

/// Names of the commands as label values; the index is [`index`]'s.
const COMMANDS: [&str; 16] = [
    "get",
    "inspect",
    "put",
    "delete",
    "increment",
    "increment_float",
    "append",
    "set_range",
    "expire",
    "check",
    "batch",
    "scan",
    "count",
    "clear",
    "adopt",
    "sweep",
];

/// The meter of one gateway.
pub struct Meter {
    world: World,
    commands: Vec<Handles>,
    connections: Gauge,
}

struct Handles {
    requests: Counter,
    refused: Counter,
    unknown: Counter,
    seconds: Histogram,
}

impl Meter {
    /// A meter with the labels `radiant` and `door` ("grpc", "resp", "http").
    pub fn new(radiant: &str, door: &'static str, world: World) -> Meter {
        recorder::handle();
        let radiant = SharedString::from(radiant.to_owned());
        let handles = |command: &&'static str| {
            let labels = [
                ("radiant", radiant.clone()),
                ("door", SharedString::const_str(door)),
                ("command", SharedString::const_str(command)),
            ];
            let errors = |outcome: &'static str| {
                let [a, b, c] = labels.clone();
                let labels = [a, b, c, ("outcome", SharedString::const_str(outcome))];
                counter!(names::REQUEST_ERRORS.name, &labels)
            };
            Handles {
                requests: counter!(names::REQUESTS.name, &labels),
                refused: errors("refused"),
                unknown: errors("unknown"),
                seconds: histogram!(names::REQUEST_SECONDS.name, &labels),
            }
        };
        Meter {
            commands: COMMANDS.iter().map(handles).collect(),
            connections: gauge!(names::CONNECTIONS.name, "radiant" => radiant.clone(), "door" => door),
            world,
        }
    }

    /// Hands the request to the door and notes how it went.
    pub async fn execute(&self, door: &dyn Door, request: Request) -> Vec<CallResult> {
        let from_ns = self.world.monotonic_ns();
        let commands: Vec<u8> = request.calls.iter().map(|Call { command, .. }| index(command)).collect();
        let results = door.execute(request).await;
        let seconds = self.world.monotonic_ns().saturating_sub(from_ns) as f64 / 1e9;
        for (command, result) in commands.into_iter().zip(&results) {
            let Some(handles) = self.commands.get(usize::from(command)) else { continue };
            handles.requests.increment(1);
            handles.seconds.record(seconds);
            match result {
                Ok(_) => {}
                Err(RequestError::Refused(_)) => handles.refused.increment(1),
                Err(RequestError::Unknown(_)) => handles.unknown.increment(1),
            }
        }
        results
    }

    /// One connection more, until the guard is dropped.
    pub fn connection(&self) -> Connection {
        self.connections.increment(1.0);
        Connection(self.connections.clone())
    }
}

/// An open connection, as counted.
pub struct Connection(Gauge);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn index(command: &Command) -> u8 {
    match command {
        Command::Get { .. } => 0,
        Command::Inspect { .. } => 1,
        Command::Put { .. } => 2,
        Command::Delete { .. } => 3,
        Command::Increment { .. } => 4,
        Command::IncrementFloat { .. } => 5,
        Command::Append { .. } => 6,
        Command::SetRange { .. } => 7,
        Command::Expire { .. } => 8,
        Command::Check { .. } => 9,
        Command::Batch { .. } => 10,
        Command::Scan(_) => 11,
        Command::Count => 12,
        Command::Clear => 13,
        Command::Adopt { .. } => 14,
        Command::Sweep { .. } => 15,
        Command::Migrate(_) => 16,
    }
}
