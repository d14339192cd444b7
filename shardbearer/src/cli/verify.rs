//! `verify`: do the replicas hold the same?
//!
//! Each replica of an order is asked for digests of what it held right after the same entry of the log, which is chosen a
//! little ahead of them all, so that writes may go on.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use shardbearer_client::pb;
use shardbearer_client::pb::admin_client::AdminClient;
use tonic::transport::{Channel, Endpoint};

use super::Global;
use super::output::{self, Output};

/// How often replicas are asked until all of them answer for the same entry.
const TRIES: u32 = 12;

/// A difference counts if it is seen so often: a shard that is being given away is no difference.
const SIGHTINGS: u32 = 3;

/// How far ahead of the replicas the first try is, in entries.
const AHEAD: u64 = 64;

/// To go through all the rows there are.
const PATIENCE: Duration = Duration::from_secs(600);

/// Arguments of `verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  shardbearer verify
  shardbearer verify --order 3
  shardbearer --output json verify | jq '.[].differences'

Reads everything once on every replica; writes go on meanwhile. Exit code 1 if replicas differ, or if some could not
be compared: then nothing is known of those. One replica alone is compared with nothing; where an order should have more,
that is a failure, too.")]
pub(super) struct Verify {
    /// Only this order
    #[arg(long, value_name = "ID")]
    order: Option<u64>,
}

/// What came of one order, as printed for programs.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Verdict {
    order: u64,
    /// The entry of the log after which they were compared.
    at: u64,
    /// Those that were looked at.
    replicas: Vec<String>,
    /// How many there should be.
    replicas_wanted: usize,
    /// Whether there were two at least, so that one could be held against another.
    compared: bool,
    shards: usize,
    rows: u64,
    differences: Vec<Difference>,
    /// Why some were not, a sentence each.
    missing: Vec<String>,
}

/// Something that replicas do not have in common.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    /// `None` for what the order keeps of itself.
    shard: Option<u64>,
    /// Who holds what: rows and digest.
    held: BTreeMap<String, String>,
}

/// A member of an order, and what it answered.
type Answers = Vec<(String, Result<pb::DigestResponse, String>)>;

impl Verify {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let status = global.client().await?.status().await?;
        let topology = status.topology.unwrap_or_default();
        let wanted = topology.orders.iter().filter(|order| self.order.is_none_or(|only| order.id == only));
        let verdicts = wanted.map(|order| {
            let members = topology.radiants.iter().filter(|radiant| order.members.contains(&radiant.id));
            let members = members.map(|radiant| {
                let grpc = radiant.doors.as_ref().map(|doors| doors.grpc.clone()).unwrap_or_default();
                (radiant.name.clone(), grpc)
            });
            let wanted = order.roster.as_ref().map_or(0, |roster| roster.size as usize);
            let (id, wanted) = (order.id, wanted.max(order.members.len()));
            let members = members.collect();
            async move { Verdict { replicas_wanted: wanted, ..compare(id, members, global.timeout()).await } }
        });
        let verdicts = join_all(verdicts).await;
        anyhow::ensure!(!verdicts.is_empty(), "there is no such order; `shardbearer orders` lists them");
        match global.output {
            Output::Json => output::json(&verdicts)?,
            Output::Table => output::line(words(&verdicts))?,
        }
        let differ = verdicts.iter().any(|verdict| !verdict.differences.is_empty());
        anyhow::ensure!(!differ, "replicas differ");
        anyhow::ensure!(
            verdicts.iter().all(|verdict| verdict.missing.is_empty() && !verdict.is_lonely()),
            "not all could be compared"
        );
        Ok(())
    }
}

impl Verdict {
    /// Whether there is nothing to compare with, although there should be.
    fn is_lonely(&self) -> bool {
        !self.compared && self.replicas_wanted > 1
    }
}

