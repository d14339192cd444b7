//! From commands to the orders that own their shards, and back.
//!
//! A command goes to the local order if this radiant leads it, otherwise over **one** hop to the radiant that
//! does, and no further. Routes are guesses: a wrong one is answered "not herald" or "wrong order", costs a
//! round, and is tried again until the deadline. Whatever may already have been applied is repeated
//! only under its request id.

mod journey;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_core::kv::{Command, Item, Refusal, Reply};
use shardbearer_core::limits;
use shardbearer_core::transport::{CallError, Channel, Frame, Transport};
use shardbearer_proto::{convert, pb};
use tokio::time::Instant;

use self::journey::{Journey, NEWS_WAIT, keep_order, patience};
use crate::kv::CallResult;
use crate::leads::Leads;
use crate::map::Map;
use crate::migrate::{Detour, Known};
use crate::order::registry::Registry;
use crate::order::{FAIR, Order, all};

/// How long one attempt over the hop may take; a herald that fell silent is asked again elsewhere.
const HOP_DEADLINE: Duration = Duration::from_secs(3);

/// How long a herald's answer is waited for once another has been elected: it may have stepped down in order, and
/// answer what it had begun.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Routes the commands of one radiant.
pub struct Router {
    /// This radiant.
    pub me: RadiantId,
    /// Who owns what.
    pub map: Arc<Map>,
    /// Who leads what.
    pub leads: Arc<Leads>,
    /// The local orders.
    pub orders: Arc<Registry>,
    /// Which shard may be elsewhere than the map says.
    pub migrations: Arc<Known>,
    /// To the others.
    pub transport: Arc<dyn Transport>,
    turn: AtomicUsize,
}

impl Router {
    /// A router of the radiant `me`.
    pub fn new(
        me: RadiantId,
        map: Arc<Map>,
        leads: Arc<Leads>,
        orders: Arc<Registry>,
        migrations: Arc<Known>,
        transport: Arc<dyn Transport>,
    ) -> Router {
        Router { me, map, leads, orders, migrations, transport, turn: AtomicUsize::new(0) }
    }

