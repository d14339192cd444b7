//! Who leads which order, as far as this radiant knows. Facts arrive from the local engines and in
//! pulses; the newest term wins. A wrong entry costs one hop, never a wrong answer.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::RwLock;
use shardbearer_core::ids::{OrderId, RadiantId};
use tokio::sync::Notify;

/// An order's herald as of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The order.
    pub order: OrderId,
    /// Who leads it; none while it elects.
    pub herald: RadiantId,
    /// Since which term.
    pub term: u64,
}

/// The table of leads.
#[derive(Default)]
pub struct Leads {
    /// Whose table it is; none in tests.
    me: RadiantId,
    known: RwLock<BTreeMap<OrderId, Lead>>,
    /// Wakes who waits in the order in which they began to: a watch channel draws lots, and no run could be repeated.
    news: Notify,
}

impl Leads {
    /// The table of a radiant.
    pub fn of(me: RadiantId) -> Leads {
        Leads { me, ..Leads::default() }
    }

    /// The order's herald, if one is known.
    pub fn herald(&self, order: OrderId) -> Option<RadiantId> {
        self.known.read().get(&order).map(|lead| lead.herald).filter(|herald| !herald.is_none())
    }

    /// All leads, ascending by order.
    pub fn all(&self) -> Vec<Lead> {
        self.known.read().values().copied().collect()
    }

    /// Takes in a fact unless a newer one is known. Of one term, a named herald beats none.
    pub fn learn(&self, lead: Lead) {
        let mut known = self.known.write();
        let news = match known.get(&lead.order) {
            None => true,
            Some(old) if lead.term == old.term => old.herald.is_none() && !lead.herald.is_none(),
            Some(old) => lead.term > old.term,
        };
        if news {
            known.insert(lead.order, lead);
            drop(known);
            self.news.notify_waiters();
        }
    }

    /// Forgets a herald that answered that it is none, so that it is not asked again until somebody says something
    /// new; its hint is taken where nothing is known. But whether this radiant leads, its own engine knows best: an old
    /// hint that it does would stand for the rest of the term, since nobody is asked who could deny it.
    pub fn doubt(&self, order: OrderId, herald: RadiantId, hint: Option<RadiantId>) {
        let hint = hint.filter(|hint| *hint != herald && *hint != self.me);
        let mut known = self.known.write();
        let lead = known.entry(order).or_insert(Lead { order, herald: RadiantId::NONE, term: 0 });
        if lead.herald == herald || lead.herald.is_none() {
            lead.herald = hint.unwrap_or(RadiantId::NONE);
            drop(known);
            if hint.is_some() {
                self.news.notify_waiters();
            }
        }
    }

    /// Waits until anything changes, at most so long.
    pub async fn changed(&self, at_most: Duration) {
        // A timeout is as good as news: the caller looks again either way.
        let _ = tokio::time::timeout(at_most, self.news.notified()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(herald: u64, term: u64) -> Lead {
        Lead { order: OrderId(2), herald: RadiantId(herald), term }
    }

    #[test]
    fn the_newest_term_wins_and_doubt_is_lifted_by_news() {
        let leads = Leads::default();
        leads.learn(lead(1, 5));
        leads.learn(lead(2, 4));
        assert_eq!(leads.herald(OrderId(2)), Some(RadiantId(1)));
        leads.doubt(OrderId(2), RadiantId(1), None);
        assert_eq!(leads.herald(OrderId(2)), None);
        leads.learn(lead(1, 5));
        assert_eq!(leads.herald(OrderId(2)), Some(RadiantId(1)), "the same term names a herald again");
        leads.learn(lead(3, 6));
        assert_eq!(leads.herald(OrderId(2)), Some(RadiantId(3)));
    }

    #[test]
    fn nobody_is_told_by_others_that_it_leads() {
        let leads = Leads::of(RadiantId(4));
        leads.learn(lead(1, 5));
        leads.doubt(OrderId(2), RadiantId(1), Some(RadiantId(4)));
        assert_eq!(leads.herald(OrderId(2)), None);
        leads.learn(lead(3, 5));
        assert_eq!(leads.herald(OrderId(2)), Some(RadiantId(3)), "who does lead is believed at once");
    }
}
