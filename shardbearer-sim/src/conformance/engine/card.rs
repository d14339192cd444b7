//! The card of an engine: what it claims, and what three members of it were measured to do in a fair network on the kit's
//! disks. Times are virtual where the subject allows it, so they compare protocols, not machines.

use std::fmt;
use std::time::Duration;

use shardbearer_core::ids::RadiantId;
use tokio::time::Instant;

use super::super::Broken;
use super::group::Group;
use super::{Lab, Subject, in_runtime};

/// Writes and reads measured, and leaders that fail.
const WRITES: u32 = 100;
const READS: u32 = 20;
const FAILOVERS: usize = 5;

/// The largest group whose failures are tried.
pub const SIZES: usize = 7;

/// A group that acknowledges nothing for so many election timeouts does not survive.
const SILENCE: u32 = 20;

/// How a barrier comes to be linearizable, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Not at all: the engine does not claim it.
    None,
    /// Nobody was asked: the leader holds a lease.
    Lease,
    /// The others were asked: a read index.
    ReadIndex,
    /// An entry went through the log.
    LogEntry,
}

impl Means {
    /// A name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Means::None => "none",
            Means::Lease => "lease",
            Means::ReadIndex => "read-index",
            Means::LogEntry => "log-entry",
        }
    }
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// Its name.
    pub engine: &'static str,
    /// Linearizable reads, by what means.
    pub linearizable_reads: Means,
    /// Whether a follower answers a barrier.
    pub follower_reads: bool,
    /// Members can change.
    pub membership_change: bool,
    /// Who is far behind gets an image.
    pub snapshots: bool,
    /// Failures that groups of one to [`SIZES`] survived: so many lost their power one after the other, the leader
    /// first, and a write was acknowledged after each. `None` where the engine refuses that many members.
    pub survives: [Option<usize>; SIZES],
    /// Members of the group in which the rest was measured: three, or one.
    pub members: usize,
    /// Frames sent for one write of such a group, heartbeats taken off, answers included.
    pub messages_per_write: f64,
    /// Syncs of all disks for one write that is alone.
    pub syncs_per_write: f64,
    /// Frames in one election timeout of members that have nothing to do.
    pub idle_messages: f64,
    /// From the leader's loss of power to the next acknowledged write, with the default times; `None` if there is
    /// none before it is back.
    pub failover_ms: Option<u64>,
    /// The longest of them.
    pub failover_ms_max: Option<u64>,
}

/// Measures an engine.
///
/// # Errors
/// If it does not do what is measured at all.
pub fn measure(subject: &Subject) -> Result<Card, Broken> {
    let lab = Lab::new(subject);
    in_runtime(subject, measured(&lab))
}

async fn measured(lab: &Lab<'_>) -> Result<Card, Broken> {
    let capabilities = lab.capabilities();
    let mut group = lab.found(3).await?;
    group.converge().await?;
    let idle = idle(&group).await;
    let (messages_per_write, syncs_per_write) = writes(&group, idle).await?;
    let linearizable_reads =
        if capabilities.linearizable_reads { means(&group, idle).await? } else { Means::None };
    let leader = group.leader().await?;
    let follower = group.up().into_iter().find(|id| *id != leader);
    let follower_reads = match follower {
        Some(id) => group.read(id).await.is_ok(),
        None => false,
    };
    let mut survives = [None; SIZES];
    for (count, survived) in (1..).zip(&mut survives) {
        *survived = survived_by(lab, count).await?;
    }
    let failovers = match survives[2] {
        Some(1..) => failovers(&mut group).await?,
        Some(0) | None => Vec::new(),
    };
    let milliseconds = |duration: &Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(Card {
        engine: lab.factory().name(),
        linearizable_reads,
        follower_reads,
        membership_change: capabilities.reconfigure,
        snapshots: capabilities.snapshots,
        survives,
        members: group.all().len(),
        messages_per_write,
        syncs_per_write,
        idle_messages: idle * group.timing().election_max.as_secs_f64(),
        failover_ms: failovers.get(failovers.len() / 2).map(milliseconds),
        failover_ms_max: failovers.last().map(milliseconds),
    })
}

/// How many members of a group fail one after the other until it acknowledges nothing any more.
async fn survived_by(lab: &Lab<'_>, count: usize) -> Result<Option<usize>, Broken> {
    if lab.factory().refuses(count).is_some() {
        return Ok(None);
    }
    let mut group = lab.found(count as u64).await?;
    group.write().await?;
    for failures in 0..count {
        let leader = group.leader().await?;
        group.crash(leader);
        let rest = group.up();
        let silence = group.timing().election_max * SILENCE;
        let written = tokio::time::timeout(silence, group.write_to(&rest)).await;
        if !matches!(written, Ok(Ok(_))) {
            return Ok(Some(failures));
        }
    }
    Ok(Some(count))
}

