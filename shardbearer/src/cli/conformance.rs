//! `conformance`: whether an engine of this build keeps the laws of engines, and what it costs.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use shardbearer_core::engine::EngineFactory;
use shardbearer_sim::conformance::engine::{LAWS, Needs, Subject, card, violation};

use super::Global;
use super::failure::Failure;
use super::output::{self, Output};
use crate::engine::Engines;

/// Arguments of `conformance`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer conformance --engine openraft
  shardbearer conformance --engine omnipaxos --seeds 20
  shardbearer --output json conformance --engine openraft | jq .card

Built in are openraft, omnipaxos, chain and solo; a binary of your own has yours as well. Needs no cluster: the laws bring their own network, disks and
time. A law is kept, broken (exit code 1), or skipped where the engine does not claim what it is about. The card at the
end tells what was measured with the engine alone: without the control order, which a chain needs to mend itself, so that
a chain by itself survives no failure. Messages and syncs are per write, the failover is from the loss of the leader to
the next acknowledged write.")]
pub(super) struct Conformance {
    /// The engine
    #[arg(long, value_name = "NAME")]
    engine: String,
    /// Runs all laws this many times, each time with other delays, losses and crashes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
}

/// What a law needs, in words.
fn claim(needs: Needs) -> &'static str {
    match needs {
        Needs::Others => "to run orders of several members",
        Needs::Failures => "that one of three members may fail",
        Needs::LinearizableReads => "linearizable reads",
        Needs::Reconfigure => "that members can change while it runs",
        Needs::DecidedElsewhere => "that its members are decided elsewhere",
        Needs::Snapshots => "that a member far behind gets an image",
    }
}

/// What became of a law.
#[derive(Debug, Serialize)]
struct Outcome {
    law: &'static str,
    seed: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Conformance {
    pub(super) async fn run(self, global: &Global, engines: &Engines) -> anyhow::Result<()> {
        global.without_timeout("conformance", "--seeds says how much it does")?;
        let factory = engines.find(&self.engine).map_err(Failure::Usage)?;
        let (output, seeds) = (global.output, self.seeds);
        // Each law has a runtime of its own, which must not be inside this one.
        tokio::task::spawn_blocking(move || run(&factory, seeds, output)).await?
    }
}

fn run(factory: &Arc<dyn EngineFactory>, seeds: u64, output: Output) -> anyhow::Result<()> {
    let mut outcomes = Vec::new();
    for seed in 1..=seeds {
        let subject = Subject { seed, ..Subject::new(factory.clone()) };
        for law in LAWS {
            let (outcome, why) = match violation(law, &subject) {
                Some(Ok(())) => ("kept", None),
                Some(Err(broken)) => ("broken", Some(broken.to_string())),
                None => {
                    let needs = law.lacks(factory.as_ref());
                    ("skipped", needs.map(|needs| format!("the engine does not claim {}", claim(needs))))
                }
            };
            if output == Output::Table {
                let words = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                output::line(format_args!("{outcome:8}{}{words}", law.name))?;
            }
            outcomes.push(Outcome { law: law.name, seed, outcome, why });
        }
    }
    let card = card::measure(&Subject::new(factory.clone())).map_err(|broken| anyhow::anyhow!("{broken}"))?;
    match output {
        Output::Table => output::line(format_args!("\n{card}"))?,
        Output::Json => {
            let card: Value = serde_json::from_str(&card.json())?;
            output::json(&serde_json::json!({ "laws": outcomes, "card": card }))?;
        }
    }
    let broken = outcomes.iter().filter(|outcome| outcome.outcome == "broken").count();
    anyhow::ensure!(broken == 0, "{} breaks {broken} of {} laws", factory.name(), outcomes.len());
    Ok(())
}
