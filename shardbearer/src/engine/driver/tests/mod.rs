//! The driver with real logs, real storage and a bad net, under the chain and under solo.

mod rig;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::engine::{
    Applied, Applier, Committed, EngineFactory, EngineLimits, InstallError, ReceivedSnapshot, SnapshotReader,
    SnapshotWriter, Start,
};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::protocol::Configuration;
use shardbearer_core::storage::StorageError;

use self::rig::{Member, Net, eventually};
use crate::engine::chain::ChainFactory;
use crate::engine::solo::SoloFactory;

/// Compacts all the time.
const TIGHT: EngineLimits = EngineLimits {
    entry_bytes_max: 4 << 10,
    message_bytes_max: 4 << 10,
    compact_after_entries: 20,
    compact_after_bytes: 1 << 20,
    keep_entries: 5,
};

fn ids(range: std::ops::RangeInclusive<u64>) -> Vec<RadiantId> {
    range.map(RadiantId).collect()
}

async fn chain(net: &Arc<Net>, folder: &tempfile::TempDir, limits: EngineLimits) -> Vec<Member> {
    let factory: Arc<dyn EngineFactory> = Arc::new(ChainFactory);
    let mut members = Vec::new();
    for id in 1..=3 {
        let mut member = Member::new(factory.clone(), net, folder, id, Start::Found(ids(1..=3)));
        member.limits = limits;
        member.open().await;
        members.push(member);
    }
    members
}

async fn leads(member: &Member) {
    let engine = member.engine();
    eventually("the head leads", || engine.status().leading).await;
}

fn value(number: usize) -> Bytes {
    Bytes::from(format!("{number}-{}", "x".repeat(number % 700)))
}

fn index(reply: &Bytes) -> u64 {
    reply.as_ref().try_into().map(u64::from_be_bytes).expect("a reply is a position")
}

/// Proposes, three at a time, while the net is bad and members restart in turn. What was acknowledged is on every tape where the
/// reply said, once; what was refused is on none; all tapes are one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_a_bad_net_with_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(7);
    let mut members = chain(&net, &folder, TIGHT).await;
    net.lossy.store(60, Ordering::Relaxed);
    let (mut acknowledged, mut refused) = (Vec::new(), BTreeSet::new());
    for round in 0..6 {
        leads(&members[0]).await;
        let head = members[0].engine();
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let head = head.clone();
                tokio::spawn(async move {
                    let mut heard = Vec::new();
                    for step in 0..20 {
                        let proposal = value(round * 1_000 + client * 100 + step);
                        heard.push((proposal.clone(), head.propose(proposal).await));
                    }
                    heard
                })
            })
            .collect();
        // One of them goes in the middle of it; clients of a head that closes hear so.
        let applied = head.status().applied;
        eventually("some are applied", || head.status().applied > applied + 10).await;
        members[round % 3].close().await;
        members[round % 3].open().await;
        for client in clients {
            for (proposal, result) in client.await.expect("no panic") {
                match result {
                    Ok(reply) => acknowledged.push((index(&reply), proposal)),
                    Err(RequestError::Refused(_)) => drop(refused.insert(proposal)),
                    Err(RequestError::Unknown(_)) => {}
                }
            }
        }
    }
    net.lossy.store(0, Ordering::Relaxed);
    leads(&members[0]).await;
    let last = index(&members[0].engine().propose(value(99_999)).await.expect("committed"));
    for member in &members {
        let engine = member.engine();
        eventually("all is applied", || engine.status().applied >= last).await;
    }
    let tape = members[0].tape();
    assert!(acknowledged.len() > 100, "only {} acknowledged", acknowledged.len());
    for (at, proposal) in &acknowledged {
        assert_eq!(tape.get(at), Some(proposal), "acknowledged at {at}");
    }
    let distinct: BTreeSet<&Bytes> = tape.values().collect();
    assert_eq!(distinct.len(), tape.len(), "something was applied twice");
    assert!(tape.values().all(|there| !refused.contains(there)), "something refused was applied");
    for member in &mut members {
        assert_eq!(member.tape(), tape, "{:?}", member.id);
        assert!(member.purged() > 0, "the log of {:?} was never compacted", member.id);
        member.close().await;
    }
}

/// A read at any member sees what was acknowledged before it, also while frames overtake each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_at_any_member_sees_what_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(8);
    let mut members = chain(&net, &folder, EngineLimits::default()).await;
    net.lossy.store(40, Ordering::Relaxed);
    leads(&members[0]).await;
    for number in 0..60 {
        let at = index(&members[0].engine().propose(value(number)).await.expect("committed"));
        let member = &members[number % 3];
        let engine = member.engine();
        let reads = (0..20).map(|_| engine.read_barrier());
        for position in futures_util::future::join_all(reads).await {
            assert!(position.expect("in time").index >= at, "{:?}", member.id);
        }
        assert_eq!(member.tape().get(&at), Some(&value(number)));
    }
    for member in &mut members {
        member.close().await;
    }
}

