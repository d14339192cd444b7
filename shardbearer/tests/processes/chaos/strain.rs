//! What others feel of a radiant that stands still, and of far more load than there is room for: measured by
//! `shardbearer bench` and printed. Only what no busy machine can change is asserted: that it goes on, that memory is
//! bounded, and that it is well again.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use super::super::harness::{BINARY, Cluster};
use super::super::load::{Clients, Load, check};
use super::stage::signal;

/// Clients that a cluster serves with ease, and those that are too many: each of these has as much on its way as the
/// others together.
const EASY: Strain = Strain { clients: 16, pipeline: 1, rate: None };
const FULL: Strain = Strain { clients: 256, ..EASY };
const FAR_TOO_MUCH: Strain = Strain { clients: 768, pipeline: 16, rate: None };

/// Of what it can do at its best, what is done at least under too much load.
const GOODPUT_MIN: f64 = 0.7;
/// So many times what they get are others sent, who do not wait for anybody's answer, but give up after [`GIVE_UP`].
const TIMES: f64 = 3.0;
const IMPATIENT: u32 = 4_096;
const GIVE_UP: &str = "1s";

/// For one radiant. Its caches and queues are far below.
const MEMORY_MAX: u64 = 2 << 30;

/// Before a measurement, which itself may be shorter.
const WARM_UP_MAX: Duration = Duration::from_secs(2);
/// Of a measurement in the gate, which has no time to learn anything from it: long enough for a first answer in the crowd.
const SHORT: Duration = Duration::from_millis(1_500);

#[derive(Clone, Copy)]
struct Strain {
    clients: u32,
    pipeline: u32,
    rate: Option<f64>,
}

/// What `bench` says of its clients at these doors.
async fn measure(doors: &[String], strain: Strain, time: Duration) -> Value {
    let Strain { clients, pipeline, rate } = strain;
    let (clients, pipeline) = (clients.to_string(), pipeline.to_string());
    let (warm_up, time) = (in_ms(time.min(WARM_UP_MAX)), in_ms(time));
    let doors = doors.join(",");
    let args = ["--output", "json", "--endpoints", &doors, "bench", "--read-share", "0.5", "--keys", "10000"];
    let args = args.into_iter().chain(["--clients", &clients, "--pipeline", &pipeline, "--duration", &time]);
    let args = args.chain(["--warm-up", &warm_up, "--no-fill", "--value-size", "1024"]);
    let rate = rate.map(|rate| ["--rate".to_owned(), rate.to_string(), "--give-up".into(), GIVE_UP.into()]);
    let args = args.map(str::to_owned).chain(rate.into_iter().flatten());
    let said = Command::new(BINARY).args(args).stdin(Stdio::null()).output().await.unwrap();
    let report: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    assert!(report["all"]["ops"].as_u64() > Some(0), "{}", String::from_utf8_lossy(&said.stderr));
    report
}

fn in_ms(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// What is told of a measurement.
fn told(report: &Value) -> Value {
    let (all, writes) = (&report["all"], &report["writes"]);
    json!({"ops_per_second": all["ops_per_second"].as_f64().map(f64::round), "p99_us": all["p99_us"],
        "writes_p99_us": writes["p99_us"], "max_us": all["max_us"], "errors": report["errors"],
        "given_up": report["given_up"], "last_error": report["last_error"]})
}

/// The most memory that a process ever had.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// `CHAOS_STRAIN` seconds of each; `scripts/chaos.sh --strain` runs it for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_follower_and_an_overload_pass() {
    let asked = std::env::var("CHAOS_STRAIN").ok().map(|text| text.parse().expect("a number"));
    let time = asked.map_or(SHORT, Duration::from_secs);
    let mut cluster = Cluster::prepared(3).await;
    for radiant in &mut cluster.radiants {
        // So that somebody leads nothing.
        radiant.settings.push("bootstrap.orders=1".into());
    }
    cluster.start_all();
    cluster.ready().await;
    cluster.led_as_preferred().await;
    let leading = cluster.leading().await;
    let follower = (0..3).find(|radiant| !leading.contains(radiant)).expect("two orders have three radiants");
    let mut doors = cluster.resp_doors();
    doors.remove(follower);
    let load = Load::start(&cluster, Clients { resp: 0, native: 2 }, "strain").await;

    let before = measure(&doors, EASY, time).await;
    signal(&cluster.radiants[follower], "-STOP");
    let beside = measure(&doors, EASY, time).await;
    signal(&cluster.radiants[follower], "-CONT");
    assert_eq!(beside["errors"], 0, "nobody needs a silent follower: {}", beside["last_error"]);

    let capacity = measure(&doors, FULL, time).await;
    let overload = measure(&doors, FAR_TOO_MUCH, time).await;
    let rate = capacity["all"]["ops_per_second"].as_f64().map(|rate| TIMES * rate);
    let open = measure(&doors, Strain { clients: IMPATIENT, rate, ..EASY }, time).await;
    let peaks: Vec<u64> = cluster.radiants.iter().map(|radiant| peak_bytes(radiant.pid())).collect();
    assert!(peaks.iter().all(|peak| *peak < MEMORY_MAX), "{peaks:?} bytes were resident");
    load.progress(20).await;
    let after = measure(&doors, EASY, time).await;
    assert_eq!(after["errors"], 0, "it is well again: {}", after["last_error"]);

    if asked.is_some() {
        // For long, and so on a machine that has time for it.
        let of = |report: &Value| report["all"]["ops_per_second"].as_f64().unwrap();
        for (name, too_much) in [("overload", &overload), ("open load", &open)] {
            assert!(
                of(too_much) >= GOODPUT_MIN * of(&capacity),
                "{name}: {} of {}",
                of(too_much),
                of(&capacity)
            );
        }
        assert_eq!(overload["errors"], 0, "nobody fails for want of patience: {}", overload["last_error"]);
    }

    let history = load.end().await;
    check(&cluster, &history).await;
    let peaks: Vec<u64> = peaks.iter().map(|peak| peak >> 20).collect();
    let report = json!({"seconds_each": time.as_secs_f64(), "easy": told(&before), "beside_a_silent_follower": told(&beside),
        "capacity": told(&capacity), "overload": told(&overload), "open": told(&open), "after": told(&after),
        "peak_mib_of_each_radiant": peaks});
    println!("{report:#}");
    println!("{report}");
}
