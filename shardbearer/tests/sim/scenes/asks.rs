//! What operators ask in scenarios, of the radiant of their choice.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shardbearer::cluster::control;
use shardbearer::gateway::Overview as _;
use shardbearer::node::Running;
use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{Epoch, OrderId, RadiantId, ShardId};
use shardbearer_core::migration::Phase;
use shardbearer_core::topology::Topology;
use shardbearer_proto::pb;
use shardbearer_proto::pb::member_request::Action;
use shardbearer_proto::pb::{control_request, control_response, move_request, rebalance_request};
use tokio::sync::oneshot;

use super::Scene;

impl Scene {
    /// Has a radiant do something, in its own life as its gateways would; `None` if it died meanwhile.
    async fn at<T, F>(&self, number: usize, work: impl FnOnce(Arc<Running>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (running, life) = self.machine(number).running()?;
        let (sender, answer) = oneshot::channel();
        let work = work(running);
        life.spawn("operator", async move {
            // Nobody may wait any more.
            let _ = sender.send(work.await);
        });
        answer.await.ok()
    }

    /// Asks for something about moves; an error is a sentence.
    pub async fn ask_move(&self, at: usize, kind: move_request::Kind) -> Result<pb::Migration, String> {
        let request = pb::MoveRequest { kind: Some(kind), ..pb::MoveRequest::default() };
        let asked = move |running: Arc<Running>| async move { running.cluster.migrate(request).await };
        let answer = self.at(at, asked).await.ok_or("it died")?.map_err(|error| error.to_string())?;
        if answer.refused.is_empty() {
            answer.migration.ok_or("no record".into())
        } else {
            Err(answer.refused)
        }
    }

    /// Asks for the move of a shard.
    pub async fn plan(&self, at: usize, shard: ShardId, to: OrderId) -> Result<u64, String> {
        let plan = move_request::Plan { shard: shard.0, to: to.0 };
        Ok(self.ask_move(at, move_request::Kind::Plan(plan)).await?.id)
    }

    /// How a radiant knows that the migration ended, if it did.
    pub fn ended(&self, at: usize, id: u64) -> Option<Phase> {
        let last = self.running(at).cluster.migrations.last()?;
        (last.id.0 >= id && last.phase.is_over()).then_some(last.phase)
    }

    /// Moves a shard, and waits until all who run know that it is over.
    pub async fn moved(&self, at: usize, shard: ShardId, to: OrderId) {
        let id = self.plan(at, shard, to).await.unwrap_or_else(|why| panic!("shard {shard} to {to}: {why}"));
        self.eventually("the move is over", || self.ended(at, id) == Some(Phase::Collected)).await;
    }

    /// Asks for something about orders; an error is a sentence.
    pub async fn ask_orders(
        &self,
        at: usize,
        kind: rebalance_request::Kind,
    ) -> Result<pb::RebalanceResponse, String> {
        let request = pb::RebalanceRequest { kind: Some(kind), force: true, ..Default::default() };
        let asked = move |running: Arc<Running>| async move { running.cluster.rebalance(request).await };
        let answer = self.at(at, asked).await.ok_or("it died")?.map_err(|error| error.to_string())?;
        if answer.done { Ok(answer) } else { Err(answer.refused) }
    }

    /// Makes an order of these radiants; its id.
    pub async fn create(&self, at: usize, engine: &str, members: &[usize]) -> OrderId {
        let members = members.iter().map(|number| self.id(*number).0).collect();
        let create = pb::NewOrder { engine: engine.into(), members };
        let created = self.ask_orders(at, rebalance_request::Kind::Create(create)).await;
        OrderId(created.unwrap_or_else(|why| panic!("no order: {why}")).order)
    }

    /// Asks for something about a radiant; an error is a sentence.
    pub async fn ask_member(&self, at: usize, action: Action, number: usize) -> Result<(), String> {
        let radiant = self.machine(number).name.clone();
        let request = pb::MemberRequest { action: action.into(), radiant, ..Default::default() };
        let asked = move |running: Arc<Running>| async move { running.cluster.member(request).await };
        let answer = self.at(at, asked).await.ok_or("it died")?.map_err(|error| error.to_string())?;
        if answer.done { Ok(()) } else { Err(answer.blockers.join("; ")) }
    }

    /// Proposes a change to the control order as a scherald would, from any radiant; the epoch that it made.
    pub async fn propose(&self, at: usize, change: Change) -> Result<Epoch, String> {
        let at_ms = self.cluster.universe.wall_ms();
        let command = ControlCommand { who: format!("r{at}"), why: "it wants to".into(), at_ms, change };
        let kind = Some(control_request::Kind::Command((&command).into()));
        let proposed = move |running: Arc<Running>| async move {
            control::request(&running.cluster, pb::ControlRequest { kind }, Duration::from_secs(3)).await
        };
        match self.at(at, proposed).await.and_then(|answer| answer.kind) {
            Some(control_response::Kind::Reply(reply)) => match ControlReply::try_from(reply) {
                Ok(ControlReply::Changed { epoch, .. }) => Ok(epoch),
                Ok(ControlReply::Refused(why)) => Err(why),
                Err(error) => Err(error.to_string()),
            },
            other => Err(format!("{other:?}")),
        }
    }

    /// Every epoch with its record and its whole configuration, as a radiant is told them.
    pub async fn history(&self, at: usize) -> Vec<pb::EpochAtResponse> {
        let told = |running: Arc<Running>| async move {
            let epochs = running.cluster.epochs().await?;
            let mut history = Vec::new();
            for record in epochs {
                history.push(running.cluster.epoch_at(record.epoch).await?);
            }
            Ok::<_, RequestError>(history)
        };
        let told = self.at(at, told).await.unwrap_or_else(|| panic!("r{at} died"));
        told.unwrap_or_else(|why| panic!("r{at} cannot tell what was: {why}"))
    }

    /// Tags of keys, so many for each shard of an order.
    pub fn tags(&self, order: OrderId, each: usize) -> Vec<Bytes> {
        let running = (0..self.cluster.machines.len()).find_map(|number| self.machine(number).running());
        let (running, _) = running.expect("somebody runs");
        let mut found: BTreeMap<ShardId, Vec<Bytes>> = BTreeMap::new();
        let shards = running.cluster.map.topology().shards_of(order);
        for tag in (0..).map(|number| Bytes::from(format!("{{tag-{number}}}"))) {
            let (shard, owner) = running.door.locate("default", &tag).expect("there is a table");
            let tags = found.entry(shard).or_default();
            if owner == order && tags.len() < each {
                tags.push(tag);
            }
            if shards.iter().all(|shard| found.get(shard).is_some_and(|tags| tags.len() == each)) {
                break;
            }
        }
        found.into_values().flatten().collect()
    }

    /// The id of a radiant that runs.
    pub fn id(&self, number: usize) -> RadiantId {
        self.running(number).cluster.me
    }

    /// The radiants with a seat in an order, as the first that runs knows it.
    pub fn seats(&self, order: OrderId) -> Vec<usize> {
        let machines = 0..self.cluster.machines.len();
        let up: Vec<usize> = machines.filter(|number| self.machine(*number).running().is_some()).collect();
        let topology = self.topology(up[0]);
        let members = &topology.order(order).unwrap_or_else(|| panic!("there is no order {order}")).members;
        up.into_iter().filter(|number| members.contains(&self.id(*number))).collect()
    }

    /// Who leads an order, by its own engine.
    pub fn herald(&self, order: OrderId) -> Option<usize> {
        (0..self.cluster.machines.len()).find(|number| {
            let running = self.machine(*number).running();
            let engine = running.and_then(|(running, _)| running.cluster.engine(order));
            engine.is_some_and(|engine| engine.status().leading)
        })
    }
}

/// Whether nothing is on its way: no order changes its members or is to go.
pub fn at_rest(topology: &Topology) -> bool {
    topology.orders.iter().all(|order| !order.is_changing()) && topology.policy.removing.is_empty()
}
