//! Protobuf messages with their conversions, and configuration files.

use bytes::Bytes;
use prost::Message;
use shardbearer_core::control::{ControlCommand, EpochRecord};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::kv::{Command, Item, RequestId};
use shardbearer_core::topology::Topology;
use shardbearer_proto::{convert, pb};

use super::Source;
use super::responses::{each, log_end, migration, there_and_back};
use crate::cluster::peers::Peers;
use crate::config::{self, Config, ConfigError};
use crate::engine::Engines;
use crate::gateway::grpc::fuzz as grpc;
use crate::map::Map;

/// A message of the .proto files, as it comes in.
pub struct Kind {
    /// Its name there.
    pub name: &'static str,
    /// What the product makes of it, beside reading it.
    pub convert: Option<fn(Bytes)>,
    pub(super) wire: fn(Bytes),
}

/// Kinds by their names, each with what is made of it, if anything is. Inputs name them by their places: add at the end.
macro_rules! kinds {
    ($($name:ident $(=> $convert:expr)?),* $(,)?) => {
        &[$($crate::fuzzing::messages::Kind {
            name: stringify!($name),
            convert: $crate::fuzzing::messages::kinds!(@ $($convert)?),
            wire: $crate::fuzzing::messages::plain::<shardbearer_proto::pb::$name>,
        }),*]
    };
    (@) => { None };
    (@ $convert:expr) => { Some($convert) };
}
pub(super) use kinds;

/// What the target `protobuf` reads: what stands in logs and files, and what comes in from clients and peers. What they answer
/// is in [`super::responses`].
pub(super) const PROTOBUF: &[Kind] = kinds! {
    LogEntry => |raw| again(raw, convert::entry_from_bytes, convert::entry_to_bytes),
    LogReplies => |raw| {
        again(raw, convert::replies_from_bytes, |replies| convert::replies_to_bytes(replies));
    },
    ControlCommand => |raw| {
        again(raw, convert::control_command_from_bytes, convert::control_command_to_bytes);
    },
    ControlReply => |raw| again(raw, convert::control_reply_from_bytes, convert::control_reply_to_bytes),
    Topology => |raw| again(raw, topology, convert::topology_to_bytes),
    Command => |raw| again(raw, command, convert::command_to_bytes),
    Result => |raw| {
        again(
            raw,
            |raw| convert::result_from_wire(pb::Result::decode(raw)?),
            |result| pb::Result::from(result).encode_to_vec().into(),
        );
    },
    RequestId => |raw| {
        again(
            raw,
            |raw| RequestId::try_from(pb::RequestId::decode(raw)?),
            |id| pb::RequestId::from(id).encode_to_vec().into(),
        );
    },
    EpochRecord => |raw| {
        again(
            raw,
            |raw| pb::EpochRecord::decode(raw).map(EpochRecord::from),
            |record| pb::EpochRecord::from(record).encode_to_vec().into(),
        );
    },
    BootstrapRequest => |raw| {
        again(raw, convert::bootstrap::request_from_bytes, convert::bootstrap::request_to_bytes);
    },
    BootstrapResponse => |raw| {
        again(raw, convert::bootstrap::response_from_bytes, convert::bootstrap::response_to_bytes);
    },
    BootstrapVote => |raw| again(raw, convert::bootstrap::vote_from_bytes, convert::bootstrap::vote_to_bytes),
    BootstrapIdentity => |raw| {
        again(raw, convert::bootstrap::identity_from_bytes, |(name, incarnation)| {
            convert::bootstrap::identity_to_bytes(name, *incarnation)
        });
    },
    BootstrapCluster => |raw| {
        again(raw, convert::bootstrap::cluster_from_bytes, |(cluster, radiant, topology)| {
            convert::bootstrap::cluster_to_bytes(*cluster, *radiant, topology.clone())
        });
    },
    ExecuteRequest => |raw| each(raw, grpc::execute),
    PeerFrames,
    ForwardRequest => |raw| {
        each(raw, |request: pb::ForwardRequest| {
            for item in request.items {
                let _ = there_and_back::<_, Item>(item);
            }
        });
    },
    Pulse => |raw| each(raw, pulse),
    ControlRequest => |raw| each(raw, control_request),
    StatusResponse,
};

