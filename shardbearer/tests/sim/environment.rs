//! The virtual world as an environment for the real assembly.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use prost::Message as _;
use shardbearer::bootstrap::Beacons;
use shardbearer::config::Config;
use shardbearer::node::doors::Served;
use shardbearer::node::environment::{Environment, Front, Reception, Stores};
use shardbearer::transport::{Links, Membership, Stranger};
use shardbearer_core::engine::EngineLimits;
use shardbearer_core::ids::{ClusterId, Epoch, OrderId, RadiantId};
use shardbearer_core::topology::Doors;
use shardbearer_core::transport::{CallError, Channel, Frame, Inbound, Transport};
use shardbearer_core::world::World;
use shardbearer_proto::pb;
use shardbearer_sim::disk::Disk;
use shardbearer_sim::net::{Failure, Host, Message, Net};
use shardbearer_sim::world::Life;

use super::doubles::{BeaconLie, Lying};

/// So small that a short run compacts its logs many times and outages need snapshots.
const LIMITS: EngineLimits = EngineLimits {
    message_bytes_max: 64 << 10,
    compact_after_entries: 25,
    compact_after_bytes: 1 << 20,
    keep_entries: 5,
    entry_bytes_max: 2 << 20,
};

/// What one life of a radiant stands on.
pub struct Virtual {
    pub net: Arc<Net>,
    pub disk: Arc<Disk>,
    pub life: Arc<Life>,
    pub address: String,
    /// How its beacons lie, if they do.
    pub beacons: Option<BeaconLie>,
    /// The transport, once there is one: it has to be closed by force after a crash.
    pub links: Arc<Mutex<Option<Arc<VirtualLinks>>>>,
}

#[async_trait]
impl Environment for Virtual {
    fn world(&self) -> World {
        self.life.world()
    }

    async fn end(&self) {
        self.life.end().await;
    }

    fn bind(&self, _: &Config) -> Result<Box<dyn Front>, String> {
        let doors = Doors { grpc: self.address.clone(), ..Doors::default() };
        Ok(Box::new(VirtualFront { doors, net: self.net.clone(), life: self.life.clone() }))
    }

    fn beacons(&self) -> Arc<dyn Beacons> {
        let beacons = VirtualBeacons { net: self.net.clone(), from: self.address.clone() };
        match self.beacons {
            Some(lie) => Arc::new(Lying::new(lie, beacons)),
            None => Arc::new(beacons),
        }
    }

    fn transport(
        &self,
        _: &Config,
        cluster: ClusterId,
        me: RadiantId,
        inbound: Arc<dyn Inbound>,
    ) -> Arc<dyn Links> {
        let links = Arc::new(VirtualLinks {
            cluster,
            me,
            net: self.net.clone(),
            world: self.life.world(),
            from: self.address.clone(),
            peers: RwLock::default(),
            inbound: RwLock::new(Some(inbound)),
        });
        *self.links.lock() = Some(links.clone());
        links
    }

    fn open(&self, _: &Config, _: &Path, _: &Path) -> Result<Stores, String> {
        self.disk.read_log().map_err(|error| error.to_string())?;
        let log = self.disk.open_log(&self.life);
        let storage = self.disk.open_storage(&self.life);
        // A radiant that stopped is treated as one that crashed: what it had not synced may be gone.
        Ok(Stores { log, storage, close: Box::new(|| ()) })
    }

    fn disk_free(&self, _: &Path) -> Option<u64> {
        Some(self.disk.free_bytes())
    }

    fn engine_limits(&self) -> EngineLimits {
        LIMITS
    }
}

struct VirtualFront {
    doors: Doors,
    net: Arc<Net>,
    life: Arc<Life>,
}

impl Front for VirtualFront {
    fn advertised(&self) -> &Doors {
        &self.doors
    }

    fn serve(self: Box<Self>, _: &Config, reception: Reception) -> Served {
        let Reception { membership, stranger, stop, .. } = reception;
        self.net.attach(&self.doors.grpc, &self.life, Arc::new(Radiant { membership, stranger }));
        let life = self.life.clone();
        life.spawn("front", async move {
            stop.cancelled().await;
            self.net.detach(&self.doors.grpc);
        });
        Served::default()
    }
}

/// A radiant as the network sees it. Checks what a greeting of the real transport checks.
pub struct Radiant {
    pub membership: Arc<OnceLock<Membership>>,
    pub stranger: Arc<dyn Stranger>,
}

const FRAME: &str = "frame";
const BEACON: &str = "beacon";
const CONTROL: &str = "control";

#[async_trait]
impl Host for Radiant {
    async fn receive(&self, message: Message) -> Result<Bytes, String> {
        match message.kind {
            BEACON => self.stranger.beacon(message.body).await.map_err(|error| error.to_string()),
            CONTROL => {
                let request = pb::ControlRequest::decode(message.body).map_err(|error| error.to_string())?;
                Ok(self.stranger.control(request).await.encode_to_vec().into())
            }
            _ => {
                let head = Head::decode(message.head).ok_or("a head that makes no sense")?;
                let membership = self.membership.get().ok_or("it belongs to no cluster yet")?;
                if head.cluster != membership.cluster || head.to != membership.me {
                    return Err("it is another radiant".into());
                }
                let frame = Frame { channel: head.channel, body: message.body };
                let answer = membership.inbound.receive(head.from, frame).await;
                answer.ok_or_else(|| "it does not serve that".into())
            }
        }
    }
}

