//! Power cuts of the whole cluster under load. `kill -9` leaves what was written to the kernel, so that it cannot see a
//! missing fsync; here, what was not fsynced is taken away before the radiants start again.
//!
//! `powercut.c` writes down what a radiant does to its files, [`super::disk`] works out what is left of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use super::disk::{Disk, Loss};
use super::harness::{Cluster, Radiant, eventually};
use super::history::{History, Outcome};
use super::load::{Clients, Load, check, check_through, read_all};

const CLIENTS: Clients = Clients { resp: 16, native: 8 };
/// Acknowledged writes before a cut.
const SOME: u64 = 400;

/// Compiles what listens in on the radiants. Where Rust links, there is a `cc`.
fn listener(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes/powercut.c");
    let library = folder.join("powercut.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    assert!(cc.status().expect("a C compiler").success());
    library
}

/// What is special about a disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// Others are far ahead of it, so that a cut takes from its radiant what they have: even if that is their herald.
    Slow,
    /// It only says that it has synced.
    Lies,
}

/// A radiant whose disk can be cut off from power.
struct Mains {
    disk: Disk,
    journal: PathBuf,
    kind: Kind,
}

impl Mains {
    /// Starts it with an eye on its disk.
    fn start(radiant: &mut Radiant, library: &Path, kind: Kind) -> Mains {
        let journal = radiant.file.with_extension("journal");
        if journal.exists() {
            std::fs::remove_file(&journal).unwrap();
        }
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        radiant.environment = vec![
            ("LD_PRELOAD".into(), text(library)),
            ("POWERCUT_DIR".into(), text(&radiant.folder)),
            ("POWERCUT_JOURNAL".into(), text(&journal)),
        ];
        match kind {
            Kind::Good => {}
            Kind::Slow => radiant.environment.push(("POWERCUT_SLOW".into(), "10000".into())),
            Kind::Lies => radiant.environment.push(("POWERCUT_LIES".into(), "1".into())),
        }
        let disk = Disk::read(&radiant.folder);
        radiant.start();
        Mains { disk, journal, kind }
    }

    /// Takes away what was not durable. The process is gone.
    fn cut(mut self, radiant: &Radiant, loss: Loss) {
        self.disk.follow(&self.journal);
        let folders = image_folders(radiant);
        self.disk.restore(&radiant.folder, loss);
        if self.kind != Kind::Lies {
            // Data say of an image that it is in one of them.
            assert_eq!(image_folders(radiant), folders, "{}: folders of images", radiant.name);
        }
    }
}

fn image_folders(radiant: &Radiant) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(radiant.folder.join("images")).into_iter().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn start_all(cluster: &mut Cluster, library: &Path, kinds: [Kind; 3]) -> Vec<Mains> {
    let radiants = cluster.radiants.iter_mut().zip(kinds);
    radiants.map(|(radiant, kind)| Mains::start(radiant, library, kind)).collect()
}

/// In each round another radiant's.
fn one_slow(round: u64) -> [Kind; 3] {
    std::array::from_fn(|index| if index as u64 == round % 3 { Kind::Slow } else { Kind::Good })
}

fn cut_all(cluster: &mut Cluster, mains: Vec<Mains>, loss: impl Fn(u64) -> Loss) {
    cluster.kill_all();
    for (seed, (mains, radiant)) in (0..).zip(mains.into_iter().zip(&cluster.radiants)) {
        mains.cut(radiant, loss(seed));
    }
}

/// Joins what several loads did, one after the other, on the same counters.
fn join(all: &mut History, more: History) {
    all.puts.extend(more.puts);
    for (name, counter) in more.counters {
        let joined = all.counters.entry(name).or_default();
        joined.unknown += counter.unknown;
        joined.told.extend(counter.told);
    }
}

