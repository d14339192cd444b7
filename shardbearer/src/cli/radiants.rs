//! `radiants`: the nodes.

use clap::Args;
use comfy_table::Table;

use super::Global;
use super::output::{self, Output};
use crate::report;

/// Arguments of `radiants`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer radiants
  shardbearer --output json radiants | jq '.[] | {id, name, state}'")]
pub(super) struct Radiants {}

impl Radiants {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let status: report::Status = global.client().await?.status().await?.into();
        match global.output {
            Output::Json => output::json(&status.radiants)?,
            Output::Table => output::line(table(&status.radiants))?,
        }
        Ok(())
    }
}

/// Bytes that a radiant tells of itself, if it ever did.
fn heard(radiant: &report::Radiant, count: u64) -> String {
    if radiant.state == "unknown" { "-".into() } else { output::bytes(count) }
}

/// The radiants for people.
pub(super) fn table(radiants: &[report::Radiant]) -> Table {
    let mut table = output::table(&[
        "radiant",
        "name",
        "state",
        "leads",
        "orders",
        "gRPC",
        "RESP",
        "HTTP",
        "data",
        "disk free",
    ]);
    for radiant in radiants {
        let state = match radiant.state.as_str() {
            "silent" => format!("silent for {:.1} s", radiant.silent_ms as f64 / 1000.0),
            state if radiant.disk_full => format!("{state}, disk full"),
            state if ["draining", "leaving"].contains(&radiant.standing.as_str()) => {
                format!("{state}, {}", radiant.standing)
            }
            state if radiant.spare => format!("{state}, spare"),
            state => state.to_owned(),
        };
        table.add_row([
            radiant.id.to_string(),
            radiant.name.clone(),
            state,
            output::list(&radiant.leads),
            output::list(&radiant.orders),
            radiant.grpc.clone(),
            radiant.resp.clone(),
            radiant.http.clone(),
            heard(radiant, radiant.data_bytes),
            heard(radiant, radiant.disk_free_bytes),
        ]);
    }
    output::right(&mut table, &[8, 9]);
    table
}
