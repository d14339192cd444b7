//! Reads at a member that is not the herald: for how long it is waited for, and when not at all.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::kv::{Refusal, Reply};
use tokio::time::Instant;

use super::*;
use crate::engine::stub::{Manner, Stub};
use crate::order::Order;

/// Answers barriers, or refuses, or says nothing; counts how often it is asked.
struct Member {
    answers: Option<Result<LogPos, RequestError>>,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Manner for Member {
    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match &self.answers {
            Some(answer) => answer.clone(),
            None => std::future::pending().await,
        }
    }
}

const LEFT: Duration = Duration::from_millis(300);

/// What a read came to that had so much time, how long it took and how often the engine had been asked, twice in a row.
async fn twice(
    answers: Option<Result<LogPos, RequestError>>,
    left: [Duration; 2],
) -> [(bool, Duration, usize); 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let asked = Arc::<AtomicUsize>::default();
    let engine = Arc::new(Stub(Member { answers, asked: asked.clone() }));
    let (world, _) = Real::create();
    let order = Order::new(ORDER, RadiantId(1), engine, true, replica(folder.path()), world, Arc::default());
    let item = Item { shard: SHARD, id: None, until: 0, command: Command::Get { key: "key".into() } };
    let mut seen = Vec::new();
    for left in left {
        let start = Instant::now();
        let answers = order.read_here(std::slice::from_ref(&item), left).await;
        if let Some(answers) = &answers {
            assert_eq!(*answers, [Ok(Reply::Refused(Refusal::WrongOrder))], "the shard is not here");
        }
        seen.push((answers.is_some(), start.elapsed(), asked.load(Ordering::Relaxed)));
    }
    seen.try_into().expect("two")
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_waited_for_a_third_of_the_time_and_then_left_alone() {
    let [first, second] = twice(None, [LEFT; 2]).await;
    assert!(!first.0 && first.1 >= Duration::from_millis(100) && first.1 < Duration::from_millis(120));
    assert_eq!((second.0, second.1, second.2), (false, Duration::ZERO, 1), "it is not asked again");
}

#[tokio::test(start_paused = true)]
async fn who_refuses_is_asked_again_and_who_knows_answers() {
    let refused = twice(Some(Err(Refused::Closed.into())), [LEFT; 2]).await;
    assert_eq!(refused.map(|(answered, _, asked)| (answered, asked)), [(false, 1), (false, 2)]);
    let answered = twice(Some(Ok(LogPos::default())), [LEFT; 2]).await;
    assert_eq!(answered.map(|(answered, _, asked)| (answered, asked)), [(true, 1), (true, 2)]);
}

#[tokio::test(start_paused = true)]
async fn who_had_no_time_to_answer_is_asked_again() {
    let hurried = twice(None, [Duration::from_millis(3), LEFT]).await;
    assert_eq!(hurried.map(|(answered, _, asked)| (answered, asked)), [(false, 1), (false, 2)]);
}
