//! Who decides on members where they do not: the kit does what a controller does, with an epoch for each list.

use shardbearer_core::error::{Refused, RequestError};
use shardbearer_core::ids::{Epoch, RadiantId};
use shardbearer_core::protocol::Configuration;

use super::super::Broken;
use super::group::{Group, ids};

/// Decides: one list per epoch, each led by a member that said it may.
pub(super) struct Controller(Configuration);

impl Controller {
    /// Of an order that so many have founded.
    pub(super) fn of(count: u64) -> Controller {
        Controller(Configuration { epoch: Epoch(1), members: ids(count), ..Configuration::default() })
    }

    /// The members of the present list.
    pub(super) fn members(&self) -> Vec<RadiantId> {
        self.0.members.clone()
    }

    /// The epoch of the present list.
    pub(super) fn term(&self) -> u64 {
        self.0.epoch.0
    }

    fn may_lead(&self, group: &Group<'_>, member: RadiantId) -> bool {
        let status = group.status(member);
        status.complete && status.term == self.0.epoch.0
    }

    /// Waits until all members that are up have taken the list over.
    pub(super) async fn settled(&self, group: &Group<'_>) -> Result<(), Broken> {
        let up = group.up();
        let members: Vec<RadiantId> = self.0.members.iter().copied().filter(|id| up.contains(id)).collect();
        group
            .eventually("the list is taken over", || {
                members.iter().all(|member| self.may_lead(group, *member))
            })
            .await
    }

    /// Decides on a list of these, of whom the first that may leads, and tells everybody who is up.
    pub(super) async fn decide(
        &mut self,
        group: &Group<'_>,
        members: &[RadiantId],
        learners: &[RadiantId],
    ) -> Result<(), Broken> {
        self.decide_silently(group, members, learners)?;
        for id in group.up() {
            self.tell(group, id).await?;
        }
        Ok(())
    }

    /// The same, and tells nobody.
    fn decide_silently(
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
        Ok(())
    }

    pub(super) async fn tell(&self, group: &Group<'_>, id: RadiantId) -> Result<(), Broken> {
        if group.status(id).term >= self.0.epoch.0 {
            return Ok(()); // another member was quicker
        }
        match group.engine(id)?.configure(self.0.clone()).await {
            Ok(()) | Err(RequestError::Refused(Refused::Invalid(_))) => Ok(()),
            Err(error) => Err(Broken(format!("{id} does not take its members over: {error}"))),
        }
    }

    /// Leaves a member out that is down; it is a learner from now on.
    pub(super) async fn leave_out(&mut self, group: &Group<'_>, down: RadiantId) -> Result<(), Broken> {
        self.settled(group).await?;
        let rest: Vec<RadiantId> = self.0.members.iter().copied().filter(|id| *id != down).collect();
        let learners: Vec<RadiantId> = self.0.learners.iter().copied().chain([down]).collect();
        self.decide(group, &rest, &learners).await
    }

    /// Makes these the members, without a learner, and tells only `told` of it: the others may be cut off, or asleep, and hear
    /// of it from members, if they do.
    pub(super) async fn exclude_all_but(
        &mut self,
        group: &Group<'_>,
        members: &[RadiantId],
        told: &[RadiantId],
    ) -> Result<(), Broken> {
        group
            .eventually("somebody may lead", || members.iter().any(|member| self.may_lead(group, *member)))
            .await?;
        self.decide_silently(group, members, &[])?;
        for id in told {
            self.tell(group, *id).await?;
        }
        Ok(())
    }

    /// Takes one back that was excluded, and is reached again: first as a learner, then as a member.
    pub(super) async fn bring_back(&mut self, group: &Group<'_>, id: RadiantId) -> Result<(), Broken> {
        self.settled(group).await?;
        let members = self.members();
        self.decide(group, &members, &[id]).await?;
        self.take_back(group, id).await
    }

    /// Takes a learner back once it has what the head has.
    pub(super) async fn take_back(&mut self, group: &Group<'_>, learner: RadiantId) -> Result<(), Broken> {
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
