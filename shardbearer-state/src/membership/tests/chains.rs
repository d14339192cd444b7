//! What is decided of chains, step by step.

use super::*;

/// It was to give its seat away, another had it already, and then it stays: seen under chaos, where the fourth stayed for ever.
#[test]
fn a_chain_with_a_member_too_many_gives_one_up() {
    let mut world = World::new(3, 1, "chain", 1);
    world.rest();
    let members = [1, 2, 3].map(RadiantId).to_vec();
    let come = MemberChange::List { order: OrderId(2), members, learners: vec![RadiantId(4)] };
    world.topology = carry_out(&world.topology, &come).expect("it may be").0;
    let done = [
        "3: order 2 consists of a, b, c, d (radiant d has caught up)",
        "4: order 2 consists of a, b, c (order 2 has 4 members of 3)",
    ];
    assert_eq!(world.rest(), done);
}

/// Few entries are missing, but the others have forgotten them: the learner gets all the data first. Seen in the simulation of a
/// newcomer that had nothing yet, where the chain stood still until they had arrived.
#[test]
fn a_learner_whose_log_does_not_go_on_as_the_others_does_holds_no_chain_up() {
    let mut world = World::new(3, 1, "chain", 1);
    world.rest();
    let (order, newcomer) = (OrderId(2), RadiantId(4));
    let members = [1, 2, 3].map(RadiantId).to_vec();
    let come = MemberChange::List { order, members, learners: vec![newcomer] };
    world.topology = carry_out(&world.topology, &come).expect("it may be").0;
    world.work();
    let mut told = |applied, head, complete| {
        for ((_, radiant), progress) in &mut world.facts.progress {
            if *radiant == newcomer {
                (progress.applied, progress.complete) = (applied, complete);
            } else {
                progress.applied = head;
            }
        }
        next(&world.topology, &world.facts).step.map(|step| step.why)
    };
    for (applied, head) in [(0, 0), (0, 48), (1, 48), (100, 300), (300, 300)] {
        assert_eq!(told(applied, head, false), None, "{applied} of {head}");
    }
    for (applied, head) in [(0, 0), (1, 48), (48, 48), (100, 300)] {
        assert_eq!(
            told(applied, head, true).as_deref(),
            Some("radiant d has caught up"),
            "{applied} of {head}"
        );
    }
    assert_eq!(told(100, 400, true), None, "too many entries are missing");
}

/// A radiant that came for a seat of another's, and is gone before it has caught up, is not waited for: nobody would change any order
/// for as long as it is named.
#[test]
fn who_is_gone_before_it_takes_a_seat_of_another_is_taken_off_the_list() {
    let mut world = World::new(3, 1, "chain", 3);
    world.rest();
    let join = ask(&world.topology, &world.facts, RadiantId(4), Action::Join).change.expect("it may join");
    world.topology = carry_out(&world.topology, &join).expect("it was played through").0;
    let invited = next(&world.topology, &world.facts).step.expect("seats are uneven");
    assert_eq!(invited.why, "seats are spread evenly: radiant d has fewer");
    world.topology = carry_out(&world.topology, &invited.change).expect("it may be").0;
    world.facts.seen.insert(RadiantId(4), silent(40_000));
    assert_eq!(world.rest(), ["4: order 2 consists of a, b, c (radiant d is down)"]);
    // Like anybody who lost the last seat; an operator may let it in again.
    assert!(world.topology.is_spare(RadiantId(4)), "{:?}", world.topology.radiants);
}
