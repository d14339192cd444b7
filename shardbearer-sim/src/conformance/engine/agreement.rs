//! What is acknowledged is applied everywhere, once, in one order; what is not, may be, but nowhere else.

use bytes::Bytes;
use shardbearer_core::error::RequestError;
use shardbearer_core::ids::RadiantId;

use super::super::{Broken, ensure, ensure_eq};
use super::Lab;
use super::group::{ANSWER, Group};
use super::net::Weather;

pub(super) async fn all_members_apply_what_was_acknowledged(lab: &Lab<'_>) -> Result<(), Broken> {
    for count in [2, 3, 5] {
        let group = lab.found(count).await?;
        let leader = group.leader().await?;
        group.writes(20).await?;
        let at_once = group.data(leader).proposals();
        ensure!(
            group.acknowledged().iter().all(|proposal| at_once.contains(proposal))
                || !group.status(leader).leading,
            "acknowledged before it was applied where it was proposed"
        );
        group.converge().await?;
    }
    Ok(())
}

pub(super) async fn an_idle_or_healthy_group_resends_nothing_needlessly(lab: &Lab<'_>) -> Result<(), Broken> {
    const WRITES: u64 = 50;
    let group = lab.found(3).await?;
    group.converge().await?;
    let before = group.net.frames();
    group.pass(10).await;
    let idle = group.net.frames() - before;
    // Ten election timeouts, each of about ten heartbeats, to two members, with an answer each; twice that for
    // protocols in which each member asks each.
    let beats = group.timing().election_max.as_millis() * 10 / group.timing().heartbeat.as_millis();
    ensure!(u128::from(idle) <= beats * 3 * 2 * 2, "an idle group sent {idle} frames in {beats} heartbeats");
    let (before, start) = (group.net.frames(), tokio::time::Instant::now());
    group.writes(WRITES as usize).await?;
    let took = start.elapsed().as_millis() / group.timing().heartbeat.as_millis() + 1;
    let sent = group.net.frames() - before;
    let bound = u128::from(WRITES) * 12 + took * 12;
    ensure!(u128::from(sent) <= bound, "{WRITES} writes took {sent} frames in {took} heartbeats");
    Ok(())
}

/// As the published lab counts it: what is proposed crosses the wire to each other member once, and little else does.
pub(super) async fn each_entry_goes_to_each_member_once(lab: &Lab<'_>) -> Result<(), Broken> {
    const WRITES: u64 = 20;
    const LENGTH: u64 = 5_000;
    const BESIDES: u64 = 1_000; // for each entry: headers, answers, heartbeats meanwhile
    let group = lab.found(3).await?;
    group.converge().await?;
    let leader = group.leader().await?;
    let before = group.net.bytes();
    for _ in 0..WRITES {
        let mut proposal = group.fresh().to_vec();
        proposal.resize(LENGTH as usize, b'.');
        let proposal = Bytes::from(proposal);
        let answer = group.propose(leader, proposal.clone()).await;
        answer.map_err(|error| Broken(format!("a write in a healthy group: {error}")))?;
        group.acknowledge(proposal);
    }
    group.converge().await?;
    let sent = group.net.bytes() - before;
    let bound = WRITES * 2 * (LENGTH + BESIDES);
    ensure!(
        sent <= bound,
        "{WRITES} entries of {LENGTH} bytes took {sent} bytes to two others, allowed {bound}"
    );
    Ok(())
}

/// The longest entry that is taken is longer than what is sent at once, and what is taken has to arrive.
pub(super) async fn entries_longer_than_a_message_are_replicated(lab: &Lab<'_>) -> Result<(), Broken> {
    let longest = lab.short_messages();
    let group = lab.found(3).await?;
    long_writes(&group, 3, longest).await?;
    group.converge().await
}

/// Also where many of them are missing at once.
pub(super) async fn who_was_away_gets_entries_longer_than_a_message(lab: &Lab<'_>) -> Result<(), Broken> {
    let longest = lab.short_messages();
    let mut group = lab.found(3).await?;
    let leader = group.leader().await?;
    let away = group.up().into_iter().find(|id| *id != leader);
    let away = away.ok_or_else(|| Broken("a group of three has others than its leader".into()))?;
    group.crash(away);
    long_writes(&group, 3, longest).await?;
    group.restart(away).await?;
    group.converge().await
}

/// Writes that are acknowledged; who leads may change meanwhile.
async fn long_writes(group: &Group<'_>, count: usize, length: usize) -> Result<(), Broken> {
    for _ in 0..count {
        let mut last = None;
        for _ in 0..10 {
            let leader = group.leader().await?;
            let mut proposal = group.fresh().to_vec();
            proposal.resize(length, b'.');
            let proposal = Bytes::from(proposal);
            match group.propose(leader, proposal.clone()).await {
                Ok(_) => {
                    group.acknowledge(proposal);
                    last = None;
                    break;
                }
                Err(error) => last = Some(error),
            }
        }
        if let Some(error) = last {
            return Err(Broken(format!("no entry of {length} bytes was acknowledged: {error}")));
        }
    }
    Ok(())
}

