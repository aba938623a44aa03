//! What is kept from harm: volumes and claims that are in use, and webhooks from conditions that
//! make no sense.

use crate::harness::Cluster;

const CLAIM: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Node
metadata: {name: one}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec:
  nodeName: one
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: x}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]
"#;

#[test]
fn a_claim_stays_while_a_pod_mounts_it() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("wait --for=create serviceaccount/default --timeout=30s").ok();
    cluster.apply(CLAIM).ok();
    cluster.kubectl("delete pvc c --wait=false").ok();
    let state = "get pvc c -o jsonpath={.metadata.deletionTimestamp}{.metadata.finalizers}";
    let held = cluster.kubectl(state).ok();
    assert!(held.ends_with(r#"Z["kubernetes.io/pvc-protection"]"#), "{held}");
    cluster.kubectl("delete pod p --grace-period=0 --force").ok();
    cluster.kubectl("wait --for=delete pvc/c --timeout=30s").ok();
}

fn webhook(kind: &str, expression: &str) -> String {
    format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: {kind}WebhookConfiguration
metadata: {{name: w}}
webhooks:
- name: a.example.com
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {{url: "https://example.com/"}}
  rules: [{{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [none]}}]
  matchConditions: [{{name: c, expression: "{expression}"}}]
"#
    )
}

#[test]
fn conditions_of_webhooks_make_sense() {
    let cluster = Cluster::start(&["--disable-agent"]);
    for kind in ["Mutating", "Validating"] {
        let refused = cluster.apply(&webhook(kind, "... [] bad expression")).fails();
        let place = "webhooks[0].matchConditions[0].expression: Invalid value";
        assert!(refused.contains(place) && refused.contains("compilation failed"), "{refused}");
        let refused = cluster.apply(&webhook(kind, "request.name")).fails();
        assert!(refused.contains("must evaluate to bool but got string"), "{refused}");
        for name in ["skip-me", "skip-this"] {
            let condition = format!("object.metadata.name != '{name}'");
            cluster.apply(&webhook(kind, &condition)).ok();
            let path = "jsonpath={.webhooks[0].matchConditions[0].expression}";
            let stored = cluster.kubectl(&format!("get {kind}WebhookConfiguration w -o {path}"));
            assert_eq!(stored.ok(), condition);
        }
    }
}
