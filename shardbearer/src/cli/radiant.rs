//! `radiant`: giving one radiant another part in the cluster.

use clap::{Args, Subcommand};
use serde::Serialize;
use shardbearer_client::pb;
use shardbearer_client::pb::member_request::Action;

use super::Global;
use super::failure::Failure;
use super::output::{self, Output};

/// Arguments of `radiant`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer radiant join radiant-4                 a spare takes its share of the seats
  shardbearer radiant drain radiant-2                empty it for maintenance; `undrain` gives it seats again
  shardbearer radiant replace radiant-3 radiant-5    3 is dead for good: 5 takes its seats
  shardbearer radiant leave radiant-1 --dry-run      what would follow, and what that changes

What would leave an order without a member to spare is refused unless --force says otherwise.
Seats move one at a time in each order, the newcomer first as a learner, and nothing is done that would cost an order its
quorum. Once decided it goes on by itself; `shardbearer epochs` and `shardbearer status` show how far it is.")]
pub(super) struct Radiant {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Take a share of the seats; what arrives at a cluster is a spare until then
    #[command(after_help = "Examples:
  shardbearer radiant join radiant-4
  shardbearer radiant join radiant-4 --dry-run")]
    Join(Named),
    /// Give all seats away and stay, without seats
    #[command(after_help = "Examples:
  shardbearer radiant drain radiant-2
  shardbearer --output json radiant drain radiant-2 --dry-run | jq .blockers")]
    Drain(Named),
    /// Take seats again
    #[command(after_help = "Examples:
  shardbearer radiant undrain radiant-2")]
    Undrain(Named),
    /// Give all seats away and leave the cluster for good
    #[command(after_help = "Examples:
  shardbearer radiant leave radiant-1 --dry-run
  shardbearer radiant leave radiant-1")]
    Leave(Named),
    /// Have another radiant take all seats of one that is dead or is to go
    #[command(after_help = "Examples:
  shardbearer radiant replace radiant-3 radiant-5
  shardbearer radiant replace radiant-3 radiant-5 --dry-run")]
    Replace {
        /// Name or id of the radiant that goes; it may be down
        old: String,
        /// Name or id of the radiant that takes its seats
        new: String,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Debug, Args)]
struct Named {
    /// Name or id
    radiant: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Only show what would follow and what stands in the way
    #[arg(long)]
    dry_run: bool,
    /// Do it although it is unsafe, or although it cannot be completed now
    #[arg(long)]
    force: bool,
}

/// The answer, as printed for programs.
#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    done: bool,
    epoch: u64,
    steps: Vec<String>,
    /// What it changes for orders and shards.
    effects: Vec<String>,
    /// What radiants carry, and would.
    capacity: Vec<Capacity>,
    blockers: Vec<String>,
    /// Why it is refused unless forced.
    dangers: Vec<String>,
}

impl From<pb::MemberResponse> for Answer {
    fn from(answer: pb::MemberResponse) -> Self {
        let pb::MemberResponse { done, epoch, steps, blockers, dangers, effects, capacity } = answer;
        let capacity = capacity.into_iter().map(Capacity::from).collect();
        Answer { done, epoch, steps, effects, capacity, blockers, dangers }
    }
}

/// What a radiant carries now, and what it would.
#[derive(Debug, PartialEq, Serialize)]
struct Capacity {
    radiant: u64,
    name: String,
    now: Carries,
    then: Carries,
    /// 0: not known.
    disk_free_bytes: u64,
}

/// Copies of shards.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Carries {
    shards: u64,
    keys: u64,
    bytes: u64,
}

impl From<pb::RadiantCapacity> for Capacity {
    fn from(capacity: pb::RadiantCapacity) -> Self {
        let carries = |carries: Option<pb::Carries>| {
            let pb::Carries { shards, keys, bytes } = carries.unwrap_or_default();
            Carries { shards, keys, bytes }
        };
        let pb::RadiantCapacity { radiant, name, now, then, disk_free_bytes } = capacity;
        Capacity { radiant, name, now: carries(now), then: carries(then), disk_free_bytes }
    }
}

impl Capacity {
    /// A sentence, if anything changes.
    fn words(&self) -> Option<String> {
        let Carries { shards, keys, bytes } = &self.then;
        let free = match self.disk_free_bytes {
            0 => String::new(),
            free => format!("; {} are free now", output::bytes(free)),
        };
        (self.now != self.then).then(|| {
            format!(
                "{} would carry {} shards instead of {}: {} keys instead of {}, {} instead of {}{free}",
                self.name,
                shards,
                self.now.shards,
                keys,
                self.now.keys,
                output::bytes(*bytes),
                output::bytes(self.now.bytes)
            )
        })
    }
}

