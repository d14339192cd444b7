//! The way to one other member, as the library needs it: what arrives, arrives in order and once, and both ends learn of
//! what did not. The transport promises none of that.
//!
//! Each packet says from which incarnation to which it goes and is numbered within that pair. A packet for or from
//! an earlier incarnation is dropped, also if it comes years late; so is one that others overtook. A gap in the numbers is
//! told to the sender in every later packet, because it may be the sender who has to begin anew.

use omnipaxos::messages::sequence_paxos::PaxosMsg;

use super::wire::{Entry, Loose, Packet};

/// One end of the way to one other member.
#[derive(Clone, Debug, Default, Hash)]
pub struct Link {
    /// The other's incarnation; zero while nothing was heard.
    theirs: u64,
    /// Number of the last packet with ordered messages sent, and received.
    sent: u64,
    seen: u64,
    /// Gaps seen here, and those the other told of that were acted upon.
    lost: u64,
    told: u64,
}

/// What a packet says about the way it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The ordered messages may be taken.
    pub ordered: bool,
    /// The loose ones answer something that was sent in this incarnation.
    pub paired: bool,
    /// Something between the two was lost, or the other began anew: they have to agree again.
    pub broken: bool,
}

impl Link {
    /// Begins anew, after this member did.
    pub fn reset(&mut self) {
        *self = Link { theirs: self.theirs, ..Link::default() };
    }

    /// Takes note of a packet. `None`: it is of the past.
    pub fn arrive(&mut self, mine: u64, packet: &Packet) -> Option<Arrival> {
        if packet.from < self.theirs {
            return None;
        }
        let mut broken = false;
        if packet.from > self.theirs {
            *self = Link { theirs: packet.from, ..Link::default() };
            broken = true;
        }
        if packet.to != mine {
            return (packet.to < mine).then_some(Arrival { ordered: false, paired: false, broken });
        }
        // A packet without ordered messages names the last that had some.
        let has = !packet.ordered.is_empty();
        let expected = self.seen + u64::from(has);
        let ordered = has && packet.number >= expected;
        if packet.number > expected {
            self.lost += 1;
            broken = true;
        }
        self.seen = self.seen.max(packet.number);
        if packet.lost > self.told {
            self.told = packet.lost;
            broken = true;
        }
        Some(Arrival { ordered, paired: true, broken })
    }

    /// The next packet. Ordered messages for an incarnation that is not known are lost; once the other is heard, this end learns it.
    pub fn pack(&mut self, mine: u64, mut ordered: Vec<PaxosMsg<Entry>>, loose: Vec<Loose>) -> Packet {
        if self.theirs == 0 {
            ordered.clear();
        }
        self.sent += u64::from(!ordered.is_empty());
        Packet { from: mine, to: self.theirs, number: self.sent, lost: self.lost, ordered, loose }
    }
}

#[cfg(test)]
mod explore;

#[cfg(test)]
mod tests {
    use omnipaxos::ballot_leader_election::Ballot;
    use omnipaxos::messages::sequence_paxos::NotAccepted;

    use super::*;

    pub(super) fn message() -> Vec<PaxosMsg<Entry>> {
        vec![PaxosMsg::NotAccepted(NotAccepted { n: Ballot::default() })]
    }

    /// Two ends that have heard of each other.
    fn pair() -> (Link, Link) {
        let (mut one, mut other) = (Link::default(), Link::default());
        other.arrive(2, &one.pack(1, vec![], vec![])).expect("new");
        one.arrive(1, &other.pack(2, vec![], vec![])).expect("new");
        (one, other)
    }

    #[test]
    fn what_comes_twice_or_too_late_is_dropped() {
        let (mut one, mut other) = pair();
        let (first, second) = (one.pack(1, message(), vec![]), one.pack(1, message(), vec![]));
        let fine = Arrival { ordered: true, paired: true, broken: false };
        assert_eq!(other.arrive(2, &first), Some(fine));
        assert_eq!(other.arrive(2, &second), Some(fine));
        for again in [&first, &second] {
            assert_eq!(other.arrive(2, again), Some(Arrival { ordered: false, ..fine }));
        }
    }

    #[test]
    fn a_gap_breaks_the_link_at_both_ends() {
        let (mut one, mut other) = pair();
        let lost = one.pack(1, message(), vec![]);
        assert!(!lost.ordered.is_empty());
        // Also a packet with nothing in it shows the gap.
        assert!(other.arrive(2, &one.pack(1, vec![], vec![])).expect("known").broken);
        assert!(one.arrive(1, &other.pack(2, vec![], vec![])).expect("known").broken, "told");
        assert!(!one.arrive(1, &other.pack(2, vec![], vec![])).expect("known").broken, "once");
        assert!(!other.arrive(2, &lost).expect("known").ordered, "overtaken");
    }

    #[test]
    fn what_was_meant_for_an_earlier_life_is_not_taken() {
        let (mut one, mut other) = pair();
        let old = one.pack(1, message(), vec![]);
        let mut reborn = Link::default();
        let arrival = reborn.arrive(3, &old).expect("from a known one");
        assert!(!arrival.ordered && !arrival.paired);
        let after = one.arrive(1, &reborn.pack(3, vec![], vec![])).expect("new");
        assert!(after.broken, "the other began anew");
        assert_eq!(one.arrive(1, &other.pack(2, message(), vec![])), None, "from its earlier life");
    }
}
