//! A load generator: so many clients, each of which sends, waits for the answers, and sends again; at once, or, where a
//! rate is asked for, when it is due. Latencies then count from when it was due: a server that stands still for a second
//! does not get away with one slow answer.
//!
//! It drives Shardbearer through its RESP and gRPC doors, and Redis, Redis Cluster and etcd for comparison, all by the
//! same loop, so that the numbers can be put side by side. Latencies are those of whole pipelines: what a caller
//! waits. Operations begun before the warm-up is over are not counted.

mod driver;
mod etcd;
mod gaps;
mod histogram;
mod process;
mod resp;
mod resp_cluster;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use shardbearer_client::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::driver::{Driver, Kind, Op};
use self::gaps::Gaps;
pub use self::histogram::Part;
use self::histogram::Tally;
pub use self::process::Usage;
use self::workload::Workload;

/// Rest after an error, so that a dead server is not hammered.
const REST: Duration = Duration::from_millis(50);

/// How many count. Thousands of clients with a histogram each would measure the machine's memory.
const TALLIES: usize = 16;

/// Keys that a client writes at once while filling.
const FILL_AT_ONCE: u64 = 64;

/// What to drive.
pub enum Target {
    /// Servers that speak Redis' protocol; clients are spread over them.
    Resp(Vec<String>),
    /// A Redis Cluster, known by some of its nodes.
    RespCluster(Vec<String>),
    /// Shardbearer through its client library.
    Grpc(Box<Client>),
    /// Members of an etcd cluster; clients are spread over them.
    Etcd(Vec<String>),
}

/// How to drive it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clients at once.
    pub clients: u32,
    /// Operations a client sends before it waits.
    pub pipeline: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many keys.
    pub keys: u64,
    /// Exponent of a zipfian choice of keys; uniform without one.
    pub zipf: Option<f64>,
    /// Share of reads, 0 to 1.
    pub read_share: f64,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Time of measuring.
    pub duration: Duration,
    /// Whether all keys are written first.
    pub fill: bool,
    /// Processes of the servers.
    pub pids: Vec<u32>,
    /// Operations a second of all clients together; as many as are answered without it.
    pub rate: Option<f64>,
    /// Of operations that are due: how late they are sent at most.
    pub give_up: Option<Duration>,
    /// A hash tag that all keys have, so that they are in one shard.
    pub tag: Option<String>,
}

impl Default for Options {
    /// What `shardbearer bench` does unless told otherwise.
    fn default() -> Self {
        Options {
            clients: 64,
            pipeline: 1,
            value_size: 256,
            keys: 100_000,
            zipf: None,
            read_share: 0.5,
            warm_up: Duration::from_secs(2),
            duration: Duration::from_secs(10),
            fill: true,
            pids: Vec::new(),
            rate: None,
            give_up: None,
            tag: None,
        }
    }
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// "resp", "resp-cluster", "grpc" or "etcd".
    pub target: &'static str,
    /// As asked for; so are the next five.
    pub clients: u32,
    /// Operations per round trip.
    pub pipeline: u32,
    /// Bytes.
    pub value_size: u32,
    /// Keys.
    pub keys: u64,
    /// Exponent, if zipfian.
    pub zipf: Option<f64>,
    /// Share of reads.
    pub read_share: f64,
    /// Operations a second that were asked for, if they were.
    pub rate: Option<f64>,
    /// Seconds measured.
    pub seconds: f64,
    /// Longest time in milliseconds in which no operation was finished.
    pub longest_gap_ms: f64,
    /// Operations that failed while measuring.
    pub errors: u64,
    /// Operations that could not even be sent in time.
    pub given_up: u64,
    /// Why the last of those that failed did.
    pub last_error: Option<String>,
    /// All operations.
    pub all: Part,
    /// Of them the reads.
    pub reads: Part,
    /// Of them the writes.
    pub writes: Part,
    /// This process.
    pub generator: Usage,
    /// The servers' processes together, if they were named.
    pub servers: Option<Usage>,
}