pub(super) async fn followers_that_fail_are_not_missed(lab: &Lab<'_>) -> Result<(), Broken> {
    for count in [3, 5] {
        let mut group = lab.found(count).await?;
        let leader = group.leader().await?;
        let failures = (lab.capabilities().tolerates)(count as usize);
        let failing: Vec<RadiantId> =
            group.up().into_iter().filter(|id| *id != leader).take(failures).collect();
        failing.iter().for_each(|id| group.crash(*id));
        group.writes(10).await?;
        for id in failing {
            group.restart(id).await?;
        }
        group.converge().await?;
    }
    Ok(())
}

pub(super) async fn a_new_leader_goes_on_where_the_old_one_failed(lab: &Lab<'_>) -> Result<(), Broken> {
    let mut group = lab.found(5).await?;
    let mut failed = Vec::new();
    for _ in 0..(lab.capabilities().tolerates)(5) {
        group.writes(5).await?;
        let leader = group.leader().await?;
        group.crash(leader);
        failed.push(leader);
        group.writes(5).await?;
    }
    group.check()?;
    for id in failed {
        group.restart(id).await?;
    }
    group.converge().await
}

pub(super) async fn writes_at_once_are_each_applied_once(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    group.write().await?;
    let leader = group.leader().await?;
    let attempts: Vec<(Bytes, _)> = (0..200)
        .map(|_| {
            let proposal = group.fresh();
            (proposal.clone(), tokio::spawn(group.propose(leader, proposal)))
        })
        .collect();
    for (proposal, attempt) in attempts {
        let answer = attempt.await.map_err(|error| Broken(error.to_string()))?;
        let answer = answer.map_err(|error| Broken(format!("at once with others, {proposal:?}: {error}")))?;
        ensure_eq!(answer.get(8..), Some(&proposal[..]), "the answer to {proposal:?}");
        group.acknowledge(proposal);
    }
    group.converge().await
}

pub(super) async fn nothing_is_acknowledged_without_a_quorum(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(5).await?;
    group.write().await?;
    let leader = group.leader().await?;
    group.net.part(&group.all(), &group.all());
    let attempts: Vec<_> = (0..10).map(|_| tokio::spawn(group.propose(leader, group.fresh()))).collect();
    for attempt in attempts {
        let answer = attempt.await.map_err(|error| Broken(error.to_string()))?;
        ensure!(answer.is_err(), "one of five acknowledged a write, alone: {answer:?}");
    }
    group.net.heal();
    // They may have happened or not, but the same everywhere; and the group serves again.
    group.writes(5).await?;
    group.converge().await
}

/// Cuts the leader off, alone or with one follower of five.
async fn leader_in_a_minority(group: &Group<'_>) -> Result<(RadiantId, Vec<RadiantId>), Broken> {
    let leader = group.leader().await?;
    let mut minority = vec![leader];
    minority.extend(group.up().into_iter().find(|id| *id != leader));
    let rest: Vec<RadiantId> = group.up().into_iter().filter(|id| !minority.contains(id)).collect();
    group.net.part(&minority, &rest);
    Ok((leader, rest))
}

pub(super) async fn a_hundred_submits_in_a_minority_do_not_succeed(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(5).await?;
    group.write().await?;
    let (leader, rest) = leader_in_a_minority(&group).await?;
    let attempts: Vec<_> = (0..100).map(|_| tokio::spawn(group.propose(leader, group.fresh()))).collect();
    group.write_to(&rest).await?;
    for attempt in attempts {
        let answer = attempt.await.map_err(|error| Broken(error.to_string()))?;
        ensure!(answer.is_err(), "a minority acknowledged a write: {answer:?}");
    }
    group.check()?;
    group.net.heal();
    group.converge().await
}

pub(super) async fn a_partitioned_leader_rejoins_and_its_own_entries_vanish_or_stay_everywhere(
    lab: &Lab<'_>,
) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    group.write().await?;
    let first = group.leader().await?;
    let others: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != first).collect();
    group.net.part(&[first], &others);
    let lost: Vec<_> = (0..5).map(|_| tokio::spawn(group.propose(first, group.fresh()))).collect();
    group.write_to(&others).await?;
    let second = group.leader_of(&others).await?;
    // The second is cut off in its turn, with entries of its own, and the first comes back.
    group.net.heal();
    let rest: Vec<RadiantId> = group.up().into_iter().filter(|id| *id != second).collect();
    group.net.part(&[second], &rest);
    let also: Vec<_> = (0..5).map(|_| tokio::spawn(group.propose(second, group.fresh()))).collect();
    group.write_to(&rest).await?;
    group.net.heal();
    group.converge().await?;
    for attempt in lost.into_iter().chain(also) {
        // Whatever they were answered, convergence has shown that nobody applied them alone.
        attempt.await.map(drop).map_err(|error| Broken(error.to_string()))?;
    }
    group.check()
}

