//! Clusters of real processes on loopback: started from files, killed when dropped, their logs shown on failure.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::defective::Defect;

/// For anything that should happen at all.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_shardbearer");

/// The program with these arguments; `CHAOS_PROGRAM` may name another, such as one that was built for release.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CHAOS_PROGRAM").unwrap_or(BINARY.into()));
    command.args(arguments);
    command
}

/// Who has the machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits until nobody else has the machine.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Ports that nobody uses, below those that the system gives to outgoing connections, which could take a
/// radiant's port while it is stopped. Not those of the other test binaries, which may run beside this one.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut ports = Vec::new();
    while ports.len() < count {
        let port = 30_100 + (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % 2_600;
        let port = u16::try_from(port).unwrap();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ports
}

/// One radiant: a file, a folder, and a process while it runs.
pub struct Radiant {
    pub name: String,
    pub folder: PathBuf,
    pub file: PathBuf,
    pub grpc: String,
    pub resp: String,
    pub http: String,
    log: PathBuf,
    process: Option<Child>,
    /// What goes before its file, as `section.key=value`.
    pub settings: Vec<String>,
    /// For the process, beside what the test itself was given.
    pub environment: Vec<(String, String)>,
    /// What its engine does wrong: a positive control.
    pub defect: Option<Defect>,
}

impl Radiant {
    /// Starts the process. What it says is added to its log.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.name);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut arguments = vec!["node", "--config", self.file.to_str().unwrap()];
        arguments.extend(self.settings.iter().flat_map(|setting| ["--set", setting]));
        let mut command = match self.defect {
            Some(defect) => defect.program(&arguments),
            None => program(&arguments),
        };
        let child = command
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(child.unwrap());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.process.take().expect("it runs");
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{} had ended by itself: {status}", self.name);
    }

    /// `kill -9` of one that may just be ending by itself; how it ended, if so.
    pub fn kill_if_it_runs(&mut self) -> Option<ExitStatus> {
        let mut child = self.process.take().expect("it was started");
        child.kill().unwrap();
        Some(child.wait().unwrap()).filter(|status| status.signal() != Some(9))
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Of the process that runs.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.process.take().expect("it runs");
        let mut ended = None;
        let what = format!("{} ends", self.name);
        eventually(&what, || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap()
    }

    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// All it has said since its file was made.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it answers 200 on `/readyz`.
    pub async fn is_ready(&self) -> bool {
        matches!(http_get(&self.http, "/readyz").await, Some((200, _)))
    }

    /// The cluster as it sees it.
    pub async fn status(&self) -> Option<Value> {
        let (code, body) = http_get(&self.http, "/v1/status").await?;
        if code == 200 { serde_json::from_str(&body).ok() } else { None }
    }

    /// Waits until it says so in its log, counted from byte `from`.
    pub async fn says(&self, words: &str, from: usize) {
        let what = format!("{} says {words:?}", self.name);
        eventually(&what, || self.log().get(from..).is_some_and(|log| log.contains(words))).await;
    }
}

impl Drop for Radiant {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("---- the last words of {} ----", self.name);
            for line in &lines[lines.len().saturating_sub(60)..] {
                eprintln!("{line}");
            }
        }
    }
}

/// Radiants that are meant to be one cluster.
pub struct Cluster {
    pub radiants: Vec<Radiant>,
    pub folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Files for `count` radiants, of which none runs.
    pub async fn prepared(count: usize) -> Cluster {
        let turn = turn().await;
        let folder = tempfile::tempdir().unwrap();
        let grpc = free_ports(count);
        let radiants = (0..count).map(|index| prepare(folder.path(), index, &grpc)).collect();
        Cluster { radiants, folder, _turn: turn }
    }

    /// `count` radiants that serve.
    pub async fn started(count: usize) -> Cluster {
        let mut cluster = Cluster::prepared(count).await;
        cluster.start_all();
        cluster.ready().await;
        cluster
    }

    /// Three radiants that serve, with this engine for their data.
    pub async fn of(engine: &str) -> Cluster {
        let mut cluster = Cluster::prepared(3).await;
        cluster.set(&format!("consensus.engine={engine}"));
        cluster.start_all();
        cluster.ready().await;
        cluster
    }

    pub fn start_all(&mut self) {
        for radiant in &mut self.radiants {
            radiant.start();
        }
    }

    pub fn kill_all(&mut self) {
        for radiant in &mut self.radiants {
            radiant.kill();
        }
    }

    /// Waits until all that run are ready.
    pub async fn ready(&mut self) {
        self.ready_within(PATIENCE).await;
    }

