//! A read after a barrier sees every write that was acknowledged before the barrier was asked for.

use bytes::Bytes;
use shardbearer_core::ids::RadiantId;

use super::super::{Broken, ensure, ensure_eq};
use super::Lab;
use super::group::{Group, PATIENCE};

/// Reads from a member; whatever it answers must be all of `acknowledged`. Whether it answered.
async fn fresh_or_refused(group: &Group<'_>, id: RadiantId, acknowledged: &[Bytes]) -> Result<bool, Broken> {
    let Ok(seen) = group.read(id).await else { return Ok(false) };
    let missing = acknowledged.iter().find(|proposal| !seen.contains(proposal));
    ensure_eq!(missing, None, "acknowledged, and not seen by a read on {id} that began later");
    Ok(true)
}

/// Reads from whoever answers until somebody has.
async fn read_somewhere(group: &Group<'_>, ids: &[RadiantId]) -> Result<(), Broken> {
    let start = tokio::time::Instant::now();
    while start.elapsed() < PATIENCE {
        for id in ids {
            let acknowledged = group.acknowledged();
            if fresh_or_refused(group, *id, &acknowledged).await? {
                return Ok(());
            }
        }
        tokio::time::sleep(group.timing().heartbeat).await;
    }
    Err(Broken(format!("no read was answered within {PATIENCE:?}")))
}

pub(super) async fn reads_after_a_barrier_see_every_acknowledged_write(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    for _ in 0..20 {
        group.write().await?;
        for id in group.up() {
            fresh_or_refused(&group, id, &group.acknowledged()).await?;
        }
        read_somewhere(&group, &group.up()).await?;
    }
    Ok(())
}

pub(super) async fn a_partitioned_old_leader_does_not_answer_reads(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    for _ in 0..3 {
        group.write().await?;
        let old = group.leader().await?;
        let others: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != old).collect();
        read_somewhere(&group, &[old]).await?;
        group.net.part(&[old], &others);
        // Reads all the while, because the dangerous moment is between two heartbeats.
        let write = group.write_to(&others);
        tokio::pin!(write);
        loop {
            tokio::select! {
                biased;
                written = &mut write => { written?; break }
                () = tokio::time::sleep(group.timing().heartbeat / 4) => {
                    let (engine, data) = (group.engine(old)?, group.data(old));
                    let acknowledged = group.acknowledged();
                    let quick = tokio::time::timeout(group.timing().heartbeat / 4, engine.read_barrier()).await;
                    if matches!(quick, Ok(Ok(_))) {
                        let seen = data.proposals();
                        let missing = acknowledged.iter().find(|proposal| !seen.contains(proposal));
                        ensure_eq!(missing, None, "not seen by a read on the old leader {old}");
                    }
                }
            }
        }
        let answered = fresh_or_refused(&group, old, &group.acknowledged()).await?;
        ensure!(!answered, "the old leader answered a read after another had acknowledged a write");
        group.net.heal();
        group.converge().await?;
    }
    Ok(())
}

pub(super) async fn a_leader_that_stood_still_does_not_answer_old_reads(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    // In every other round it works on, and only what it says and hears waits.
    for sleeps in [true, false, true, false] {
        group.write().await?;
        let old = group.leader().await?;
        let others: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != old).collect();
        if sleeps {
            group.pause(old)
        } else {
            group.net.pause(old)
        }
        group.write_to(&others).await?;
        // A read that begins now began after the write was acknowledged, wherever it is asked.
        fresh_or_refused(&group, old, &group.acknowledged()).await?;
        group.resume(old);
        for _ in 0..20 {
            fresh_or_refused(&group, old, &group.acknowledged()).await?;
            tokio::time::sleep(group.timing().heartbeat / 4).await;
        }
        group.converge().await?;
    }
    Ok(())
}

pub(super) async fn reads_through_churn_are_never_old(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    for round in 0..12u64 {
        group.write().await?;
        let leader = group.leader().await?;
        match round % 3 {
            0 => {
                let asked = group.engine(leader)?.hand_over(group.all()[lab.below(3) as usize]).await;
                // Refused by a protocol that must not hand over to this one now; either way nothing may break.
                drop(asked);
            }
            1 => {
                group.crash(leader);
                group.write().await?;
                group.restart(leader).await?;
            }
            _ => {
                group.net.part(&[leader], &group.all());
                let rest: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != leader).collect();
                group.write_to(&rest).await?;
                fresh_or_refused(&group, leader, &group.acknowledged()).await?;
                group.net.heal();
            }
        }
        for id in group.up() {
            fresh_or_refused(&group, id, &group.acknowledged()).await?;
        }
        read_somewhere(&group, &group.up()).await?;
    }
    Ok(())
}
