//! The cluster as clients that know Redis Cluster see it.

use shardbearer_core::ids::{OrderId, RadiantId};

use super::*;

// With four shards: "bar" (slot 5061) is in the first half, which order 2 owns; "foo" (slot 12182) in the second.
const SECOND: OrderId = OrderId(3);

#[tokio::test]
async fn slots_are_shown_with_who_leads_them() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let node = |id: u64| {
        format!("*4\r\n$8\r\n10.0.0.{id}\r\n:6400\r\n$40\r\n{}{id:016x}\r\n*0\r\n", "0".repeat(23) + "7")
    };
    let one = format!("*1\r\n*5\r\n:0\r\n:16383\r\n{}{}{}", node(1), node(2), node(3));
    client.ask("CLUSTER SLOTS", &one).await;
    server.door.lead(SECOND, RadiantId(2));
    let two = format!(
        "*2\r\n*4\r\n:0\r\n:8191\r\n{one}{three}*4\r\n:8192\r\n:16383\r\n{two}{three}",
        one = node(1),
        two = node(2),
        three = node(3)
    );
    client.ask("CLUSTER SLOTS", &two).await;
    client.ask("CLUSTER KEYSLOT foo", ":12182\r\n").await;
    client.ask("CLUSTER MYID", &format!("$40\r\n{}7{:016x}\r\n", "0".repeat(23), 1)).await;
    client.send("CLUSTER NODES\r\n").await;
    let nodes = String::from_utf8(client.reply().await).expect("text");
    for part in [
        "0001 10.0.0.1:6400@6400 myself,master - 0 0 1 connected 0-8191\n",
        "0002 10.0.0.2:6400@6400 master - 0 0 1 connected 8192-16383\n",
        "0003 10.0.0.3:6400@6400 slave ",
    ] {
        assert!(nodes.contains(part), "{part:?} in {nodes}");
    }
    client.send("CLUSTER INFO\r\n").await;
    let info = String::from_utf8(client.reply().await).expect("text");
    assert!(info.contains("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"), "{info}");
    client.send("CLUSTER SHARDS\r\n").await;
    let shards = String::from_utf8(client.reply().await).expect("text");
    assert!(
        shards.starts_with("*2\r\n*4\r\n$5\r\nslots\r\n*2\r\n:0\r\n:8191\r\n$5\r\nnodes\r\n*2\r\n*14\r\n"),
        "{shards}"
    );
}

#[tokio::test]
async fn only_clients_that_know_the_cluster_are_sent_elsewhere() {
    let server = Server::start().await;
    server.door.lead(SECOND, RadiantId(2));
    let mut client = server.client().await;
    client.ask("MSET foo 1 bar 2", "+OK\r\n").await;
    client.ask("GET foo", "$1\r\n1\r\n").await;
    client.ask("DBSIZE", ":2\r\n").await;
    client.send("CLUSTER SLOTS\r\n").await;
    client.reply().await;
    let moved = "-MOVED 12182 10.0.0.2:6400\r\n";
    client.ask("GET foo", moved).await;
    client.ask("SET foo 1", moved).await;
    client.ask("GET bar", "$1\r\n2\r\n").await;
    client.ask("DBSIZE", ":1\r\n").await;
    client.ask("KEYS *", "*1\r\n$3\r\nbar\r\n").await;
    // Also what should be led here: see `a_herald_that_changes_during_a_scan_leaves_no_key_out`.
    client.ask("SCAN 0", "*2\r\n$1\r\n0\r\n*2\r\n$3\r\nbar\r\n$3\r\nfoo\r\n").await;
    client.ask("READONLY", "+OK\r\n").await;
    client.ask("GET foo", "$1\r\n1\r\n").await;
    client.ask("SET foo 1", moved).await;
    client.ask("READWRITE", "+OK\r\n").await;
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("SET foo 2", moved).await;
    client.ask("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n").await;
    client.ask("FLUSHALL", "+OK\r\n").await;
    server.client().await.ask("DBSIZE", ":1\r\n").await;
    client.ask("RESET", "+RESET\r\n").await;
    client.ask("GET foo", "$1\r\n1\r\n").await;
}

/// Clients that were refused by a dead herald ask somebody for the map, and must not be sent back to it.
#[tokio::test]
async fn slots_that_nobody_is_known_to_lead_are_served_here() {
    let server = Server::start().await;
    server.door.lead(SECOND, RadiantId(2));
    server.door.prefer(RadiantId(2));
    let mut client = server.client().await;
    client.ask("SET foo 1", "+OK\r\n").await;
    server.door.lose(SECOND);
    client.send("CLUSTER SLOTS\r\n").await;
    let slots = String::from_utf8(client.reply().await).expect("text");
    assert!(slots.starts_with("*1\r\n*5\r\n:0\r\n:16383\r\n*4\r\n$8\r\n10.0.0.1\r\n"), "{slots}");
    client.ask("GET foo", "$1\r\n1\r\n").await;
    client.ask("DBSIZE", ":1\r\n").await;
    client.ask("SCAN 0", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nfoo\r\n").await;
}

#[tokio::test]
async fn keys_of_a_slot_are_found() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.ask("MSET {foo}1 1 {foo}2 2 bar 3", "+OK\r\n").await;
    client.ask("CLUSTER COUNTKEYSINSLOT 12182", ":2\r\n").await;
    client.ask("CLUSTER GETKEYSINSLOT 12182 1", "*1\r\n$6\r\n{foo}1\r\n").await;
    client.ask("CLUSTER COUNTKEYSINSLOT 0", ":0\r\n").await;
    client.ask("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot\r\n").await;
}

/// A client scans one radiant after the other, and the lead moves to one that it is done with. Neither the radiant that
/// lost the lead in the midst of its scan nor the one that should have it leaves the order out.
#[tokio::test]
async fn a_herald_that_changes_during_a_scan_leaves_no_key_out() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.ask("MSET foo 1 bar 2", "+OK\r\n").await;
    client.send("CLUSTER SLOTS\r\n").await;
    client.reply().await;
    let foo = "*1\r\n$3\r\nfoo\r\n";
    // Radiant 1 is preferred for both orders, and 2 has been scanned before the lead moves to it.
    client.send("SCAN 0 COUNT 1\r\n").await;
    let cursor = cursor_of(&client.reply().await, "*1\r\n$3\r\nbar\r\n");
    server.door.lead(SECOND, RadiantId(2));
    client.ask(&format!("SCAN {cursor}"), &format!("*2\r\n$1\r\n0\r\n{foo}")).await;
    // The same if it leads without being preferred, when the scan begins.
    server.door.prefer(RadiantId(3));
    server.door.lead(SECOND, RadiantId(1));
    client.send("SCAN 0 COUNT 1\r\n").await;
    let cursor = cursor_of(&client.reply().await, "*1\r\n$3\r\nbar\r\n");
    server.door.lead(SECOND, RadiantId(2));
    client.ask(&format!("SCAN {cursor}"), &format!("*2\r\n$1\r\n0\r\n{foo}")).await;
    client.ask("SCAN 0", "*2\r\n$1\r\n0\r\n*1\r\n$3\r\nbar\r\n").await;
}

/// The cursor in a reply to `SCAN` that goes on, with these keys.
fn cursor_of(reply: &[u8], keys: &str) -> String {
    let text = std::str::from_utf8(reply).expect("text");
    let cursor = text.split("\r\n").nth(2).expect("a cursor").to_owned();
    assert!(cursor != "0" && text.ends_with(keys), "{text:?}");
    cursor
}
