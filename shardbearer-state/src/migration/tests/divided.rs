//! What must hold of a shard that is split, beside what holds of one that moves.

use shardbearer_core::kv::Standing;
use shardbearer_core::storage::Space;

use super::model::State;
use super::*;

impl State {
    /// The same at a source that has the sum of what crosses as it was before.
    pub(super) fn write_unweighed(&mut self, number: u64) {
        let row = crate::keys::shard_meta(SHARD);
        let space = Space::Order(ORDERS[0]);
        let meta = |state: &State| {
            let row = &state.world.orders[0].0[&space][&row];
            crate::keys::decode_meta(row).expect("its own")
        };
        let before = meta(self);
        self.write(0, number).expect("the source serves");
        let meta = crate::keys::ShardMeta { cut: before.cut, ..meta(self) };
        let rows = self.world.orders[0].0.get_mut(&space).expect("there are some");
        rows.insert(row, crate::keys::encode_meta(&meta));
    }

    /// What is split serves all that stays, and says nothing of what does not.
    pub(super) fn check_split(&self) -> Result<(), String> {
        let (world, part) = (&self.world, self.world.part(0));
        if world.shards[0] == world.shards[1] {
            return Ok(());
        }
        if world.serves(1, STAYS) {
            return Err(format!("the new shard takes {STAYS}, which is not its own"));
        }
        if !part.standing.serves() {
            return Ok(());
        }
        if world.get(0, STAYS).as_deref() != Some(b"1") {
            return Err(format!("{STAYS} is not there any more"));
        }
        let rows = if part.until == 0 { 3 } else { 1 };
        let counted = world.ask(0, part.until, Command::Count);
        let Reply::Page { rows: page, .. } = world.ask(0, part.until, Command::Scan(Default::default()))
        else {
            return Err("a page is no page".into());
        };
        if !matches!(counted, Reply::Count { rows: found, .. } if found == rows) || page.len() as u64 != rows
        {
            return Err(format!("{rows} rows are counted as {counted:?}, and {} are scanned", page.len()));
        }
        let whole = world.ask(0, 16_384, Command::Count);
        match (part.until, &whole) {
            (0, Reply::Count { .. }) | (1.., Reply::Refused(_)) => Ok(()),
            _ => Err(format!("taken for the whole, it answers {whole:?}")),
        }
    }

    /// How a split ends, and that nothing of it is left.
    pub(super) fn ends_split(&self, divided: bool) -> Result<(), String> {
        let [here, there] = [0, 1].map(|order| self.world.part(order));
        let shards = self.world.topology().tables[0].shards.len();
        let keys = ["k", CROSSES_TOO];
        let left = keys.into_iter().find(|key| self.world.holds(usize::from(!divided), key));
        if let Some(key) = left {
            return Err(format!("it left {key} behind"));
        }
        let clean = here.at == 0 && !here.pruning && here.standing == Standing::Serving;
        let ends = here.until == if divided { split().at } else { 0 };
        let serves = keys.into_iter().all(|key| self.world.serves(usize::from(divided), key));
        let gone = divided || matches!(there.standing, Standing::Gone | Standing::Absent);
        match clean && ends && serves && gone && shards == 1 + usize::from(divided) {
            true => Ok(()),
            false => Err(format!("divided {divided}, but {here:?} and {there:?}, {shards} shards")),
        }
    }
}
