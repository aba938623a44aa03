//! Which nodes get a pod of a daemon set, and how a pod is made for one of them.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;

use crate::api::meta::Meta;
use crate::api::node_selector;
use crate::api::selector::tolerates;
use crate::api::tree::Value;
use crate::controllers::calls;

/// The label of a pod that counts the templates of its set.
pub(super) const TEMPLATE_GENERATION: &str = "pod-template-generation";
/// The annotation of a set that counts its templates.
const SET_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Taints that every daemon bears: the node's trouble is no reason to leave it.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// One more, borne by daemons that use the node's own network.
const WITHOUT_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// Whether a pod may be on a node.
pub(super) struct Fit {
    /// It may come.
    pub may_start: bool,
    /// It may stay if it is there.
    pub may_stay: bool,
}

/// How a set's template counts, where the set says so.
pub(super) fn template_generation(set: &DaemonSet) -> Option<String> {
    let annotation = set.metadata.annotations.as_ref()?.get(SET_GENERATION)?;
    annotation.parse::<i64>().ok().map(|generation| generation.to_string())
}

/// The spec of a set's pods, with what all daemons tolerate.
pub(super) fn pod_spec(set: &DaemonSet) -> Value {
    let mut spec = calls::tree(&set.spec.template.spec);
    let own_network = spec.get("hostNetwork").is_true();
    let mut tolerations = spec.get("tolerations").items().to_vec();
    for (key, effect) in TOLERATED.iter().chain(own_network.then_some(&WITHOUT_NETWORK)) {
        let same = |t: &Value| t.get("key").str() == *key && t.get("effect").str() == *effect;
        tolerations.retain(|toleration| !same(toleration));
        tolerations.push(Value::from([
            ("key", (*key).into()),
            ("operator", "Exists".into()),
            ("effect", (*effect).into()),
        ]));
    }
    spec.set("tolerations", tolerations);
    spec
}

/// Whether such a pod may be on a node.
pub(super) fn fit(spec: &Value, node: &Value) -> Fit {
    let asked = spec.get("nodeName").str();
    let named = asked.is_empty() || asked == node.name();
    let labels = node.metadata().get("labels");
    if !named || !node_selector::chooses(spec, node.name(), labels) {
        return Fit { may_start: false, may_stay: false };
    }
    let tolerations = spec.get("tolerations").items();
    let bears = |taint: &Value| tolerations.iter().any(|t| tolerates(t, taint));
    let taints = node.at(&["spec", "taints"]).items().iter().filter(|taint| !bears(taint));
    let mut fit = Fit { may_start: true, may_stay: true };
    for taint in taints {
        let effect = taint.get("effect").str();
        fit.may_start &= !matches!(effect, "NoSchedule" | "NoExecute");
        fit.may_stay &= effect != "NoExecute";
    }
    fit
}

/// The spec of a pod for one node: the scheduler binds it there and nowhere else.
pub(super) fn bound_to(mut spec: Value, node: &str) -> Value {
    let field = Value::from([
        ("key", "metadata.name".into()),
        ("operator", "In".into()),
        ("values", vec![node.into()].into()),
    ]);
    let term = Value::from([("matchFields", vec![field].into())]);
    spec.entry_at(&["affinity", "nodeAffinity"]).set(
        "requiredDuringSchedulingIgnoredDuringExecution",
        Value::from([("nodeSelectorTerms", vec![term].into())]),
    );
    spec
}

/// Whether a pod still waits for its node.
pub(super) fn is_unbound(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.unwrap_or_default().is_empty()
}

/// The node that a pod is on, or is made for.
pub(super) fn of_pod(pod: &Pod) -> String {
    let Some(spec) = &pod.spec else { return String::new() };
    if let Some(node) = spec.node_name.as_ref().filter(|node| !node.is_empty()) {
        return node.clone();
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    let fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let mut names = fields.filter(|field| field.key == "metadata.name");
    let values = names.next().and_then(|field| field.values.as_ref());
    values.and_then(|values| values.first()).cloned().unwrap_or_default()
}
