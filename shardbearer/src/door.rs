//! The door for data behind every gateway: limits, targets, request ids, deadlines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{OrderId, RadiantId, ShardId};
use shardbearer_core::kv::{Command, Item, Reply, Row, Scan};
use shardbearer_core::limits;
use shardbearer_core::topology::Topology;
use shardbearer_proto::convert::client_may_send;
use tokio::time::Instant;

use crate::kv::{Call, CallResult, Door, Request, Target};
use crate::map::{Extent, extents_of};
use crate::router::Router;
use crate::sessions::Sessions;

/// Shards scanned by one request over a hop: their pages together must fit a message.
const SCAN_SHARDS_AT_ONCE: usize = 8;

/// The door of one radiant.
pub struct DataDoor {
    router: Arc<Router>,
    sessions: Arc<Sessions>,
    value_bytes_max: usize,
}

impl DataDoor {
    /// A door over the router.
    pub fn new(router: Arc<Router>, sessions: Arc<Sessions>, value_bytes_max: usize) -> Self {
        DataDoor { router, sessions, value_bytes_max }
    }

    /// The item of a call for a single shard, or why there is none.
    fn item(&self, table: &str, call: Call) -> Result<Item, RequestError> {
        let Call { id, cluster, target, command } = call;
        if cluster.is_some_and(|asked| asked != self.router.map.topology().cluster) {
            let why = "it was sent to another cluster before, which may have done it; this one cannot know";
            return Err(Refused::Invalid(why.into()).into());
        }
        client_may_send(&command, self.value_bytes_max).map_err(Refused::Invalid)?;
        let (shard, until) = match target {
            Target::Shard(Extent { shard, until }) => (shard, until),
            Target::Key | Target::Table => (self.shard_of(table, &command)?, 0),
        };
        Ok(Item { shard, id, until, command })
    }

    fn shard_of(&self, table: &str, command: &Command) -> Result<ShardId, RequestError> {
        let unknown = || Refused::Invalid(format!("there is no table {table:?}"));
        let locate =
            |key: &Bytes| self.router.map.locate(table, key).map(|shard| shard.id).ok_or_else(unknown);
        let key = command.key().ok_or_else(|| Refused::Invalid("the command names no key".into()))?;
        let shard = locate(key)?;
        if let Command::Batch { commands, .. } = command {
            for key in commands.iter().filter_map(Command::key) {
                if locate(key)? != shard {
                    let why =
                        "the keys of an atomic batch must be of one shard; give them the same {hash tag}";
                    return Err(Refused::Invalid(why.into()).into());
                }
            }
        }
        Ok(shard)
    }

    /// Carries out calls of which each concerns one shard, or what has become of it.
    async fn single(&self, table: &str, calls: Vec<Call>, deadline: Duration) -> Vec<CallResult> {
        if !calls.iter().any(|call| matches!(call.target, Target::Shard(_))) {
            // As nearly always.
            return self.attempt(table, calls, deadline).await;
        }
        let whole = |call: &Call| match call.target {
            Target::Shard(extent) if is_of_whole(&call.command) => Some((extent, call.command.clone())),
            Target::Shard(_) | Target::Key | Target::Table => None,
        };
        let wholes: Vec<_> = calls.iter().map(whole).collect();
        let end = Instant::now() + deadline;
        let mut results = self.attempt(table, calls, deadline).await;
        for (result, whole) in results.iter_mut().zip(wholes) {
            let Some((known, command)) = whole else { continue };
            if !matches!(result, Err(RequestError::Refused(Refused::WrongOrder { .. }))) {
                continue;
            }
            // It was split while this was on its way: all that came of it is asked, with what time is left.
            let extents = self.router.map.extents(known);
            if extents != [known] {
                let left = end.saturating_duration_since(Instant::now());
                *result = Box::pin(self.all_of(table, &extents, &command, left)).await;
            }
        }
        results
    }

    /// Carries out calls of which each concerns one shard.
    async fn attempt(&self, table: &str, calls: Vec<Call>, deadline: Duration) -> Vec<CallResult> {
        let count = calls.len();
        let (mut items, mut tickets) = (Vec::with_capacity(count), Vec::with_capacity(count));
        // Of those that are no items, by their place.
        let mut refused: BTreeMap<usize, RequestError> = BTreeMap::new();
        for (index, call) in calls.into_iter().enumerate() {
            match self.item(table, call) {
                Ok(mut item) => {
                    if item.id.is_none() && item.command.is_write() {
                        let ticket = self.sessions.next(item.shard);
                        item.id = Some(ticket.id());
                        tickets.push(ticket);
                    }
                    items.push(item);
                }
                Err(error) => drop(refused.insert(index, error)),
            }
        }
        let results = match items.is_empty() {
            true => Vec::new(),
            false => self.router.execute(items, deadline).await,
        };
        if refused.is_empty() && results.len() == count {
            return results;
        }
        let mut results = results.into_iter();
        let mut next = || results.next().unwrap_or_else(|| Err(RequestError::Unknown("no result".into())));
        (0..count).map(|index| refused.remove(&index).map_or_else(&mut next, Err)).collect()
    }

    /// A command for every shard of the table.
    async fn whole_table(&self, table: &str, command: &Command, deadline: Duration) -> CallResult {
        client_may_send(command, self.value_bytes_max).map_err(Refused::Invalid)?;
        let topology = self.router.map.topology();
        let Some(described) = topology.table(table) else {
            return Err(Refused::Invalid(format!("there is no table {table:?}")).into());
        };
        self.all_of(table, &extents_of(described), command, deadline).await
    }

