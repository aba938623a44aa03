//! ReplicationControllers, and what runs pods.

use super::{IMAGE, cluster, field, wait_for};
use crate::guestbook::eventually;

fn controller() -> String {
    format!(
        "apiVersion: v1
kind: ReplicationController
metadata: {{name: rc}}
spec:
  replicas: 2
  selector: {{app: rc}}
  template:
    metadata: {{labels: {{app: rc}}}}
    spec: {{containers: [{{name: c, image: \"{IMAGE}\", command: [sleep, 1d]}}]}}
"
    )
}

#[test]
fn a_controller_keeps_its_pods_and_leaves_them_behind() {
    let cluster = cluster();
    cluster.apply(&controller()).ok();
    wait_for(&cluster, "rc/rc", "{.status.readyReplicas}", "2");
    let table = cluster.kubectl("get rc rc --no-headers").ok();
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(cells[..4], ["rc", "2", "2", "2"], "{table}");
    let scale =
        cluster.kubectl("get --raw /api/v1/namespaces/default/replicationcontrollers/rc/scale");
    assert!(scale.ok().contains("\"selector\":\"app=rc\""));
    cluster.kubectl("scale rc rc --replicas=1").ok();
    wait_for(&cluster, "rc/rc", "{.status.replicas}", "1");
    // A pod that no longer matches is let go, and another takes its place.
    let pods = || cluster.kubectl("get pods -l app=rc -o jsonpath={.items[*].metadata.name}").ok();
    eventually("one is left", || {
        let left = pods();
        if left.contains(' ') { Err(left) } else { Ok(()) }
    });
    let first = pods();
    cluster.kubectl(&format!("label pod {first} app=other --overwrite")).ok();
    eventually("another pod", || {
        let now = pods();
        if now.is_empty() || now == first { Err(now) } else { Ok(()) }
    });
    assert_eq!(field(&cluster, &format!("pod/{first}"), "{.metadata.ownerReferences}"), "");
    // Deleted without a word on its pods, it leaves them behind; kubectl would say one.
    let kept = pods();
    cluster.kubectl("delete --raw /api/v1/namespaces/default/replicationcontrollers/rc").ok();
    cluster.kubectl("wait --for=delete rc/rc --timeout=30s").ok();
    wait_for(&cluster, &format!("pod/{kept}"), "{.metadata.ownerReferences}", "");
    assert_eq!(field(&cluster, &format!("pod/{kept}"), "{.status.phase}"), "Running");
    handlers(&cluster);
}

fn handlers(cluster: &crate::harness::Cluster) {
    let class = |name: &str, handler: &str| {
        format!(
            "---\n{{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {{name: {name}}}, \
             handler: {handler}}}\n"
        )
    };
    let pod = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  runtimeClassName: \
             {name}\n  containers: [{{name: c, image: \"{IMAGE}\", command: [sleep, 1d]}}]\n"
        )
    };
    cluster.apply(&format!("{}{}", class("usual", "runc"), class("foreign", "kata"))).ok();
    cluster.apply(&format!("{}{}", pod("usual"), pod("foreign"))).ok();
    cluster.kubectl("wait --for=condition=Ready pod/usual --timeout=60s").ok();
    let why = "Failed to create pod sandbox: no runtime for \"kata\" is configured";
    eventually("the event that says why", || {
        let events = cluster.kubectl("get events --field-selector involvedObject.name=foreign");
        if events.out.contains(why) { Ok(()) } else { Err(events.out) }
    });
    assert_eq!(field(cluster, "pod/foreign", "{.status.phase}"), "Pending");
}
