//! Every metric, with its meaning. A metric that is not in [`ALL`] does not exist.

use metrics::Unit;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in Prometheus.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts in.
    pub unit: Unit,
    /// What it says, with its labels beside `radiant` in brackets.
    pub meaning: &'static str,
}

/// Requests carried out.
pub const REQUESTS: Metric = Metric {
    name: "shardbearer_requests_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    meaning: "Commands of clients that were carried out or refused [door, command]",
};

/// Requests that got no reply.
pub const REQUEST_ERRORS: Metric = Metric {
    name: "shardbearer_request_errors_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    meaning: "Commands of clients that got no reply: refused (no effect) or unknown (may have had one) \
              [door, command, outcome]",
};

/// Time at the door.
pub const REQUEST_SECONDS: Metric = Metric {
    name: "shardbearer_request_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    meaning: "From a command's arrival at the door to its result [door, command]",
};

/// Open connections.
pub const CONNECTIONS: Metric = Metric {
    name: "shardbearer_connections",
    kind: Kind::Gauge,
    unit: Unit::Count,
    meaning: "Connections that are open [door]",
};

/// All of them.
pub const ALL: [Metric; 4] = [REQUESTS, REQUEST_ERRORS, REQUEST_SECONDS, CONNECTIONS];
