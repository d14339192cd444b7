//! Logs are compacted, and who is too far behind gets an image.

use shardbearer_core::ids::RadiantId;

use super::super::{Broken, ensure};
use super::Lab;
use super::durability::all_crash;
use super::group::Group;
use super::net::Weather;

/// Entries after which the laws here let logs be compacted.
const COMPACT: u64 = 40;

/// Bursts of writes after which logs are compacted at the latest.
const BURSTS_MAX: usize = 30;

/// A follower, cut off while more is written than the logs keep.
pub(super) async fn left_behind(group: &Group<'_>) -> Result<RadiantId, Broken> {
    let leader = group.leader().await?;
    let behind = group.up().into_iter().find(|id| *id != leader);
    let behind = behind.ok_or_else(|| Broken("a group of one".into()))?;
    let rest: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != behind).collect();
    group.net.part(&[behind], &rest);
    let has = group.data(behind).position().index;
    for _ in 0..BURSTS_MAX {
        for _ in 0..COMPACT * 2 {
            group.write_to(&rest).await?;
        }
        if rest.iter().all(|id| group.purged(*id) > has) {
            return Ok(behind);
        }
        // An engine may keep its log for a while for an image that is on its way.
        group.pass(1).await;
    }
    Err(Broken(format!("the logs were not compacted beyond {has}")))
}

pub(super) async fn a_member_far_behind_is_brought_up_by_an_image(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(COMPACT);
    let group = lab.found(3).await?;
    for _ in 0..2 {
        let behind = left_behind(&group).await?;
        let images = group.data(behind).installed();
        group.net.heal();
        group.converge().await?;
        let after = group.data(behind).installed();
        ensure!(after > images, "{behind} caught up without an image, so no log was compacted");
    }
    Ok(())
}

pub(super) async fn images_arrive_over_a_foul_network(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(COMPACT);
    let group = lab.found(3).await?;
    let behind = left_behind(&group).await?;
    group.net.weather(Weather { lost: 20, doubled: 50, late: 50, ..Weather::FOUL });
    group.net.heal();
    group.eventually("an image arrives", || group.data(behind).installed() > 0).await?;
    group.writes(10).await?;
    group.net.weather(Weather::FAIR);
    group.converge().await
}

/// Images that are damaged in a row.
pub(super) const DAMAGED: u64 = 2;

/// Not one byte of a damaged image counts, and whoever sent it sends another.
pub(super) async fn a_damaged_image_is_asked_for_again(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(COMPACT);
    let group = lab.found(3).await?;
    let behind = left_behind(&group).await?;
    let (has, images) = (group.data(behind).position(), group.data(behind).installed());
    group.data(behind).damage(DAMAGED);
    group.net.heal();
    group
        .eventually("damaged images arrive until a good one does", || {
            let data = group.data(behind);
            data.damaged() == DAMAGED || data.position() != has || data.installed() > images
        })
        .await?;
    let damaged = group.data(behind).damaged();
    ensure!(damaged == DAMAGED, "{behind} went on after {damaged} of {DAMAGED} damaged images");
    group.converge().await?;
    ensure!(group.data(behind).installed() > images, "{behind} caught up without an image");
    Ok(())
}

/// One that is refused when it is to be installed leaves the member as it was. It gets another; an engine that ends there gets it
/// after a restart.
pub(super) async fn an_image_that_is_refused_leaves_all_as_it_was(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(COMPACT);
    let mut group = lab.found(3).await?;
    let behind = left_behind(&group).await?;
    let (has, images) = (group.data(behind).position(), group.data(behind).installed());
    group.data(behind).rot(1);
    group.net.heal();
    group.eventually("an image is refused", || group.data(behind).refused() > 0).await?;
    let (now, installed) = (group.data(behind).position(), group.data(behind).installed());
    ensure!(
        installed > images || now == has,
        "{behind} has {now:?} of an image that was refused, and had {has:?}"
    );
    group
        .eventually("another is installed, or the member ends", || {
            group.data(behind).installed() > images || group.status(behind).closed
        })
        .await?;
    if group.status(behind).closed {
        group.crash(behind);
        group.restart(behind).await?;
    }
    group.converge().await?;
    ensure!(group.data(behind).installed() > images, "{behind} caught up without an image");
    Ok(())
}

pub(super) async fn images_and_crashes_lose_nothing(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(COMPACT);
    let mut group = lab.found(3).await?;
    for round in 0..4u64 {
        let behind = left_behind(&group).await?;
        group.net.heal();
        // Into the transfer, or before or after it.
        tokio::time::sleep(group.timing().heartbeat * lab.below(8) as u32).await;
        match round {
            0 | 2 => {
                group.crash(behind);
                group.restart(behind).await?;
            }
            1 => {
                let leader = group.leader().await?;
                group.crash(leader);
                group.restart(leader).await?;
            }
            _ => all_crash(&mut group).await?,
        }
        group.converge().await?;
    }
    all_crash(&mut group).await?;
    group.converge().await
}

pub(super) async fn logs_stay_short(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(COMPACT);
    let group = lab.found(3).await?;
    for _ in 0..COMPACT * 5 {
        group.write().await?;
    }
    group.converge().await?;
    group
        .eventually("every log is short", || group.all().iter().all(|id| group.held(*id) <= COMPACT * 3))
        .await
}
