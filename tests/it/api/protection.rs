//! What is kept from harm: volumes and claims that are in use, and webhooks from conditions that
//! make no sense.

use crate::harness::Cluster;

const OBJECTS: &str = r#"
apiVersion: v1
kind: PersistentVolume
metadata: {name: v}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  hostPath: {path: /tmp}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: a}
driverName: x.com
parameters: {a: b}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c, namespace: default}
spec:
  accessModes: [ReadWriteOnce]
  volumeAttributesClassName: a
  resources: {requests: {storage: 1Gi}}
"#;

#[test]
fn volumes_and_classes_stay_while_they_are_in_use() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.apply(OBJECTS).ok();
    let phase = |phase: &str| {
        let patch = format!(r#"{{"status":{{"phase":"{phase}"}}}}"#);
        let words =
            ["patch", "pv", "v", "--subresource=status", "--type=merge", "-p", patch.as_str()];
        cluster.kubectl_with(&words, "").ok();
    };
    phase("Bound");
    for (object, finalizer) in [("pv/v", "pv"), ("volumeattributesclass/a", "vac")] {
        cluster.kubectl(&format!("delete {object} --wait=false")).ok();
        let state = "jsonpath={.metadata.deletionTimestamp}{.metadata.finalizers}";
        let held = cluster.kubectl(&format!("get {object} -o {state}")).ok();
        assert!(held.ends_with(&format!(r#"Z["kubernetes.io/{finalizer}-protection"]"#)), "{held}");
    }
    phase("Released");
    cluster.kubectl("wait --for=delete pv/v --timeout=30s").ok();
    cluster.kubectl("get volumeattributesclass/a").ok();
    // No pod mounts the claim: it goes, and with it what names the class.
    cluster.kubectl("delete pvc c --timeout=30s").ok();
    cluster.kubectl("wait --for=delete volumeattributesclass/a --timeout=30s").ok();
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
