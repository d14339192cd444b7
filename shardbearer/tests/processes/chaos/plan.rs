//! What a run does: which engine, which faults, how long, from which seed.

use std::time::Duration;

use shardbearer::engine::Engines;

use super::super::defective::Defect;
use super::super::harness::Radiant;

/// Everything that is done to radiants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of one.
    Kill,
    /// `kill -9` of all at once.
    KillAll,
    /// SIGTERM and a new start.
    Restart,
    /// SIGSTOP for one to ten election timeouts.
    Pause,
    /// One is cut off from all others.
    Isolate,
    /// One is heard by nobody, or hears nobody.
    OneWay,
    /// Two do not reach each other, the third reaches both.
    Bridge,
    /// Cuts of one that come and go.
    Flap,
    /// What one sends comes late.
    Slow,
    /// Power cut of one while another is paused.
    Power,
    /// Power cut of all.
    PowerAll,
    /// The time of day of one jumps by an hour, there and back.
    Clock,
    /// A write, fsync, rename, truncate or create fails on one.
    Error,
    /// One is killed right before or after such a call, perhaps with its power cut.
    Crash,
    /// The file system of one is full, and is given room again.
    Full,
    /// The same of all.
    FullAll,
    /// A bit is flipped in the files of one while it is down.
    Flip,
    /// One is so far behind that it is sent an image, and is killed again and again while that comes.
    Image,
    /// The same, and bits of what has come turn before it is complete.
    ImageFlip,
    /// A shard is on its way, and who leads one of the orders that this needs is killed.
    Move,
    /// One radiant gives its seats away, and one of all is killed meanwhile.
    Member,
}

impl Fault {
    pub const ALL: [(Fault, &'static str); 21] = [
        (Fault::Kill, "kill"),
        (Fault::KillAll, "kill-all"),
        (Fault::Restart, "restart"),
        (Fault::Pause, "pause"),
        (Fault::Isolate, "isolate"),
        (Fault::OneWay, "one-way"),
        (Fault::Bridge, "bridge"),
        (Fault::Flap, "flap"),
        (Fault::Slow, "slow"),
        (Fault::Power, "power"),
        (Fault::PowerAll, "power-all"),
        (Fault::Clock, "clock"),
        (Fault::Error, "error"),
        (Fault::Crash, "crash"),
        (Fault::Full, "full"),
        (Fault::FullAll, "full-all"),
        (Fault::Flip, "flip"),
        (Fault::Image, "image"),
        (Fault::ImageFlip, "image-flip"),
        (Fault::Move, "move"),
        (Fault::Member, "member"),
    ];

    pub fn name(self) -> &'static str {
        Fault::ALL.iter().find(|(fault, _)| *fault == self).expect("all are listed").1
    }

    /// Whether `faults.c` and `powercut.c` are needed.
    pub fn needs_libraries(self) -> bool {
        match self {
            Fault::Kill | Fault::KillAll | Fault::Restart | Fault::Pause | Fault::Image => false,
            Fault::ImageFlip | Fault::Move | Fault::Member => false,
            Fault::Isolate | Fault::OneWay | Fault::Bridge | Fault::Flap | Fault::Slow => true,
            Fault::Power | Fault::PowerAll | Fault::Clock | Fault::Error => true,
            Fault::Crash | Fault::Full | Fault::FullAll | Fault::Flip => true,
        }
    }
}

/// Radiants that found the cluster: as many as an order has members.
pub const FOUNDERS: usize = 3;

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub engine: &'static str,
    pub faults: Vec<Fault>,
    /// Until when new faults come; each comes once at least.
    pub time: Duration,
    pub seed: u64,
    pub resp: usize,
    pub native: usize,
    /// Whether the disks only say that they sync: a positive control.
    pub lies: bool,
    /// What the engine does wrong: another.
    pub defect: Option<Defect>,
    /// Whether shards move from order to order all the while.
    pub moves: bool,
    /// Whether radiants give seats away and take some again all the while.
    pub members: bool,
    /// Whether `scripts/chaos.sh` asked for it: then all that was written down is kept.
    pub long: bool,
}

impl Plan {
    /// Each of the faults once, or what `CHAOS_SECONDS`, `CHAOS_FAULTS`, `CHAOS_MOVES`, `CHAOS_MEMBERS`,
    /// `CHAOS_CLIENTS` and `CHAOS_SEED` say.
    pub fn of(engine: &'static str, faults: &[Fault]) -> Plan {
        let told = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let number = |name: &str| told(name).map(|text| text.parse::<u64>().expect("a number"));
        let seconds = number("CHAOS_SECONDS");
        let clients = usize::try_from(number("CHAOS_CLIENTS").unwrap_or(16)).expect("some");
        let faults = match told("CHAOS_FAULTS") {
            Some(names) => names.split(',').map(fault).collect(),
            None => faults.to_vec(),
        };
        Plan {
            engine,
            faults,
            time: Duration::from_secs(seconds.unwrap_or(0)),
            seed: number("CHAOS_SEED").unwrap_or(1),
            resp: clients - clients / 4,
            native: clients / 4,
            lies: false,
            defect: None,
            moves: told("CHAOS_MOVES").is_some(),
            members: told("CHAOS_MEMBERS").is_some(),
            long: seconds.is_some(),
        }
    }

    /// Settings of every radiant.
    pub fn settle(&self, radiant: &mut Radiant) {
        radiant.defect = self.defect;
        radiant.settings.push(format!("consensus.engine={}", self.engine));
        radiant.settings.push(format!("bootstrap.expect={FOUNDERS}"));
    }

    /// The founders, and one more where somebody has to take seats that others give away.
    pub fn radiants(&self) -> usize {
        let spare = self.members || self.faults.contains(&Fault::Member);
        FOUNDERS + usize::from(spare)
    }

    /// Whether the cluster is sound, so that all is well in the end.
    pub fn is_sound(&self) -> bool {
        !self.lies && self.defect.is_none()
    }

    /// Whether the engine says that it goes on while one of three is away.
    pub fn survives_one(&self) -> bool {
        let factory = Engines::default().find(self.engine).expect("a built-in engine");
        (factory.capabilities().tolerates)(3) >= 1
    }

    pub fn cuts_power(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, Fault::Power | Fault::PowerAll | Fault::Crash))
    }

    pub fn needs_libraries(&self) -> bool {
        self.faults.iter().any(|fault| fault.needs_libraries())
    }
}

fn fault(name: &str) -> Fault {
    let found = Fault::ALL.iter().find(|(_, known)| *known == name);
    found.unwrap_or_else(|| panic!("no fault {name:?}; there are {:?}", Fault::ALL.map(|(_, name)| name))).0
}

#[test]
fn faults_are_found_by_their_names() {
    for (known, name) in Fault::ALL {
        assert_eq!((fault(name), known.name()), (known, name));
    }
    assert!(std::panic::catch_unwind(|| fault("kil")).is_err());
}
