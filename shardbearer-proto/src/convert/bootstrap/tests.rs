//! Round trips of arbitrary values, and arbitrary bytes that must not panic.

use proptest::prelude::*;

use super::*;

fn founder() -> impl Strategy<Value = Founder> {
    ("[a-z0-9é]{0,20}", 1..=u128::MAX, "[a-z.:0-9]{0,30}").prop_map(|(name, incarnation, grpc)| {
        let doors = Doors { resp: format!("r{grpc}"), grpc, http: String::new() };
        Founder { name, incarnation: Incarnation(incarnation), doors }
    })
}

fn founding() -> impl Strategy<Value = Founding> {
    let topology = proptest::collection::vec(any::<u8>(), 0..50);
    (1..=u128::MAX, proptest::collection::vec(founder(), 0..5), topology).prop_map(
        |(cluster, members, topology)| Founding {
            cluster: ClusterId(cluster),
            members,
            topology: topology.into(),
        },
    )
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (1..=u64::MAX, 1..=u128::MAX).prop_map(|(term, id)| Ballot { term, candidate: Incarnation(id) })
}

fn accepted() -> impl Strategy<Value = Accepted> {
    (ballot(), founding()).prop_map(|(ballot, founding)| Accepted { ballot, founding })
}

fn view() -> impl Strategy<Value = View> {
    (founder(), any::<u32>(), any::<u128>(), proptest::collection::vec(founder(), 0..5))
        .prop_map(|(me, expect, cluster, peers)| View { me, expect, cluster: ClusterId(cluster), peers })
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Beacon),
        ballot().prop_map(Ask::Promise),
        accepted().prop_map(Ask::Accept),
        founding().prop_map(Ask::Founded),
    ]
}

fn say() -> impl Strategy<Value = Say> {
    prop_oneof![
        Just(Say::Seen),
        (ballot(), proptest::option::of(accepted()))
            .prop_map(|(ballot, accepted)| Say::Promised { ballot, accepted }),
        ballot().prop_map(Say::Accepted),
        (ballot(), ballot()).prop_map(|(ballot, promised)| Say::Superseded { ballot, promised }),
        founding().prop_map(Say::Member),
        (1..=u128::MAX, proptest::collection::vec("[a-z:0-9]{0,30}", 0..5))
            .prop_map(|(cluster, via)| Say::Join { cluster: ClusterId(cluster), via }),
        "[a-zé ]{0,60}".prop_map(Say::Objection),
        "[a-zé ]{0,60}".prop_map(Say::NameTaken),
    ]
}

proptest! {
    #[test]
    fn requests_round_trip(from in view(), to in any::<u128>(), ask in ask()) {
        let request = Request { from, to: Incarnation(to), ask };
        prop_assert_eq!(request_from_bytes(request_to_bytes(&request)), Ok(request));
    }

    #[test]
    fn responses_round_trip(from in view(), say in say()) {
        let response = Response { from, say };
        prop_assert_eq!(response_from_bytes(response_to_bytes(&response)), Ok(response));
    }

    #[test]
    fn files_round_trip(accepted in accepted(), name in "[a-z]{1,9}", radiant in 1..=u64::MAX) {
        let vote = Vote { promised: accepted.ballot, accepted: Some(accepted.clone()) };
        prop_assert_eq!(vote_from_bytes(vote_to_bytes(&vote)), Ok(vote));
        let incarnation = accepted.ballot.candidate;
        let identity = identity_from_bytes(identity_to_bytes(&name, incarnation));
        prop_assert_eq!(identity, Ok((name, incarnation)));
        let Founding { cluster, topology, .. } = accepted.founding;
        let raw = cluster_to_bytes(cluster, RadiantId(radiant), topology.clone());
        prop_assert_eq!(cluster_from_bytes(raw), Ok((cluster, RadiantId(radiant), topology)));
    }

    #[test]
    fn damaged_bytes_give_a_value_or_a_sentence(from in view(), say in say(), at in any::<usize>(), flip in 1..=255_u8) {
        let mut raw = response_to_bytes(&Response { from, say }).to_vec();
        let at = at % raw.len();
        raw[at] ^= flip;
        let _ = response_from_bytes(raw.clone().into());
        let _ = request_from_bytes(raw.clone().into());
        let _ = vote_from_bytes(raw.clone().into());
        let _ = identity_from_bytes(raw.clone().into());
        let _ = cluster_from_bytes(raw.clone().into());
        raw.truncate(at);
        let _ = response_from_bytes(raw.into());
    }
}

#[test]
fn an_empty_vote_stays_empty() {
    assert_eq!(vote_from_bytes(vote_to_bytes(&Vote::default())), Ok(Vote::default()));
}

#[test]
fn what_means_nothing_is_refused_with_a_sentence() {
    let me = Founder { name: "n1".into(), incarnation: Incarnation(1), ..Founder::default() };
    let from = View { me, ..View::default() };
    let request = |from: View, ask| request_to_bytes(&Request { from, to: Incarnation::NONE, ask });
    let check = |raw: Bytes, expect: &str| {
        let words = request_from_bytes(raw).expect_err(expect).0;
        assert!(words.contains(expect), "{words}");
    };
    check(Bytes::new(), "version 0");
    check(request(from.clone(), Ask::Promise(Ballot::default())), "no valid term");
    check(request(View::default(), Ask::Beacon), "no valid incarnation");
    check(request(from.clone(), Ask::Founded(Founding::default())), "no valid cluster id");
    let mut long = from;
    long.me.name = "n".repeat(BOOTSTRAP_TEXT_BYTES_MAX + 1);
    check(request(long, Ask::Beacon), "a name of 301 bytes");
    check(Bytes::from_static(b"\xff\xff\xff"), "not a bootstrap message");
}
