//! A control order that lost its majority for good goes on from the member that is left.

use std::path::Path;
use std::time::Duration;

use prost::Message;
use shardbearer::gateway::Overview;
use shardbearer::order::generation::{self, Beginning};
use shardbearer::storage;
use shardbearer_core::control::{Anew, Change, ControlCommand};
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::{Order, Topology};
use shardbearer_core::transport::{Channel, Frame};
use shardbearer_proto::pb::rebalance_request::Kind;
use shardbearer_proto::pb::{control_request, control_response};
use shardbearer_proto::{convert, pb};
use tokio::time::Instant;

use super::harness::*;
use super::reset::{KEYS, agree, all_there, configured, id, order, reset, with_keys};

const CONTROL: OrderId = OrderId::CONTROL;

fn generation(radiant: &Radiant) -> Epoch {
    radiant.running.cluster.map.topology().version().0
}

async fn system_reset(radiant: &Radiant, dry_run: bool, force: bool) -> pb::ResetResponse {
    let why = "the disks are lost".into();
    let request = pb::ResetRequest { order: 1, dry_run, force, why, system: true, ..Default::default() };
    radiant.running.cluster.reset(request).await.expect("answered")
}

/// Why a member refuses to be the survivor.
async fn tell(from: &Radiant, to: RadiantId, seen: pb::LogEndResponse) -> String {
    let told = pb::SurviveRequest { seen: Some(seen), ..pb::SurviveRequest::default() };
    let body = pb::ControlRequest { kind: Some(control_request::Kind::Survive(told)) }.encode_to_vec().into();
    let frame = Frame { channel: Channel::Control, body };
    let answer = from.running.cluster.transport.call(to, frame, PATIENCE).await.expect("answered");
    match pb::ControlResponse::decode(answer).expect("readable").kind {
        Some(control_response::Kind::Reset(said)) if !said.done => said.blockers.concat(),
        other => panic!("it was to be refused: {other:?}"),
    }
}

