//! What the scherald does: one move at a time, while somebody or the policy wants it; and afterwards what came of it.

use shardbearer_core::control::{Change, ControlCommand, ControlReply};
use shardbearer_core::ids::Epoch;
use shardbearer_core::migration::Migration;
use shardbearer_core::rebalancing::{Mode, RebalanceChange};
use shardbearer_core::topology::Topology;
use shardbearer_state::controller;
use shardbearer_state::migration::Overseer;
use shardbearer_state::placement::rebalance::{Move, Pace, Plan, Share, shares};

use super::super::Cluster;
use super::super::control::ControlSeat;
use super::{in_force, is_led, plan, sight};

/// After a move its effect is measured so much later: the rates that heralds tell have taken it in by then.
const MEASURE_MS: u64 = 10_000;

/// What the scherald remembers of the moves that were made.
#[derive(Default)]
pub(in super::super) struct Spread {
    pace: Pace,
    overseer: Overseer,
}

/// What to do next, and for whom.
struct Next {
    change: Change,
    who: String,
    why: String,
}

impl Spread {
    /// Begins anew with the moves, as somebody who has just become the scherald.
    pub(in super::super) fn begin(&mut self) {
        self.pace = Pace::default();
    }

    /// Looks, while another is the scherald, whether the orders of a move have heralds: who becomes it then need not wait anew for
    /// one that is gone. Who hears nobody is cut off itself, and knows nothing of them.
    pub(in super::super) fn look(&mut self, cluster: &Cluster, hears: bool) {
        let under_way = cluster.migrations.last().filter(|last| hears && !last.phase.is_over());
        match under_way {
            Some(last) => self.overseer.look(last.id, led_of(cluster, &last), now_ms(cluster)),
            None => self.overseer = Overseer::default(),
        }
    }

    /// Does the next thing, if there is any. Returns what should be done and cannot be, a sentence each.
    pub(in super::super) async fn step(&mut self, cluster: &Cluster, seat: &ControlSeat) -> Vec<String> {
        let topology = in_force(cluster, seat);
        let last = match controller::migration(seat.applier.view().as_ref()) {
            Ok(last) => last,
            Err(error) => {
                tracing::error!("{error}");
                return Vec::new();
            }
        };
        let now_ms = now_ms(cluster);
        let data = topology.orders.iter().filter(|order| !order.id.is_control());
        let led = data.map(|order| (order.id, is_led(cluster, order.id))).collect();
        self.pace.see(now_ms, &topology.policy, led, last.as_ref());
        if let Some(last) = last.as_ref().filter(|last| !last.phase.is_over()) {
            self.overseer.look(last.id, led_of(cluster, last), now_ms);
            if let Some((change, why)) = self.overseer.duty(last, now_ms) {
                tracing::warn!(migration = %last.id, shard = %last.shard, "{change:?}: {why}");
                let change = Change::Migration(change);
                propose(cluster, seat, Next { change, who: "scherald".into(), why }).await;
            }
            return Vec::new();
        }
        let (next, blockers) = self.next(cluster, &topology, now_ms);
        let next = next.or_else(|| self.measured(cluster, &topology, last.as_ref()?, now_ms));
        if let Some(next) = next {
            propose(cluster, seat, next).await;
        }
        blockers
    }

