//! Connections: pipelines, limits, versions of the protocol, coming and going.

use shardbearer_core::error::{Refused, RequestError};

use super::*;
use crate::gateway::resp::failure::Failure;

#[tokio::test]
async fn a_pipeline_is_one_request_and_its_replies_come_in_order() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let commands = [
        array(&["SET", "a", "1"]),
        array(&["INCR", "a"]),
        array(&["GET"]),
        array(&["MGET", "a", "b"]),
        array(&["GET", "a"]),
    ];
    let expect = "+OK\r\n:2\r\n-ERR wrong number of arguments for 'get' command\r\n\
                  *2\r\n$1\r\n2\r\n$-1\r\n$1\r\n2\r\n";
    client.send(commands.concat()).await;
    client.expect(expect).await;
    assert_eq!(server.door.take_requests(), [5], "two keys of two slots are two calls");
    client.send([array(&["SET", "a", "1"]), array(&["PING"]), array(&["GET", "a"])].concat()).await;
    client.expect("+OK\r\n+PONG\r\n$1\r\n1\r\n").await;
    assert_eq!(server.door.take_requests(), [1, 1], "what is between is answered in its place");
}

#[tokio::test]
async fn a_long_pipeline_of_large_values_is_served_in_bounded_requests() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let value = "v".repeat(100_000);
    client.send(array(&["SET", "a", &value])).await;
    client.expect("+OK\r\n").await;
    server.door.take_requests();
    // More answers than any socket holds: the client reads only after all is sent.
    let (mut reader, mut writer) = client.stream.into_split();
    let commands = array(&["GET", "a"]).repeat(2_000);
    let sending = tokio::spawn(async move {
        writer.write_all(commands.as_bytes()).await.expect("the server reads");
        writer
    });
    let length = 2_000 * (format!("${}\r\n", value.len()).len() + value.len() + 2);
    let (mut piece, mut read) = (vec![0; 1 << 20], 0);
    while read < length {
        let count = tokio::time::timeout(PATIENCE, reader.read(&mut piece)).await;
        read += count.expect("in time").expect("open");
    }
    assert_eq!(read, length);
    sending.await.expect("all was sent");
    let requests = server.door.take_requests();
    assert_eq!(requests.iter().sum::<usize>(), 2_000);
    assert!(requests.iter().max() <= Some(&1_024), "{requests:?}");
}

#[tokio::test]
async fn reads_whose_answers_do_not_fit_one_message_are_asked_again_one_by_one() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.ask("MSET a 12345 b 67890", "+OK\r\n").await;
    server.door.limit_answers(5);
    server.door.take_requests();
    client.send("GET a\r\nGET b\r\nMGET a b\r\n").await;
    client.expect("$5\r\n12345\r\n$5\r\n67890\r\n*2\r\n$5\r\n12345\r\n$5\r\n67890\r\n").await;
    assert_eq!(server.door.take_requests(), [4, 1, 1, 1, 1]);
    server.door.limit_answers(4);
    client.ask("GET a", "-ERR the answer is too large; ask for fewer keys at once\r\n").await;
}

#[tokio::test]
async fn before_the_cluster_is_found_data_are_loading_and_the_rest_works() {
    let server = Server::start_outside(Options::default()).await;
    let mut client = server.client().await;
    let loading = "-LOADING shardbearer is finding its cluster\r\n";
    for line in
        ["GET a", "SET a 1", "MGET a b", "DBSIZE", "KEYS *", "SCAN 0", "FLUSHALL", "WATCH a", "CLUSTER SLOTS"]
    {
        client.ask(line, loading).await;
    }
    client.ask("MULTI", "+OK\r\n").await;
    client.ask("GET a", loading).await;
    client.ask("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n").await;
    client.ask("PING", "+PONG\r\n").await;
    client.send("INFO persistence\r\n").await;
    let info = String::from_utf8(client.reply().await).expect("text");
    assert!(info.contains("loading:1\r\n"), "{info}");
    server.enter();
    client.ask("SET a 1", "+OK\r\n").await;
}

