//! Members that come back at other addresses find each other.

use bytes::Bytes;
use shardbearer_core::bootstrap::{Founder, Founding, Response, Say, View, Vote};
use shardbearer_core::ids::{ClusterId, Incarnation};

use super::super::{Effect, Event, Machine, Settings};
use super::{found, founder};

const CLUSTER: ClusterId = ClusterId(77);

fn founding(members: &[Founder]) -> Founding {
    Founding { cluster: CLUSTER, members: members.to_vec(), topology: Bytes::new() }
}

/// Radiant n1 of a cluster of n1, n2, n3, that was restarted with this neighbour.
fn member(neighbor: &str) -> Machine {
    let members = [founder("n1", 1), founder("n2", 2), founder("n3", 3)];
    let settings = Settings {
        me: founder("n1", 1),
        neighbors: vec![neighbor.into()],
        expect: 3,
        window_ms: 5_000,
        seed: 1,
    };
    let mut machine = Machine::new(settings, Vote::default(), Some(founding(&members)));
    machine.step(0, Event::Start, &found);
    machine
}

fn at(name: &str, incarnation: u128, address: &str) -> Founder {
    let mut founder = founder(name, incarnation);
    founder.doors.grpc = address.into();
    founder
}

fn view(me: Founder, cluster: ClusterId, peers: Vec<Founder>) -> View {
    View { me, expect: 3, cluster, peers }
}

fn answer(machine: &mut Machine, now_ms: u64, from: View) -> Vec<Effect> {
    let address = from.me.doors.grpc.clone();
    machine.step(now_ms, Event::Answered { address, response: Response { from, say: Say::Seen } }, &found)
}

/// Whom the machine beacons when time passes.
fn beaconed(machine: &mut Machine, now_ms: u64) -> Vec<String> {
    let effects = machine.step(now_ms, Event::Tick, &found);
    let sends = effects.into_iter().filter_map(|effect| match effect {
        Effect::Send { address, .. } => Some(address),
        _ => None,
    });
    sends.collect()
}

fn moved(who: u128, address: &str, instead_of: &str) -> Effect {
    Effect::Moved { who: Incarnation(who), address: address.into(), instead_of: instead_of.into() }
}

/// Refuted by a machine that believes what it is told of others, or whoever answers, or that says a thing twice.
#[test]
fn a_member_counts_as_moved_when_it_answers_as_itself_elsewhere() {
    let mut machine = member("new2:1");
    assert_eq!(beaconed(&mut machine, 0), ["new2:1"]);
    // Not a member, another cluster, where it is listed anyway: nothing to say.
    for from in [
        view(at("n9", 9, "new2:1"), CLUSTER, vec![]),
        view(at("n2", 2, "new2:1"), ClusterId::NONE, vec![]),
        view(at("n3", 3, "n3:1"), CLUSTER, vec![]),
    ] {
        assert_eq!(answer(&mut machine, 10, from.clone()), [], "{from:?}");
    }
    // It is n2, and tells of n3, who has moved, too: that one is asked there, and not believed before.
    let from = view(at("n2", 2, "new2:1"), CLUSTER, vec![at("n3", 3, "new3:1")]);
    assert_eq!(answer(&mut machine, 20, from.clone()), [moved(2, "new2:1", "n2:1")]);
    assert_eq!(answer(&mut machine, 30, from), [], "known");
    assert!(beaconed(&mut machine, 100).contains(&"new3:1".to_owned()));
    let from = view(at("n3", 3, "new3:1"), CLUSTER, vec![]);
    assert_eq!(answer(&mut machine, 110, from), [moved(3, "new3:1", "n3:1")]);
    // Back where the configuration has it, which is news again.
    let from = view(founder("n2", 2), CLUSTER, vec![]);
    assert_eq!(answer(&mut machine, 120, from), [moved(2, "n2:1", "n2:1")]);
}

#[test]
fn who_asks_as_a_member_that_moved_is_asked_there_in_turn() {
    let mut machine = member("n2:1");
    assert_eq!(beaconed(&mut machine, 0), ["n2:1"]);
    answer(&mut machine, 10, view(founder("n2", 2), CLUSTER, vec![]));
    assert_eq!(beaconed(&mut machine, 1_000), ["n2:1"], "somebody was silent until then");
    assert_eq!(beaconed(&mut machine, 5_000), [] as [&str; 0], "all is well");
    let from = view(at("n3", 3, "new3:1"), CLUSTER, vec![]);
    let ask = shardbearer_core::bootstrap::Ask::Beacon;
    let request = shardbearer_core::bootstrap::Request { from, to: Incarnation::NONE, ask };
    let effects = machine.step(5_010, Event::Asked { ticket: 1, request }, &found);
    assert!(matches!(effects[..], [Effect::Answer { .. }]), "{effects:?}");
    assert!(beaconed(&mut machine, 5_100).contains(&"new3:1".to_owned()));
}

#[test]
fn a_configuration_that_names_another_address_is_newer_than_what_was_seen() {
    let mut machine = member("new2:1");
    let seen = view(at("n2", 2, "new2:1"), CLUSTER, vec![]);
    assert_eq!(answer(&mut machine, 10, seen.clone()).len(), 1);
    // Of something else: what was seen is still so.
    let same = founding(&[founder("n1", 1), founder("n2", 2)]);
    machine.step(20, Event::Belongs(same), &found);
    assert_eq!(answer(&mut machine, 30, seen.clone()), []);
    let other = founding(&[founder("n1", 1), at("n2", 2, "newer2:1")]);
    machine.step(40, Event::Belongs(other), &found);
    assert_eq!(answer(&mut machine, 50, seen), [moved(2, "new2:1", "newer2:1")]);
}
