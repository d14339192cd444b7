//! The same again: what an engine does comes from its inputs and from what its `World` draws, and from nothing else.

use super::super::Broken;
use super::durability::all_crash;
use super::net::{Sent, Weather};
use super::{Lab, snapshots};

/// A group through all that changes its course. What it said is noted, and has to come again with the same seed: the
/// kit runs this twice, see [`super::violation`].
pub(super) async fn the_same_seed_gives_the_same_trace(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(40);
    let mut group = lab.found(3).await?;
    group.net.keep();
    group.writes(5).await?;
    group.net.weather(Weather { lost: 30, doubled: 30, late: 30, ..Weather::FOUL });
    group.writes(20).await?;
    group.net.weather(Weather::FAIR);
    let leader = group.leader().await?;
    let at_once: Vec<_> = (0..30).map(|_| tokio::spawn(group.propose(leader, group.fresh()))).collect();
    for attempt in at_once {
        // Its answer is seen in the data of all.
        attempt.await.map(drop).map_err(|error| Broken(error.to_string()))?;
    }
    group.crash(leader);
    group.pass(1).await;
    group.restart(leader).await?;
    group.writes(5).await?;
    if (lab.capabilities().tolerates)(3) > 0 {
        snapshots::left_behind(&group).await?;
        group.net.heal();
    }
    group.converge().await?;
    all_crash(&mut group).await?;
    group.converge().await?;
    lab.note(group.net.kept());
    Ok(())
}

/// Whether two runs were the same; otherwise the first difference.
pub(super) fn compare(once: &[Sent], again: &[Sent]) -> Result<(), Broken> {
    let differs = once.iter().zip(again).position(|(one, other)| one != other);
    let place = differs.or((once.len() != again.len()).then(|| once.len().min(again.len())));
    let Some(place) = place else { return Ok(()) };
    let (one, other) = (once.get(place), again.get(place));
    Err(Broken(format!("with the same seed frame {place} was {one:?}, and the second time {other:?}")))
}
