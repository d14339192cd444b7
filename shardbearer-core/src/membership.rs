//! Who belongs to what, and how that changes: the words that the control order, the radiants and operators share. The
//! rules are in `shardbearer_state::membership`.

use crate::ids::{Epoch, OrderId, RadiantId};
use crate::protocol::Configuration;
use crate::topology::Order;

/// What part a radiant takes in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Standing {
    /// Takes its share of seats.
    #[default]
    Active,
    /// Takes a seat only where another one is gone for good. What arrives later begins so.
    Spare,
    /// Gives its seats away, to `to` where that is possible, and stays.
    Draining {
        /// Who is to have its seats; none: whoever has the fewest.
        to: RadiantId,
    },
    /// The same, and then leaves the cluster.
    Leaving {
        /// As above.
        to: RadiantId,
    },
    /// Has left. Its id is never given again.
    Gone,
}

/// How the members of an order came to be, and what they are becoming.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Roster {
    /// When the members were decided last.
    pub epoch: Epoch,
    /// When they were decided before that; zero for the founders.
    pub previous: Epoch,
    /// They catch up and are then to be members. They do not count until then.
    pub learners: Vec<RadiantId>,
    /// How many members the order should have; what is missing is filled up where somebody is free.
    pub size: u32,
    /// They are to leave once that has been carried out. Members until then, or learners that are wanted no more.
    pub leaving: Vec<RadiantId>,
    /// The last time that the order began anew from one of its members.
    pub reset: Option<Reset>,
}

/// That an order which had lost its majority began anew from what one member had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Reset {
    /// When it was decided. Tells the order from what it was before: whoever has another takes no part in it.
    pub epoch: Epoch,
    /// From whose log and data it went on.
    pub survivor: RadiantId,
}

/// A change of who belongs to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// One step of an order whose members agree on changes among themselves: `add` becomes a learner and is to be a member,
    /// `remove` is to be none. The order's herald carries it out; [`MemberChange::Finish`] says that it did.
    Begin {
        /// The order.
        order: OrderId,
        /// None: only a removal.
        add: RadiantId,
        /// None: only an addition.
        remove: RadiantId,
    },
    /// What [`MemberChange::Begin`] asked for is so.
    Finish {
        /// The order.
        order: OrderId,
    },
    /// What [`MemberChange::Begin`] asked for is wanted no more: those who stay, stay, and who was to come goes.
    Abandon {
        /// The order.
        order: OrderId,
    },
    /// An order that has lost its majority for good begins anew with `survivor` as its only member.
    Reset {
        /// The order.
        order: OrderId,
        /// Whose log and data it goes on from.
        survivor: RadiantId,
    },
    /// A new list for an order whose engine takes it from here, in its order.
    List {
        /// The order.
        order: OrderId,
        /// Who counts.
        members: Vec<RadiantId>,
        /// Who catches up.
        learners: Vec<RadiantId>,
    },
    /// Another standing of a radiant.
    Stand {
        /// Who.
        radiant: RadiantId,
        /// Its new standing.
        standing: Standing,
    },
}

impl Order {
    /// Who has to have the order open: members, and who is on the way in or out. Each once.
    pub fn seats(&self) -> impl Iterator<Item = RadiantId> + '_ {
        let others = self.roster.learners.iter().chain(&self.roster.leaving);
        let others = others.filter(|other| !self.members.contains(other));
        self.members.iter().chain(others).copied()
    }

    /// Who is to be a member once everything begun is carried out.
    pub fn wanted(&self) -> Vec<RadiantId> {
        let all = self.members.iter().chain(&self.roster.learners);
        all.filter(|member| !self.roster.leaving.contains(member)).copied().collect()
    }

    /// Whether a change is under way.
    pub fn is_changing(&self) -> bool {
        !self.roster.learners.is_empty() || !self.roster.leaving.is_empty()
    }

    /// Whether the members are the founders still, all of whom open the order as founders.
    pub fn is_as_founded(&self) -> bool {
        self.roster.epoch <= Epoch(1)
    }

    /// When the order began anew the last time; zero for one that never did.
    pub fn generation(&self) -> Epoch {
        self.roster.reset.map_or(Epoch(0), |reset| reset.epoch)
    }

    /// The founders in the order in which a chain of them stands: who should lead first comes first.
    pub fn founders(&self) -> Vec<RadiantId> {
        let mut founders = self.members.clone();
        let first = founders.iter().position(|member| *member == self.preferred_herald);
        founders.rotate_left(first.unwrap_or(0));
        founders
    }

    /// The list for an engine that takes it from here.
    pub fn configuration(&self) -> Configuration {
        let members = if self.is_as_founded() { self.founders() } else { self.members.clone() };
        let Roster { epoch, previous, learners, .. } = self.roster.clone();
        Configuration { epoch, previous, members, learners }
    }
}