/// A newcomer needs what the others have purged, gets an image over a bad net, and then serves; so does the order without those left
/// out. Those hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_far_behind_gets_an_image_and_carries_the_order_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(9);
    let mut members = chain(&net, &folder, TIGHT).await;
    leads(&members[0]).await;
    for number in 0..100 {
        members[0].engine().propose(value(number)).await.expect("committed");
    }
    eventually("the logs are compacted", || members.iter().all(|member| member.purged() > 20)).await;
    net.lossy.store(30, Ordering::Relaxed);
    let mut newcomer = Member::new(Arc::new(ChainFactory), &net, &folder, 4, Start::Join);
    newcomer.limits = TIGHT;
    newcomer.open().await;
    let change = |epoch, previous, members: &[u64]| Configuration {
        epoch: Epoch(epoch),
        previous: Epoch(previous),
        members: members.iter().copied().map(RadiantId).collect(),
        learners: Vec::new(),
    };
    let told = members[1].engine().configure(change(5, 1, &[2, 4])).await;
    told.expect("taken over");
    let outdated = members[1].engine().configure(change(4, 1, &[1, 2])).await;
    assert!(matches!(outdated, Err(RequestError::Refused(Refused::Invalid(_)))), "{outdated:?}");
    leads(&members[1]).await;
    let at = index(&members[1].engine().propose(value(500)).await.expect("committed"));
    assert!(newcomer.engine().read_barrier().await.expect("in time").index >= at);
    assert_eq!(newcomer.tape(), members[1].tape());
    let left_out = members[0].engine();
    eventually("who was left out knows it", || left_out.status().term == 5).await;
    let refused = left_out.propose(value(501)).await;
    assert!(matches!(refused, Err(RequestError::Refused(Refused::NotHerald { .. }))), "{refused:?}");
    assert!(left_out.read_barrier().await.is_err());
    for member in members.iter_mut().chain([&mut newcomer]) {
        member.close().await;
    }
}

/// An image is lost on its way, and then the answer to it, and no connection breaks: whoever needs it does not wait for as long as
/// an install may take, and does not install it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_lost_without_a_word_is_sent_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(12);
    let mut members = chain(&net, &folder, TIGHT).await;
    leads(&members[0]).await;
    for number in 0..40 {
        members[0].engine().propose(value(number)).await.expect("committed");
    }
    eventually("the logs are compacted", || members.iter().all(|member| member.purged() > 5)).await;
    net.silent.store(2, Ordering::Relaxed);
    let mut newcomer = Member::new(Arc::new(ChainFactory), &net, &folder, 4, Start::Join);
    newcomer.open().await;
    let with_a_learner = Configuration {
        epoch: Epoch(5),
        previous: Epoch(1),
        members: ids(1..=3),
        learners: vec![RadiantId(4)],
    };
    members[0].engine().configure(with_a_learner).await.expect("taken over");
    eventually("the newcomer has everything", || newcomer.tape() == members[0].tape()).await;
    assert_eq!(net.silent.load(Ordering::Relaxed), 0);
    for member in members.iter_mut().chain([&mut newcomer]) {
        member.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_answers_everybody_who_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(10);
    let mut members = chain(&net, &folder, EngineLimits::default()).await;
    leads(&members[0]).await;
    members[2].close().await;
    let head = members[0].engine();
    let last = head.status().last_log;
    let waiting = tokio::spawn({
        let head = head.clone();
        async move { head.propose(value(1)).await }
    });
    eventually("it is in the log", || head.status().last_log > last || waiting.is_finished()).await;
    members[0].close().await;
    let answer = waiting.await.expect("no panic");
    assert!(matches!(answer, Err(RequestError::Unknown(_))), "{answer:?}");
    assert_eq!(head.propose(value(2)).await, Err(Refused::Closed.into()));
    assert!(head.read_barrier().await.is_err());
    members[0].close().await;
    members[1].close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn solo_has_everything_again_after_each_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(11);
    let mut member = Member::new(Arc::new(SoloFactory), &net, &folder, 1, Start::Found(ids(1..=1)));
    member.limits = TIGHT;
    for round in 1..=3 {
        member.open().await;
        assert!(member.engine().status().leading);
        for number in 0..40 {
            member.engine().propose(value(number)).await.expect("committed");
        }
        assert_eq!(member.engine().read_barrier().await.expect("alone").index, round * 40);
        assert_eq!(member.tape().len() as u64, round * 40);
        eventually("the log is compacted", || member.purged() + 26 > round * 40).await;
        member.close().await;
    }
}

/// Applies nothing.
struct BrokenDisk(Arc<dyn Applier>);

#[async_trait]
impl Applier for BrokenDisk {
    fn applied(&self) -> Applied {
        self.0.applied()
    }

    async fn apply(&self, _: Vec<Committed>) -> Result<Vec<Bytes>, StorageError> {
        Err(StorageError::Io("the disk is gone".into()))
    }

    async fn persist(&self) -> Result<Applied, StorageError> {
        self.0.persist().await
    }

    async fn snapshot(&self) -> Result<Box<dyn SnapshotReader>, StorageError> {
        self.0.snapshot().await
    }

    async fn receive_snapshot(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        self.0.receive_snapshot().await
    }

    async fn install(&self, snapshot: ReceivedSnapshot) -> Result<(), InstallError> {
        self.0.install(snapshot).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_disk_stops_the_order_and_the_status_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = Net::new(12);
    let mut member = Member::new(Arc::new(SoloFactory), &net, &folder, 1, Start::Found(ids(1..=1)));
    let broken = Arc::new(BrokenDisk(member.applier()));
    member.open_on(broken).await;
    let answer = member.engine().propose(value(1)).await;
    assert!(matches!(answer, Err(RequestError::Unknown(_))), "{answer:?}");
    let engine = member.engine();
    eventually("it is closed", || engine.status().closed).await;
    let status = engine.changed(0).await;
    assert!(status.failure.is_some_and(|why| why.contains("the disk is gone")) && !status.leading);
    member.close().await;
    // The entry was in the log: it may have happened, and did.
    member.open().await;
    let engine = member.engine();
    eventually("it is applied", || engine.status().applied == 1).await;
    member.close().await;
}
