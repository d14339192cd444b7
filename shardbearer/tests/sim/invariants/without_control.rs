//! The data plane serves while the control order is down: cut off all that has to do with it, and every key is served.

use std::time::Duration;

use shardbearer_core::ids::OrderId;
use shardbearer_core::kv::{Condition, Reply};

use crate::clients::{self, execute};
use crate::cluster::{Cluster, SHARDS};
use crate::environment;

/// Of virtual time, for a scherald to notice that nobody hears it, and for a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// So that all its members notice, and stand for election in vain.
const WHILE: Duration = Duration::from_secs(1);

/// To be asked of a cluster in which all is well. The control order stays cut off.
pub async fn check(cluster: &Cluster) -> Result<(), String> {
    cluster.universe.event(format_args!("the control order is cut off"));
    cluster.net.hush(Some(environment::is_of_control));
    let nobody_decides = async {
        while decides(cluster) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let given_up = tokio::time::timeout(PATIENCE, nobody_decides).await;
    given_up.map_err(|_| "a scherald that nobody hears does not step down".to_owned())?;
    tokio::time::sleep(WHILE).await;
    for (number, key) in (0..SHARDS * 4).map(|number| (number, format!("alive-{number}"))) {
        // All keys, and all doors.
        let machine = &cluster.machines[number % cluster.machines.len()];
        let put = clients::put(&key.clone().into(), &"alone".into(), Condition::Always);
        let answer = execute(machine, put, PATIENCE).await;
        if !matches!(answer, Some(Ok(Reply::Written { .. }))) {
            let name = &machine.name;
            return Err(format!("without the control order {key} is not served by {name}: {answer:?}"));
        }
    }
    Ok(())
}

fn decides(cluster: &Cluster) -> bool {
    cluster.machines.iter().filter_map(|machine| machine.running()).any(|(running, _)| {
        let engine = running.cluster.engine(OrderId::CONTROL);
        engine.is_some_and(|engine| engine.status().leading)
    })
}
