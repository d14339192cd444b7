//! One list after the other, while clients ask everybody and the network is foul.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use shardbearer_core::ids::RadiantId;

use super::super::{Broken, ensure};
use super::Lab;
use super::controller::Controller;
use super::excluded::{ended, judged, written};
use super::group::{Group, ids};
use super::history::History;
use super::net::Weather;

/// Members of the orders here.
const MEMBERS: u64 = 3;

/// How a list becomes another.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Another leads, with the same members.
    Turned,
    /// One is excluded that all can reach.
    Excluded,
    /// One is excluded that is cut off.
    CutOff,
    /// One is excluded that stands still.
    Still,
}

const CHANGES: [Change; 4] = [Change::Turned, Change::Excluded, Change::CutOff, Change::Still];

/// The members with another one in front.
fn turned(lab: &Lab<'_>, controller: &Controller) -> Vec<RadiantId> {
    let mut members = controller.members();
    let by = 1 + lab.below(members.len() as u64 - 1) as usize;
    members.rotate_left(by);
    members
}

/// Decides on another list. Mostly one member is told, who tells the others. Returns who is excluded.
async fn change(
    lab: &Lab<'_>,
    group: &Group<'_>,
    controller: &mut Controller,
    change: Change,
) -> Result<Option<RadiantId>, Broken> {
    let mut members = turned(lab, controller);
    let out = match change {
        Change::Turned => None,
        Change::Excluded | Change::CutOff | Change::Still => members.pop(),
    };
    if let Some(out) = out {
        match change {
            Change::CutOff => group.net.part(&[out], &group.all()),
            Change::Still => group.pause(out),
            Change::Turned | Change::Excluded => {}
        }
    }
    let told = if lab.below(3) == 0 { members.len() } else { 1 };
    controller.exclude_all_but(group, &members, members.get(..told).unwrap_or(&members)).await?;
    Ok(out)
}

/// Whoever was excluded hears again, and is a member again.
async fn undo(group: &Group<'_>, controller: &mut Controller, out: RadiantId) -> Result<(), Broken> {
    group.net.heal();
    group.resume(out);
    // It does not know yet.
    tokio::time::sleep(group.timing().heartbeat).await;
    controller.bring_back(group, out).await
}

pub(super) async fn reads_at_every_member_through_many_lists_are_linearizable(
    lab: &Lab<'_>,
) -> Result<(), Broken> {
    let group = lab.found(MEMBERS).await?;
    let (mut controller, history) = (Controller::of(MEMBERS), Arc::<History>::default());
    group.net.weather(Weather::FOUL);
    let open = RefCell::new(Vec::new());
    let ask = async {
        loop {
            for id in ids(MEMBERS) {
                open.borrow_mut().push(history.read(&group, id));
                if group.status(id).leading {
                    open.borrow_mut().push(history.write(&group, id));
                }
            }
            open.borrow_mut().retain(|asked| !asked.is_finished());
            tokio::time::sleep(group.timing().heartbeat / 2).await;
        }
    };
    let lists = async {
        for round in 0..3 * CHANGES.len() {
            controller.settled(&group).await?;
            let out = change(lab, &group, &mut controller, CHANGES[round % CHANGES.len()]).await?;
            let members = controller.members();
            for _ in 0..3 {
                written(&group, &history, &members).await?;
            }
            if let Some(out) = out {
                undo(&group, &mut controller, out).await?;
            }
        }
        controller.settled(&group).await
    };
    tokio::select! {
        never = ask => never,
        done = lists => done?,
    }
    ended(&mut open.take()).await?;
    ensure!(history.reads_since(0, &ids(MEMBERS)) > 0, "nobody answers a read");
    group.net.weather(Weather::FAIR);
    judged(&group, &history).await
}

pub(super) async fn writes_on_their_way_when_the_list_changes_are_neither_lost_nor_doubled(
    lab: &Lab<'_>,
) -> Result<(), Broken> {
    let mut group = lab.found(MEMBERS).await?;
    let (mut controller, history) = (Controller::of(MEMBERS), Arc::<History>::default());
    group.net.weather(Weather::FOUL);
    for round in 0..4 * (CHANGES.len() + 1) {
        controller.settled(&group).await?;
        group.leader_of(&controller.members()).await?;
        let mut open = Vec::new();
        for id in ids(MEMBERS).into_iter().cycle().take(15) {
            open.push(history.write(&group, id));
        }
        // Until some of the members have them, or all, on disk or not.
        tokio::time::sleep(Duration::from_micros(lab.below(60_000))).await;
        let out = match CHANGES.get(round % (CHANGES.len() + 1)) {
            Some(kind) => change(lab, &group, &mut controller, *kind).await?,
            None => {
                let members = turned(lab, &controller);
                let (down, rest) = (members[0], &members[1..]);
                group.crash(down);
                controller.exclude_all_but(&group, rest, rest).await?;
                written(&group, &history, rest).await?;
                group.restart(down).await?;
                Some(down)
            }
        };
        for id in ids(MEMBERS) {
            open.push(history.write(&group, id));
        }
        written(&group, &history, &controller.members()).await?;
        ended(&mut open).await?;
        if let Some(out) = out {
            undo(&group, &mut controller, out).await?;
        }
        group.check()?;
    }
    group.net.weather(Weather::FAIR);
    controller.settled(&group).await?;
    judged(&group, &history).await
}
