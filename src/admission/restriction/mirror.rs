//! Pods that a node writes down because they run there already: they are its own and need nothing.

use crate::admission::plugins::World;
use crate::api::meta::Meta;
use crate::api::tree::Value;
use crate::auth::references::{self, MIRROR, Referent};

/// Why a node may not make a pod, if it may not.
pub(super) fn check(world: &World, pod: &Value, node: &str) -> Option<String> {
    if !references::is_mirror(pod) {
        return Some(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod.at(&["spec", "nodeName"]).str() != node {
        let why = format!("node {node:?} can only create pods with spec.nodeName set to itself");
        return Some(why);
    }
    owner(world, pod, node).or_else(|| {
        let what = reference(pod)?;
        Some(format!("node {node:?} can not create pods that reference {what}"))
    })
}

/// Its node owns such a pod, and nobody else.
fn owner(world: &World, pod: &Value, node: &str) -> Option<String> {
    let may = |what: &str| Some(format!("node {node:?} can only create pods with {what}"));
    let owner = match pod.metadata().get("ownerReferences").items() {
        [] => return may("an owner reference set to itself"),
        [owner] => owner,
        _ => return may("a single owner reference set to itself"),
    };
    let text = |field: &str| owner.get(field).str();
    if (text("apiVersion"), text("kind"), text("name")) != ("v1", "Node", node) {
        return may("an owner reference set to itself");
    }
    if !owner.get("controller").is_true() {
        return may("a controller owner reference set to itself");
    }
    if owner.get("blockOwnerDeletion").is_true() {
        let why = format!("node {node:?} must not set blockOwnerDeletion on an owner reference");
        return Some(why);
    }
    let Some(object) = world.find(("", "nodes"), "", node) else {
        return Some(format!("nodes {node:?} not found"));
    };
    let (given, uid) = (text("uid"), &*object.header.uid);
    (given != uid).then(|| format!("node {node} UID mismatch: expected {given} got {uid}"))
}

/// Volumes that need the API: the field, and what they need.
const VOLUMES: [(&str, &str); 8] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
    ("projected", ""),
];

/// The same of the parts of a projected volume.
const PROJECTED: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// Which other objects a pod refers to, if any.
fn reference(pod: &Value) -> Option<&'static str> {
    let any = |wanted| references::names(pod, wanted, &|_| true);
    let spec = pod.get("spec");
    if any(Referent::ServiceAccount) {
        return Some("serviceaccounts");
    }
    if any(Referent::Secret) {
        return Some("secrets");
    }
    if any(Referent::ConfigMap) {
        return Some("configmaps");
    }
    if !spec.get("resourceClaims").items().is_empty() {
        return Some("resourceclaims");
    }
    spec.get("volumes").items().iter().find_map(|volume| {
        let has = |value: &Value, field: &str| !value.get(field).is_null();
        match VOLUMES.iter().find(|(field, _)| has(volume, field))? {
            ("projected", _) => {
                let sources = volume.at(&["projected", "sources"]).items().iter();
                let of = |source| PROJECTED.iter().find(|(field, _)| has(source, field));
                sources.filter_map(of).map(|(_, what)| *what).next()
            }
            (_, what) => Some(*what),
        }
    })
}
