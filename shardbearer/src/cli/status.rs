//! `status`: is the cluster well, and if not, what is wrong.

use clap::Args;

use super::output::Output;
use super::{Global, output};
use crate::report;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer status
  shardbearer --output json status | jq .health
  shardbearer --endpoints 10.0.0.1:7400 status

Exit code 1 if the cluster is down, that is if some shard is not served.")]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let status: report::Status = global.client().await?.status().await?.into();
        match global.output {
            Output::Json => output::json(&status)?,
            Output::Table => print(&status)?,
        }
        anyhow::ensure!(status.health != "down", "the cluster is down: {}", status.problems.join("; "));
        Ok(())
    }
}

fn print(status: &report::Status) -> std::io::Result<()> {
    let serving = status.shards.iter().filter(|shard| shard.state == "serving").count();
    let up = status.radiants.iter().filter(|radiant| radiant.state == "up").count();
    output::line(format!("health     {}", status.health))?;
    output::line(format!("cluster    {}", status.cluster.as_deref().unwrap_or("-")))?;
    output::line(format!("epoch      {}", status.epoch))?;
    output::line(format!("radiants   {up} of {} up", status.radiants.len()))?;
    output::line(format!("shards     {serving} of {} served", status.shards.len()))?;
    output::line(format!("rows       {}", status.shards.iter().map(|shard| shard.rows).sum::<u64>()))?;
    output::line(format!("scherald   {}", output::or_dash(status.scherald)))?;
    if let Some(rebalance) = &status.rebalance {
        let running = rebalance.running.iter().map(|how| format!(", spreading by {how}"));
        let paused = rebalance.paused.then(|| ", paused".to_owned());
        let notes: String = running.chain(paused).collect();
        let wanted = output::count(rebalance.moves_left, "move");
        output::line(format!("rebalance  {}{notes}, {wanted} wanted", rebalance.mode))?;
    }
    if let Some(migration) = &status.migration {
        output::line(format!("migration  {}", migration.sentence()))?;
    }
    for problem in &status.problems {
        output::line(format!("problem    {problem}"))?;
    }
    output::line(super::radiants::table(&status.radiants))?;
    output::line(super::orders::table(&status.orders, &status.radiants))
}
