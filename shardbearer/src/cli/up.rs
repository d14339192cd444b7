//! `shardbearer up`: a whole local cluster in one process, with real sockets and real disks.

use std::cell::Cell;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use shardbearer_core::membership::Standing;
use shardbearer_core::topology::Topology;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::node::{on_signals, start_logs};
use super::output;
use crate::config::{self, Config};
use crate::engine::Engines;
use crate::gateway::Overview;
use crate::node::{self, NodeError, Prepared, Running};

/// Runs a cluster in this process, to try things and to develop against. Its data outlive it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer up
  shardbearer up --radiants 5 --data /tmp/five
  shardbearer up --set consensus.engine=chain --data /tmp/chains
  shardbearer up --set storage.engine=memory --set bootstrap.shards=16

Radiant 1 has the first port of each kind, radiant 2 the next, and so on. Ctrl-C stops all; the data stay.
For separate processes see `shardbearer node` and scripts/cluster.sh.")]
pub struct Up {
    /// How many radiants; 3 survive the loss of one, 5 of two
    #[arg(long, short = 'n', default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    radiants: u16,
    /// Where the data are kept, a folder for each radiant
    #[arg(long, short, value_name = "DIR", default_value = "shardbearer-data")]
    data: PathBuf,
    /// First gRPC port
    #[arg(long, value_name = "PORT", default_value_t = 7400)]
    grpc_port: u16,
    /// First Redis port
    #[arg(long, value_name = "PORT", default_value_t = 6400)]
    resp_port: u16,
    /// First HTTP port
    #[arg(long, value_name = "PORT", default_value_t = 7480)]
    http_port: u16,
    /// Sets a key of all radiants' configuration; may be given several times
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

/// How long founding may take before the operator is told that something is wrong.
const READY_MAX: Duration = Duration::from_secs(60);

impl Up {
    pub async fn run(self, engines: Engines) -> anyhow::Result<()> {
        let started = Instant::now();
        self.check_ports()?;
        let configs =
            (0..self.radiants).map(|i| self.config(i, &engines)).collect::<anyhow::Result<Vec<Config>>>()?;
        let former = self.check_data()?;
        let wanted = configs[0].clone();
        let mut logging = configs[0].clone();
        if std::env::var_os("SHARDBEARER_TELEMETRY_LOG").is_none()
            && !self.settings.iter().any(|setting| setting.starts_with("telemetry.log"))
        {
            // The terminal is for people here.
            logging.telemetry.log = "warn,openraft=error".into();
        }
        start_logs(&logging)?;
        let prepared = configs
            .into_iter()
            .map(|config| node::prepare(config, engines.clone()))
            .collect::<Result<Vec<Prepared>, NodeError>>();
        let prepared = prepared.map_err(|error| match error {
            NodeError::Door(why) => anyhow::anyhow!(
                "{why} (here: another --grpc-port, --resp-port or --http-port; is another `shardbearer up` running?)"
            ),
            other => other.into(),
        })?;
        self.print_doors(&prepared);

        let stop = CancellationToken::new();
        let _signals = AbortOnDropHandle::new(tokio::spawn(on_signals(stop.clone())));
        let (opened, mut running) = mpsc::channel(usize::from(self.radiants));
        let mut radiants = JoinSet::new();
        for prepared in prepared {
            let span = tracing::info_span!("radiant", name = prepared.name());
            // All stop together, so there is nobody to hand leads to.
            radiants.spawn(prepared.run(stop.clone(), opened.clone(), false).instrument(span));
        }
        drop(opened);
        let left = Cell::new(0);
        let mut ready = pin!(self.wait_ready(&mut running, &left));
        let mut waits = true;
        let first = loop {
            tokio::select! {
                topology = &mut ready, if waits => {
                    waits = false;
                    let topology = topology?;
                    self.print_ready(started.elapsed());
                    if former > 0 {
                        for line in self.founded(former, &wanted, &topology) {
                            println!("{line}");
                        }
                    }
                }
                ended = radiants.join_next() => match ended {
                    // One that has left the cluster goes alone.
                    Some(Ok(Ok(()))) if !stop.is_cancelled() && !radiants.is_empty() => left.set(left.get() + 1),
                    ended => break ended,
                }
            }
        };
        // One that failed takes the others down in order, so that the failure is not overlooked.
        stop.cancel();
        let mut result = outcome(first);
        while let Some(ended) = radiants.join_next().await {
            result = result.and(outcome(Some(ended)));
        }
        result?;
        eprintln!("Stopped. The data are in {}.", self.data.display());
        Ok(())
    }