/// Frames a second of a group that has nothing to do.
async fn idle(group: &Group<'_>) -> f64 {
    let (frames, start) = (group.net.frames(), Instant::now());
    group.pass(20).await;
    (group.net.frames() - frames) as f64 / start.elapsed().as_secs_f64()
}

/// Messages and syncs for one write.
async fn writes(group: &Group<'_>, idle: f64) -> Result<(f64, f64), Broken> {
    let (frames, syncs, start) = (group.net.frames(), group.syncs(), Instant::now());
    for _ in 0..WRITES {
        group.write().await?;
    }
    let sent = (group.net.frames() - frames) as f64 - idle * start.elapsed().as_secs_f64();
    let synced = (group.syncs() - syncs) as f64;
    Ok((sent.max(0.0) / f64::from(WRITES), synced / f64::from(WRITES)))
}

/// By what means the leader answers reads.
async fn means(group: &Group<'_>, idle: f64) -> Result<Means, Broken> {
    let leader = group.leader().await?;
    let (frames, log, start) = (group.net.frames(), group.status(leader).last_log, Instant::now());
    for _ in 0..READS {
        let read = group.read(leader).await;
        read.map_err(|error| Broken(format!("the leader does not answer a read: {error}")))?;
    }
    let sent = (group.net.frames() - frames) as f64 - idle * start.elapsed().as_secs_f64();
    Ok(match group.status(leader).last_log > log {
        true => Means::LogEntry,
        false if sent >= f64::from(READS) => Means::ReadIndex,
        false => Means::Lease,
    })
}

/// How long the order stands still when its leader fails, in ascending order.
async fn failovers(group: &mut Group<'_>) -> Result<Vec<Duration>, Broken> {
    let mut found = Vec::new();
    for _ in 0..FAILOVERS {
        group.converge().await?;
        let leader = group.leader().await?;
        group.crash(leader);
        let start = Instant::now();
        let rest: Vec<RadiantId> = group.up();
        group.write_to(&rest).await?;
        found.push(start.elapsed());
        group.restart(leader).await?;
    }
    found.sort();
    Ok(found)
}

impl Card {
    /// The card as one JSON object. Nothing in it needs escaping but the name, which is a plain word.
    pub fn json(&self) -> String {
        let number = |one: Option<u64>| one.map_or_else(|| "null".to_owned(), |one| one.to_string());
        let survives =
            self.survives.map(|failures| number(failures.map(|failures| failures as u64))).join(",");
        format!(
            "{{\"engine\":\"{}\",\"linearizable_reads\":\"{}\",\"follower_reads\":{},\"membership_change\":{},\
             \"snapshots\":{},\"survives\":[{survives}],\"members\":{},\"messages_per_write\":{:.1},\
             \"syncs_per_write\":{:.1},\"idle_messages\":{:.1},\"failover_ms\":{},\"failover_ms_max\":{}}}",
            self.engine.escape_default(),
            self.linearizable_reads.name(),
            self.follower_reads,
            self.membership_change,
            self.snapshots,
            self.members,
            self.messages_per_write,
            self.syncs_per_write,
            self.idle_messages,
            number(self.failover_ms),
            number(self.failover_ms_max),
        )
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |yes| if yes { "yes" } else { "no" };
        let survives: Vec<String> = (1..)
            .zip(&self.survives)
            .filter_map(|(count, failures)| failures.map(|failures| format!("{failures} of {count}")))
            .collect();
        let members = self.members;
        writeln!(f, "engine              {}", self.engine)?;
        writeln!(f, "linearizable reads  {}", self.linearizable_reads.name())?;
        writeln!(f, "follower reads      {}", yes(self.follower_reads))?;
        writeln!(f, "membership change   {}", yes(self.membership_change))?;
        writeln!(f, "snapshots           {}", yes(self.snapshots))?;
        writeln!(f, "failures survived   {}", survives.join(", "))?;
        writeln!(f, "members below       {members}")?;
        writeln!(f, "messages per write  {:.1}, answers included", self.messages_per_write)?;
        writeln!(f, "syncs per write     {:.1}, of all disks", self.syncs_per_write)?;
        writeln!(f, "messages when idle  {:.1} per election timeout", self.idle_messages)?;
        match (self.failover_ms, self.failover_ms_max) {
            (Some(usual), Some(longest)) => write!(f, "failover            {usual} ms, at most {longest} ms"),
            (_, _) => write!(f, "failover            none: it goes on when the member is back"),
        }
    }
}
