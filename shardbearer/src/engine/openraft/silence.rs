//! When a herald keeps silent: while no quorum can answer it.
//!
//! A link may carry what a herald says and not what it is answered. Those who hear it keep their promise and elect nobody, and
//! nothing is acknowledged, for as long as that lasts: openraft's leaders never step down by themselves. So a herald to whom no
//! quorum's answers came for two election timeouts sends no appends, for long enough that others elect; then it speaks for a
//! moment, for it may be the only one whose log allows it to lead, and is silent again. Raft's authors have such a leader step
//! down (Ongaro's dissertation, 6.2; etcd's CheckQuorum). That no message is sent is always safe.
//!
//! What counts is that an answer came, whatever it says. Appends are answered once they are on disk, so by those alone members
//! with slow disks would look like members behind a cut, and an election would cost more than waiting for them. So once no quorum
//! was heard for an election timeout, whoever is missing is asked again and again whether it is there ([`Request::Probe`]), in silence
//! too, and a quorum of answers ends that with the next beat. It excuses nobody for ever: where no quorum acknowledges anything
//! for ten election timeouts, others may be able to, and are let.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use openraft::Instant;
use openraft::rt::WatchReceiver;
use parking_lot::Mutex;
use shardbearer_core::ids::RadiantId;
use shardbearer_core::transport::{Channel, Frame};
use shardbearer_core::world::World;

use super::types::Membership;
use super::wire::{self, Request, Response};
use super::{Openraft, nanoseconds};

/// For how many election timeouts more than others a herald may be without acknowledgements whose members say that they are there.
const EXCUSED: u32 = 8;

/// Who answered when, and since when that is too little.
#[derive(Clone)]
pub struct Silence(Arc<Inner>);

struct Inner {
    world: World,
    election: Duration,
    /// When each member's last answer came (monotonic, ns).
    answered: Mutex<BTreeMap<u64, u64>>,
    /// Since when no quorum has answered (monotonic, ns); [`u64::MAX`] while this member does not lead others.
    unheard_since_ns: AtomicU64,
    /// Whether members are being asked whether they are there.
    probing: AtomicBool,
}

impl Silence {
    pub(super) fn new(world: World, election: Duration) -> Silence {
        Silence(Arc::new(Inner {
            world,
            election,
            answered: Mutex::default(),
            unheard_since_ns: AtomicU64::new(u64::MAX),
            probing: AtomicBool::new(false),
        }))
    }

    /// Notes that something came back from a member.
    pub(super) fn answered(&self, member: RadiantId) {
        self.0.answered.lock().insert(member.0, self.0.world.monotonic_ns());
    }

    /// Whether appends are held back now.
    pub(super) fn is_kept(&self) -> bool {
        is_silent(self.unheard_ns(), self.0.election)
    }

    /// For how long no quorum has answered (ns); none if this member does not lead others.
    fn unheard_ns(&self) -> u64 {
        self.0.world.monotonic_ns().saturating_sub(self.0.unheard_since_ns.load(Ordering::Acquire))
    }

    /// Who has answered nothing for an election timeout.
    fn unheard(&self, members: impl Iterator<Item = u64>) -> Vec<RadiantId> {
        let since = self.0.world.monotonic_ns().saturating_sub(nanoseconds(self.0.election));
        let answered = self.0.answered.lock();
        let lately = |member: &u64| answered.get(member).is_some_and(|at| *at >= since);
        members.filter(|member| !lately(member)).map(RadiantId).collect()
    }

    /// When a quorum had last answered, this member included: of each of the lists, if members are being changed.
    fn quorum_ns(&self, membership: &Membership, me: u64) -> u64 {
        let (answered, now_ns) = (self.0.answered.lock(), self.0.world.monotonic_ns());
        let at =
            |member: &u64| if *member == me { now_ns } else { answered.get(member).copied().unwrap_or(0) };
        let of_list = |list: &std::collections::BTreeSet<u64>| {
            let mut at: Vec<u64> = list.iter().map(at).collect();
            at.sort_unstable_by(|a, b| b.cmp(a));
            at.get(list.len() / 2).copied().unwrap_or(now_ns)
        };
        membership.get_joint_config().iter().map(of_list).min().unwrap_or(now_ns)
    }
}

/// Since when this member has led the term that it leads.
#[derive(Default)]
pub(super) struct Reign {
    term: u64,
    since_ns: u64,
}

impl Reign {
    /// Looks whether a quorum has answered lately, and asks whoever did not. To be called at each beat.
    pub(super) fn tend(&mut self, engine: &Openraft) {
        let (me, silence) = (engine.context.me.0, &engine.silence);
        let metrics = engine.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leads = metrics.current_leader == Some(me);
        let membership = metrics.membership_config.membership();
        if !leads || membership.voter_ids().all(|voter| voter == me) {
            silence.0.unheard_since_ns.store(u64::MAX, Ordering::Release);
            return;
        }
        if metrics.current_term != self.term {
            (self.term, self.since_ns) = (metrics.current_term, silence.0.world.monotonic_ns());
        }
        let heard_ns = silence.quorum_ns(membership, me).max(self.since_ns);
        let unacked_ns = metrics.last_quorum_acked.map_or(u64::MAX, |acked| nanoseconds(acked.elapsed()));
        let acked_ns = silence.0.world.monotonic_ns().saturating_sub(unacked_ns).max(self.since_ns);
        let since_ns = heard_ns.min(acked_ns.saturating_add(nanoseconds(silence.0.election * EXCUSED)));
        silence.0.unheard_since_ns.store(since_ns, Ordering::Release);
        if silence.unheard_ns() > nanoseconds(silence.0.election) {
            let others = membership.voter_ids().filter(|voter| *voter != me);
            engine.probe(silence.unheard(others));
        }
    }
}

impl Openraft {
    /// Asks members whether they are there, unless that is under way.
    fn probe(&self, members: Vec<RadiantId>) {
        if self.silence.0.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (silence, transport) = (self.silence.clone(), self.context.transport.clone());
        let (order, half) = (self.context.order, silence.0.election / 2);
        let body: Bytes = wire::encode_request(&Request::Probe);
        // Ends by itself. Half the time that counts, so that who answers at all is asked in time again.
        self.context.world.spawn("openraft-probe", async move {
            let ask = async |member: RadiantId| {
                let frame = Frame { channel: Channel::Engine(order), body: body.clone() };
                let answer = transport.call(member, frame, half).await.ok();
                if matches!(answer.and_then(wire::decode_response), Some(Response::Here)) {
                    silence.answered(member);
                }
            };
            futures_util::future::join_all(members.into_iter().map(ask)).await;
            silence.0.probing.store(false, Ordering::Release);
        });
    }
}

/// Whether a herald whom no quorum has answered for so long is silent: from two election timeouts on, seven eighths of the time.
fn is_silent(unheard_ns: u64, election: Duration) -> bool {
    let election_ns = nanoseconds(election).max(1);
    unheard_ns
        .checked_sub(2 * election_ns)
        .is_some_and(|long| long % (4 * election_ns) < 4 * election_ns / 8 * 7)
}

#[test]
fn silence_comes_late_and_is_broken_now_and_then() {
    let election = Duration::from_nanos(1_000);
    let silent = |unheard_ns| is_silent(unheard_ns, election);
    assert!(!silent(0) && !silent(1_999), "others may still answer");
    assert!(silent(2_000) && silent(5_499), "long enough for others to wait, stand and be elected");
    assert!(!silent(5_500) && !silent(5_999) && silent(6_000));
}