    /// Each kind of door has as many ports as there are radiants, and none may be another's.
    fn check_ports(&self) -> anyhow::Result<()> {
        let doors = [
            ("--grpc-port", self.grpc_port),
            ("--resp-port", self.resp_port),
            ("--http-port", self.http_port),
        ];
        for (at, (name, first)) in doors.iter().enumerate() {
            for (other, port) in &doors[at + 1..] {
                if first.abs_diff(*port) < self.radiants {
                    bail!(
                        "{name} {first} and {other} {port} are too close: {} radiants take {} ports from each on",
                        self.radiants,
                        self.radiants
                    );
                }
            }
        }
        Ok(())
    }

    fn config(&self, index: u16, engines: &Engines) -> anyhow::Result<Config> {
        let port = |first: u16, of: u16| {
            let port = first.checked_add(of).with_context(|| format!("there is no port {first} + {of}"))?;
            Ok::<_, anyhow::Error>(format!("127.0.0.1:{port}"))
        };
        let neighbors =
            (0..self.radiants).map(|of| port(self.grpc_port, of)).collect::<anyhow::Result<Vec<_>>>()?;
        // Before anything is judged: whether an engine can be run depends on how many there are.
        let mut settings = self.settings.clone();
        settings.extend([
            format!("listen.grpc={}", port(self.grpc_port, index)?),
            format!("listen.resp={}", port(self.resp_port, index)?),
            format!("listen.http={}", port(self.http_port, index)?),
            format!("bootstrap.expect={}", self.radiants),
            format!("bootstrap.neighbors={neighbors:?}"),
        ]);
        let mut config = config::load(None, std::env::vars(), &settings, engines)?;
        config.radiant.name = format!("radiant-{}", index + 1);
        config.radiant.data_dir = self.data.join(&config.radiant.name);
        Ok(config)
    }

    /// How many radiants there are already. A cluster of more than are started could not be served.
    fn check_data(&self) -> anyhow::Result<u16> {
        let there = (1..=9).rev().find(|i| self.data.join(format!("radiant-{i}")).is_dir()).unwrap_or(0);
        if there > self.radiants {
            bail!(
                "{} holds a cluster of {there} radiants; start it with --radiants {there}, or choose another --data",
                self.data.display()
            );
        }
        Ok(there)
    }

    /// What is otherwise than this call asks for, because the cluster was founded before. A sentence each.
    fn founded(&self, former: u16, wanted: &Config, topology: &Topology) -> Vec<String> {
        let mut lines = Vec::new();
        let usual = Config::default();
        let data = || topology.orders.iter().filter(|order| !order.id.is_control());
        let shards = topology.tables.first().map_or(0, |table| table.shards.len()).to_string();
        let replication = data().map(|order| order.members.len()).max().unwrap_or(0).to_string();
        let engine = data().next().map_or("", |order| order.engine.as_str()).to_owned();
        let [want, default] = [wanted, &usual].map(|config| {
            let bootstrap = &config.bootstrap;
            [
                bootstrap.shards.to_string(),
                bootstrap.orders.to_string(),
                bootstrap.replication.to_string(),
                config.consensus.engine.clone(),
            ]
        });
        let names = ["bootstrap.shards", "bootstrap.orders", "bootstrap.replication", "consensus.engine"];
        let in_force = [shards, data().count().to_string(), replication, engine];
        for (at, name) in names.into_iter().enumerate() {
            if want[at] != default[at] && want[at] != in_force[at] {
                lines.push(format!(
                    "{name} = {} counts only at the founding; this cluster has {}. For another one, name another --data.",
                    want[at], in_force[at]
                ));
            }
        }
        let gone = topology.radiants.iter().filter(|radiant| radiant.standing == Standing::Gone);
        let gone: Vec<&str> = gone.map(|radiant| radiant.name.as_str()).collect();
        if !gone.is_empty() {
            lines.push(format!(
                "{} left this cluster for good, and what is in their folders is of no use.",
                gone.join(", ")
            ));
        }
        if former < self.radiants {
            let new: Vec<String> = (former + 1..=self.radiants).map(|i| format!("radiant-{i}")).collect();
            lines.push(format!(
                "{} joined as spares and hold no data. To give one seats: {} radiant join {}{}",
                new.join(", "),
                output::program(),
                new[0],
                self.endpoints()
            ));
        }
        lines
    }

    /// The option that commands need to find this cluster.
    fn endpoints(&self) -> String {
        match self.grpc_port {
            7400 => String::new(),
            port => format!(" --endpoints 127.0.0.1:{port}"),
        }
    }

