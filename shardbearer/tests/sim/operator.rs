//! An operator who is never content: at random moments, also in the middle of faults, shards are moved and split, moves are paused,
//! called off and undone, radiants are drained and given seats again, leave or are replaced by others, and whoever arrives is
//! let in. At the address of one that has left another one arrives, with an empty disk.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use shardbearer::cluster::Cluster as Overview;
use shardbearer::gateway::Overview as _;
use shardbearer_core::ids::{Epoch, OrderId};
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::{Order, Radiant};
use shardbearer_proto::pb;
use shardbearer_proto::pb::member_request::Action;
use shardbearer_proto::pb::move_request::{Kind, Plan, Split};
use shardbearer_state::controller;
use tokio::sync::oneshot;

use super::cluster::{Cluster, RADIANTS, REPLICATION, SHARDS};
use super::machine::Machine;

/// The machine that is a spare until it is let in.
pub const SPARE: usize = RADIANTS - 1;

/// Longer than one request is tried.
const PATIENCE: Duration = Duration::from_secs(9);

/// Something that is asked for.
enum Wish {
    Move(pb::MoveRequest),
    Member(pb::MemberRequest),
}

/// Asks for one thing after another until the faults are over.
pub async fn operator(cluster: Arc<Cluster>, until_ms: u64) {
    let mut rng = cluster.universe.rng("operator");
    while cluster.universe.now_ms() < until_ms {
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..900))).await;
        renew(&cluster).await;
        let (wish, at) = (draw(&cluster, &mut rng), rng.random_range(0..RADIANTS));
        let begins = |kind: &Kind| matches!(kind, Kind::Plan(_) | Kind::Split(_));
        let plans = matches!(&wish, Wish::Move(request) if request.kind.as_ref().is_some_and(begins));
        if !(ask(&cluster, at, wish).await && plans) {
            continue;
        }
        match rng.random_range(0..10) {
            0..4 => think_again(&cluster, &mut rng, at).await,
            4..7 => take_back(&cluster, at).await,
            _ => {}
        }
    }
}

/// Undoes a move as soon as it is over: at a random moment another one is mostly under way.
async fn take_back(cluster: &Cluster, at: usize) {
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if ask(cluster, at, Wish::Move(moving(Kind::Undo(true)))).await {
            return;
        }
    }
}

/// Halts a move that has just begun, since it is soon through; and then it goes on, or is called off.
async fn think_again(cluster: &Cluster, rng: &mut StdRng, at: usize) {
    ask(cluster, at, Wish::Move(moving(Kind::Pause(0)))).await;
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..600))).await;
    let kind = if rng.random_bool(0.5) { Kind::Resume(0) } else { Kind::Cancel(0) };
    ask(cluster, rng.random_range(0..RADIANTS), Wish::Move(moving(kind))).await;
}

