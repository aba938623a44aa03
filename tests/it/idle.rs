//! A cluster that has nothing to do does nothing: the cheapest way to find loops that fight with
//! each other, or with what the API makes of their writes.

use std::time::Duration;

use crate::guestbook;
use crate::harness::Cluster;

/// How long nothing may happen.
const QUIET: Duration = Duration::from_secs(5);
/// Writes that may happen in that time: two renewals of the node's Lease, one report of its state.
const WRITES_MAX: u64 = 3;

/// Objects whose stored form is not what their controllers would write themselves.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {selector: {app: w}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {selector: {app: w}, clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: none}, ports: [{port: 80, targetPort: named}]}
---
apiVersion: v1
kind: Service
metadata: {name: manual}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: w}
spec:
  replicas: 2
  selector: {matchLabels: {app: w}}
  template:
    metadata: {labels: {app: w}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: guestbook/web:1}]
"#;

fn revision(cluster: &Cluster) -> u64 {
    let list = cluster.kubectl("get --raw /api/v1/namespaces?limit=1").ok();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_settled_cluster_writes_nothing() {
    let cluster = guestbook::cluster(&[]);
    cluster.apply(OBJECTS).ok();
    cluster.kubectl("rollout status deployment/w --timeout=60s").ok();
    // Late reports of what has happened are no loops: they end.
    guestbook::eventually("a quiet cluster", || {
        let before = revision(&cluster);
        let (_never, timer) = std::sync::mpsc::channel::<()>();
        let _ = timer.recv_timeout(QUIET);
        let writes = revision(&cluster) - before;
        if writes <= WRITES_MAX { Ok(()) } else { Err(format!("{writes} writes in {QUIET:?}")) }
    });
}
