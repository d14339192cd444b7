//! Radiants on free ports with data in temporary folders.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shardbearer::config::Config;
use shardbearer::engine::Engines;
use shardbearer::kv::{Call, CallResult, Door, Request};
use shardbearer::node::{self, NodeError, Running};
use shardbearer_core::kv::{Command, Condition, Expiry, Reply};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// For anything that should happen at all.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A radiant that runs.
pub struct Radiant {
    pub running: Arc<Running>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), NodeError>>,
}

/// A radiant that was started and may not have found its cluster yet.
pub struct Starting {
    stop: CancellationToken,
    task: JoinHandle<Result<(), NodeError>>,
    opened: mpsc::Receiver<Arc<Running>>,
}

impl Starting {
    /// Waits until it serves.
    pub async fn open(mut self) -> Radiant {
        let running = tokio::time::timeout(PATIENCE, self.opened.recv()).await.expect("in time");
        match running {
            Some(running) => Radiant { running, stop: self.stop, task: self.task },
            None => panic!("did not start: {:?}", self.task.await),
        }
    }

    /// Waits until it gives up, and says why.
    pub async fn fail(self) -> String {
        let result = tokio::time::timeout(PATIENCE, self.task).await.expect("in time").expect("no panic");
        result.expect_err("it should not run").to_string()
    }
}

impl Radiant {
    pub fn door(&self) -> &dyn Door {
        self.running.door.as_ref()
    }

    /// Stops it in an orderly way.
    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.running);
        self.task.await.expect("no panic").expect("no failure");
    }

    /// Waits until it ends by itself, in an orderly way.
    pub async fn ended(self) {
        drop(self.running);
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("in time");
        ended.expect("no panic").expect("no failure");
    }

    pub async fn execute(&self, command: Command) -> CallResult {
        let calls = vec![Call::new(command)];
        let request = Request { table: "default".into(), calls, deadline: Duration::from_secs(10) };
        self.door().execute(request).await.remove(0)
    }

    pub async fn put(&self, key: &str, value: &str) -> CallResult {
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()));
        self.execute(Command::Put {
            key,
            value,
            condition: Condition::Always,
            expiry: Expiry::Never,
            previous: false,
        })
        .await
    }

    pub async fn get(&self, key: &str) -> Option<String> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        match self.execute(Command::Get { key }).await {
            Ok(Reply::Record(record)) => {
                record.map(|record| String::from_utf8(record.value.to_vec()).expect("text"))
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A configuration of a radiant in `folder` whose ports the system chooses, save the gRPC door's.
pub fn config(folder: &Path, name: &str, port: u16, neighbors: &[u16], expect: u32) -> Config {
    let mut config = Config::default();
    config.radiant.name = name.into();
    config.radiant.data_dir = folder.join(name);
    config.listen.grpc = format!("127.0.0.1:{port}");
    config.listen.resp = "127.0.0.1:0".into();
    config.listen.http = "127.0.0.1:0".into();
    config.bootstrap.neighbors = neighbors.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    config.bootstrap.expect = expect;
    config.storage.log_segment_mib = 8;
    config.storage.reserve_mib = 0;
    config
}

/// Starts a radiant. Its log is shown where `RUST_LOG` says so.
pub fn start(config: Config) -> Starting {
    if let Ok(filter) = std::env::var("RUST_LOG") {
        // Another test of this process may have done so.
        let _ = shardbearer::telemetry::logs::start(&filter, shardbearer::telemetry::logs::Format::Text);
    }
    let prepared = node::prepare(config, Engines::default()).expect("a folder and ports");
    let stop = CancellationToken::new();
    let (opened, running) = mpsc::channel(1);
    let task = tokio::spawn(prepared.run(stop.clone(), opened, false));
    Starting { stop, task, opened: running }
}

/// Ports that nobody uses. Below those that the system gives to outgoing connections, which could take
/// a radiant's port while it is stopped.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = Vec::new();
    while ports.len() < count {
        let port = 10_000 + (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = u16::try_from(port).expect("below 30 000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ports
}

/// A cluster of `count` radiants that all name the first and the next.
pub async fn cluster(count: usize) -> (tempfile::TempDir, Vec<Radiant>) {
    cluster_with(count, |_| {}).await
}

/// The same with a configuration that is changed.
pub async fn cluster_with(count: usize, change: impl Fn(&mut Config)) -> (tempfile::TempDir, Vec<Radiant>) {
    let folder = tempfile::tempdir().expect("a folder");
    let ports = free_ports(count);
    let starting: Vec<Starting> = (0..count)
        .map(|i| {
            let neighbors = if count == 1 { vec![] } else { vec![ports[0], ports[(i + 1) % count]] };
            let mut config = config(folder.path(), &format!("r{i}"), ports[i], &neighbors, count as u32);
            change(&mut config);
            start(config)
        })
        .collect();
    let mut radiants = Vec::new();
    for radiant in starting {
        radiants.push(radiant.open().await);
    }
    (folder, radiants)
}

/// Waits until `holds`, looking often.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
