//! Members that live while they are excluded: cut off, or asleep. They know nothing of the new list, nor does it of them, so
//! nothing that they say may count: what the old list acknowledged is in the new one's log, and what is not, they must not
//! acknowledge; and others write on without them, so that what they have is old.

use std::sync::Arc;

use shardbearer_core::ids::RadiantId;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::{Broken, ensure, ensure_eq};
use super::Lab;
use super::controller::Controller;
use super::group::{Group, PATIENCE, ids};
use super::history::History;

/// Who is excluded of three, by places in their list: one, or two at a time.
const PLACES: [&[usize]; 6] = [&[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 2]];

/// Writes of the others in one phase.
const WRITES: usize = 6;

/// Of three members some are about to be excluded.
struct Trial<'a> {
    group: Group<'a>,
    controller: Controller,
    history: Arc<History>,
    out: Vec<RadiantId>,
    rest: Vec<RadiantId>,
    open: Vec<JoinHandle<bool>>,
}

/// Writes through whoever of these leads until a write is acknowledged.
pub(super) async fn written(
    group: &Group<'_>,
    history: &Arc<History>,
    ids: &[RadiantId],
) -> Result<(), Broken> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let leader = group.leader_of(ids).await?;
        if history.write(group, leader).await.unwrap_or(false) {
            return Ok(());
        }
        tokio::time::sleep(group.timing().heartbeat).await;
    }
    Err(Broken(format!("none of {ids:?} acknowledged a write within {PATIENCE:?}")))
}

/// Waits until whatever was asked for has ended.
pub(super) async fn ended(open: &mut Vec<JoinHandle<bool>>) -> Result<(), Broken> {
    for asked in open.drain(..) {
        asked.await.map_err(|error| Broken(error.to_string()))?;
    }
    Ok(())
}

/// Waits until all have the same, and looks back at everything.
pub(super) async fn judged(group: &Group<'_>, history: &History) -> Result<(), Broken> {
    let converged = group.converge().await;
    // What is lost or doubled says more than that not all have it.
    let longest = group.all().into_iter().map(|id| group.data(id).proposals()).max_by_key(Vec::len);
    history.judge(&longest.unwrap_or_default())?;
    converged
}

impl<'a> Trial<'a> {
    /// Three that have served, with writes on their way and barriers that are not answered yet.
    async fn of(lab: &'a Lab<'a>, places: &[usize]) -> Result<Trial<'a>, Broken> {
        let group = lab.found(3).await?;
        let (controller, history) = (Controller::of(3), Arc::<History>::default());
        let out: Vec<RadiantId> =
            places.iter().filter_map(|place| controller.members().get(*place).copied()).collect();
        let rest = ids(3).into_iter().filter(|id| !out.contains(id)).collect();
        let mut trial = Trial { group, controller, history, out, rest, open: Vec::new() };
        trial.controller.settled(&trial.group).await?;
        for _ in 0..3 {
            written(&trial.group, &trial.history, &ids(3)).await?;
        }
        for id in ids(3) {
            trial.ask(id);
        }
        tokio::time::sleep(std::time::Duration::from_micros(lab.below(12_000))).await;
        Ok(trial)
    }

    fn ask(&mut self, id: RadiantId) {
        self.open.push(self.history.write(&self.group, id));
        self.open.push(self.history.read(&self.group, id));
    }

    /// Excludes them. Only who stays is told.
    async fn exclude(&mut self) -> Result<(), Broken> {
        self.controller.exclude_all_but(&self.group, &self.rest, &self.rest).await
    }

    /// The others write on, and everybody is asked again and again.
    async fn write_on(&mut self) -> Result<(), Broken> {
        let since = self.history.moment();
        for _ in 0..WRITES {
            written(&self.group, &self.history, &self.rest).await?;
            for id in self.out.clone() {
                self.ask(id);
            }
            for id in &self.rest {
                self.open.push(self.history.read(&self.group, *id));
            }
            tokio::time::sleep(self.group.timing().heartbeat / 4).await;
        }
        ended(&mut self.open).await?;
        ensure!(self.history.reads_since(since, &self.rest) > 0, "nobody who stayed answers a read");
        Ok(())
    }

    /// Since that moment no answer of theirs to a write can have been right.
    fn acknowledged_nothing_since(&self, moment: u64) -> Result<(), Broken> {
        let acknowledged = self.history.acknowledged_since(moment, &self.out);
        ensure_eq!(acknowledged, None, "acknowledged by a member that is excluded, and that nobody hears");
        Ok(())
    }

    /// All are connected, and those that were excluded are members again.
    async fn end(mut self) -> Result<(), Broken> {
        self.write_on().await?;
        for id in self.out.clone() {
            self.controller.bring_back(&self.group, id).await?;
        }
        written(&self.group, &self.history, &ids(3)).await?;
        judged(&self.group, &self.history).await
    }
}

pub(super) async fn who_is_excluded_while_cut_off_acknowledges_nothing_and_reads_nothing_old(
    lab: &Lab<'_>,
) -> Result<(), Broken> {
    for places in PLACES {
        let mut trial = Trial::of(lab, places).await?;
        trial.group.net.part(&trial.out, &trial.rest);
        let cut = trial.history.moment();
        trial.exclude().await?;
        trial.write_on().await?;
        // It is heard and hears nothing; then the other way round. Nobody tells it.
        for speaks in [true, false] {
            trial.group.net.heal();
            for (one, other) in
                trial.out.iter().flat_map(|one| trial.rest.iter().map(move |other| (*one, *other)))
            {
                if speaks { trial.group.net.cut(other, one) } else { trial.group.net.cut(one, other) }
            }
            trial.write_on().await?;
        }
        trial.acknowledged_nothing_since(cut)?;
        trial.group.net.heal();
        trial.end().await?;
    }
    Ok(())
}

pub(super) async fn who_is_excluded_while_it_stands_still_acknowledges_nothing_and_reads_nothing_old(
    lab: &Lab<'_>,
) -> Result<(), Broken> {
    for (places, hears) in PLACES.iter().flat_map(|places| [(places, true), (places, false)]) {
        let mut trial = Trial::of(lab, places).await?;
        trial.out.iter().for_each(|id| trial.group.pause(*id));
        trial.exclude().await?;
        let excluded = trial.history.moment();
        // Longer than anybody's patience, by everybody else's clock.
        trial.group.pass(2).await;
        trial.write_on().await?;
        if !hears {
            // What was sent to it before comes; that it is excluded does not.
            trial.group.net.part(&trial.out, &trial.rest);
        }
        // These it finds when it wakes.
        for id in trial.out.clone() {
            trial.ask(id);
        }
        trial.out.iter().for_each(|id| trial.group.resume(*id));
        trial.write_on().await?;
        if !hears {
            trial.acknowledged_nothing_since(excluded)?;
            trial.group.net.heal();
        }
        trial.end().await?;
    }
    Ok(())
}
