//! The command line: one file per command, each with its arguments, its help and its `run`.
//!
//! Exit code 0 is success, 1 a refused or failed operation, 2 wrong usage or an input that cannot be read, 3 a check without
//! a result ([`failure`]). Results go to standard output, everything said to people about them to standard error.

mod args;
mod bench;
mod check;
mod check_config;
mod completions;
#[cfg(feature = "conformance")]
mod conformance;
mod epochs;
mod explain;
mod failure;
mod kv;
mod node;
mod order;
mod orders;
mod output;
mod progress;
mod radiant;
mod radiants;
mod rebalance;
mod reset;
mod shard;
mod shards;
mod status;
mod system;
mod timeline;
mod undo;
mod up;
mod verify;
mod watching;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use shardbearer_client::Client;

use self::failure::Failure;
use self::output::Output;
use crate::engine::Engines;
use crate::storage::opener;

/// A sharded, strongly consistent key-value store.
#[derive(Debug, Parser)]
#[command(name = "shardbearer", version, after_help = EXAMPLES, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  shardbearer up                           start a local cluster
  shardbearer kv put greeting hello        write a value
  shardbearer kv get greeting              read it
  shardbearer status                       see how the cluster is
  shardbearer --output json orders         the same for programs
  SHARDBEARER_ENDPOINTS=10.0.0.1:7400 shardbearer status

Exit code: 0 success, 1 refused or failed, 2 wrong usage, configuration or input, 3 not proven either way (`check`). With
--output json errors are JSON, too, on standard error: the sentence, and the outcome: refused (nothing happened) or
unknown (it may have).";

/// Options of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// gRPC doors of the cluster as host:port,...; any radiant will do, the others are learned from it. Without this
    /// option $SHARDBEARER_ENDPOINTS, else 127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        value_name = "HOST:PORT,...",
        help_heading = "Global options"
    )]
    endpoints: Vec<String>,
    /// How to print results: for people, or as one JSON document
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Global options")]
    output: Output,
    /// How long one operation on the cluster may take, such as 500ms, 10s or 1m (a bare number is seconds); at most 60s,
    /// 10s without this option
    #[arg(
        long,
        global = true,
        value_parser = args::request_duration,
        value_name = "TIME",
        help_heading = "Global options"
    )]
    timeout: Option<Duration>,
}

/// How long one operation may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Names the gRPC doors. Read by hand instead of by clap, so that `bench` can tell it from the option.
const ENDPOINTS_VARIABLE: &str = "SHARDBEARER_ENDPOINTS";

/// The doors of the cluster that `up` starts.
const ENDPOINTS_DEFAULT: &str = "127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402";

impl Global {
    /// The gRPC doors.
    fn endpoints(&self) -> Vec<String> {
        if !self.endpoints.is_empty() {
            return self.endpoints.clone();
        }
        let named = std::env::var(ENDPOINTS_VARIABLE).ok().filter(|named| !named.trim().is_empty());
        let named = named.unwrap_or_else(|| ENDPOINTS_DEFAULT.into());
        named.split(',').map(|endpoint| endpoint.trim().to_owned()).collect()
    }

    fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(TIMEOUT)
    }

    /// For commands that need no cluster: a time that nobody would keep is refused instead of being ignored. `instead` says
    /// what bounds the command.
    fn without_timeout(&self, command: &str, instead: &str) -> anyhow::Result<()> {
        let why = format!("--timeout is for operations on a cluster, and `{command}` asks none; {instead}");
        self.timeout.map_or(Ok(()), |_| Err(Failure::Usage(why).into()))
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let endpoints = self.endpoints();
        let builder =
            endpoints.iter().fold(Client::builder(), |builder, endpoint| builder.endpoint(endpoint));
        builder.timeout(self.timeout()).connect().await.with_context(|| {
            format!(
                "no radiant answers at {}; is the cluster up? Name its gRPC doors with --endpoints",
                endpoints.join(", ")
            )
        })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole local cluster in this process
    Up(up::Up),
    /// Run one radiant of a real cluster
    Node(node::Node),
    /// Check a configuration without starting anything
    CheckConfig(check_config::CheckConfig),
    /// Read and write data
    Kv(kv::Kv),
    /// The health of the cluster and what is wrong with it
    Status(status::Status),
    /// The replica groups: who is in them, who leads them
    Orders(orders::Orders),
    /// The shards: who owns them, how much they hold
    Shards(shards::Shards),
    /// Give orders more or less, create and remove them
    Order(order::Order),
    /// Spread the shards over the orders, or say what that would change
    Rebalance(rebalance::Rebalance),
    /// Move a shard to another order, watch it, call it off; pin it; explain where it is
    Shard(shard::Shard),
    /// The nodes: where they are, what they do
    Radiants(radiants::Radiants),
    /// Give one node another part in the cluster: join, drain, undrain, leave, replace
    Radiant(radiant::Radiant),
    /// Save a cluster whose control order lost most of its members for good
    System(system::System),
    /// The configurations the cluster has had: when, who, why; what differs; the way back
    Epochs(epochs::Epochs),
    /// What happened: elections, epochs, moves, failures, as one story
    Timeline(timeline::Timeline),
    /// Check whether all replicas hold the same
    Verify(verify::Verify),
    /// Measure throughput and latency, of this cluster or of others for comparison
    Bench(bench::Bench),
    /// Check whether a replication engine keeps its promises, and what it costs
    #[cfg(feature = "conformance")]
    Conformance(conformance::Conformance),
    /// Check whether a recorded history is linearizable
    Check(check::Check),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// Parses the arguments of the process and carries them out, with the built-in engines.
pub fn main() -> ExitCode {
    main_with(Engines::default())
}

/// The same for a binary of one's own, with engines of one's own.
pub fn main_with(engines: Engines) -> ExitCode {
    main_of(engines, std::env::args_os())
}

/// The same for a program that has its arguments from elsewhere, its own name first.
pub fn main_of(engines: Engines, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    opener::speak_for_it();
    let output = cli.global.output;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers()).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("shardbearer: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli, engines)) {
        Ok(()) => ExitCode::SUCCESS,
        // `| head` has seen enough; nobody is left to tell.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            match output {
                Output::Table => eprintln!("shardbearer: {error:#}"),
                Output::Json => eprintln!("{}", failure::json(&error)),
            }
            failure::exit_code(&error)
        }
    }
}

/// Threads of the runtime. What waits for a disk does so elsewhere; a second one is for what computes for long.
fn workers() -> usize {
    const LEAST: usize = 2;
    std::thread::available_parallelism().map_or(LEAST, usize::from).max(LEAST)
}

async fn run(cli: Cli, engines: Engines) -> anyhow::Result<()> {
    let Cli { global, command } = cli;
    match command {
        Command::Up(up) => up.run(engines).await,
        Command::Node(node) => node.run(engines).await,
        Command::CheckConfig(check) => check.run(&engines),
        Command::Kv(kv) => kv.run(&global).await,
        Command::Status(status) => status.run(&global).await,
        Command::Orders(orders) => orders.run(&global).await,
        Command::Shards(shards) => shards.run(&global).await,
        Command::Order(order) => order.run(&global).await,
        Command::Rebalance(rebalance) => rebalance.run(&global).await,
        Command::Shard(shard) => shard.run(&global).await,
        Command::Radiants(radiants) => radiants.run(&global).await,
        Command::Radiant(radiant) => radiant.run(&global).await,
        Command::System(system) => system.run(&global).await,
        Command::Epochs(epochs) => epochs.run(&global).await,
        Command::Timeline(timeline) => timeline.run(&global).await,
        Command::Verify(verify) => verify.run(&global).await,
        Command::Bench(bench) => bench.run(&global).await,
        #[cfg(feature = "conformance")]
        Command::Conformance(conformance) => conformance.run(&global, &engines).await,
        Command::Check(check) => check.run(&global),
        Command::Completions(completions) => completions.run(),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(broken))
}
