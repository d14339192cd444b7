//! A group of members that run one order over the kit's network, disks and data: what the laws play with.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use shardbearer_core::engine::{ConsensusEngine, EngineContext, EngineStatus, Start, Timing};
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{OrderId, RadiantId};
use shardbearer_core::log::LogStore;
use shardbearer_core::transport::Transport;
use tokio::time::Instant;

use super::super::Broken;
use super::Lab;
use super::data::Data;
use super::disk::Disk;
use super::net::Net;
use super::world::Lived;

/// The order that all laws run.
pub const ORDER: OrderId = OrderId(1);

/// How long a single proposal or read may take before it counts as unanswered.
pub const ANSWER: Duration = Duration::from_secs(5);

/// For anything that should happen at all. Virtual, so generous.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One member: what outlives it, and its present life.
struct Member {
    disk: Arc<Disk>,
    data: Arc<Data>,
    start: Start,
    life: Option<Life>,
    lives: u64,
}

struct Life {
    engine: Arc<dyn ConsensusEngine>,
    alive: Arc<AtomicBool>,
    lived: Arc<Lived>,
}

/// The members and what they were told.
pub struct Group<'a> {
    /// Their network.
    pub net: Arc<Net>,
    lab: &'a Lab<'a>,
    start: Instant,
    members: BTreeMap<RadiantId, Member>,
    /// Proposals that were acknowledged.
    acknowledged: Mutex<Vec<Bytes>>,
    next: Mutex<u64>,
}

/// The radiants of a group of `count`.
pub fn ids(count: u64) -> Vec<RadiantId> {
    (1..=count).map(RadiantId).collect()
}

