//! What an operator asks of a cluster: moves of shards, seats for radiants, and how far they are.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_client::pb::member_request::Action;
use shardbearer_client::pb::move_request::{Kind, Plan as Aim};
use shardbearer_client::{Client, Error, pb};
use tokio::time::{Instant, sleep};

use super::harness::{Cluster, PATIENCE};

/// A migration is over so long after all radiants are ready, at the latest.
pub const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// For one question; radiants are killed and cut off.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(15);
/// Before what was refused is asked again.
const BREATH: Duration = Duration::from_millis(50);

/// Where an operator sits: any radiant that answers.
#[derive(Clone)]
pub struct Desk {
    client: Client,
}

impl Desk {
    pub async fn at(cluster: &Cluster) -> Desk {
        Desk { client: cluster.client().await.with_timeout(ANSWER_MAX) }
    }

    pub async fn status(&self) -> Option<pb::StatusResponse> {
        self.client.status().await.ok()
    }

    /// The only shard with so many rows, and its order.
    pub async fn shard_of(&self, rows: u64) -> (u64, u64) {
        let start = Instant::now();
        loop {
            let status = self.status().await.unwrap_or_default();
            if let Some(shard) = status.shards.iter().find(|shard| shard.rows >= rows) {
                return (shard.id, shard.order);
            }
            assert!(start.elapsed() < PATIENCE, "nobody tells where the rows are");
            sleep(BREATH).await;
        }
    }

    pub async fn ask(&self, kind: Kind) -> Result<Option<pb::Migration>, Error> {
        let why = "chaos".into();
        self.client.move_shard(pb::MoveRequest { kind: Some(kind), why, ..Default::default() }).await
    }

    pub async fn member(&self, action: Action, radiant: &str) -> Result<(), String> {
        let request =
            pb::MemberRequest { action: action.into(), radiant: radiant.into(), ..Default::default() };
        match self.client.member(request).await {
            Ok(answer) if answer.done => Ok(()),
            Ok(answer) => Err([answer.blockers, answer.dangers].concat().join("; ")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The migration under way, or one that is begun now.
    pub async fn begun(&self, dice: &mut StdRng) -> pb::Migration {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "no migration can be begun");
            let Some(status) = self.status().await else { continue };
            match &status.migration {
                Some(record) if !is_over(record) => return record.clone(),
                _ => {}
            }
            if let Some(aim) = any_move(&status, dice)
                && let Ok(Some(record)) = self.ask(Kind::Plan(aim)).await
                && !is_over(&record)
            {
                return record;
            }
            sleep(BREATH).await;
        }
    }

    /// Waits until this migration, or the last one if none is named, is over.
    pub async fn over(&self, id: Option<u64>, within: Duration) {
        let start = Instant::now();
        loop {
            let status = self.status().await;
            let last = status.as_ref().and_then(|status| status.migration.as_ref());
            let over = match (last, id) {
                // It is also over if another has begun since; radiants may not have heard of it yet.
                (Some(record), Some(id)) if record.id != id => record.id > id,
                (Some(record), _) => is_over(record),
                (None, _) => status.is_some() && id.is_none(),
            };
            if over {
                return;
            }
            assert!(start.elapsed() < within, "a migration does not end within {within:?}: {last:?}");
            sleep(LOOK).await;
        }
    }

    /// Waits until nobody is on the way out and every order has all its members.
    pub async fn settled(&self, within: Duration) {
        let start = Instant::now();
        loop {
            let status = self.status().await.unwrap_or_default();
            for radiant in status.radiants.iter().filter(|radiant| radiant.standing == "draining") {
                // Said again until it is heard.
                let _ = self.member(Action::Undrain, &radiant.name).await;
            }
            let draining = status.radiants.iter().any(|radiant| radiant.standing == "draining");
            if is_settled(&status) && !draining {
                return;
            }
            let state = (&status.orders, &status.radiants, &status.problems);
            assert!(start.elapsed() < within, "seats do not come to rest within {within:?}: {state:#?}");
            sleep(BREATH).await;
        }
    }

    /// Every migration of a shard, oldest first.
    pub async fn moves_of(&self, shard: u64) -> Vec<pb::Migration> {
        let start = Instant::now();
        loop {
            match self.client.explain(shard).await {
                Ok(all) => return all,
                Err(error) if start.elapsed() > PATIENCE => {
                    let status = self.status().await.map(|status| (status.orders, status.problems));
                    panic!("nobody tells of the moves of shard {shard}: {error}; {status:#?}")
                }
                Err(_) => {}
            }
            sleep(BREATH).await;
        }
    }

    /// Every migration there was.
    pub async fn all_moves(&self) -> Vec<pb::Migration> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.status().await {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "nobody tells of the shards");
        };
        let mut all = Vec::new();
        for shard in status.shards {
            all.extend(self.moves_of(shard.id).await);
        }
        all
    }
}

/// Whether all seats are taken, and nobody has one who is to give it away.
pub fn is_settled(status: &pb::StatusResponse) -> bool {
    let orders = &status.orders;
    let whole = |order: &pb::OrderStatus| {
        order.state == "ok" && order.members.len() == 3 && order.learners.is_empty()
    };
    let empty = |radiant: &pb::RadiantStatus| radiant.standing != "draining" || radiant.orders.is_empty();
    !orders.is_empty() && orders.iter().all(whole) && status.radiants.iter().all(empty)
}

/// A shard and another order; more often than not a shard that is read or written.
pub fn any_move(status: &pb::StatusResponse, dice: &mut StdRng) -> Option<Aim> {
    let orders: Vec<u64> =
        status.orders.iter().filter(|order| !order.control).map(|order| order.id).collect();
    let used = |shard: &&pb::ShardStatus| shard.writes_per_s + shard.reads_per_s > 0;
    let mut shards: Vec<&pb::ShardStatus> = status.shards.iter().filter(used).collect();
    if shards.is_empty() || dice.random_ratio(1, 4) {
        shards = status.shards.iter().collect();
    }
    if shards.is_empty() {
        return None;
    }
    let shard = shards[dice.random_range(0..shards.len())];
    let others: Vec<u64> = orders.into_iter().filter(|order| *order != shard.order).collect();
    (!others.is_empty()).then(|| Aim { shard: shard.id, to: others[dice.random_range(0..others.len())] })
}

/// Whether nothing remains to be done.
pub fn is_over(record: &pb::Migration) -> bool {
    matches!(record.phase.as_str(), "collected" | "returned")
}
