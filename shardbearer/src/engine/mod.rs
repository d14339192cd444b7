//! Replication protocols. The rest of the radiant knows them as `Arc<dyn ConsensusEngine>`.
//!
//! - [`driver`]: turns any pure `Protocol` into an engine
//! - [`chain`]: chain replication
//! - [`solo`]: the smallest protocol: one radiant
//! - [`openraft`]: Raft by the library of that name, the default
//! - [`omnipaxos`]: Paxos by the library of that name
//! - [`pieces`], [`room`]: images in pieces and a log that is full for a moment, for all of them
//!
//! A protocol of your own: implement `Protocol` in your crate, open it by [`driver::open`] in an `EngineFactory`, and
//! hand that to [`Engines::register`]; configuration then finds it by name.

pub mod chain;
pub mod driver;
pub(crate) mod fuzz;
pub mod omnipaxos;
pub mod openraft;
mod pieces;
mod room;
pub mod solo;
#[cfg(test)]
pub(crate) mod stub;

use std::collections::BTreeMap;
use std::sync::Arc;

use shardbearer_core::engine::{EngineContext, EngineFactory};

/// Whether the data reach to where the log begins, which they do unless something was taken away; otherwise the sentence
/// that says what to do.
fn without_gap(context: &EngineContext) -> Result<(), String> {
    let applied = context.applier.applied().position.index;
    let purged = context.log.bounds(context.order).purged.index;
    if applied >= purged {
        return Ok(());
    }
    Err(format!(
        "the data end at entry {applied}, and the log begins after entry {purged}: what is between is lost; \
         do not put an older copy of the data directory back, which would not know what was promised since: \
         start another radiant under another [radiant] name with an empty one, and `shardbearer radiant replace \
         OLD NEW`"
    ))
}

/// The engines a radiant can run, by name.
#[derive(Clone)]
pub struct Engines {
    known: BTreeMap<&'static str, Arc<dyn EngineFactory>>,
}

impl Default for Engines {
    /// The built-in ones.
    fn default() -> Self {
        let mut engines = Engines { known: BTreeMap::new() };
        engines.register(Arc::new(openraft::OpenraftFactory));
        engines.register(Arc::new(chain::ChainFactory));
        engines.register(Arc::new(solo::SoloFactory));
        engines.register(Arc::new(omnipaxos::OmnipaxosFactory));
        engines
    }
}

impl Engines {
    /// Adds an engine, or replaces the one of its name.
    pub fn register(&mut self, factory: Arc<dyn EngineFactory>) {
        self.known.insert(factory.name(), factory);
    }

    /// The engine of that name, or a sentence that lists those there are.
    pub fn find(&self, name: &str) -> Result<Arc<dyn EngineFactory>, String> {
        self.known.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.known.keys().copied().collect();
            format!("there is no consensus engine {name:?} in this build; there are: {}", known.join(", "))
        })
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn EngineFactory>> {
        self.known.values()
    }
}
