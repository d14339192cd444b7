//! What a backup takes away comes back, byte for byte, through the binary as an operator uses it.

use std::process::Command;
use std::time::Duration;

use shardbearer_client::{Client, Row};

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
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardbearer"));
        command.args(["--endpoints", &door]).args(args).output().expect("it runs")
    };
    let export = run(&["kv", "export", file, "--format", "backup"]);
    assert!(export.status.success(), "{export:?}");
    for (key, ..) in &before {
        client.delete(key.clone()).await.expect("deleted");
    }
    client.put("later", "stays").await.expect("written");
    let import = run(&["kv", "import", file, "--format", "backup"]);
    assert!(import.status.success(), "{import:?}");
    let mut after = rows(&client).await;
    after.retain(|row| row.0 != b"later");
    assert_eq!(after, before);
    drop(client);
    radiant.stop().await;
}
