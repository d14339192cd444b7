//! A way between radiants of one process: frames are handed over as they are.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::transport::{CallError, Frame, Inbound, Transport};
use shardbearer_core::world::World;

/// Who receives as whom.
type Present = RwLock<BTreeMap<RadiantId, Arc<dyn Inbound>>>;

/// Where radiants meet.
#[derive(Clone, Default)]
pub struct Room(Arc<Present>);

impl Room {
    /// Lets a radiant in: what is sent to it goes to `inbound`. Its own frames are delivered in tasks of `world`.
    pub fn enter(&self, me: RadiantId, inbound: Arc<dyn Inbound>, world: World) -> Arc<dyn Transport> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(me, inbound);
        Arc::new(Seat { me, room: self.clone(), world })
    }

    /// Nobody is there any more.
    pub fn leave(&self, who: RadiantId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&who);
    }

    fn find(&self, who: RadiantId) -> Option<Arc<dyn Inbound>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&who).cloned()
    }
}

/// One radiant's place.
struct Seat {
    me: RadiantId,
    room: Room,
    world: World,
}

#[async_trait]
impl Transport for Seat {
    fn send(&self, to: RadiantId, frame: Frame) {
        let Some(inbound) = self.room.find(to) else { return };
        let me = self.me;
        self.world.spawn("frame", async move {
            // Nobody waits for the answer.
            let _ = inbound.receive(me, frame).await;
        });
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        let unreachable = |why: &str| CallError::Unreachable { to, why: why.into() };
        let inbound = self.room.find(to).ok_or_else(|| unreachable("nobody of that number is here"))?;
        match tokio::time::timeout(deadline, inbound.receive(self.me, frame)).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(unreachable("it has nothing to say to that")),
            Err(_) => Err(CallError::Unknown { to, why: "no answer in time".into() }),
        }
    }
}
