//! Radiants become clusters, and stay what they were over restarts.

use super::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn founders_of_any_number_become_one_cluster_that_serves() {
    for count in [1, 3, 5, 7] {
        let (_folder, radiants) = cluster(count).await;
        let ids: Vec<_> =
            radiants.iter().map(|radiant| radiant.running.cluster.map.topology().cluster).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{count} radiants, one cluster");
        for (i, radiant) in radiants.iter().enumerate() {
            for key in 0..20 {
                radiant.put(&format!("{i}-{key}"), "value").await.expect("written");
            }
        }
        for radiant in &radiants {
            assert_eq!(radiant.get("0-7").await.as_deref(), Some("value"));
        }
        for radiant in radiants {
            radiant.stop().await;
        }
    }
}
