//! How shards are spread: the policy and its changes.

use shardbearer_core::rebalancing::{Mode, Policy, Reason, RebalanceChange};

use super::{ConvertError, missing};
use crate::pb;

impl From<&Policy> for pb::Policy {
    fn from(policy: &Policy) -> Self {
        let pins = policy.pins.iter().map(|(shard, order)| pb::Pin { shard: shard.0, order: order.0 });
        let weights = policy.weights.iter();
        pb::Policy {
            mode: policy.mode.name().into(),
            running: policy.running.map_or("", Mode::name).into(),
            paused: policy.paused,
            pins: pins.collect(),
            weights: weights.map(|(order, weight)| pb::Weight { order: order.0, weight: *weight }).collect(),
            removing: policy.removing.iter().map(|order| order.0).collect(),
            highest_removed: policy.highest_removed.0,
        }
    }
}

impl TryFrom<pb::Policy> for Policy {
    type Error = ConvertError;

    fn try_from(policy: pb::Policy) -> Result<Self, ConvertError> {
        let weights = policy.weights.into_iter();
        Ok(Policy {
            // What was written before there was a policy has none.
            mode: named("Policy.mode", &policy.mode)?.unwrap_or_default(),
            running: named("Policy.running", &policy.running)?,
            paused: policy.paused,
            pins: policy.pins.into_iter().map(|pin| (pin.shard.into(), pin.order.into())).collect(),
            weights: weights.map(|weight| (weight.order.into(), weight.weight)).collect(),
            removing: policy.removing.into_iter().map(Into::into).collect(),
            highest_removed: policy.highest_removed.into(),
        })
    }
}

/// A mode by its name; none if there is no name.
fn named(field: &'static str, name: &str) -> Result<Option<Mode>, ConvertError> {
    match (name, Mode::named(name)) {
        ("", _) => Ok(None),
        (_, Some(mode)) => Ok(Some(mode)),
        (_, None) => Err(ConvertError::Field { field, why: "unknown value" }),
    }
}

impl From<&Reason> for pb::MoveReason {
    fn from(reason: &Reason) -> Self {
        pb::MoveReason { predicted: reason.predicted.clone(), alternatives: reason.alternatives.clone() }
    }
}

impl From<pb::MoveReason> for Reason {
    fn from(reason: pb::MoveReason) -> Self {
        Reason { predicted: reason.predicted, alternatives: reason.alternatives }
    }
}

impl From<&RebalanceChange> for pb::RebalanceChange {
    fn from(change: &RebalanceChange) -> Self {
        use pb::rebalance_change::{self as wire, Kind};
        let kind = match change {
            RebalanceChange::Mode(mode) => Kind::Mode(mode.name().into()),
            RebalanceChange::Run(how) => Kind::Run(how.map_or("", Mode::name).into()),
            RebalanceChange::Pause(paused) => Kind::Pause(*paused),
            RebalanceChange::Pin { shard, to } => Kind::Pin(pb::Pin { shard: shard.0, order: to.0 }),
            RebalanceChange::Weight { order, weight } => {
                Kind::Weight(pb::Weight { order: order.0, weight: *weight })
            }
            RebalanceChange::Create { engine, members } => Kind::Create(pb::NewOrder {
                engine: engine.clone(),
                members: members.iter().map(|member| member.0).collect(),
            }),
            RebalanceChange::Remove { order, remove } => {
                Kind::Remove(wire::Remove { order: order.0, remove: *remove })
            }
            RebalanceChange::Removed { order } => Kind::Removed(order.0),
            RebalanceChange::Move { on, shard, to, reason } => {
                let reason = Some(reason.into());
                Kind::Move(wire::Move { on: on.0, shard: shard.0, to: to.0, reason })
            }
            RebalanceChange::Measured { id, effect } => {
                Kind::Measured(wire::Measured { id: id.0, effect: effect.clone() })
            }
        };
        pb::RebalanceChange { kind: Some(kind) }
    }
}

impl TryFrom<pb::RebalanceChange> for RebalanceChange {
    type Error = ConvertError;

    fn try_from(change: pb::RebalanceChange) -> Result<Self, ConvertError> {
        use pb::rebalance_change::Kind;
        Ok(match change.kind.ok_or_else(|| missing("RebalanceChange.kind"))? {
            Kind::Mode(name) => {
                let mode = named("RebalanceChange.mode", &name)?;
                RebalanceChange::Mode(mode.ok_or_else(|| missing("RebalanceChange.mode"))?)
            }
            Kind::Run(name) => RebalanceChange::Run(named("RebalanceChange.run", &name)?),
            Kind::Pause(paused) => RebalanceChange::Pause(paused),
            Kind::Pin(pin) => RebalanceChange::Pin { shard: pin.shard.into(), to: pin.order.into() },
            Kind::Weight(weight) => {
                RebalanceChange::Weight { order: weight.order.into(), weight: weight.weight }
            }
            Kind::Create(order) => RebalanceChange::Create {
                engine: order.engine,
                members: order.members.into_iter().map(Into::into).collect(),
            },
            Kind::Remove(remove) => {
                RebalanceChange::Remove { order: remove.order.into(), remove: remove.remove }
            }
            Kind::Removed(order) => RebalanceChange::Removed { order: order.into() },
            Kind::Move(made) => RebalanceChange::Move {
                on: made.on.into(),
                shard: made.shard.into(),
                to: made.to.into(),
                reason: made.reason.unwrap_or_default().into(),
            },
            Kind::Measured(measured) => {
                RebalanceChange::Measured { id: measured.id.into(), effect: measured.effect }
            }
        })
    }
}
