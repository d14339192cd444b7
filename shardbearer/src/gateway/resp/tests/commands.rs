//! Commands and their replies, as Redis 7 gives them.

use super::*;

/// Asks line by line. In the expected replies `~` stands for the end of a line.
async fn script(lines: &[(&str, &str)]) {
    let server = Server::start().await;
    let mut client = server.client().await;
    for (line, expect) in lines {
        client.ask(line, &expect.replace('~', "\r\n")).await;
    }
}

const SYNTAX: &str = "-ERR syntax error~";
const NOT_AN_INTEGER: &str = "-ERR value is not an integer or out of range~";

#[tokio::test]
async fn values_are_set_and_read() {
    script(&[
        ("GET a", "$-1~"),
        ("SET a 1", "+OK~"),
        ("get a", "$1~1~"),
        ("SET a 2 NX", "$-1~"),
        ("SET a 2 XX", "+OK~"),
        ("SET b 2 XX", "$-1~"),
        ("SET a 3 GET", "$1~2~"),
        ("SET a 4 NX GET", "$1~3~"),
        ("SET new 4 NX GET", "$-1~"),
        ("SET a 5 IFEQ 4", "$-1~"),
        ("SET a 5 IFEQ 3", "+OK~"),
        ("SET a 6 IFNE 5", "$-1~"),
        ("SET a 6 IFNE 4", "+OK~"),
        ("SETNX a 1", ":0~"),
        ("SETNX c 1", ":1~"),
        ("GETSET a 7", "$1~6~"),
        ("GETDEL a", "$1~7~"),
        ("GETDEL a", "$-1~"),
        ("APPEND s Hello", ":5~"),
        ("APPEND s \" World\"", ":11~"),
        ("STRLEN s", ":11~"),
        ("STRLEN none", ":0~"),
        ("GETRANGE s 0 4", "$5~Hello~"),
        ("SUBSTR s -5 -1", "$5~World~"),
        ("GETRANGE none 0 -1", "$0~~"),
        ("SETRANGE s 6 Redis", ":11~"),
        ("SETRANGE s 0 \"\"", ":11~"),
        ("GET s", "$11~Hello Redis~"),
        ("TYPE s", "+string~"),
        ("TYPE none", "+none~"),
    ])
    .await;
}

#[tokio::test]
async fn numbers_count() {
    script(&[
        ("INCR n", ":1~"),
        ("INCRBY n 41", ":42~"),
        ("DECR n", ":41~"),
        ("DECRBY n 43", ":-2~"),
        ("INCRBYFLOAT n 2.5", "$3~0.5~"),
        ("INCR n", NOT_AN_INTEGER),
        ("INCRBY n x", NOT_AN_INTEGER),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow~"),
        ("INCRBYFLOAT n x", "-ERR value is not a valid float~"),
        ("INCRBYFLOAT n inf", "-ERR increment would produce NaN or Infinity~"),
        ("SET n 9223372036854775807", "+OK~"),
        ("INCR n", "-ERR increment or decrement would overflow~"),
        ("SET n 1.7e308", "+OK~"),
        ("INCRBYFLOAT n 1.7e308", "-ERR increment would produce NaN or Infinity~"),
        ("SET n text", "+OK~"),
        ("INCRBYFLOAT n 1", "-ERR value is not a valid float~"),
    ])
    .await;
}

