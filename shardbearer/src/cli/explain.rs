//! `shard explain`: why a shard is where it is.

use serde::Serialize;
use shardbearer_client::Client;

use super::Global;
use super::output::{self, Output};
use crate::report;
use crate::report::migration::Migration;

/// A shard and its past, as printed for programs.
#[derive(Debug, Serialize)]
struct Explained {
    id: u64,
    order: Option<u64>,
    pin: Option<u64>,
    rows: u64,
    bytes: u64,
    reads_per_s: u64,
    writes_per_s: u64,
    /// Oldest first.
    moves: Vec<Migration>,
}

pub(super) async fn run(client: &Client, global: &Global, shard: u64) -> anyhow::Result<()> {
    let status: report::Status = client.status().await?.into();
    let found = status.shards.into_iter().find(|one| one.id == shard);
    let found = found.ok_or_else(|| anyhow::anyhow!("there is no shard {shard}"))?;
    let moves = client.explain(shard).await?.into_iter().map(Into::into).collect();
    let report::Shard { id, order, pin, rows, bytes, reads_per_s, writes_per_s, .. } = found;
    let explained = Explained { id, order, pin, rows, bytes, reads_per_s, writes_per_s, moves };
    match global.output {
        Output::Json => output::json(&explained)?,
        Output::Table => output::line(words(&explained))?,
    }
    Ok(())
}

fn words(shard: &Explained) -> String {
    let Explained { id, rows, reads_per_s, writes_per_s, moves, .. } = shard;
    let bytes = output::bytes(shard.bytes);
    let mut lines = vec![format!(
        "shard {id} belongs to order {}: {rows} rows, {bytes}, {reads_per_s} reads/s, {writes_per_s} writes/s",
        output::or_dash(shard.order)
    )];
    lines.extend(shard.pin.map(|order| format!("it is pinned to order {order}")));
    if moves.is_empty() {
        lines.push("it is where it was founded".to_owned());
    }
    for made in moves {
        lines.push(format!("epoch {}, {}: {}", made.id, made.who, made.sentence()));
        lines.push(format!("  why        {}", made.why));
        lines.extend(made.predicted.iter().map(|text| format!("  predicted  {text}")));
        lines.extend(made.alternatives.iter().map(|text| format!("  instead    {text}")));
        lines.extend(made.effect.iter().map(|text| format!("  changed    {text}")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_tells_why_it_is_where_it_is() {
        let made = Migration {
            id: 9,
            shard: 7,
            from: 2,
            to: 3,
            phase: "collected".into(),
            over: true,
            who: "rebalance by count".into(),
            why: "order 2 has more".into(),
            predicted: Some("order 2 has 2 shards".into()),
            alternatives: vec!["to leave it".into()],
            effect: Some("order 2 has 2 shards; 5 rows crossed".into()),
            ..Migration::default()
        };
        let mut shard = Explained {
            id: 7,
            order: Some(3),
            pin: Some(3),
            rows: 5,
            bytes: 0,
            reads_per_s: 1,
            writes_per_s: 2,
            moves: vec![made],
        };
        assert_eq!(
            words(&shard),
            "shard 7 belongs to order 3: 5 rows, 0 B, 1 reads/s, 2 writes/s\n\
             it is pinned to order 3\n\
             epoch 9, rebalance by count: shard 7, order 2 to 3: collected\n  \
             why        order 2 has more\n  \
             predicted  order 2 has 2 shards\n  \
             instead    to leave it\n  \
             changed    order 2 has 2 shards; 5 rows crossed"
        );
        shard.moves.clear();
        assert!(words(&shard).ends_with("it is where it was founded"));
    }
}
