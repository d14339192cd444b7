//! A cluster whose disks, clocks and links are in the hands of the harness.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use super::super::disk::{Disk, Loss};
use super::super::harness::{Cluster, Radiant};
use super::gaps::Pulse;
use super::links::{Links, State};
use super::plan::{FOUNDERS, Plan};
use super::shim::{Control, Libraries};

/// What `faults.c` and `powercut.c` need.
pub struct Machinery {
    pub controls: Vec<Control>,
    pub links: Links,
    /// What would be left of each after a power cut, where that is to come.
    disks: Vec<Option<Disk>>,
    journaled: bool,
}

/// The cluster and all that can be done to it.
pub struct Stage {
    pub cluster: Cluster,
    /// Only where a fault needs it: all others are played on processes as they are.
    machinery: Option<Machinery>,
}

impl Stage {
    /// Radiants that serve.
    pub async fn started(plan: &Plan) -> Stage {
        let mut cluster = Cluster::prepared(plan.radiants()).await;
        for radiant in &mut cluster.radiants {
            plan.settle(radiant);
        }
        let machinery = match plan.needs_libraries() {
            true => Some(Machinery::of(&mut cluster, plan.cuts_power()).await),
            false => None,
        };
        for radiant in cluster.radiants.iter_mut().filter(|_| plan.lies) {
            radiant.environment.push(("POWERCUT_LIES".into(), "1".into()));
        }
        let mut stage = Stage { cluster, machinery };
        for founder in 0..FOUNDERS {
            stage.start(founder);
        }
        stage.cluster.ready().await;
        for spare in FOUNDERS..plan.radiants() {
            stage.start(spare);
        }
        stage.cluster.ready().await;
        stage
    }

    /// All that are on the stage.
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.cluster.radiants.len()
    }

    pub fn start(&mut self, radiant: usize) {
        let process = &mut self.cluster.radiants[radiant];
        if let Some(machinery) = self.machinery.as_mut().filter(|machinery| machinery.journaled) {
            let disk = machinery.disks[radiant].take();
            machinery.disks[radiant] = Some(disk.unwrap_or_else(|| Disk::read(&process.folder)));
        }
        process.start();
    }

    /// `kill -9`. What it had not synced is still to be lost at the next power cut.
    pub fn kill(&mut self, radiant: usize) {
        self.cluster.radiants[radiant].kill();
        self.follow(radiant);
    }

    /// To be called whenever a process has ended.
    pub fn follow(&mut self, radiant: usize) {
        let Some(machinery) = &mut self.machinery else { return };
        let journal = &machinery.controls[radiant].journal;
        if let (Some(disk), true) = (&mut machinery.disks[radiant], journal.exists()) {
            disk.follow(journal);
            std::fs::remove_file(journal).unwrap();
        }
    }

    /// Takes from a radiant that was killed what it had not synced.
    pub fn cut_power(&mut self, radiant: usize, loss: Loss) {
        let disk = self.machinery.as_mut().and_then(|machinery| machinery.disks[radiant].take());
        disk.expect("its disk is followed").restore(&self.cluster.radiants[radiant].folder, loss);
    }

    pub fn control(&self, radiant: usize) -> &Control {
        &self.machinery.as_ref().expect("the libraries are there").controls[radiant]
    }

    /// Sets the links whose ends are picked.
    pub fn links(&self, state: State, which: impl Fn(usize, usize) -> bool) {
        self.machinery.as_ref().expect("the libraries are there").links.set(state, which);
    }

    /// How much the links have kept back.
    pub fn held(&self) -> u64 {
        self.machinery.as_ref().map_or(0, |machinery| machinery.links.held.load(Ordering::Relaxed))
    }

    /// Whatever is wrong with links, disks and clocks is right again.
    pub fn heal(&self, pulse: &Pulse) {
        if let Some(machinery) = &self.machinery {
            machinery.links.heal();
            for control in &machinery.controls {
                control.heal();
            }
        }
        pulse.avoided.lock().clear();
    }

    pub fn signal(&self, radiant: usize, name: &str) {
        signal(&self.cluster.radiants[radiant], name);
    }
}

pub fn signal(radiant: &Radiant, name: &str) {
    let pid = radiant.pid().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

impl Machinery {
    async fn of(cluster: &mut Cluster, journaled: bool) -> Machinery {
        let libraries = Libraries::compile(cluster.folder.path());
        let ports: Vec<u16> = cluster.radiants.iter().map(|radiant| port(&radiant.grpc)).collect();
        let links = Links::between(&ports).await;
        let controls = cluster.radiants.iter_mut().enumerate();
        let control = |(index, radiant): (usize, &mut Radiant)| {
            Control::of(radiant, &libraries, &links.instead(index, &ports), journaled)
        };
        let controls = controls.map(control).collect();
        let disks = cluster.radiants.iter().map(|_| None).collect();
        Machinery { controls, links, disks, journaled }
    }
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// All files of a folder, also in its folders, in one order everywhere.
pub fn files_of(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // A radiant that runs may take files away meanwhile.
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