/// Asks until all that answer have said what they held after the same entry, and what differs has been seen to stay.
async fn compare(order: u64, members: Vec<(String, String)>, timeout: Duration) -> Verdict {
    let mut ahead = AHEAD;
    let mut sightings = 0;
    let mut last = Verdict { order, ..Verdict::default() };
    for _ in 0..TRIES {
        let positions = ask(order, &members, 0, timeout).await;
        let far =
            positions.iter().filter_map(|(_, answer)| answer.as_ref().ok()).map(|answer| answer.at).max();
        let target = far.unwrap_or(0) + ahead;
        let answers = ask(order, &members, target, timeout).await;
        let at = |answer: &pb::DigestResponse| answer.at;
        let some_passed_it = answers.iter().flat_map(|(_, answer)| answer).any(|answer| at(answer) > target);
        last = verdict(order, answers);
        if !last.missing.is_empty() {
            // Where it was passed, writes are faster than thought; where it did not come, slower.
            ahead = if some_passed_it { ahead.saturating_mul(8) } else { (ahead / 4).max(1) };
        } else if last.differences.is_empty() {
            break;
        } else {
            sightings += 1;
            if sightings == SIGHTINGS {
                break;
            }
        }
    }
    last
}

async fn ask(order: u64, members: &[(String, String)], at: u64, timeout: Duration) -> Answers {
    let answers = members.iter().map(|(name, grpc)| async move {
        (name.clone(), digest(grpc, pb::DigestRequest { order, at }, timeout).await)
    });
    join_all(answers).await
}

/// Of this very radiant, whoever leads.
async fn digest(
    grpc: &str,
    request: pb::DigestRequest,
    timeout: Duration,
) -> Result<pb::DigestResponse, String> {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}")).map_err(|error| error.to_string())?;
    let endpoint =
        endpoint.connect_timeout(timeout).timeout(if request.at == 0 { timeout } else { PATIENCE });
    let channel: Channel = endpoint.connect().await.map_err(|_| format!("does not answer at {grpc}"))?;
    let answer = AdminClient::new(channel).max_decoding_message_size(usize::MAX).digest(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
}

/// Compares those that answered for one entry, of which there are most.
fn verdict(order: u64, answers: Answers) -> Verdict {
    let mut missing = Vec::new();
    let mut by_entry: BTreeMap<u64, Vec<(String, pb::DigestResponse)>> = BTreeMap::new();
    for (name, answer) in answers {
        match answer {
            Ok(answer) => by_entry.entry(answer.at).or_default().push((name, answer)),
            Err(why) => missing.push(format!("{name}: {why}")),
        }
    }
    let most = by_entry.iter().max_by_key(|(_, some)| some.len()).map(|(at, _)| *at);
    let Some((at, compared)) = most.and_then(|at| by_entry.remove_entry(&at)) else {
        return Verdict { order, missing, ..Verdict::default() };
    };
    for (other, some) in by_entry {
        missing.extend(some.iter().map(|(name, _)| format!("{name}: is at entry {other}, not at {at}")));
    }
    let mut held: BTreeMap<u64, BTreeMap<String, String>> = BTreeMap::new();
    for (shard, (name, part)) in compared
        .iter()
        .flat_map(|(name, answer)| answer.parts.iter().map(move |part| (part.shard, (name, part))))
    {
        let digest: String = part.digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let rows = output::count(part.rows, "row");
        held.entry(shard).or_default().insert(name.clone(), format!("{rows}, {digest}"));
    }
    let first = compared.first().map(|(_, answer)| answer.parts.as_slice()).unwrap_or_default();
    let (shards, rows) =
        (first.iter().filter(|part| part.shard != 0).count(), first.iter().map(|part| part.rows).sum());
    let differs = |held: &BTreeMap<String, String>| {
        held.len() < compared.len() || held.values().any(|one| Some(one) != held.values().next())
    };
    let differences = held.into_iter().filter(|(_, held)| differs(held));
    let differences =
        differences.map(|(shard, held)| Difference { shard: (shard != 0).then_some(shard), held }).collect();
    let replicas: Vec<String> = compared.into_iter().map(|(name, _)| name).collect();
    let compared = replicas.len() > 1;
    Verdict { order, at, replicas, compared, shards, rows, differences, missing, ..Verdict::default() }
}