    /// Carries the items out, those of one shard in their order; a result each, within the deadline.
    pub async fn execute(&self, items: Vec<Item>, deadline: Duration) -> Vec<CallResult> {
        let end = Instant::now() + deadline;
        let mut journeys: Vec<Journey> = items.into_iter().map(Journey::new).collect();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let again = self.round(&mut journeys, left).await;
            if !again {
                break;
            }
            if Instant::now() >= end {
                break;
            }
            self.leads.changed(patience(&journeys)).await;
        }
        journeys.into_iter().map(Journey::arrive).collect()
    }

    /// One attempt for everything that has no final result. Returns whether anything is to be tried again.
    async fn round(&self, journeys: &mut [Journey], left: Duration) -> bool {
        let mut groups: Vec<(OrderId, Vec<usize>)> = Vec::new();
        let (detour, epoch) = (self.migrations.detour(), self.map.epoch());
        for (index, journey) in journeys.iter_mut().enumerate() {
            if journey.is_over() {
                continue;
            }
            // By a newer configuration another shard may have its keys, also if nobody has said so.
            let found = journey.found.replace(epoch);
            if journey.astray > 0 || found.is_some_and(|found| found != epoch) {
                self.find_anew(journey);
                if journey.is_over() {
                    continue;
                }
            }
            let crosses = detour.filter(|detour| detour.concerns(&journey.item));
            journey.lane = crosses.map_or(journey.item.shard, |detour| detour.shard);
            match self.whereabouts(journey, detour).filter(|(order, _)| !order.is_none()) {
                Some((order, shard)) => {
                    journey.asked = shard;
                    match groups.iter_mut().find(|(known, _)| *known == order) {
                        Some((_, indexes)) => indexes.push(index),
                        None => groups.push((order, vec![index])),
                    }
                }
                None => {
                    let why = format!("shard {} has no order", journey.item.shard);
                    journey.result = Some(Err(Refused::Unavailable(why).into()));
                }
            }
        }
        let attempts = groups.into_iter().map(|(order, indexes)| {
            let items: Vec<Item> = indexes.iter().map(|index| journeys[*index].for_order()).collect();
            async move { (indexes, self.attempt(order, items, left).await) }
        });
        // Collected first: the futures hold no borrow of the journeys.
        let mut attempts: Vec<_> = attempts.collect();
        let attempted = match attempts.len() {
            // As nearly always.
            0 | 1 => match attempts.pop() {
                Some(attempt) => vec![attempt.await],
                None => Vec::new(),
            },
            _ => join_all(attempts).await,
        };
        for (indexes, results) in attempted {
            for (index, result) in indexes.into_iter().zip(results) {
                journeys[index].advance(result);
            }
        }
        keep_order(journeys)
    }

    /// Looks once more for the shard of an item that was led astray, or found by an older configuration: it may have been split
    /// since.
    fn find_anew(&self, journey: &mut Journey) {
        let item = &journey.item;
        let locate = |key: &Bytes| self.map.relocate(item.shard, key);
        match (&item.command, item.command.key()) {
            (Command::Batch { commands, .. }, _) => {
                let shards = commands.iter().filter_map(Command::key).filter_map(locate).collect();
                journey.relocate(&shards);
            }
            (_, Some(key)) => {
                let shards = locate(key).into_iter().collect();
                journey.relocate(&shards);
            }
            // Whoever asked for the whole has to ask for its parts.
            (_, None) if item.until != 0 && journey.astray > 0 => {
                let extent = self.map.extent(item.shard);
                journey.outdated = extent.is_some_and(|extent| extent.until != item.until);
            }
            (_, None) => {}
        }
    }

    /// The order to try next, and the shard to ask it for: the one that the map names; of a shard that changes hands, its two
    /// orders in turns, and of one that is being split, both of its parts.
    fn whereabouts(&self, journey: &Journey, detour: Option<Detour>) -> Option<(OrderId, ShardId)> {
        let item = &journey.item;
        let owner = self.map.owner(item.shard)?;
        let Some(detour) = detour.filter(|detour| detour.from == owner && detour.concerns(item)) else {
            return Some((owner, item.shard));
        };
        let decided = detour.since > self.map.epoch();
        let elsewhere = decided || journey.astray % 2 == 1;
        Some(if elsewhere { (detour.to, detour.shard) } else { (owner, item.shard) })
    }

    /// One attempt at one order, which need not own the items' shards.
    pub async fn attempt(&self, order: OrderId, items: Vec<Item>, mut left: Duration) -> Vec<CallResult> {
        if let Some(local) = self.orders.find(order)
            && local.engine().status().leading
        {
            return self.carry_out(&local, items, left).await;
        }
        if let Some(local) = self.orders.find(order).filter(|local| local.reads_here(&items)) {
            // One way less than to the herald. Whoever cannot say what holds, or not soon, leaves it to him.
            let before = Instant::now();
            if let Some(answers) = local.read_here(&items, left).await {
                return answers;
            }
            left = left.saturating_sub(before.elapsed());
        }
        let known = self.leads.herald(order).filter(|herald| *herald != self.me);
        match known.or_else(|| self.somebody_of(order)) {
            Some(herald) => self.forward(order, herald, items, left).await,
            None => {
                let why = format!("order {order} has no herald at the moment");
                all(items.len(), Refused::Unavailable(why).into())
            }
        }
    }

    /// Has a local order carry items out. Those of a shard that it has stopped serving never get into its log: they would
    /// be refused there, after everybody had waited for them.
    async fn carry_out(&self, local: &Order, items: Vec<Item>, left: Duration) -> Vec<CallResult> {
        let gives =
            |detour: &Detour| detour.from == local.id() && !(detour.split.is_some() && detour.collected);
        let leaving = self.migrations.detour().filter(gives);
        let stopped = |item: &Item| {
            leaving.is_some_and(|detour| detour.source() == item.shard)
                && !matches!(item.command, Command::Migrate(_))
        };
        if !items.iter().any(stopped) || leaving.is_some_and(|detour| local.serves(detour.source())) {
            return local.execute(items, left).await;
        }
        let refused: Vec<bool> = items.iter().map(stopped).collect();
        let rest: Vec<Item> = items.into_iter().filter(|item| !stopped(item)).collect();
        let mut results = match rest.is_empty() {
            true => Vec::new(),
            false => local.execute(rest, left).await,
        }
        .into_iter();
        let wrong = || Ok(Reply::Refused(Refusal::WrongOrder));
        let missing = || Err(RequestError::Unknown("no result".into()));
        refused
            .into_iter()
            .map(|refused| if refused { wrong() } else { results.next().unwrap_or_else(missing) })
            .collect()
    }

    /// A member to ask who leads, each in its turn. A radiant that is a member itself hears of a herald as soon as
    /// they do, and need not ask, as long as its seat is open.
    fn somebody_of(&self, order: OrderId) -> Option<RadiantId> {
        if self.orders.find(order).is_some_and(|local| !local.engine().status().closed) {
            return None;
        }
        let topology = self.map.topology();
        let members = &topology.order(order)?.members;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        members.get(turn.checked_rem(members.len())?).copied().filter(|member| *member != self.me)
    }

    async fn forward(
        &self,
        order: OrderId,
        herald: RadiantId,
        items: Vec<Item>,
        left: Duration,
    ) -> Vec<CallResult> {
        let count = items.len();
        let patience = left.min(HOP_DEADLINE);
        let request = pb::ForwardRequest {
            items: items.iter().map(Into::into).collect(),
            deadline_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            order: order.0,
        };
        let frame = Frame { channel: Channel::Forward, body: request.encode_to_vec().into() };
        let answer = tokio::select! {
            biased;
            answer = self.transport.call(herald, frame, patience) => answer,
            () = self.superseded(order, herald) => {
                // Repeated there under its request id, instead of waiting for somebody who is paused or cut off.
                let why = format!("radiant {herald} fell silent, and another herald was elected");
                return all(count, RequestError::Unknown(why));
            }
        };
        let results = match answer {
            Ok(bytes) => match results_from_bytes(bytes) {
                Some(results) if results.len() == count => results,
                Some(_) | None => all(count, RequestError::Unknown("an answer that makes no sense".into())),
            },
            Err(CallError::Unreachable { why, .. }) => {
                self.leads.doubt(order, herald, None);
                all(count, Refused::Unavailable(format!("radiant {herald}: {why}")).into())
            }
            Err(CallError::Unknown { why, .. }) => {
                if patience >= FAIR {
                    self.leads.doubt(order, herald, None);
                }
                all(count, RequestError::Unknown(format!("radiant {herald}: {why}")))
            }
        };
        if let Some(Err(RequestError::Refused(Refused::NotHerald { hint, .. }))) = results.first() {
            self.leads.doubt(order, herald, *hint);
        }
        results
    }

    /// Waits until another herald has been known for a moment.
    async fn superseded(&self, order: OrderId, herald: RadiantId) {
        while self.leads.herald(order).is_none_or(|known| known == herald) {
            self.leads.changed(NEWS_WAIT).await;
        }
        tokio::time::sleep(LAST_WORDS).await;
    }

    /// The far end of the hop: carries items out here, or says that this is not the place.
    pub async fn receive_forward(&self, body: Bytes) -> Option<Bytes> {
        let request = pb::ForwardRequest::decode(body).ok()?;
        let items = request.items.into_iter().map(Item::try_from).collect::<Result<Vec<_>, _>>().ok()?;
        let count = items.len();
        let writes: Vec<bool> = items.iter().map(|item| item.command.is_write()).collect();
        let order = OrderId(request.order);
        let deadline = Duration::from_millis(u64::from(request.deadline_ms).min(limits::REQUEST_MS_MAX));
        let results = match self.orders.find(order) {
            Some(local) => self.carry_out(&local, items, deadline).await,
            None => {
                let hint = self.leads.herald(order);
                all(count, Refused::NotHerald { order, hint }.into())
            }
        };
        Some(fit(results, &writes))
    }
}

