//! What proves a protocol: it alone, through everything that can happen to it; then whole radiants that run on it.

use std::sync::Arc;
use std::time::Duration;

use own_engine::{Star, StarFactory};
use shardbearer::config::Config;
use shardbearer::engine::Engines;
use shardbearer::kv::{Call, Request};
use shardbearer::node;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::kv::{Command, Condition, Expiry, Reply};
use shardbearer_sim::conformance::{engine, protocol};
use shardbearer_sim::protocol::Net;
use shardbearer_sim::protocol::explore::{Budget, explore};
use shardbearer_sim::protocol::walk::{ROUGH, heal, walk};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

fn founded() -> (Net<Star>, Vec<RadiantId>) {
    let net = Net::founded(3);
    let members = net.members.keys().copied().collect();
    (net, members)
}

#[test]
fn a_star_keeps_the_laws_of_protocols() {
    protocol::check(&protocol::Subject::<Star>::of(&[1, 2, 3, 5]));
}

#[test]
fn a_star_keeps_the_laws_of_engines() {
    let subject = engine::Subject::new(Arc::new(StarFactory));
    engine::check(&subject);
    let card = engine::card::measure(&subject).expect("it can be measured");
    println!("{card}");
    // The leader asks nobody; all disks sync; one failure stops it.
    assert_eq!((card.linearizable_reads, card.survives[2]), (engine::card::Means::Lease, Some(0)), "{card}");
}

#[test]
fn whatever_happens_to_a_star_it_keeps_its_promises_and_comes_back() {
    for seed in 0..200 {
        let (mut net, members) = founded();
        if let Err(broken) = walk(&mut net, seed, 800, ROUGH, &members) {
            panic!("seed {seed}: {broken}");
        }
    }
}

#[test]
fn every_way_of_a_write_a_read_and_a_crash_is_fine() {
    let (mut net, members) = founded();
    heal(&mut net, &members).expect("a calm start");
    net.flights.clear();
    let budget = Budget {
        proposals: vec![RadiantId(1)],
        reads: vec![RadiantId(1)],
        crashes: vec![RadiantId(2)],
        losses: 1,
        ticks: vec![RadiantId(1); 2],
        ..Budget::default()
    };
    let explored = explore(&net, &budget, 60_000).expect("no promise is broken");
    assert!(explored.complete && explored.states > 500, "{explored:?}");
}

/// Two radiants, with disks and sockets, that know no engine as good as this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_runs_on_it_and_keeps_its_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let free =
        || std::net::TcpListener::bind("127.0.0.1:0").and_then(|door| door.local_addr()).expect("a port");
    let doors: Vec<String> = (0..2).map(|_| free().to_string()).collect();
    for round in 0..2 {
        let stop = CancellationToken::new();
        let mut radiants = Vec::new();
        for (i, door) in doors.iter().enumerate() {
            let mut config = Config::default();
            config.radiant.name = format!("r{i}");
            config.radiant.data_dir = folder.path().join(&config.radiant.name);
            config.listen.grpc = door.clone();
            config.listen.resp = "127.0.0.1:0".into();
            config.listen.http = "127.0.0.1:0".into();
            config.bootstrap.neighbors = doors.clone();
            config.bootstrap.expect = 2;
            config.consensus.engine = "star".into();
            config.storage.log_segment_mib = 8;
            config.storage.reserve_mib = 0;
            let mut engines = Engines::default();
            engines.register(Arc::new(StarFactory));
            let prepared = node::prepare(config, engines).expect("a folder and ports");
            let (opened, running) = mpsc::channel(1);
            radiants.push((tokio::spawn(prepared.run(stop.clone(), opened, false)), running));
        }
        for (_, running) in &mut radiants {
            let running =
                tokio::time::timeout(PATIENCE, running.recv()).await.expect("in time").expect("it runs");
            let execute = async |command| {
                let request =
                    Request { table: "default".into(), calls: vec![Call::new(command)], deadline: PATIENCE };
                running.door.execute(request).await.remove(0)
            };
            for key in 0..20 {
                let key = format!("key-{key}");
                if round == 0 {
                    let put = Command::Put {
                        key: key.into(),
                        value: "kept".into(),
                        condition: Condition::Always,
                        expiry: Expiry::Never,
                        previous: false,
                    };
                    execute(put).await.expect("written");
                } else {
                    let read = execute(Command::Get { key: key.into() }).await;
                    assert!(
                        matches!(&read, Ok(Reply::Record(Some(there))) if there.value == "kept"),
                        "{read:?}"
                    );
                }
            }
        }
        stop.cancel();
        for (radiant, running) in radiants {
            drop(running);
            radiant.await.expect("no panic").expect("no failure");
        }
    }
}

/// The command of one's own knows one's engine wherever an engine is named.
#[test]
fn its_own_command_measures_it() {
    let command = || std::process::Command::new(env!("CARGO_BIN_EXE_own-engine"));
    let output =
        command().args(["--output", "json", "conformance", "--engine", "star"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("\"engine\": \"star\""), "{output:?}");
    let unknown = command().args(["conformance", "--engine", "stern"]).output().expect("it runs");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&unknown.stderr).contains("star"),
        "it names those there are: {unknown:?}"
    );
}
