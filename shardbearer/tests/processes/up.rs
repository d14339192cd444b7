//! `shardbearer up`, the first that anybody runs: on every engine, stopped in order, and started again on its data.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::harness::{BINARY, eventually, free_ports, turn};
use super::resp::{Connection, Reply};

const RADIANTS: u16 = 3;

/// `up`, as somebody types it.
struct Up {
    process: Child,
    resp: String,
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The first of as many neighbouring ports as three radiants have doors.
fn first_of_free_ports() -> u16 {
    loop {
        let first = free_ports(1)[0];
        if (first..first + 3 * RADIANTS).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

fn up(engine: &str, data: &Path) -> (Command, String) {
    let first = first_of_free_ports();
    let [grpc, resp, http] = [first, first + RADIANTS, first + 2 * RADIANTS].map(|port| port.to_string());
    let mut command = Command::new(BINARY);
    command.args(["up", "--set", &format!("consensus.engine={engine}"), "--data"]).arg(data);
    command.args(["--grpc-port", &grpc, "--resp-port", &resp, "--http-port", &http]).stdin(Stdio::null());
    (command, format!("127.0.0.1:{resp}"))
}

impl Up {
    async fn started(engine: &str, folder: &Path) -> Up {
        let (mut command, resp) = up(engine, &folder.join("data"));
        let said = folder.join("said");
        let log = File::create(&said).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut up = Up { process: command.spawn().unwrap(), resp };
        eventually("it says that it is ready", || {
            let said = std::fs::read_to_string(&said).unwrap();
            assert!(up.process.try_wait().unwrap().is_none(), "{engine}: it has ended: {said}");
            said.contains("Ready after")
        })
        .await;
        up
    }

    async fn answers(&self, words: &[&str]) -> Reply {
        Connection::open(&self.resp).await.unwrap().call(words).await.unwrap()
    }

    /// Ctrl-C.
    async fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let mut ended = None;
        eventually("it ends", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert_eq!(ended.unwrap().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_serves_is_stopped_and_has_its_data_again() {
    let _turn = turn().await;
    for engine in ["openraft", "omnipaxos", "chain"] {
        let folder = tempfile::tempdir().unwrap();
        let first = Up::started(engine, folder.path()).await;
        assert_eq!(first.answers(&["SET", "hello", engine]).await, Reply::Simple("OK".into()));
        first.stop().await;
        let again = Up::started(engine, folder.path()).await;
        assert_eq!(again.answers(&["GET", "hello"]).await, Reply::Bulk(Some(engine.into())));
        again.stop().await;
    }
}

#[tokio::test]
async fn an_engine_that_so_many_cannot_run_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let (mut command, _) = up("solo", &folder.path().join("data"));
    let said = command.output().unwrap();
    let words = String::from_utf8(said.stderr).unwrap();
    assert!(!said.status.success() && words.contains("[consensus] engine: "), "{words}");
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}
