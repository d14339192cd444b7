//! The smallest engine: an order of one radiant. What it appends is committed as soon as it is durable.
//!
//! It is here to be read: a whole protocol, with nothing but the decisions in it. For clusters of a single radiant it
//! does all that Raft would do, with less to go wrong. It refuses to have other members; there is nobody to vote with, to send
//! to, or to take over.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use shardbearer_core::engine::{
    Capabilities, ConsensusEngine, EngineContext, EngineError, EngineFactory, Start,
};
use shardbearer_core::error::Refused;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::{Answer, Boot, Durable, Input, Message, Payload, Protocol, Ready, Status};

use super::driver;

/// Entries carry a term; nobody else could ever write one.
const TERM: u64 = 1;

/// Makes orders of one radiant.
pub struct SoloFactory;

#[async_trait]
impl EngineFactory for SoloFactory {
    fn name(&self) -> &'static str {
        "solo"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linearizable_reads: true,
            reads_at_every_member: false,
            reconfigure: false,
            members_decided_elsewhere: false,
            snapshots: false, // there is nobody to send one to
            tolerates: |_| 0,
        }
    }

    fn refuses(&self, members: usize) -> Option<String> {
        (members != 1).then(|| {
            format!("engine \"solo\" replicates to nobody: its orders have one member, not {members}")
        })
    }

    async fn open(&self, context: EngineContext) -> Result<Arc<dyn ConsensusEngine>, EngineError> {
        driver::open::<Solo>(context).await
    }
}

/// The protocol's state: where its log ends, and how much of it is durable.
#[derive(Clone, Debug)]
pub struct Solo {
    me: RadiantId,
    last: u64,
    durable: u64,
}

/// There is nobody to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {}

impl Message for Silence {
    fn encode(&self, _: &mut BytesMut) {
        match *self {}
    }

    fn decode(_: Bytes) -> Option<Self> {
        None
    }
}

impl Protocol for Solo {
    type Message = Silence;

    fn recover(boot: Boot, durable: Durable) -> Result<Self, String> {
        let members = match &boot.start {
            Start::Found(members) => members.clone(),
            Start::Join => Vec::new(),
        };
        if members != [boot.me] {
            let why = SoloFactory.refuses(members.len());
            return Err(why.unwrap_or_else(|| format!("its one member is not radiant {}", boot.me)));
        }
        let last = durable.log.last().index;
        Ok(Solo { me: boot.me, last, durable: last })
    }

    fn step(&mut self, input: Input<Silence>, ready: &mut Ready<Silence>) {
        match input {
            Input::Propose { ticket, proposal } => {
                self.last += 1;
                let position = LogPos { term: TERM, index: self.last };
                ready.append(position, Payload::Proposal(proposal), Some(ticket));
            }
            Input::Persisted { upto } => {
                self.durable = upto;
                ready.commit(upto);
            }
            // After a start, what is durable and not applied yet.
            Input::Tick => ready.commit(self.durable),
            // Whatever was acknowledged was durable.
            Input::ReadBarrier { ticket } => ready.answer(ticket, Answer::Read(self.durable)),
            Input::Reconfigure { ticket, .. } | Input::HandOver { ticket, .. } => {
                ready.refuse(ticket, Refused::Invalid("engine \"solo\" has one member, for good".into()));
            }
            Input::Receive { message, .. } => match message {},
            Input::GivenUp { .. }
            | Input::Campaign
            | Input::Applied { .. }
            | Input::Purged { .. }
            | Input::Installed { .. } => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            herald: Some(self.me),
            leading: true,
            term: TERM,
            members: vec![self.me],
            matched: Vec::new(),
            complete: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use shardbearer_sim::protocol::Net;
    use shardbearer_sim::protocol::explore::{Budget, explore};

    use super::*;

    #[test]
    fn explore_every_way_of_writes_reads_and_crashes() {
        let one = RadiantId(1);
        let budget = Budget {
            proposals: vec![one; 3],
            reads: vec![one; 2],
            ticks: vec![one; 2],
            crashes: vec![one; 2],
            ..Budget::default()
        };
        let explored = explore(&Net::<Solo>::founded(1), &budget, 100_000).expect("no promise is broken");
        println!("solo: {explored:?}");
        assert!(explored.complete && explored.states > 500, "{explored:?}");
    }
}
