//! The task that owns the machine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand::RngCore;
use shardbearer_core::bootstrap::{Ask, Founder, Founding, Say};
use shardbearer_core::error::Refused;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::topology::Topology;
use shardbearer_proto::convert::bootstrap as convert;
use shardbearer_state::bootstrap::{Effect, Event, Machine, Settings, TICK_MS};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{
    BootstrapError, Context, Identity, IdentityError, Move, Moves, Outcome, StoredCluster, founding_of,
};
use crate::watch;

/// How long a call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(1);
/// Calls at the same time; the machine asks every known address once and every founder once more.
const CALLS_MAX: usize = 1_024;
/// Between ticks once the cluster is known.
const IDLE_TICK: Duration = Duration::from_secs(1);

/// What the handle sends.
pub(super) enum Letter {
    Seek(oneshot::Sender<Result<Outcome, BootstrapError>>),
    Asked(Bytes, oneshot::Sender<Result<Bytes, Refused>>),
    Belongs(Box<Topology>, oneshot::Sender<Result<(), BootstrapError>>),
}

type Call = Pin<Box<dyn Future<Output = Event> + Send>>;

pub(super) struct Task {
    context: Context,
    machine: Machine,
    letters: mpsc::Receiver<Letter>,
    calls: FuturesUnordered<Call>,
    seeker: Option<oneshot::Sender<Result<Outcome, BootstrapError>>>,
    asker: Option<oneshot::Sender<Result<Bytes, Refused>>>,
    stored: Option<(RadiantId, Topology)>,
    /// Whether the search began; before it the machine only answers.
    seeks: bool,
    moves: Arc<watch::Sender<Moves>>,
}

impl Task {
    pub(super) fn new(
        context: Context,
        letters: mpsc::Receiver<Letter>,
        moves: Arc<watch::Sender<Moves>>,
    ) -> Result<Task, BootstrapError> {
        let identity = &context.identity;
        let vote = identity.vote()?;
        let stored = match identity.cluster()? {
            None => None,
            Some(stored) => {
                let topology = (context.decode)(stored.topology);
                let topology = topology.filter(|topology| topology.cluster == stored.cluster);
                let why = "its configuration cannot be read";
                let topology = topology.ok_or_else(|| identity.unreadable_cluster(why))?;
                Some((stored.radiant, topology))
            }
        };
        let member = stored.as_ref().map(|(_, topology)| founding_of(topology, (context.encode)(topology)));
        let me = Founder {
            name: identity.name().to_owned(),
            incarnation: identity.incarnation(),
            doors: context.doors.clone(),
        };
        let settings = Settings {
            me,
            neighbors: context.neighbors.clone(),
            expect: context.expect,
            window_ms: context.window.as_millis() as u64,
            seed: context.world.rng().next_u64(),
        };
        let machine = Machine::new(settings, vote, member);
        let calls = FuturesUnordered::new();
        Ok(Task { context, machine, letters, calls, seeker: None, asker: None, stored, seeks: false, moves })
    }

