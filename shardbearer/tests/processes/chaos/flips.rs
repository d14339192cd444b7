//! Single bits that turn in the files of a radiant: it must refuse to start and name the file, or nobody may notice.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer::engine::Engines;
use tokio::time::{Instant, sleep};

use super::super::harness::{Cluster, PATIENCE, Radiant};
use super::super::resp::{Connection, Reply};
use super::faults::Scene;
use super::stage::files_of;

/// Kinds of files, with what an operator calls them.
const KINDS: [&str; 4] = ["a closed log segment", "the log segment in use", DATA, "an identity file"];
const DATA: &str = "a data file";

/// Files of one kind that hold something.
fn files_of_kind(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let below = |name: &str| {
        let folder = folder.join(name);
        if folder.is_dir() { files_of(&folder) } else { Vec::new() }
    };
    let mut log = below("log");
    // The segment in use is the last with a frame in it; behind it may be one that is prepared.
    let used = |path: &PathBuf| std::fs::read(path).unwrap().iter().skip(64).any(|byte| *byte != 0);
    let last = log.iter().rposition(used);
    let mut found = match kind {
        "a closed log segment" => log.drain(..last.unwrap_or(0)).collect(),
        "the log segment in use" => log.drain(..).skip(last.unwrap_or(0)).take(1).collect(),
        DATA => below("data"),
        _ => ["identity", "cluster", "bootstrap-vote"].map(|name| folder.join(name)).to_vec(),
    };
    found.retain(|path: &PathBuf| path.metadata().is_ok_and(|found| found.len() > 0));
    found
}

/// One turned bit.
pub struct Flip {
    path: PathBuf,
    inode: u64,
    offset: u64,
    turned: u8,
    bit: u8,
}

impl Flip {
    /// Turns a bit of one of the files, more often than not where there is more than zeros.
    pub fn any(files: &[PathBuf], dice: &mut StdRng) -> Flip {
        let path = files[dice.random_range(0..files.len())].clone();
        let bytes = std::fs::read(&path).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
        let end = if dice.random_ratio(9, 10) { written } else { bytes.len() };
        let offset = dice.random_range(0..end);
        let bit = 1 << dice.random_range(0..8);
        let flip = Flip {
            inode: path.metadata().unwrap().ino(),
            path,
            offset: offset as u64,
            turned: bytes[offset] ^ bit,
            bit,
        };
        flip.write(flip.turned);
        flip
    }

    fn write(&self, byte: u8) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(&[byte], self.offset).unwrap();
    }

    /// Turns it back, if it is still there.
    pub fn turn_back(&self) {
        let Some(path) = self.place() else { return };
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut now = [0];
        if file.read_exact_at(&mut now, self.offset).is_ok() && now[0] == self.turned {
            file.write_all_at(&[self.turned ^ self.bit], self.offset).unwrap();
        }
    }

    /// Whether the file was removed.
    pub fn is_gone(&self) -> bool {
        self.place().is_none()
    }

    /// Where the file is now: an image that is complete has another name.
    fn place(&self) -> Option<PathBuf> {
        let names = [self.path.clone(), self.path.with_extension("image")];
        names.into_iter().find(|path| path.metadata().is_ok_and(|found| found.ino() == self.inode))
    }
}

/// What a radiant makes of it.
enum Fate {
    Serves,
    /// With the last line of its log.
    Refuses(String),
    /// It runs, and does not serve for as long as anybody would wait.
    Hangs,
}

