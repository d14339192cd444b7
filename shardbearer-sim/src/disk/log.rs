//! The log of one machine: readable at once, durable after a sync that all writes of its time share.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rand::Rng;
use rand::rngs::StdRng;
use shardbearer_core::ids::OrderId;
use shardbearer_core::log::{Bounds, LogDone, LogError, LogPos, LogRecord, LogStore, LogWrite};

use super::points::Deed;
use super::{Disk, Flaw, Trouble};
use crate::lock;
use crate::world::Life;

/// One order's log.
#[derive(Clone, Debug, Default)]
struct OrderLog {
    purged: LogPos,
    entries: VecDeque<LogRecord>,
    hard: Option<Bytes>,
}

impl OrderLog {
    fn last(&self) -> LogPos {
        self.entries.back().map_or(self.purged, |record| record.position)
    }

    fn all(&self) -> (LogPos, Vec<LogRecord>) {
        (self.purged, self.entries.iter().cloned().collect())
    }

    fn apply(&mut self, write: &LogWrite, flaw: Option<Flaw>) -> Result<(), LogError> {
        match write {
            LogWrite::Append(record) => {
                let last = self.last();
                let empty = last == LogPos::default() || flaw == Some(Flaw::CutsTooMuch);
                if record.position.index != last.index + 1 && !empty {
                    let why = format!("{:?} does not follow {last:?}", record.position);
                    return Err(LogError::Misuse(why));
                }
                self.entries.push_back(record.clone());
            }
            LogWrite::Truncate { from } => {
                let from = from - u64::from(flaw == Some(Flaw::CutsTooMuch));
                self.entries.retain(|record| record.position.index < from);
            }
            LogWrite::Hard(hard) => self.hard = Some(hard.clone()),
            LogWrite::Purge { upto } => {
                self.entries.retain(|record| record.position.index > upto.index);
                self.purged = self.purged.max(*upto);
            }
        }
        Ok(())
    }
}

enum Change {
    Writes(Vec<LogWrite>),
    Remove,
}

impl Change {
    fn settle(&self, order: OrderId, durable: &mut BTreeMap<OrderId, OrderLog>, flaw: Option<Flaw>) {
        match self {
            Change::Writes(writes) => {
                let log = durable.entry(order).or_default();
                for write in writes {
                    log.apply(write, flaw).expect("was applied to the live log before");
                }
            }
            Change::Remove => drop(durable.remove(&order)),
        }
    }
}

/// What is in the log, on disk and on the way there.
#[derive(Default)]
pub(super) struct LogState {
    live: BTreeMap<OrderId, OrderLog>,
    durable: BTreeMap<OrderId, OrderLog>,
    pending: VecDeque<(OrderId, Change, Option<LogDone>)>,
    syncing: bool,
}

impl LogState {
    pub(super) fn durable(&self, order: OrderId) -> (LogPos, Vec<LogRecord>) {
        self.durable.get(&order).map(OrderLog::all).unwrap_or_default()
    }

    pub(super) fn live(&self, order: OrderId) -> (LogPos, Vec<LogRecord>) {
        self.live.get(&order).map(OrderLog::all).unwrap_or_default()
    }

    /// All entries that are durable, in a stable order.
    pub(super) fn durable_positions(&self) -> Vec<(OrderId, LogPos)> {
        let entries = |(order, log): (&OrderId, &OrderLog)| {
            let order = *order;
            log.entries.iter().map(move |record| (order, record.position)).collect::<Vec<_>>()
        };
        self.durable.iter().flat_map(entries).collect()
    }

    /// All hard states that are durable, in a stable order.
    pub(super) fn durable_hard(&self) -> Vec<(OrderId, Bytes)> {
        self.durable.iter().filter_map(|(order, log)| Some((*order, log.hard.clone()?))).collect()
    }

    fn settle(&mut self, count: usize, flaw: Option<Flaw>) -> Vec<LogDone> {
        let mut done = Vec::new();
        // Fewer are left if an order was removed meanwhile.
        for (order, change, report) in self.pending.drain(..count.min(self.pending.len())) {
            change.settle(order, &mut self.durable, flaw);
            done.extend(report);
        }
        done
    }

