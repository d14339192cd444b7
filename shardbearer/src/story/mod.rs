//! What a radiant remembers of what happened, and the one story that all radiants' memories make.
//!
//! - [`Story`]: a bounded ring of events; the oldest are forgotten
//! - [`merge`]: many rings as one list, causes before effects
//! - [`words`]: an event as a sentence with the names of roles
//! - [`mermaid`]: the list as a sequence diagram
//!
//! It is for people. It lives in memory, is lost with the process, and nothing is decided by it.

mod draw;
mod merge;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use parking_lot::Mutex;
use shardbearer_core::ids::{Epoch, OrderId, RadiantId};
use shardbearer_core::migration::Migration;
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use shardbearer_proto::pb::StoryEvent;
use shardbearer_proto::pb::story_event::Kind;
use shardbearer_state::membership::called_once;

pub use self::draw::{Names, mermaid, words};
pub use self::merge::{latest, merge};

/// Events that one radiant remembers: some hundred kilobytes, and days of a cluster that is well.
const EVENTS_MAX: usize = 1_024;

/// What one radiant remembers.
pub struct Story {
    me: RadiantId,
    world: World,
    life: u64,
    ring: Mutex<Ring>,
}

#[derive(Default)]
struct Ring {
    events: VecDeque<StoryEvent>,
    number: u64,
    epoch: Epoch,
    /// What was told last of a migration.
    phase: (Epoch, String),
}

impl Story {
    /// Begins a life.
    pub fn new(me: RadiantId, world: World) -> Story {
        let life = world.wall_ms();
        Story { me, world, life, ring: Mutex::default() }
    }

    /// All that is remembered, oldest first.
    pub fn all(&self) -> Vec<StoryEvent> {
        self.ring.lock().events.iter().cloned().collect()
    }

    fn note(&self, kind: Kind, event: StoryEvent) {
        let at_ms = self.world.wall_ms();
        let mut ring = self.ring.lock();
        if kind == Kind::Epoch {
            ring.epoch = ring.epoch.max(Epoch(event.epoch));
        }
        ring.number += 1;
        let (number, epoch) = (ring.number, ring.epoch.0);
        let event = StoryEvent {
            kind: kind.into(),
            radiant: self.me.0,
            number,
            at_ms,
            epoch,
            life: self.life,
            ..event
        };
        if ring.events.len() == EVENTS_MAX {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
    }

    /// The radiant serves.
    pub fn started(&self, version: &str) {
        self.note(Kind::Started, StoryEvent { what: version.to_owned(), ..StoryEvent::default() });
    }

    /// The radiant was told to stop.
    pub fn stopping(&self) {
        self.note(Kind::Stopping, StoryEvent::default());
    }

    /// It leads an order.
    pub fn won(&self, order: OrderId, term: u64) {
        self.note(Kind::Won, StoryEvent { order: order.0, term, ..StoryEvent::default() });
    }

    /// It leads an order no longer; `to` has it, if that is known.
    pub fn lost(&self, order: OrderId, term: u64, to: Option<RadiantId>) {
        let other = to.unwrap_or(RadiantId::NONE).0;
        self.note(Kind::Lost, StoryEvent { order: order.0, term, other, ..StoryEvent::default() });
    }

    /// A configuration is in force here.
    pub fn epoch(&self, epoch: Epoch) {
        self.note(Kind::Epoch, StoryEvent { epoch: epoch.0, ..StoryEvent::default() });
    }

    /// A migration has got somewhere.
    pub fn migration(&self, record: &Migration) {
        let paused = if record.paused { ", paused" } else { "" };
        let Migration { shard, from, to, phase, .. } = record;
        let what = format!("shard {shard} from order {from} to order {to}: {}{paused}", phase.name());
        // Records also change when nothing but the numbers of the copying do.
        let told = (record.id, what.clone());
        if std::mem::replace(&mut self.ring.lock().phase, told.clone()) == told {
            return;
        }
        let event =
            StoryEvent { migration: record.id.0, version: record.version, what, ..StoryEvent::default() };
        self.note(Kind::Migration, event);
    }

    /// Another radiant is heard, or not any more.
    pub fn heard(&self, other: RadiantId, heard: bool) {
        let kind = if heard { Kind::Heard } else { Kind::Silent };
        self.note(kind, StoryEvent { other: other.0, ..StoryEvent::default() });
    }

    /// Something that operators should know.
    pub fn trouble(&self, what: impl Into<String>) {
        self.note(Kind::Trouble, StoryEvent { what: what.into(), ..StoryEvent::default() });
    }
}

/// An epoch of the control order's history as an event.
pub fn of_epoch(record: pb::EpochRecord) -> StoryEvent {
    let pb::EpochRecord { epoch, at_ms, who, why, what } = record;
    let [who, why, what] = [who, why, what].map(|said| called_once(&said));
    StoryEvent {
        kind: Kind::Epoch.into(),
        number: epoch,
        epoch,
        at_ms,
        who,
        why,
        what,
        ..StoryEvent::default()
    }
}