    /// A command for every one of these shards.
    async fn all_of(
        &self,
        table: &str,
        shards: &[Extent],
        command: &Command,
        deadline: Duration,
    ) -> CallResult {
        match command {
            Command::Scan(scan) => self.scan(table, shards, scan, deadline).await,
            Command::Count => self.count(table, shards, deadline).await,
            Command::Clear => self.clear(table, shards, deadline).await,
            _ => Err(Refused::Invalid("this command concerns a key, not a table".into()).into()),
        }
    }

    async fn each(
        &self,
        table: &str,
        shards: &[Extent],
        command: Command,
        deadline: Duration,
    ) -> Vec<CallResult> {
        let call = |extent: &Extent| Call { target: Target::Shard(*extent), ..Call::new(command.clone()) };
        self.single(table, shards.iter().map(call).collect(), deadline).await
    }

    async fn count(&self, table: &str, shards: &[Extent], deadline: Duration) -> CallResult {
        let (mut rows, mut bytes) = (0, 0);
        for result in self.each(table, shards, Command::Count, deadline).await {
            if let Reply::Count { rows: more_rows, bytes: more_bytes } = result? {
                rows += more_rows;
                bytes += more_bytes;
            }
        }
        Ok(Reply::Count { rows, bytes })
    }

    async fn clear(&self, table: &str, shards: &[Extent], deadline: Duration) -> CallResult {
        let mut any = false;
        for result in self.each(table, shards, Command::Clear, deadline).await {
            any |= matches!(result?, Reply::Touched { changed: true });
        }
        Ok(Reply::Touched { changed: any })
    }

    /// Merges the shards' pages in key order. Rows behind the end of a page that has more behind it are not
    /// settled yet: the next page will bring them.
    async fn scan(&self, table: &str, shards: &[Extent], scan: &Scan, deadline: Duration) -> CallResult {
        let rows_max = bounded(scan.limit as usize, limits::PAGE_ROWS_MAX);
        let bytes_max = bounded(usize::try_from(scan.bytes).unwrap_or(usize::MAX), limits::PAGE_BYTES_MAX);
        let share = |whole: usize, least: usize| (whole * 2 / shards.len().max(1)).max(least.min(whole));
        let part = Scan {
            limit: u32::try_from(share(rows_max, 32)).unwrap_or(u32::MAX),
            bytes: share(bytes_max, 64 << 10) as u64,
            ..scan.clone()
        };
        let groups = shards.chunks(SCAN_SHARDS_AT_ONCE);
        let pages = groups.map(|group| self.each(table, group, Command::Scan(part.clone()), deadline));
        let mut rows: Vec<Row> = Vec::new();
        let mut settled: Option<Bytes> = None;
        for result in futures_util::future::join_all(pages).await.into_iter().flatten() {
            let Reply::Page { rows: page, more } = result? else {
                return Err(Refused::Unavailable("a shard did not answer the scan with a page".into()).into());
            };
            if let (true, Some(last)) = (more, page.last()) {
                let last = last.key.clone();
                settled = Some(settled.map_or(last.clone(), |least| least.min(last)));
            }
            rows.extend(page);
        }
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let total = rows.len();
        if let Some(settled) = &settled {
            rows.retain(|row| row.key <= *settled);
        }
        let mut bytes = 0;
        let fits = rows.iter().take(rows_max).take_while(|row| {
            bytes += row.key.len() + row.record.value.len();
            bytes <= bytes_max || bytes == row.key.len() + row.record.value.len()
        });
        let count = fits.count();
        rows.truncate(count);
        Ok(Reply::Page { more: settled.is_some() || rows.len() < total, rows })
    }
}

/// Whether a command concerns all of a shard.
fn is_of_whole(command: &Command) -> bool {
    matches!(command, Command::Scan(_) | Command::Count | Command::Clear)
}

fn bounded(asked: usize, most: usize) -> usize {
    if asked == 0 { most } else { asked.min(most) }
}

#[async_trait]
impl Door for DataDoor {
    async fn execute(&self, request: Request) -> Vec<CallResult> {
        let deadline = request.deadline.min(Duration::from_millis(limits::REQUEST_MS_MAX));
        let end = Instant::now() + deadline;
        let left = || end.saturating_duration_since(Instant::now());
        let Request { table, calls, .. } = request;
        let of_table = |call: &Call| call.target == Target::Table;
        if !calls.iter().any(of_table) {
            return self.single(&table, calls, deadline).await;
        }
        // Whole tables are barriers between runs of single calls.
        let (mut results, mut run) = (Vec::with_capacity(calls.len()), Vec::new());
        for call in calls {
            if !of_table(&call) {
                run.push(call);
                continue;
            }
            if !run.is_empty() {
                results.extend(self.single(&table, std::mem::take(&mut run), left()).await);
            }
            results.push(self.whole_table(&table, &call.command, left()).await);
        }
        if !run.is_empty() {
            results.extend(self.single(&table, run, left()).await);
        }
        results
    }

    fn topology(&self) -> Arc<Topology> {
        self.router.map.topology()
    }

    fn me(&self) -> RadiantId {
        self.router.me
    }

    fn herald(&self, order: OrderId) -> Option<RadiantId> {
        let lost = |herald: &RadiantId| self.router.transport.has_just_lost(*herald);
        self.router.leads.herald(order).filter(|herald| !lost(herald))
    }

    fn locate(&self, table: &str, key: &[u8]) -> Option<(ShardId, OrderId)> {
        self.router.map.locate(table, key).map(|shard| (shard.id, shard.order))
    }
}
