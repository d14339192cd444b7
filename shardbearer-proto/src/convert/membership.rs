//! Who belongs to what, and changes of it.

use shardbearer_core::control::Change;
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::membership::{MemberChange, Reset, Roster, Standing};

use super::{ConvertError, missing};
use crate::pb;

impl From<Standing> for pb::Standing {
    fn from(standing: Standing) -> Self {
        use pb::standing::Kind;
        let (kind, to) = match standing {
            Standing::Active => (Kind::Active, RadiantId::NONE),
            Standing::Spare => (Kind::Spare, RadiantId::NONE),
            Standing::Draining { to } => (Kind::Draining, to),
            Standing::Leaving { to } => (Kind::Leaving, to),
            Standing::Gone => (Kind::Gone, RadiantId::NONE),
        };
        pb::Standing { kind: kind.into(), to: to.0 }
    }
}

impl TryFrom<pb::Standing> for Standing {
    type Error = ConvertError;

    fn try_from(standing: pb::Standing) -> Result<Self, ConvertError> {
        use pb::standing::Kind;
        let kind = Kind::try_from(standing.kind).map_err(|_| missing("Standing.kind"))?;
        let to = standing.to.into();
        Ok(match kind {
            Kind::Active => Standing::Active,
            Kind::Spare => Standing::Spare,
            Kind::Draining => Standing::Draining { to },
            Kind::Leaving => Standing::Leaving { to },
            Kind::Gone => Standing::Gone,
        })
    }
}

impl From<&Roster> for pb::Roster {
    fn from(roster: &Roster) -> Self {
        pb::Roster {
            epoch: roster.epoch.0,
            previous: roster.previous.0,
            learners: numbers(&roster.learners),
            leaving: numbers(&roster.leaving),
            size: roster.size,
            reset: roster.reset.unwrap_or_default().epoch.0,
            survivor: roster.reset.unwrap_or_default().survivor.0,
        }
    }
}

impl From<pb::Roster> for Roster {
    fn from(roster: pb::Roster) -> Self {
        Roster {
            epoch: roster.epoch.into(),
            previous: roster.previous.into(),
            learners: radiants(roster.learners),
            leaving: radiants(roster.leaving),
            size: roster.size,
            reset: (roster.reset > 0)
                .then(|| Reset { epoch: roster.reset.into(), survivor: roster.survivor.into() }),
        }
    }
}

/// A change of members as part of a command.
pub(super) fn member_change_to_pb(on: Epoch, change: &MemberChange) -> pb::MemberChange {
    use pb::member_change::{self, Begin, Kind, List, Stand};
    let kind = match change {
        MemberChange::Begin { order, add, remove } => {
            Kind::Begin(Begin { order: order.0, add: add.0, remove: remove.0 })
        }
        MemberChange::Finish { order } => Kind::Finish(order.0),
        MemberChange::Abandon { order } => Kind::Abandon(order.0),
        MemberChange::Reset { order, survivor } => {
            Kind::Reset(member_change::Reset { order: order.0, survivor: survivor.0 })
        }
        MemberChange::List { order, members, learners } => {
            Kind::List(List { order: order.0, members: numbers(members), learners: numbers(learners) })
        }
        MemberChange::Stand { radiant, standing } => {
            Kind::Stand(Stand { radiant: radiant.0, standing: Some((*standing).into()) })
        }
    };
    pb::MemberChange { on: on.0, kind: Some(kind) }
}

/// The inverse.
pub(super) fn member_change_from_pb(change: pb::MemberChange) -> Result<Change, ConvertError> {
    use pb::member_change::Kind;
    let on = change.on.into();
    let change = match change.kind.ok_or_else(|| missing("MemberChange.kind"))? {
        Kind::Begin(begin) => MemberChange::Begin {
            order: begin.order.into(),
            add: begin.add.into(),
            remove: begin.remove.into(),
        },
        Kind::Finish(order) => MemberChange::Finish { order: order.into() },
        Kind::Abandon(order) => MemberChange::Abandon { order: order.into() },
        Kind::Reset(reset) => {
            MemberChange::Reset { order: reset.order.into(), survivor: reset.survivor.into() }
        }
        Kind::List(list) => MemberChange::List {
            order: list.order.into(),
            members: radiants(list.members),
            learners: radiants(list.learners),
        },
        Kind::Stand(stand) => MemberChange::Stand {
            radiant: stand.radiant.into(),
            standing: stand.standing.ok_or_else(|| missing("Stand.standing"))?.try_into()?,
        },
    };
    Ok(Change::Members { on, change })
}

fn numbers(radiants: &[RadiantId]) -> Vec<u64> {
    radiants.iter().map(|radiant| radiant.0).collect()
}

fn radiants(numbers: Vec<u64>) -> Vec<RadiantId> {
    numbers.into_iter().map(Into::into).collect()
}
