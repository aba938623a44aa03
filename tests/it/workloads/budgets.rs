//! Evictions and the budgets that bound them.

use super::{IMAGE, cluster, wait_for};
use crate::guestbook::eventually;

const BUDGET: &str = "\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
";

#[test]
fn a_drain_waits_for_the_budget() {
    let cluster = cluster();
    let create = format!("create deployment web --image={IMAGE} --replicas=2 -- sleep 1d");
    cluster.kubectl(&create).ok();
    cluster.kubectl("rollout status deployment/web --timeout=60s").ok();
    cluster.apply(BUDGET).ok();
    wait_for(&cluster, "pdb/web", "{.status.currentHealthy}", "2");
    let table = cluster.kubectl("get pdb web --no-headers").ok();
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(cells[..4], ["web", "2", "N/A", "0"], "{table}");
    let drain = "drain node-1 --ignore-daemonsets --grace-period=1 --timeout=3s";
    let refused = cluster.kubectl(drain);
    assert!(!refused.status.success());
    let why = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert!(refused.err.contains(why), "{}", refused.err);
    // One more pod than is needed: one may go at a time.
    cluster.kubectl("uncordon node-1").ok();
    cluster.kubectl("scale deployment web --replicas=3").ok();
    wait_for(&cluster, "pdb/web", "{.status.disruptionsAllowed}", "1");
    let pods = cluster.kubectl("get pods -l app=web -o name").ok();
    let names: Vec<&str> = pods.lines().filter_map(|line| line.strip_prefix("pod/")).collect();
    let evict = |name: &str| {
        let body = format!(
            r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{name}"}}}}"#
        );
        let path = format!("/api/v1/namespaces/default/pods/{name}/eviction");
        cluster.kubectl_with(&["create", "--raw", &path, "-f", "-"], &body)
    };
    // Nothing takes the place of the first before the second is asked for.
    cluster.kubectl("cordon node-1").ok();
    evict(names[0]).ok();
    let refused = evict(names[1]);
    assert!(refused.err.contains(why), "{}", refused.err);
    cluster.kubectl("uncordon node-1").ok();
    eventually("another takes the place of the first", || {
        let ran = evict(names[1]);
        if ran.status.success() { Ok(()) } else { Err(ran.err) }
    });
    cluster.kubectl("delete pdb web").ok();
    cluster.kubectl("drain node-1 --ignore-daemonsets --grace-period=1 --timeout=60s").ok();
}
