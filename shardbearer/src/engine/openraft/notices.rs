//! News of commits ride with the next entries.
//!
//! openraft tells a follower of each commit at once, in a request without entries, and sends requests to one follower one
//! after the other. Under load the next entries are ready before that one is answered: each batch would cost two rounds
//! instead of one, and wait for the first. So a request without entries waits a moment for one that has some, which says the
//! same and more. A follower then applies a little later; nobody waits for it, since heralds answer.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, timeout_at};

use super::types::Types;

/// Longer than a busy order takes from one batch to the next, and much shorter than a heartbeat.
const WAIT: Duration = Duration::from_millis(2);

type Request = AppendEntriesRequest<Types>;

/// The requests of `all` that must be sent, in order. The first always is: it probes.
///
/// Dropping one is sound because it was never sent when a later one is answered: what openraft then takes for the time of
/// its sending, for its lease, is before that of the later one.
pub fn worth_sending<S>(all: S) -> impl Stream<Item = Request> + OptionalSend + Unpin + 'static
where
    S: Stream<Item = Request> + OptionalSend + Unpin + 'static,
{
    let begin = Some((all.fuse(), true));
    Box::pin(futures_util::stream::unfold(begin, |state| async move {
        let (mut all, first) = state?;
        let mut request = all.next().await?;
        let end = Instant::now() + WAIT;
        while !first && request.entries.is_empty() {
            match timeout_at(end, all.next()).await {
                Ok(Some(later)) => request = later,
                Ok(None) | Err(_) => break,
            }
        }
        Some((request, Some((all, false))))
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use openraft::EntryPayload;

    use super::*;
    use crate::engine::openraft::types::{Entry, Vote, log_id_of};

    fn request(entries: usize, commit: u64) -> Request {
        let log_id = |index| log_id_of(1, index);
        let entries = (1..=entries as u64)
            .map(|index| Entry { log_id: log_id(commit + index), payload: EntryPayload::Blank })
            .collect();
        Request {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(log_id(commit)),
            entries,
            leader_commit: Some(log_id(commit)),
        }
    }

    fn shape(request: &Request) -> (usize, Option<u64>) {
        (request.entries.len(), request.leader_commit.map(|commit| commit.index))
    }

    async fn sent(all: impl Stream<Item = Request> + Send + Unpin + 'static) -> Vec<(usize, Option<u64>)> {
        worth_sending(all).map(|request| shape(&request)).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_rides_with_the_entries_behind_it() {
        let all = [request(0, 1), request(2, 1), request(0, 3), request(0, 4), request(1, 5)];
        assert_eq!(sent(stream::iter(all)).await, [(0, Some(1)), (2, Some(1)), (1, Some(5))]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_company_it_goes_alone_and_soon() {
        let begin = Instant::now();
        let all = stream::iter([request(1, 1), request(0, 2)]).chain(stream::pending());
        let mut all = worth_sending(all);
        assert_eq!(all.next().await.as_ref().map(shape), Some((1, Some(1))));
        assert_eq!(all.next().await.as_ref().map(shape), Some((0, Some(2))));
        assert!(begin.elapsed() <= 2 * WAIT, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_one_is_not_lost() {
        assert_eq!(sent(stream::iter([request(1, 1), request(0, 2)])).await, [(1, Some(1)), (0, Some(2))]);
    }
}
