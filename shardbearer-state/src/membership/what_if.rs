//! What a request would change for orders and shards: who is left, how many of them may be lost, what is not served if the
//! radiant stops before its seats have gone.

use shardbearer_core::ids::RadiantId;
use shardbearer_core::topology::{Order, Topology};

use super::plan::{Facts, Kind};
use super::{called, names};

/// Effects and dangers of going from one configuration to another, for the sake of a radiant.
pub(super) fn compare(
    before: &Topology,
    after: &Topology,
    facts: &Facts,
    radiant: RadiantId,
) -> (Vec<String>, Vec<String>) {
    let (mut effects, mut dangers) = (Vec::new(), Vec::new());
    for order in before.orders_of(radiant) {
        let Some(then) = after.order(order.id) else { continue };
        let what = match before.shards_of(order.id).len() {
            _ if order.id.is_control() => format!("order {} (control)", order.id),
            shards => format!("order {} ({shards} shards)", order.id),
        };
        let (had, has) = (spare(order, facts), spare(then, facts));
        if order.members != then.members {
            effects.push(format!(
                "{what} consists of {} instead of {}; of those it can lose {}",
                names(after, &then.members),
                names(before, &order.members),
                has.max(0)
            ));
        }
        if had >= 1 && has < 1 {
            dangers.push(format!("{what} could not lose any member any more, and can lose {had} now"));
        }
        let lost = without(order, facts, radiant);
        if lost < 0 {
            effects.push(format!(
                "{what} is not served if {} stops before its seat is taken by another",
                called(&names(before, &[radiant]))
            ));
        }
    }
    (effects, dangers)
}

/// How many more members may fail; below 0 if it does not work now.
fn spare(order: &Order, facts: &Facts) -> i64 {
    spare_among(order, facts, |_| true)
}

/// The same once a radiant has stopped.
fn without(order: &Order, facts: &Facts, radiant: RadiantId) -> i64 {
    spare_among(order, facts, |member| member != radiant)
}

fn spare_among(order: &Order, facts: &Facts, counts: impl Fn(RadiantId) -> bool) -> i64 {
    let up = |id: &RadiantId| facts.seen.get(id).is_some_and(|seen| seen.silent_ms < facts.suspicion_ms);
    let up = order.members.iter().filter(|id| up(id) && counts(**id)).count() as i64;
    match facts.kinds.get(&order.engine).copied().unwrap_or_default() {
        // Whoever is silent is left out of the list, down to a single one.
        Kind::Elsewhere => up - 1,
        Kind::Agree | Kind::Fixed => up - (order.members.len() as i64 / 2 + 1),
    }
}