#[tokio::test]
async fn an_outcome_that_is_not_known_never_looks_like_another() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (failure, code) in [
        (RequestError::Unknown("silence".into()), "-UNKNOWN outcome: "),
        (Refused::Busy("full".into()).into(), "-TRYAGAIN "),
        (Refused::Closed.into(), "-TRYAGAIN "),
        (Refused::Unavailable("no quorum".into()).into(), "-CLUSTERDOWN "),
        (Refused::DiskFull("1 MiB".into()).into(), "-ERR "),
    ] {
        server.door.fail(Some(failure));
        for line in
            ["SET a 1", "INCR a", "DEL a b", "MSET a 1 b 2", "GETEX a EX 10", "FLUSHALL", "DBSIZE", "SCAN 0"]
        {
            client.send(format!("{line}\r\n")).await;
            let reply = String::from_utf8(client.reply().await).expect("text");
            assert!(reply.starts_with(code), "{line}: {reply}");
        }
    }
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_connection_after_what_was_before() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send(array(&["SET", "a", "1"]) + "*1\r\n+PING\r\n" + &array(&["SET", "a", "2"])).await;
    client.expect("+OK\r\n-ERR Protocol error: expected '$', got '+'\r\n").await;
    client.closed().await;
    server.client().await.ask("GET a", "$1\r\n1\r\n").await;
}

#[tokio::test]
async fn too_large_a_command_is_an_error_and_the_connection_lives() {
    let options = Options { command_bytes_max: 1_000, ..Options::default() };
    let server = Server::start_outside(options).await;
    server.enter();
    let mut client = server.client().await;
    client.send(array(&["SET", "a", &"x".repeat(2_000)]) + &array(&["PING"])).await;
    client.expect("-ERR the command has 2004 bytes; at most 1000 are allowed\r\n+PONG\r\n").await;
}

#[tokio::test]
async fn too_many_connections_are_turned_away() {
    let options = Options { connections_max: 1, ..Options::default() };
    let server = Server::start_outside(options).await;
    let mut first = server.client().await;
    first.ask("PING", "+PONG\r\n").await;
    let mut second = server.client().await;
    second.expect("-ERR max number of clients reached\r\n").await;
    second.closed().await;
    first.ask("QUIT", "+OK\r\n").await;
    first.closed().await;
    // The place is free as soon as the first connection's task has ended.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut third = server.client().await;
        // Turned away, its socket may be closed before it is written to.
        let _ = third.stream.write_all(b"PING\r\n").await;
        let mut reply = [0; 7];
        let read = tokio::time::timeout(PATIENCE, third.stream.read_exact(&mut reply)).await;
        if read.expect("in time").is_ok() && reply == *b"+PONG\r\n" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the place stays taken");
    }
}

#[tokio::test]
async fn connections_end_with_the_shutdown() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.ask("PING", "+PONG\r\n").await;
    server.shutdown.cancel();
    client.closed().await;
}

#[tokio::test]
async fn whoever_asks_while_the_door_closes_is_refused_and_not_just_cut_off() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.ask("PING", "+PONG\r\n").await;
    server.shutdown.cancel();
    let refused = loop {
        client.send("GET a\r\n").await;
        let reply = client.reply().await;
        if reply != b"$-1\r\n" {
            break String::from_utf8(reply).expect("text");
        }
    };
    assert_eq!(refused, format!("-{}\r\n", Failure::STOPPING.text()));
    client.closed().await;
}

