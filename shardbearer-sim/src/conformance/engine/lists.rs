//! Members that are decided elsewhere, who are down while they are left out. Of those that live meanwhile: [`super::excluded`].

use shardbearer_core::engine::Start;
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::protocol::Configuration;

use super::super::{Broken, ensure};
use super::Lab;
use super::controller::Controller;
use super::group::ids;
use super::snapshots::DAMAGED;

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
    let term = controller.term();
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
    let members = controller.members();
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
