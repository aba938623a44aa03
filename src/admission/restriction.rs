//! A node writes its own objects and nothing else's (`NodeRestriction`).
//!
//! The node authoriser has let the request pass by its name; here its body is looked at.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::meta::Meta;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::NODES;

/// Where nodes keep their heartbeats.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// Labels of Kubernetes' own domains that a node may set on itself.
const OWN_LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Label domains below which a node may set what it likes.
const OWN_LABEL_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) fn admit(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let request = &*request;
    let Some(node) = request.user.as_node() else {
        if request.user.is_in(NODES) && request.user.name.starts_with("system:node:") {
            let user = &request.user.name;
            return Err(request.forbidden(&format!("could not determine node from user {user:?}")));
        }
        return Ok(());
    };
    let refused = match (&*request.resource.group, &*request.resource.plural, request.subresource) {
        ("", "pods", "") => pod(request, node),
        ("", "pods", "status") => pod_status(request, node),
        ("", "pods", "eviction") => eviction(world, request, node),
        ("", "pods", "binding" | "exec" | "attach" | "portforward" | "log" | "proxy") => None,
        ("", "pods", other) => Some(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
        ("", "nodes", "" | "status") => own_node(request, node),
        ("", "serviceaccounts", "token") => token(world, request, node),
        ("coordination.k8s.io", "leases", _) => lease(request, node),
        ("storage.k8s.io", "csinodes", _) => (request.object_name() != node)
            .then(|| "can only access CSINode with the same name as the requesting node".into()),
        _ => None,
    };
    refused.map_or(Ok(()), |why| Err(request.forbidden(&why)))
}

fn node_of(pod: &Value) -> &str {
    pod.at(&["spec", "nodeName"]).str()
}

fn pod(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    match request.operation {
        Operation::Create => {
            if request.object.annotation("kubernetes.io/config.mirror").is_none() {
                return Some(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} \
                     can only create mirror pods"
                ));
            }
            (node_of(request.object) != node).then(|| {
                format!("node {node:?} can only create pods with spec.nodeName set to itself")
            })
        }
        Operation::Delete => (request.old.map(node_of) != Some(node)).then(|| {
            format!("node {node:?} can only delete pods with spec.nodeName set to itself")
        }),
        other => Some(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            other.as_str()
        )),
    }
}

fn pod_status(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    let old = request.old.filter(|_| request.operation == Operation::Update);
    let Some(old) = old else {
        return Some(format!("unexpected operation {:?}", request.operation.as_str()));
    };
    if node_of(old) != node {
        return Some(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let changed = request.object.metadata().get("labels") != old.metadata().get("labels");
    changed.then(|| format!("node {node:?} cannot update labels through pod status"))
}

fn eviction(world: &World, request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    let pod = world.find(("", "pods"), request.namespace, request.name);
    let own = pod.is_none_or(|pod| pod.header.field("spec.nodeName") == Some(node));
    (!own).then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
}

fn own_node(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    let name = request.object_name();
    if name != node {
        return Some(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let none = Value::Null;
    let (new, old) = match request.operation {
        Operation::Create => (&*request.object, &none),
        Operation::Update => (&*request.object, request.old.unwrap_or(&none)),
        Operation::Delete | Operation::Connect => return None,
    };
    if request.operation == Operation::Update
        && new.at(&["spec", "taints"]) != old.at(&["spec", "taints"])
    {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    let labels = |value: &Value| value.metadata().get("labels").clone();
    let (new, old) = (labels(new), labels(old));
    let keys = new.fields().chain(old.fields()).map(|(key, _)| key);
    let mut changed: Vec<&str> =
        keys.filter(|key| new.get(key) != old.get(key) && !may_label(key)).collect();
    changed.sort_unstable();
    changed.dedup();
    let verb = if request.operation == Operation::Create { "set" } else { "modify" };
    (!changed.is_empty())
        .then(|| format!("node {node:?} is not allowed to {verb} labels: {}", changed.join(", ")))
}

/// Whether a node may set a label on itself.
fn may_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let below =
        |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|sub| sub.ends_with('.'));
    if below("node-restriction.kubernetes.io") {
        return false;
    }
    let reserved = below("kubernetes.io") || below("k8s.io");
    !reserved || OWN_LABELS.contains(&key) || OWN_LABEL_DOMAINS.iter().any(|of| below(of))
}

fn token(world: &World, request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    let bound = request.object.at(&["spec", "boundObjectRef"]);
    if bound.get("kind").str() != "Pod" || bound.get("name").str().is_empty() {
        return Some("node requested token not bound to a pod".into());
    }
    if bound.get("uid").str().is_empty() {
        return Some("node requested token with a pod binding without a uid".into());
    }
    let pod = world.find(("", "pods"), request.namespace, bound.get("name").str())?;
    if *pod.header.uid != *bound.get("uid").str() {
        let asked = bound.get("uid").str();
        return Some(format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        ));
    }
    (pod.header.field("spec.nodeName") != Some(node))
        .then(|| "node requested token bound to a pod scheduled on a different node".into())
}

fn lease(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    if request.namespace != LEASE_NAMESPACE {
        return Some(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    (request.object_name() != node)
        .then(|| "can only access node lease with the same name as the requesting node".into())
}
