//! What operators see: starts one after another, what is wrong with a machine, full disks.

use std::time::Duration;

use tokio::time::Instant;

use super::harness::{Cluster, PATIENCE, Radiant};
use super::resp::{Connection, Reply};

async fn call(radiant: &Radiant, words: &[&str]) -> Reply {
    let mut connection = Connection::open(&radiant.resp).await.unwrap();
    connection.call_within(words, PATIENCE).await.unwrap()
}

fn ok() -> Reply {
    Reply::Simple("OK".into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn radiants_that_are_started_one_after_another_become_one_cluster() {
    for count in [3, 5] {
        let mut cluster = Cluster::prepared(count).await;
        for index in 0..count {
            cluster.radiants[index].start();
            if index + 1 < count {
                // Each has looked around for the whole window before the next comes.
                let seen = format!("{} of {count} radiants seen", index + 1);
                cluster.radiants[index].says(&seen, 0).await;
            }
        }
        cluster.ready().await;
        let mut ids = Vec::new();
        for radiant in &cluster.radiants {
            let status = radiant.status().await.unwrap();
            assert_eq!(status["radiants"].as_array().unwrap().len(), count, "{status:#}");
            ids.push(status["cluster"].clone());
        }
        assert!(ids.iter().all(|id| id.is_string() && *id == ids[0]), "{ids:?}");
        assert_eq!(call(&cluster.radiants[0], &["SET", "key", "value"]).await, ok());
        let read = call(&cluster.radiants[count - 1], &["GET", "key"]).await;
        assert_eq!(read, Reply::Bulk(Some("value".into())));
        cluster.stop().await;
    }
}

/// The radiant gives up with this exit code and words in the last line of its log, without a backtrace.
async fn refuses(radiant: &mut Radiant, code: i32, says: &[&str]) {
    let before = radiant.log().len();
    radiant.start();
    let status = radiant.ended().await;
    let log = radiant.log()[before..].to_owned();
    assert_eq!(status.code(), Some(code), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("shardbearer: "), "{log}");
    assert!(says.iter().all(|words| last.contains(words)), "{says:?} is not in {last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_said_in_a_sentence_with_its_place() {
    let mut cluster = Cluster::prepared(1).await;
    let folder = cluster.folder.path().to_owned();
    let [radiant] = cluster.radiants.as_mut_slice() else { unreachable!() };
    let good = std::fs::read_to_string(&radiant.file).unwrap();
    let line_of = |text: &str, what: &str| {
        let line = text.lines().position(|line| line.contains(what)).unwrap() + 1;
        format!("r1.toml:{line}: ")
    };

    let typo = good.replace("reserve_mib", "reserve_mb");
    std::fs::write(&radiant.file, &typo).unwrap();
    refuses(
        radiant,
        2,
        &[&line_of(&typo, "reserve_mb"), "no key \"reserve_mb\"", "did you mean \"reserve_mib\"?"],
    )
    .await;
    let wrong = good.replace("expect = 1", "expect = \"one\"");
    std::fs::write(&radiant.file, &wrong).unwrap();
    refuses(radiant, 2, &[&line_of(&wrong, "expect"), "expect must be a whole number", "the text \"one\""])
        .await;
    std::fs::remove_file(&radiant.file).unwrap();
    refuses(radiant, 2, &["r1.toml: cannot be read"]).await;
    std::fs::write(&radiant.file, &good).unwrap();
    radiant.settings = vec!["storage.engine=paper".into()];
    refuses(radiant, 2, &["[storage] engine", "\"paper\""]).await;
    radiant.settings.clear();

    let taken = std::net::TcpListener::bind(&radiant.resp).unwrap();
    let listen = format!("the resp door cannot listen on {}", radiant.resp);
    refuses(radiant, 1, &[&listen, "another process does already"]).await;
    drop(taken);

    // Where not even root can make a folder.
    let file = folder.join("file");
    std::fs::write(&file, "").unwrap();
    radiant.settings = vec![format!("radiant.data_dir={}", file.join("data").display())];
    refuses(radiant, 1, &["file/data is no directory", "set [radiant] data_dir"]).await;
    radiant.settings.clear();

    radiant.start();
    cluster.ready().await;
    let [radiant] = cluster.radiants.as_mut_slice() else { unreachable!() };
    let data = radiant.folder.display().to_string();
    let second = std::process::Command::new(super::harness::BINARY)
        .args(["node", "--set", "radiant.name=r1", "--set", &format!("radiant.data_dir={data}")])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains(&data) && error.contains("in use by another process (pid "), "{error}");
    assert_eq!(call(radiant, &["SET", "key", "value"]).await, ok(), "the first one is not disturbed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nearly_full_disk_refuses_writes_in_words_and_goes_on_with_the_rest() {
    let mut cluster = Cluster::started(1).await;
    for key in ["a", "b"] {
        assert_eq!(call(&cluster.radiants[0], &["SET", key, "1"]).await, ok());
    }
    cluster.stop().await;
    // More than is free: what the disk of the machine is worth is not to be found out by filling it.
    cluster.radiants[0].settings = vec!["storage.reserve_mib=1000000000".into()];
    cluster.radiants[0].start();
    cluster.ready().await;
    let radiant = &cluster.radiants[0];
    radiant.says("the disk is nearly full", 0).await;
    let start = Instant::now();
    let refusal = loop {
        match call(radiant, &["SET", "c", "1"]).await {
            Reply::Error(why) => break why,
            // Not every order has looked at it yet.
            other => assert!(start.elapsed() < PATIENCE, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(refusal.starts_with("ERR nothing was changed: ") && refusal.contains("disk"), "{refusal}");
    assert!(matches!(call(radiant, &["INCR", "a"]).await, Reply::Error(_)));
    assert_eq!(call(radiant, &["GET", "a"]).await, Reply::Bulk(Some("1".into())));
    assert_eq!(call(radiant, &["DEL", "b"]).await, Reply::Integer(1));
    assert_eq!(call(radiant, &["GET", "b"]).await, Reply::Bulk(None));
    let status = radiant.status().await.unwrap();
    assert_eq!(status["radiants"][0]["disk_full"], true, "{status:#}");
    assert!(
        status["problems"].to_string().contains("less than its [storage] reserve_mib: writes are refused"),
        "{status:#}"
    );

    cluster.stop().await;
    cluster.radiants[0].settings.clear();
    cluster.radiants[0].start();
    cluster.ready().await;
    let radiant = &cluster.radiants[0];
    assert_eq!(call(radiant, &["SET", "c", "1"]).await, ok());
    assert_eq!(call(radiant, &["INCR", "a"]).await, Reply::Integer(2));
    cluster.stop().await;
}
