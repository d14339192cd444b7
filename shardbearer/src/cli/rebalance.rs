//! `rebalance`: spreading shards over the orders, and what would come of it.

use clap::{Args, Subcommand};
use shardbearer_client::pb::rebalance_request::Kind;
use shardbearer_client::{Client, pb};

use super::Global;
use super::failure::Failure;
use super::output::{self, Output};
use super::watching::Watch;
use crate::report::rebalance::{Answer, Move};

/// Arguments of `rebalance`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer rebalance --dry-run           what would move, why, and what it would change
  shardbearer rebalance --watch             move it, one shard after the other
  shardbearer rebalance --by load           by bytes, reads and writes instead of by count
  shardbearer rebalance mode count          from now on automatically, by count
  shardbearer rebalance pause               begin no move until `resume`
  shardbearer --output json rebalance --dry-run | jq '.moves[] | {shard, from, to, why}'

Every order gets its share by weight (`order weight`), pins (`shard pin`) come first, and no more shards move than that
takes. What is even is left alone. `shard explain ID` tells afterwards why a shard moved and what that changed.")]
pub(super) struct Rebalance {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only show what would move, and what it would change
    #[arg(long)]
    dry_run: bool,
    /// By the number of shards, or by their load; without this option as the mode says
    #[arg(long, value_name = "HOW", value_parser = ["count", "load"])]
    by: Option<String>,
    /// Show progress until it is done
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    how: How,
}

/// Options of everything that changes how shards are spread.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct How {
    /// Do it although it is unsafe
    #[arg(long, global = true)]
    pub(super) force: bool,
    /// The reason, for the history of the cluster
    #[arg(long, global = true, value_name = "TEXT", default_value = "")]
    pub(super) why: String,
}

impl How {
    /// For a reason.
    pub(super) fn because(why: String) -> How {
        How { force: false, why }
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say who decides that shards move: off (nobody), manual (`rebalance`), count or load (the cluster itself)
    #[command(after_help = "Examples:
  shardbearer rebalance mode count
  shardbearer rebalance mode load --why 'shard 7 is hot'
  shardbearer rebalance mode manual")]
    Mode {
        /// The mode
        #[arg(value_parser = ["off", "manual", "count", "load"])]
        mode: String,
    },
    /// Begin no further move; one that is under way goes on
    #[command(after_help = "Examples:
  shardbearer rebalance pause --why 'not during the sale'")]
    Pause,
    /// Begin moves again
    #[command(after_help = "Examples:
  shardbearer rebalance resume")]
    Resume,
    /// Forget what is left of a `rebalance`
    #[command(after_help = "Examples:
  shardbearer rebalance stop")]
    Stop,
}

impl Rebalance {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let by = self.by.unwrap_or_default();
        let kind = match self.action {
            None if self.dry_run => Kind::Plan(by),
            None => Kind::Run(by),
            Some(Action::Mode { mode }) => Kind::Mode(mode),
            Some(Action::Pause) => Kind::Pause(true),
            Some(Action::Resume) => Kind::Pause(false),
            Some(Action::Stop) => Kind::Stop(true),
        };
        let client = global.client().await?;
        let answer = ask(&client, global, kind, self.dry_run, self.how).await?;
        if self.watch && answer.done {
            watch(&client, global, answer.epoch).await?;
        }
        Ok(())
    }
}

/// Asks, shows what follows, and fails if it is refused.
pub(super) async fn ask(
    client: &Client,
    global: &Global,
    kind: Kind,
    dry_run: bool,
    how: How,
) -> anyhow::Result<Answer> {
    let How { force, why } = how;
    let request = pb::RebalanceRequest { kind: Some(kind), dry_run, force, who: String::new(), why };
    let answer: Answer = client.rebalance(request).await?.into();
    match global.output {
        Output::Json => output::json(&answer)?,
        Output::Table => output::line(words(&answer, dry_run))?,
    }
    if let Some(why) = &answer.refused {
        anyhow::bail!(Failure::Refused(format!("refused: {why}")));
    }
    Ok(answer)
}

