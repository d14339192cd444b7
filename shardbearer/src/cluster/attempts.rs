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
    matches!(request.kind, Some(Command(_) | Members(_) | Rebalance(_) | Reset(_)))
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