    /// Ends with the shutdown, with the last handle, or when the disk failed: what cannot be stored must not
    /// be said, and a failed sync is not tried again.
    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut next_tick = Instant::now();
        loop {
            let result = tokio::select! {
                biased;
                () = closing(&mut shutdown) => return,
                letter = self.letters.recv() => match letter {
                    Some(letter) => self.open(letter).await,
                    None => return,
                },
                Some(event) = self.calls.next() => self.step(event).await,
                () = sleep_until(next_tick), if self.seeks => {
                    let pause = if self.stored.is_some() { IDLE_TICK } else { Duration::from_millis(TICK_MS) };
                    next_tick = Instant::now() + pause;
                    self.step(Event::Tick).await
                }
            };
            if let Err(error) = result {
                tracing::error!("bootstrap stops: {error}");
                if let Some(seeker) = self.seeker.take() {
                    let _ = seeker.send(Err(error)); // nobody waits any more: then it is only logged
                }
                return;
            }
        }
    }

    async fn open(&mut self, letter: Letter) -> Result<(), BootstrapError> {
        match letter {
            Letter::Seek(seeker) => {
                if let Some((radiant, topology)) = self.stored.clone() {
                    let _ = seeker.send(Ok(Outcome::Rejoin { radiant, topology })); // the caller is gone
                } else {
                    self.seeker = Some(seeker);
                }
                self.seeks = true;
                self.step(Event::Start).await
            }
            Letter::Asked(body, asker) => match self.question(body) {
                Ok(request) => {
                    self.asker = Some(asker);
                    self.step(Event::Asked { ticket: 0, request }).await
                }
                Err(why) => {
                    let _ = asker.send(Err(Refused::Invalid(why))); // the caller is gone
                    Ok(())
                }
            },
            Letter::Belongs(topology, answer) => {
                let result = self.belongs(*topology).await;
                let fatal = matches!(result, Err(BootstrapError::Identity(IdentityError::Io { .. })));
                let _ = answer.send(result); // the caller is gone
                if fatal { Err(BootstrapError::Closed) } else { Ok(()) }
            }
        }
    }

    async fn step(&mut self, event: Event) -> Result<(), BootstrapError> {
        let now_ms = self.context.world.monotonic_ns() / 1_000_000;
        let (found, encode) = (self.context.found.clone(), self.context.encode);
        let found = move |cluster, founders: &[Founder]| encode(&found(cluster, founders));
        for effect in self.machine.step(now_ms, event, &found) {
            match effect {
                Effect::Persist(vote) => {
                    on_disk(&self.context, move |identity| identity.store_vote(&vote)).await?
                }
                Effect::Send { address, request } => self.call(address, convert::request_to_bytes(&request)),
                Effect::Answer { ticket: _, response } => {
                    if let Some(asker) = self.asker.take() {
                        let _ = asker.send(Ok(convert::response_to_bytes(&response))); // the caller is gone
                    }
                }
                Effect::Founded(founding) => self.founded(founding).await?,
                Effect::Join { cluster, via } => self.finish(Outcome::Join { cluster, via }),
                Effect::Moved { who, address, instead_of } => {
                    tracing::info!("data directory {who} answers at {address} instead of {instead_of}");
                    self.moves.send_modify(|moves| {
                        moves.insert(who, Move { address, instead_of });
                    });
                }
                Effect::GiveUp(words) => return Err(BootstrapError::NotAsItIs(words)),
                Effect::Problem(words) => tracing::warn!("{words}"),
                Effect::Notice(words) => tracing::info!("{words}"),
            }
        }
        Ok(())
    }

    fn call(&mut self, address: String, body: Bytes) {
        if self.calls.len() >= CALLS_MAX {
            return; // the machine gives the call up by itself, and repeats what matters
        }
        let (beacons, decode) = (self.context.beacons.clone(), self.context.decode);
        self.calls.push(Box::pin(async move {
            let answer = beacons.call(&address, body, CALL_DEADLINE).await;
            let response = answer.and_then(|raw| {
                let response = convert::response_from_bytes(raw).map_err(|malformed| malformed.0)?;
                let founding = match &response.say {
                    Say::Promised { accepted, .. } => accepted.as_ref().map(|accepted| &accepted.founding),
                    Say::Member(founding) => Some(founding),
                    Say::Seen
                    | Say::Accepted(_)
                    | Say::Superseded { .. }
                    | Say::Join { .. }
                    | Say::Objection(_)
                    | Say::NameTaken(_) => None,
                };
                founding.map_or(Ok(()), |founding| check(founding, decode))?;
                Ok(response)
            });
            match response {
                Ok(response) => Event::Answered { address, response },
                Err(why) => Event::Failed { address, why },
            }
        }));
    }

    fn question(&self, body: Bytes) -> Result<shardbearer_core::bootstrap::Request, String> {
        let request = convert::request_from_bytes(body).map_err(|malformed| malformed.0)?;
        match &request.ask {
            Ask::Beacon | Ask::Promise(_) => {}
            Ask::Accept(accepted) => check(&accepted.founding, self.context.decode)?,
            Ask::Founded(founding) => check(founding, self.context.decode)?,
        }
        Ok(request)
    }

    async fn founded(&mut self, founding: Founding) -> Result<(), BootstrapError> {
        let topology =
            (self.context.decode)(founding.topology).expect("checked when it was received, or ours");
        let radiant = self.store(&topology).await?;
        tracing::info!("radiant {radiant} of cluster {}", topology.cluster);
        self.finish(Outcome::Founded { radiant, topology });
        Ok(())
    }

    async fn belongs(&mut self, topology: Topology) -> Result<(), BootstrapError> {
        if self.stored.as_ref().is_some_and(|(_, known)| topology.version() < known.version()) {
            return Ok(());
        }
        self.store(&topology).await?;
        let founding = founding_of(&topology, (self.context.encode)(&topology));
        self.step(Event::Belongs(founding)).await
    }

    /// Stores the configuration and says who this radiant is in it. A radiant that was removed keeps its id.
    async fn store(&mut self, topology: &Topology) -> Result<RadiantId, BootstrapError> {
        let me = self.context.identity.incarnation();
        let named =
            topology.radiants.iter().find(|radiant| radiant.incarnation == me).map(|radiant| radiant.id);
        let known = self.stored.as_ref().map(|(radiant, _)| *radiant);
        let Some(radiant) = named.or(known) else {
            let why = "the configuration does not name this radiant";
            return Err(self.context.identity.unreadable_cluster(why).into());
        };
        let stored =
            StoredCluster { cluster: topology.cluster, radiant, topology: (self.context.encode)(topology) };
        on_disk(&self.context, move |identity| identity.store_cluster(&stored)).await?;
        self.stored = Some((radiant, topology.clone()));
        Ok(radiant)
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(seeker) = self.seeker.take() {
            let _ = seeker.send(Ok(outcome)); // the caller is gone
        }
    }
}

/// Runs on a thread that may wait for the disk.
async fn on_disk(
    context: &Context,
    work: impl FnOnce(&Identity) -> Result<(), IdentityError> + Send + 'static,
) -> Result<(), BootstrapError> {
    let identity = context.identity.clone();
    let done = context.world.block(move || work(&identity)).await;
    Ok(done.ok_or(BootstrapError::Closed)??)
}

async fn closing(shutdown: &mut watch::Receiver<bool>) {
    drop(shutdown.wait_for(|closing| *closing).await); // no sender left: closing too
}

/// Whether a founding that came in is what it says it is: what passes can be stored and used.
fn check(founding: &Founding, decode: fn(Bytes) -> Option<Topology>) -> Result<(), String> {
    let words = "the configuration cannot be read; do all radiants run the same version?";
    let topology = decode(founding.topology.clone()).ok_or(words)?;
    let members = founding_of(&topology, Bytes::new()).members;
    let same = topology.cluster == founding.cluster
        && members.iter().all(|one| founding.names(one.incarnation))
        && members.len() == founding.members.len();
    if same { Ok(()) } else { Err("the configuration does not fit its announcement".into()) }
}
