//! What a backup takes away comes back, byte for byte, through the binary as an operator uses it.

use std::time::Duration;

use shardbearer_client::{Client, Row};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{ClusterId, SessionId};
use shardbearer_core::kv::{Command, Reply, RequestId};
use shardbearer_proto::convert::{cluster_to_call, result_from_wire};
use shardbearer_proto::pb;
use shardbearer_proto::pb::kv_client::KvClient;

use super::harness::*;

async fn rows(client: &Client) -> Vec<(Vec<u8>, Vec<u8>, Option<u64>)> {
    let mut rows = Vec::new();
    let mut scan = client.scan();
    while let Some(page) = scan.next_page().await.expect("a page") {
        let row = |Row { key, record }: Row| (key.to_vec(), record.value.to_vec(), record.expires_at_ms);
        rows.extend(page.into_iter().map(row));
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_byte_for_byte() {
    let (folder, mut radiants) = cluster(1).await;
    let radiant = radiants.remove(0);
    let door = radiant.running.cluster.doors.grpc.clone();
    let client = Client::connect([door.clone()]).await.expect("it answers");
    let all: Vec<u8> = (0..=255).collect();
    for (key, value) in [
        (&b"text"[..], &b"plain"[..]),
        (b"lines", b"two\r\nlines\n"),
        (b"empty", b""),
        (&all, &all),
        (b"\xff\n", b"{\"key\":1}"),
    ] {
        client.put(key.to_vec(), value.to_vec()).await.expect("written");
    }
    client.put("fleeting", "\u{e9}").ttl(Duration::from_secs(3_600)).await.expect("written");
    let before = rows(&client).await;
    assert_eq!(before.len(), 6);
    assert_eq!(before.iter().filter(|row| row.2.is_some()).count(), 1, "the expiry is seen");

    let file = folder.path().join("all.backup");
    let file = file.to_str().expect("text");
    run(&door, &["kv", "export", file, "--format", "backup"]);
    for (key, ..) in &before {
        client.delete(key.clone()).await.expect("deleted");
    }
    client.put("later", "stays").await.expect("written");
    run(&door, &["kv", "import", file, "--format", "backup"]);
    let mut after = rows(&client).await;
    after.retain(|row| row.0 != b"later");
    assert_eq!(after, before);
    drop(client);
    radiant.stop().await;
}

/// A request that was answered once is not done again where its effect was restored: the cluster that did it remembers it, and
/// another, which cannot know, refuses what says whom it asked before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_after_a_restore_is_not_done_twice() {
    let (folder, mut first) = cluster(1).await;
    let (_other_folder, mut second) = cluster(1).await;
    let (first, second) = (first.remove(0), second.remove(0));
    let door = |radiant: &Radiant| radiant.running.cluster.doors.grpc.clone();
    let asked = radiant_cluster(&first);
    assert_ne!(asked, radiant_cluster(&second));
    let id = |retry| RequestId { session: SessionId(77), number: 1, unanswered_from: 1, retry };

    let told = increment(&door(&first), id(false), None).await.expect("done");
    assert!(matches!(told, Reply::Number { value: 1, .. }), "{told:?}");
    let file = folder.path().join("all.backup");
    let file = file.to_str().expect("text");
    run(&door(&first), &["kv", "export", file, "--format", "backup"]);
    for radiant in [&first, &second] {
        run(&door(radiant), &["kv", "import", file, "--format", "backup"]);
    }

    // Its answer had been lost, and the client asks again: the same cluster, or what is at its address now.
    assert_eq!(increment(&door(&first), id(true), Some(asked)).await, Ok(told));
    let refused = increment(&door(&second), id(true), Some(asked)).await.expect_err("it cannot know");
    let RequestError::Refused(Refused::Invalid(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("another cluster"), "{why}");
    for radiant in [&first, &second] {
        let client = Client::connect([door(radiant)]).await.expect("it answers");
        let found = client.get("counter").await.expect("read").expect("there");
        assert_eq!(found.value, "1");
    }
    // Without that the other would do it: the mark is what keeps it from that.
    let twice = increment(&door(&second), id(true), None).await.expect("done");
    assert!(matches!(twice, Reply::Number { value: 2, .. }), "{twice:?}");
    first.stop().await;
    second.stop().await;
}

fn radiant_cluster(radiant: &Radiant) -> ClusterId {
    radiant.running.cluster.map.topology().cluster
}

async fn increment(door: &str, id: RequestId, cluster: Option<ClusterId>) -> Result<Reply, RequestError> {
    let command = Command::Increment { key: "counter".into(), by: 1 };
    let mut client = KvClient::connect(format!("http://{door}")).await.expect("it answers");
    let call = pb::Call {
        id: Some((&id).into()),
        command: Some((&command).into()),
        cluster: cluster_to_call(cluster),
    };
    let request = pb::ExecuteRequest { calls: vec![call], ..Default::default() };
    let mut results = client.execute(request).await.expect("answered").into_inner().results;
    result_from_wire(results.pop().expect("a result")).expect("it makes sense")
}

/// A command of the program's against this door.
fn run(door: &str, args: &[&str]) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shardbearer"));
    let output = command.args(["--endpoints", door]).args(args).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}
