//! Members over real logs and real storage, and between them a net that loses, delays, doubles and reorders.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use shardbearer_core::engine::{
    Applier, ConsensusEngine, EngineContext, EngineFactory, EngineLimits, Start, Timing,
};
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::{LogPos, LogStore};
use shardbearer_core::machine::{StateMachine, Workspace};
use shardbearer_core::storage::{KeyRange, Space, StorageEngine, StorageError, View};
use shardbearer_core::transport::{CallError, Frame, Transport};
use tokio::time::Instant;

use crate::order::applier::{Codec, MachineApplier};
use crate::storage::log::{LogOptions, SegmentedLog};
use crate::world::Real;

/// Sorted founders of this order begin with the first of them, see `chain`.
pub const ORDER: OrderId = OrderId(3);

/// For anything that should happen at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes down what it is given, each under its position; replies with the position.
struct Tape;

impl StateMachine for Tape {
    type Command = Bytes;
    type Reply = u64;

    fn apply(&mut self, position: LogPos, command: Bytes, work: &mut Workspace<'_>) -> u64 {
        work.put(Space::Order(ORDER), Bytes::copy_from_slice(&position.index.to_be_bytes()), command);
        position.index
    }

    fn load(&mut self, _: &dyn View) -> Result<(), StorageError> {
        Ok(())
    }

    fn spaces(&self) -> Vec<Space> {
        vec![Space::Order(ORDER)]
    }

    fn take_dropped(&mut self) -> Vec<Space> {
        Vec::new()
    }
}

struct Plain;

impl Codec<Tape> for Plain {
    fn decode(&self, proposal: Bytes) -> Result<Bytes, String> {
        Ok(proposal)
    }

    fn encode(&self, reply: u64) -> Bytes {
        Bytes::copy_from_slice(&reply.to_be_bytes())
    }

    fn rejected(&self, _: &str) -> Bytes {
        Bytes::new()
    }
}

/// The net.
pub struct Net {
    peers: Mutex<BTreeMap<RadiantId, Arc<dyn ConsensusEngine>>>,
    rng: Mutex<StdRng>,
    /// Of a thousand frames, so many are lost; half as many arrive twice.
    pub lossy: AtomicU32,
    /// So many calls from now on nobody hears an answer to. Every other one of them does not arrive either.
    pub silent: AtomicU32,
}

impl Net {
    pub fn new(seed: u64) -> Arc<Net> {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Net { peers: Mutex::default(), rng, lossy: AtomicU32::new(0), silent: AtomicU32::new(0) })
    }

    fn peer(&self, id: RadiantId) -> Option<Arc<dyn ConsensusEngine>> {
        self.peers.lock().get(&id).cloned()
    }

    /// How often a frame arrives, and how late each time.
    fn fate(&self) -> Vec<Duration> {
        let lossy = self.lossy.load(Ordering::Relaxed);
        let mut rng = self.rng.lock();
        let times = match rng.random_range(0..1_000) {
            draw if draw < lossy => 0,
            draw if draw < lossy + lossy / 2 => 2,
            _ => 1,
        };
        let late = if lossy > 0 { 3_000 } else { 50 };
        (0..times).map(|_| Duration::from_micros(rng.random_range(0..=late))).collect()
    }
}

struct Link {
    net: Arc<Net>,
    me: RadiantId,
}

#[async_trait]
impl Transport for Link {
    fn send(&self, to: RadiantId, frame: Frame) {
        for late in self.net.fate() {
            let (net, me, body) = (self.net.clone(), self.me, frame.body.clone());
            tokio::spawn(async move {
                tokio::time::sleep(late).await; // the way, not a wait for something
                if let Some(peer) = net.peer(to) {
                    peer.receive(me, body).await;
                }
            });
        }
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        let lost = |why: &str| CallError::Unknown { to, why: why.into() };
        let less = |silent: u32| silent.checked_sub(1);
        let silent = self.net.silent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if let Ok(silent) = silent {
            if let (Some(peer), false) = (self.net.peer(to), silent.is_multiple_of(2)) {
                peer.receive(self.me, frame.body).await;
            }
            tokio::time::sleep(deadline).await;
            return Err(lost("nothing is heard"));
        }
        let late = self.net.fate().pop().ok_or_else(|| lost("lost"))?;
        tokio::time::sleep(late).await;
        let peer = self.net.peer(to).ok_or_else(|| lost("down"))?;
        let answer = tokio::time::timeout(deadline, peer.receive(self.me, frame.body)).await;
        answer.map_err(|_| lost("late"))?.ok_or_else(|| lost("declined"))
    }
}

