//! Commands and replies of the control order, and its history.

use shardbearer_core::control::{Anew, Change, ControlCommand, ControlReply, EpochRecord};
use shardbearer_core::ids::Incarnation;

use super::membership::{member_change_from_pb, member_change_to_pb};
use super::{ConvertError, id16, id16_bytes, missing};
use crate::pb;

impl From<&ControlCommand> for pb::ControlCommand {
    fn from(command: &ControlCommand) -> Self {
        use pb::control_command::Change as Wire;
        let change = match &command.change {
            Change::Found(topology) => Wire::Found(topology.into()),
            Change::Welcome { name, incarnation, doors } => Wire::Welcome(pb::Welcome {
                name: name.clone(),
                incarnation: id16_bytes(incarnation.0),
                doors: Some(doors.into()),
            }),
            Change::Migration(change) => Wire::Migration(change.into()),
            Change::Rebalance(change) => Wire::Rebalance(change.into()),
            Change::Members { on, change } => Wire::Members(member_change_to_pb(*on, change)),
            Change::Anew(anew) => Wire::Anew(pb::Anew {
                known: Some((&anew.known).into()),
                migration: anew.migration.as_ref().map(Into::into),
                generation: anew.generation.0,
                survivor: anew.survivor.0,
            }),
        };
        pb::ControlCommand {
            who: command.who.clone(),
            why: command.why.clone(),
            at_ms: command.at_ms,
            change: Some(change),
        }
    }
}

impl TryFrom<pb::ControlCommand> for ControlCommand {
    type Error = ConvertError;

    fn try_from(command: pb::ControlCommand) -> Result<Self, ConvertError> {
        use pb::control_command::Change as Wire;
        let change = match command.change.ok_or_else(|| missing("ControlCommand.change"))? {
            Wire::Found(topology) => Change::Found(topology.try_into()?),
            Wire::Welcome(welcome) => Change::Welcome {
                name: welcome.name,
                incarnation: Incarnation(id16("Welcome.incarnation", &welcome.incarnation)?),
                doors: welcome.doors.unwrap_or_default().into(),
            },
            Wire::Migration(change) => Change::Migration(change.try_into()?),
            Wire::Rebalance(change) => Change::Rebalance(change.try_into()?),
            Wire::Members(change) => member_change_from_pb(change)?,
            Wire::Anew(anew) => Change::Anew(Box::new(Anew {
                known: anew.known.ok_or_else(|| missing("Anew.known"))?.try_into()?,
                migration: anew.migration.map(TryInto::try_into).transpose()?,
                generation: anew.generation.into(),
                survivor: anew.survivor.into(),
            })),
        };
        Ok(ControlCommand { who: command.who, why: command.why, at_ms: command.at_ms, change })
    }
}

impl From<&ControlReply> for pb::ControlReply {
    fn from(reply: &ControlReply) -> Self {
        use pb::control_reply::Kind;
        let kind = match reply {
            ControlReply::Changed { epoch, radiant } => {
                Kind::Changed(pb::ChangedReply { epoch: epoch.0, radiant: radiant.0 })
            }
            ControlReply::Refused(why) => Kind::Refused(why.clone()),
        };
        pb::ControlReply { kind: Some(kind) }
    }
}

impl TryFrom<pb::ControlReply> for ControlReply {
    type Error = ConvertError;

    fn try_from(reply: pb::ControlReply) -> Result<Self, ConvertError> {
        use pb::control_reply::Kind;
        Ok(match reply.kind.ok_or_else(|| missing("ControlReply.kind"))? {
            Kind::Changed(changed) => {
                ControlReply::Changed { epoch: changed.epoch.into(), radiant: changed.radiant.into() }
            }
            Kind::Refused(why) => ControlReply::Refused(why),
        })
    }
}

impl From<&EpochRecord> for pb::EpochRecord {
    fn from(record: &EpochRecord) -> Self {
        pb::EpochRecord {
            epoch: record.epoch.0,
            at_ms: record.at_ms,
            who: record.who.clone(),
            why: record.why.clone(),
            what: record.what.clone(),
        }
    }
}

impl From<pb::EpochRecord> for EpochRecord {
    fn from(record: pb::EpochRecord) -> Self {
        EpochRecord {
            epoch: record.epoch.into(),
            at_ms: record.at_ms,
            who: record.who,
            why: record.why,
            what: record.what,
        }
    }
}
