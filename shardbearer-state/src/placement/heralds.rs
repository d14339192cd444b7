//! When a herald gives the lead back to the member that is meant to have it.

use shardbearer_core::ids::RadiantId;
use shardbearer_core::topology::Order;

/// A member as its herald sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The member.
    pub id: RadiantId,
    /// For how long it has been heard of without a break, in milliseconds.
    pub up_for_ms: u64,
    /// How many entries its log is behind the herald's.
    pub behind: u64,
}

/// A member must have been up for so long: one that comes and goes must not take the lead with it.
const UP_FOR_MS: u64 = 3_000;

/// And be caught up but for what is in flight, which is little: a herald that hands over serves nobody until the other
/// has the rest.
const BEHIND_MAX: u64 = 16;

/// Whom `me`, the herald of `order`, should hand over to; `None` to keep it.
pub fn hand_over_to(order: &Order, me: RadiantId, members: &[Candidate]) -> Option<RadiantId> {
    let preferred = order.preferred_herald;
    let stays = order.members.contains(&preferred) && !order.roster.leaving.contains(&preferred);
    if preferred == me || !stays {
        return None;
    }
    members
        .iter()
        .find(|member| member.id == order.preferred_herald)
        .filter(|member| member.up_for_ms >= UP_FOR_MS && member.behind <= BEHIND_MAX)
        .map(|member| member.id)
}

#[cfg(test)]
mod tests {
    use shardbearer_core::ids::OrderId;

    use super::*;

    #[test]
    fn only_a_steady_and_caught_up_preferred_member_gets_the_lead() {
        let members = vec![RadiantId(1), RadiantId(2)];
        let order = Order { id: OrderId(2), members, preferred_herald: RadiantId(2), ..Order::default() };
        let hand = |me, up_for_ms, behind| {
            hand_over_to(&order, RadiantId(me), &[Candidate { id: RadiantId(2), up_for_ms, behind }])
        };
        assert_eq!(hand(1, 3_000, 0), Some(RadiantId(2)));
        assert_eq!(hand(1, 2_999, 0), None, "it may be flapping");
        assert_eq!(hand(1, 9_000, 17), None, "it has to catch up first");
        assert_eq!(hand(2, 9_000, 0), None, "it has it already");
    }

    #[test]
    fn who_is_unknown_or_left_the_order_gets_nothing() {
        let members = vec![RadiantId(1), RadiantId(2)];
        let well = |id| Candidate { id: RadiantId(id), up_for_ms: 60_000, behind: 0 };
        let order = |preferred| Order {
            id: OrderId(2),
            members: members.clone(),
            preferred_herald: RadiantId(preferred),
            ..Order::default()
        };
        assert_eq!(hand_over_to(&order(2), RadiantId(1), &[well(3)]), None, "nothing was heard of it");
        assert_eq!(hand_over_to(&order(3), RadiantId(1), &[well(3)]), None, "it is no member any more");
        assert_eq!(hand_over_to(&order(0), RadiantId(1), &[well(0)]), None, "nobody is preferred");
        let mut leaving = order(2);
        leaving.roster.leaving.push(RadiantId(2));
        assert_eq!(hand_over_to(&leaving, RadiantId(1), &[well(2)]), None, "it is on its way out");
        assert_eq!(hand_over_to(&order(2), RadiantId(1), &[well(3), well(2)]), Some(RadiantId(2)));
    }
}