/// Starts it and waits until it serves or has ended.
async fn fate(radiant: &mut Radiant, start: impl FnOnce(&mut Radiant)) -> Fate {
    let before = radiant.log().len();
    start(radiant);
    let began = Instant::now();
    loop {
        if !radiant.runs() {
            let status = radiant.ended().await;
            let log = radiant.log()[before..].to_owned();
            assert_eq!(status.code(), Some(1), "it gives up in order: {log}");
            return Fate::Refuses(log.lines().last().unwrap_or_default().to_owned());
        }
        if radiant.is_ready().await {
            return Fate::Serves;
        }
        if began.elapsed() > PATIENCE {
            return Fate::Hangs;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Cuts one of the files off within what was written; says which, and where.
fn cut_off(files: &[PathBuf], dice: &mut StdRng) -> (PathBuf, u64) {
    let path = files[dice.random_range(0..files.len())].clone();
    let bytes = std::fs::read(&path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    let length = dice.random_range(0..written) as u64;
    File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
    (path, length)
}

/// Whether the refusal says which file is meant. The storage engine knows only that it is one of its own.
fn names(refusal: &str, path: &Path, kind: &str) -> bool {
    let folder = path.ancestors().find(|folder| folder.ends_with("data"));
    let name = match folder.filter(|_| kind == DATA) {
        Some(folder) => folder.to_str().unwrap(),
        None => path.file_name().unwrap().to_str().unwrap(),
    };
    refusal.starts_with("shardbearer: ") && refusal.contains(name)
}

/// While the cluster goes on, one radiant is taken down, a bit is turned, and it is started again.
pub async fn in_one_radiant(scene: &mut Scene<'_>, one: usize) {
    scene.pulse.avoided.lock().insert(one);
    scene.stage.kill(one);
    let folder = scene.stage.cluster.radiants[one].folder.clone();
    let kind = super::one_of(scene.dice, &KINDS);
    let files = files_of_kind(&folder, kind);
    if files.is_empty() {
        scene.tally.note(format!("flip in {kind}: there is none"));
        scene.stage.start(one);
        return;
    }
    let flip = Flip::any(&files, scene.dice);
    scene.stage.start(one);
    match fate(&mut scene.stage.cluster.radiants[one], |_| ()).await {
        Fate::Refuses(why) => {
            if names(&why, &flip.path, kind) {
                scene.tally.note(format!("flip in {kind}: refused, the place is named"));
            } else {
                scene.tally.falls_short(format!("flip in {kind}: refused, the place is not named: {why}"));
            }
            scene.stage.follow(one);
        }
        Fate::Hangs => {
            scene.tally.falls_short(format!("flip in {kind}: it runs and does not serve"));
            scene.stage.kill(one);
        }
        Fate::Serves => {
            scene.tally.note(format!("flip in {kind}: served"));
            scene.hold().await;
            if scene.stage.cluster.radiants[one].runs() {
                scene.stage.kill(one);
            } else {
                let last = scene.ended(one).await;
                scene.tally.note(format!("flip in {kind}: served, ended later: {last}"));
            }
        }
    }
    flip.turn_back();
    scene.stage.start(one);
}

/// A radiant with closed segments, data files, and values that are known.
async fn written(cluster: &mut Cluster) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut connection = Connection::open(&cluster.radiants[0].resp).await.unwrap();
    for round in 0..3 {
        for number in 0..100 {
            let key = format!("key-{number}");
            let value = format!("{round} {number} ").repeat(if number % 2 == 0 { 12_000 } else { 10 });
            let set = connection.call_within(&["SET", &key, &value], PATIENCE).await;
            assert_eq!(set.unwrap(), Reply::Simple("OK".into()));
            values.insert(key, value);
        }
    }
    values
}

/// Nothing wrong, and nothing missing, is ever served. Refusals to answer are fine; `None` where it has no more to say,
/// for which it has to end.
async fn verify(radiant: &Radiant, values: &BTreeMap<String, String>, what: &str) -> Option<&'static str> {
    let mut connection = Connection::open(&radiant.resp).await.ok()?;
    let mut answer = "everything is right";
    for (key, value) in values {
        match connection.call_within(&["GET", key], PATIENCE).await.ok()? {
            Reply::Bulk(found) => {
                let right = found.as_ref() == Some(value);
                assert!(right, "{what}: {key} is wrong or missing: {:.40?}", found);
            }
            Reply::Error(_) => answer = "some keys are refused",
            other => panic!("{what}: {key}: {other:?}"),
        }
    }
    Some(answer)
}

/// There are places of fjall's files at which a turned bit makes it panic, and again while it unwinds.
#[tokio::test]
async fn data_at_which_the_storage_panics_are_refused_in_a_sentence() {
    let mut cluster = Cluster::prepared(1).await;
    cluster.start_all();
    cluster.ready().await;
    written(&mut cluster).await;
    cluster.kill_all();
    let radiant = &mut cluster.radiants[0];
    // Of each keyspace the list of its tables that counts: another file says which that is.
    let mut lists = files_of_kind(&radiant.folder, DATA);
    lists.retain(|path| path.file_name().is_some_and(|name| name == "current"));
    let lists = lists.iter().map(|current| {
        let number = std::fs::read(current).unwrap()[..8].try_into().map(u64::from_le_bytes).unwrap();
        current.with_file_name(format!("v{number}"))
    });
    let lists: Vec<PathBuf> = lists.take(3).collect();
    assert!(lists.len() == 3 && lists.iter().all(|path| path.exists()), "fjall has other files now");
    for path in &lists {
        let inode = path.metadata().unwrap().ino();
        let flip = Flip { inode, path: path.clone(), offset: 9, turned: 128, bit: 128 };
        flip.write(flip.turned);
        let Fate::Refuses(why) = fate(radiant, Radiant::start).await else { panic!("it serves {path:?}") };
        assert!(names(&why, path, DATA) && why.contains("replace the radiant"), "{why}");
        flip.turn_back();
    }
}

/// `CHAOS_FLIPS` of them, on `CHAOS_ENGINE`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turned_bits_are_refused_or_harmless() {
    let engine = std::env::var("CHAOS_ENGINE").unwrap_or_else(|_| "openraft".into());
    let count = std::env::var("CHAOS_FLIPS").map_or(16, |count| count.parse().expect("a number"));
    turn(&engine, count).await;
}

/// What stands in the log and in identity files is another on each engine, and so is what a start makes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turned_bits_are_refused_or_harmless_on_other_engines() {
    for engine in ["omnipaxos", "chain"] {
        turn(engine, 8).await;
    }
}