/// Fills, warms up, measures.
pub async fn run(target: Target, options: Options, say: impl Fn(&str)) -> anyhow::Result<Report> {
    // A process that does not exist is said before anything is written.
    process::cpu(&options.pids)?;
    let workload = Arc::new(Workload::new(&options));
    let mut drivers: Vec<Box<dyn Driver>> = Vec::new();
    for client in 0..options.clients as usize {
        drivers.push(connect(&target, client).await?);
    }
    if options.fill {
        say(&format!("writing {} keys ...", options.keys));
        drivers = fill(drivers, &workload).await?;
    }
    say(&format!("running for {:.0} s ...", (options.warm_up + options.duration).as_secs_f64()));
    let begin = Instant::now() + options.warm_up;
    let end = begin + options.duration;
    let gaps = Arc::new(Gaps::new(begin));
    let every = options.rate.map(|rate| every(&options, rate));
    let tallies: [Arc<Mutex<Tally>>; TALLIES] = Default::default();
    let mut clients = JoinSet::new();
    for (number, driver) in drivers.into_iter().enumerate() {
        let client = Loop {
            driver,
            workload: workload.clone(),
            rng: StdRng::seed_from_u64(number as u64),
            pipeline: options.pipeline as usize,
            // Evenly after one another.
            due: every.map(|every| (Instant::now() + every / options.clients * number as u32, every)),
            give_up: options.give_up,
            gaps: gaps.clone(),
            tally: tallies[number % TALLIES].clone(),
            begin,
            end,
        };
        clients.spawn(client.run());
    }
    let me = [std::process::id()];
    tokio::time::sleep_until(begin).await;
    let (generator, servers) = (process::cpu(&me)?, process::cpu(&options.pids)?);
    tokio::time::sleep_until(end).await;
    let (generator, servers) = (process::cpu(&me)? - generator, process::cpu(&options.pids)? - servers);
    let rss = (process::rss(&me)?, process::rss(&options.pids)?);
    while let Some(done) = clients.join_next().await {
        done.context("a client broke off")?;
    }
    let mut tally = Tally::default();
    tallies.iter().for_each(|other| tally.add(&other.lock()));
    let seconds = options.duration.as_secs_f64();
    let all = tally.all();
    let ops = all.len();
    ensure!(ops > 0 || tally.last_error.is_some(), "no operation was finished in {seconds} s");
    Ok(Report {
        target: name(&target),
        clients: options.clients,
        pipeline: options.pipeline,
        value_size: options.value_size,
        keys: options.keys,
        zipf: options.zipf,
        read_share: options.read_share,
        rate: options.rate,
        seconds,
        longest_gap_ms: gaps.longest(end).as_secs_f64() * 1e3,
        errors: tally.errors,
        given_up: tally.given_up,
        last_error: tally.last_error.clone(),
        all: Part::new(&all, seconds),
        reads: Part::new(&tally.reads, seconds),
        writes: Part::new(&tally.writes, seconds),
        generator: Usage::new(generator, rss.0, ops),
        servers: (!options.pids.is_empty()).then(|| Usage::new(servers, rss.1, ops)),
    })
}

/// How often each client has to send for so many operations a second of all.
fn every(options: &Options, rate: f64) -> Duration {
    Duration::from_secs_f64(f64::from(options.clients) * f64::from(options.pipeline) / rate)
}

fn name(target: &Target) -> &'static str {
    match target {
        Target::Resp(_) => "resp",
        Target::RespCluster(_) => "resp-cluster",
        Target::Grpc(_) => "grpc",
        Target::Etcd(_) => "etcd",
    }
}

async fn connect(target: &Target, client: usize) -> anyhow::Result<Box<dyn Driver>> {
    let one = |endpoints: &[String]| endpoints.get(client % endpoints.len().max(1)).cloned();
    Ok(match target {
        Target::Resp(endpoints) => {
            Box::new(resp::Connection::open(&one(endpoints).context("no endpoint")?).await?)
        }
        Target::RespCluster(endpoints) => Box::new(resp_cluster::Cluster::open(endpoints).await?),
        Target::Grpc(shared) => Box::new(Client::clone(shared)),
        Target::Etcd(endpoints) => Box::new(etcd::Etcd::open(&one(endpoints).context("no endpoint")?).await?),
    })
}

