//! The past: what it was, what differs, the way back, and the story that the radiants tell of it.

use serde_json::Value;
use tokio::time::Instant;

use super::harness::{Cluster, PATIENCE, http_get};

/// Exit code and answer of a command, and what it says on standard error.
fn json(cluster: &Cluster, args: &[&str]) -> (i32, Value, String) {
    let said = cluster.run(&[&["--output", "json"], args].concat());
    let answer = serde_json::from_slice(&said.stdout).unwrap_or_default();
    (said.status.code().unwrap_or(-1), answer, String::from_utf8_lossy(&said.stderr).into_owned())
}

/// The answer of one that succeeds.
#[track_caller]
fn answer(cluster: &Cluster, args: &[&str]) -> Value {
    let (code, answer, said) = json(cluster, args);
    assert_eq!(code, 0, "{args:?}: {answer} {said}");
    answer
}

/// What a command that is refused says.
#[track_caller]
fn refused(cluster: &Cluster, args: &[&str]) -> String {
    let said = cluster.run(args);
    assert_eq!(said.status.code(), Some(1), "{args:?}");
    String::from_utf8(said.stderr).unwrap()
}

async fn get(cluster: &Cluster, path: &str) -> Value {
    let (code, body) = http_get(&cluster.radiants[1].http, path).await.unwrap();
    assert_eq!(code, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Waits until the last migration is over; its record.
async fn moved(cluster: &Cluster, shard: u64, to: u64) -> Value {
    let start = Instant::now();
    loop {
        let record = get(cluster, "/v1/migration").await;
        if record["phase"] == "collected" && record["shard"] == shard && record["to"] == to {
            return record;
        }
        assert!(start.elapsed() < PATIENCE, "shard {shard} is not with order {to}: {record:#}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn position(events: &[Value], what: &str) -> usize {
    let says = |event: &Value| event["text"].as_str().is_some_and(|text| text.contains(what));
    events.iter().position(says).unwrap_or_else(|| panic!("nobody remembers {what:?}: {events:#?}"))
}

/// A weight, its difference, and the way back by a new epoch.
fn policy_goes_back(cluster: &Cluster, order: u64) {
    let order = order.to_string();
    let weighed = answer(cluster, &["order", "weight", &order, "--to", "5"])["epoch"].as_u64().unwrap();
    let (before, weighed) = ((weighed - 1).to_string(), weighed.to_string());
    let diff = answer(cluster, &["epochs", "diff", &before, &weighed]);
    let [one] = diff.as_array().unwrap().as_slice() else { panic!("{diff}") };
    assert_eq!((&one["part"], &one["before"], &one["after"]), (&"weight".into(), &"1".into(), &"5".into()));
    let dry = answer(cluster, &["epochs", "revert", &weighed, "--dry-run"]);
    assert_eq!(
        (&dry["done"], &dry["steps"][0]),
        (&false.into(), &format!("order {order} has weight 1").into())
    );
    assert_eq!(answer(cluster, &["epochs", "revert", &weighed])["done"], true);
    let epochs = answer(cluster, &["epochs"]);
    let why = epochs.as_array().unwrap().last().unwrap()["why"].as_str().unwrap();
    assert!(why.contains(&format!("revert epoch {weighed}")), "{why}");
    assert!(refused(cluster, &["epochs", "revert", &weighed]).contains("is 1 already"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_is_there_to_be_asked_and_one_step_of_it_to_be_taken_back() {
    let mut cluster = Cluster::started(3).await;
    let owner = answer(&cluster, &["epochs", "--at", "1", "key", "user:1"]);
    let (shard, home) = (owner["shard"].as_u64().unwrap(), owner["order"].as_u64().unwrap());
    assert_eq!(owner["members"].as_array().map(Vec::len), Some(3), "{owner}");
    let there = if home == 2 { 3 } else { 2 };
    let (shard_word, there_word) = (shard.to_string(), there.to_string());
    answer(&cluster, &["shard", "move", &shard_word, "--to", &there_word]);
    let record = moved(&cluster, shard, there).await;
    let (begun, ended) = (record["id"].to_string(), record["ended"].to_string());

    let diff = answer(&cluster, &["epochs", "diff", "1", &ended]);
    let found = diff.as_array().unwrap().iter().find(|found| found["kind"] == "shard").unwrap();
    assert_eq!(
        (found["id"].as_u64(), &found["after"]),
        (Some(shard), &Value::from(there_word.as_str())),
        "{diff}"
    );
    assert_eq!(answer(&cluster, &["epochs", "key", "user:1"])["order"], there);
    assert_eq!(
        answer(&cluster, &["epochs", "--at", &begun, "key", "user:1"])["order"],
        home,
        "it only began"
    );
    let whole = answer(&cluster, &["epochs", "--at", &ended]);
    assert_eq!(whole, get(&cluster, &format!("/v1/epochs/{ended}")).await, "both doors say the same");
    assert_eq!(whole["orders"].as_array().map(Vec::len), Some(4), "{whole}");
    assert_eq!(get(&cluster, "/v1/epochs").await, answer(&cluster, &["epochs"]));

    assert!(refused(&cluster, &["epochs", "revert", "1"]).contains("founded the cluster"));
    assert!(refused(&cluster, &["epochs", "revert", "9999"]).contains("there is no epoch 9999"));
    assert!(refused(&cluster, &["epochs", "revert", &begun]).contains("`shard cancel`"));
    let dry = answer(&cluster, &["epochs", "revert", &ended, "--dry-run"]);
    assert_eq!((&dry["done"], dry["steps"].as_array().map(Vec::len)), (&false.into(), Some(1)), "{dry}");
    assert_eq!(answer(&cluster, &["epochs", "revert", &ended])["done"], true);
    let back = moved(&cluster, shard, home).await;
    assert!(back["why"].as_str().is_some_and(|why| why.contains(&format!("revert epoch {ended}"))), "{back}");
    assert!(refused(&cluster, &["epochs", "revert", &ended]).contains("already"));

    policy_goes_back(&cluster, there);

    let story = answer(&cluster, &["timeline"]);
    let events = story["events"].as_array().unwrap();
    assert_eq!(events[0]["text"].as_str().map(|text| text.starts_with("epoch 1: ")), Some(true), "{story:#}");
    let steps = [
        position(events, "becomes the scherald"),
        position(events, &format!("epoch {begun}: ")),
        position(events, &format!("move {begun}: shard {shard} from order {home} to order {there}: serving")),
        position(events, &format!("epoch {}: ", back["id"])),
        position(events, &format!("epoch {}: ", back["ended"])),
    ];
    assert!(steps.is_sorted(), "{steps:?}: {story:#}");
    assert_eq!(story["missing"], Value::Array(Vec::new()));

    cluster.radiants[2].kill();
    let start = Instant::now();
    let told = loop {
        let told = answer(&cluster, &["timeline"]);
        let events = told["events"].as_array().unwrap();
        if events.iter().any(|event| event["kind"] == "silent" && event["other"].as_u64().is_some()) {
            break told;
        }
        assert!(start.elapsed() < PATIENCE, "nobody misses it: {told:#}");
    };
    assert_eq!(told["missing"][0], "r3", "{told:#}");
    let drawn = String::from_utf8(cluster.run(&["timeline", "--mermaid"]).stdout).unwrap();
    assert!(drawn.starts_with("sequenceDiagram\n    participant R1 as "), "{drawn}");
    assert!(drawn.contains("not heard any more") && drawn.contains("becomes the scherald"), "{drawn}");
    assert!(
        answer(&cluster, &["timeline", "--last", "3"])["events"].as_array().is_some_and(|all| all.len() == 3)
    );
}
