//! The client: carries a command to whoever can execute it, until it has a result or no time is left.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use shardbearer_core::error::Refused;
use shardbearer_core::kv::{Command, Reply};
use shardbearer_core::limits;
use shardbearer_core::slots::slot_of;
use shardbearer_core::topology::Topology;
use shardbearer_proto::convert::{client_may_send, cluster_to_call};
use shardbearer_proto::pb;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::builder::Builder;
use crate::error::Error;
use crate::link::Parcel;
use crate::map::Refresher;
use crate::retry::{Journey, Next};
use crate::route::{Links, Routes};
use crate::session::{Sessions, Ticket};
use crate::stream::MARGIN_MAX;

/// Room for framing beside the commands in a message.
const FRAMING_BYTES: usize = 256 << 10;

/// At most what a call may take.
pub(crate) fn clamped(timeout: Duration) -> Duration {
    // Shards rely on it that no attempt is older than this when they forget a session.
    timeout.min(Duration::from_millis(limits::REQUEST_MS_MAX))
}

/// What clones of a client share.
pub(crate) struct Inner {
    pub(crate) links: Arc<Links>,
    pub(crate) routes: Arc<ArcSwap<Routes>>,
    pub(crate) refresher: Arc<Refresher>,
    pub(crate) task: AbortHandle,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) permits: Semaphore,
    pub(crate) attempt_timeout: Duration,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A handle to the cluster. Clones share connections and sessions; make one and clone it.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
    pub(crate) table: Arc<str>,
    pub(crate) timeout: Duration,
}

