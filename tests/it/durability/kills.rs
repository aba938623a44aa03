//! rk alone: SIGKILL at random moments under writes.

use std::time::Duration;

use super::random_moment;
use super::writers::Writers;
use crate::harness::Cluster;

/// How often the server is killed.
const KILLS: usize = 100;

#[test]
fn every_acknowledged_write_survives_a_hundred_kills() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    let writers = Writers::new();
    for _ in 0..KILLS {
        let working = writers.start(&cluster.machine, cluster.kubeconfig());
        random_moment(Duration::from_millis(300));
        cluster.kill();
        working.end();
        cluster.go();
        writers.compare(&cluster.machine, &cluster.kubeconfig());
    }
    let written = writers.count();
    println!("{written} writes were acknowledged over {KILLS} kills");
    assert!(written > 10 * KILLS, "only {written} writes: the kills came too early");
}

/// A watch from before a crash is told to list again: it would miss what the crash cut off.
#[test]
fn a_watch_from_before_a_crash_is_gone() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("create configmap before").ok();
    let list = cluster.kubectl("get --raw /api/v1/namespaces/default/configmaps").ok();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
    cluster.kill();
    cluster.go();
    let watch = format!(
        "get --raw /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=5&resourceVersion={revision}"
    );
    let answer = cluster.kubectl(&watch);
    let told = format!("{}{}", answer.out, answer.err);
    assert!(told.contains("too old resource version") || told.contains("Expired"), "{told}");
}
