//! The power fails: of one, of some, of all.

use std::collections::BTreeMap;
use std::time::Duration;

use shardbearer_core::ids::RadiantId;

use super::super::{Broken, ensure};
use super::Lab;
use super::elections::ensure_one_leader_a_term;
use super::group::Group;
use super::net::Weather;

/// Takes the power from all at once, and opens them again.
pub(super) async fn all_crash(group: &mut Group<'_>) -> Result<(), Broken> {
    let all = group.all();
    all.iter().for_each(|id| group.crash(*id));
    for id in all {
        group.restart(id).await?;
    }
    Ok(())
}

pub(super) async fn acknowledged_writes_survive_a_crash_of_all(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    for round in 0..8 {
        group.writes(round + 1).await?;
        // No time passes between the last acknowledgement and the crash.
        all_crash(&mut group).await?;
        group.converge().await?;
    }
    Ok(())
}

pub(super) async fn members_restarted_in_turn_lose_nothing(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    for id in group.all() {
        group.writes(3).await?;
        group.crash(id);
        // Longer than others wait for it, so that whoever can goes on without it.
        group.pass(3).await;
        group.restart(id).await?;
        group.converge().await?;
    }
    Ok(())
}

pub(super) async fn crashes_one_after_the_other_lose_nothing(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    for round in 0..9u64 {
        group.writes(2).await?;
        let leader = group.leader().await?;
        // In turn the leader, a follower that holds the last write, and one that may not.
        let victims: Vec<RadiantId> = group.all().into_iter().filter(|id| *id != leader).collect();
        let victim = if round % 3 == 0 { leader } else { victims[(round % 2) as usize] };
        group.crash(victim);
        group.writes(2).await?;
        group.restart(victim).await?;
    }
    group.converge().await
}

pub(super) async fn terms_do_not_go_back_over_crashes(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    let mut leaders = BTreeMap::new();
    for _ in 0..4 {
        group.write().await?;
        ensure_one_leader_a_term(&group, &mut leaders)?;
        // Terms in which nothing is proposed leave a trace in the hard state only.
        for _ in 0..2 {
            let leader = group.leader().await?;
            let others: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != leader).collect();
            group.net.part(&[leader], &others);
            group.leader_of(&others).await?;
            ensure_one_leader_a_term(&group, &mut leaders)?;
            group.net.heal();
        }
        let leader = group.leader().await?;
        let term = group.status(leader).term;
        all_crash(&mut group).await?;
        let leader = group.leader().await?;
        let next = group.status(leader).term;
        ensure!(next > term, "a quorum promised term {term}, crashed, and follows term {next} now");
        ensure_one_leader_a_term(&group, &mut leaders)?;
    }
    group.converge().await
}

/// Figure 8 of the Raft paper: an entry of an old term that reached a majority only now is not committed by that alone. Leaders
/// that nobody hears leave entries behind, crash, and come back in turn to bring theirs to the others.
pub(super) async fn commitment_needs_the_own_term(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(5).await?;
    let mut crashed = Vec::new();
    for round in 0..60u64 {
        let up = group.up();
        if up.len() >= 3 {
            let leader = group.leader().await?;
            // Time to bring the others up to what it has, before there is anything of its own term.
            tokio::time::sleep(Duration::from_micros(lab.below(40_000))).await;
            // Somewhere between "nobody else has it" and "all have it", on disk or not, acknowledged or not.
            let alone = lab.below(2) == 0;
            let deaf: Vec<RadiantId> =
                up.into_iter().filter(|id| *id != leader && (alone || lab.below(3) > 0)).collect();
            group.net.part(&[leader], &deaf);
            let proposal = group.fresh();
            let attempt = tokio::spawn(group.propose(leader, proposal.clone()));
            let pause = match round % 4 {
                0 => 100_000,
                1 | 2 => lab.below(30_000),
                _ => lab.below(1_500),
            };
            tokio::time::sleep(Duration::from_micros(pause)).await;
            if !attempt.is_finished() {
                attempt.abort();
            } else if let Ok(Ok(_)) = attempt.await {
                group.acknowledge(proposal);
            }
            group.crash(leader);
            crashed.push(leader);
            group.net.heal();
        }
        group.check()?;
        if group.up().len() < 3 {
            // Mostly the one before the last: its entries are older, and it has some that the last did not see.
            let before_last = crashed.len().saturating_sub(2);
            let back = if lab.below(3) > 0 { before_last } else { lab.below(crashed.len() as u64) as usize };
            group.restart(crashed.remove(back)).await?;
        }
    }
    for id in crashed {
        group.restart(id).await?;
    }
    group.converge().await
}

pub(super) async fn churn_loses_nothing(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(5).await?;
    group.net.weather(Weather { lost: 30, doubled: 30, late: 30, ..Weather::FOUL });
    let mut leaders = BTreeMap::new();
    for _ in 0..25 {
        match lab.below(4) {
            0 if group.up().len() > 3 => {
                let up = group.up();
                let victim = up[lab.below(up.len() as u64) as usize];
                group.crash(victim);
            }
            1 => {
                let down = group.all().into_iter().find(|id| !group.up().contains(id));
                if let Some(id) = down {
                    group.restart(id).await?;
                }
            }
            2 if group.up().len() > 4 => {
                let all = group.all();
                let one = all[lab.below(all.len() as u64) as usize];
                group.net.part(&[one], &all);
            }
            _ => group.net.heal(),
        }
        let reachable: Vec<RadiantId> = group
            .up()
            .into_iter()
            .filter(|id| group.up().iter().filter(|other| group.net.connected(*id, **other)).count() >= 3)
            .collect();
        if reachable.len() >= 3 {
            group.write_to(&reachable).await?;
        } else {
            group.pass(1).await;
        }
        ensure_one_leader_a_term(&group, &mut leaders)?;
        group.check()?;
    }
    group.net.heal();
    for id in group.all() {
        if !group.up().contains(&id) {
            group.restart(id).await?;
        }
    }
    group.converge().await
}
