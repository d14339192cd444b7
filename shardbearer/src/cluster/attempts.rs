//! What may be said after attempts to bring a request to the control order: what it does if it is carried out, and what is
//! not known of it.

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::OrderId;
use shardbearer_proto::pb;
use shardbearer_proto::pb::{control_request, control_response};

use super::Cluster;

/// Whether carrying a request out twice does more than once. The others say what shall be, not what to add.
pub(super) fn adds(request: &pb::ControlRequest) -> bool {
    use pb::rebalance_request::Kind;
    match &request.kind {
        Some(control_request::Kind::Rebalance(asked)) => matches!(asked.kind, Some(Kind::Create(_))),
        Some(control_request::Kind::Reset(asked)) => !asked.dry_run,
        _ => false,
    }
}

/// Whether carrying a request out changes anything.
pub(super) fn changes(request: &pb::ControlRequest) -> bool {
    use control_request::Kind::{Command, Members, Rebalance, Reset};
    match &request.kind {
        Some(Command(_)) => true,
        Some(Members(asked)) => !asked.dry_run,
        Some(Rebalance(asked)) => !asked.dry_run,
        Some(Reset(asked)) => !asked.dry_run,
        _ => false,
    }
}

/// What to say of a request that was answered: a refusal only if no earlier attempt is open. That may be what is in the way
/// of this one, as of a radiant that is to drain and "is draining already".
pub(super) fn settled(answer: pb::ControlResponse, open: bool) -> pb::ControlResponse {
    let Some(why) = refusal_of(&answer).filter(|_| open) else { return answer };
    let error = RequestError::Unknown(format!(
        "an attempt was not answered and may have been carried out; the next was refused: {why}"
    ));
    pb::ControlResponse { kind: Some(control_response::Kind::Error((&error).into())) }
}

/// Why an answer is a refusal, if it is one: an error that says so, or a reply.
fn refusal_of(answer: &pb::ControlResponse) -> Option<String> {
    use control_response::Kind::{Error, Members, Rebalance, Reply, Reset};
    let sentences = |blockers: &[String], dangers: &[String]| [blockers, dangers].concat().join("; ");
    match answer.kind.as_ref()? {
        Error(_) => match error_of(answer)? {
            RequestError::Refused(refused) => Some(refused.to_string()),
            RequestError::Unknown(_) => None,
        },
        Reply(reply) => match &reply.kind {
            Some(pb::control_reply::Kind::Refused(why)) => Some(why.clone()),
            Some(pb::control_reply::Kind::Changed(_)) | None => None,
        },
        Members(said) => (!said.done).then(|| sentences(&said.blockers, &said.dangers)),
        Reset(said) => (!said.done).then(|| sentences(&said.blockers, &said.dangers)),
        Rebalance(said) => (!said.done && !said.refused.is_empty()).then(|| said.refused.clone()),
        _ => None,
    }
}

/// What to say of a request that nobody answered in time: that it is refused only if no attempt is open, and why in the
/// words of the last attempt, unless nobody could have carried it out.
pub(super) fn last_word(cluster: &Cluster, answer: pb::ControlResponse, open: bool) -> pb::ControlResponse {
    const HEADLESS: &str =
        "the control order has no herald: most of its members are down or cannot be reached";
    let Some(error) = error_of(&answer) else { return answer };
    let headless = cluster.peers.leader(OrderId::CONTROL, cluster.world.monotonic_ns()).is_none();
    let error = match (open, headless, error) {
        (false, false, _) | (true, false, RequestError::Unknown(_)) => return answer,
        (false, true, _) => RequestError::Refused(Refused::Unavailable(HEADLESS.into())),
        (true, true, _) => RequestError::Unknown(format!("an attempt was not answered, and {HEADLESS}")),
        (true, false, error) => RequestError::Unknown(format!("an attempt was not answered; then: {error}")),
    };
    pb::ControlResponse { kind: Some(control_response::Kind::Error((&error).into())) }
}

pub(super) fn error_of(answer: &pb::ControlResponse) -> Option<RequestError> {
    match &answer.kind {
        Some(control_response::Kind::Error(error)) => RequestError::try_from(error.clone()).ok(),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: control_response::Kind) -> pb::ControlResponse {
        pb::ControlResponse { kind: Some(kind) }
    }

    /// Every way in which the control order refuses.
    fn refusals() -> Vec<pb::ControlResponse> {
        use control_response::Kind;
        let why = || "it is so already".to_owned();
        let members = pb::MemberResponse { blockers: vec![why()], ..Default::default() };
        let unsafe_one = pb::MemberResponse { dangers: vec![why()], ..Default::default() };
        let reset = pb::ResetResponse { blockers: vec![why()], ..Default::default() };
        let rebalance = pb::RebalanceResponse { refused: why(), ..Default::default() };
        let reply = pb::ControlReply { kind: Some(pb::control_reply::Kind::Refused(why())) };
        let error = RequestError::Refused(Refused::Invalid(why()));
        let kinds = [
            Kind::Members(members),
            Kind::Members(unsafe_one),
            Kind::Reset(reset),
            Kind::Rebalance(rebalance),
            Kind::Reply(reply),
            Kind::Error((&error).into()),
        ];
        kinds.into_iter().map(answer).collect()
    }

    #[test]
    fn nothing_is_refused_while_an_attempt_may_have_done_it() {
        for refusal in refusals() {
            assert_eq!(settled(refusal.clone(), false), refusal, "the first attempt: it is true");
            match error_of(&settled(refusal.clone(), true)) {
                Some(RequestError::Unknown(why)) => assert!(why.ends_with("it is so already"), "{why}"),
                other => panic!("{other:?} of {refusal:?}"),
            }
        }
    }

    #[test]
    fn what_is_done_is_done_whatever_became_of_earlier_attempts() {
        use control_response::Kind;
        let changed = pb::ChangedReply { epoch: 7, radiant: 0 };
        let reply = pb::ControlReply { kind: Some(pb::control_reply::Kind::Changed(changed)) };
        let blocked = vec!["a move waits".to_owned()];
        for kind in [
            Kind::Reply(reply),
            Kind::Members(pb::MemberResponse { done: true, dangers: blocked.clone(), ..Default::default() }),
            Kind::Rebalance(pb::RebalanceResponse { done: true, blockers: blocked, ..Default::default() }),
        ] {
            let done = answer(kind);
            assert_eq!(settled(done.clone(), true), done);
        }
    }

    #[test]
    fn questions_leave_nothing_open() {
        let asked = |kind| pb::ControlRequest { kind: Some(kind) };
        let members = |dry_run| {
            control_request::Kind::Members(pb::MemberRequest { dry_run, ..pb::MemberRequest::default() })
        };
        assert!(changes(&asked(members(false))) && !changes(&asked(members(true))));
        assert!(!changes(&asked(control_request::Kind::Migration(pb::MigrationRequest {}))));
    }
}