impl Part {
    fn request(self) -> pb::MemberRequest {
        let (action, radiant, by, how) = match self {
            Part::Join(named) => (Action::Join, named.radiant, String::new(), named.how),
            Part::Drain(named) => (Action::Drain, named.radiant, String::new(), named.how),
            Part::Undrain(named) => (Action::Undrain, named.radiant, String::new(), named.how),
            Part::Leave(named) => (Action::Leave, named.radiant, String::new(), named.how),
            Part::Replace { old, new, how } => (Action::Replace, old, new, how),
        };
        let How { dry_run, force } = how;
        let (who, why) = ("operator".into(), String::new());
        pb::MemberRequest { action: action.into(), radiant, by, dry_run, who, why, force }
    }
}

impl Radiant {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let request = self.part.request();
        let (dry, forced) = (request.dry_run, request.force);
        let answer: Answer = global.client().await?.member(request).await?.into();
        match global.output {
            Output::Json => output::json(&answer)?,
            Output::Table => output::line(words(&answer))?,
        }
        let agreed = answer.done || (dry && forced);
        let objected = !answer.blockers.is_empty() || !answer.dangers.is_empty();
        let refused = objected && !agreed;
        anyhow::ensure!(!refused, Failure::refused(dry, &answer.blockers));
        Ok(())
    }
}

/// The answer for people.
fn words(answer: &Answer) -> String {
    let mut lines = Vec::new();
    lines.push(match answer.done {
        true => format!("Decided, epoch {}.", answer.epoch),
        false => "Nothing was changed.".to_owned(),
    });
    if !answer.steps.is_empty() {
        lines.push(if answer.done { "What follows:" } else { "It would follow:" }.to_owned());
        lines.extend(answer.steps.iter().map(|step| format!("  {step}")));
    }
    output::section(&mut lines, "What that changes:", &answer.effects);
    let capacity: Vec<String> = answer.capacity.iter().filter_map(Capacity::words).collect();
    output::section(&mut lines, "What radiants carry then, replicas included:", &capacity);
    output::refusals(&mut lines, answer.done, &answer.blockers, &answer.dangers);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_what_was_done_what_follows_and_what_is_in_the_way() {
        let answer = |done, steps: &[&str], blockers: &[&str]| {
            let list = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
            let (effects, capacity, dangers) = (Vec::new(), Vec::new(), Vec::new());
            Answer {
                done,
                epoch: 7,
                steps: list(steps),
                effects,
                capacity,
                blockers: list(blockers),
                dangers,
            }
        };
        assert_eq!(words(&answer(true, &[], &[])), "Decided, epoch 7.");
        let dry = words(&answer(false, &["a moves"], &[]));
        assert_eq!(dry, "Nothing was changed.\nIt would follow:\n  a moves");
        let refused = words(&answer(false, &["a moves"], &["b is down"]));
        assert_eq!(refused, "Nothing was changed.\nIt would follow:\n  a moves\nIn the way:\n  b is down");
        let unsafe_one = Answer { dangers: vec!["no copy is left".into()], ..answer(false, &[], &[]) };
        let takes_force = "Unsafe, so that it takes --force:\n  no copy is left";
        assert_eq!(words(&unsafe_one), format!("Nothing was changed.\n{takes_force}"));
        let forced = words(&Answer { done: true, ..unsafe_one });
        assert_eq!(forced, "Decided, epoch 7.\nForced, although:\n  no copy is left");
    }

    #[test]
    fn answers_say_what_the_others_would_carry() {
        let carries = |shards, keys, bytes| Some(pb::Carries { shards, keys, bytes });
        let capacity = |name: &str, now, then, disk_free_bytes| pb::RadiantCapacity {
            radiant: 2,
            name: name.into(),
            now,
            then,
            disk_free_bytes,
        };
        let answer: Answer = pb::MemberResponse {
            capacity: vec![
                capacity("radiant-2", carries(4, 10, 2 << 20), carries(8, 30, 6 << 20), 1 << 30),
                capacity("radiant-3", carries(4, 10, 2 << 20), carries(4, 10, 2 << 20), 0),
            ],
            ..pb::MemberResponse::default()
        }
        .into();
        assert_eq!(
            words(&answer),
            "Nothing was changed.\nWhat radiants carry then, replicas included:\n  radiant-2 would carry 8 shards instead of \
             4: 30 keys instead of 10, 6.00 MiB instead of 2.00 MiB; 1.00 GiB are free now"
        );
        let json = serde_json::to_value(&answer).expect("plain data");
        assert_eq!(
            json["capacity"][0]["then"],
            serde_json::json!({"shards": 8, "keys": 30, "bytes": 6 << 20})
        );
        assert_eq!(json["capacity"][1]["now"], json["capacity"][1]["then"]);
    }
}
