//! The card of an engine: what it claims, and what three members of it were measured to do in a fair network on the kit's
//! disks. Times are virtual where the subject allows it, so they compare protocols, not machines.

mod measure;

use std::fmt;

use super::super::Broken;
use super::{Lab, Subject, in_runtime};

/// The largest group whose failures are tried.
pub const SIZES: usize = 7;

/// How a barrier comes to be linearizable, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Not at all: the engine does not claim it.
    None,
    /// Nobody was asked: the leader holds a lease, or can have no rival.
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

/// How members change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Not at all.
    None,
    /// They agree on it: a fourth was made a member of three.
    Agreed,
    /// They are told: it is decided elsewhere. Claimed, and proved by the laws of it.
    Told,
}

impl MemberChange {
    /// A name for programs.
    pub fn name(self) -> &'static str {
        match self {
            MemberChange::None => "none",
            MemberChange::Agreed => "agreed",
            MemberChange::Told => "told",
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
    /// How members change.
    pub membership_change: MemberChange,
    /// Who was far behind got an image. Where nobody can be left behind, because the others wait: what is claimed.
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
    in_runtime(subject, measure::all(&lab))
}

impl Card {
    /// The card as one JSON object. Nothing in it needs escaping but the name, which is a plain word.
    pub fn json(&self) -> String {
        let number = |one: Option<u64>| one.map_or_else(|| "null".to_owned(), |one| one.to_string());
        let survives =
            self.survives.map(|failures| number(failures.map(|failures| failures as u64))).join(",");
        format!(
            "{{\"engine\":\"{}\",\"linearizable_reads\":\"{}\",\"follower_reads\":{},\"membership_change\":\"{}\",\
             \"snapshots\":{},\"survives\":[{survives}],\"members\":{},\"messages_per_write\":{:.1},\
             \"syncs_per_write\":{:.1},\"idle_messages\":{:.1},\"failover_ms\":{},\"failover_ms_max\":{}}}",
            self.engine.escape_default(),
            self.linearizable_reads.name(),
            self.follower_reads,
            self.membership_change.name(),
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
        writeln!(f, "membership change   {}", self.membership_change.name())?;
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