impl<'a> Group<'a> {
    /// `count` members that found their order together.
    pub async fn found(lab: &'a Lab<'a>, count: u64) -> Result<Group<'a>, Broken> {
        let mut group = Group {
            net: Net::new(lab.draw()),
            lab,
            start: Instant::now(),
            members: BTreeMap::new(),
            acknowledged: Mutex::default(),
            next: Mutex::default(),
        };
        for id in ids(count) {
            group.add(id, Start::Found(ids(count))).await?;
        }
        Ok(group)
    }

    /// A member that has nothing yet.
    pub async fn add(&mut self, id: RadiantId, start: Start) -> Result<(), Broken> {
        let disk = Disk::new(self.lab.draw());
        self.members.insert(id, Member { disk, data: Arc::default(), start, life: None, lives: 0 });
        self.restart(id).await
    }

    /// Opens a member on what it left behind.
    pub async fn restart(&mut self, id: RadiantId) -> Result<(), Broken> {
        let alive = Arc::new(AtomicBool::new(true));
        let (world, lived) = Lived::create(self.start, self.lab.draw());
        let member = self.members.get_mut(&id).ok_or_else(|| Broken(format!("there is no {id}")))?;
        let log: Arc<dyn LogStore> = member.disk.mount(alive.clone());
        let transport: Arc<dyn Transport> = self.net.door(id, alive.clone());
        let context = EngineContext {
            order: ORDER,
            me: id,
            start: member.start.clone(),
            log: self.lab.wrap_log(log, member.lives > 0),
            applier: member.data.mount(alive.clone()),
            transport,
            world,
            timing: self.lab.timing,
            limits: self.lab.limits.get(),
        };
        let opened = self.lab.factory().open(context).await;
        let engine = opened.map_err(|error| Broken(format!("{id} does not open: {error}")))?;
        self.net.join(id, engine.clone());
        member.life = Some(Life { engine, alive, lived });
        member.lives += 1;
        Ok(())
    }

    /// The power of a member fails.
    pub fn crash(&mut self, id: RadiantId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(life) = member.life.take() else { return };
        self.net.leave(id);
        life.alive.store(false, Ordering::Release);
        life.lived.end();
        member.disk.crash();
        member.data.crash();
        // Its tasks go in the background; nothing they do has an effect any more.
        tokio::spawn(async move { life.engine.close().await });
    }

    /// Makes a member stand still: its tasks, and what is sent to it or by it. What it is asked meanwhile waits as well.
    pub fn pause(&self, id: RadiantId) {
        if let Some(life) = self.members.get(&id).and_then(|member| member.life.as_ref()) {
            life.lived.pause();
        }
        self.net.pause(id);
    }

    /// Lets it go on.
    pub fn resume(&self, id: RadiantId) {
        if let Some(life) = self.members.get(&id).and_then(|member| member.life.as_ref()) {
            life.lived.resume();
        }
        self.net.resume(id);
    }

    /// Members that run.
    pub fn up(&self) -> Vec<RadiantId> {
        self.members.iter().filter(|(_, member)| member.life.is_some()).map(|(id, _)| *id).collect()
    }

    /// All members, running or not.
    pub fn all(&self) -> Vec<RadiantId> {
        self.members.keys().copied().collect()
    }

    /// A member's engine.
    pub fn engine(&self, id: RadiantId) -> Result<Arc<dyn ConsensusEngine>, Broken> {
        let life = self.members.get(&id).and_then(|member| member.life.as_ref());
        life.map(|life| life.engine.clone()).ok_or_else(|| Broken(format!("{id} is down")))
    }

    /// A member's status; of one that is down, the default.
    pub fn status(&self, id: RadiantId) -> EngineStatus {
        self.engine(id).map_or_else(|_| EngineStatus::default(), |engine| engine.status())
    }

    /// A member's data.
    pub fn data(&self, id: RadiantId) -> Arc<Data> {
        self.members.get(&id).map_or_else(Arc::default, |member| member.data.clone())
    }

    /// Syncs of all disks so far.
    pub fn syncs(&self) -> u64 {
        self.members.values().map(|member| member.disk.syncs()).sum()
    }

    /// Entries in a member's log.
    pub fn held(&self, id: RadiantId) -> u64 {
        self.members.get(&id).map_or(0, |member| member.disk.held(ORDER))
    }

    /// The last index that a member's log has given up.
    pub fn purged(&self, id: RadiantId) -> u64 {
        self.members.get(&id).map_or(0, |member| member.disk.purged(ORDER))
    }

    /// The times the members keep to.
    pub fn timing(&self) -> Timing {
        self.lab.timing
    }

    /// Lets time pass: for what must *not* happen meanwhile.
    pub async fn pass(&self, elections: u32) {
        tokio::time::sleep(self.lab.timing.election_max * elections).await;
    }

    /// Waits until it holds.
    pub async fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<(), Broken> {
        let start = Instant::now();
        while !holds() {
            if start.elapsed() > PATIENCE {
                return Err(Broken(format!("not within {PATIENCE:?}: {what}; {}", self.words())));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// How the members are, for a message.
    fn words(&self) -> String {
        let one = |(id, member): (&RadiantId, &Member)| {
            let Some(life) = &member.life else { return format!("{id} is down") };
            let status = life.engine.status();
            let leads = if status.leading { "leads" } else { "follows" };
            let why = status.failure.map_or_else(String::new, |why| format!(" and failed: {why}"));
            let (term, log, applied) = (status.term, status.last_log, member.data.position().index);
            format!("{id} {leads} in term {term}, log {log}, applied {applied}{why}")
        };
        self.members.iter().map(one).collect::<Vec<String>>().join("; ")
    }

    /// Waits for one of `ids` to lead in the highest term among them.
    pub async fn leader_of(&self, ids: &[RadiantId]) -> Result<RadiantId, Broken> {
        let mut leader = None;
        self.eventually("one of them leads", || {
            let statuses = ids.iter().map(|id| (*id, self.status(*id)));
            let leading = statuses.filter(|(_, status)| status.leading);
            leader = leading.max_by_key(|(_, status)| status.term).map(|(id, _)| id);
            leader.is_some()
        })
        .await?;
        leader.ok_or_else(|| Broken("nobody leads".into()))
    }

    /// Waits for a leader among those that run.
    pub async fn leader(&self) -> Result<RadiantId, Broken> {
        self.leader_of(&self.up()).await
    }

    /// A proposal that was not made before.
    pub fn fresh(&self) -> Bytes {
        let mut next = self.next.lock().expect("nobody panicked");
        *next += 1;
        format!("w{next}").into()
    }

    /// Notes what was acknowledged by other means than [`Group::write_to`].
    pub fn acknowledge(&self, proposal: Bytes) {
        self.acknowledged.lock().expect("nobody panicked").push(proposal);
    }

    /// What was acknowledged so far.
    pub fn acknowledged(&self) -> Vec<Bytes> {
        self.acknowledged.lock().expect("nobody panicked").clone()
    }

    /// Proposes to one member; no answer in time is `Unknown`.
    pub fn propose(
        &self,
        id: RadiantId,
        proposal: Bytes,
    ) -> impl Future<Output = Result<Bytes, RequestError>> + Send + 'static {
        let engine = self.engine(id);
        async move {
            let engine = engine.map_err(|why| RequestError::Unknown(why.to_string()))?;
            match tokio::time::timeout(ANSWER, engine.propose(proposal)).await {
                Ok(answer) => answer,
                Err(_) => Err(RequestError::Unknown("no answer in time".into())),
            }
        }
    }

    /// Writes through whoever of `ids` leads until one write is acknowledged. What stayed unknown may
    /// show up, so each attempt is another proposal.
    pub async fn write_to(&self, ids: &[RadiantId]) -> Result<Bytes, Broken> {
        let start = Instant::now();
        let mut last = String::new();
        while start.elapsed() < PATIENCE {
            let leader = self.leader_of(ids).await?;
            let proposal = self.fresh();
            match self.propose(leader, proposal.clone()).await {
                Ok(answer) => {
                    if answer.get(8..) != Some(&proposal[..]) {
                        return Err(Broken(format!("{proposal:?} was answered {answer:?}")));
                    }
                    self.acknowledge(proposal.clone());
                    return Ok(proposal);
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(self.lab.timing.heartbeat).await;
        }
        Err(Broken(format!("no write was acknowledged within {PATIENCE:?}: {last}; {}", self.words())))
    }

    /// Writes through whoever leads.
    pub async fn write(&self) -> Result<Bytes, Broken> {
        self.write_to(&self.up()).await
    }

    /// Writes several times.
    pub async fn writes(&self, count: usize) -> Result<(), Broken> {
        for _ in 0..count {
            self.write().await?;
        }
        Ok(())
    }

    /// Waits for a barrier on a member and returns the proposals that were applied there when it returned.
    pub fn read(
        &self,
        id: RadiantId,
    ) -> impl Future<Output = Result<Vec<Bytes>, RequestError>> + Send + 'static {
        let unknown = |why: &str| RequestError::Unknown(why.into());
        let life = self.members.get(&id).and_then(|member| member.life.as_ref());
        let life = life.map(|life| (life.engine.clone(), life.alive.clone()));
        let data = self.data(id);
        async move {
            let (engine, alive) = life.ok_or_else(|| unknown("it is down"))?;
            let barrier = tokio::time::timeout(ANSWER, engine.read_barrier());
            barrier.await.map_err(|_| unknown("no answer in time"))??;
            // A crash took its data back, so there is nothing to be read any more.
            let seen = alive.load(Ordering::Acquire).then(|| data.proposals());
            seen.ok_or_else(|| unknown("it went down meanwhile"))
        }
    }

    /// Waits until all members that run have applied the same and everything acknowledged, and checks what must
    /// hold at any time.
    pub async fn converge(&self) -> Result<(), Broken> {
        self.write().await?;
        self.everywhere().await?;
        self.check()
    }

    /// Waits until all members that run have applied the same and everything acknowledged.
    pub async fn everywhere(&self) -> Result<(), Broken> {
        let acknowledged = self.acknowledged();
        self.eventually("all have applied everything acknowledged", || {
            let mut positions: Vec<u64> =
                self.up().iter().map(|id| self.data(*id).position().index).collect();
            positions.dedup();
            let all_there = |id: &RadiantId| {
                let proposals = self.data(*id).proposals();
                acknowledged.iter().all(|proposal| proposals.contains(proposal))
            };
            positions.len() == 1 && self.up().iter().all(all_there)
        })
        .await
    }

    /// What must hold at any time: all data saw one order of entries, each once, without gaps.
    pub fn check(&self) -> Result<(), Broken> {
        let mut longest: Vec<super::data::Row> = Vec::new();
        for (id, member) in &self.members {
            if let Some(wrong) = member.data.wrong() {
                return Err(Broken(format!("on {id}: {wrong}")));
            }
            let rows = member.data.rows();
            if let Some((one, other)) = longest.iter().zip(&rows).find(|(one, other)| one != other) {
                return Err(Broken(format!("{id} applied {other:?} where another applied {one:?}")));
            }
            let mut proposals = member.data.proposals();
            proposals.sort();
            if let Some(twice) = proposals.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(Broken(format!("{id} applied {:?} twice", twice[0])));
            }
            if rows.len() > longest.len() {
                longest = rows;
            }
        }
        Ok(())
    }
}
