//! What the herald of the control order, the scherald, does about members: it watches who is up and how far everybody is,
//! asks the plan for the next step, and commits it with the epoch it was decided on. A scherald that has been deposed,
//! or that looked at an old configuration, is refused by that epoch.
//!
//! The decisions are in [`shardbearer_state::membership`]; carrying them out is the business of the radiants that have
//! the seats, see `node::tend`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::membership::{MemberChange, Standing};
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;
use shardbearer_state::membership::ask::{self, Action, Answer};
use shardbearer_state::membership::capacity::{Capacity, Carries};
use shardbearer_state::membership::plan::{self, Facts, Kind, Plan, Seen};
use shardbearer_state::placement::rebalance::Rest;

use super::Cluster;
use super::control::{self, ControlSeat};
use super::rebalance::{Spread, in_force};
use crate::config::Config;
use crate::engine::Engines;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);
/// Changes of one look at most: it ends sooner when it has taken as long as there is between two.
const STEPS_MAX: usize = 64;
/// When it did not look for so long, the process stood still, and what it last heard says nothing about others.
const STOOD_STILL_NS: u64 = 1_000_000_000;
/// In which everybody who is up is heard as a rule: three pulses.
const JUST_NOW_MS: u64 = 600;
/// For an operator's request to be brought to the scherald and decided.
const DEADLINE: Duration = Duration::from_secs(8);
/// How often a request is looked at again, because the configuration became another meanwhile.
pub(super) const ATTEMPTS: usize = 5;

/// By what membership is decided.
#[derive(Clone, Debug)]
pub struct Settings {
    kinds: BTreeMap<String, Kind>,
    /// Engines whose orders can begin anew from one member.
    resettable: BTreeSet<String>,
    suspicion_ms: u64,
    grace_ms: u64,
    /// When shards are moved automatically.
    pub(super) rest: Rest,
    /// What that has to gain, by load.
    pub(super) gain_min_percent: u32,
}

impl Settings {
    /// From the configuration, and from what the engines say of themselves.
    pub fn new(config: &Config, engines: &Engines) -> Settings {
        let kinds = engines.all().map(|factory| {
            let capabilities = factory.capabilities();
            let kind = match (capabilities.members_decided_elsewhere, capabilities.reconfigure) {
                (true, _) => Kind::Elsewhere,
                (false, true) => Kind::Agree,
                (false, false) => Kind::Fixed,
            };
            (factory.name().to_owned(), kind)
        });
        let resettable = engines.all().filter(|factory| factory.can_reset());
        Settings {
            kinds: kinds.collect(),
            resettable: resettable.map(|factory| factory.name().to_owned()).collect(),
            suspicion_ms: config.membership.suspicion_ms,
            grace_ms: config.membership.down_grace_ms,
            rest: Rest { settle_ms: config.rebalance.settle_ms, cool_down_ms: config.rebalance.cool_down_ms },
            gain_min_percent: config.rebalance.gain_min_percent,
        }
    }

    /// Whether there is such an engine here.
    pub(super) fn knows(&self, engine: &str) -> bool {
        self.kinds.contains_key(engine)
    }

    /// Whether an engine's orders can begin anew from one member.
    pub(super) fn can_reset(&self, engine: &str) -> bool {
        self.resettable.contains(engine)
    }

    /// How the members of an engine's orders change.
    pub fn kind(&self, engine: &str) -> Kind {
        self.kinds.get(engine).copied().unwrap_or_default()
    }
}

