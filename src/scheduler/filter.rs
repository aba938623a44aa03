//! Which nodes a pod can run on, and why not on the others: kube-scheduler's Filter plugins.

use super::node::{NodeInfo, Share, ports_clash};
use crate::api::node_selector;
use crate::api::selector::tolerates;
use crate::api::tree::Value;

/// Says why a node does not fit a pod; nothing when it does.
type Filter = fn(&Value, &Share, &NodeInfo) -> Vec<String>;

/// Filters in the order in which kube-scheduler runs them.
const FILTERS: [Filter; 6] = [unschedulable, node_name, taints, affinity, ports, fits];

/// How many of them object to what the node is, which no other pod's end would change.
const LASTING: usize = 4;

/// Why a pod cannot run on a node.
#[derive(Default)]
pub(super) struct Objection {
    /// The reasons of the first filter that objects; none when the pod can run there.
    pub(super) reasons: Vec<String>,
    /// Whether it would still not fit if the node were empty.
    pub(super) lasting: bool,
}

/// What the filters say to a pod on a node.
pub(super) fn objection(pod: &Value, share: &Share, node: &NodeInfo) -> Objection {
    for (at, filter) in FILTERS.iter().enumerate() {
        let reasons = filter(pod, share, node);
        if !reasons.is_empty() {
            return Objection { reasons, lasting: at < LASTING || is_too_small(share, node) };
        }
    }
    Objection::default()
}

fn is_too_small(share: &Share, node: &NodeInfo) -> bool {
    share.requests().iter().any(|(name, amount)| amount > node.allocatable.get(name))
}

fn tolerations(pod: &Value) -> &[Value] {
    pod.at(&["spec", "tolerations"]).items()
}

fn unschedulable(pod: &Value, _: &Share, node: &NodeInfo) -> Vec<String> {
    let taint = Value::from([
        ("key", "node.kubernetes.io/unschedulable".into()),
        ("effect", "NoSchedule".into()),
    ]);
    if !node.unschedulable || tolerations(pod).iter().any(|t| tolerates(t, &taint)) {
        return Vec::new();
    }
    vec!["node(s) were unschedulable".into()]
}

fn node_name(pod: &Value, _: &Share, node: &NodeInfo) -> Vec<String> {
    let wanted = pod.at(&["spec", "nodeName"]).str();
    if wanted.is_empty() || wanted == node.name {
        return Vec::new();
    }
    vec!["node(s) didn't match the requested node name".into()]
}

fn taints(pod: &Value, _: &Share, node: &NodeInfo) -> Vec<String> {
    let hard = |taint: &&Value| matches!(taint.get("effect").str(), "NoSchedule" | "NoExecute");
    let tolerated = |taint: &Value| tolerations(pod).iter().any(|t| tolerates(t, taint));
    let objection = node.taints.iter().filter(hard).find(|taint| !tolerated(taint));
    let reason = objection.map(|taint| {
        let (key, value) = (taint.get("key").str(), taint.get("value").str());
        format!("node(s) had untolerated taint {{{key}: {value}}}")
    });
    reason.into_iter().collect()
}

fn affinity(pod: &Value, _: &Share, node: &NodeInfo) -> Vec<String> {
    if node_selector::chooses(pod.get("spec"), &node.name, &node.labels) {
        return Vec::new();
    }
    vec!["node(s) didn't match Pod's node affinity/selector".into()]
}

/// Whether a node satisfies a `NodeSelectorTerm`; an empty one matches no node.
pub(super) fn term_matches(term: &Value, node: &NodeInfo) -> bool {
    node_selector::term_matches(term, &node.name, &node.labels)
}

fn ports(_: &Value, share: &Share, node: &NodeInfo) -> Vec<String> {
    let mut wanted = share.ports().iter();
    if wanted.any(|port| node.ports.keys().any(|taken| ports_clash(port, taken))) {
        return vec!["node(s) didn't have free ports for the requested pod ports".into()];
    }
    Vec::new()
}

fn fits(_: &Value, share: &Share, node: &NodeInfo) -> Vec<String> {
    let mut reasons = Vec::new();
    let pods_max = node.allocatable.get("pods");
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= pods_max {
        reasons.push("Too many pods".into());
    }
    for (name, amount) in share.requests().iter().filter(|(_, amount)| *amount > 0) {
        if amount > node.allocatable.get(name) - node.requested.get(name) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}
