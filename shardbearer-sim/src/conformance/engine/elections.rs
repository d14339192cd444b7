//! Who leads.

use std::collections::BTreeMap;

use shardbearer_core::ids::RadiantId;

use super::super::{Broken, ensure, ensure_eq};
use super::Lab;
use super::group::{Group, ids};

pub(super) async fn a_first_leader_is_elected_and_stays(lab: &Lab<'_>) -> Result<(), Broken> {
    for count in [3, 5] {
        let group = lab.found(count).await?;
        let leader = group.leader().await?;
        group.converge().await?;
        let term = group.status(leader).term;
        group.pass(20).await;
        ensure_eq!(group.leader().await?, leader, "the leader of {count}, later, without a failure");
        ensure_eq!(group.status(leader).term, term, "its term");
        group
            .eventually("all know the leader", || {
                group.up().iter().all(|id| group.status(*id).herald == Some(leader))
            })
            .await?;
        let mut members = group.status(leader).members;
        members.sort(); // their order may mean something to the engine
        ensure_eq!(members, group.all(), "members");
    }
    Ok(())
}

pub(super) async fn another_leads_when_the_leader_is_cut_off(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    let first = group.leader().await?;
    group.write().await?;
    let others: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != first).collect();
    group.net.part(&[first], &others);
    let second = group.leader_of(&others).await?;
    ensure!(second != first, "the one that is cut off leads");
    group.write_to(&others).await?;
    group.eventually("the old leader gives up", || !group.status(first).leading).await?;
    group.net.heal();
    group.converge().await
}

pub(super) async fn many_elections_never_give_two_leaders_of_one_term(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(5).await?;
    let mut leaders = BTreeMap::new();
    for round in 0..15 {
        let all = group.all();
        let off: Vec<RadiantId> = all.iter().copied().filter(|_| lab.below(3) == 0).take(2).collect();
        let rest: Vec<RadiantId> = all.iter().copied().filter(|id| !off.contains(id)).collect();
        group.net.part(&off, &all);
        for _ in 0..20 {
            ensure_one_leader_a_term(&group, &mut leaders)?;
            tokio::time::sleep(group.timing().heartbeat).await;
        }
        group.leader_of(&rest).await?;
        ensure_one_leader_a_term(&group, &mut leaders)?;
        if round % 3 == 0 {
            group.write_to(&rest).await?;
        }
        group.net.heal();
    }
    group.converge().await
}

/// Notes who leads in which term.
pub(super) fn ensure_one_leader_a_term(
    group: &Group<'_>,
    leaders: &mut BTreeMap<u64, RadiantId>,
) -> Result<(), Broken> {
    for id in group.up() {
        let status = group.status(id);
        if status.leading {
            let leader = *leaders.entry(status.term).or_insert(id);
            ensure_eq!(id, leader, "leader of term {}", status.term);
        }
    }
    Ok(())
}

pub(super) async fn nobody_leads_without_a_quorum(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    group.write().await?;
    group.net.part(&group.all(), &group.all());
    group.eventually("nobody leads", || group.up().iter().all(|id| !group.status(*id).leading)).await?;
    for _ in 0..50 {
        tokio::time::sleep(group.timing().heartbeat).await;
        let leading = group.up().into_iter().find(|id| group.status(*id).leading);
        ensure_eq!(leading, None, "leader of a group in pieces");
    }
    group.net.heal();
    group.converge().await
}

pub(super) async fn a_member_that_only_hears_does_not_depose_the_leader(lab: &Lab<'_>) -> Result<(), Broken> {
    one_way(lab, false).await
}

pub(super) async fn a_member_that_only_speaks_does_not_depose_the_leader(
    lab: &Lab<'_>,
) -> Result<(), Broken> {
    one_way(lab, true).await
}

/// Those who hear it must not take that for a reason to wait.
pub(super) async fn a_leader_that_hears_nobody_is_replaced(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    let deaf = group.leader().await?;
    group.converge().await?;
    let others: Vec<RadiantId> = group.all().into_iter().filter(|id| *id != deaf).collect();
    for other in &others {
        group.net.cut(*other, deaf);
    }
    group.leader_of(&others).await?;
    group.write_to(&others).await?;
    group.net.heal();
    group.converge().await
}

/// Cuts one follower off in one direction, and back again.
async fn one_way(lab: &Lab<'_>, deaf: bool) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    let leader = group.leader().await?;
    group.converge().await?;
    let term = group.status(leader).term;
    let odd = group.up().into_iter().find(|id| *id != leader);
    let odd = odd.ok_or_else(|| Broken("a group of one, though three were founded".into()))?;
    for other in group.all().into_iter().filter(|id| *id != odd) {
        if deaf { group.net.cut(other, odd) } else { group.net.cut(odd, other) }
    }
    for _ in 0..20 {
        group.pass(1).await;
        ensure!(group.status(leader).leading, "{leader} was deposed by {odd}, which is cut off one way");
    }
    group.write().await?;
    group.net.heal();
    group.converge().await?;
    group.pass(3).await;
    ensure_eq!(group.leader().await?, leader, "leader after the link is mended");
    ensure_eq!(group.status(leader).term, term, "term after the link is mended");
    Ok(())
}

pub(super) async fn a_campaign_and_a_hand_over_move_the_lead(lab: &Lab<'_>) -> Result<(), Broken> {
    // At a founding: before any timer has run out, and whoever it is.
    for id in ids(3) {
        let group = lab.found(3).await?;
        let asked = group.engine(id)?.campaign().await;
        ensure!(asked.is_ok(), "a campaign at a founding: {asked:?}");
        ensure_eq!(group.leader().await?, id, "the first leader, after a campaign");
        group.converge().await?;
    }
    let group = lab.found(3).await?;
    let first = group.leader().await?;
    group.converge().await?;
    let to = group.up().into_iter().find(|id| *id != first).unwrap_or(first);
    let asked = group.engine(first)?.hand_over(to).await;
    ensure!(asked.is_ok(), "a hand-over to a member that is caught up: {asked:?}");
    group.eventually("the lead was handed over", || group.status(to).leading).await?;
    group.write().await?;
    // Beside a leader that others hear, it may win or not.
    let asked = group.engine(first)?.campaign().await;
    ensure!(asked.is_ok(), "a campaign: {asked:?}");
    group.write().await?;
    group.converge().await?;
    let leader = group.leader().await?;
    ensure!([first, to].contains(&leader), "{leader} leads, who was handed nothing and did not stand");
    Ok(())
}