/// A member that may be up or down; what is on its disks outlives that.
pub struct Member {
    pub id: RadiantId,
    pub start: Start,
    pub limits: EngineLimits,
    folder: PathBuf,
    storage: Arc<dyn StorageEngine>,
    net: Arc<Net>,
    factory: Arc<dyn EngineFactory>,
    /// The last one opened.
    data: Option<Arc<MachineApplier<Tape>>>,
    up: Option<Up>,
}

struct Up {
    engine: Arc<dyn ConsensusEngine>,
    log: Arc<SegmentedLog>,
    world: Arc<Real>,
}

impl Member {
    pub fn new(
        factory: Arc<dyn EngineFactory>,
        net: &Arc<Net>,
        folder: &tempfile::TempDir,
        id: u64,
        start: Start,
    ) -> Member {
        let folder = folder.path().join(id.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        let storage = crate::storage::open("memory", &folder.join("data"), 1 << 20).expect("opens");
        let limits = EngineLimits::default();
        let (net, data, up) = (net.clone(), None, None);
        Member { id: RadiantId(id), start, limits, folder, storage, net, factory, data, up }
    }

    pub fn applier(&mut self) -> Arc<dyn Applier> {
        let images = self.folder.join("images");
        let (world, _) = Real::create();
        let data = MachineApplier::open(ORDER, self.storage.clone(), Tape, Plain, images, world);
        self.data.insert(data.expect("the data open")).clone()
    }

    pub async fn open(&mut self) {
        let applier = self.applier();
        self.open_on(applier).await;
    }

    pub async fn open_on(&mut self, applier: Arc<dyn Applier>) {
        let options = LogOptions { segment_bytes: 1 << 20, cache_bytes: 64 << 10, ..LogOptions::default() };
        let log = SegmentedLog::open(&self.folder.join("log"), options).expect("the log opens");
        let (world, real) = Real::create();
        let context = EngineContext {
            order: ORDER,
            me: self.id,
            start: self.start.clone(),
            log: log.clone(),
            applier,
            transport: Arc::new(Link { net: self.net.clone(), me: self.id }),
            world,
            timing: Timing {
                heartbeat: Duration::from_millis(20),
                election_min: Duration::from_millis(400),
                election_max: Duration::from_millis(800),
            },
            limits: self.limits,
        };
        let engine = self.factory.open(context).await.expect("the engine opens");
        self.net.peers.lock().insert(self.id, engine.clone());
        self.up = Some(Up { engine, log, world: real });
    }

    pub async fn close(&mut self) {
        self.net.peers.lock().remove(&self.id);
        if let Some(up) = self.up.take() {
            up.engine.close().await;
            self.data.take().expect("it was opened on some").close().await;
            assert!(up.engine.status().closed);
            up.world.end().await;
            up.log.close();
        }
    }

    pub fn engine(&self) -> Arc<dyn ConsensusEngine> {
        self.up.as_ref().expect("it is up").engine.clone()
    }

    /// Up to where its log is purged.
    pub fn purged(&self) -> u64 {
        self.up.as_ref().expect("it is up").log.bounds(ORDER).purged.index
    }

    /// What is on the tape, by position.
    pub fn tape(&self) -> BTreeMap<u64, Bytes> {
        let view = self.storage.view();
        let rows = view.scan(Space::Order(ORDER), &KeyRange::all()).map(|row| row.expect("readable"));
        let number = |key: &[u8]| key.try_into().map(u64::from_be_bytes).ok();
        // The applier keeps rows of its own there, too.
        let rows = rows.filter(|(key, _)| key.first() != Some(&0xff));
        rows.filter_map(|(key, value)| Some((number(&key)?, value))).collect()
    }
}

/// Waits until it holds, looking often.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