    /// The same for data that take longer to open.
    pub async fn ready_within(&mut self, patience: Duration) {
        for radiant in &mut self.radiants {
            let start = Instant::now();
            while radiant.process.is_some() && !radiant.is_ready().await {
                assert!(radiant.runs(), "{} has ended", radiant.name);
                assert!(start.elapsed() < patience, "{} is not ready in time", radiant.name);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits until every order is led by the radiant that should lead it.
    pub async fn led_as_preferred(&self) {
        let start = Instant::now();
        while !self.leads_as_preferred().await {
            let seen = self.radiants[0].status().await.unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "not led as it should be: {:#}", seen["orders"]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Whether every order is led by the radiant that should lead it. Not if nobody can be asked just now.
    pub async fn leads_as_preferred(&self) -> bool {
        let connected = tokio::time::timeout(Duration::from_secs(2), self.connect()).await;
        let Ok(Ok(client)) = connected else { return false };
        let topology = client.topology();
        let status = self.radiants[0].status().await.unwrap_or_default();
        topology.orders.iter().all(|order| {
            let orders = status["orders"].as_array();
            let found = orders.and_then(|all| all.iter().find(|found| found["id"] == order.id.0));
            found.is_some_and(|found| found["herald"] == order.preferred_herald.0)
        })
    }

    /// Who leads an order, as the first that answers sees it.
    pub async fn leading(&self) -> Vec<usize> {
        for radiant in &self.radiants {
            let Some(status) = radiant.status().await else { continue };
            let of = |index: &usize| {
                let all = status["radiants"].as_array().into_iter().flatten();
                all.filter(|found| found["name"] == self.radiants[*index].name.as_str())
                    .any(|found| found["leads"].as_array().is_some_and(|leads| !leads.is_empty()))
            };
            return (0..self.radiants.len()).filter(of).collect();
        }
        Vec::new()
    }

    /// Gives all of them a setting.
    pub fn set(&mut self, setting: &str) {
        for radiant in &mut self.radiants {
            radiant.settings.push(setting.to_owned());
        }
    }

    /// SIGTERM to all; all exit with 0.
    pub async fn stop(&mut self) {
        for radiant in &self.radiants {
            radiant.terminate();
        }
        for radiant in &mut self.radiants {
            assert_eq!(radiant.ended().await.code(), Some(0), "{}", radiant.name);
        }
    }

    pub fn resp_doors(&self) -> Vec<String> {
        self.radiants.iter().map(|radiant| radiant.resp.clone()).collect()
    }

    /// The smart client, patient enough for any outage of these tests.
    pub async fn client(&self) -> shardbearer_client::Client {
        self.connect().await.unwrap()
    }

    async fn connect(&self) -> Result<shardbearer_client::Client, shardbearer_client::Error> {
        let builder = shardbearer_client::Client::builder().timeout(PATIENCE);
        let builder = builder.attempt_timeout(Duration::from_secs(1));
        let endpoints = self.radiants.iter().map(|radiant| radiant.grpc.clone());
        endpoints.fold(builder, |builder, grpc| builder.endpoint(grpc)).connect().await
    }

    /// Runs a command of the program's against the cluster.
    pub fn run(&self, args: &[&str]) -> Output {
        let endpoints: Vec<&str> = self.radiants.iter().map(|radiant| radiant.grpc.as_str()).collect();
        let endpoints = endpoints.join(",");
        Command::new(BINARY).env("SHARDBEARER_ENDPOINTS", endpoints).args(args).output().unwrap()
    }
}

fn prepare(folder: &Path, index: usize, grpc: &[u16]) -> Radiant {
    let name = format!("r{}", index + 1);
    let [resp, http] = free_ports(2).try_into().unwrap();
    let address = |port: u16| format!("127.0.0.1:{port}");
    let data = folder.join(&name);
    let neighbors: Vec<String> = grpc.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    // Small segments, so that the log moves on within a test; no reserve, because disks of test machines are full. What is stored
    // is held against what was written all the time.
    let text = format!(
        r#"[radiant]
name = "{name}"
data_dir = "{data}"

[listen]
grpc = "127.0.0.1:{grpc}"
resp = "127.0.0.1:{resp}"
http = "127.0.0.1:{http}"

[bootstrap]
neighbors = [{neighbors}]
expect = {count}
window_ms = 1000

[storage]
log_segment_mib = 8
reserve_mib = 0
audit_seconds = 2
"#,
        data = data.display(),
        grpc = grpc[index],
        count = grpc.len(),
        neighbors = if grpc.len() == 1 { String::new() } else { neighbors.join(", ") },
    );
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, text).unwrap();
    Radiant {
        log: folder.join(format!("{name}.log")),
        name,
        folder: data,
        file,
        grpc: address(grpc[index]),
        resp: address(resp),
        http: address(http),
        process: None,
        settings: Vec::new(),
        environment: Vec::new(),
        defect: None,
    }
}

/// Status code and body of a page; `None` if nobody answers.
pub async fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some((code, body.to_owned()))
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.ok()?
}

/// Waits until `holds`, looking often.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