/// Power cuts under load, after each of which all that was acknowledged is there. Returns the last lives.
async fn cut_again_and_again(cluster: &mut Cluster, rounds: u64, name: &str) -> Vec<Mains> {
    let library = listener(cluster.folder.path());
    let start = Instant::now();
    let mut mains = start_all(cluster, &library, one_slow(0));
    cluster.ready().await;
    let mut history = History::default();
    for round in 0..rounds {
        let load = Load::start(cluster, CLIENTS, &format!("cut{round}")).await;
        load.progress(SOME).await;
        let loss = |seed| if round % 2 == 0 { Loss::All } else { Loss::Torn(round * 3 + seed) };
        cut_all(cluster, mains, loss);
        mains = start_all(cluster, &library, one_slow(round + 1));
        cluster.ready().await;
        join(&mut history, load.end().await);
        check(cluster, &history).await;
    }
    // Every member of an order has what its herald has: let others lead.
    for index in 0..rounds.min(3) as usize {
        cluster.radiants[index].kill();
        cluster.ready().await;
        check_through(cluster, (index + 1) % 3, &history).await;
        cluster.radiants[index].start();
        cluster.ready().await;
    }
    println!("{name}: {rounds} cuts, {} acknowledged writes, {:?}", history.acknowledged(), start.elapsed());
    mains
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_power_cuts_of_all_radiants_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::prepared(3).await;
    let mains = cut_again_and_again(&mut cluster, 10, "openraft").await;
    // The last life ends in order, so that the journal has to explain every byte: nothing has passed it by.
    cluster.stop().await;
    for (mut mains, radiant) in mains.into_iter().zip(&cluster.radiants) {
        mains.disk.follow(&mains.journal);
        assert_eq!(mains.disk.differences(&radiant.folder), [""; 0], "not seen by powercut.c");
    }
}

/// A cut that takes all that it can, on each of the other engines; chaos has more of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_on_other_engines() {
    for engine in ["omnipaxos", "chain"] {
        let mut cluster = Cluster::prepared(3).await;
        cluster.set(&format!("consensus.engine={engine}"));
        cut_again_and_again(&mut cluster, 1, engine).await;
    }
}

/// What sled calls flushed is not durable in the strict reading; until the log lets go of entries, it has them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_on_sled_while_the_log_has_it() {
    let mut cluster = Cluster::prepared(3).await;
    cluster.set("storage.engine=sled");
    cut_again_and_again(&mut cluster, 2, "sled").await;
}

/// What was purged from the log is nowhere but in the keyspaces, so that none may be lost: neither its rows nor the name
/// of its folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_leaves_every_keyspace() {
    let mut cluster = Cluster::prepared(1).await;
    let library = listener(cluster.folder.path());
    let mains = Mains::start(&mut cluster.radiants[0], &library, Kind::Good);
    cluster.ready().await;
    let load = Load::start(&cluster, Clients { resp: 8, native: 0 }, "all").await;
    load.progress(SOME).await;
    load.end().await;
    let radiant = &mut cluster.radiants[0];
    let folder = radiant.folder.join("data/keyspaces");
    let keyspaces = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    // The latest changes wait in memory for a while, a second at most, and no folder is to be half made.
    let (mut seen, mut since) = (keyspaces(), Instant::now());
    eventually("the load is on most shards", || {
        let now = keyspaces();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        seen.len() > 32 && since.elapsed() > Duration::from_millis(1_500)
    })
    .await;
    radiant.kill();
    let before = keyspaces();
    mains.cut(radiant, Loss::All);
    assert_eq!(before, keyspaces());
}

/// The positive control: on disks that only pretend to fsync, the same check finds the loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_lie_about_fsync_are_caught() {
    let mut cluster = Cluster::prepared(3).await;
    let library = listener(cluster.folder.path());
    let mains = start_all(&mut cluster, &library, [Kind::Good; 3]);
    cluster.ready().await;
    let load = Load::start(&cluster, Clients { resp: 8, native: 0 }, "honest").await;
    load.progress(100).await;
    let before = load.end().await;
    cut_all(&mut cluster, mains, |_| Loss::All);

    let mains = start_all(&mut cluster, &library, [Kind::Lies; 3]);
    cluster.ready().await;
    let load = Load::start(&cluster, Clients { resp: 8, native: 0 }, "lies").await;
    load.progress(300).await;
    let mut history = load.end().await;
    cut_all(&mut cluster, mains, |_| Loss::All);
    // They do not even see that something is missing.
    let _mains = start_all(&mut cluster, &library, [Kind::Good; 3]);
    cluster.ready().await;
    let lies = history.puts.values().filter(|(_, outcome)| *outcome == Outcome::Acknowledged).count();
    join(&mut history, before);
    let found = read_all(&cluster.radiants[0].resp, &history.keys()).await;
    let wrong = history.violations(&found);
    let lost = |life: &str| wrong.iter().filter(|what| what.starts_with(life)).count();
    assert_eq!(lost("lies"), lies, "every write of that life is lost: {wrong:?}");
    assert_eq!(lost("honest"), 0, "those before it are there: {wrong:?}");
}
