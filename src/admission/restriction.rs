//! A node writes its own objects and nothing else's (`NodeRestriction`).
//!
//! The node authoriser has let the request pass by its name; here its body is looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::meta::Meta;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::NODES;
use crate::util::x509::Request;

mod mirror;
mod pod_certificate;
#[cfg(test)]
mod tests;
mod token;

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
    if request.operation == Operation::Connect {
        // Rights decide about streams.
        return Ok(());
    }
    let refused = match (&*request.resource.group, &*request.resource.plural, request.subresource) {
        ("", "pods", "") => pod(world, request, node),
        ("", "pods", "status") => pod_status(request, node),
        ("", "pods", "eviction") => eviction(world, request, node),
        ("", "pods", other) => Some(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
        ("", "nodes", _) => own_node(request, node),
        ("", "persistentvolumeclaims", "status") => claim_status(request, node),
        ("", "persistentvolumeclaims", _) => Some("may only update PVC status".into()),
        ("", "serviceaccounts", "token") => token::check(world, request, node),
        ("certificates.k8s.io", "certificatesigningrequests", "") => signing_request(request, node),
        ("certificates.k8s.io", "podcertificaterequests", subresource) => match subresource {
            "" => pod_certificate::check(world, request, node),
            other => Some(format!("unexpected subresource {other}")),
        },
        ("coordination.k8s.io", "leases", _) => lease(request, node),
        ("storage.k8s.io", "csinodes", _) => (request.object_name() != node)
            .then(|| "can only access CSINode with the same name as the requesting node".into()),
        ("resource.k8s.io", "resourceslices", _) => slice(request, node),
        _ => None,
    };
    refused.map_or(Ok(()), |why| Err(request.forbidden(&why)))
}

fn node_of(pod: &Value) -> &str {
    pod.at(&["spec", "nodeName"]).str()
}

fn pod(world: &World, request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    match request.operation {
        Operation::Create => mirror::check(world, request.object, node),
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
    if request.object.metadata().get("labels") != old.metadata().get("labels") {
        return Some(format!("node {node:?} cannot update labels through pod status"));
    }
    // What claims were made for a pod is not its node's to say: it may read them.
    const CLAIMS: [(&str, &str); 3] = [
        ("resourceClaimStatuses", "resource claim statues"),
        ("extendedResourceClaimStatus", "extended resource claim status"),
        ("nodeAllocatableResourceClaimStatuses", "node allocatable resource claim statuses"),
    ];
    let told = |pod: &Value, field: &str| pod.at(&["status", field]).clone();
    let mut claims = CLAIMS.iter();
    let changed = claims.find(|(field, _)| told(request.object, field) != told(old, field));
    changed.map(|(_, what)| format!("node {node:?} cannot update {what}"))
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
    let config = |value: &Value| value.at(&["spec", "configSource"]).clone();
    let updates = request.operation == Operation::Update;
    if !config(new).is_null() && config(new) != config(old) {
        return Some(match updates {
            true => format!(
                "node {node:?} is not allowed to update configSource to a new non-nil configSource"
            ),
            false => {
                format!("node {node:?} is not allowed to create pods with a non-nil configSource")
            }
        });
    }
    let taints = |value: &Value| value.at(&["spec", "taints"]).clone();
    if updates && taints(new) != taints(old) {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    let owners = |value: &Value| value.metadata().get("ownerReferences").clone();
    if updates && owners(new) != owners(old) {
        return Some(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    let labels = |value: &Value| value.metadata().get("labels").clone();
    let (new, old) = (labels(new), labels(old));
    let keys = new.fields().chain(old.fields()).map(|(key, _)| key);
    let mut changed: Vec<&str> =
        keys.filter(|key| new.get(key) != old.get(key) && !may_label(key)).collect();
    changed.sort_unstable();
    changed.dedup();
    let list = changed.join(", ");
    (!changed.is_empty()).then(|| match updates {
        true => format!("is not allowed to modify labels: {list}"),
        false => format!("node {node:?} is not allowed to set the following labels: {list}"),
    })
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

/// A node tells how large a volume has become, and nothing else of its claim.
fn claim_status(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    let old = request.old.filter(|_| request.operation == Operation::Update);
    let Some(old) = old else {
        return Some(format!("unexpected operation {:?}", request.operation.as_str()));
    };
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        let status = claim.entry("status");
        for field in ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"] {
            status.remove(field);
        }
        if status.is_empty() {
            claim.remove("status");
        }
        let metadata = claim.entry("metadata");
        ["resourceVersion", "managedFields"].iter().for_each(|f| drop(metadata.remove(f)));
        claim
    };
    (rest(old) != rest(request.object)).then(|| {
        format!(
            "node {node:?} is not allowed to update fields other than status.quantity and \
             status.conditions"
        )
    })
}

fn slice(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    let (slice, verb) = match request.operation {
        Operation::Create => (&*request.object, "create"),
        Operation::Delete => (request.old?, "delete"),
        Operation::Update | Operation::Connect => return None,
    };
    (slice.at(&["spec", "nodeName"]).str() != node).then(|| {
        format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")
    })
}

/// A node asks for its own certificates; what else they say is for their signer to check.
fn signing_request(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    const OF_NODES: [&str; 2] =
        ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    let spec = request.object.get("spec");
    if request.operation != Operation::Create || !OF_NODES.contains(&spec.get("signerName").str()) {
        return None;
    }
    let pem = STANDARD.decode(spec.get("request").str()).unwrap_or_default();
    let own = format!("system:node:{node}");
    match Request::of_pem(&pem) {
        Err(why) => Some(format!("unable to parse csr: {why}")),
        Ok(asked) => (asked.subject.common_name() != own)
            .then(|| format!("can only create a node CSR with CN={own}")),
    }
}

fn lease(request: &AdmissionRequest<'_>, node: &str) -> Option<String> {
    if request.namespace != LEASE_NAMESPACE {
        return Some(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    (request.object_name() != node)
        .then(|| "can only access node lease with the same name as the requesting node".into())
}
