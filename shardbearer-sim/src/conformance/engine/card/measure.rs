//! How a card is filled in: groups of the engine do what is measured.

use std::time::Duration;

use shardbearer_core::engine::Start;
use shardbearer_core::ids::RadiantId;
use tokio::time::Instant;

use super::super::super::Broken;
use super::super::Lab;
use super::super::group::{Group, PATIENCE, ids};
use super::super::snapshots::left_behind;
use super::{Card, Means, MemberChange, SIZES};

/// Writes and reads measured, and leaders that fail.
const WRITES: u32 = 100;
const READS: u32 = 20;
const FAILOVERS: usize = 5;

/// A group that acknowledges nothing for so many election timeouts does not survive.
const SILENCE: u32 = 20;

pub(super) async fn all(lab: &Lab<'_>) -> Result<Card, Broken> {
    let capabilities = lab.capabilities();
    let mut group = lab.found(3).await?;
    group.converge().await?;
    let idle = idle(&group).await;
    let (messages_per_write, syncs_per_write) = writes(&group, idle).await?;
    let linearizable_reads =
        if capabilities.linearizable_reads { means(&group, idle).await? } else { Means::None };
    let leader = group.leader().await?;
    let follower = group.up().into_iter().find(|id| *id != leader);
    let follower_reads = match follower {
        Some(id) => group.read(id).await.is_ok(),
        None => false,
    };
    if capabilities.reads_at_every_member && !follower_reads {
        return Err(Broken("reads at every member are claimed, and a follower refuses them".into()));
    }
    let mut survives = [None; SIZES];
    for (count, survived) in (1..).zip(&mut survives) {
        *survived = survived_by(lab, count).await?;
    }
    let failovers = match survives[2] {
        Some(1..) => failovers(&mut group).await?,
        Some(0) | None => Vec::new(),
    };
    let milliseconds = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(Card {
        engine: lab.factory().name(),
        linearizable_reads,
        follower_reads,
        membership_change: match members_change(lab).await {
            true => MemberChange::Agreed,
            false if capabilities.members_decided_elsewhere => MemberChange::Told,
            false => MemberChange::None,
        },
        snapshots: images_arrive(lab).await?,
        survives,
        members: group.all().len(),
        messages_per_write,
        syncs_per_write,
        idle_messages: idle * group.timing().election_max.as_secs_f64(),
        failover_ms: failovers.get(failovers.len() / 2).map(milliseconds),
        failover_ms_max: failovers.last().map(milliseconds),
    })
}

/// How many members of a group fail one after the other until it acknowledges nothing any more.
async fn survived_by(lab: &Lab<'_>, count: usize) -> Result<Option<usize>, Broken> {
    if lab.factory().refuses(count).is_some() {
        return Ok(None);
    }
    let mut group = lab.found(count as u64).await?;
    group.write().await?;
    for failures in 0..count {
        let leader = group.leader().await?;
        group.crash(leader);
        let rest = group.up();
        let silence = group.timing().election_max * SILENCE;
        let written = tokio::time::timeout(silence, group.write_to(&rest)).await;
        if !matches!(written, Ok(Ok(_))) {
            return Ok(Some(failures));
        }
    }
    Ok(Some(count))
}

/// Whether a fourth can be made a member of three.
async fn members_change(lab: &Lab<'_>) -> bool {
    let fourth = RadiantId(4);
    let change = async {
        let mut group = lab.found(3).await?;
        group.write().await?;
        group.add(fourth, Start::Join).await?;
        let engine = group.engine(group.leader().await?)?;
        let asked = tokio::time::timeout(PATIENCE, engine.reconfigure(ids(4))).await;
        group.write().await?;
        let member = group.status(group.leader().await?).members.contains(&fourth);
        Ok::<bool, Broken>(matches!(asked, Ok(Ok(()))) && member)
    };
    change.await.unwrap_or(false)
}

/// Whether one that was cut off while the logs were compacted gets an image.
async fn images_arrive(lab: &Lab<'_>) -> Result<bool, Broken> {
    let capabilities = lab.capabilities();
    if (capabilities.tolerates)(3) == 0 || !capabilities.snapshots {
        return Ok(capabilities.snapshots);
    }
    lab.compact_after(40);
    let group = lab.found(3).await?;
    let behind = left_behind(&group).await?;
    group.net.heal();
    group.converge().await?;
    Ok(group.data(behind).installed() > 0)
}

/// Frames a second of a group that has nothing to do.
async fn idle(group: &Group<'_>) -> f64 {
    let (frames, start) = (group.net.frames(), Instant::now());
    group.pass(20).await;
    (group.net.frames() - frames) as f64 / start.elapsed().as_secs_f64()
}

/// Messages and syncs for one write.
async fn writes(group: &Group<'_>, idle: f64) -> Result<(f64, f64), Broken> {
    let (frames, syncs, start) = (group.net.frames(), group.syncs(), Instant::now());
    for _ in 0..WRITES {
        group.write().await?;
    }
    let sent = (group.net.frames() - frames) as f64 - idle * start.elapsed().as_secs_f64();
    let synced = (group.syncs() - syncs) as f64;
    Ok((sent.max(0.0) / f64::from(WRITES), synced / f64::from(WRITES)))
}

/// By what means the leader answers reads.
async fn means(group: &Group<'_>, idle: f64) -> Result<Means, Broken> {
    let leader = group.leader().await?;
    let (frames, log, start) = (group.net.frames(), group.status(leader).last_log, Instant::now());
    for _ in 0..READS {
        let read = group.read(leader).await;
        read.map_err(|error| Broken(format!("the leader does not answer a read: {error}")))?;
    }
    let sent = (group.net.frames() - frames) as f64 - idle * start.elapsed().as_secs_f64();
    Ok(match group.status(leader).last_log > log {
        true => Means::LogEntry,
        false if sent >= f64::from(READS) => Means::ReadIndex,
        false => Means::Lease,
    })
}

/// How long the order stands still when its leader fails, in ascending order.
async fn failovers(group: &mut Group<'_>) -> Result<Vec<Duration>, Broken> {
    let mut found = Vec::new();
    for _ in 0..FAILOVERS {
        group.converge().await?;
        let leader = group.leader().await?;
        group.crash(leader);
        let start = Instant::now();
        let rest: Vec<RadiantId> = group.up();
        group.write_to(&rest).await?;
        found.push(start.elapsed());
        group.restart(leader).await?;
    }
    found.sort();
    Ok(found)
}