    fn next(&mut self, cluster: &Cluster, topology: &Topology, now_ms: u64) -> (Option<Next>, Vec<String>) {
        let policy = &topology.policy;
        let empty = policy.removing.iter().find(|order| topology.shards_of(**order).is_empty());
        if let Some(order) = empty.copied() {
            let change = Change::Rebalance(RebalanceChange::Removed { order });
            let why = "it is empty, and was to be removed".into();
            return (Some(Next { change, who: "scherald".into(), why }), Vec::new());
        }
        if policy.paused {
            return (None, Vec::new());
        }
        if let Some(mode) = policy.running {
            let Plan { moves, blockers, .. } = plan(cluster, topology, mode);
            let first = self.first(moves, now_ms).map(|made| moving(made, topology.epoch, mode));
            let done = || Next {
                change: Change::Rebalance(RebalanceChange::Run(None)),
                who: "scherald".into(),
                why: match blockers.first() {
                    None => "the plan is carried out".into(),
                    Some(blocker) => format!("no more can be done: {blocker}"),
                },
            };
            return (Some(first.unwrap_or_else(done)), blockers);
        }
        if policy.mode.is_automatic() {
            let Plan { moves, blockers, .. } = plan(cluster, topology, policy.mode);
            let first = self.first(moves, now_ms);
            if self.pace.may_begin(now_ms, policy.mode, cluster.membership.rest, first.is_some()) {
                return (first.map(|made| moving(made, topology.epoch, policy.mode)), blockers);
            }
            return (None, blockers);
        }
        if !policy.removing.is_empty() {
            let Plan { mut moves, blockers, .. } = plan(cluster, topology, Mode::Count);
            moves.retain(|made| policy.removing.contains(&made.from));
            let first = self.first(moves, now_ms).map(|made| moving(made, topology.epoch, Mode::Count));
            return (first, blockers);
        }
        (None, Vec::new())
    }

    /// The first move of a shard whose last one did not fail a moment ago.
    fn first(&self, moves: Vec<Move>, now_ms: u64) -> Option<Move> {
        moves.into_iter().find(|made| !self.pace.avoids(now_ms, made.shard))
    }

    /// What the last migration has changed, once that can be told.
    fn measured(
        &self,
        cluster: &Cluster,
        topology: &Topology,
        last: &Migration,
        now_ms: u64,
    ) -> Option<Next> {
        let (id, ago_ms) = self.pace.ended(now_ms)?;
        let due_ms = MEASURE_MS.min(cluster.membership.rest.cool_down_ms);
        if id != last.id || ago_ms < due_ms || controller::is_measured(last) {
            return None;
        }
        let shares = shares(&sight(cluster, topology), &[]);
        let of = |order| {
            shares.iter().find(|share: &&Share| share.id == order).map_or(0, |share| share.load_before)
        };
        let percent = |load: u64| load as f64 / 10_000.0;
        let effect = format!(
            "{:.0} s later order {} has {:.1} % of the load, order {} has {:.1} %",
            ago_ms as f64 / 1_000.0,
            last.from,
            percent(of(last.from)),
            last.to,
            percent(of(last.to))
        );
        let change = Change::Rebalance(RebalanceChange::Measured { id, effect });
        Some(Next { change, who: "scherald".into(), why: "so that moves can be judged".into() })
    }
}

fn now_ms(cluster: &Cluster) -> u64 {
    cluster.world.monotonic_ns() / 1_000_000
}

fn led_of(cluster: &Cluster, migration: &Migration) -> [bool; 2] {
    [migration.from, migration.to].map(|order| is_led(cluster, order))
}

fn moving(made: Move, on: Epoch, mode: Mode) -> Next {
    let Move { shard, to, why, reason, .. } = made;
    Next {
        change: Change::Rebalance(RebalanceChange::Move { on, shard, to, reason }),
        who: format!("rebalance by {}", mode.name()),
        why,
    }
}

async fn propose(cluster: &Cluster, seat: &ControlSeat, next: Next) {
    let Next { change, who, why } = next;
    let at_ms = cluster.world.wall_ms();
    let command = ControlCommand { who, why, at_ms, change };
    match seat.propose(&command).await {
        Ok(ControlReply::Changed { epoch, .. }) => {
            tracing::info!(%epoch, "decided, because {}", command.why);
            cluster.hurry.notify_one();
        }
        // What was looked at is not what is in force any more: the next look shows it.
        Ok(ControlReply::Refused(why)) => tracing::debug!("not taken: {why}"),
        Err(error) => tracing::debug!("not taken: {error}"),
    }
}
