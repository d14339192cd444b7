//! What one connection has said about itself, and what all connections of a gateway share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::OrderId;
use shardbearer_core::kv::Command;
use shardbearer_core::world::World;

use super::Options;
use super::clients::{Client, Clients};
use super::failure::Failure;
use super::scan::Cursors;
use crate::gateway::{Entrance, Inside};
use crate::kv::{Call, CallResult, Request, Target};
use crate::map::{Extent, extents_of};

/// Shared by all connections.
pub struct Gateway {
    /// Leads to the door once the radiant is in its cluster.
    pub entrance: Entrance,
    /// For the clock and for cursors.
    pub world: World,
    /// Limits and names.
    pub options: Options,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Where scans go on.
    pub cursors: Cursors,
    /// Commands carried out since the start.
    pub commands: AtomicU64,
    /// Whether commands are refused because the radiant stops.
    pub closing: AtomicBool,
    /// When the gateway started, in monotonic milliseconds.
    pub started_ms: u64,
}

/// What becomes of replies; set by `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Replies {
    /// They are sent.
    #[default]
    On,
    /// They are not.
    Off,
    /// The next one is not.
    SkipNext,
}

/// One connection's state beside its transaction.
pub struct Session {
    /// What it shares with others.
    pub gateway: Arc<Gateway>,
    /// How others see it.
    pub client: Arc<Client>,
    /// Whether the client asked for the map of slots: it then knows what to do with `MOVED`.
    pub aware: bool,
    /// Whether the client wants reads served wherever it asks (`READONLY`).
    pub read_anywhere: bool,
    /// What becomes of replies.
    pub replies: Replies,
}

/// A shard of the table, as a session sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its position in the table's scheme.
    pub position: usize,
    /// The shard.
    pub extent: Extent,
}

impl Gateway {
    /// The radiant's inside, once there is one.
    pub fn inside(&self) -> Result<&Inside, Failure> {
        self.entrance.get().ok_or(Failure::LOADING)
    }

    /// Monotonic milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.world.monotonic_ns() / 1_000_000
    }

    /// Hands calls to the door. One result per call.
    ///
    /// An answer that would be too long for one message comes back as a refusal of every call that was in it; reads
    /// are then asked again one by one, as a client would have to.
    pub async fn execute(&self, calls: Vec<Call>) -> Vec<CallResult> {
        let count = calls.len();
        let Some(inside) = self.entrance.get() else {
            return vec![Err(Refused::Closed.into()); count];
        };
        let reads = if count > 1 { reads(&calls) } else { Vec::new() };
        let mut results = inside.door.execute(self.request(calls)).await;
        // Each reply must find its command, whatever the door does.
        results.resize(count, Err(RequestError::Unknown("no result".into())));
        for (index, command) in reads {
            if matches!(results[index], Err(RequestError::Refused(Refused::Invalid(_)))) {
                let mut again = inside.door.execute(self.request(vec![Call::new(command)])).await;
                if let Some(result) = again.pop() {
                    results[index] = result;
                }
            }
        }
        results
    }

    fn request(&self, calls: Vec<Call>) -> Request {
        Request { table: self.options.table.clone(), calls, deadline: self.options.deadline }
    }

    /// As [`Self::execute`], for one call.
    pub async fn execute_one(&self, call: Call) -> CallResult {
        let no_result = || Err(RequestError::Unknown("no result".into()));
        self.execute(vec![call]).await.pop().unwrap_or_else(no_result)
    }

    /// Counts commands, here and for the metrics.
    pub fn count_commands(&self, count: usize) {
        self.commands.fetch_add(count as u64, Ordering::Relaxed);
        metrics::counter!("shardbearer_resp_commands_total").increment(count as u64);
    }
}

impl Session {
    /// A connection that has said nothing yet.
    pub fn new(gateway: Arc<Gateway>, client: Arc<Client>) -> Session {
        Session { gateway, client, aware: false, read_anywhere: false, replies: Replies::On }
    }

    /// Forgets all that the client has said, as `RESET` wants it.
    pub fn reset(&mut self) {
        self.client.set_name(String::new());
        *self = Session::new(self.gateway.clone(), self.client.clone());
    }

    /// The shards that commands on the whole table concern, by position: for a client that goes from radiant to
    /// radiant itself those led here or by nobody that is known, else all.
    pub fn places(&self) -> Result<Vec<Place>, Failure> {
        let inside = self.gateway.inside()?;
        let me = inside.door.me();
        self.places_of(|order| !self.aware || inside.door.herald(order).is_none_or(|herald| herald == me))
    }

    /// The shards of some orders, by position.
    pub fn places_of(&self, concerns: impl Fn(OrderId) -> bool) -> Result<Vec<Place>, Failure> {
        let topology = self.gateway.inside()?.door.topology();
        let name = &self.gateway.options.table;
        let table = topology.table(name).ok_or_else(|| no_table(name))?;
        let shards = table.shards.iter().zip(extents_of(table)).enumerate();
        let places = shards.filter(|(_, (shard, _))| concerns(shard.order));
        Ok(places.map(|(position, (_, extent))| Place { position, extent }).collect())
    }

    /// The orders that a scan which begins now covers, for a client that scans every radiant; `None` is all of them.
    /// Those that should be led here are covered even while others lead them: otherwise an order whose herald changes
    /// from a radiant that is yet to be scanned to one that has been would be left out. What is covered twice meanwhile
    /// is returned twice, which a scan may do.
    pub fn covered(&self) -> Result<Option<BTreeSet<OrderId>>, Failure> {
        if !self.aware {
            return Ok(None);
        }
        let inside = self.gateway.inside()?;
        let (me, topology) = (inside.door.me(), inside.door.topology());
        let orders = topology.orders.iter();
        let led_here = |order| inside.door.herald(order).is_none_or(|herald| herald == me);
        let mine = orders.filter(|order| order.preferred_herald == me || led_here(order.id));
        Ok(Some(mine.map(|order| order.id).collect()))
    }
}

/// The reads of keys among the calls, with their places.
fn reads(calls: &[Call]) -> Vec<(usize, Command)> {
    let reads = calls.iter().enumerate();
    let reads = reads.filter(|(_, call)| !call.command.is_write() && call.target == Target::Key);
    reads.map(|(index, call)| (index, call.command.clone())).collect()
}

/// The table that the gateway serves does not exist.
pub fn no_table(name: &str) -> Failure {
    format!("ERR there is no table '{name}' in this cluster").into()
}
