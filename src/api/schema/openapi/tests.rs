//! Tests of OpenAPI documents; `tests/it/api` has Kubernetes' own clients read them.

use super::*;
use crate::api::registry::{self, Registry};

fn of_group<'a>(registry: &'a Registry, group: &str) -> Vec<&'a Resource> {
    registry.iter().map(|resource| &**resource).filter(|r| r.group == group).collect()
}

fn core() -> Value {
    Value::parse(&v3("", "v1", &of_group(&registry::builtin(), ""))).unwrap()
}

#[test]
fn kubectl_finds_what_it_looks_for() {
    let document = core();
    let paths = document.get("paths");
    let patch = paths.at(&["/api/v1/namespaces/{namespace}/pods/{name}", "patch"]);
    let names: Vec<&str> =
        patch.get("parameters").items().iter().map(|p| p.get("name").str()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch.get("x-kubernetes-action").str(), "patch");
    assert_eq!(patch.at(&["x-kubernetes-group-version-kind", "kind"]).str(), "Pod");
    assert_eq!(patch.get("operationId").str(), "patchCoreV1NamespacedPod");
    let pod = document.at(&["components", "schemas", "io.k8s.api.core.v1.Pod"]);
    let kind = &pod.get("x-kubernetes-group-version-kind").items()[0];
    assert_eq!((kind.get("version").str(), kind.get("kind").str()), ("v1", "Pod"));
}

#[test]
fn every_reference_has_its_definition() {
    let document = core();
    let schemas = document.at(&["components", "schemas"]);
    let text = document.to_string();
    let mut references = 0;
    for rest in text.split("\"#/components/schemas/").skip(1) {
        let name = rest.split('"').next().unwrap();
        assert!(!schemas.get(name).is_null(), "{name}");
        references += 1;
    }
    assert!(references > 500);
}

#[test]
fn merge_rules_are_extensions() {
    let document = core();
    let container = document.at(&["components", "schemas", "io.k8s.api.core.v1.Container"]);
    let ports = container.at(&["properties", "ports"]);
    assert_eq!(ports.get("x-kubernetes-list-type").str(), "map");
    assert_eq!(ports.get("x-kubernetes-patch-merge-key").str(), "containerPort");
    assert_eq!(ports.get("x-kubernetes-patch-strategy").str(), "merge");
    let protocol = document.at(&["components", "schemas", "io.k8s.api.core.v1.ContainerPort"]);
    let protocol = protocol.at(&["properties", "protocol"]);
    assert_eq!(protocol.get("default").str(), "TCP");
    assert!(protocol.get("enum").items().contains(&"SCTP".into()));
}

#[test]
fn a_fingerprint_tells_documents_apart() {
    let registry = registry::builtin();
    let core = of_group(&registry, "");
    assert_eq!(fingerprint(&core), fingerprint(&core));
    assert_eq!(fingerprint(&core).len(), 128);
    assert_ne!(fingerprint(&core), fingerprint(&core[1..]));
    let index = v3_index([("api/v1", "AB")].into_iter());
    assert_eq!(
        index.to_string(),
        r#"{"paths":{"api/v1":{"serverRelativeURL":"/openapi/v3/api/v1?hash=AB"}}}"#
    );
}