/// Writes every key once, the clients sharing them.
async fn fill(
    drivers: Vec<Box<dyn Driver>>,
    workload: &Arc<Workload>,
) -> anyhow::Result<Vec<Box<dyn Driver>>> {
    let clients = drivers.len() as u64;
    let mut filling = JoinSet::new();
    for (number, mut driver) in drivers.into_iter().enumerate() {
        let workload = workload.clone();
        let (mut next, last) =
            (workload.keys * number as u64 / clients, workload.keys * (number as u64 + 1) / clients);
        filling.spawn(async move {
            while next < last {
                let keys = next..last.min(next + FILL_AT_ONCE);
                next = keys.end;
                let ops: Vec<Op> = keys.map(|key| Op { kind: Kind::Write, key: workload.key(key) }).collect();
                driver.run(&ops, &workload.value).await.context("while writing the keys")?;
            }
            anyhow::Ok(driver)
        });
    }
    let mut drivers = Vec::new();
    while let Some(driver) = filling.join_next().await {
        drivers.push(driver.context("a client broke off")??);
    }
    Ok(drivers)
}

/// One client.
struct Loop {
    driver: Box<dyn Driver>,
    workload: Arc<Workload>,
    rng: StdRng,
    pipeline: usize,
    /// When to send next, and how long after that again; without it at once.
    due: Option<(Instant, Duration)>,
    give_up: Option<Duration>,
    gaps: Arc<Gaps>,
    tally: Arc<Mutex<Tally>>,
    begin: Instant,
    end: Instant,
}

impl Loop {
    async fn run(mut self) {
        let value: Bytes = self.workload.value.clone();
        let mut ops = Vec::with_capacity(self.pipeline);
        loop {
            ops.clear();
            ops.extend((0..self.pipeline).map(|_| self.workload.next(&mut self.rng)));
            self.give_up_what_is_late();
            let sent = self.turn().await;
            // Who is behind does not go on after the end.
            if sent.max(Instant::now()) >= self.end {
                return;
            }
            // What is not answered some time after the end is not waited for.
            let result = tokio::time::timeout_at(self.end + REST * 20, self.driver.run(&ops, &value)).await;
            let took = sent.elapsed();
            let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
            let counts = sent >= self.begin;
            match result {
                Ok(()) if counts && sent + took <= self.end => {
                    self.gaps.finished(sent + took);
                    self.tally.lock().record(&ops, took);
                }
                Ok(()) => {}
                Err(error) => {
                    if counts {
                        self.tally.lock().fail(ops.len(), format!("{error:#}"));
                    }
                    // Who gives up is never so far behind that it would send all at once.
                    if self.give_up.is_none() {
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        }
    }

    /// Passes over what was due longer ago than anybody waits.
    fn give_up_what_is_late(&mut self) {
        let (Some((due, every)), Some(patience)) = (&mut self.due, self.give_up) else { return };
        let late = due.elapsed().saturating_sub(patience).min(self.end.saturating_duration_since(*due));
        let missed = late.as_nanos() / every.as_nanos().max(1);
        let missed = u32::try_from(missed).unwrap_or(u32::MAX);
        let before = self.begin.saturating_duration_since(*due).as_nanos().div_ceil(every.as_nanos().max(1));
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        self.tally.lock().given_up += u64::from(missed.saturating_sub(before)) * self.pipeline as u64;
        *due += *every * missed;
    }

    /// Waits until the next operations are due; returns when they were.
    async fn turn(&mut self) -> Instant {
        let Some((due, every)) = &mut self.due else { return Instant::now() };
        let now = *due;
        *due += *every;
        if now < self.end {
            tokio::time::sleep_until(now).await;
        }
        now
    }
}

#[cfg(test)]
mod tests;