    /// What a loss of power now would leave: a prefix of what was not synced is there.
    pub(super) fn fork(&self, rng: &mut StdRng, flaw: Option<Flaw>) -> LogState {
        let mut durable = self.durable.clone();
        let kept = rng.random_range(0..=self.pending.len());
        for (order, change, _) in self.pending.iter().take(kept) {
            change.settle(*order, &mut durable, flaw);
        }
        LogState { live: durable.clone(), durable, ..LogState::default() }
    }

    /// Keeps a prefix of what was not synced. Returns how many writes were kept and lost.
    pub(super) fn crash(&mut self, rng: &mut StdRng, flaw: Option<Flaw>) -> (usize, usize) {
        let total = self.pending.len();
        let kept = rng.random_range(0..=total);
        // Nobody who waited is left.
        drop(self.settle(kept, flaw));
        self.pending.clear();
        self.syncing = false;
        if flaw == Some(Flaw::ForgetsHardState) {
            self.durable.values_mut().for_each(|log| log.hard = None);
        }
        self.live = self.durable.clone();
        (kept, total - kept)
    }
}

/// The log as one life sees it.
pub struct SimLog {
    disk: Arc<Disk>,
    life: Arc<Life>,
}

impl SimLog {
    pub(super) fn open(disk: Arc<Disk>, life: Arc<Life>) -> Arc<SimLog> {
        Arc::new(SimLog { disk, life })
    }

    fn died() -> LogError {
        LogError::Poisoned("the radiant is dead".into())
    }

    fn check(&self) -> Result<(), LogError> {
        if self.life.is_dead() {
            return Err(SimLog::died());
        }
        let mut state = lock(&self.disk.state);
        let trouble = state.trouble;
        match trouble {
            Trouble::None => Ok(()),
            // Others are taken, and fail when they are to be durable.
            Trouble::Failing if state.rng.random_bool(0.5) => Err(LogError::Io("the disk fails".into())),
            Trouble::Failing | Trouble::Unreadable | Trouble::Damaged | Trouble::FailingData => Ok(()),
            // Others go to segments that have their room.
            Trouble::NoRoom if state.rng.random_bool(0.5) => {
                drop(state);
                self.disk.universe.trace.cover("no room for the log");
                Err(LogError::Full("no space left on the disk".into()))
            }
            Trouble::NoRoom => Ok(()),
        }
    }

    /// Syncs until nothing waits.
    async fn sync(disk: Arc<Disk>, life: Arc<Life>) {
        loop {
            let count = {
                let mut state = lock(&disk.state);
                let count = state.log.pending.len();
                state.log.syncing = count > 0;
                count
            };
            if count == 0 {
                return;
            }
            disk.sync_takes().await;
            let failing = lock(&disk.state).trouble == Trouble::Failing;
            if failing {
                // Nothing that waited became durable, and nothing ever will in this life.
                let pending: Vec<_> = {
                    let mut state = lock(&disk.state);
                    // What comes now fails in its turn.
                    state.log.syncing = false;
                    state.log.pending.iter_mut().filter_map(|(_, _, report)| report.take()).collect()
                };
                disk.universe.trace.cover("sync failed");
                let fail = |report: LogDone| report(Err(LogError::Io("the sync failed".into())));
                pending.into_iter().for_each(fail);
                return;
            }
            if disk.pass(&life, Deed::SyncLog, false) {
                return;
            }
            let done = lock(&disk.state).log.settle(count, disk.flaw);
            if disk.pass(&life, Deed::SyncLog, true) {
                return;
            }
            done.into_iter().for_each(|report| report(Ok(())));
        }
    }

    fn enqueue(&self, order: OrderId, change: Change, report: Option<LogDone>) {
        let start = {
            let mut state = lock(&self.disk.state);
            state.log.pending.push_back((order, change, report));
            !std::mem::replace(&mut state.log.syncing, true)
        };
        if start {
            self.life.spawn("log-sync", SimLog::sync(self.disk.clone(), self.life.clone()));
        }
    }
}

