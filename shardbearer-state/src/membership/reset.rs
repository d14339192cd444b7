//! An order that has lost the majority of its members for good: from which of them it goes on, and what that may lose.
//!
//! The rule is Raft's own for elections. Of two logs the one whose last entry has the higher term holds all that was
//! acknowledged under the other; of one term, the longer one does. An acknowledged entry is in the logs of a majority. So if
//! those who answer are so many that every majority has one of them, the furthest of them has all of it. If they are fewer, a
//! majority of the others may have acknowledged what none of them knows, and only people can say whether to go on.

#[cfg(test)]
mod tests;

use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_core::membership::Reset;
use shardbearer_core::migration::Migration;
use shardbearer_core::topology::{Order, Topology};

use super::{Refusal, decided, known_order, name, names, order_mut};

/// What a member that answers says of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LogEnd {
    /// The order's last reset that it knows.
    pub generation: Epoch,
    /// Its last entry.
    pub last: LogPos,
    /// The last entry applied to its data.
    pub applied: u64,
    /// Whether it leads and has heard from a majority lately.
    pub leading: bool,
}

/// What is known of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Known {
    /// What it says now; none if it does not answer, or has no seat open.
    pub end: Option<LogEnd>,
    /// What it had applied when it was heard last; none if it never was.
    pub heard: Option<u64>,
    /// How long ago that was.
    pub silent_ms: u64,
}

/// What would come of a reset.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Judgement {
    /// From whom the order would go on.
    pub survivor: Option<RadiantId>,
    /// What is known and what follows, a sentence each.
    pub account: Vec<String>,
    /// Why it is refused, forced or not.
    pub blockers: Vec<String>,
    /// Why it is refused unless forced.
    pub dangers: Vec<String>,
}

impl Judgement {
    fn refused(why: String) -> Judgement {
        Judgement { blockers: vec![why], ..Judgement::default() }
    }
}

/// Judges the reset of an order. `can` says whether its engine can begin anew, `moving` is the migration under way, `known` what
/// is known of each member.
pub fn judge(
    topology: &Topology,
    id: OrderId,
    can: bool,
    moving: Option<&Migration>,
    known: impl Fn(RadiantId) -> Known,
) -> Judgement {
    let Some(order) = topology.order(id) else {
        let ids: Vec<String> = topology.orders.iter().map(|order| order.id.to_string()).collect();
        return Judgement::refused(format!("there is no order {id}; there are {}", ids.join(", ")));
    };
    if !can {
        let engine = &order.engine;
        let why = format!("order {id} is replicated by {engine}, which cannot begin anew from one member");
        return Judgement::refused(why);
    }
    let ends = order.members.iter().filter_map(|member| Some((*member, known(*member).end?)));
    let ends: Vec<(RadiantId, LogEnd)> =
        ends.filter(|(_, end)| end.generation == order.generation()).collect();
    let reached: Vec<RadiantId> = ends.iter().map(|(member, _)| *member).collect();
    let learners = order.seats().filter(|seat| !order.members.contains(seat));
    let led = ends.iter().copied().chain(learners.filter_map(|seat| Some((seat, known(seat).end?))));
    if let Some((herald, _)) = led.into_iter().find(|(_, end)| end.leading) {
        let herald = name(topology, herald);
        return Judgement::refused(format!(
            "order {id} has its majority: {herald} leads it; there is nothing to reset"
        ));
    }
    let answers = |seat: &RadiantId| known(*seat).end.is_some_and(|end| end.generation == order.generation());
    if has_majority(&order.members, answers) && has_majority(&order.wanted(), answers) {
        return Judgement::refused(format!(
            "{} of {} members of order {id} answer, which is a majority: they elect a herald by themselves",
            reached.len(),
            order.members.len()
        ));
    }
    let Some((survivor, end)) = furthest(&ends) else {
        return Judgement::refused(format!(
            "no member of order {id} answers, so there is nothing to go on from: start one of {}, or restore a backup",
            names(topology, &order.members)
        ));
    };
    let mut judgement = Judgement { survivor: Some(survivor), ..Judgement::default() };
    judgement.tell(topology, order, &ends, (survivor, end));
    judgement.weigh(topology, order, (survivor, end), &known, &reached);
    if let Some(Migration { shard, from, to, .. }) =
        moving.filter(|moving| [moving.from, moving.to].contains(&id))
    {
        judgement.dangers.push(format!(
            "shard {shard} is on its way from order {from} to order {to}: what {} lacks of that is lost with the rest",
            name(topology, survivor)
        ));
    }
    judgement
}