/// Turns bits, each on the same files of a radiant that nobody can repair: it is alone, or nothing is served without it.
async fn turn(engine: &str, count: usize) {
    let seed = std::env::var("CHAOS_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut dice = StdRng::seed_from_u64(seed);
    let factory = Engines::default().find(engine).expect("a built-in engine");
    let mut cluster = Cluster::prepared(if factory.refuses(1).is_some() { 2 } else { 1 }).await;
    cluster.set("consensus.election_timeout_ms=100");
    cluster.set("consensus.heartbeat_ms=20");
    cluster.set(&format!("consensus.engine={engine}"));
    cluster.start_all();
    cluster.ready().await;
    let values = written(&mut cluster).await;
    cluster.kill_all();
    let folders: Vec<PathBuf> = cluster.radiants.iter().map(|radiant| radiant.folder.clone()).collect();
    let good = |folder: &Path| folder.with_extension("good");
    folders.iter().for_each(|folder| copy(folder, &good(folder)));

    let mut counts = BTreeMap::<String, u64>::new();
    let mut refused = BTreeMap::from(KINDS.map(|kind| (kind, 0)));
    for number in 0..count {
        let kind = KINDS[number % KINDS.len()];
        let files = files_of_kind(&folders[0], kind);
        let cut = (number / KINDS.len()) % 2 == 1;
        let (path, what) = if cut {
            let (path, length) = cut_off(&files, &mut dice);
            let what = format!("{} cut off at {length}", path.display());
            (path, what)
        } else {
            let flip = Flip::any(&files, &mut dice);
            let what = format!("{} with bit {} at {}", flip.path.display(), flip.bit, flip.offset);
            (flip.path, what)
        };
        let (radiant, others) = cluster.radiants.split_first_mut().expect("there is one");
        others.iter_mut().for_each(Radiant::start);
        let came = match fate(radiant, Radiant::start).await {
            Fate::Refuses(why) => {
                assert!(names(&why, &path, kind), "{what}: {why}");
                *refused.get_mut(kind).expect("one of the kinds") += 1;
                "refused, the place is named"
            }
            Fate::Serves => match verify(radiant, &values, &what).await {
                Some(came) => {
                    let ended = radiant.kill_if_it_runs();
                    assert!(ended.is_none_or(|status| status.code() == Some(1)), "{what}: {ended:?}");
                    came
                }
                None => {
                    let (status, log) = (radiant.ended().await, radiant.log());
                    assert_eq!(status.code(), Some(1), "{what}: it falls silent: {log}");
                    let last = log.lines().last().unwrap_or_default();
                    assert!(names(last, &path, kind), "{what}: {last}");
                    "ended while it was read, the place is named"
                }
            },
            Fate::Hangs => panic!("{what}: it runs and does not serve"),
        };
        let damage = if cut { ", cut off" } else { "" };
        *counts.entry(format!("{kind}{damage}: {came}")).or_default() += 1;
        others.iter_mut().for_each(Radiant::kill);
        for folder in &folders {
            std::fs::remove_dir_all(folder).unwrap();
            copy(&good(folder), folder);
        }
    }
    println!("{count} turned bits on {engine}: {counts:#?}");
    // In data and at the end of the log there is much that nobody reads, or that is only a rest.
    for kind in KINDS.iter().filter(|kind| **kind != DATA) {
        let (turned, refused) = (count / KINDS.len(), refused[kind]);
        assert!(refused > 0 || turned == 0, "of {turned} bits in {kind} not one was noticed: {counts:?}");
    }
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}
