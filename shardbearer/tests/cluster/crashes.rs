//! Whole clusters on each engine: founded, served, stopped, killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shardbearer_client::Client;
use tokio::time::Instant;

use super::harness::*;

const ENGINES: [&str; 2] = ["openraft", "omnipaxos"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_founds_a_cluster_that_serves_and_keeps_its_data_over_restarts() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = free_ports(3);
        for round in 0..2 {
            let mut radiants = Vec::new();
            for i in 0..3 {
                let mut config = config(folder.path(), &format!("r{i}"), ports[i], &ports, 3);
                config.consensus.engine = engine.into();
                radiants.push(start(config));
            }
            let mut open = Vec::new();
            for radiant in radiants {
                open.push(radiant.open().await);
            }
            for key in 0..50 {
                let key = format!("key-{key}");
                if round == 0 {
                    open[0].put(&key, engine).await.expect("written");
                } else {
                    assert_eq!(open[2].get(&key).await.as_deref(), Some(engine));
                }
            }
            for radiant in open {
                radiant.stop().await;
            }
        }
    }
}

/// Real processes, so that nothing is written down after the signal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_keeps_every_acknowledged_write_when_the_processes_are_killed() {
    for engine in ENGINES {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = free_ports(3);
        let start = |i: usize| process(folder.path(), i, &ports, engine);
        let mut processes: Vec<Killed> = (0..3).map(start).collect();
        let client = connect(&ports).await;
        let mut written = 0;
        for round in 0..4 {
            for _ in 0..20 {
                client.put(format!("key-{written}"), format!("value-{written}")).await.expect("written");
                written += 1;
            }
            if round == 3 {
                // All at once.
                drop(std::mem::take(&mut processes));
                processes = (0..3).map(start).collect();
            } else {
                processes.remove(0);
                client.put("meanwhile", format!("{round}")).await.expect("two of three serve");
                processes.push(start(round));
            }
        }
        for key in 0..written {
            let record = client.get(format!("key-{key}")).await.expect("read").expect("it was acknowledged");
            assert_eq!(record.value, format!("value-{key}"), "{engine}");
        }
    }
}

/// A process that dies without notice when it is let go.
pub struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// A radiant as a process of its own.
pub fn process(folder: &Path, i: usize, ports: &[u16], engine: &str) -> Killed {
    let neighbors: Vec<String> = ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let settings = [
        format!("radiant.name=r{i}"),
        format!("radiant.data_dir={}", folder.join(format!("r{i}")).display()),
        format!("listen.grpc=127.0.0.1:{}", ports[i]),
        "listen.resp=127.0.0.1:0".into(),
        "listen.http=127.0.0.1:0".into(),
        "bootstrap.expect=3".into(),
        format!("bootstrap.neighbors=[{}]", neighbors.join(",")),
        "storage.log_segment_mib=8".into(),
        "storage.reserve_mib=0".into(),
        format!("consensus.engine={engine}"),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardbearer"));
    command.arg("node").stdout(Stdio::null()).stderr(Stdio::null());
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    Killed(command.spawn().expect("the binary is there"))
}

/// A client that knows all of them, once they serve.
pub async fn connect(ports: &[u16]) -> Client {
    let start = Instant::now();
    loop {
        let mut builder = Client::builder().timeout(PATIENCE);
        for port in ports {
            builder = builder.endpoint(format!("127.0.0.1:{port}"));
        }
        match builder.connect().await {
            Ok(client) => return client,
            Err(error) => assert!(start.elapsed() < PATIENCE, "no cluster: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
