//! What an operator's request about a radiant would lead to, found out by playing it through, and whether it is refused.

use shardbearer_core::ids::RadiantId;
use shardbearer_core::membership::{MemberChange, Standing};
use shardbearer_core::topology::Topology;

use super::capacity::{self, Capacity};
use super::plan::{self, Facts, Progress};
use super::{carry_out, name, what_if};

/// Steps that are played through at most; more would be a plan that never ends.
const STEPS_MAX: usize = 1_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take a share of the seats.
    Join,
    /// Give all seats away and stay.
    Drain,
    /// Take seats again.
    Undrain,
    /// Give all seats away and leave.
    Leave,
    /// Give all seats to this one and leave.
    Replace(RadiantId),
}

/// What would come of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Answer {
    /// The change that sets it going; none if it is refused.
    pub change: Option<MemberChange>,
    /// Everything that would follow, in order, a sentence each.
    pub steps: Vec<String>,
    /// Why it is refused, a sentence each.
    pub blockers: Vec<String>,
    /// The change, where it can be made but not completed now: for those who insist.
    pub forced: Option<MemberChange>,
    /// What it would change for orders and shards, a sentence each.
    pub effects: Vec<String>,
    /// What radiants carry now and would carry, where the request is to change that.
    pub capacity: Vec<Capacity>,
    /// Why it is unsafe, a sentence each.
    pub dangers: Vec<String>,
}

/// Plays a request through, as if every step succeeded at once.
pub fn ask(topology: &Topology, facts: &Facts, radiant: RadiantId, action: Action) -> Answer {
    let standing = match action {
        Action::Join | Action::Undrain => Standing::Active,
        Action::Drain => Standing::Draining { to: RadiantId::NONE },
        Action::Leave => Standing::Leaving { to: RadiantId::NONE },
        Action::Replace(to) => Standing::Leaving { to },
    };
    let change = MemberChange::Stand { radiant, standing };
    let refused = |why: String| Answer { blockers: vec![why], ..Answer::default() };
    if let Action::Replace(to) = action
        && facts.seen.get(&to).is_none_or(|seen| seen.silent_ms >= facts.suspicion_ms)
    {
        return refused(format!("{} is not heard, so it cannot take seats", name(topology, to)));
    }
    let mut played = match carry_out(topology, &change) {
        Ok((played, _)) => played,
        Err(why) => return refused(why),
    };
    let mut facts = facts.clone();
    let mut answer = Answer { change: Some(change), ..Answer::default() };
    let mut blockers = Vec::new();
    for _ in 0..STEPS_MAX {
        pretend(&played, &mut facts);
        let plan = plan::next(&played, &facts);
        blockers = plan.blockers;
        let Some(step) = plan.step else { break };
        let Ok((next, what)) = carry_out(&played, &step.change) else { break };
        played = next;
        answer.steps.push(format!("{what}, because {}", step.why));
        if let MemberChange::Begin { order, .. } | MemberChange::Abandon { order } = step.change
            && let Ok((next, _)) = carry_out(&played, &MemberChange::Finish { order })
        {
            played = next;
        }
    }
    let gives_away = !matches!(action, Action::Join | Action::Undrain);
    if gives_away && played.orders_of(radiant).next().is_some() {
        answer.forced = answer.change.take();
        answer.steps = Vec::new();
        answer.blockers = blockers;
        if answer.blockers.is_empty() {
            answer.blockers.push(format!("{} could not give all its seats away", name(topology, radiant)));
        }
    }
    if gives_away {
        (answer.effects, answer.dangers) = what_if::compare(topology, &played, &facts, radiant);
    }
    let (capacity, too_little) = capacity::compare(topology, &played, &facts);
    answer.capacity = capacity;
    if gives_away {
        answer.dangers.extend(too_little);
    }
    answer
}

/// Whoever is up does at once what the configuration asks of it.
fn pretend(topology: &Topology, facts: &mut Facts) {
    for seen in facts.seen.values_mut().filter(|seen| seen.silent_ms < facts.suspicion_ms) {
        (seen.up_for_ms, seen.stopping) = (u64::MAX, false);
    }
    for order in &topology.orders {
        let term = order.configuration().epoch.0;
        let furthest = order.seats().filter_map(|seat| facts.progress.get(&(order.id, seat)));
        let applied = furthest.map(|progress| progress.applied).max().unwrap_or_default();
        for seat in order.seats() {
            if facts.seen.get(&seat).is_some_and(|seen| seen.silent_ms < facts.suspicion_ms) {
                facts.progress.insert((order.id, seat), Progress { term, applied, complete: true });
            }
        }
    }
}