#[tokio::test]
async fn several_keys_work_within_one_slot_and_across() {
    script(&[
        ("MSET a 1 b 2 c 3", "+OK~"),
        ("MGET a b none c", "*4~$1~1~$1~2~$-1~$1~3~"),
        ("MSET {t}1 1 {t}2 2", "+OK~"),
        ("MGET {t}1 {t}none {t}2", "*3~$1~1~$-1~$1~2~"),
        ("EXISTS a b none a", ":3~"),
        ("TOUCH {t}1 {t}2 {t}3", ":2~"),
        ("DEL a none b", ":2~"),
        ("UNLINK {t}1 {t}2 {t}3", ":2~"),
        ("EXISTS a", ":0~"),
        ("MSET a", "-ERR wrong number of arguments for 'mset' command~"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command~"),
        ("MSETNX {t}1 1 {t}2 2 {t}1 3", ":1~"),
        ("MSETNX {t}2 1 {t}3 1", ":0~"),
        ("MGET {t}1 {t}2 {t}3", "*3~$1~3~$1~2~$-1~"),
        ("MSETNX a 1 b 2", "-CROSSSLOT Keys in request don't hash to the same slot~"),
    ])
    .await;
}

#[tokio::test]
async fn keys_expire() {
    script(&[
        ("TTL a", ":-2~"),
        ("SET a 1", "+OK~"),
        ("TTL a", ":-1~"),
        ("EXPIRE a 100", ":1~"),
        ("TTL a", ":100~"),
        ("EXPIRE a 50 GT", ":0~"),
        ("EXPIRE a 200 GT", ":1~"),
        ("EXPIRE a 300 LT", ":0~"),
        ("EXPIRE a 300 NX", ":0~"),
        ("EXPIRE a 300 XX", ":1~"),
        ("PERSIST a", ":1~"),
        ("PERSIST a", ":0~"),
        ("EXPIRE none 10", ":0~"),
        ("EXPIREAT a 32503680000", ":1~"),
        ("EXPIRETIME a", ":32503680000~"),
        ("PEXPIRETIME a", ":32503680000000~"),
        ("SET a 2 KEEPTTL", "+OK~"),
        ("EXPIRETIME a", ":32503680000~"),
        ("GETEX a PERSIST", "$1~2~"),
        ("EXPIRETIME a", ":-1~"),
        ("GETEX a EX 100", "$1~2~"),
        ("TTL a", ":100~"),
        ("SET a 3", "+OK~"),
        ("TTL a", ":-1~"),
        ("SET a 3 EX 10", "+OK~"),
        ("TTL a", ":10~"),
        ("SETEX a 20 4", "+OK~"),
        ("TTL a", ":20~"),
        ("PSETEX a 30000 4", "+OK~"),
        ("TTL a", ":30~"),
        ("SET b 1 EXAT 1", "+OK~"),
        ("GET b", "$-1~"),
        ("PEXPIRE a -1", ":1~"),
        ("EXISTS a", ":0~"),
        ("SET a b EX 0", "-ERR invalid expire time in 'set' command~"),
        ("SET a b EX 9999999999999999", "-ERR invalid expire time in 'set' command~"),
        ("SETEX a 0 b", "-ERR invalid expire time in 'setex' command~"),
        ("PSETEX a x b", NOT_AN_INTEGER),
        ("GETEX a EX 0", "-ERR invalid expire time in 'getex' command~"),
        ("EXPIRE a 99999999999999999", "-ERR invalid expire time in 'expire' command~"),
        ("EXPIRE a 10 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible~"),
        ("EXPIRE a 10 GT LT", "-ERR GT and LT options at the same time are not compatible~"),
        ("EXPIRE a 10 foo", "-ERR Unsupported option foo~"),
    ])
    .await;
}

#[tokio::test]
async fn mistakes_are_answered_in_the_words_of_redis() {
    script(&[
        ("foo", "-ERR unknown command 'foo', with args beginning with: ~"),
        ("foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' ~"),
        ("GET", "-ERR wrong number of arguments for 'get' command~"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command~"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command~"),
        ("SET a b EX", SYNTAX),
        ("SET a b foo", SYNTAX),
        ("SET a b EX 1 PX 1", SYNTAX),
        ("SET a b NX XX", SYNTAX),
        ("SET a b KEEPTTL EX 1", SYNTAX),
        ("SET a b EX x", NOT_AN_INTEGER),
        ("GETEX a PERSIST EX 1", SYNTAX),
        ("SETRANGE a -1 x", "-ERR offset is out of range~"),
        ("SETRANGE a 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)~"),
        ("GETRANGE a x 1", NOT_AN_INTEGER),
        ("SCAN x", "-ERR invalid cursor~"),
        ("SCAN 0 COUNT 0", SYNTAX),
        ("SCAN 0 COUNT x", NOT_AN_INTEGER),
        ("SCAN 0 MATCH", SYNTAX),
        ("CLIENT foo", "-ERR unknown subcommand 'foo'. Try CLIENT HELP.~"),
        ("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command~"),
        ("CONFIG foo", "-ERR unknown subcommand 'foo'. Try CONFIG HELP.~"),
        ("CLUSTER foo", "-ERR unknown subcommand 'foo'. Try CLUSTER HELP.~"),
        ("COMMAND foo", "-ERR unknown subcommand 'foo'. Try COMMAND HELP.~"),
        ("SELECT 1", "-ERR DB index is out of range~"),
        ("SELECT x", NOT_AN_INTEGER),
        ("FLUSHALL foo", SYNTAX),
        ("GET \"\"", "-ERR the key is empty; keys have 1 to 4096 bytes~"),
    ])
    .await;
}

#[tokio::test]
async fn the_connection_has_its_own_commands() {
    script(&[
        ("PING", "+PONG~"),
        ("PING hi", "$2~hi~"),
        ("ECHO hi", "$2~hi~"),
        ("SELECT 0", "+OK~"),
        ("READONLY", "+OK~"),
        ("READWRITE", "+OK~"),
        ("ASKING", "+OK~"),
        ("CLIENT GETNAME", "$-1~"),
        ("CLIENT SETNAME worker", "+OK~"),
        ("CLIENT GETNAME", "$6~worker~"),
        (
            "CLIENT SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.~",
        ),
        ("CLIENT ID", ":1~"),
        ("CLIENT SETINFO LIB-NAME x", "+OK~"),
        ("CLIENT NO-EVICT ON", "+OK~"),
        ("CLIENT NO-TOUCH maybe", SYNTAX),
        ("AUTH default any", "+OK~"),
        ("AUTH me any", "-WRONGPASS invalid username-password pair or user is disabled.~"),
        (
            "AUTH any",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure \
             your configuration is correct?~",
        ),
        ("CONFIG GET save", "*2~$4~save~$0~~"),
        ("CONFIG GET appendonl?", "*2~$10~appendonly~$3~yes~"),
        ("COMMAND GETKEYS MSET a 1 b 2", "*2~$1~a~$1~b~"),
        ("COMMAND INFO get foo", "*2~*10~$3~get~:2~*2~+readonly~+fast~:1~:1~:1~*0~*0~*0~*0~*-1~"),
        ("COMMAND DOCS get", "*2~$3~get~*2~$5~group~$6~string~"),
        ("RESET", "+RESET~"),
        ("CLIENT GETNAME", "$-1~"),
    ])
    .await;
}

#[tokio::test]
async fn the_whole_table_can_be_counted_listed_and_emptied() {
    script(&[
        ("RANDOMKEY", "$-1~"),
        ("DBSIZE", ":0~"),
        ("MSET {a}1 1 {a}2 2", "+OK~"),
        ("KEYS *", "*2~$4~{a}1~$4~{a}2~"),
        ("KEYS {a}2", "*1~$4~{a}2~"),
        ("KEYS {[b]*", "*0~"),
        ("SCAN 0", "*2~$1~0~*2~$4~{a}1~$4~{a}2~"),
        ("SCAN 0 MATCH *1 TYPE string", "*2~$1~0~*1~$4~{a}1~"),
        ("SCAN 0 TYPE list", "*2~$1~0~*0~"),
        ("DBSIZE", ":2~"),
        ("INFO keyspace", "$44~# Keyspace~db0:keys=2,expires=0,avg_ttl=0~~"),
        ("DEL {a}2", ":1~"),
        ("RANDOMKEY", "$4~{a}1~"),
        ("FLUSHALL ASYNC", "+OK~"),
        ("DBSIZE", ":0~"),
        ("SET a 1", "+OK~"),
        ("FLUSHDB", "+OK~"),
        ("GET a", "$-1~"),
    ])
    .await;
}

#[tokio::test]
async fn a_scan_returns_every_key_that_stays_while_others_come_and_go() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for number in 0..100 {
        client.ask(&format!("SET stays:{number} 1"), "+OK\r\n").await;
    }
    let mut seen = std::collections::BTreeSet::new();
    let (mut cursor, mut steps) = (String::from("0"), 0);
    loop {
        client.send(format!("SCAN {cursor} COUNT 3 MATCH stays:*\r\n")).await;
        let reply = String::from_utf8(client.reply().await).expect("text");
        let words: Vec<&str> = reply.split("\r\n").collect();
        cursor = words[2].to_owned();
        seen.extend(words.iter().filter(|word| word.starts_with("stays:")).map(|word| word.to_string()));
        steps += 1;
        assert!(steps < 1_000, "a scan ends");
        if cursor == "0" {
            break;
        }
        client.ask(&format!("SET comes:{steps} 1"), "+OK\r\n").await;
        client.ask(&format!("DEL comes:{}", steps - 1), &format!(":{}\r\n", u8::from(steps > 1))).await;
    }
    assert_eq!(seen.len(), 100);
    assert!(steps > 30, "in pages of three");
}
