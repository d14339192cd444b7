//! What a process reads after its start may be on no disk: its last life was killed between a write and the fsync, or
//! the fsync failed. As soon as others count on it, no power cut may take it. Here the order of events is forced:
//!
//! ```text
//!   first life: one entry is durable, the next is written and its fsync fails ── killed
//!   second life: opens, reads both, counts on them ── killed          (a log that does not settle them: the double)
//!   power cut ── third life: what the second counted on must be there
//! ```
//!
//! Each life is a process of this test's own program, on the disk of [`super::disk`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use bytes::Bytes;
use shardbearer::bootstrap::Identity;
use shardbearer::storage;
use shardbearer::storage::log::{LogOptions, SegmentedLog};
use shardbearer::world::Real;
use shardbearer_core::bootstrap::{Ballot, Vote};
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{LogPos, LogRecord, LogStore, LogWrite};
use shardbearer_core::storage::{Batch, Durability, KeyRange, Space};

use super::chaos::shim::{Call, Class, Control, EIO, Libraries, Rule};
use super::disk::{Disk, Loss};

/// Tells a process of this program that it is a life, and of what.
const FOLDER: &str = "DOUBTFUL_FOLDER";
const DEED: &str = "DOUBTFUL_DEED";
/// How many fsyncs of a life succeed before one fails; without it none does.
const SKIP: &str = "DOUBTFUL_SKIP";
/// How the line begins that says what a life has read.
const FOUND: &str = "found ";

const ORDER: OrderId = OrderId(2);

/// What lives do: make what is needed, add something to what is there, or only look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Make,
    Add,
    Look,
}

impl Deed {
    const ALL: [Deed; 3] = [Deed::Make, Deed::Add, Deed::Look];

    /// What this process is to do, if it is a life.
    fn mine() -> Option<(Deed, PathBuf)> {
        let name = std::env::var(DEED).ok()?;
        let deed = Deed::ALL.into_iter().find(|deed| format!("{deed:?}") == name);
        Some((deed.expect("a deed"), std::env::var_os(FOLDER).expect("a folder").into()))
    }
}

/// Says what it has read, and is gone without another word to its disk.
fn end(found: impl std::fmt::Display) -> ! {
    println!("\n{FOUND}{found}");
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    unreachable!("it was killed")
}

/// A folder, and what would be left of it after a power cut.
struct Stage {
    test: &'static str,
    room: tempfile::TempDir,
    folder: PathBuf,
    libraries: Libraries,
    disk: Disk,
}

impl Stage {
    fn of(test: &'static str) -> Stage {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("disk");
        let libraries = Libraries::compile(room.path());
        let disk = Disk::read(&folder);
        Stage { test, room, folder, libraries, disk }
    }

    /// One life: what it has read, and whether a call of it has failed. `skip` fsyncs of its deed succeed, if it is
    /// given; all after them fail. Nothing that a life with a `liar` does is brought to the disk.
    fn live(&mut self, deed: Deed, skip: Option<i64>, liar: bool) -> (String, bool) {
        let file = self.room.path().join("life");
        let (control, environment) = Control::beside(&file, &self.folder, &self.libraries, true);
        let mut life = Command::new(std::env::current_exe().unwrap());
        life.args(["--exact", self.test, "--nocapture", "--test-threads=1"]);
        life.env(DEED, format!("{deed:?}")).env(FOLDER, &self.folder).envs(environment);
        if let Some(skip) = skip {
            life.env(SKIP, skip.to_string());
        }
        if liar {
            life.env("POWERCUT_LIES", "1");
        }
        let said = life.stdin(Stdio::null()).output().unwrap();
        if control.journal.exists() {
            self.disk.follow(&control.journal);
            std::fs::remove_file(&control.journal).unwrap();
        }
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let found = text.lines().find_map(|line| line.strip_prefix(FOUND));
        let errors = String::from_utf8_lossy(&said.stderr);
        let found = found.unwrap_or_else(|| panic!("{deed:?} said nothing: {text}{errors}"));
        (found.to_owned(), control.failed() > 0)
    }

    /// A new disk.
    fn clear(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
        self.disk = Disk::read(&self.folder);
    }

    /// A life to which nothing happens.
    fn calm(&mut self, deed: Deed) -> String {
        self.live(deed, None, false).0
    }

    /// Power cut, and a look at what is left.
    fn cut(&mut self) -> String {
        let empty = Disk::read(&self.folder);
        std::mem::replace(&mut self.disk, empty).restore(&self.folder, Loss::All);
        self.disk = Disk::read(&self.folder);
        self.calm(Deed::Look)
    }
}

/// From now on fsyncs of this process fail, if that is its fate.
fn fate(call: Call, class: Class) {
    let Ok(skip) = std::env::var(SKIP) else { return };
    let control = Control::open(Path::new(&std::env::var_os("FAULTS_CONTROL").expect("there are libraries")));
    let skip = skip.parse().expect("a number");
    control.fail(Rule { call, class, errno: EIO, skip, times: i64::MAX });
}

/// A log of one order.
fn live_with_a_log(deed: Deed, folder: &Path) -> ! {
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    let log = match SegmentedLog::open(&folder.join("log"), options) {
        Ok(log) => log,
        Err(error) => end(error),
    };
    let last = log.bounds(ORDER).last.index;
    if deed != Deed::Look {
        // Not those of the thread that prepares segments beside it: if one of them failed first, nothing would be written.
        fate(Call::DataSync, Class::Log);
        let position = LogPos { term: 1, index: last + 1 };
        let entry = LogWrite::Append(LogRecord { position, payload: Bytes::from_static(b"entry") });
        let (done, result) = channel();
        log.write(ORDER, vec![entry], Box::new(move |outcome| done.send(outcome).unwrap())).unwrap();
        assert_eq!(result.recv().unwrap().is_ok(), std::env::var(SKIP).is_err());
    }
    end(last)
}

