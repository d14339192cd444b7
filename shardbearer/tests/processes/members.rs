//! Members of orders change under load, by themselves and by hand, while processes are killed: nothing acknowledged is lost.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::harness::{Cluster, PATIENCE, http_get};
use super::load::{Clients, Load, check};
use super::resp::{Connection, Reply};

const CLIENTS: Clients = Clients { resp: 12, native: 4 };
/// Acknowledged writes between two events.
const SOME: u64 = 150;

/// Long enough for several elections.
const ELECTIONS: Duration = Duration::from_secs(2);

/// Waits until a part of the status is as radiant `at` wants to see it.
async fn part(cluster: &Cluster, at: usize, name: &str, what: &str, holds: impl Fn(&[Value]) -> bool) {
    let start = Instant::now();
    loop {
        let status = cluster.radiants[at].status().await.unwrap_or_default();
        if status[name].as_array().is_some_and(|all| holds(all)) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not in time: {what}: {status:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn orders(cluster: &Cluster, at: usize, what: &str, holds: impl Fn(&Value) -> bool) {
    part(cluster, at, "orders", what, |all| !all.is_empty() && all.iter().all(&holds)).await;
}

async fn radiants(cluster: &Cluster, at: usize, what: &str, holds: impl Fn(&[Value]) -> bool) {
    part(cluster, at, "radiants", what, holds).await;
}

/// Exit code and answer of a command.
fn json(cluster: &Cluster, args: &[&str]) -> (i32, Value) {
    let said = cluster.run(&[&["--output", "json"], args].concat());
    (said.status.code().unwrap_or(-1), serde_json::from_slice(&said.stdout).unwrap_or_default())
}

fn has_members(order: &Value, count: usize) -> bool {
    order["members"].as_array().is_some_and(|members| members.len() == count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_three_survives_the_kill_of_each_in_turn() {
    let mut cluster = Cluster::prepared(3).await;
    for radiant in &mut cluster.radiants {
        radiant.settings.extend(["consensus.engine=chain".into(), "membership.suspicion_ms=1000".into()]);
    }
    cluster.start_all();
    cluster.ready().await;
    let load = Load::start(&cluster, CLIENTS, "chain").await;
    for round in 0..3 {
        load.progress(SOME).await;
        cluster.radiants[round].kill();
        load.progress(SOME).await;
        cluster.radiants[round].start();
        orders(&cluster, (round + 1) % 3, "it is taken back", |order| {
            order["state"] == "ok" && has_members(order, 3)
        })
        .await;
    }
    cluster.ready().await;
    let history = load.end().await;
    check(&cluster, &history).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_replaces_a_killed_radiant_and_then_another_may_fail() {
    let mut cluster = Cluster::prepared(4).await;
    for radiant in &mut cluster.radiants {
        let grace = "membership.down_grace_ms=2000".into();
        radiant.settings.extend(["bootstrap.expect=3".into(), "bootstrap.orders=1".into(), grace]);
    }
    for founder in 0..3 {
        cluster.radiants[founder].start();
    }
    cluster.ready().await;
    cluster.radiants[3].start();
    cluster.ready().await;
    radiants(&cluster, 0, "all are heard", |all| {
        all.len() == 4 && all.iter().all(|radiant| radiant["state"] == "up")
    })
    .await;
    let (code, dry) = json(&cluster, &["radiant", "replace", "r2", "r4", "--dry-run"]);
    assert_eq!((code, &dry["done"]), (0, &Value::Bool(false)), "{dry}");
    assert_eq!(dry["steps"].as_array().map(Vec::len), Some(3), "two seats, and then it is gone: {dry}");

    let load = Load::start(&cluster, CLIENTS, "spare").await;
    load.progress(SOME).await;
    cluster.radiants[1].kill();
    let spare = |order: &Value| {
        let members = order["members"].as_array().cloned().unwrap_or_default();
        order["state"] == "ok" && members.len() == 3 && members.contains(&Value::from(4))
    };
    orders(&cluster, 0, "the spare has the seats of the dead", spare).await;
    // The spare counts now: without it there would be no majority.
    cluster.radiants[0].kill();
    load.progress(SOME).await;
    radiants(&cluster, 2, "its silence is noticed", |all| {
        all.iter().any(|radiant| radiant["id"] == 1 && radiant["state"] == "silent")
    })
    .await;
    let (code, refused) = json(&cluster, &["radiant", "leave", "r3"]);
    assert_eq!(code, 1, "it would cost the quorum: {refused}");
    let blockers = refused["blockers"].as_array().cloned().unwrap_or_default();
    let quorum = |why: &Value| why.as_str().is_some_and(|why| why.contains("which is no majority"));
    assert!(blockers.iter().any(quorum), "{refused}");
    for back in [0, 1] {
        cluster.radiants[back].start();
    }
    cluster.ready().await;
    load.progress(SOME).await;
    let history = load.end().await;
    check(&cluster, &history).await;
}

/// Its log and its votes are gone with its disk: under its old id it could vote twice in one term, or make a majority
/// of an entry that it does not have. So it is another radiant now, and has to say so by another name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_radiant_neither_votes_nor_comes_back_under_its_old_name() {
    let mut cluster = Cluster::started(3).await;
    let load = Load::start(&cluster, CLIENTS, "wiped").await;
    load.progress(SOME).await;
    cluster.radiants[2].kill();
    load.progress(SOME).await;
    std::fs::remove_dir_all(&cluster.radiants[2].folder).unwrap();

    let said = cluster.radiants[2].log().len();
    cluster.radiants[2].start();
    let status = cluster.radiants[2].ended().await;
    assert_eq!(status.code(), Some(1), "it gives up in order");
    let log = cluster.radiants[2].log();
    let last = log[said..].lines().last().unwrap_or_default();
    assert!(last.contains("has a radiant \"r3\" with data directory"), "{last}");
    assert!(last.contains("or with an empty one under another [radiant] name"), "{last}");

    // Under another name it is at the address of what it was, where the others look for a member: one that has its disk
    // and one that has not are no majority.
    cluster.radiants[1].kill();
    std::fs::remove_dir_all(&cluster.radiants[2].folder).unwrap();
    cluster.radiants[2].settings.push("radiant.name=r4".into());
    cluster.radiants[2].start();
    let start = Instant::now();
    while http_get(&cluster.radiants[2].http, "/readyz").await.is_none() {
        assert!(start.elapsed() < PATIENCE, "it does not answer");
    }
    let mut door = Connection::open(&cluster.radiants[0].resp).await.unwrap();
    let reply = door.call_within(&["SET", "alone", "1"], ELECTIONS).await;
    assert!(matches!(reply, Err(_) | Ok(Reply::Error(_))), "acknowledged by one of three: {reply:?}");

    // As soon as there is a majority it is let in, and can take the seats.
    cluster.radiants[1].start();
    cluster.ready().await;
    radiants(&cluster, 0, "the new one is heard", |all| {
        all.iter().any(|radiant| radiant["name"] == "r4" && radiant["state"] == "up")
    })
    .await;
    let start = Instant::now();
    loop {
        let (code, answer) = json(&cluster, &["radiant", "replace", "r3", "r4"]);
        if code == 0 {
            break;
        }
        // The scherald may have heard less than the radiant that was asked above.
        assert!(start.elapsed() < PATIENCE, "{answer}");
    }
    orders(&cluster, 0, "the new one has the seats of the wiped", |order| {
        let members = order["members"].as_array().cloned().unwrap_or_default();
        order["state"] == "ok" && members.len() == 3 && members.contains(&Value::from(4))
    })
    .await;
    let history = load.end().await;
    check(&cluster, &history).await;
}