/// Everybody is to have seats again, and nothing is to stay paused; returns when the cluster has come to rest.
pub async fn rest(cluster: &Cluster) {
    const AGAIN: Duration = Duration::from_millis(200);
    while !at_rest(cluster) {
        renew(cluster).await;
        for number in idle(cluster) {
            ask(cluster, number, Wish::Member(member(Action::Undrain, number))).await;
        }
        ask(cluster, 0, Wish::Move(moving(Kind::Resume(0)))).await;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Where radiants have left, others arrive.
async fn renew(cluster: &Cluster) {
    for machine in cluster.machines.iter().filter(|machine| machine.has_left()) {
        cluster.universe.trace.cover("another arrived where one had left");
        machine.renew().await;
    }
}

/// Radiants that take no seats, as the first machine that runs knows it, save those that can leave as they were told to.
fn idle(cluster: &Cluster) -> Vec<usize> {
    let Some((running, _)) = cluster.machines.iter().find_map(Machine::running) else { return Vec::new() };
    let topology = running.cluster.map.topology();
    let takes = |to| topology.radiant(to).is_some_and(|radiant| is_up_for_seats(radiant.standing));
    let leaves = |radiant: &&Radiant| match radiant.standing {
        Standing::Leaving { to } => to.is_none() || takes(to),
        Standing::Active | Standing::Spare | Standing::Draining { .. } | Standing::Gone => false,
    };
    let leaving = topology.radiants.iter().filter(leaves);
    // More cannot, where as many seats as there are have to go to those who stay.
    let leaving: Vec<_> = leaving.map(|radiant| radiant.id).take(RADIANTS - REPLICATION).collect();
    let fine = |number: &usize| {
        let name = format!("r{number}");
        let radiants = topology.radiants.iter().filter(|radiant| radiant.name == name);
        radiants.into_iter().any(|one| one.standing == Standing::Active || leaving.contains(&one.id))
    };
    (0..RADIANTS).filter(|number| !fine(number)).collect()
}

fn is_up_for_seats(standing: Standing) -> bool {
    matches!(standing, Standing::Active | Standing::Spare)
}

/// What the control order has decided last, as far as any of its members has it.
fn decided(cluster: &Cluster) -> Option<(Epoch, Epoch)> {
    let running = cluster.machines.iter().filter_map(Machine::running);
    let seats = running.filter_map(|(running, _)| running.cluster.control());
    let known = seats.filter_map(|seat| controller::topology(seat.applier.view().as_ref()).ok()?);
    known.map(|topology| topology.version()).max()
}

/// Whether no shard is on its way and no order's members are being changed, as all see it who have heard of everything.
fn at_rest(cluster: &Cluster) -> bool {
    let decided = decided(cluster);
    let mut running = cluster.machines.iter().map(|machine| machine.running());
    running.all(|running| {
        let Some((running, _)) = running else { return false };
        let topology = running.cluster.map.topology();
        if decided.is_none_or(|decided| topology.version() < decided) {
            return false;
        }
        let still = |order: &Order| order.roster.learners.is_empty();
        let stays = |radiant: &Radiant| matches!(radiant.standing, Standing::Active | Standing::Gone);
        let over = running.cluster.migrations.last().is_none_or(|last| last.phase.is_over());
        over && topology.orders.iter().all(still) && topology.radiants.iter().all(stays)
    }) && idle(cluster).is_empty()
}

/// What is not at rest, as each machine sees it.
pub fn unrest(cluster: &Cluster) -> String {
    let running = cluster.machines.iter().filter_map(|machine| Some((machine, machine.running()?.0)));
    let seen = running.map(|(machine, running)| {
        let topology = running.cluster.map.topology();
        let learners = topology.orders.iter().filter(|order| !order.roster.learners.is_empty());
        let learners: Vec<_> = learners.map(|order| (order.id, order.roster.clone())).collect();
        let migration = running.cluster.migrations.last();
        let blockers = running.cluster.blockers.lock().clone();
        let scherald = running.cluster.leads.herald(OrderId::CONTROL);
        format!("{}: scherald {scherald:?}, last move {migration:?}, learners {learners:?}, in the way {blockers:?}", machine.name)
    });
    seen.collect::<Vec<_>>().join("\n")
}

fn moving(kind: Kind) -> pb::MoveRequest {
    pb::MoveRequest { kind: Some(kind), ..pb::MoveRequest::default() }
}

fn member(action: Action, number: usize) -> pb::MemberRequest {
    let radiant = format!("r{number}");
    pb::MemberRequest { action: action.into(), radiant, who: "operator".into(), ..Default::default() }
}

fn draw(cluster: &Cluster, rng: &mut StdRng) -> Wish {
    let orders: Vec<u64> = cluster.data_orders().map(|order| order.0).collect();
    let (one, other) = (rng.random_range(0..RADIANTS), rng.random_range(1..RADIANTS));
    match rng.random_range(0..17) {
        // The order is left open as often as not.
        15..17 => {
            let to = if rng.random() { 0 } else { orders[rng.random_range(0..orders.len())] };
            Wish::Move(moving(Kind::Split(Split { shard: drawn_shard(cluster, rng), to, at: 0 })))
        }
        0..5 => {
            let shard = drawn_shard(cluster, rng);
            let to = orders[rng.random_range(0..orders.len())];
            Wish::Move(moving(Kind::Plan(Plan { shard, to })))
        }
        5 => Wish::Move(moving(Kind::Pause(0))),
        6 => Wish::Move(moving(Kind::Resume(0))),
        7 => Wish::Move(moving(Kind::Cancel(0))),
        8 => Wish::Move(moving(Kind::Undo(true))),
        9 => Wish::Member(member(Action::Join, SPARE)),
        10 => Wish::Member(member(Action::Join, one)),
        11 => Wish::Member(member(Action::Drain, one)),
        12 => Wish::Member(member(Action::Undrain, one)),
        13 => Wish::Member(member(Action::Leave, one)),
        _ => {
            let by = format!("r{}", (one + other) % RADIANTS);
            Wish::Member(pb::MemberRequest { by, ..member(Action::Replace, one) })
        }
    }
}

/// A shard, also of those that were split off another.
fn drawn_shard(cluster: &Cluster, rng: &mut StdRng) -> u64 {
    let running = cluster.machines.iter().find_map(Machine::running);
    let known = running.and_then(|(running, _)| {
        let shards = &running.cluster.map.topology().tables.first()?.shards.clone();
        shards.iter().map(|shard| shard.id.0).max()
    });
    // They are counted from 1.
    rng.random_range(1..=known.unwrap_or(SHARDS as u64))
}

/// Asks one radiant; whether it is so now.
async fn ask(cluster: &Cluster, at: usize, wish: Wish) -> bool {
    let Some((running, life)) = cluster.machines[at].running() else { return false };
    let (sender, answer) = oneshot::channel();
    // In the radiant's life, as its gateways' tasks are.
    life.spawn("operator", async move {
        let _ = sender.send(carry_out(&running.cluster, wish).await);
    });
    let said = tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok);
    cluster.universe.event(format_args!("the operator is told: {said:?}"));
    let Some(Ok(what)) = said else { return false };
    cluster.universe.trace.cover(what);
    true
}

/// What was agreed to, or why it was not.
async fn carry_out(overview: &Overview, wish: Wish) -> Result<&'static str, String> {
    let (done, why, what) = match wish {
        Wish::Move(request) => {
            let what = match &request.kind {
                Some(Kind::Plan(_)) => "shard moved by the operator",
                Some(Kind::Split(_)) => "shard split by the operator",
                Some(Kind::Undo(_)) => "move undone",
                Some(Kind::Cancel(_)) => "move called off",
                _ => "move paused or resumed",
            };
            let answer = overview.migrate(request).await.map_err(|error| error.to_string())?;
            (answer.refused.is_empty(), answer.refused, what)
        }
        Wish::Member(request) => {
            let what = match request.action() {
                Action::Join => "spare let in",
                Action::Drain => "radiant drained",
                Action::Leave => "radiant told to leave",
                Action::Replace => "radiant replaced",
                Action::Undrain | Action::Unspecified => "radiant undrained",
            };
            let answer = overview.member(request).await.map_err(|error| error.to_string())?;
            (answer.done, answer.blockers.join("; "), what)
        }
    };
    if done { Ok(what) } else { Err(why) }
}
