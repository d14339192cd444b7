//! Broken doubles: what the simulation must notice, and within how many seeds. A check that was never seen to fail
//! proves nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer::engine::Engines;
use shardbearer::engine::openraft::OpenraftFactory;
use shardbearer_core::engine::{
    Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory, EngineStatus,
};
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogPos;
use shardbearer_proto::convert;
use shardbearer_sim::chaos;
use shardbearer_sim::disk::Flaw;

use super::run::{Scenario, run};

/// A promise that is broken on purpose.
struct Double {
    name: &'static str,
    flaw: Option<Flaw>,
    engines: fn() -> Engines,
    profile: &'static str,
    /// Runs within which it has to be noticed.
    seeds: u64,
    /// One of which the verdict contains.
    words: &'static [&'static str],
}

const DOUBLES: &[Double] = &[
    Double {
        name: "a log that acknowledges before it is durable",
        flaw: Some(Flaw::AcksBeforeDurable),
        engines: Engines::default,
        profile: "all-crash",
        seeds: 10,
        words: &["was answered before", "differ", "both", "after", "made twice", "should have"],
    },
    Double {
        name: "a disk that forgets votes",
        flaw: Some(Flaw::ForgetsHardState),
        engines: Engines::default,
        profile: "all-crash",
        seeds: 10,
        words: &["two heralds"],
    },
    Double {
        name: "a storage that loses rows",
        flaw: Some(Flaw::LosesRows),
        engines: Engines::default,
        profile: "calm",
        seeds: 2,
        words: &["applied the same and differ"],
    },
    Double {
        name: "an order that forgets who asked, so that a repeated request applies twice",
        flaw: None,
        engines: || with(Defect::Forgetful),
        profile: "net",
        seeds: 10,
        words: &["took effect twice", "should have"],
    },
    Double {
        name: "a herald that answers reads without asking whether it still is one",
        flaw: None,
        engines: || with(Defect::Hasty),
        profile: "pause",
        seeds: 10,
        words: &["was answered before"],
    },
];

#[test]
fn every_broken_double_is_noticed() {
    let wanted = std::env::var("SIM_DOUBLE").unwrap_or_default();
    let doubles = DOUBLES.iter().filter(|double| double.name.contains(&wanted));
    let unnoticed: Vec<String> = doubles.filter_map(|double| notice(double).err()).collect();
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}

fn notice(double: &Double) -> Result<(), String> {
    let profile = chaos::profile(double.profile).expect("one of the profiles");
    for seed in 0..double.seeds {
        let seed = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
        let scenario = Scenario { seed, profile, flaw: double.flaw, engines: (double.engines)() };
        if let Err(broken) = run(&scenario) {
            println!("{}: noticed with seed {seed}: {}", double.name, broken.what);
            if double.words.iter().any(|words| broken.what.contains(words)) {
                return Ok(());
            }
            return Err(format!("{}: noticed, but not for what it is: {}", double.name, broken.what));
        }
    }
    Err(format!("{}: not noticed within {} seeds", double.name, double.seeds))
}

/// What is wrong with an engine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// Its herald believes in itself, and answers reads at once.
    Hasty,
    /// It proposes without the ids of requests.
    Forgetful,
}

fn with(defect: Defect) -> Engines {
    let mut engines = Engines::default();
    engines.register(Arc::new(Factory(defect)));
    engines
}

/// Makes engines with a defect.
struct Factory(Defect);

#[async_trait]
impl EngineFactory for Factory {
    fn name(&self) -> &'static str {
        OpenraftFactory.name()
    }

    fn capabilities(&self) -> Capabilities {
        OpenraftFactory.capabilities()
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        let (me, order) = (context.me, context.order);
        Ok(Arc::new(Defective { defect: self.0, me, order, inner: OpenraftFactory.open(context).await? }))
    }
}

struct Defective {
    defect: Defect,
    me: RadiantId,
    order: OrderId,
    inner: Arc<dyn ConsensusEngine>,
}

impl Defective {
    fn believe(&self, status: EngineStatus) -> EngineStatus {
        match self.defect {
            Defect::Hasty => {
                EngineStatus { leading: status.herald == Some(self.me) && !status.closed, ..status }
            }
            Defect::Forgetful => status,
        }
    }
}

#[async_trait]
impl ConsensusEngine for Defective {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        if self.defect != Defect::Forgetful || self.order.is_control() {
            return self.inner.propose(entry).await;
        }
        let mut entry = convert::entry_from_bytes(entry).expect("the order's own");
        entry.items.iter_mut().for_each(|item| item.id = None);
        self.inner.propose(convert::entry_to_bytes(&entry)).await
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        match self.defect {
            Defect::Hasty => Ok(LogPos::default()),
            Defect::Forgetful => self.inner.read_barrier().await,
        }
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        self.inner.receive(from, frame).await
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        self.inner.reconfigure(members).await
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        self.inner.hand_over(to).await
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.inner.campaign().await
    }

    fn status(&self) -> EngineStatus {
        self.believe(self.inner.status())
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        self.believe(self.inner.changed(since).await)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