/// Whether some of the keys are with an order that still has most of its members; those are written.
async fn write_what_can_be(radiant: &Radiant, topology: &Topology, served: impl Fn(&Order) -> bool) -> usize {
    let mut written = 0;
    for key in (0..KEYS).map(|key| format!("key-{key}")) {
        let (_, owner) = radiant.door().locate("default", key.as_bytes()).expect("there is a table");
        if topology.order(owner).is_some_and(&served) {
            radiant.put(&key, "meanwhile").await.expect("its order has its majority");
            written += 1;
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_order_that_lost_its_majority_goes_on_from_the_member_that_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ports, radiants) = with_keys(folder.path()).await;
    let topology = radiants[0].running.cluster.map.topology();
    let seats = topology.orders[0].members.clone();
    assert_eq!(seats.len(), 3, "{topology:?}");
    let served = system_reset(&radiants[0], false, true).await;
    assert!(!served.done && served.blockers[0].contains("has its majority"), "{served:?}");
    let pointed = reset(&radiants[0], CONTROL, false, true).await;
    assert!(!pointed.done && pointed.blockers[0].contains("system reset"), "{pointed:?}");

    // Two of its three members go.
    let (survivor, away) = (seats[0], [seats[1], seats[2]]);
    let (gone, mut here): (Vec<_>, Vec<_>) = radiants.into_iter().partition(|one| away.contains(&id(one)));
    for radiant in gone {
        radiant.stop().await;
    }
    let epoch = here[0].running.cluster.map.epoch();
    let served = |order: &Order| order.members.iter().filter(|member| away.contains(member)).count() < 2;
    // It may be in the log of the member that is left, and then takes effect later.
    let weight = pb::Weight { order: topology.orders[1].id.0, weight: 2 };
    let change = pb::RebalanceRequest { kind: Some(Kind::Weight(weight)), ..pb::RebalanceRequest::default() };
    let (changed, written) = tokio::join!(
        here[0].running.cluster.rebalance(change),
        write_what_can_be(&here[1], &topology, served)
    );
    assert!(changed.is_err(), "nobody can decide it: {changed:?}");
    assert!(written > 0, "data go on: {topology:?}");

    let lost = topology.orders.iter().find(|order| !order.id.is_control()).expect("there are some").id;
    let request = pb::ResetRequest { order: lost.0, force: true, ..pb::ResetRequest::default() };
    let error = here[0].running.cluster.reset(request).await.expect_err("nobody can decide it").to_string();
    assert!(error.contains("`shardbearer system reset`"), "{error}");

    // The account changes nothing, and nor does asking without --force; whom one asks does not matter.
    let bystander = here.iter().find(|one| !seats.contains(&id(one))).expect("two of them have no seat");
    let dry = system_reset(bystander, true, true).await;
    assert!(!dry.done && dry.survivor == survivor.0 && dry.members.len() == 3, "{dry:?}");
    assert!(dry.dangers.iter().any(|why| why.contains("decisions may be lost")), "{dry:?}");
    let unforced = system_reset(bystander, false, false).await;
    assert!(!unforced.done && !unforced.dangers.is_empty() && unforced.blockers.is_empty(), "{unforced:?}");
    for radiant in &here {
        assert_eq!((radiant.running.cluster.map.epoch(), generation(radiant)), (epoch, Epoch(0)));
    }

    // A survivor that is told so believes nobody: it has what it was seen with, or more, and looks for itself.
    let survivors = here.iter().find(|one| id(one) == survivor).expect("it is there");
    let seen = pb::LogEndResponse { last_index: u64::MAX, last_term: u64::MAX, ..Default::default() };
    let why = tell(bystander, survivor, seen).await;
    assert!(why.contains("is not what it was"), "{why}");
    let seen = pb::LogEndResponse { generation: 7, ..Default::default() };
    let why = tell(bystander, survivor, seen).await;
    assert!(why.contains("is not what it was"), "{why}");
    let why = tell(survivors, id(bystander), pb::LogEndResponse::default()).await;
    assert!(why.contains("is not the member with the furthest log"), "{why}");

    let done = system_reset(bystander, false, true).await;
    assert!(done.done && done.epoch > epoch.0 + 1_000, "{done:?}");
    let begun = Epoch(done.epoch);
    let full =
        |order: &Order| order.members.len() == 3 && !order.members.iter().any(|one| away.contains(one));
    eventually("it is known, and has three members again", || {
        here.iter().all(|one| generation(one) == begun && full(&order(one, CONTROL)))
    })
    .await;
    let again = system_reset(bystander, false, true).await;
    assert!(!again.done && !again.blockers.is_empty(), "it has its majority: {again:?}");
    let history = bystander.running.cluster.epochs().await.expect("it serves");
    let record = history.iter().find(|record| record.epoch == done.epoch).expect("it is an epoch");
    assert_eq!((record.who.as_str(), record.why.as_str()), ("operator", "the disks are lost"));
    let story = bystander.running.cluster.timeline().await.expect("told");
    assert!(format!("{story:?}").contains("the disks are lost"), "{story:?}");

    // What it decides is carried out: orders that lost their majority with those two go on, too.
    for order in topology.orders.iter().filter(|order| !order.id.is_control() && !served(order)) {
        let done = reset(bystander, order.id, false, true).await;
        assert!(done.done, "{done:?}");
    }
    eventually("all orders have three members again", || {
        let topology = here[0].running.cluster.map.topology();
        topology.orders.iter().all(|order| full(order) && !order.is_changing())
    })
    .await;
    for key in 0..KEYS {
        here[key % here.len()].put(&format!("key-{key}"), "new").await.expect("written");
    }
    agree(&here, CONTROL).await;

    // Those two would be the majority of what it was.
    let number = |id: RadiantId| {
        let name = topology.radiant(id).expect("known").name.clone();
        name.trim_start_matches('r').parse::<usize>().expect("a number")
    };
    let back: Vec<_> = away.iter().map(|id| start(configured(folder.path(), &ports, number(*id)))).collect();
    for radiant in back {
        let radiant = radiant.open().await;
        assert_eq!((generation(&radiant), radiant.running.cluster.control().is_none()), (begun, true));
        all_there(&radiant, 0..KEYS, "new").await;
        here.push(radiant);
    }
    // And the survivor knows after a restart what it has begun.
    let at = here.iter().position(|radiant| id(radiant) == survivor).expect("it is there");
    here.remove(at).stop().await;
    here.push(start(configured(folder.path(), &ports, number(survivor))).open().await);
    for order in here[0].running.cluster.map.topology().orders.clone() {
        agree(&here, order.id).await;
    }
    assert!(here.iter().all(|radiant| generation(radiant) == begun));
    for radiant in here {
        radiant.stop().await;
    }
}

/// A survivor that crashes after it noted what is to begin, or before anybody heard that it has begun, finishes it by itself. And
/// where those who were given up met in its absence, and went on deciding, what they decided is dropped once they meet it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_survivor_was_told_to_begin_is_begun_after_a_crash() {
    let (folder, mut radiants) = cluster(3).await;
    let ports = free_ports(3);
    let restart = |i: usize| start(config(folder.path(), &format!("r{i}"), ports[i], &ports, 3));
    radiants[0].put("key", "value").await.expect("written");
    for radiant in &radiants {
        // An order of which it knows that it is founded can be gone on from.
        eventually("it follows", || radiant.running.cluster.map.epoch() >= Epoch(1)).await;
    }
    agree(&radiants, CONTROL).await;
    let known = radiants[0].running.cluster.map.topology().as_ref().clone();
    let survivor = id(&radiants[0]);
    for radiant in radiants.drain(..) {
        radiant.stop().await;
    }
    let (begun, why) = (Epoch(2_000 + survivor.0), "the others are lost".to_owned());
    let anew = Anew { known, migration: None, generation: begun, survivor };
    let change = Change::Anew(anew.into());
    let command = ControlCommand { who: "operator".into(), why: why.clone(), at_ms: 1, change };
    let first = convert::control_command_to_bytes(&command);
    let beginning = Beginning { from: Epoch(0), generation: begun, first };
    let data = folder.path().join("r0/data");
    with_rows(&data, |rows| beginning.note(rows, CONTROL).expect("noted"));
    let configuration = folder.path().join("r0/cluster");
    let before = std::fs::read(&configuration).expect("it is there");

    for crash in ["right after it was noted", "before the configuration was stored"] {
        std::fs::write(&configuration, &before).expect("as it was");
        let radiant = restart(0).open().await;
        assert_eq!(generation(&radiant), begun, "{crash}");
        let history = radiant.running.cluster.epochs().await.expect("nobody else is needed");
        let record = history.iter().find(|record| record.epoch == begun.0).expect("it is an epoch");
        assert_eq!((record.why.as_str(), order(&radiant, CONTROL).members), (why.as_str(), vec![survivor]));
        eventually("it leads, and is said to lack two replicas", || {
            let status = radiant.running.cluster.status();
            let control = status.orders.iter().find(|order| order.control).expect("there is one");
            let said = |problem: &String| problem.contains("order 1 has 1 of 3 replicas");
            (control.state.as_str(), control.replicas_wanted) == ("degraded", 3)
                && status.problems.iter().any(said)
        })
        .await;
        radiant.stop().await;
    }
    with_rows(&data, |rows| {
        assert_eq!(generation::of(rows.view().as_ref(), CONTROL), Ok(begun));
        assert_eq!(Beginning::of(rows.view().as_ref(), CONTROL), Ok(None));
    });

    let (first, second) = (restart(1), restart(2));
    let mut radiants = vec![first.open().await, second.open().await];
    let drain = pb::MemberRequest {
        action: pb::member_request::Action::Drain.into(),
        radiant: "r0".into(),
        force: true,
        ..pb::MemberRequest::default()
    };
    // They also decide where they can be reached now; what was looked at before that is looked at again.
    let start = Instant::now();
    let drained = loop {
        let answer = radiants[0].running.cluster.member(drain.clone()).await.expect("they are a majority");
        if answer.done {
            break answer;
        }
        assert!(start.elapsed() < PATIENCE, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(drained.epoch < begun.0, "{drained:?}");
    assert!(radiants.iter().all(|radiant| generation(radiant) == Epoch(0)));
    radiants.push(restart(0).open().await);
    eventually("all three are members of what the survivor began", || {
        radiants.iter().all(|one| generation(one) == begun && order(one, CONTROL).members.len() == 3)
    })
    .await;
    agree(&radiants, CONTROL).await;
    let history = radiants[0].running.cluster.epochs().await.expect("it serves");
    assert!(history.iter().all(|record| record.epoch != drained.epoch), "{history:?}");
    let topology = radiants[1].running.cluster.map.topology();
    assert_eq!(topology.radiant(survivor).expect("known").standing, Standing::Active);
    eventually("what it is not told by those who were given up, it is told again", || {
        let topology = radiants[2].running.cluster.map.topology();
        let known = |radiant: &Radiant| topology.radiant(id(radiant)).map(|known| known.doors.clone());
        radiants.iter().all(|radiant| known(radiant).as_ref() == Some(&radiant.running.cluster.doors))
    })
    .await;
    for radiant in radiants {
        radiant.stop().await;
    }
}

fn with_rows(folder: &Path, work: impl FnOnce(&dyn shardbearer_core::storage::StorageEngine)) {
    let rows = storage::open(storage::ENGINES[0], folder, 8 << 20).expect("nobody else has it open");
    work(rows.as_ref());
}
