//! Protobuf messages with their conversions, and configuration files.

use bytes::Bytes;
use prost::Message;
use shardbearer_core::control::EpochRecord;
use shardbearer_core::kv::{Command, RequestId};
use shardbearer_core::topology::Topology;
use shardbearer_proto::{convert, pb};

use super::Source;
use crate::config::{self, Config, ConfigError};
use crate::engine::Engines;
use crate::map::Map;

/// Bytes that may be a message: the first says of which kind.
pub fn protobuf(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let kind = source.byte();
    let raw = Bytes::copy_from_slice(source.rest());
    match kind % 20 {
        0 => again(raw, convert::entry_from_bytes, convert::entry_to_bytes),
        1 => again(raw, convert::replies_from_bytes, |replies| convert::replies_to_bytes(replies)),
        2 => again(raw, convert::control_command_from_bytes, convert::control_command_to_bytes),
        3 => again(raw, convert::control_reply_from_bytes, convert::control_reply_to_bytes),
        4 => again(raw, topology, convert::topology_to_bytes),
        5 => again(raw, command, convert::command_to_bytes),
        6 => again(
            raw,
            |raw| convert::result_from_wire(pb::Result::decode(raw)?),
            |result| pb::Result::from(result).encode_to_vec().into(),
        ),
        7 => again(
            raw,
            |raw| RequestId::try_from(pb::RequestId::decode(raw)?),
            |id| pb::RequestId::from(id).encode_to_vec().into(),
        ),
        8 => again(
            raw,
            |raw| pb::EpochRecord::decode(raw).map(EpochRecord::from),
            |record| pb::EpochRecord::from(record).encode_to_vec().into(),
        ),
        9 => again(raw, convert::bootstrap::request_from_bytes, convert::bootstrap::request_to_bytes),
        10 => again(raw, convert::bootstrap::response_from_bytes, convert::bootstrap::response_to_bytes),
        11 => again(raw, convert::bootstrap::vote_from_bytes, convert::bootstrap::vote_to_bytes),
        12 => again(raw, convert::bootstrap::identity_from_bytes, |(name, incarnation)| {
            convert::bootstrap::identity_to_bytes(name, *incarnation)
        }),
        13 => again(raw, convert::bootstrap::cluster_from_bytes, |(cluster, radiant, topology)| {
            convert::bootstrap::cluster_to_bytes(*cluster, *radiant, topology.clone())
        }),
        // Messages without a conversion of their own, as they come in at the doors and from peers.
        14 => plain::<pb::ExecuteRequest>(raw),
        15 => plain::<pb::PeerFrames>(raw),
        16 => plain::<pb::ForwardRequest>(raw),
        17 => plain::<pb::Pulse>(raw),
        18 => plain::<pb::ControlRequest>(raw),
        _ => plain::<pb::StatusResponse>(raw),
    }
}

/// What is understood, written down and read again, is the same. Compared as bytes, for not every number
/// equals itself.
fn again<T, E: ToString>(raw: Bytes, read: fn(Bytes) -> Result<T, E>, write: fn(&T) -> Bytes) {
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

fn plain<M: Message + Default>(raw: Bytes) {
    again(raw, |raw| M::decode(raw), |message| message.encode_to_vec().into());
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
