//! Every kind of outcome, and what it means before and after something may have been applied.

use super::*;

fn write() -> Journey {
    let mut journey = Journey::new(true, true);
    assert!(!journey.begin(), "the first attempt is no repetition");
    journey
}

fn refused(refused: Refused) -> Outcome {
    Outcome::Answered(Err(refused.into()))
}

#[track_caller]
fn again(next: Next) -> Again {
    match next {
        Next::Again(again) => again,
        Next::Done(result) => panic!("done: {result:?}"),
    }
}

#[test]
fn a_refusal_stays_one_only_if_nothing_may_have_been_applied() {
    let mut journey = write();
    again(journey.judge(refused(Refused::Busy("full".into()))));
    assert!(journey.begin(), "the second is");
    assert!(!journey.give_up().may_have_happened());

    let mut journey = write();
    again(journey.judge(Outcome::Lost("cut".into())));
    journey.begin();
    again(journey.judge(refused(Refused::Busy("full".into()))));
    assert!(journey.give_up().may_have_happened());

    let mut journey = write();
    again(journey.judge(Outcome::Lost("cut".into())));
    let done = journey.judge(refused(Refused::Invalid("bad".into())));
    assert!(matches!(done, Next::Done(Err(Error::Unknown(_)))));
}

#[test]
fn a_write_without_an_id_is_not_repeated_once_it_may_have_happened() {
    let mut journey = Journey::new(true, false);
    journey.begin();
    again(journey.judge(Outcome::NotSent("no connection".into())));
    assert_eq!(journey.judge(Outcome::Lost("cut".into())), Next::Done(Err(Error::Unknown("cut".into()))));
}

#[test]
fn a_read_is_never_unknown() {
    let mut journey = Journey::new(false, false);
    journey.begin();
    again(journey.judge(Outcome::Lost("cut".into())));
    assert!(!journey.give_up().may_have_happened());
}

#[test]
fn an_expired_session_is_renewed_only_if_every_attempt_was_refused() {
    let expired = || Outcome::Answered(Ok(Reply::Refused(Refusal::SessionExpired)));
    let mut journey = write();
    again(journey.judge(refused(Refused::Closed)));
    journey.begin();
    assert!(again(journey.judge(expired())).renew);
    journey.renewed();
    assert!(!journey.begin(), "a new number is no repetition");

    let mut journey = write();
    again(journey.judge(Outcome::Lost("cut".into())));
    journey.begin();
    assert!(matches!(journey.judge(expired()), Next::Done(Err(Error::Unknown(_)))));
}

#[test]
fn redirects_are_followed_at_once_but_not_in_circles() {
    let redirect = || refused(Refused::NotHerald { order: OrderId(2), hint: Some(RadiantId(3)) });
    let mut journey = write();
    let first = again(journey.judge(redirect()));
    assert_eq!((first.lead, first.at_once), (Some((OrderId(2), RadiantId(3))), true));
    for _ in 0..3 {
        journey.begin();
    }
    assert!(!again(journey.judge(redirect())).at_once, "the third time waits");
}

#[test]
fn data_that_refuse_are_a_final_answer_and_conditions_a_result() {
    let rejected = write().judge(Outcome::Answered(Ok(Reply::Refused(Refusal::NotAnInteger))));
    assert_eq!(rejected, Next::Done(Err(Error::Rejected(Refusal::NotAnInteger))));
    let failed = Reply::ConditionFailed { current: None };
    assert_eq!(write().judge(Outcome::Answered(Ok(failed.clone()))), Next::Done(Ok(failed)));
}

#[test]
fn waits_grow_and_are_bounded() {
    let mut journey = write();
    for _ in 0..100 {
        journey.begin();
        let wait = journey.wait();
        assert!(wait >= WAIT_MIN / 2 && wait <= WAIT_MAX);
    }
    assert!(journey.wait() >= WAIT_MAX / 2);
}

#[test]
fn what_may_have_been_applied_names_the_cluster_that_was_asked() {
    let (first, second) = (ClusterId(1), ClusterId(2));
    let mut journey = write();
    assert_eq!(journey.cluster_asked(first), None, "the first attempt is free");
    again(journey.judge(refused(Refused::Busy("full".into()))));
    assert_eq!(journey.cluster_asked(second), None, "and so is the next after a refusal");
    again(journey.judge(Outcome::Lost("cut".into())));
    assert_eq!(journey.cluster_asked(first), Some(second));
    // The other cluster refuses, which says nothing of what the first has done.
    let why = "it was sent to another cluster before";
    let Next::Done(Err(error)) = journey.judge(refused(Refused::Invalid(why.into()))) else {
        panic!("there is nobody else to ask")
    };
    assert!(matches!(error, Error::Unknown(_)), "{error}");
}
