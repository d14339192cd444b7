//! One run: founding, a safety phase with faults, a liveness phase without, and the verdict.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use shardbearer::engine::Engines;
use shardbearer_core::ids::OrderId;
use shardbearer_core::kv::{Command, Condition, Reply};
use shardbearer_sim::chaos::{PROFILES, Profile, Scope, plan};
use shardbearer_sim::disk::points::{POINTS, Point};
use shardbearer_sim::history::{Answer, Ask, Judge, Revisions};
use shardbearer_sim::world::{Clock, Life, Universe, block_on};
use shardbearer_state::history::{Options, check};
use tokio::time::Instant;

use super::clients::{self, Wanted, execute, operate, request};
use super::cluster::{Cluster, RADIANTS, REPLICATION, SHARDS, Shape};
use super::doubles::Defects;
use super::invariants::{positions, without_control};
use super::machine::Machine;
use super::mixes::{MIXES, Mix};
use super::operator;

const CLIENTS: usize = 6;

/// Virtual time with faults.
const SAFETY_MS: u64 = 9_000;

/// Virtual time within which a healed cluster must take writes of every shard at every radiant again.
const SERVING: Duration = Duration::from_secs(10);

/// Virtual time within which it must do everything that it should: have finished or taken back what was moved, have the same
/// replicas everywhere.
const LIVENESS: Duration = Duration::from_secs(30);

/// Every how many seeds a cluster that is well again has to serve without its control order.
const ALONE_EVERY: u64 = 20;

/// What is simulated.
#[derive(Clone)]
pub struct Scenario {
    pub seed: u64,
    pub profile: &'static Profile,
    pub mix: &'static Mix,
    pub defects: Defects,
    /// Whether an operator changes members and moves shards meanwhile.
    pub operated: bool,
    /// At which points radiants crash, in the profile that has them crash there.
    pub points: &'static [(Point, &'static str)],
}

impl Scenario {
    /// The scenario that a seed stands for.
    pub fn of(seed: u64) -> Scenario {
        let (profiles, mixes) = (PROFILES.len() as u64, MIXES.len() as u64);
        // Each profile meets each mix, and even a few seeds meet many of both.
        let profile = &PROFILES[(seed % profiles) as usize];
        let mix = &MIXES[((seed % profiles + seed / profiles) % mixes) as usize];
        Scenario { seed, profile, mix, defects: Defects::default(), operated: false, points: POINTS }
    }
}

impl Scenario {
    fn shape(&self) -> Shape {
        let Scenario { profile, mix, defects, .. } = *self;
        let founders = RADIANTS - usize::from(self.operated);
        let replication = self.replication();
        let shape = Shape { founders, replication, profile, mix, defects, ..Shape::default() };
        let look = look().unwrap_or(shape.look);
        Shape { look, lost_answers: lost_answers(self.seed), ..shape }
    }

    /// Where several are damaged at once, everybody is in every order. An operator needs somebody to replace them.
    fn replication(&self) -> usize {
        let several = (2..=RADIANTS).contains(&self.profile.budget);
        if several && !self.operated { RADIANTS } else { REPLICATION }
    }

    /// The command that repeats it.
    pub fn again(&self) -> String {
        let Scenario { seed, profile: Profile { name: profile, .. }, mix: Mix { name: mix, .. }, .. } = self;
        let operated = if self.operated { " SIM_OPERATOR=1" } else { "" };
        let point = match self.points {
            [(_, only)] => format!(" SIM_POINT='{only}'"),
            _ => String::new(),
        };
        format!(
            "again: SIM_SEED={seed} SIM_PROFILE={profile} SIM_MIX={mix}{operated}{point} \
             cargo test -p shardbearer --test sim -- --nocapture one_seed"
        )
    }
}

/// `SIM_LOOK_MS`: how often the invariants are looked at.
fn look() -> Option<Duration> {
    super::number("SIM_LOOK_MS").map(Duration::from_millis)
}

/// With a quarter of all seeds every second to ninth answer to a client is lost. Whoever has a session asks again.
fn lost_answers(seed: u64) -> Option<u64> {
    // Spread, since profiles and mixes go by remainders of the seed.
    let spread = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (spread % 4 == 2).then_some(2 + spread / 4 % 8)
}

/// Says what happened last if a run panics.
struct LastWords(Arc<Universe>);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.trace.tail());
        }
    }
}

/// A run that kept all invariants.
pub struct Passed {
    pub digest: u64,
    /// The name of its mix of engines.
    pub mix: &'static str,
    pub covered: BTreeMap<&'static str, u64>,
    pub operations: usize,
}