impl Judgement {
    /// What is known and what follows.
    fn tell(
        &mut self,
        topology: &Topology,
        order: &Order,
        ends: &[(RadiantId, LogEnd)],
        (survivor, end): (RadiantId, LogEnd),
    ) {
        let (id, name) = (order.id, name(topology, survivor));
        let (one, _, _) = words(id);
        let others = ends.len() - 1;
        let of = if others == 0 {
            "which is the only one that answers".to_owned()
        } else {
            format!("the furthest of {}", ends.len())
        };
        let also = match end.last.index.saturating_sub(end.applied) {
            0 => String::new(),
            1 => ", also the entry that is not applied yet: it may have been acknowledged".to_owned(),
            many => {
                format!(
                    ", also the {many} entries that are not applied yet: some of them may have been acknowledged"
                )
            }
        };
        self.account = vec![
            format!(
                "order {id} goes on from {name}, {of}: its log ends with entry {} of term {}, {} of them applied",
                end.last.index, end.last.term, end.applied
            ),
            format!(
                "everything in that log counts{also}; a {one} of which it was said that its outcome is unknown may take effect"
            ),
            format!(
                "the other members lose their seats and whatever they have of order {id}; who is up then is given a copy until \
                 there are {} members again",
                order.roster.size.max(1)
            ),
        ];
    }

    /// What may be lost.
    fn weigh(
        &mut self,
        topology: &Topology,
        order: &Order,
        (survivor, end): (RadiantId, LogEnd),
        known: impl Fn(RadiantId) -> Known,
        reached: &[RadiantId],
    ) {
        let (id, survivor) = (order.id, name(topology, survivor));
        let (_, many, go_on) = words(id);
        let silent: Vec<RadiantId> =
            order.members.iter().copied().filter(|member| !reached.contains(member)).collect();
        let others = names(topology, &silent);
        let majority = order.members.len() / 2 + 1;
        if order.is_changing() {
            self.dangers.push(format!(
                "{many} may be lost that were acknowledged: the members of order {id} were changing, so {} may have been a \
                 majority without {survivor}",
                names(topology, &order.seats().filter(|seat| !reached.contains(seat)).collect::<Vec<_>>())
            ));
        } else if silent.len() < majority {
            self.account.push(format!(
                "{others} do not answer, and are too few to have acknowledged anything among themselves: {survivor} has all \
                 that was acknowledged by a majority"
            ));
        } else {
            self.dangers.push(format!(
                "{many} may be lost that were acknowledged: {others} are a majority of {}, and what they acknowledged \
                 without {survivor} is nowhere else",
                order.members.len()
            ));
        }
        for member in &silent {
            let (Known { heard, silent_ms, .. }, who) = (known(*member), name(topology, *member));
            match heard {
                Some(applied) if applied > end.last.index => {
                    let lost = match applied - end.last.index {
                        1 => "one acknowledged entry is lost".to_owned(),
                        many => format!("{many} acknowledged entries are lost"),
                    };
                    self.dangers.push(format!(
                        "at least {lost}: {who} had applied entry {applied} when it was heard last, {} s ago",
                        silent_ms / 1_000
                    ));
                }
                Some(applied) => self.account.push(format!(
                    "{who} had applied entry {applied} when it was heard last, {} s ago; so far {survivor} has a log",
                    silent_ms / 1_000
                )),
                None => self.account.push(format!("nothing was heard from {who} since the radiant that says this started")),
            }
        }
        self.dangers.push(format!(
            "{others} must be off: if they are only out of reach, they go on {go_on} whoever reaches them, and drop what they \
             have of order {id} when they hear of this"
        ));
    }
}

/// What an order is for, in words: one of it, many of it, what members that were given up go on with.
fn words(id: OrderId) -> (&'static str, &'static str, &'static str) {
    match id.is_control() {
        true => ("decision", "decisions", "deciding for"),
        false => ("write", "writes", "serving"),
    }
}

/// The member whose log is furthest; of equal ones the first.
fn furthest(ends: &[(RadiantId, LogEnd)]) -> Option<(RadiantId, LogEnd)> {
    ends.iter().copied().reduce(|best, next| if next.1.last > best.1.last { next } else { best })
}

fn has_majority(members: &[RadiantId], answers: impl Fn(&RadiantId) -> bool) -> bool {
    members.iter().filter(|member| answers(member)).count() > members.len() / 2
}

/// What no reset may do, at its place in the control log.
pub(super) fn begin_anew(next: &mut Topology, id: OrderId, survivor: RadiantId) -> Result<String, Refusal> {
    if id.is_control() {
        return Err(format!("order {id} is the control order and cannot reset itself"));
    }
    from_one(next, id, survivor)
}

/// The order with one member, since the epoch of `next`.
pub(super) fn from_one(next: &mut Topology, id: OrderId, survivor: RadiantId) -> Result<String, Refusal> {
    let order = known_order(next, id)?;
    if !order.members.contains(&survivor) {
        return Err(format!("{} is no member of order {id}", name(next, survivor)));
    }
    let what = format!("order {id} begins anew from what {} has of it", name(next, survivor));
    let epoch = next.epoch;
    let order = order_mut(next, id)?;
    decided(&mut order.roster, epoch);
    let size = u32::try_from(order.members.len()).unwrap_or(u32::MAX);
    order.roster.size = order.roster.size.max(size);
    (order.roster.learners, order.roster.leaving) = (Vec::new(), Vec::new());
    order.roster.reset = Some(Reset { epoch, survivor });
    order.members = vec![survivor];
    order.preferred_herald = survivor;
    Ok(what)
}
