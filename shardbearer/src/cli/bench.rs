//! `bench`: the load generator's command line.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Global;
use super::args;
use super::output::{self, Output};
use crate::bench::{self, Options, Report};

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "A closed loop unless --rate is given: every client sends, waits for all answers, and sends again. Only ratios \
between runs on the same machine, one after the other, mean anything.

Examples:
  shardbearer bench                                           RESP door, 64 clients, half reads
  shardbearer bench --target grpc --clients 256 --read-share 0
  shardbearer bench --pipeline 32 --clients 16 --zipf 0.99
  shardbearer bench --endpoints 127.0.0.1:6379                a plain Redis
  shardbearer bench --redis-cluster --endpoints 127.0.0.1:7000
  shardbearer bench --target etcd --endpoints 127.0.0.1:2379
  shardbearer bench --pids $(pgrep -d, shardbearer)           with the servers' CPU and memory
  shardbearer bench --rate 2000 --tag a --read-share 0        how long the writes of one shard wait
  shardbearer bench --rate 90000 --give-up 1s --clients 2000  more than there is room for"
)]
pub(super) struct Bench {
    /// What to drive
    #[arg(long, value_enum, default_value_t)]
    target: Target,
    /// Ask for the slot map and send each command to the node of its slot
    #[arg(long)]
    redis_cluster: bool,
    /// Clients at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Operations that a client sends before it waits for their answers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Bytes of a value
    #[arg(long, default_value_t = 256, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=8_388_608))]
    value_size: u32,
    /// How many keys there are
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    keys: u64,
    /// Prefer some keys: the exponent of a zipfian distribution, between 0 and 1 (uniform without it)
    #[arg(long, value_name = "THETA", value_parser = below_one)]
    zipf: Option<f64>,
    /// The share of reads, from 0 to 1
    #[arg(long, default_value_t = 0.5, value_name = "SHARE", value_parser = share)]
    read_share: f64,
    /// How long to run before measuring
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = args::duration_or_zero)]
    warm_up: Duration,
    /// How long to measure
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = args::duration)]
    duration: Duration,
    /// Do not write all keys first
    #[arg(long)]
    no_fill: bool,
    /// Processes of the servers, whose CPU time and memory are to be told
    #[arg(long, value_delimiter = ',', value_name = "PID,...")]
    pids: Vec<u32>,
    /// Operations a second of all clients together, due at fixed times from which latencies count, so that a server that
    /// stands still is not spared
    #[arg(long, value_name = "OPS", value_parser = rate)]
    rate: Option<f64>,
    /// Give up what could not even be sent that long after it was due, so that more may be asked for than can be answered
    #[arg(long, value_name = "TIME", requires = "rate", value_parser = args::duration)]
    give_up: Option<Duration>,
    /// Put all keys into one shard: the hash tag that they have in braces
    #[arg(long, value_name = "TEXT", value_parser = tag)]
    tag: Option<String>,
}

/// What to drive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Redis' protocol: Shardbearer's RESP door, Redis, Valkey
    #[default]
    Resp,
    /// Shardbearer through its client library
    Grpc,
    /// etcd, version 3
    Etcd,
}

impl Bench {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let named = |default: &str| match global.endpoints.is_empty() {
            true => vec![default.to_owned()],
            false => global.endpoints.clone(),
        };
        let target = match (self.target, self.redis_cluster) {
            (Target::Resp, false) => bench::Target::Resp(named("127.0.0.1:6400")),
            (Target::Resp, true) => bench::Target::RespCluster(named("127.0.0.1:6400")),
            (Target::Grpc, false) => bench::Target::Grpc(Box::new(global.client().await?)),
            (Target::Etcd, false) => bench::Target::Etcd(named("127.0.0.1:2379")),
            (Target::Grpc | Target::Etcd, true) => {
                anyhow::bail!("--redis-cluster goes with --target resp only")
            }
        };
        let options = Options {
            clients: self.clients,
            pipeline: self.pipeline,
            value_size: self.value_size,
            keys: self.keys,
            zipf: self.zipf,
            read_share: self.read_share,
            warm_up: self.warm_up,
            duration: self.duration,
            fill: !self.no_fill,
            pids: self.pids,
            rate: self.rate,
            give_up: self.give_up,
            tag: self.tag,
        };
        let report = bench::run(target, options, |text| eprintln!("{text}")).await?;
        match global.output {
            Output::Json => output::json(&report)?,
            Output::Table => print(&report)?,
        }
        if let Some(error) = &report.last_error {
            let said = format!("{} operations failed, the last one with: {error}", report.errors);
            anyhow::ensure!(report.all.ops > 0, "{said}");
            eprintln!("{said}");
        }
        Ok(())
    }
}

fn print(report: &Report) -> std::io::Result<()> {
    let mut table = output::table(&["", "ops/s", "ops", "p50 µs", "p95", "p99", "p99.9", "max"]);
    for (name, part) in [("all", &report.all), ("reads", &report.reads), ("writes", &report.writes)] {
        if part.ops > 0 {
            table.add_row([
                name.to_owned(),
                format!("{:.0}", part.ops_per_second),
                part.ops.to_string(),
                part.p50_us.to_string(),
                part.p95_us.to_string(),
                part.p99_us.to_string(),
                part.p999_us.to_string(),
                part.max_us.to_string(),
            ]);
        }
    }
    output::right(&mut table, &[1, 2, 3, 4, 5, 6, 7]);
    output::line(table)?;
    output::line(format!("errors {}", report.errors))?;
    if report.given_up > 0 {
        output::line(format!("given up before they were sent: {}", report.given_up))?;
    }
    output::line(format!("longest time without an answer: {:.1} ms", report.longest_gap_ms))?;
    output::line(format!("load generator: {:.1} µs of CPU per operation", report.generator.cpu_us_per_op))?;
    if let Some(servers) = &report.servers {
        output::line(format!(
            "servers: {:.1} µs of CPU per operation, {:.2} cores, {} resident",
            servers.cpu_us_per_op,
            servers.cpu_seconds / report.seconds.max(0.001),
            output::bytes(servers.rss_bytes)
        ))?;
    }
    Ok(())
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 1".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=1e9).contains(&rate) => Ok(rate),
        _ => Err("write operations a second, such as 2000".into()),
    }
}

fn tag(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(['{', '}']) {
        true => Err("write a text without braces".into()),
        false => Ok(text.to_owned()),
    }
}

fn below_one(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(theta) if theta > 0.0 && theta < 1.0 => Ok(theta),
        _ => Err("write a number above 0 and below 1, such as 0.99".into()),
    }
}
