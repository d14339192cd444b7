//! A shard on its way, or seats that change hands, and a radiant that is killed at that very moment.

use std::time::Duration;

use rand::Rng;
use shardbearer_client::pb;
use shardbearer_client::pb::member_request::Action;
use shardbearer_client::pb::move_request::Kind;
use tokio::time::{Instant, sleep};

use super::super::desk::{Desk, ENDS_WITHIN, is_settled};
use super::super::harness::PATIENCE;
use super::faults::Scene;
use super::one_of;

/// Whom it hits.
#[derive(Clone, Copy, Debug)]
enum Part {
    Source,
    Destination,
    Controller,
}

/// In the order in which a migration goes through them.
const PHASES: [&str; 5] = ["planned", "copying", "frozen", "serving", "collected"];

/// How notes of it begin.
const KILLED: &str = "move: killed";

fn place(phase: &str) -> usize {
    PHASES.iter().position(|known| *known == phase).unwrap_or(PHASES.len())
}

/// Who leads the orders that a migration needs is killed in one of its phases: it ends all the same.
pub async fn killed_in_a_move(scene: &mut Scene<'_>) {
    let desk = Desk::at(&scene.stage.cluster).await;
    let aimed = seldom_hit(scene);
    let part = one_of(scene.dice, &[Part::Source, Part::Destination, Part::Controller]);
    let mut known = desk.status().await;
    let begun = desk.begun(scene.dice).await;
    let start = Instant::now();
    // It goes fast: whoever is asked may tell of it when it is over. The first phase is over before anybody has told
    // anything, so that what was known before has to do.
    let victim = loop {
        assert!(start.elapsed() < PATIENCE, "nobody tells who leads");
        if aimed == 0
            && let Some(found) = known.take().and_then(|status| victim(scene, &status, &begun, part))
        {
            break found;
        }
        let Some(status) = desk.status().await else { continue };
        let Some(record) = status.migration.as_ref().filter(|record| record.id >= begun.id) else { continue };
        let found = victim(scene, &status, record, part);
        if let Some(found) = found.filter(|_| record.id > begun.id || place(&record.phase) >= aimed) {
            break found;
        }
    };
    scene.pulse.avoided.lock().insert(victim);
    scene.stage.kill(victim);
    // Nobody else could take the next step at once, so that this is how far it was.
    let phase = match desk.status().await.and_then(|status| status.migration) {
        Some(record) if record.id == begun.id => record.phase,
        _ => "the next had begun".into(),
    };
    let called_off = scene.dice.random_ratio(1, 4) && desk.ask(Kind::Cancel(begun.id)).await.is_ok();
    scene.hold().await;
    scene.stage.start(victim);
    scene.stage.cluster.ready_within(4 * PATIENCE).await;
    desk.over(Some(begun.id), ENDS_WITHIN).await;
    let all = desk.moves_of(begun.shard).await;
    let ended = all.iter().find(|record| record.id == begun.id).expect("every move is remembered");
    let and = if called_off { ", called off" } else { "" };
    scene.tally.note(format!("{KILLED} the herald of the {part:?} when {phase}{and}: {}", ended.phase));
}

/// Of the phases before the last, one in which fewer were killed so far than in others.
fn seldom_hit(scene: &mut Scene<'_>) -> usize {
    let notes = &scene.tally.notes;
    let hits = |phase: &str| -> u64 {
        let (plain, called_off) = (format!(" when {phase}:"), format!(" when {phase}, "));
        let of =
            |note: &str| note.starts_with(KILLED) && (note.contains(&plain) || note.contains(&called_off));
        notes.iter().filter(|(note, _)| of(note)).map(|(_, count)| *count).sum()
    };
    let counts: Vec<u64> = PHASES[..4].iter().map(|phase| hits(phase)).collect();
    let least = counts.iter().min().copied();
    let seldom: Vec<usize> = (0..counts.len()).filter(|place| counts.get(*place).copied() == least).collect();
    one_of(scene.dice, &seldom)
}

fn victim(
    scene: &Scene<'_>,
    status: &pb::StatusResponse,
    record: &pb::Migration,
    part: Part,
) -> Option<usize> {
    let order = |id: u64| status.orders.iter().find(|order| order.id == id);
    let order = match part {
        Part::Source => order(record.from),
        Part::Destination => order(record.to),
        Part::Controller => status.orders.iter().find(|order| order.control),
    };
    let herald = order?.herald;
    index(scene, status, herald)
}

/// Of a radiant among those on the stage.
fn index(scene: &Scene<'_>, status: &pb::StatusResponse, id: u64) -> Option<usize> {
    let name = &status.radiants.iter().find(|radiant| radiant.id == id)?.name;
    scene.stage.cluster.radiants.iter().position(|radiant| radiant.name == *name)
}

/// One radiant gives its seats away, and while others take them one of all is killed. Then it takes seats again.
pub async fn killed_in_a_change_of_members(scene: &mut Scene<'_>, victim: usize) {
    let desk = Desk::at(&scene.stage.cluster).await;
    let seated = loop {
        let status = desk.status().await.unwrap_or_default();
        let seated: Vec<String> = status
            .radiants
            .into_iter()
            .filter(|radiant| !radiant.orders.is_empty())
            .map(|radiant| radiant.name)
            .collect();
        if !seated.is_empty() {
            break seated;
        }
    };
    let emptied = one_of(scene.dice, &seated);
    let start = Instant::now();
    while let Err(why) = desk.member(Action::Drain, &emptied).await {
        assert!(start.elapsed() < PATIENCE, "{emptied} cannot give its seats away: {why}");
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_millis(scene.dice.random_range(0..1500))).await;
    let own = scene.stage.cluster.radiants[victim].name == emptied;
    scene.pulse.avoided.lock().insert(victim);
    scene.stage.kill(victim);
    scene.hold().await;
    scene.stage.start(victim);
    scene.stage.cluster.ready_within(4 * PATIENCE).await;
    let whom = if own { "it" } else { "another" };
    scene.tally.note(format!("member: killed {whom} while one gave its seats away"));
    // Also back again, if it is late.
    let start = Instant::now();
    let moved = loop {
        let status = desk.status().await.unwrap_or_default();
        if is_settled(&status) {
            break true;
        }
        if start.elapsed() > PATIENCE {
            break false;
        }
        sleep(Duration::from_millis(50)).await;
    };
    assert!(moved, "the seats of {emptied} are not taken by others: {:#?}", desk.status().await);
    desk.settled(2 * PATIENCE).await;
}