/// Looks after the members of all orders for as long as the seat is open, whenever it is the scherald's.
pub async fn run(cluster: Arc<Cluster>, seat: Arc<ControlSeat>) {
    let mut watch = Watch::default();
    loop {
        let status = seat.engine.status();
        if status.closed {
            return;
        }
        if watch.goes_on(&cluster, status.leading) {
            watch.steps(&cluster, &seat).await;
        } else {
            cluster.blockers.lock().clear();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks also while another is the scherald: everybody hears everybody, so a new one need not wait to know who is silent.
#[derive(Default)]
struct Watch {
    /// Nobody who was heard before counts as silent for longer than this (monotonic, ns).
    since_ns: u64,
    looked_ns: u64,
    leading: bool,
    shards: Spread,
}

impl Watch {
    fn goes_on(&mut self, cluster: &Cluster, leading: bool) -> bool {
        let now = cluster.world.monotonic_ns();
        let stood_still = now.saturating_sub(self.looked_ns) > STOOD_STILL_NS;
        // Whoever hears nobody is the one who is cut off.
        let hears = !stood_still && hears_most_seats(cluster, now);
        if !hears {
            self.since_ns = now;
        }
        if stood_still {
            self.shards = Spread::default();
        } else if !self.leading {
            self.shards.begin();
        }
        if !leading {
            self.shards.look(cluster, hears);
        }
        (self.leading, self.looked_ns) = (leading, now);
        leading
    }

    /// The changes of one look. Where members are decided here, as those of chains are, one order after the other: none waits
    /// for the next look because another was first.
    async fn steps(&mut self, cluster: &Cluster, seat: &ControlSeat) {
        let begun_ns = self.looked_ns;
        let (mut blockers, mut changed) = (Vec::new(), false);
        for _ in 0..STEPS_MAX {
            let (step, found) = self.step(cluster, seat).await;
            blockers = found;
            changed |= step != Step::None;
            let now = cluster.world.monotonic_ns();
            // If the process stood still meanwhile, nothing that was heard before is worth anything.
            if step != Step::List || now.saturating_sub(self.looked_ns) > STOOD_STILL_NS {
                break;
            }
            self.looked_ns = now;
            if now.saturating_sub(begun_ns) > LOOK.as_nanos() as u64 {
                break;
            }
        }
        if changed {
            // Whoever has a seat in the control order looks at once.
            cluster.hurry.notify_one();
        }
        blockers.extend(self.shards.step(cluster, seat).await);
        let mut known = cluster.blockers.lock();
        for blocker in blockers.iter().filter(|blocker| !known.contains(blocker)) {
            tracing::warn!("{blocker}");
        }
        *known = blockers;
    }

    /// What was changed, and what should be and cannot.
    async fn step(&mut self, cluster: &Cluster, seat: &ControlSeat) -> (Step, Vec<String>) {
        let topology = in_force(cluster, seat);
        let Plan { step, blockers } = plan::next(&topology, &facts(cluster, &topology, self.since_ns));
        let Some(step) = step else { return (Step::None, blockers) };
        let done = match step.change {
            MemberChange::List { .. } => Step::List,
            _ => Step::Other,
        };
        let command = ControlCommand {
            who: "scherald".into(),
            why: step.why,
            at_ms: cluster.world.wall_ms(),
            change: Change::Members { on: topology.epoch, change: step.change },
        };
        match seat.propose(&command).await {
            Ok(ControlReply::Changed { epoch, .. }) => {
                tracing::info!(%epoch, "members change, because {}", command.why);
                return (done, blockers);
            }
            // What was looked at is not what is in force any more: the next look shows it.
            Ok(ControlReply::Refused(why)) => tracing::debug!("members do not change: {why}"),
            Err(error) => tracing::debug!("members do not change: {error}"),
        }
        (Step::None, blockers)
    }
}

/// What a step changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    None,
    /// The members of an order that takes them from here: done.
    List,
    /// Something that others carry out, or that they have to hear of first.
    Other,
}

/// Whether most of those who have a seat in the control order were heard just now: well within the time after which somebody
/// counts as silent.
fn hears_most_seats(cluster: &Cluster, now_ns: u64) -> bool {
    let topology = cluster.map.topology();
    let Some(control) = topology.order(OrderId::CONTROL) else { return false };
    let within_ns = JUST_NOW_MS.max(cluster.membership.suspicion_ms / 2) * 1_000_000;
    let heard = |seat: &&RadiantId| {
        let heard = cluster.peers.of(**seat).map(|heard| heard.at_ns);
        **seat == cluster.me || heard.is_some_and(|at_ns| now_ns.saturating_sub(at_ns) < within_ns)
    };
    control.members.iter().filter(heard).count() * 2 > control.members.len()
}

/// What is seen from here. Nobody counts as silent for longer than since `since_ns`.
fn facts(cluster: &Cluster, topology: &Topology, since_ns: u64) -> Facts {
    let now = cluster.world.monotonic_ns();
    let Settings { kinds, suspicion_ms, grace_ms, .. } = cluster.membership.clone();
    let mut facts = Facts { kinds, suspicion_ms, grace_ms, ..Facts::default() };
    for radiant in &topology.radiants {
        let heard = cluster.peers.of(radiant.id).unwrap_or_default();
        let silent_ns = now.saturating_sub(heard.at_ns.max(since_ns));
        let stopping = cluster.stopping.load(Ordering::Relaxed);
        let seen = match radiant.id == cluster.me {
            true => Seen { up_for_ms: u64::MAX, stopping, ..Seen::default() },
            false => Seen {
                silent_ms: silent_ns / 1_000_000,
                up_for_ms: cluster.peers.up_for_ms(radiant.id, now),
                stopping: heard.status.stopping,
            },
        };
        facts.seen.insert(radiant.id, seen);
        facts.free_bytes.insert(radiant.id, heard.status.disk_free_bytes);
        for (order, progress) in heard.progress {
            facts.progress.insert((order, radiant.id), progress);
        }
    }
    facts.loads = cluster.peers.loads();
    facts
}

/// An operator's request, from any radiant.
pub async fn ask(cluster: &Cluster, request: pb::MemberRequest) -> Result<pb::MemberResponse, RequestError> {
    use pb::{control_request, control_response};
    match control::ask(cluster, control_request::Kind::Members(request), DEADLINE).await? {
        control_response::Kind::Members(answer) => Ok(answer),
        _ => Err(control::odd()),
    }
}

/// The same, where the scherald is.
pub(super) async fn answer(
    cluster: &Cluster,
    seat: &ControlSeat,
    request: pb::MemberRequest,
) -> Result<pb::MemberResponse, RequestError> {
    for _ in 1..ATTEMPTS {
        let topology = in_force(cluster, seat);
        let answer = attempt(cluster, seat, request.clone(), &topology).await?;
        // Something else may have been decided meanwhile: it is looked at again on top of that.
        if answer.done || request.dry_run || in_force(cluster, seat).epoch == topology.epoch {
            return Ok(answer);
        }
        // Whoever makes several changes in one look is first until that is over.
        tokio::time::sleep(LOOK).await;
    }
    attempt(cluster, seat, request, &in_force(cluster, seat)).await
}

async fn attempt(
    cluster: &Cluster,
    seat: &ControlSeat,
    request: pb::MemberRequest,
    topology: &Topology,
) -> Result<pb::MemberResponse, RequestError> {
    let invalid = |why: String| RequestError::Refused(Refused::Invalid(why));
    let radiant = named(topology, &request.radiant).map_err(invalid)?;
    let action = action(topology, &request).map_err(invalid)?;
    let Answer { change, steps, mut blockers, forced, effects, capacity, dangers } =
        ask::ask(topology, &facts(cluster, topology, 0), radiant, action);
    let change = match request.force {
        true => change.or(forced),
        false => change.filter(|_| dangers.is_empty()),
    };
    let mut answer = pb::MemberResponse {
        epoch: topology.epoch.0,
        steps,
        effects,
        capacity: capacity.into_iter().map(told).collect(),
        dangers,
        ..pb::MemberResponse::default()
    };
    if let (Some(change), false) = (change, request.dry_run) {
        let who = if request.who.is_empty() { "operator".to_owned() } else { request.who };
        let command = ControlCommand {
            who,
            why: if request.why.is_empty() { reason(topology, &change) } else { request.why },
            at_ms: cluster.world.wall_ms(),
            change: Change::Members { on: topology.epoch, change },
        };
        match seat.propose(&command).await? {
            ControlReply::Changed { epoch, .. } => (answer.done, answer.epoch) = (true, epoch.0),
            ControlReply::Refused(why) => blockers.push(why),
        }
    }
    answer.blockers = blockers;
    Ok(answer)
}

fn told(capacity: Capacity) -> pb::RadiantCapacity {
    let carries = |Carries { shards, keys, bytes }| Some(pb::Carries { shards, keys, bytes });
    let Capacity { radiant, name, now, then, free_bytes } = capacity;
    let (now, then) = (carries(now), carries(then));
    pb::RadiantCapacity { radiant: radiant.0, name, now, then, disk_free_bytes: free_bytes }
}

pub(super) fn action(topology: &Topology, request: &pb::MemberRequest) -> Result<Action, String> {
    use pb::member_request::Action as Asked;
    Ok(match request.action() {
        Asked::Unspecified => return Err("what is to become of the radiant is not said".into()),
        Asked::Join => Action::Join,
        Asked::Drain => Action::Drain,
        Asked::Undrain => Action::Undrain,
        Asked::Leave => Action::Leave,
        Asked::Replace => Action::Replace(named(topology, &request.by)?),
    })
}

fn reason(topology: &Topology, change: &MemberChange) -> String {
    let MemberChange::Stand { radiant, standing } = change else { return "an operator asked for it".into() };
    let name = topology.radiant(*radiant).map_or("it", |radiant| radiant.name.as_str());
    match standing {
        Standing::Active => format!("{name} was told to take seats"),
        Standing::Draining { .. } => format!("{name} was told to give its seats away"),
        Standing::Leaving { .. } => format!("{name} was told to leave"),
        Standing::Spare | Standing::Gone => "an operator asked for it".into(),
    }
}

/// The radiant of that name or id. Names come first; one that has left is not meant by its name.
fn named(topology: &Topology, text: &str) -> Result<RadiantId, String> {
    let here = topology.radiants.iter().filter(|radiant| radiant.standing != Standing::Gone);
    let by_name = here.clone().find(|radiant| radiant.name == text);
    let by_id = || here.clone().find(|radiant| Ok(radiant.id.0) == text.parse());
    by_name.or_else(by_id).map(|radiant| radiant.id).ok_or_else(|| {
        let names: Vec<&str> = here.clone().map(|radiant| radiant.name.as_str()).collect();
        format!("there is no radiant {text:?}; there are {}", names.join(", "))
    })
}

/// Says that an order is as the configuration wants it.
pub async fn finish(cluster: &Cluster, order: OrderId, on: Epoch) {
    let command = ControlCommand {
        who: format!("herald of order {order}"),
        why: "its members agreed".into(),
        at_ms: cluster.world.wall_ms(),
        change: Change::Members { on, change: MemberChange::Finish { order } },
    };
    let kind = Some(pb::control_request::Kind::Command((&command).into()));
    // Whether it is taken is seen in the configuration; until then it is said again.
    let _ = control::request(cluster, pb::ControlRequest { kind }, DEADLINE).await;
}
