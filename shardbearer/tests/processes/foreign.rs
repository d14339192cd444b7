//! Clients that others wrote: redis-cli and redis-benchmark where they are installed, redis-py and Python's gRPC in a
//! virtual environment of their own, made once. What is there must work. What is not is said loudly and passes, unless
//! `REQUIRE_FOREIGN` is set, as CI does.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::harness::Cluster;

/// What `foreign.py` is written for. Another version gets another folder.
const PACKAGES: [&str; 4] = ["redis==6.4.0", "grpcio==1.76.0", "grpcio-tools==1.76.0", "protobuf==6.33.6"];

/// Runs it to its end. `Err` is why it cannot be run at all or what it said when it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{command:?}: {}\n{said}\n{complained}", output.status))
    }
}

pub fn skipped(why: &str) {
    assert!(std::env::var_os("REQUIRE_FOREIGN").is_none(), "REQUIRE_FOREIGN is set, and {why}");
    println!("\n==== SKIPPED: {why} ====\n");
}

/// A program of Redis' at a door; `None` if it is not installed.
fn redis_program(name: &str, door: &str) -> Option<Command> {
    if let Err(why) = run(Command::new(name).arg("--version")) {
        skipped(&why);
        return None;
    }
    let (host, port) = door.rsplit_once(':').unwrap();
    let mut command = Command::new(name);
    command.args(["-h", host, "-p", port]);
    Some(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_cli_and_redis_benchmark_are_served() {
    let cluster = Cluster::started(3).await;
    let doors = cluster.resp_doors();
    let cli = |door: &str, args: &[&str]| {
        redis_program("redis-cli", door).map(|mut cli| run(cli.args(args)).unwrap().trim().to_owned())
    };
    if cli(&doors[0], &["PING"]).is_some() {
        let check = |door: usize, args: &[&str], expected: &str| {
            assert_eq!(cli(&doors[door], args).as_deref(), Some(expected), "{args:?}");
        };
        check(0, &["SET", "cli", "1"], "OK");
        check(1, &["INCR", "cli"], "2");
        check(2, &["GET", "cli"], "2");
        check(0, &["-3", "GET", "cli"], "2");
        check(1, &["SET", "brief", "x", "EX", "100"], "OK");
        check(2, &["TTL", "nothing"], "-2");
        // -c asks for the map and follows MOVED.
        for key in ["a", "b", "c", "d"] {
            check(0, &["-c", "SET", key, key], "OK");
            check(2, &["-c", "GET", key], key);
        }
        let mut keys: Vec<_> = cli(&doors[1], &["--scan"]).unwrap().lines().map(str::to_owned).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["a", "b", "brief", "c", "cli", "d"]);
        let info = cli(&doors[0], &["CLUSTER", "INFO"]).unwrap();
        assert!(info.contains("cluster_state:ok"), "{info}");
    }
    if let Some(mut benchmark) = redis_program("redis-benchmark", &doors[0]) {
        let args = ["-t", "ping,set,get,incr,mset", "-n", "2000", "-c", "20", "-P", "8", "-r", "1000", "-q"];
        let said = run(benchmark.args(args)).unwrap();
        for test in ["SET", "GET", "INCR", "MSET"] {
            let done = said.contains(&format!("{test}: ")) || said.contains(&format!("{test} ("));
            assert!(done && !said.contains("Error"), "{test}: {said}");
        }
    }
}

/// The interpreter of an environment that has [`PACKAGES`] and the code made from proto/; or why there is none.
pub fn python() -> Result<(PathBuf, TempDir), String> {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let home = root.join(format!("python-{}", PACKAGES.join("-").replace("==", "-")));
    let (interpreter, done) = (home.join("bin/python"), home.join("complete"));
    if !done.exists() {
        // What an earlier run left half made.
        let _ = std::fs::remove_dir_all(&home);
        run(Command::new("python3").args(["-m", "venv"]).arg(&home))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"];
        run(Command::new(&interpreter).args(pip).args(["--timeout", "15"]).args(PACKAGES))?;
        std::fs::write(&done, "").unwrap();
    }
    // Anew each time: it takes no time, and the files may have changed.
    let made = tempfile::tempdir_in(root).unwrap();
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut protoc = Command::new(&interpreter);
    protoc.args(["-m", "grpc_tools.protoc"]).arg("-I").arg(&proto);
    protoc.arg("--python_out").arg(made.path()).arg("--grpc_python_out").arg(made.path());
    for file in proto.join("shardbearer/v1").read_dir().expect("the interfaces") {
        protoc.arg(file.expect("a file").path());
    }
    run(&mut protoc).expect("the interfaces are good protobuf for others too");
    Ok((interpreter, made))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_from_python_are_served() {
    let (interpreter, made) = match python() {
        Ok(python) => python,
        Err(why) => return skipped(&format!("no Python with {PACKAGES:?}: {why}")),
    };
    let cluster = Cluster::started(3).await;
    cluster.led_as_preferred().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes/foreign.py");
    let grpc: Vec<String> = cluster.radiants.iter().map(|radiant| radiant.grpc.clone()).collect();
    let resp = cluster.resp_doors();
    let call = |what: &str, how: &str, doors: &[String]| {
        run(Command::new(&interpreter).arg(&script).args([what, how]).args(doors))
            .unwrap_or_else(|why| panic!("{what} {how}: {why}"));
    };
    for protocol in ["2", "3"] {
        call("redis", protocol, &resp);
        call("cluster", protocol, &resp);
    }
    call("grpc", made.path().to_str().unwrap(), &grpc);
}