pub(super) async fn a_long_wrong_log_is_backed_up_fast(lab: &Lab<'_>) -> Result<(), Broken> {
    const WRONG: usize = 200;
    let group = lab.found(5).await?;
    // What was on its way when the links were cut may be waited for, as a client would, and somebody else be elected.
    let allowed = ANSWER + group.timing().election_max * 3;
    group.write().await?;
    for _ in 0..3 {
        let (leader, rest) = leader_in_a_minority(&group).await?;
        let wrong: Vec<_> = (0..WRONG).map(|_| tokio::spawn(group.propose(leader, group.fresh()))).collect();
        let right = group.leader_of(&rest).await?;
        let attempts: Vec<(Bytes, _)> = (0..WRONG)
            .map(|_| {
                let proposal = group.fresh();
                (proposal.clone(), tokio::spawn(group.propose(right, proposal)))
            })
            .collect();
        for (proposal, attempt) in attempts {
            if let Ok(Ok(_)) = attempt.await {
                group.acknowledge(proposal);
            }
        }
        let (frames, start) = (group.net.frames(), tokio::time::Instant::now());
        group.net.heal();
        group.everywhere().await?;
        let beats = start.elapsed().as_millis() / group.timing().heartbeat.as_millis() + 1;
        let sent = u128::from(group.net.frames() - frames);
        // One frame an entry would be 400 and more; heartbeats go on meanwhile. One entry a heartbeat would be few frames,
        // and last for 200 heartbeats.
        ensure!(sent < 200 + beats * 24, "{sent} frames to back up over {WRONG} entries, {beats} heartbeats");
        let took = start.elapsed();
        ensure!(took <= allowed, "{took:?} to back up over {WRONG} entries, allowed {allowed:?}");
        group.converge().await?;
        for attempt in wrong {
            attempt.await.map(drop).map_err(|error| Broken(error.to_string()))?;
        }
    }
    Ok(())
}

pub(super) async fn a_foul_network_delays_and_changes_nothing(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(5).await?;
    group.net.weather(Weather::FOUL);
    for _ in 0..10 {
        group.writes(10).await?;
        group.check()?;
    }
    group.net.weather(Weather::FAIR);
    group.converge().await
}

pub(super) async fn what_was_refused_is_never_applied(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    let mut refused = Vec::new();
    for round in 0..6 {
        let leader = group.leader().await?;
        let mut attempts = Vec::new();
        for id in group.up().into_iter().cycle().take(15) {
            let proposal = group.fresh();
            attempts.push((proposal.clone(), tokio::spawn(group.propose(id, proposal))));
        }
        if round % 2 == 0 {
            group.net.part(&[leader], &group.all());
        }
        for (proposal, attempt) in attempts {
            match attempt.await.map_err(|error| Broken(error.to_string()))? {
                Ok(_) => group.acknowledge(proposal),
                Err(RequestError::Refused(_)) => refused.push(proposal),
                Err(RequestError::Unknown(_)) => {}
            }
        }
        group.net.heal();
    }
    group.converge().await?;
    for id in group.all() {
        let applied = group.data(id).proposals();
        let lie = refused.iter().find(|proposal| applied.contains(proposal));
        ensure_eq!(lie, None, "refused and yet applied on {id}");
    }
    Ok(())
}

pub(super) async fn rubbish_from_a_peer_has_no_effect(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    group.write().await?;
    for length in 0..300 {
        let mut bytes: Vec<u8> = (0..length % 70).map(|_| lab.below(256) as u8).collect();
        // Half of it looks like something.
        if length % 2 == 0 {
            bytes.iter_mut().take(2).for_each(|byte| *byte %= 12);
            bytes.iter_mut().take(1).for_each(|byte| *byte = 1);
        }
        for id in group.up() {
            let from = if length % 3 == 0 { RadiantId(u64::MAX) } else { group.leader().await? };
            let engine = group.engine(id)?;
            let received = engine.receive(from, bytes.clone().into());
            let answered = tokio::time::timeout(super::group::PATIENCE, received).await;
            ensure!(answered.is_ok(), "rubbish is never done with: {bytes:?}");
        }
    }
    for id in group.up() {
        ensure_eq!(group.status(id).failure, None, "failure of {id} after rubbish");
    }
    group.converge().await
}