impl Client {
    /// Connects with defaults.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), shardbearer_client::Error> {
    /// let client = shardbearer_client::Client::connect(["127.0.0.1:7400", "127.0.0.1:7401"]).await?;
    /// client.put("user:1", "Ada").await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Result<Client, Error> {
        endpoints.into_iter().fold(Client::builder(), Builder::endpoint).connect().await
    }

    /// For everything that has a default.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client for another table. The first is called `default`.
    #[must_use]
    pub fn table(&self, name: &str) -> Client {
        Client { table: name.into(), ..self.clone() }
    }

    /// The same client with another timeout for its calls; at most 60 s.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout: clamped(timeout), ..self.clone() }
    }

    /// Carries out any command. A write takes effect at most once, however often it had to be sent; if it took
    /// effect, its answer is that of the one time.
    ///
    /// The future may be dropped at any time; whether a write then happens is unknown.
    pub async fn execute(&self, command: Command) -> Result<Reply, Error> {
        client_may_send(&command, limits::GROWN_VALUE_BYTES_MAX).map_err(Error::invalid)?;
        let weight = command.weight();
        if weight > limits::MESSAGE_BYTES_MAX - FRAMING_BYTES {
            return Err(Error::invalid(format!("the command has {weight} bytes, too many for one message")));
        }
        let end = Instant::now() + self.timeout;
        // `Clear` over a table becomes one write per shard, which cannot share one number.
        let numbered = command.is_write() && command.key().is_some();
        let mut journey = Journey::new(command.is_write(), numbered);
        let Ok(Ok(_permit)) = tokio::time::timeout_at(end, self.inner.permits.acquire()).await else {
            return Err(journey.give_up());
        };
        let slot = command.key().map_or(0, |key| slot_of(key));
        let mut ticket = match numbered {
            true => match tokio::time::timeout_at(end, self.inner.sessions.ticket(slot)).await {
                Ok(ticket) => Some(ticket),
                Err(_) => return Err(journey.give_up()),
            },
            false => None,
        };
        let wire = pb::Command::from(&command);
        let mut avoid: Option<String> = None;
        loop {
            let next = self.attempt(&mut journey, ticket.as_ref(), &command, &wire, end, &mut avoid).await;
            let again = match next {
                Next::Done(result) => return result,
                Next::Again(again) => again,
            };
            if let Some((order, herald)) = again.lead {
                self.inner.routes.rcu(|routes| routes.with_lead(order, herald));
            }
            if again.renew && ticket.is_some() {
                ticket = match tokio::time::timeout_at(end, self.inner.sessions.ticket(slot)).await {
                    Ok(ticket) => Some(ticket),
                    Err(_) => return Err(journey.give_up()),
                };
                journey.renewed();
            }
            if !again.elsewhere {
                avoid = None;
            }
            if again.refresh {
                self.inner.refresher.want();
            }
            let wait = if again.at_once { Duration::ZERO } else { journey.wait() };
            // An attempt whose answer may not make it in time could turn a refusal into an unknown outcome.
            if Instant::now() + wait + MARGIN_MAX.min(self.timeout / 8) >= end {
                return Err(journey.give_up());
            }
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One attempt. Afterwards `avoid` names whom it asked.
    async fn attempt(
        &self,
        journey: &mut Journey,
        ticket: Option<&Ticket>,
        command: &Command,
        wire: &pb::Command,
        end: Instant,
        avoid: &mut Option<String>,
    ) -> Next {
        let inner = &self.inner;
        let routes = inner.routes.load_full();
        let preferred = routes.address(&self.table, command);
        let Some(link) = inner.links.choose(&routes, preferred, avoid.as_deref()) else {
            return Next::Done(Err(Error::Refused(Refused::Unavailable("no radiant is known".into()))));
        };
        let alone = journey.alone();
        let retry = journey.begin();
        let id = ticket.map(|ticket| (&ticket.id(retry)).into());
        let cluster = cluster_to_call(journey.cluster_asked(routes.topology.cluster));
        let parcel = Parcel {
            table: self.table.clone(),
            call: pb::Call { id, command: Some(wire.clone()), cluster },
            weight: command.weight(),
            is_write: command.is_write(),
            alone,
        };
        let now = Instant::now();
        let patience = match command.key() {
            Some(_) => inner.attempt_timeout,
            // A whole table takes its time; asking again would only add to the load.
            None => inner.attempt_timeout.max(end.saturating_duration_since(now) / 2),
        };
        let until = end.min(now + patience);
        *avoid = Some(link.address.clone());
        match link.call(parcel, until).await {
            Some(outcome) => journey.judge(outcome),
            None => {
                if until < end {
                    link.doubt();
                }
                journey.timed_out()
            }
        }
    }

    /// The cluster's configuration as last heard; at most some seconds old.
    pub fn topology(&self) -> Arc<Topology> {
        self.inner.routes.load().topology.clone()
    }

    /// Radiants, orders and shards with their health, as one radiant sees them.
    pub async fn status(&self) -> Result<pb::StatusResponse, Error> {
        self.inner
            .refresher
            .ask(self.timeout, |mut admin| async move { admin.status(pb::StatusRequest {}).await })
            .await
    }

    /// Moves a shard to another order, or halts, resumes, calls off or undoes that. Returns the record of the migration as
    /// soon as the control order has taken the request; a refusal is [`Error::Refused`]. How it goes on is told by
    /// [`Client::status`].
    pub async fn move_shard(&self, request: pb::MoveRequest) -> Result<Option<pb::Migration>, Error> {
        let ask = |mut admin: crate::map::Admin| {
            let request = request.clone();
            async move { admin.r#move(request).await }
        };
        let answer = self.inner.refresher.ask_to_change(self.timeout, ask).await?;
        match answer.refused.is_empty() {
            true => Ok(answer.migration),
            false => Err(Error::Refused(shardbearer_core::error::Refused::Invalid(answer.refused))),
        }
    }

    /// Every configuration the cluster has had, oldest first: when, who, why.
    pub async fn epochs(&self) -> Result<Vec<pb::EpochRecord>, Error> {
        let mut all: Vec<pb::EpochRecord> = Vec::new();
        let mut from = 0;
        loop {
            // So few that they fit into a message.
            let asked = pb::EpochsRequest { from, limit: 1_000 };
            let ask = |mut admin: crate::map::Admin| async move { admin.epochs(asked).await };
            let page = self.inner.refresher.ask(self.timeout, ask).await?;
            all.extend(page.epochs);
            match all.last().filter(|_| page.more).and_then(|last| last.epoch.checked_add(1)) {
                // Whoever does not get on is asked no more.
                Some(next) if next > from => from = next,
                Some(_) | None => return Ok(all),
            }
        }
    }

    /// One configuration of the past, whole; its record is absent if there was no such epoch.
    pub async fn epoch_at(&self, epoch: u64) -> Result<pb::EpochAtResponse, Error> {
        let ask =
            |mut admin: crate::map::Admin| async move { admin.epoch_at(pb::EpochAtRequest { epoch }).await };
        self.inner.refresher.ask(self.timeout, ask).await
    }

    /// Takes back what one epoch changed, by new epochs, or says what would come of it.
    pub async fn revert(&self, request: pb::RevertRequest) -> Result<pb::RevertResponse, Error> {
        let ask = |mut admin: crate::map::Admin| {
            let request = request.clone();
            async move { admin.revert(request).await }
        };
        self.inner.refresher.ask_to_change(self.timeout, ask).await
    }

    /// What all radiants remember of elections, epochs, moves and failures, in one order.
    pub async fn timeline(&self) -> Result<pb::TimelineResponse, Error> {
        let ask = |mut admin: crate::map::Admin| async move { admin.timeline(pb::TimelineRequest {}).await };
        self.inner.refresher.ask(self.timeout, ask).await
    }

    /// Spreads shards over the orders, says how that is to be done, or what would come of it. What is refused is told in
    /// the answer.
    pub async fn rebalance(&self, request: pb::RebalanceRequest) -> Result<pb::RebalanceResponse, Error> {
        let ask = |mut admin: crate::map::Admin| {
            let request = request.clone();
            async move { admin.rebalance(request).await }
        };
        self.inner.refresher.ask_to_change(self.timeout, ask).await
    }

    /// Every move of a shard, oldest first: why, what else could have been done, what came of it.
    pub async fn explain(&self, shard: u64) -> Result<Vec<pb::Migration>, Error> {
        let ask =
            |mut admin: crate::map::Admin| async move { admin.explain(pb::ExplainRequest { shard }).await };
        Ok(self.inner.refresher.ask(self.timeout, ask).await?.moves)
    }

    /// Gives a radiant another part in the cluster, or says what would come of it.
    pub async fn member(&self, request: pb::MemberRequest) -> Result<pb::MemberResponse, Error> {
        let ask = |mut admin: crate::map::Admin| {
            let request = request.clone();
            async move { admin.member(request).await }
        };
        self.inner.refresher.ask_to_change(self.timeout, ask).await
    }

    /// Has an order that lost its majority for good begin anew from its furthest member, or says what that would lose.
    pub async fn reset(&self, request: pb::ResetRequest) -> Result<pb::ResetResponse, Error> {
        let ask = async |mut admin: crate::map::Admin| admin.reset(request.clone()).await;
        self.inner.refresher.ask_to_change(self.timeout, ask).await
    }
}
