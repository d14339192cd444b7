//! Members come and go while the order serves.

use shardbearer_core::engine::Start;
use shardbearer_core::ids::RadiantId;

use super::super::{Broken, ensure, ensure_eq};
use super::Lab;
use super::group::{Group, PATIENCE, ids};

/// Changes the members through whoever leads, again and again until they are these.
async fn reconfigure(group: &Group<'_>, members: &[RadiantId]) -> Result<(), Broken> {
    let start = tokio::time::Instant::now();
    let mut last = String::new();
    while start.elapsed() < PATIENCE {
        let leader = group.leader().await?;
        let engine = group.engine(leader)?;
        match tokio::time::timeout(PATIENCE, engine.reconfigure(members.to_vec())).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = "no answer".into(),
        }
        tokio::time::sleep(group.timing().election_max).await;
    }
    Err(Broken(format!("the members were not changed within {PATIENCE:?}: {last}")))
}

pub(super) async fn a_member_is_added(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(40);
    let mut group = lab.found(3).await?;
    // More than the log keeps, so that the newcomer needs all there is.
    group.writes(100).await?;
    group.add(RadiantId(4), Start::Join).await?;
    reconfigure(&group, &ids(4)).await?;
    group.converge().await?;
    group
        .eventually("all know the members", || {
            group.up().iter().all(|id| group.status(*id).members == ids(4))
        })
        .await?;
    // Of four, three are a quorum: one of the old may fail now.
    group.crash(RadiantId(1));
    group.writes(3).await?;
    group.restart(RadiantId(1)).await?;
    group.converge().await
}

pub(super) async fn a_member_is_removed(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(4).await?;
    group.writes(5).await?;
    let leader = group.leader().await?;
    let gone = group.all().into_iter().rev().find(|id| *id != leader).unwrap_or(leader);
    let rest: Vec<RadiantId> = group.all().into_iter().filter(|id| *id != gone).collect();
    reconfigure(&group, &rest).await?;
    group.crash(gone);
    group.writes(5).await?;
    ensure_eq!(group.status(group.leader().await?).members, rest, "members");
    // Of three, one may fail.
    group.crash(rest[0]);
    group.writes(5).await?;
    group.restart(rest[0]).await?;
    group.converge().await
}

pub(super) async fn the_leader_is_replaced(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    group.writes(5).await?;
    let leader = group.leader().await?;
    group.add(RadiantId(4), Start::Join).await?;
    let members: Vec<RadiantId> = ids(4).into_iter().filter(|id| *id != leader).collect();
    reconfigure(&group, &members).await?;
    group.crash(leader);
    group.writes(5).await?;
    group.converge().await?;
    ensure_eq!(group.status(group.leader().await?).members, members, "members");
    Ok(())
}

pub(super) async fn a_member_is_replaced_while_another_is_down(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(5).await?;
    group.writes(5).await?;
    let leader = group.leader().await?;
    let others: Vec<RadiantId> = group.all().into_iter().filter(|id| *id != leader).collect();
    let (down, dead) = (others[0], others[1]);
    group.crash(down);
    group.crash(dead);
    group.add(RadiantId(6), Start::Join).await?;
    let members: Vec<RadiantId> = ids(6).into_iter().filter(|id| *id != dead).collect();
    reconfigure(&group, &members).await?;
    group.writes(5).await?;
    group.restart(down).await?;
    group.converge().await?;
    ensure_eq!(group.status(group.leader().await?).members, members, "members");
    Ok(())
}

/// While it does not catch up it must not count: a quorum of the old members serves, whichever of them fails.
pub(super) async fn a_newcomer_that_never_catches_up_stops_nobody(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    group.writes(5).await?;
    let leader = group.leader().await?;
    let newcomer = RadiantId(4);
    group.net.part(&[newcomer], &group.all());
    group.add(newcomer, Start::Join).await?;
    let asked = {
        let engine = group.engine(leader)?;
        tokio::spawn(async move { engine.reconfigure(ids(4)).await })
    };
    group.pass(5).await;
    let others: Vec<RadiantId> = group.all().into_iter().filter(|id| *id != newcomer).collect();
    group.write_to(&others).await?;
    let follower = others.iter().copied().find(|id| *id != leader).unwrap_or(leader);
    group.crash(follower);
    let rest: Vec<RadiantId> = others.iter().copied().filter(|id| *id != follower).collect();
    for _ in 0..5 {
        group.write_to(&rest).await?;
    }
    group.restart(follower).await?;
    if asked.is_finished() {
        let answer = asked.await;
        ensure!(!matches!(answer, Ok(Ok(()))), "one that nobody ever reached is said to be a member");
    } else {
        asked.abort();
    }
    group.net.heal();
    reconfigure(&group, &ids(4)).await?;
    group.converge().await
}
