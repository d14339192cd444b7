//! What the control order replicates: changes of the cluster's configuration, each with its reason.

use crate::ids::{Epoch, Incarnation, RadiantId};
use crate::membership::MemberChange;
use crate::migration::{Migration, MigrationChange};
use crate::rebalancing::RebalanceChange;
use crate::topology::{Doors, Topology};

/// One entry of the control order's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlCommand {
    /// Who asked: "founding", "radiant NAME", "operator", a policy's name.
    pub who: String,
    /// The reason, a sentence.
    pub why: String,
    /// When it was asked, in Unix milliseconds; for people to read, decides nothing.
    pub at_ms: u64,
    /// What to change.
    pub change: Change,
}

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first entry of every cluster. Has no effect where there is a configuration already.
    Found(Topology),
    /// A radiant arrives, or comes back with other doors. Nothing changes, and no epoch is made,
    /// if it is known just so.
    Welcome {
        /// Its name, unique in the cluster.
        name: String,
        /// Its data directory's incarnation: a name cannot be taken over by another directory.
        incarnation: Incarnation,
        /// Where it can be reached.
        doors: Doors,
    },
    /// Of the migration of a shard.
    Migration(MigrationChange),
    /// Of how shards are spread over the orders.
    Rebalance(RebalanceChange),
    /// Who belongs to what. Refused unless the configuration is still the one of `on`.
    Members {
        /// The configuration on which it was decided.
        on: Epoch,
        /// What changes.
        change: MemberChange,
    },
    /// The control order itself begins anew from one member's log. In no log: it is applied to the survivor's data in the
    /// entry that makes it the only member, after everything in its log.
    Anew(Box<Anew>),
}

/// The beginning of the control order's next generation, and the newest that anybody told of when it was decided: of what the
/// survivor's log has and of this, the newer is what goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anew {
    /// The newest configuration that was told.
    pub known: Topology,
    /// The newest record of the last migration, if there ever was one.
    pub migration: Option<Migration>,
    /// The epoch that this makes, which names the generation.
    pub generation: Epoch,
    /// Whose log it goes on from.
    pub survivor: RadiantId,
}

/// The answer to a [`ControlCommand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlReply {
    /// Carried out, or found to be so already.
    Changed {
        /// The epoch in force.
        epoch: Epoch,
        /// Of a welcome: the radiant's id.
        radiant: RadiantId,
    },
    /// Not carried out; a sentence that says why and what to do.
    Refused(String),
}

/// A configuration in the history of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRecord {
    /// Its number.
    pub epoch: Epoch,
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// What changed, in words.
    pub what: String,
}
