//! A flawed engine: a good one behind a handle that does one thing wrong.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::engine::{Applier, ConsensusEngine, EngineStatus};
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::RadiantId;
use shardbearer_core::log::LogPos;
use shardbearer_core::protocol::Configuration;

use super::Flaw;

pub struct Flawed {
    pub engine: Arc<dyn ConsensusEngine>,
    pub applier: Arc<dyn Applier>,
    pub flaw: Flaw,
    pub me: RadiantId,
}

/// After this a flawed engine has lost its patience.
const IMPATIENCE: Duration = Duration::from_millis(400);

/// Shorter than a sync of the kit's disks.
const HASTE: Duration = Duration::from_millis(4);

#[async_trait]
impl ConsensusEngine for Flawed {
    async fn propose(&self, entry: Bytes) -> Result<Bytes, RequestError> {
        match self.flaw {
            Flaw::AcceptsInAMinority => {
                match tokio::time::timeout(IMPATIENCE, self.engine.propose(entry)).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(Bytes::new()),
                }
            }
            // Gives up early on some, and calls it a refusal.
            Flaw::RefusesWhatItAppends if entry.last().is_some_and(|last| last % 3 == 0) => {
                match tokio::time::timeout(HASTE, self.engine.propose(entry)).await {
                    Ok(answer) => answer,
                    Err(_) => Err(Refused::Unavailable("too slow".into()).into()),
                }
            }
            // Says what it will most likely have to say anyway.
            Flaw::AcknowledgesInHaste => {
                let reply = [&[0; 8], &entry[..]].concat();
                let engine = self.engine.clone();
                let proposed = tokio::spawn(async move { engine.propose(entry).await });
                match tokio::time::timeout(HASTE, proposed).await {
                    Ok(answer) => answer.expect("it does not panic"),
                    Err(_) => Ok(reply.into()),
                }
            }
            Flaw::ProposesAgain => {
                match tokio::time::timeout(HASTE * 10, self.engine.propose(entry.clone())).await {
                    Ok(answer) => answer,
                    Err(_) => match self.engine.propose(entry).await {
                        // The first may have happened.
                        Err(RequestError::Refused(why)) => Err(RequestError::Unknown(why.to_string())),
                        answer => answer,
                    },
                }
            }
            Flaw::KeepsSubmitsWaiting => match self.engine.propose(entry).await {
                Err(RequestError::Unknown(_)) => std::future::pending().await,
                other => other,
            },
            Flaw::AnswersAfterItsEnd if self.engine.status().closed => Ok(Bytes::new()),
            Flaw::WaitsForEverybody => {
                let answer = self.engine.propose(entry).await?;
                let last = self.engine.status().last_log;
                let behind = |status: EngineStatus| {
                    let has = |member| {
                        status.matched.iter().any(|(known, index)| *known == member && *index >= last)
                    };
                    status.members.iter().any(|member| *member != self.me && !has(*member))
                };
                while behind(self.engine.status()) {
                    tokio::time::sleep(HASTE).await;
                }
                Ok(answer)
            }
            Flaw::DrawsFromElsewhere => {
                let lot = RandomState::new().hash_one(0) % 1_000;
                tokio::time::sleep(Duration::from_micros(lot * 20)).await;
                self.engine.propose(entry).await
            }
            _ => self.engine.propose(entry).await,
        }
    }

    async fn read_barrier(&self) -> Result<LogPos, RequestError> {
        match self.flaw {
            Flaw::ReadsWithoutBarrier => Ok(self.applier.applied().position),
            _ => self.engine.read_barrier().await,
        }
    }

    async fn receive(&self, from: RadiantId, frame: Bytes) -> Option<Bytes> {
        if self.flaw == Flaw::ChokesOnStrangers && from == RadiantId(u64::MAX) {
            return std::future::pending().await;
        }
        self.engine.receive(from, frame).await
    }

    async fn reconfigure(&self, members: Vec<RadiantId>) -> Result<(), RequestError> {
        match self.flaw {
            Flaw::ForgetsChangesOfMembers => Ok(()),
            _ => self.engine.reconfigure(members).await,
        }
    }

    async fn configure(&self, configuration: Configuration) -> Result<(), RequestError> {
        match self.flaw {
            Flaw::ForgetsChangesOfMembers => Ok(()),
            Flaw::TakesOldLists => match self.engine.configure(configuration).await {
                Err(RequestError::Refused(_)) => Ok(()),
                other => other,
            },
            _ => self.engine.configure(configuration).await,
        }
    }

    async fn hand_over(&self, to: RadiantId) -> Result<(), RequestError> {
        match self.flaw {
            Flaw::KeepsTheLead => Ok(()),
            _ => self.engine.hand_over(to).await,
        }
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        match self.flaw {
            Flaw::StandsForNothing => Ok(()),
            _ => self.engine.campaign().await,
        }
    }

    fn status(&self) -> EngineStatus {
        let status = self.engine.status();
        let leading = match self.flaw {
            Flaw::LeadsAlone => status.herald == Some(self.me),
            Flaw::LeadsWithTheHerald => status.herald.is_some(),
            _ => status.leading,
        };
        let mut members = status.members;
        if self.flaw == Flaw::HidesAMember {
            members.pop();
        }
        let complete = status.complete || self.flaw == Flaw::SaysThatItHasCaughtUp;
        EngineStatus { leading, members, complete, ..status }
    }

    async fn changed(&self, since: u64) -> EngineStatus {
        self.engine.changed(since).await
    }

    async fn close(&self) {
        self.engine.close().await;
    }
}
