//! What is tried again, and what is not; where, is in `splits`.

mod splits;

use shardbearer_core::ids::SessionId;
use shardbearer_core::kv::{Command, RequestId};

use super::*;

fn journey(shard: u64, result: CallResult) -> Journey {
    let id = RequestId { session: SessionId(1), number: 1, unanswered_from: 1, retry: false };
    let command = Command::Append { key: "k".into(), value: "v".into() };
    let mut journey = Journey::new(Item { shard: ShardId(shard), id: Some(id), until: 0, command });
    journey.advance(result);
    journey
}

fn full() -> CallResult {
    Ok(Reply::Refused(Refusal::SessionsFull))
}

fn done() -> CallResult {
    Ok(Reply::Length { length: 1, revision: 1 })
}

#[test]
fn what_was_overtaken_on_its_shard_is_refused_instead_of_coming_late() {
    let mut journeys = vec![journey(1, full()), journey(2, full()), journey(1, done()), journey(1, full())];
    assert!(keep_order(&mut journeys), "the others are tried again");
    let over: Vec<bool> = journeys.iter().map(Journey::is_over).collect();
    assert_eq!(over, [true, false, true, false]);
    let refused = journeys.remove(0).arrive();
    assert!(matches!(refused, Err(RequestError::Refused(Refused::Busy(_)))), "{refused:?}");
}

#[test]
fn while_nothing_is_done_all_of_a_shard_are_tried_again() {
    let lost = || Err(RequestError::Unknown("lost".into()));
    let mut journeys = vec![journey(1, full()), journey(1, full()), journey(2, done())];
    assert!(keep_order(&mut journeys));
    assert!(!journeys[0].is_over() && !journeys[1].is_over());
    // What may have been applied may have been so before the first.
    let mut journeys = vec![journey(1, full()), journey(1, lost())];
    assert!(keep_order(&mut journeys));
    assert!(journeys[0].is_over() && !journeys[1].is_over());
}
