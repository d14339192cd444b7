//! Deposed scheralds can do no harm: what was decided on an epoch takes effect in the next one or not at all, epochs only go
//! up, and a migration is driven by nobody who has missed that another began.

use std::collections::BTreeMap;

use shardbearer_core::control::{Change, ControlReply};
use shardbearer_core::ids::Epoch;
use shardbearer_core::log::LogPos;
use shardbearer_core::migration::MigrationChange;
use shardbearer_core::rebalancing::RebalanceChange;

use super::applied::{Judge, Seen};

#[derive(Default)]
pub struct Stale {
    /// The epoch that was made by the entry at a position.
    made: BTreeMap<LogPos, Epoch>,
    /// Where a migration was first driven.
    driven: BTreeMap<Epoch, LogPos>,
}

impl Judge for Stale {
    fn judge(&mut self, seen: &Seen) -> Result<(), String> {
        let Seen::Decision { position, command, reply: ControlReply::Changed { epoch, .. } } = seen else {
            return Ok(());
        };
        match &command.change {
            Change::Members { on, .. } => {
                self.took_effect(*on, *epoch)?;
                self.made(*position, *epoch)
            }
            Change::Rebalance(RebalanceChange::Move { on, .. }) => self.took_effect(*on, *epoch),
            Change::Migration(change) => self.drives(*position, change),
            _ => Ok(()),
        }
    }
}

impl Stale {
    fn took_effect(&self, on: Epoch, epoch: Epoch) -> Result<(), String> {
        match epoch.0 <= on.0 + 1 {
            true => Ok(()),
            false => Err(format!("what was decided on epoch {on} took effect in epoch {epoch}")),
        }
    }

    fn made(&mut self, position: LogPos, epoch: Epoch) -> Result<(), String> {
        let first = *self.made.entry(position).or_insert(epoch);
        let before = self.made.range(..position).next_back().is_none_or(|(_, before)| *before < epoch);
        let after = self.made.range(position..).nth(1).is_none_or(|(_, after)| epoch < *after);
        match first == epoch && before && after {
            true => Ok(()),
            false => Err(format!("the entry at {position:?} made epoch {epoch}, which is out of turn")),
        }
    }

    fn drives(&mut self, position: LogPos, change: &MigrationChange) -> Result<(), String> {
        let id = match change {
            MigrationChange::Plan { .. } | MigrationChange::Split { .. } | MigrationChange::Undo { .. } => {
                return Ok(());
            }
            MigrationChange::Pause { id, .. }
            | MigrationChange::Cancel { id }
            | MigrationChange::Copy { id }
            | MigrationChange::Freeze { id }
            | MigrationChange::Commit { id }
            | MigrationChange::Collected { id }
            | MigrationChange::Returned { id, .. }
            | MigrationChange::Report { id, .. } => *id,
        };
        let first = self.driven.entry(id).or_insert(position);
        *first = position.min(*first);
        match self.driven.range(Epoch(id.0 + 1)..).find(|(_, later)| **later < position) {
            None => Ok(()),
            Some((later, _)) => {
                Err(format!("migration {id} was driven on after migration {later} had begun"))
            }
        }
    }
}