/// The answer for people.
fn words(answer: &Answer, dry_run: bool) -> String {
    let mut lines = Vec::new();
    if let Some(order) = answer.order.filter(|_| answer.done) {
        lines.push(format!("Order {order} is created."));
    }
    if answer.done {
        lines.push(format!("Decided, epoch {}.", answer.epoch));
    } else if answer.refused.is_some() || dry_run {
        lines.push("Nothing was changed.".to_owned());
    }
    if !answer.moves.is_empty() {
        let title = if answer.done { "What follows, one shard after the other:" } else { "It would move:" };
        lines.push(title.to_owned());
        lines.extend(answer.moves.iter().map(sentence));
    } else if answer.refused.is_none() {
        lines.push("No shard has to move.".to_owned());
    }
    if !answer.shares.is_empty() && !answer.moves.is_empty() {
        lines.push("Orders before and after:".to_owned());
        let mut table = output::table(&["  order", "weight", "shards", "after", "load", "after"]);
        for share in &answer.shares {
            table.add_row([
                format!("  {}", share.id),
                share.weight.to_string(),
                share.shards_before.to_string(),
                share.shards_after.to_string(),
                percent(share.load_before),
                percent(share.load_after),
            ]);
        }
        output::right(&mut table, &[1, 2, 3, 4, 5]);
        lines.push(table.to_string());
    }
    output::refusals(&mut lines, answer.done, &answer.blockers, &answer.dangers);
    lines.join("\n")
}

fn sentence(made: &Move) -> String {
    let Move { shard, from, to, why, rows, bytes, .. } = made;
    format!("  shard {shard} from order {from} to {to} ({rows} rows, {}): {why}", output::bytes(*bytes))
}

fn percent(load: u64) -> String {
    format!("{:.1} %", load as f64 / 10_000.0)
}

/// Shows what is done until nothing is left. What was asked for is known everywhere only a moment after its epoch.
async fn watch(client: &Client, global: &Global, epoch: u64) -> anyhow::Result<()> {
    let mut watch = Watch::new("the rebalance");
    loop {
        let status = watch.look(client).await?;
        let rebalance = status.rebalance.unwrap_or_default();
        let moving = status.migration.filter(|migration| !migration.over);
        if status.epoch >= epoch && rebalance.running.is_none() && moving.is_none() {
            watch.finish();
            if global.output == Output::Table {
                output::line(match rebalance.moves_left {
                    0 => "Done: no shard has to move.".to_owned(),
                    left => format!("It ended with {left} moves left; `status` tells why."),
                })?;
            }
            return Ok(());
        }
        let phase = moving.as_ref().map(|migration| format!("{} {}", migration.id, migration.phase));
        let moving = moving.map(|migration| migration.sentence()).unwrap_or_default();
        watch.say(&phase.unwrap_or_default(), &format!("{} moves left; {moving}", rebalance.moves_left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::rebalance::Share;

    #[test]
    fn answers_say_what_moves_why_and_what_is_unsafe() {
        let made = Move { shard: 7, from: 2, to: 3, why: "it is pinned".into(), rows: 5, ..Move::default() };
        let share = |id, before, after| Share {
            id,
            weight: 1,
            shards_before: before,
            shards_after: after,
            load_before: 500_000,
            ..Share::default()
        };
        let answer = Answer {
            epoch: 9,
            mode: "manual".into(),
            moves: vec![made],
            shares: vec![share(2, 3, 2), share(3, 1, 2)],
            dangers: vec!["a disk is small".into()],
            ..Answer::default()
        };
        let dry = words(&answer, true);
        for expected in [
            "Nothing was changed.\nIt would move:\n  shard 7 from order 2 to 3 (5 rows, 0 B): it is pinned\n",
            "Unsafe, so that it takes --force:\n  a disk is small",
            "50.0 %",
        ] {
            assert!(dry.contains(expected), "{dry}");
        }
        let nothing = Answer { done: true, epoch: 9, order: Some(4), ..Answer::default() };
        assert_eq!(words(&nothing, false), "Order 4 is created.\nDecided, epoch 9.\nNo shard has to move.");
    }
}
