//! Requests as clients send them; see [`crate::fuzzing`].

use shardbearer_core::error::Refused;
use shardbearer_proto::pb;

use super::translate::understand;

/// Every call of a request has its result, in its place, whatever the door says.
pub fn execute(request: pb::ExecuteRequest) {
    let (tag, calls) = (request.tag, request.calls.len());
    let answer = match understand(request) {
        Ok(asked) => {
            assert_eq!(asked.calls.len() + asked.refused.len(), calls, "a call was lost");
            let (sent, slots) = asked.split();
            let results = vec![Err(Refused::Closed.into()); sent.len()];
            let answer = slots.fill(&mut results.into_iter());
            assert_eq!(answer.results.len(), calls, "each call has a result");
            answer
        }
        Err(answer) => answer,
    };
    assert_eq!(answer.tag, tag, "the answer is to this request");
}
