//! The control order that has lost the majority of its members for good. It decides about all the others, so nobody can decide
//! about it: a person does, and the member with the furthest log carries it out.
//!
//! The rule for the survivor is that of [`super::reset`]. What is different:
//! - **The configuration** is not only in the log: every radiant has one that was decided. The newest that anybody tells goes on.
//! - **The generation** is not given by anybody. Those who were given up may have counted on, so it leaves a gap behind the highest
//!   epoch that anybody tells; and its last digits are the survivor's, so that two survivors, chosen by people who do not know of
//!   each other, never begin the same one. Of two generations the higher one holds.

#[cfg(test)]
mod tests;

use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::migration::Migration;
use shardbearer_core::topology::Topology;

use super::reset::{Judgement, Known, from_one, judge};
use super::{Refusal, names, settle_standings};

/// Epochs left out before a generation: more than were decided by anybody who was not heard.
const GAP: u64 = 1_000;

/// What all who answer know together.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The newest configuration.
    pub topology: Topology,
    /// The newest record of the last migration.
    pub migration: Option<Migration>,
    /// Who does not answer, of all radiants.
    pub silent: Vec<RadiantId>,
    /// Whether the control order has answered a linearizable read just now.
    pub serves: bool,
}

/// The generation that a survivor would begin. `unapplied` entries of its log may make an epoch each before that.
pub fn generation(newest: Epoch, unapplied: u64, survivor: RadiantId) -> Epoch {
    let past = newest.0.saturating_add(unapplied).saturating_add(GAP);
    Epoch((past / GAP).saturating_add(1).saturating_mul(GAP).saturating_add(survivor.0 % GAP))
}

/// Judges the reset of the control order. `can` says whether its engine can begin anew, `known` what is known of each member.
pub fn judge_system(told: &Told, can: bool, known: impl Fn(RadiantId) -> Known) -> Judgement {
    let Told { topology, migration, silent, serves } = told;
    let mut judgement = judge(topology, OrderId::CONTROL, can, None, &known);
    if *serves && judgement.blockers.is_empty() {
        let why = "order 1 has its majority: it has just answered a read; there is nothing to reset";
        judgement = Judgement { blockers: vec![why.into()], ..Judgement::default() };
    }
    let Some(survivor) = judgement.survivor else { return judgement };
    let unapplied = known(survivor).end.map_or(0, |end| end.last.index.saturating_sub(end.applied));
    judgement.account.push(format!(
        "it goes on from epoch {}, the newest that anybody who answers knows, as epoch {}: the numbers between are left out, \
         because those who are given up may have used some",
        topology.epoch,
        generation(topology.epoch, unapplied, survivor)
    ));
    if !silent.is_empty() {
        judgement.account.push(format!(
            "{} do not answer: what was decided and nobody else heard of is lost with them, or dropped when they are back",
            names(topology, silent)
        ));
    }
    if let Some(Migration { shard, from, to, phase, .. }) =
        migration.as_ref().filter(|last| !last.phase.is_over())
    {
        judgement.dangers.push(format!(
            "shard {shard} is on its way from order {from} to order {to}, {} as far as anybody knows: where it went on \
             without anybody who answers, it may have to be moved again by hand",
            phase.name()
        ));
    }
    judgement
}

/// The configuration in which the control order begins anew, and what that is in words; or why it is refused.
pub(crate) fn begin_anew(
    newest: &Topology,
    generation: Epoch,
    survivor: RadiantId,
) -> Result<(Topology, String), Refusal> {
    if generation <= newest.epoch {
        return Err(format!("epoch {generation} is over: {} is in force", newest.epoch));
    }
    let mut next = newest.clone();
    next.epoch = generation;
    let what = from_one(&mut next, OrderId::CONTROL, survivor)?;
    settle_standings(newest, &mut next);
    Ok((next, what))
}
