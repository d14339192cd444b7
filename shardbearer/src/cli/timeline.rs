//! `timeline`: what happened in the cluster, in one story.

use clap::Args;

use super::Global;
use super::epochs::ago;
use super::output::{self, Output};
use crate::report::history::Timeline as Report;
use crate::story;

/// Arguments of `timeline`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer timeline                     elections, epochs, moves, failures, causes before effects
  shardbearer timeline --last 20           only the end
  shardbearer timeline --mermaid           the same as a sequence diagram, for any page that draws Mermaid
  shardbearer --output json timeline | jq '.events[] | select(.kind == \"won\")'

Every radiant remembers its last 1024 events since it started; the reasons of epochs are kept for ever by the control order.
Clocks are believed only where nothing better is known: what a radiant noticed stays in its order, epochs, terms of a lead
and phases of a move in theirs.")]
pub(super) struct Timeline {
    /// Only so many events, the last ones
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    /// A sequence diagram in Mermaid's language
    #[arg(long)]
    mermaid: bool,
}

impl Timeline {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut timeline = global.client().await?.timeline().await?;
        if let Some(last) = self.last {
            let skipped = timeline.events.len().saturating_sub(last);
            timeline.events.drain(..skipped);
        }
        if self.mermaid {
            let drawn = story::mermaid(&timeline.events, &timeline.radiants);
            output::raw(drawn.as_bytes())?;
            return Ok(());
        }
        let report = Report::from(timeline);
        match global.output {
            Output::Json => output::json(&report)?,
            Output::Table => {
                let mut table = output::table(&["when", "what"]);
                for event in &report.events {
                    table.add_row([ago(event.at_ms), event.text.clone()]);
                }
                output::line(table)?;
                if report.left_out > 0 {
                    output::line(format!(
                        "{} older events have no room in the answer; `shardbearer epochs` has all epochs",
                        report.left_out
                    ))?;
                }
                if !report.missing.is_empty() {
                    let missing = report.missing.join(", ");
                    output::line(format!("Not asked, because they do not answer: {missing}"))?;
                }
            }
        }
        Ok(())
    }
}
