//! Members that are decided elsewhere: the kit does what a controller does, with an epoch for each list.

use shardbearer_core::engine::Start;
use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::protocol::Configuration;

use super::super::{Broken, ensure};
use super::Lab;
use super::group::{Group, ids};
use super::snapshots::DAMAGED;

/// Decides: one list per epoch, each led by a member that said it may.
struct Controller(Configuration);

impl Controller {
    fn of(count: u64) -> Controller {
        Controller(Configuration { epoch: Epoch(1), members: ids(count), ..Configuration::default() })
    }

    fn may_lead(&self, group: &Group<'_>, member: RadiantId) -> bool {
        let status = group.status(member);
        status.complete && status.term == self.0.epoch.0
    }

    /// Waits until all members that are up have taken the list over.
    async fn settled(&self, group: &Group<'_>) -> Result<(), Broken> {
        let up = group.up();
        let members: Vec<RadiantId> = self.0.members.iter().copied().filter(|id| up.contains(id)).collect();
        group
            .eventually("the list is taken over", || {
                members.iter().all(|member| self.may_lead(group, *member))
            })
            .await
    }

    /// Decides on a list of these and tells everybody who is up.
    async fn decide(
        &mut self,
        group: &Group<'_>,
        members: &[RadiantId],
        learners: &[RadiantId],
    ) -> Result<(), Broken> {
        let head = members.iter().copied().find(|member| self.may_lead(group, *member));
        let head = head.ok_or_else(|| Broken(format!("nobody of {members:?} says that it may lead")))?;
        let others = members.iter().copied().filter(|member| *member != head);
        self.0 = Configuration {
            epoch: Epoch(self.0.epoch.0 + 2),
            previous: self.0.epoch,
            members: std::iter::once(head).chain(others).collect(),
            learners: learners.to_vec(),
        };
        for id in group.up() {
            self.tell(group, id).await?;
        }
        Ok(())
    }

    async fn tell(&self, group: &Group<'_>, id: RadiantId) -> Result<(), Broken> {
        if group.status(id).term >= self.0.epoch.0 {
            return Ok(()); // another member was quicker
        }
        match group.engine(id)?.configure(self.0.clone()).await {
            Ok(()) | Err(RequestError::Refused(Refused::Invalid(_))) => Ok(()),
            Err(error) => Err(Broken(format!("{id} does not take its members over: {error}"))),
        }
    }

    /// Leaves a member out that is down.
    async fn leave_out(&mut self, group: &Group<'_>, down: RadiantId) -> Result<(), Broken> {
        self.settled(group).await?;
        let rest: Vec<RadiantId> = self.0.members.iter().copied().filter(|id| *id != down).collect();
        let learners: Vec<RadiantId> = self.0.learners.iter().copied().chain([down]).collect();
        self.decide(group, &rest, &learners).await
    }

    /// Takes a learner back once it has what the head has.
    async fn take_back(&mut self, group: &Group<'_>, learner: RadiantId) -> Result<(), Broken> {
        self.tell(group, learner).await?;
        self.settled(group).await?;
        let head = self.0.members[0];
        group
            .eventually("the learner catches up", || {
                let (learner, head) = (group.status(learner), group.status(head));
                learner.complete && learner.term == self.0.epoch.0 && learner.applied >= head.applied
            })
            .await?;
        let members: Vec<RadiantId> = self.0.members.iter().copied().chain([learner]).collect();
        let rest: Vec<RadiantId> = self.0.learners.iter().copied().filter(|id| *id != learner).collect();
        self.decide(group, &members, &rest).await
    }
}

pub(super) async fn each_member_is_left_out_and_taken_back(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(40);
    let mut group = lab.found(3).await?;
    let mut controller = Controller::of(3);
    group.writes(5).await?;
    for id in ids(3) {
        group.crash(id);
        controller.leave_out(&group, id).await?;
        // More than the log keeps, so that it needs all there is.
        group.writes(100).await?;
        group.restart(id).await?;
        controller.take_back(&group, id).await?;
        group.writes(5).await?;
        controller.settled(&group).await?;
        group.check()?;
    }
    group.converge().await
}

