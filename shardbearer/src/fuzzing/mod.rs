//! What must hold of any bytes whatever, a function for each kind of input from outside. Not an interface: hidden from
//! the documentation, and free to change.
//!
//! The fuzzer (`fuzz/`, its own workspace) and an ordinary test (`tests/laws/corpora.rs`) call the same functions, so
//! they live in the library; behind a feature the gate would not build them. Formats that are private to their room
//! (frames of the log, messages of engines) are checked there, in a `fuzz.rs`, so that they stay private.
//!
//! A function returns if all is well and panics if not. Beside "no panic", each asserts what its decoder promises:
//! what was understood is written and understood again as the same; pieces come to the same as the whole; an error is a
//! sentence; and nothing is set aside for bytes that did not arrive, for which the fuzzer limits the memory.

mod cluster;
mod machines;
mod messages;
mod responses;
mod source;

pub use self::cluster::{bootstrap, control};
pub use self::machines::data;
pub use self::messages::{Kind, config, protobuf};
pub use self::responses::responses;
pub(crate) use self::source::Source;
pub use crate::engine::fuzz::{chain, engines};
pub use crate::gateway::http::fuzz::http;
pub use crate::gateway::resp::fuzz::resp;
pub use crate::order::fuzz::images;
pub use crate::storage::log::fuzz::log;

/// What is fuzzed.
pub struct Target {
    /// Its name: of the fuzzer's program and of the folder of its corpus.
    pub name: &'static str,
    /// Returns if all is well.
    pub check: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "bootstrap", check: bootstrap },
    Target { name: "chain", check: chain },
    Target { name: "config", check: config },
    Target { name: "control", check: control },
    Target { name: "data", check: data },
    Target { name: "engines", check: engines },
    Target { name: "http", check: http },
    Target { name: "images", check: images },
    Target { name: "log", check: log },
    Target { name: "protobuf", check: protobuf },
    Target { name: "resp", check: resp },
    Target { name: "responses", check: responses },
];

/// All messages that are read from bytes somewhere.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    messages::PROTOBUF.iter().chain(responses::RESPONSES)
}