/// A run that did not.
pub struct Broken {
    pub scenario: Scenario,
    pub what: String,
    pub tail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scenario { seed, profile: Profile { name: profile, .. }, mix: Mix { name: mix, .. }, .. } =
            &self.scenario;
        writeln!(f, "{}", self.tail)?;
        writeln!(f, "seed {seed}, profile {profile}, engines {mix}: {}", self.what)?;
        write!(f, "{}", self.scenario.again())
    }
}

/// Runs a scenario to its verdict.
pub fn run(scenario: &Scenario) -> Result<Passed, Box<Broken>> {
    let folder = folder();
    block_on(async {
        let universe = Universe::new(scenario.seed);
        let _last_words = LastWords(universe.clone());
        let cluster = Cluster::new(universe.clone(), &scenario.shape(), folder.path());
        let verdict = live(&cluster, scenario).await;
        let verdict = match universe.trace.first_broken() {
            Some(what) => Err(what),
            None => verdict.and_then(|()| judge(&cluster)),
        };
        let (digest, covered) = (universe.trace.digest(), universe.trace.covered());
        for machine in &cluster.machines {
            machine.crash().await;
        }
        cluster.net.end().await;
        match verdict {
            Ok(()) => {
                let operations = cluster.recorder.history().len();
                Ok(Passed { digest, mix: scenario.mix.name, covered, operations })
            }
            Err(what) => {
                Err(Box::new(Broken { scenario: scenario.clone(), what, tail: universe.trace.tail() }))
            }
        }
    })
}

/// For the files of a run. In memory where there is such a place: syncs of real disks would only take time.
pub fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

