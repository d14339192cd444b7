//! `MULTI` to `EXEC`, and what watching a key is good for.

use shardbearer_core::error::{Refused, RequestError};

use super::*;

const CROSS_SLOT: &str = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

#[tokio::test]
async fn queued_commands_happen_in_one_request_at_exec() {
    let server = Server::start().await;
    let (mut client, mut other) = (server.client().await, server.client().await);
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("SET {t}a 1", "+QUEUED\r\n").await;
    client.ask("INCR {t}a", "+QUEUED\r\n").await;
    client.ask("PING", "+QUEUED\r\n").await;
    client.ask("GETEX {t}a EX 100", "+QUEUED\r\n").await;
    client.ask("SET {t}a 1 EX x", "+QUEUED\r\n").await;
    client.ask("MGET {t}a {t}b", "+QUEUED\r\n").await;
    other.ask("GET {t}a", "$-1\r\n").await;
    server.door.take_requests();
    let expect = "*6\r\n+OK\r\n:2\r\n+PONG\r\n$1\r\n2\r\n-ERR value is not an integer or out of range\r\n\
                  *2\r\n$1\r\n2\r\n$-1\r\n";
    client.ask("EXEC", expect).await;
    assert_eq!(server.door.take_requests(), [1]);
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("EXEC", "*0\r\n").await;
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("UNWATCH", "+QUEUED\r\n").await;
    client.ask("EXEC", "*1\r\n+OK\r\n").await;
}

#[tokio::test]
async fn transactions_that_cannot_be_are_refused_as_a_whole() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.ask("EXEC", "-ERR EXEC without MULTI\r\n").await;
    client.ask("DISCARD", "-ERR DISCARD without MULTI\r\n").await;
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("MULTI", "-ERR MULTI calls can not be nested\r\n").await;
    client.ask("WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n").await;
    client.ask("SET a 1", "+QUEUED\r\n").await;
    client.ask("DISCARD", "+OK\r\n").await;
    for bad in ["GET", "foo", "KEYS *", "MSETNX a 1"] {
        client.ask("MULTI", "+OK\r\n").await;
        client.ask("SET a 1", "+QUEUED\r\n").await;
        client.send(format!("{bad}\r\n")).await;
        assert_eq!(client.reply().await[0], b'-', "{bad}");
        client.ask("EXEC", ABORTED).await;
    }
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("SET a 1", "+QUEUED\r\n").await;
    client.ask("SET b 1", "+QUEUED\r\n").await;
    client.ask("EXEC", CROSS_SLOT).await;
    client.ask("EXISTS a b", ":0\r\n").await;
    client.ask("WATCH a b", CROSS_SLOT).await;
    client.ask("WATCH a", "+OK\r\n").await;
    client.ask("WATCH b", CROSS_SLOT).await;
}

#[tokio::test]
async fn a_watched_key_that_changed_stops_the_transaction() {
    let server = Server::start().await;
    let (mut client, mut other) = (server.client().await, server.client().await);
    // (what the other client does, whether the transaction then happens)
    for (meanwhile, happens) in [
        ("GET k", true),
        ("SET k 1", false),
        ("EXPIRE k 100", false),
        ("DEL k", false),
        ("SET elsewhere 1", true),
    ] {
        client.ask("SET k 0", "+OK\r\n").await;
        client.ask("WATCH k", "+OK\r\n").await;
        other.send(format!("{meanwhile}\r\n")).await;
        other.reply().await;
        client.ask("MULTI", "+OK\r\n").await;
        client.ask("SET k mine", "+QUEUED\r\n").await;
        client.ask("EXEC", if happens { "*1\r\n+OK\r\n" } else { "*-1\r\n" }).await;
    }
    for end in ["UNWATCH", "RESET"] {
        client.ask("WATCH k none", CROSS_SLOT).await;
        client.ask("WATCH k", "+OK\r\n").await;
        other.ask("SET k 1", "+OK\r\n").await;
        client.send(format!("{end}\r\n")).await;
        client.reply().await;
        client.ask("MULTI", "+OK\r\n").await;
        client.ask("GET k", "+QUEUED\r\n").await;
        client.ask("EXEC", "*1\r\n$1\r\n1\r\n").await;
    }
    client.ask("HELLO 3 SETNAME x", &hello(1)).await;
    client.ask("WATCH absent", "+OK\r\n").await;
    other.ask("SET absent 1", "+OK\r\n").await;
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("PING", "+QUEUED\r\n").await;
    client.ask("EXEC", "_\r\n").await;
}

#[tokio::test]
async fn a_transaction_with_an_unknown_outcome_says_so() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (failure, code) in [
        (RequestError::Unknown("the herald fell silent".into()), "-UNKNOWN outcome: "),
        (Refused::Unavailable("no quorum".into()).into(), "-CLUSTERDOWN nothing was changed: "),
    ] {
        client.ask("MULTI", "+OK\r\n").await;
        client.ask("SET a 1", "+QUEUED\r\n").await;
        server.door.fail(Some(failure));
        client.send("EXEC\r\n").await;
        let reply = String::from_utf8(client.reply().await).expect("text");
        assert!(reply.starts_with(code), "{reply}");
        server.door.fail(None);
        client.ask("EXEC", "-ERR EXEC without MULTI\r\n").await;
    }
}
