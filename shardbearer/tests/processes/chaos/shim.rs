//! The other side of `faults.c`: what of a radiant's disk, clock and connections is wrong just now.
//!
//! The words of the control file are mapped by the radiant, so that a write here is felt at its next call.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::harness::Radiant;

/// The compiled libraries.
pub struct Libraries {
    faults: PathBuf,
    powercut: PathBuf,
}

impl Libraries {
    /// Compiles them. Where Rust links, there is a `cc`.
    pub fn compile(folder: &Path) -> Libraries {
        let compile = |source: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/processes").join(source);
            let library = folder.join(path.with_extension("so").file_name().expect("a file"));
            let mut cc = Command::new("cc");
            cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&path).arg("-ldl");
            assert!(cc.status().expect("a C compiler").success(), "{} does not compile", path.display());
            library
        };
        Libraries { faults: compile("chaos/faults.c"), powercut: compile("powercut.c") }
    }
}

/// What one call does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Write = 1,
    Sync = 2,
    Rename = 4,
    Truncate = 8,
    Create = 16,
    /// Those of `Sync` that are fdatasync; counted with them.
    DataSync = 32,
}

impl Call {
    pub const ALL: [Call; 5] = [Call::Write, Call::Sync, Call::Rename, Call::Truncate, Call::Create];
}

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Log = 1,
    Data = 2,
    Images = 4,
    /// `identity`, `cluster`, `bootstrap-vote`.
    Papers = 8,
}

impl Class {
    pub const ALL: [Class; 4] = [Class::Log, Class::Data, Class::Images, Class::Papers];
}

/// Calls that fail.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub call: Call,
    pub class: Class,
    /// Or [`BEFORE`], or [`AFTER`].
    pub errno: i64,
    /// So many succeed before.
    pub skip: i64,
    /// So many fail then.
    pub times: i64,
}

/// Errors of `errno.h`, the same on all Linux machines.
pub const EIO: i64 = 5;
pub const ENOSPC: i64 = 28;

/// Instead of an error: the process is killed right before such a call, or right after it.
pub const BEFORE: i64 = -1;
pub const AFTER: i64 = -2;

/// The control file of one radiant.
pub struct Control {
    file: File,
    pub journal: PathBuf,
}

/// Places of the words.
const CLOCK_NS: u64 = 0;
const RULE: u64 = 1;
const INJECTED: u64 = 6;
const SMALL: u64 = 7;
const SPACE: u64 = 8;
const NO_SPACE: u64 = 9;
const SEEN: u64 = 10;
const WORDS: u64 = 30;

impl Control {
    /// Tells the radiant, from its next start on, to listen to a control file of its own. Connections to a port of the
    /// list go to the port beside it. With a journal its power can be cut.
    pub fn of(
        radiant: &mut Radiant,
        libraries: &Libraries,
        ports: &[(u16, u16)],
        journaled: bool,
    ) -> Control {
        let (control, environment) = Control::beside(&radiant.file, &radiant.folder, libraries, journaled);
        let ports: Vec<String> = ports.iter().map(|(from, to)| format!("{from}:{to}")).collect();
        radiant.environment = environment;
        radiant.environment.push(("FAULTS_PORTS".into(), ports.join(",")));
        control
    }

    /// The files of whatever process uses a folder, and the environment that makes it listen to them.
    pub fn beside(
        file: &Path,
        folder: &Path,
        libraries: &Libraries,
        journaled: bool,
    ) -> (Control, Vec<(String, String)>) {
        let path = file.with_extension("control");
        let words = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        words.set_len(WORDS * 8).unwrap();
        let journal = file.with_extension("journal");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut loaded = text(&libraries.faults);
        if journaled {
            loaded = format!("{loaded}:{}", text(&libraries.powercut));
        }
        let environment = [
            ("LD_PRELOAD", loaded),
            ("FAULTS_DIR", text(folder)),
            ("FAULTS_CONTROL", text(&path)),
            ("POWERCUT_DIR", text(folder)),
            ("POWERCUT_JOURNAL", text(&journal)),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        (Control { file: words, journal }, environment)
    }

    /// The same file again, for a process that is to make its own calls fail.
    pub fn open(path: &Path) -> Control {
        let file = File::options().read(true).write(true).open(path).unwrap();
        Control { file, journal: path.with_extension("journal") }
    }

    fn set(&self, word: u64, value: i64) {
        self.file.write_all_at(&value.to_ne_bytes(), word * 8).unwrap();
    }

    fn get(&self, word: u64) -> i64 {
        let mut raw = [0; 8];
        self.file.read_exact_at(&mut raw, word * 8).unwrap();
        i64::from_ne_bytes(raw)
    }

    /// By how much its time of day is wrong.
    pub fn clock(&self, seconds: i64) {
        self.set(CLOCK_NS, seconds * 1_000_000_000);
    }

    /// From now on these calls fail.
    pub fn fail(&self, rule: Rule) {
        self.set(INJECTED, 0);
        let words = [rule.class as i64, rule.errno, rule.skip, rule.times];
        for (word, value) in (RULE + 1..).zip(words) {
            self.set(word, value);
        }
        // Last, since it is what makes the others count.
        self.set(RULE, rule.call as i64);
    }

    /// How many calls have failed since then.
    pub fn failed(&self) -> i64 {
        self.get(INJECTED)
    }

    /// How often it has made a call of this kind since its first start.
    pub fn seen(&self, call: Call, class: Class) -> i64 {
        let place = |bit: u32| u64::from(bit.trailing_zeros());
        self.get(SEEN + 4 * place(call as u32) + place(class as u32))
    }

    /// Its files may grow by no more than this.
    pub fn small(&self, bytes: i64) {
        self.set(NO_SPACE, 0);
        self.set(SPACE, bytes);
        self.set(SMALL, 1);
    }

    /// How many calls found no room since then.
    pub fn no_space(&self) -> i64 {
        self.get(NO_SPACE)
    }

    /// All is well again.
    pub fn heal(&self) {
        for word in [RULE, SMALL, CLOCK_NS] {
            self.set(word, 0);
        }
    }
}
