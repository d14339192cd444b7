//! `epochs`: the configurations the cluster has had.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use shardbearer_client::pb;

use super::Global;
use super::output::{self, Output};

/// Arguments of `epochs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer epochs
  shardbearer --output json epochs | jq '.[-1].why'")]
pub(super) struct Epochs {}

/// One configuration, as printed for programs.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Epoch {
    id: u64,
    /// Unix milliseconds.
    at_ms: u64,
    who: String,
    what: String,
    why: String,
}

impl From<pb::EpochRecord> for Epoch {
    fn from(record: pb::EpochRecord) -> Self {
        let pb::EpochRecord { epoch, at_ms, who, why, what } = record;
        Epoch { id: epoch, at_ms, who, what, why }
    }
}

impl Epochs {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let records = global.client().await?.epochs().await?;
        let epochs: Vec<Epoch> = records.into_iter().map(Into::into).collect();
        match global.output {
            Output::Json => output::json(&epochs)?,
            Output::Table => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let mut table = output::table(&["epoch", "when", "who", "what", "why"]);
                for epoch in epochs {
                    let when = ago(u64::try_from(now).unwrap_or(u64::MAX).saturating_sub(epoch.at_ms));
                    table.add_row([epoch.id.to_string(), when, epoch.who, epoch.what, epoch.why]);
                }
                output::line(table)?;
            }
        }
        Ok(())
    }
}

fn ago(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