    fn print_doors(&self, prepared: &[Prepared]) {
        println!(
            "Shardbearer {}: {} in one process, data in {}\n",
            env!("CARGO_PKG_VERSION"),
            if prepared.len() == 1 { "one radiant".into() } else { format!("{} radiants", prepared.len()) },
            self.data.display()
        );
        for radiant in prepared {
            let doors = radiant.doors();
            println!(
                "  {}   Redis {}   gRPC {}   HTTP {}",
                radiant.name(),
                doors.resp,
                doors.grpc,
                doors.http
            );
        }
        println!();
    }

    /// Waits until all radiants are in, save those that have `left`, and everything is served; returns the configuration in force.
    async fn wait_ready(
        &self,
        running: &mut mpsc::Receiver<Arc<Running>>,
        left: &Cell<usize>,
    ) -> anyhow::Result<Arc<Topology>> {
        let deadline = Instant::now() + READY_MAX;
        let mut radiants: Vec<Arc<Running>> = Vec::new();
        loop {
            while let Ok(radiant) = running.try_recv() {
                radiants.push(radiant);
            }
            radiants.retain(|radiant| !radiant.cluster.left.is_cancelled());
            let all_in = radiants.len() + left.get() >= usize::from(self.radiants);
            let status = radiants.first().filter(|_| all_in).map(|radiant| radiant.cluster.status());
            if let (Some(status), Some(radiant)) = (&status, radiants.first()) {
                // What else is wrong, such as an order that lacks replicas, may take until somebody does something about it.
                if status.health != "down" && status.radiants.iter().all(|radiant| radiant.state == "up") {
                    status.problems.iter().for_each(|problem| println!("problem    {problem}"));
                    return Ok(radiant.cluster.map.topology());
                }
            }
            if Instant::now() >= deadline {
                let seconds = READY_MAX.as_secs();
                match status {
                    Some(status) => {
                        bail!("not everything is served after {seconds} s: {}", status.problems.join("; "))
                    }
                    None => bail!("the radiants have not found each other within {seconds} s"),
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn print_ready(&self, after: Duration) {
        println!("Ready after {:.1} s. In another terminal:\n", after.as_secs_f64());
        println!("  redis-cli -p {} set hello world", self.resp_port);
        let endpoints = self.endpoints();
        let program = output::program();
        println!("  {program} status{endpoints}");
        println!("  {program} kv get hello{endpoints}\n\nCtrl-C stops the cluster; the data stay.");
    }
}

fn outcome(ended: Option<Result<Result<(), NodeError>, tokio::task::JoinError>>) -> anyhow::Result<()> {
    ended.map_or(Ok(()), |joined| Ok(joined??))
}

#[cfg(test)]
mod tests {
    use shardbearer_core::topology::{Radiant, Table};

    use super::*;

    fn up(radiants: u16, grpc_port: u16, resp_port: u16) -> Up {
        Up { radiants, data: PathBuf::new(), grpc_port, resp_port, http_port: 7480, settings: Vec::new() }
    }

    #[test]
    fn ports_of_two_doors_must_not_meet() {
        assert!(up(3, 7400, 6400).check_ports().is_ok());
        assert!(up(3, 6400, 6403).check_ports().is_ok());
        let why = up(3, 6400, 6402).check_ports().expect_err("6402 is both").to_string();
        assert!(why.contains("--grpc-port 6400 and --resp-port 6402 are too close"), "{why}");
    }

    #[test]
    fn what_counts_only_at_the_founding_is_said_afterwards() {
        let table = Table { shards: Vec::new(), ..Table::default() };
        let topology = Topology { tables: vec![table], ..Topology::default() };
        let mut wanted = Config::default();
        assert_eq!(
            up(3, 7400, 6400).founded(3, &wanted, &topology),
            [] as [String; 0],
            "defaults are no wish"
        );
        wanted.bootstrap.shards = 16;
        let lines = up(5, 7400, 6400).founded(3, &wanted, &topology);
        assert!(
            lines[0].starts_with("bootstrap.shards = 16 counts only at the founding; this cluster has 0")
        );
        assert!(lines[1].starts_with("radiant-4, radiant-5 joined as spares"), "{lines:?}");
        assert!(lines[1].contains("radiant join radiant-4"), "{lines:?}");
        assert_eq!(lines.len(), 2);
        let gone = Radiant { name: "radiant-2".into(), standing: Standing::Gone, ..Radiant::default() };
        let lines =
            up(3, 7400, 6400).founded(3, &Config::default(), &Topology { radiants: vec![gone], ..topology });
        assert!(
            lines.len() == 1 && lines[0].starts_with("radiant-2 left this cluster for good"),
            "{lines:?}"
        );
    }
}
