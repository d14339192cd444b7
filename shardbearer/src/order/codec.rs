//! How the commands and replies of the two kinds of order look in a log.

use bytes::Bytes;
use shardbearer_core::control::{ControlCommand, ControlReply};
use shardbearer_core::kv::{Entry, Refusal, Reply};
use shardbearer_proto::convert;
use shardbearer_state::controller::ControlMachine;
use shardbearer_state::shard::ShardMachine;

use super::applier::Codec;

/// Of data orders.
pub struct DataCodec;

impl Codec<ShardMachine> for DataCodec {
    fn decode(&self, proposal: Bytes) -> Result<Entry, String> {
        convert::entry_from_bytes(proposal).map_err(|error| error.to_string())
    }

    fn encode(&self, replies: Vec<Reply>) -> Bytes {
        convert::replies_to_bytes(&replies)
    }

    fn rejected(&self, why: &str) -> Bytes {
        convert::replies_to_bytes(&[Reply::Refused(Refusal::Malformed(why.to_owned()))])
    }
}

/// Of the control order.
pub struct ControlCodec;

impl Codec<ControlMachine> for ControlCodec {
    fn decode(&self, proposal: Bytes) -> Result<ControlCommand, String> {
        convert::control_command_from_bytes(proposal).map_err(|error| error.to_string())
    }

    fn encode(&self, reply: ControlReply) -> Bytes {
        convert::control_reply_to_bytes(&reply)
    }

    fn rejected(&self, why: &str) -> Bytes {
        convert::control_reply_to_bytes(&ControlReply::Refused(why.to_owned()))
    }
}