impl LogStore for SimLog {
    fn write(&self, order: OrderId, writes: Vec<LogWrite>, done: LogDone) -> Result<(), LogError> {
        self.check()?;
        let passes =
            |after| writes.iter().any(|write| self.disk.pass(&self.life, Deed::of_write(write), after));
        if passes(false) {
            return Err(SimLog::died());
        }
        {
            let mut state = lock(&self.disk.state);
            let log = state.log.live.entry(order).or_default();
            // Whole or not at all.
            let mut changed = log.clone();
            for write in &writes {
                changed.apply(write, self.disk.flaw)?;
            }
            *log = changed;
        }
        let now = self.disk.universe.now_ms();
        for write in &writes {
            let (what, bytes) = match write {
                LogWrite::Append(record) => ("append", record.payload.clone()),
                LogWrite::Hard(hard) => ("hard", hard.clone()),
                LogWrite::Truncate { .. } => ("truncate", Bytes::new()),
                LogWrite::Purge { .. } => ("purge", Bytes::new()),
            };
            self.disk.universe.trace.bytes(now, what, &bytes);
            match write {
                LogWrite::Truncate { .. } => self.disk.universe.trace.cover("log truncated"),
                LogWrite::Purge { .. } => self.disk.universe.trace.cover("log compacted"),
                LogWrite::Append(_) | LogWrite::Hard(_) => {}
            }
        }
        let deeds: Vec<Deed> = writes.iter().map(Deed::of_write).collect();
        if self.disk.flaw == Some(Flaw::AcksBeforeDurable) {
            self.enqueue(order, Change::Writes(writes), None);
            self.life.spawn("log-lie", async move { done(Ok(())) });
        } else {
            self.enqueue(order, Change::Writes(writes), Some(done));
        }
        // As far as it is written, it may be durable or not.
        if deeds.into_iter().any(|deed| self.disk.pass(&self.life, deed, true)) {
            return Err(SimLog::died());
        }
        Ok(())
    }

    fn entries(
        &self,
        order: OrderId,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        match self.disk.unreadable() {
            Some((what, true)) => {
                let (file, what) = ("the segment".to_owned(), what.to_owned());
                return Err(LogError::Corrupt { file, offset: 0, what });
            }
            Some((why, false)) => return Err(LogError::Io(why.into())),
            None => {}
        }
        let state = lock(&self.disk.state);
        let Some(log) = state.log.live.get(&order) else { return Ok(Vec::new()) };
        if range.start <= log.purged.index && log.purged.index > 0 {
            return Ok(Vec::new());
        }
        let wanted = log.entries.iter().filter(|record| range.contains(&record.position.index));
        let mut found: Vec<LogRecord> = Vec::new();
        let mut bytes = 0;
        for record in wanted {
            bytes += record.payload.len();
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(record.clone());
        }
        drop(state);
        self.disk.check_entries(order, &found)?;
        Ok(found)
    }

    fn bounds(&self, order: OrderId) -> Bounds {
        let state = lock(&self.disk.state);
        state.log.live.get(&order).map_or_else(Bounds::default, |log| Bounds {
            purged: log.purged,
            last: log.last(),
            hard: log.hard.clone(),
        })
    }

    fn orders(&self) -> Vec<OrderId> {
        lock(&self.disk.state).log.live.keys().copied().collect()
    }

    fn remove(&self, order: OrderId) -> Result<(), LogError> {
        self.check()?;
        lock(&self.disk.state).log.live.remove(&order);
        // Durable when it returns, and so is all before it.
        let done = {
            let mut state = lock(&self.disk.state);
            if state.trouble == Trouble::Failing {
                return Err(LogError::Io("the disk fails".into()));
            }
            state.log.pending.push_back((order, Change::Remove, None));
            let count = state.log.pending.len();
            state.log.settle(count, self.disk.flaw)
        };
        self.life.spawn("log-removed", async move { done.into_iter().for_each(|report| report(Ok(()))) });
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        self.orders().into_iter().map(|order| self.held_bytes(order)).sum()
    }

    fn held_bytes(&self, order: OrderId) -> u64 {
        let state = lock(&self.disk.state);
        let entries = state.log.live.get(&order).map(|log| &log.entries);
        entries.into_iter().flatten().map(|record| record.payload.len() as u64).sum()
    }
}
