//! Closing.

use std::time::Duration;

use shardbearer_core::error::RequestError;

use super::super::{Broken, ensure, ensure_eq};
use super::Lab;
use super::group::PATIENCE;

pub(super) async fn pending_submits_end_when_the_member_closes(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    group.write().await?;
    let leader = group.leader().await?;
    let engine = group.engine(leader)?;
    group.net.part(&[leader], &group.all());
    let pending: Vec<_> = (0..50)
        .map(|_| {
            let (engine, proposal) = (engine.clone(), group.fresh());
            tokio::spawn(async move { engine.propose(proposal).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let closing = tokio::time::timeout(PATIENCE, engine.close()).await;
    ensure!(closing.is_ok(), "close does not return while writes are pending");
    for attempt in pending {
        let answer = tokio::time::timeout(PATIENCE, attempt).await;
        match answer.map_err(|_| Broken("a pending write never ended after close".into()))? {
            Ok(Err(RequestError::Unknown(_) | RequestError::Refused(_))) => {}
            other => return Err(Broken(format!("a pending write of a closed minority: {other:?}"))),
        }
    }
    Ok(())
}

pub(super) async fn a_closed_member_says_so_and_refuses(lab: &Lab<'_>) -> Result<(), Broken> {
    let group = lab.found(3).await?;
    group.write().await?;
    let leader = group.leader().await?;
    let engine = group.engine(leader)?;
    let since = engine.status().version;
    let waiting = {
        let engine = engine.clone();
        tokio::spawn(async move {
            let mut status = engine.changed(since).await;
            while !status.closed {
                status = engine.changed(status.version).await;
            }
            status
        })
    };
    engine.close().await;
    engine.close().await;
    let status = tokio::time::timeout(PATIENCE, waiting).await;
    let status = status.map_err(|_| Broken("changed() does not return after close".into()))?;
    ensure!(status.is_ok_and(|status| status.closed && !status.leading), "the status after close");
    let answer = tokio::time::timeout(PATIENCE, engine.propose(group.fresh())).await;
    ensure!(matches!(answer, Ok(Err(_))), "a closed member was proposed to: {answer:?}");
    let read = tokio::time::timeout(PATIENCE, engine.read_barrier()).await;
    ensure!(matches!(read, Ok(Err(_))), "a closed member was read from: {read:?}");
    let rest: Vec<_> = group.up().into_iter().filter(|id| *id != leader).collect();
    if (lab.capabilities().tolerates)(3) > 0 {
        group.write_to(&rest).await?;
    }
    ensure_eq!(group.status(leader).failure, None, "failure of a member that was closed");
    Ok(())
}
