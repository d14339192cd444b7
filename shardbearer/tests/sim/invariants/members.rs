//! From one configuration to the next an order's members change so that nothing is lost: where members agree among
//! themselves, by one at most, so that each majority before meets each majority after; where they are decided elsewhere, the
//! first of the list was a member before. Nobody counts who was not a learner first.

use std::collections::BTreeSet;

use shardbearer_core::ids::RadiantId;
use shardbearer_core::topology::{Order, Topology};

/// Whether two configurations that follow each other are so.
pub fn check(before: &Topology, after: &Topology) -> Result<(), String> {
    let kept = before.orders.iter().filter_map(|order| Some((order, after.order(order.id)?)));
    for (before, after) in kept {
        // Who begins anew gives up a majority on purpose, and says what that may lose.
        if before.generation() == after.generation() {
            followed(before, after).map_err(|why| format!("order {}: {why}", before.id))?;
        }
    }
    Ok(())
}

fn followed(before: &Order, after: &Order) -> Result<(), String> {
    let [old, new] =
        [before, after].map(|order| order.members.iter().copied().collect::<BTreeSet<RadiantId>>());
    let (come, gone): (Vec<_>, Vec<_>) = (new.difference(&old).collect(), old.difference(&new).collect());
    if let Some(stranger) = come.iter().find(|one| !before.roster.learners.contains(one)) {
        return Err(format!("radiant {stranger} counts and was no learner before"));
    }
    let one_each = come.len() <= 1 && gone.len() <= 1;
    match before.engine.as_str() {
        // A member that is silent is left out, however many are.
        "chain" if come.len() > 1 => Err(format!("{come:?} come at once")),
        "chain" if !after.members.first().is_some_and(|head| old.contains(head)) => {
            Err("it is led by somebody who was no member".into())
        }
        "chain" => Ok(()),
        _ if !one_each => Err(format!("{gone:?} go and {come:?} come at once")),
        _ => Ok(()),
    }
}

#[test]
fn two_members_at_once_are_too_many_where_majorities_count() {
    let of = |engine: &str, members: &[u64], learners: &[u64]| {
        let ids = |ids: &[u64]| ids.iter().copied().map(RadiantId).collect::<Vec<_>>();
        let mut order = Order { engine: engine.into(), members: ids(members), ..Order::default() };
        order.roster.learners = ids(learners);
        order
    };
    let before = |engine| of(engine, &[1, 2, 3], &[4]);
    assert!(followed(&before("openraft"), &of("openraft", &[2, 3, 4], &[])).is_ok());
    assert!(followed(&before("openraft"), &of("openraft", &[3, 4], &[])).is_err());
    assert!(followed(&before("openraft"), &of("openraft", &[1, 2, 5], &[])).is_err());
    assert!(followed(&before("chain"), &of("chain", &[3], &[1, 2])).is_ok());
    assert!(followed(&before("chain"), &of("chain", &[4, 3], &[])).is_err());
}