/// The verdicts for people.
fn words(verdicts: &[Verdict]) -> String {
    let mut lines = Vec::new();
    for verdict in verdicts {
        let Verdict {
            order, at, replicas, replicas_wanted: wanted, shards, rows, differences, missing, ..
        } = verdict;
        let (shards, rows) = (output::count(*shards as u64, "shard"), output::count(*rows, "row"));
        let names = replicas.join(", ");
        lines.extend(match replicas.len() {
            _ if !differences.is_empty() => None,
            0 => None,
            1 if verdict.is_lonely() => Some(format!(
                "order {order}: only {names} was looked at, 1 of {wanted} replicas, and nothing was compared: {shards}, {rows} \
                 after entry {at}"
            )),
            1 => Some(format!(
                "order {order}: {names} is the only replica there is to be; nothing to compare: {shards}, {rows} after entry {at}"
            )),
            _ => Some(format!("order {order}: {names} hold the same after entry {at}: {shards}, {rows}")),
        });
        for Difference { shard, held } in differences {
            let what = shard.map_or("its own rows".into(), |shard| format!("shard {shard}"));
            let held: Vec<String> = held.iter().map(|(name, held)| format!("{name} holds {held}")).collect();
            lines.push(format!("order {order}: DIFFERENCE in {what} after entry {at}: {}", held.join("; ")));
        }
        lines.extend(missing.iter().map(|why| format!("order {order}: not compared: {why}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(at: u64, parts: &[(u64, u8)]) -> Result<pb::DigestResponse, String> {
        let part = |(shard, digest): &(u64, u8)| pb::DigestPart {
            shard: *shard,
            rows: 1,
            digest: vec![*digest; 32].into(),
        };
        Ok(pb::DigestResponse { at, parts: parts.iter().map(part).collect() })
    }

    fn judged(answers: [Result<pb::DigestResponse, String>; 3]) -> Verdict {
        let found = verdict(2, ["r1", "r2", "r3"].map(str::to_owned).into_iter().zip(answers).collect());
        Verdict { replicas_wanted: 3, ..found }
    }

    #[test]
    fn the_same_is_the_same() {
        let all = || answer(7, &[(0, 1), (5, 2)]);
        let found = judged([all(), all(), all()]);
        assert_eq!((found.differences.len(), found.missing.len()), (0, 0));
        assert_eq!(words(&[found]), "order 2: r1, r2, r3 hold the same after entry 7: 1 shard, 2 rows");
    }

    #[test]
    fn another_digest_and_a_missing_shard_are_differences() {
        let good = || answer(7, &[(0, 1), (5, 2)]);
        for bad in [answer(7, &[(0, 1), (5, 3)]), answer(7, &[(0, 1)]), answer(7, &[(0, 1), (5, 2), (6, 2)])]
        {
            let found = judged([good(), bad, good()]);
            assert_eq!(found.differences.len(), 1, "{found:?}");
            assert!(words(&[found]).contains("DIFFERENCE in shard "));
        }
        let own = judged([good(), good(), answer(7, &[(0, 9), (5, 2)])]);
        assert!(words(&[own]).contains("DIFFERENCE in its own rows after entry 7: r1 holds 1 row, 01010101"));
    }

    #[test]
    fn who_is_elsewhere_or_away_is_not_compared_and_that_is_said() {
        let found = judged([answer(7, &[(5, 2)]), answer(8, &[(5, 3)]), Err("is away".into())]);
        assert_eq!(found.differences, []);
        assert_eq!(found.missing.len(), 2, "{found:?}");
        assert!(found.missing.contains(&"r3: is away".to_owned()), "{found:?}");
    }
    #[test]
    fn one_replica_alone_is_compared_with_nothing() {
        let away = || Err("is away".into());
        let lonely = judged([answer(7, &[(5, 2)]), away(), away()]);
        assert!(lonely.is_lonely() && !lonely.compared);
        let words = super::words(&[lonely]);
        assert!(
            words.starts_with("order 2: only r1 was looked at, 1 of 3 replicas, and nothing was compared"),
            "{words}"
        );
        assert!(!words.contains("the same"), "{words}");
        let both = judged([answer(7, &[(5, 2)]), answer(7, &[(5, 2)]), away()]);
        assert!(both.compared && !both.is_lonely(), "{both:?}");
        let only = Verdict { replicas_wanted: 1, ..judged([answer(7, &[(5, 2)]), away(), away()]) };
        assert!(!only.is_lonely() && super::words(&[only]).contains("r1 is the only replica"));
    }
}
