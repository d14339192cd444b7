//! The only conversions between wire and domain.
//!
//! Domain to wire cannot fail and is a `From`; wire to domain is a `TryFrom` that names the field
//! that makes no sense. Byte strings are shared, never copied: a key decoded from a frame is a
//! slice of that frame.

pub mod bootstrap;
mod command;
mod control;
mod error;
mod membership;
mod migration;
mod rebalancing;
mod reply;
mod topology;

use bytes::Bytes;
use prost::Message;
use shardbearer_core::control::{ControlCommand, ControlReply};
use shardbearer_core::ids::ClusterId;
use shardbearer_core::kv::{Command, Entry, Item, Reply};
use shardbearer_core::slots::SLOTS;
use shardbearer_core::topology::Topology;
use thiserror::Error;

use crate::pb;

pub use self::command::client_may_send;
pub use self::reply::result_from_wire;

/// Bytes or messages that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConvertError {
    /// Not a protobuf message of that type.
    #[error("not a valid message: {0}")]
    Message(String),
    /// A field is missing or has a value that makes no sense.
    #[error("field {field}: {why}")]
    Field {
        /// The field's name in the .proto file.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl From<prost::DecodeError> for ConvertError {
    fn from(error: prost::DecodeError) -> Self {
        ConvertError::Message(error.to_string())
    }
}

fn missing(field: &'static str) -> ConvertError {
    ConvertError::Field { field, why: "missing" }
}

fn id16(field: &'static str, raw: &[u8]) -> Result<u128, ConvertError> {
    match raw.try_into() {
        Ok(bytes) => Ok(u128::from_be_bytes(bytes)),
        Err(_) => Err(ConvertError::Field { field, why: "must have 16 bytes" }),
    }
}

/// A slot, or how many there are.
fn slot(field: &'static str, number: u32) -> Result<u16, ConvertError> {
    let known = u16::try_from(number).ok().filter(|slot| usize::from(*slot) <= SLOTS);
    known.ok_or(ConvertError::Field { field, why: "there are 16384 slots" })
}

fn id16_bytes(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// The cluster that a call says was asked before; none if it says nothing.
pub fn cluster_of_call(raw: &[u8]) -> Result<Option<ClusterId>, ConvertError> {
    if raw.is_empty() { Ok(None) } else { Ok(Some(ClusterId(id16("Call.cluster", raw)?))) }
}

/// The other way.
pub fn cluster_to_call(cluster: Option<ClusterId>) -> Bytes {
    cluster.map_or_else(Bytes::new, |cluster| id16_bytes(cluster.0))
}

impl From<&Item> for pb::LogItem {
    fn from(item: &Item) -> Self {
        pb::LogItem {
            shard: item.shard.0,
            id: item.id.as_ref().map(Into::into),
            command: Some((&item.command).into()),
            until: item.until.into(),
        }
    }
}

impl TryFrom<pb::LogItem> for Item {
    type Error = ConvertError;

    fn try_from(item: pb::LogItem) -> Result<Self, ConvertError> {
        Ok(Item {
            shard: item.shard.into(),
            id: item.id.map(TryInto::try_into).transpose()?,
            until: slot("LogItem.until", item.until)?,
            command: item.command.ok_or_else(|| missing("LogItem.command"))?.try_into()?,
        })
    }
}

/// An entry of a data order's log.
pub fn entry_to_bytes(entry: &Entry) -> Bytes {
    let items = entry.items.iter().map(Into::into).collect();
    pb::LogEntry { time_ms: entry.time_ms, items }.encode_to_vec().into()
}

/// The inverse of [`entry_to_bytes`]. Keys and values are slices of `raw`.
pub fn entry_from_bytes(raw: Bytes) -> Result<Entry, ConvertError> {
    let entry = pb::LogEntry::decode(raw)?;
    let items = entry.items.into_iter().map(Item::try_from).collect::<Result<_, _>>()?;
    Ok(Entry { time_ms: entry.time_ms, items })
}

/// The replies to an entry's items.
pub fn replies_to_bytes(replies: &[Reply]) -> Bytes {
    pb::LogReplies { replies: replies.iter().map(Into::into).collect() }.encode_to_vec().into()
}

/// The inverse of [`replies_to_bytes`].
pub fn replies_from_bytes(raw: Bytes) -> Result<Vec<Reply>, ConvertError> {
    pb::LogReplies::decode(raw)?.replies.into_iter().map(Reply::try_from).collect()
}

/// A single command, as remembered or measured.
pub fn command_to_bytes(command: &Command) -> Bytes {
    pb::Command::from(command).encode_to_vec().into()
}

/// A configuration.
pub fn topology_to_bytes(topology: &Topology) -> Bytes {
    pb::Topology::from(topology).encode_to_vec().into()
}

/// The inverse of [`topology_to_bytes`].
pub fn topology_from_bytes(raw: Bytes) -> Result<Topology, ConvertError> {
    pb::Topology::decode(raw)?.try_into()
}

/// An entry of the control order's log.
pub fn control_command_to_bytes(command: &ControlCommand) -> Bytes {
    pb::ControlCommand::from(command).encode_to_vec().into()
}

/// The inverse of [`control_command_to_bytes`].
pub fn control_command_from_bytes(raw: Bytes) -> Result<ControlCommand, ConvertError> {
    pb::ControlCommand::decode(raw)?.try_into()
}

/// The reply to a control command.
pub fn control_reply_to_bytes(reply: &ControlReply) -> Bytes {
    pb::ControlReply::from(reply).encode_to_vec().into()
}

/// The inverse of [`control_reply_to_bytes`].
pub fn control_reply_from_bytes(raw: Bytes) -> Result<ControlReply, ConvertError> {
    pb::ControlReply::decode(raw)?.try_into()
}

#[cfg(test)]
mod tests;
