//! DaemonSets and StatefulSets.

use super::{IMAGE, cluster, field, wait_for};
use crate::guestbook::eventually;
use crate::harness::Cluster;

/// Gives the pods of `db` their names.
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 80}]}
";

/// A set whose pods want volumes of their own.
const WITH_CLAIMS: &str = "\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: x}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: i}]}
  volumeClaimTemplates:
  - metadata: {name: d}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";

/// A set of pods `app: NAME` that run until they are told to end.
fn apply(cluster: &Cluster, kind: &str, name: &str, version: &str, spec: &str) {
    let manifest = format!(
        "\
apiVersion: apps/v1
kind: {kind}
metadata: {{name: {name}}}
spec:
{spec}  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: {IMAGE}
        env: [{{name: VERSION, value: \"{version}\"}}]
        command: [sh, -c, \"trap 'exit 0' TERM; sleep 1d & wait\"]
"
    );
    cluster.apply(&manifest).ok();
}

fn versions(cluster: &Cluster, name: &str) -> String {
    let path = "{.items[*].spec.containers[0].env[0].value}";
    field(cluster, &format!("pods -l app={name}"), path)
}

#[test]
fn a_daemon_runs_on_each_node_and_rolls_to_a_new_template() {
    let cluster = cluster();
    apply(&cluster, "DaemonSet", "agent", "1", "");
    cluster.kubectl("rollout status daemonset/agent --timeout=60s").ok();
    let table = cluster.kubectl("get daemonset agent --no-headers").ok();
    let cells: Vec<&str> = table.split_whitespace().collect();
    assert_eq!(cells[..6], ["agent", "1", "1", "1", "1", "1"], "{table}");
    apply(&cluster, "DaemonSet", "agent", "2", "");
    cluster.kubectl("rollout status daemonset/agent --timeout=60s").ok();
    assert_eq!(versions(&cluster, "agent"), "2");
    let history = cluster.kubectl("rollout history daemonset/agent").ok();
    assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
    cluster.kubectl("rollout undo daemonset/agent").ok();
    cluster.kubectl("rollout status daemonset/agent --timeout=60s").ok();
    assert_eq!(versions(&cluster, "agent"), "1");
    // With a surge the new pod is there before the old one goes.
    let surge = "  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n";
    apply(&cluster, "DaemonSet", "agent", "3", surge);
    cluster.kubectl("rollout status daemonset/agent --timeout=60s").ok();
    eventually("the old pod goes", || match versions(&cluster, "agent").as_str() {
        "3" => Ok(()),
        others => Err(others.to_owned()),
    });

    // A node that is no longer chosen loses its daemon, a cordoned one does not.
    cluster.kubectl("cordon node-1").ok();
    let select = |label: &str| {
        let patch = format!(
            r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"tier":"{label}"}}}}}}}}}}"#
        );
        cluster.kubectl_with(&["patch", "daemonset/agent", "-p", &patch], "").ok();
    };
    select("edge");
    wait_for(&cluster, "daemonset/agent", "{.status.desiredNumberScheduled}", "0");
    eventually("the pod goes", || {
        let pods = cluster.kubectl("get pods -l app=agent -o name").ok();
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    });
    cluster.kubectl("label node node-1 tier=edge").ok();
    wait_for(&cluster, "daemonset/agent", "{.status.numberReady}", "1");
}

#[test]
fn pods_of_a_stateful_set_have_names_and_an_order() {
    let cluster = cluster();
    cluster.apply(SERVICE).ok();
    let three = "  replicas: 3\n  serviceName: db\n";
    apply(&cluster, "StatefulSet", "db", "1", three);
    cluster.kubectl("rollout status statefulset/db --timeout=60s").ok();
    let names = "{.items[*].metadata.name}";
    assert_eq!(field(&cluster, "pods -l app=db", names), "db-0 db-1 db-2");
    let times = "{.items[*].metadata.creationTimestamp}";
    let times = field(&cluster, "pods -l app=db", times);
    assert!(times.split(' ').is_sorted(), "one after the other: {times}");
    // Each is known by its own name.
    for pod in ["db-1", "db-2"] {
        let words = format!("exec db-0 -- nslookup {pod}.db.default.svc.cluster.local");
        let address = field(&cluster, &format!("pod/{pod}"), "{.status.podIP}");
        eventually(&words, || {
            let ran = cluster.kubectl(&words);
            if ran.out.contains(&address) { Ok(()) } else { Err(ran.out + &ran.err) }
        });
    }
    // One that is lost comes back under its name.
    let uid = field(&cluster, "pod/db-1", "{.metadata.uid}");
    cluster.kubectl("delete pod db-1 --wait=false").ok();
    eventually("db-1 comes back", || {
        let ran = cluster.kubectl("get pod db-1 -o jsonpath={.metadata.uid}");
        if ran.status.success() && ran.out != uid { Ok(()) } else { Err(ran.out) }
    });
    wait_for(&cluster, "statefulset/db", "{.status.readyReplicas}", "3");
    // The partition keeps the first as it is.
    let part = format!("{three}  updateStrategy: {{rollingUpdate: {{partition: 1}}}}\n");
    apply(&cluster, "StatefulSet", "db", "2", &part);
    cluster.kubectl("rollout status statefulset/db --timeout=60s").ok();
    assert_eq!(versions(&cluster, "db"), "1 2 2");
    apply(&cluster, "StatefulSet", "db", "2", three);
    wait_for(&cluster, "statefulset/db", "{.status.updatedReplicas}", "3");
    cluster.kubectl("rollout status statefulset/db --timeout=60s").ok();
    assert_eq!(versions(&cluster, "db"), "2 2 2");
    // The last go first.
    cluster.kubectl("scale statefulset db --replicas=1").ok();
    wait_for(&cluster, "pods -l app=db", names, "db-0");
    let refused = cluster.apply(WITH_CLAIMS);
    let why = "spec.volumeClaimTemplates: Forbidden: not supported by this version of rk";
    assert!(refused.err.contains(why), "{}", refused.err);
}