/// What the second life counts on, and what is left of that after a power cut.
fn entries(test: &'static str, liar: bool) -> (String, String) {
    if let Some((deed, folder)) = Deed::mine() {
        live_with_a_log(deed, &folder);
    }
    let mut stage = Stage::of(test);
    // Whoever has a log has made its folder durable.
    std::fs::create_dir(stage.folder.join("log")).unwrap();
    stage.disk = Disk::read(&stage.folder);
    assert_eq!(stage.calm(Deed::Add), "0");
    assert_eq!(stage.cut(), "1", "what was acknowledged is there");
    assert_eq!(stage.live(Deed::Add, Some(0), false), ("1".into(), true), "the fsync failed");
    let (counted_on, _) = stage.live(Deed::Look, None, liar);
    (counted_on, stage.cut())
}

#[test]
fn an_entry_whose_fsync_failed_is_durable_before_anybody_counts_on_it() {
    let found =
        entries("doubtful::an_entry_whose_fsync_failed_is_durable_before_anybody_counts_on_it", false);
    assert_eq!(found, ("2".into(), "2".into()));
}

/// The double: what the second life does about its tail does not reach the disk.
#[test]
fn a_log_that_does_not_settle_its_tail_is_caught() {
    let found = entries("doubtful::a_log_that_does_not_settle_its_tail_is_caught", true);
    assert_eq!(found, ("2".into(), "1".into()), "one entry is lost");
}

/// The default database. Adding is to commit a row and to have it made durable; looking is to have made durable what is
/// there, as before the log lets go of it.
fn live_with_data(deed: Deed, folder: &Path) -> ! {
    let data = match storage::open("fjall", &folder.join("data"), 16 << 20) {
        Ok(data) => data,
        Err(error) => end(error),
    };
    let space = Space::Order(ORDER);
    let rows = data.view().scan(space, &KeyRange::all()).count();
    if deed == Deed::Add {
        let mut batch = Batch::default();
        batch.put(space, format!("row {rows}").into_bytes(), Bytes::from_static(b"value"));
        data.commit(batch, Durability::Buffered).unwrap();
        fate(Call::Sync, Class::Data);
    }
    let durable = data.commit(Batch::default(), Durability::Synced);
    assert_eq!(durable.is_ok(), std::env::var(SKIP).is_err(), "{durable:?}");
    end(rows)
}

#[test]
fn a_row_whose_fsync_failed_is_durable_before_the_log_lets_go_of_it() {
    if let Some((deed, folder)) = Deed::mine() {
        live_with_data(deed, &folder);
    }
    let test = "doubtful::a_row_whose_fsync_failed_is_durable_before_the_log_lets_go_of_it";
    let mut stage = Stage::of(test);
    std::fs::create_dir(stage.folder.join("data")).unwrap();
    stage.disk = Disk::read(&stage.folder);
    assert_eq!(stage.calm(Deed::Add), "0");
    assert_eq!(stage.cut(), "1", "what is durable is there");
    assert_eq!(stage.live(Deed::Add, Some(0), false), ("1".into(), true), "the fsync failed");
    assert_eq!(stage.calm(Deed::Look), "2", "it is read, and said to be durable");
    assert_eq!(stage.cut(), "2");
}

/// The directory of a radiant in founding, in folders that were not there before. Adding is to promise one more.
fn live_with_a_vote(deed: Deed, folder: &Path) -> ! {
    if deed == Deed::Make {
        fate(Call::Sync, Class::Papers);
    }
    let (world, _) = Real::create();
    let identity = match Identity::open(&folder.join("new/data"), "r1", &world) {
        Ok(identity) => identity,
        Err(error) => end(error),
    };
    let vote = identity.vote().unwrap();
    if deed == Deed::Add {
        fate(Call::Sync, Class::Papers);
        let promised = Ballot { term: vote.promised.term + 1, candidate: identity.incarnation() };
        // Its caller ends on an error.
        let _ = identity.store_vote(&Vote { promised, ..vote.clone() });
    }
    end(format!("{:x} {}", identity.incarnation().0, vote.promised.term))
}

#[test]
fn a_vote_whose_fsync_failed_is_durable_or_not_there() {
    if let Some((deed, folder)) = Deed::mine() {
        live_with_a_vote(deed, &folder);
    }
    let mut stage = Stage::of("doubtful::a_vote_whose_fsync_failed_is_durable_or_not_there");
    for skip in 0.. {
        stage.clear();
        stage.calm(Deed::Add);
        let (_, failed) = stage.live(Deed::Add, Some(skip), false);
        let counted_on = stage.calm(Deed::Look);
        assert_eq!(stage.cut(), counted_on, "fsync {skip}");
        if !failed {
            assert!(skip >= 2, "the file's and the folder's");
            return;
        }
    }
}

#[test]
fn a_directory_whose_making_failed_anywhere_keeps_what_is_written_later() {
    if let Some((deed, folder)) = Deed::mine() {
        live_with_a_vote(deed, &folder);
    }
    let test = "doubtful::a_directory_whose_making_failed_anywhere_keeps_what_is_written_later";
    let mut stage = Stage::of(test);
    for skip in 0.. {
        stage.clear();
        let (_, failed) = stage.live(Deed::Make, Some(skip), false);
        let before = stage.calm(Deed::Add);
        assert_eq!(stage.cut(), before.replace(" 0", " 1"), "fsync {skip}");
        if !failed {
            assert!(skip >= 3, "the parent's, the file's, the folder's");
            return;
        }
    }
}