/// The results as bytes that fit a message. What has to be left out of them is said: a read did not happen as far as
/// its caller is concerned, but a write did.
fn fit(mut results: Vec<CallResult>, writes: &[bool]) -> Bytes {
    const FITS: usize = limits::MESSAGE_BYTES_MAX / 8 * 7;
    // Measured before it is written: what does not fit may be larger than the memory.
    let length = |results: &[CallResult]| response(results).encoded_len();
    let bytes = length(&results);
    if bytes <= FITS {
        return results_to_bytes(&results);
    }
    let why = format!("the answers have {bytes} bytes together; ask for fewer keys at once");
    for (result, _) in results.iter_mut().zip(writes).filter(|(_, write)| !**write) {
        *result = Err(Refused::Invalid(why.clone()).into());
    }
    if length(&results) > FITS {
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = Err(RequestError::Unknown(why.clone()));
        }
    }
    results_to_bytes(&results)
}

fn response(results: &[CallResult]) -> pb::ForwardResponse {
    pb::ForwardResponse { results: results.iter().map(Into::into).collect() }
}

/// Results as they travel back to the radiant that forwarded their items.
pub(crate) fn results_to_bytes(results: &[CallResult]) -> Bytes {
    response(results).encode_to_vec().into()
}

/// The inverse of [`results_to_bytes`]; none if one of them makes no sense.
pub(crate) fn results_from_bytes(bytes: Bytes) -> Option<Vec<CallResult>> {
    let response = pb::ForwardResponse::decode(bytes).ok()?;
    response.results.into_iter().map(|result| convert::result_from_wire(result).ok()).collect()
}