#[tokio::test]
async fn version_three_has_maps_sets_and_nulls() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.ask("HELLO 4", "-NOPROTO unsupported protocol version\r\n").await;
    client.ask("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n").await;
    client.ask("HELLO 3 AUTH", "-ERR Syntax error in HELLO option 'AUTH'\r\n").await;
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    client.ask("HELLO 3 AUTH me secret", wrong).await;
    client.ask("GET a", "$-1\r\n").await;
    client.ask("HELLO 3 AUTH default x SETNAME me", &hello(1)).await;
    client.ask("GET a", "_\r\n").await;
    client.ask("CLIENT GETNAME", "$2\r\nme\r\n").await;
    client.ask("CONFIG GET save", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n").await;
    client.ask("COMMAND INFO foo", "*1\r\n_\r\n").await;
    client.send("INFO server\r\n").await;
    let info = String::from_utf8(client.reply().await).expect("text");
    assert!(info.starts_with('=') && info.contains("txt:# Server\r\nredis_version:7."), "{info}");
    client.send("CLUSTER SHARDS\r\n").await;
    assert!(client.reply().await.starts_with(b"*1\r\n%2\r\n"));
    client.ask("RESET", "+RESET\r\n").await;
    client.ask("GET a", "$-1\r\n").await;
}

#[tokio::test]
async fn replies_can_be_switched_off() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.send("CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\n").await;
    client.expect("$1\r\n1\r\n").await;
    client.send("CLIENT REPLY OFF\r\nSET a 2\r\nfoo\r\nPING\r\nCLIENT REPLY ON\r\nGET a\r\n").await;
    client.expect("+OK\r\n$1\r\n2\r\n").await;
}

#[tokio::test]
async fn clients_see_and_end_each_other() {
    let server = Server::start().await;
    let (mut first, mut second) = (server.client().await, server.client().await);
    first.ask("CLIENT SETNAME one", "+OK\r\n").await;
    second.ask("PING", "+PONG\r\n").await;
    second.send("CLIENT LIST\r\n").await;
    let list = String::from_utf8(second.reply().await).expect("text");
    assert!(list.contains(" name=one ") && list.matches("id=").count() >= 2, "{list}");
    second.ask("CLIENT KILL ID 1", ":1\r\n").await;
    first.closed().await;
    second.ask("CLIENT KILL ADDR 1.2.3.4:5", ":0\r\n").await;
    second.ask("CLIENT KILL 1.2.3.4:5", "-ERR No such client\r\n").await;
}

/// Idle clients and clients that send a byte now and then keep nobody else waiting; the latter are sent away.
#[tokio::test]
async fn a_thousand_idle_connections_and_slow_ones_disturb_nobody() {
    let options = Options { patience: Duration::from_secs(1), ..Options::default() };
    let server = Server::start_outside(options).await;
    server.enter();
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(server.client().await);
    }
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut client = server.client().await;
        client.send("*2\r\n$3\r\nG").await;
        slow.push(client);
    }
    let mut client = server.client().await;
    let start = tokio::time::Instant::now();
    for _ in 0..200 {
        client.ask("PING", "+PONG\r\n").await;
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "200 round trips took {took:?}");
    for client in &mut slow {
        // Another byte in time changes nothing; it may be too late for it already.
        let _ = client.stream.write_all(b"E").await;
        client.closed().await;
    }
    for client in idle.iter_mut().step_by(100) {
        client.ask("PING", "+PONG\r\n").await;
    }
}

#[tokio::test]
async fn who_does_not_read_answers_is_sent_away() {
    let options = Options { patience: Duration::from_millis(200), ..Options::default() };
    let server = Server::start_outside(options).await;
    server.enter();
    let mut client = server.client().await;
    let value = "v".repeat(1_000_000);
    client.send(array(&["SET", "a", &value])).await;
    client.expect("+OK\r\n").await;
    // Its own socket is full before it has sent all, or the connection is broken by then.
    let commands = array(&["GET", "a"]).repeat(100);
    let _ = tokio::time::timeout(PATIENCE, client.stream.write_all(commands.as_bytes())).await;
    let mut other = server.client().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        other.send("CLIENT LIST\r\n").await;
        let list = String::from_utf8(other.reply().await).expect("text");
        if list.matches("id=").count() == 1 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "it stays: {list}");
    }
}