/// Bytes that may be a message: the first says of which kind.
pub fn protobuf(bytes: &[u8]) {
    one_of(PROTOBUF, bytes);
}

/// Reads the bytes as a message and as what is made of it, of the kind that the first byte says.
pub(super) fn one_of(kinds: &[Kind], bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let kind = &kinds[usize::from(source.byte()) % kinds.len()];
    let raw = Bytes::copy_from_slice(source.rest());
    (kind.wire)(raw.clone());
    if let Some(convert) = kind.convert {
        convert(raw);
    }
}

/// What is understood, written down and read again, is the same. Compared as bytes, for not every number
/// equals itself.
pub(super) fn again<T, E: ToString>(raw: Bytes, read: fn(Bytes) -> Result<T, E>, write: fn(&T) -> Bytes) {
    match read(raw) {
        Ok(value) => {
            let written = write(&value);
            let back = read(written.clone()).map_err(|error| error.to_string());
            let back = back.unwrap_or_else(|why| panic!("what was written is not understood: {why}"));
            assert_eq!(write(&back), written, "another value came back");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error without a word"),
    }
}

pub(super) fn plain<M: Message + Default>(raw: Bytes) {
    again(raw, |raw| M::decode(raw), |message| message.encode_to_vec().into());
}

/// A pulse, as whoever hears it takes it in.
fn pulse(pulse: pb::Pulse) {
    Peers::default().hear(RadiantId(1), 1, &pulse);
    pulse.migration.into_iter().for_each(migration);
}

/// A question to the control order, or something that it is to decide.
fn control_request(request: pb::ControlRequest) {
    match request.kind {
        Some(pb::control_request::Kind::Command(command)) => {
            drop(there_and_back::<_, ControlCommand>(command))
        }
        Some(pb::control_request::Kind::Survive(told)) => told.seen.into_iter().for_each(log_end),
        Some(_) | None => {}
    }
}

/// A configuration, from which also a map is made, as it is of one that a peer sent.
fn topology(raw: Bytes) -> Result<Topology, convert::ConvertError> {
    let topology = convert::topology_from_bytes(raw)?;
    if let Ok(map) = Map::new(topology.clone()) {
        for table in &topology.tables {
            let shard = map.locate(&table.name, b"key").expect("a table has a shard for every key");
            assert!(map.owner(shard.id).is_some(), "a shard without an owner");
        }
    }
    Ok(topology)
}

/// A command, with what the doors ask of it.
fn command(raw: Bytes) -> Result<Command, convert::ConvertError> {
    let command = Command::try_from(pb::Command::decode(raw)?)?;
    let _ = command.weight();
    if let Err(why) = convert::client_may_send(&command, 1 << 10) {
        assert!(!why.is_empty(), "a refusal without a word");
    }
    Ok(command)
}

/// A configuration file, and `--set` settings behind zero bytes.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut parts = text.split('\0');
    let file = parts.next().unwrap_or_default();
    let lines = file.lines().count();
    let settings: Vec<String> = parts.map(str::to_owned).collect();
    match config::parse(file) {
        Ok(config) => same(&config),
        Err(error) => {
            said(&error);
            assert!(error.line.is_none_or(|line| 1 <= line && line <= lines + 1), "{error:?}");
        }
    }
    let variables = settings.iter().filter_map(|setting| setting.split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    match config::load(None, variables, &settings, &Engines::default()) {
        Ok(config) => same(&config),
        Err(error) => said(&error),
    }
}

fn same(config: &Config) {
    let text = toml::to_string(config).expect("a configuration is TOML");
    assert_eq!(config::parse(&text).as_ref(), Ok(config), "{text}");
}

fn said(error: &ConfigError) {
    assert!(!error.why.trim().is_empty(), "an error without a word");
}