/// Not one byte of a damaged image counts, and a learner gets another.
pub(super) async fn a_learner_that_got_a_damaged_image_gets_another(lab: &Lab<'_>) -> Result<(), Broken> {
    lab.compact_after(40);
    let mut group = lab.found(3).await?;
    let mut controller = Controller::of(3);
    let learner = RadiantId(3);
    group.writes(5).await?;
    group.crash(learner);
    controller.leave_out(&group, learner).await?;
    // More than the log keeps.
    group.writes(100).await?;
    group.data(learner).damage(DAMAGED);
    group.restart(learner).await?;
    controller.take_back(&group, learner).await?;
    let (damaged, installed) = (group.data(learner).damaged(), group.data(learner).installed());
    ensure!(damaged == DAMAGED, "the learner went on after {damaged} of {DAMAGED} damaged images");
    ensure!(installed > 0, "the learner caught up without an image");
    group.converge().await
}

/// The others have forgotten the few entries that it lacks, so it needs an image; were it a member before, they would wait.
pub(super) async fn a_learner_that_needs_an_image_does_not_say_that_it_has_caught_up(
    lab: &Lab<'_>,
) -> Result<(), Broken> {
    lab.compact_after(40);
    let mut group = lab.found(3).await?;
    let mut controller = Controller::of(3);
    let learner = RadiantId(3);
    group.writes(5).await?;
    group.crash(learner);
    controller.leave_out(&group, learner).await?;
    group.writes(100).await?;
    // So that it takes a while until a good one comes.
    group.data(learner).damage(DAMAGED);
    group.restart(learner).await?;
    controller.tell(&group, learner).await?;
    let term = controller.0.epoch.0;
    let says_so = || {
        let status = group.status(learner);
        status.complete && status.term == term
    };
    let without = || says_so() && group.data(learner).installed() == 0;
    group.eventually("the learner catches up", || without() || says_so()).await?;
    ensure!(!without(), "a learner without an image says that it has caught up");
    controller.take_back(&group, learner).await?;
    group.converge().await
}

pub(super) async fn all_but_one_fail_one_after_the_other(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(4).await?;
    let mut controller = Controller::of(4);
    group.writes(5).await?;
    for id in ids(3) {
        group.crash(id);
        controller.leave_out(&group, id).await?;
        group.writes(5).await?;
    }
    for id in ids(3) {
        group.restart(id).await?;
        controller.take_back(&group, id).await?;
    }
    group.writes(5).await?;
    // Somebody new as well.
    group.add(RadiantId(5), Start::Join).await?;
    controller.settled(&group).await?;
    let members = controller.0.members.clone();
    controller.decide(&group, &members, &[RadiantId(5)]).await?;
    controller.take_back(&group, RadiantId(5)).await?;
    group.writes(5).await?;
    group.converge().await
}

pub(super) async fn an_epoch_that_is_over_changes_nothing(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(3).await?;
    let mut controller = Controller::of(3);
    group.writes(5).await?;
    group.crash(RadiantId(3));
    controller.leave_out(&group, RadiantId(3)).await?;
    group.writes(5).await?;
    let old = Configuration { epoch: Epoch(2), previous: Epoch(1), members: ids(3), learners: Vec::new() };
    for id in group.up() {
        let answer = group.engine(id)?.configure(old.clone()).await;
        ensure!(matches!(answer, Err(RequestError::Refused(_))), "an old epoch is taken over: {answer:?}");
    }
    group.writes(5).await?;
    group.restart(RadiantId(3)).await?;
    controller.take_back(&group, RadiantId(3)).await?;
    group.writes(5).await?;
    group.converge().await
}