/// Whether a message has to do with the control order: of its engine, or asks it something.
pub fn is_of_control(message: &Message) -> bool {
    match message.kind {
        BEACON => false,
        CONTROL => true,
        _ => {
            let channel = Head::decode(message.head.clone()).map(|head| head.channel);
            matches!(channel, Some(Channel::Engine(OrderId::CONTROL) | Channel::Control))
        }
    }
}

/// What the greeting and the frame's own fields say on the wire.
struct Head {
    cluster: ClusterId,
    from: RadiantId,
    to: RadiantId,
    channel: Channel,
}

impl Head {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u128(self.cluster.0);
        out.put_u64(self.from.0);
        out.put_u64(self.to.0);
        let (channel, order) = match self.channel {
            Channel::Engine(order) => (1, order.0),
            Channel::Anew(order, _) => (5, order.0),
            Channel::Forward => (2, 0),
            Channel::Pulse => (3, 0),
            Channel::Control => (4, 0),
        };
        out.put_u8(channel);
        out.put_u64(order);
        if let Channel::Anew(_, generation) = self.channel {
            out.put_u64(generation.0);
        }
        out.freeze()
    }

    fn decode(mut raw: Bytes) -> Option<Head> {
        let cluster = ClusterId(raw.try_get_u128().ok()?);
        let (from, to) = (RadiantId(raw.try_get_u64().ok()?), RadiantId(raw.try_get_u64().ok()?));
        let channel = match (raw.try_get_u8().ok()?, raw.try_get_u64().ok()?) {
            (1, order) => Channel::Engine(OrderId(order)),
            (2, _) => Channel::Forward,
            (3, _) => Channel::Pulse,
            (4, _) => Channel::Control,
            (5, order) => Channel::Anew(OrderId(order), Epoch(raw.try_get_u64().ok()?)),
            _ => return None,
        };
        Some(Head { cluster, from, to, channel })
    }
}

pub struct VirtualBeacons {
    net: Arc<Net>,
    from: String,
}

impl VirtualBeacons {
    async fn ask(
        &self,
        kind: &'static str,
        address: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, String> {
        let message = Message { kind, head: Bytes::new(), body, once: false };
        let answer = self.net.call(&self.from, address, message, deadline).await;
        answer.map_err(|(Failure::Unreachable(why) | Failure::Unknown(why))| why)
    }
}

#[async_trait]
impl Beacons for VirtualBeacons {
    async fn call(&self, address: &str, body: Bytes, deadline: Duration) -> Result<Bytes, String> {
        self.ask(BEACON, address, body, deadline).await
    }

    async fn control(
        &self,
        address: &str,
        request: pb::ControlRequest,
        deadline: Duration,
    ) -> Result<pb::ControlResponse, String> {
        let answer = self.ask(CONTROL, address, request.encode_to_vec().into(), deadline).await?;
        pb::ControlResponse::decode(answer).map_err(|error| error.to_string())
    }
}

/// A transport over the virtual network.
pub struct VirtualLinks {
    cluster: ClusterId,
    me: RadiantId,
    net: Arc<Net>,
    world: World,
    from: String,
    peers: RwLock<BTreeMap<RadiantId, String>>,
    inbound: RwLock<Option<Arc<dyn Inbound>>>,
}

impl VirtualLinks {
    fn address(&self, to: RadiantId) -> Option<String> {
        self.peers.read().get(&to).filter(|address| !address.is_empty()).cloned()
    }

    fn message(&self, to: RadiantId, frame: Frame) -> Message {
        let head = Head { cluster: self.cluster, from: self.me, to, channel: frame.channel };
        // As the real transport: who is refused must be able to rely on it.
        let once = matches!(frame.channel, Channel::Forward | Channel::Control);
        Message { kind: FRAME, head: head.encode(), body: frame.body, once }
    }
}

impl Links for VirtualLinks {
    fn set_peers(&self, peers: &BTreeMap<RadiantId, String>) {
        *self.peers.write() = peers.clone();
    }

    fn close(&self) {
        self.peers.write().clear();
        *self.inbound.write() = None;
    }
}

#[async_trait]
impl Transport for VirtualLinks {
    fn send(&self, to: RadiantId, frame: Frame) {
        if to == self.me {
            if let Some(inbound) = self.inbound.read().clone() {
                let me = self.me;
                self.world.spawn("frame-to-self", async move {
                    let _ = inbound.receive(me, frame).await;
                });
            }
        } else if let Some(address) = self.address(to) {
            self.net.send(&self.from, &address, self.message(to, frame));
        }
    }

    async fn call(&self, to: RadiantId, frame: Frame, deadline: Duration) -> Result<Bytes, CallError> {
        if to == self.me {
            let inbound = self.inbound.read().clone();
            let Some(inbound) = inbound else {
                return Err(CallError::Unreachable { to, why: "closed".into() });
            };
            return match tokio::time::timeout(deadline, inbound.receive(self.me, frame)).await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(CallError::Unreachable { to, why: "not for this radiant".into() }),
                Err(_) => Err(CallError::Unknown { to, why: "no answer in time".into() }),
            };
        }
        let Some(address) = self.address(to) else {
            return Err(CallError::Unreachable { to, why: "its address is not known".into() });
        };
        let message = self.message(to, frame);
        match self.net.call(&self.from, &address, message, deadline).await {
            Ok(bytes) => Ok(bytes),
            Err(Failure::Unreachable(why)) => Err(CallError::Unreachable { to, why }),
            Err(Failure::Unknown(why)) => Err(CallError::Unknown { to, why }),
        }
    }
}