/// Judges what clients saw, by revisions and exactly; says what each has to say.
pub fn judge(cluster: &Cluster) -> Result<(), String> {
    // A value may be gone a millisecond before its time, or after it, since expiries are counted in whole ones.
    let options = Options {
        slack_ns: 1_000_000,
        late_ns: Some(1_000_000),
        states_max: 1_000_000,
        explained_max: 2,
        ..Options::default()
    };
    if let Some(path) = std::env::var_os("SIM_HISTORY") {
        std::fs::write(path, cluster.recorder.lines()).expect("a place for the history");
    }
    let mut wrong = Vec::new();
    wrong.extend(
        Revisions.judge(&cluster.history.operations()).err().map(|why| format!("by revisions: {why}")),
    );
    let report = check(&cluster.recorder.history(), &options, |_| ());
    for violation in &report.violations {
        wrong.push(format!("by the oracle: {}", violation.lines().join("\n  ")));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

async fn live(cluster: &Arc<Cluster>, scenario: &Scenario) -> Result<(), String> {
    let universe = &cluster.universe;
    let director = Life::begin(universe, "director", &Arc::new(Clock::default()));
    let watched = cluster.clone();
    director.spawn("watch", async move { watched.watch().await });

    let mut rng = universe.rng("director");
    let mut starts: Vec<(u64, usize)> = (0..RADIANTS).map(|one| (rng.random_range(0..800), one)).collect();
    let (at_work, all_is_asked) = tokio::sync::oneshot::channel::<()>();
    if scenario.operated {
        // It finds a cluster that is there, as a rule.
        starts[operator::SPARE].0 += 2_000;
    }
    starts.sort_unstable();
    // Sometimes the founding itself is disturbed.
    let from =
        if rng.random_bool(0.4) { rng.random_range(100..1_000) } else { rng.random_range(1_000..4_000) };
    let Scenario { profile, mix, .. } = scenario;
    let tolerated = mix.tolerates(&Engines::default(), scenario.replication());
    let between_ms = (from, SAFETY_MS);
    let scope = Scope { tolerated, radiants: RADIANTS, between_ms, points: scenario.points };
    let steps = plan(profile, &scope, &mut rng);
    let start = Instant::now();
    for (at, one) in starts {
        tokio::time::sleep_until(start + Duration::from_millis(at)).await;
        cluster.machines[one].start();
    }
    for number in 0..CLIENTS {
        director.spawn("client", clients::client(cluster.clone(), number, SAFETY_MS));
    }
    if scenario.operated {
        let operator = operator::operator(cluster.clone(), SAFETY_MS);
        director.spawn("operator", async move {
            operator.await;
            drop(at_work);
        });
    }
    for step in steps {
        tokio::time::sleep_until(start + Duration::from_millis(step.at_ms)).await;
        cluster.perform(step.act).await;
        stop_if_broken(cluster)?;
    }
    tokio::time::sleep_until(start + Duration::from_millis(SAFETY_MS)).await;

    universe.event(format_args!("all is healed"));
    cluster.net.heal();
    for machine in &cluster.machines {
        machine.pause(false);
        machine.disk.set_full(false);
        machine.disk.mend();
        machine.start();
    }
    let healed = Instant::now();
    if tokio::time::timeout(SERVING, serve(cluster, !scenario.operated)).await.is_err() {
        stop_if_broken(cluster)?;
        return Err(format!("does not serve {SERVING:?} after all was healed: {}", what_is_missing(cluster)));
    }
    let recovered = tokio::time::timeout_at(healed + LIVENESS, async {
        if scenario.operated {
            // What is asked last may be decided after all is healed. Nothing is sent: it ends by itself.
            let _ = all_is_asked.await;
            operator::rest(cluster).await;
        }
        recover(cluster, &mut rng).await;
    });
    let recovered = recovered.await;
    let alone = match recovered {
        Ok(()) if scenario.seed.is_multiple_of(ALONE_EVERY) => without_control::check(cluster).await,
        Ok(()) | Err(_) => Ok(()),
    };
    director.kill();
    director.end().await;
    stop_if_broken(cluster)?;
    let missing = |_| format!("not within {LIVENESS:?} after all was healed: {}", what_is_missing(cluster));
    recovered.map_err(missing).and(alone)
}

fn stop_if_broken(cluster: &Cluster) -> Result<(), String> {
    cluster.universe.trace.first_broken().map_or(Ok(()), Err)
}

/// How long one request of those after the healing waits, and how long after it comes the next.
const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(100);

/// Everybody takes writes of every shard. Where an operator had radiants leave, some may be nobody yet: unless everybody has to
/// serve, those do that do.
async fn serve(cluster: &Cluster, everybody: bool) {
    let mut served = 0;
    while served == 0 {
        for machine in &cluster.machines {
            if everybody || machine.running().is_some() {
                served += usize::from(takes_writes(machine, everybody).await);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Waits until one takes writes of every shard, or, if it may leave, is not there; says which.
async fn takes_writes(machine: &Machine, stays: bool) -> bool {
    for key in (0..SHARDS * 4).map(|number| format!("alive-{number}")) {
        let value = machine.name.clone().into();
        let put = clients::put(&key.into(), &value, Condition::Always);
        while !matches!(execute(machine, put.clone(), PATIENCE).await, Some(Ok(Reply::Written { .. }))) {
            if !stays && machine.running().is_none() {
                return false;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    true
}

/// Everybody serves every shard, final reads are done, and replicas are the same.
async fn recover(cluster: &Cluster, rng: &mut rand::rngs::StdRng) {
    serve(cluster, true).await;
    let wanted = |rng: &mut rand::rngs::StdRng| Wanted {
        client: CLIENTS,
        first: rng.random_range(0..RADIANTS),
        id: None,
        deadline: PATIENCE,
    };
    for key in clients::keys() {
        loop {
            let answer = operate(cluster, &wanted(rng), &key, Ask::Read).await;
            if matches!(answer, Answer::Found(_)) {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
    let gets = clients::other_keys().into_iter().map(|key| Command::Get { key });
    for command in gets.chain([clients::everything()]) {
        while !matches!(request(cluster, &wanted(rng), command.clone()).await, Some(Ok(_))) {
            tokio::time::sleep(AGAIN).await;
        }
    }
    while !converged(cluster) {
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether all members of every order that there is stand at the same position.
pub fn converged(cluster: &Cluster) -> bool {
    let running = cluster.machines.iter().map(|machine| Some(machine.running()?.0.cluster.map.topology()));
    let Some(topologies) = running.collect::<Option<Vec<_>>>() else { return false };
    let removed = |order| topologies.iter().all(|topology| topology.order(order).is_none());
    let same = |(order, count): (&OrderId, &usize)| *count == usize::from(!removed(*order));
    positions(cluster).is_ok_and(|positions| positions.iter().all(same))
}

pub fn what_is_missing(cluster: &Cluster) -> String {
    let down: Vec<&str> = cluster
        .machines
        .iter()
        .filter(|machine| machine.running().is_none())
        .map(|machine| machine.name.as_str())
        .collect();
    let positions = positions(cluster);
    let unrest = operator::unrest(cluster);
    format!("not serving: {down:?}; positions by order: {positions:?}; {unrest}")
}
