//! Where a pod goes: a pure function over the cluster as it is seen.

use std::collections::BTreeMap;

use super::node::{Cluster, NodeInfo, Share};
use super::{filter, score};
use crate::api::tree::Value;

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It goes to this node.
    Bind(String),
    /// It fits nowhere; why, in kube-scheduler's words.
    Unschedulable(String),
}

/// Chooses a node for a pod; of equal ones the one that `tie` picks (its value modulo their
/// number), so that equal nodes share the load and tests can tell.
pub fn decide(cluster: &Cluster, pod: &Value, share: &Share, tie: usize) -> Decision {
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    let mut objections: BTreeMap<String, usize> = BTreeMap::new();
    let (mut total, mut lasting) = (0usize, 0usize);
    for node in cluster.nodes() {
        total += 1;
        let objection = filter::objection(pod, share, node);
        if objection.reasons.is_empty() {
            fitting.push(node);
        }
        lasting += usize::from(objection.lasting);
        for reason in objection.reasons {
            *objections.entry(reason).or_default() += 1;
        }
    }
    match fitting.as_slice() {
        [] => Decision::Unschedulable(message(total, lasting, &objections)),
        [only] => Decision::Bind(only.name.clone()),
        several => Decision::Bind(best(pod, share, several, tie)),
    }
}

fn best(pod: &Value, share: &Share, nodes: &[&NodeInfo], tie: usize) -> String {
    let totals = score::totals(pod, share, nodes);
    let top = totals.iter().copied().max().unwrap_or(0);
    let ties = nodes.iter().zip(&totals).filter(|(_, total)| **total == top);
    let ties: Vec<&NodeInfo> = ties.map(|(node, _)| *node).collect();
    ties.get(tie % ties.len().max(1)).map(|node| node.name.clone()).unwrap_or_default()
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
fn message(total: usize, lasting: usize, objections: &BTreeMap<String, usize>) -> String {
    if total == 0 {
        return "no nodes available to schedule pods".into();
    }
    let mut parts: Vec<String> =
        objections.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    let why = parts.join(", ");
    let preemption = preemption(total - lasting, lasting);
    format!("0/{total} nodes are available: {why}. preemption: {preemption}.")
}

/// What ending other pods would do: all have the same priority, so that none gives way.
fn preemption(crowded: usize, lasting: usize) -> String {
    let parts = [
        (crowded, "No preemption victims found for incoming pod"),
        (lasting, "Preemption is not helpful for scheduling"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, why)| format!("{count} {why}")).collect();
    format!("0/{} nodes are available: {}", crowded + lasting, parts.join(", "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::meta::{GroupResource, Key};

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    fn node(name: &str, spec: &str, labels: &str) -> Value {
        value(&format!(
            r#"{{"metadata":{{"name":"{name}","labels":{labels}}},"spec":{spec},"status":
            {{"allocatable":{{"cpu":"2","memory":"4Gi","pods":"110"}}}}}}"#
        ))
    }

    fn cluster(nodes: &[Value]) -> Cluster {
        let mut cluster = Cluster::default();
        nodes.iter().for_each(|node| cluster.set_node(node));
        cluster
    }

    fn pod(spec: &str) -> Value {
        let owner = r#"[{"uid":"o","controller":true}]"#;
        value(&format!(
            r#"{{"metadata":{{"name":"p","namespace":"n","ownerReferences":{owner}}},"spec":{spec}}}"#
        ))
    }

    fn decision(cluster: &Cluster, spec: &str) -> Decision {
        let pod = pod(spec);
        decide(cluster, &pod, &Share::of(&pod), 0)
    }

    fn place(cluster: &mut Cluster, name: &str, node: &str, spec: &str) {
        let key = Key::new(&GroupResource::new("", "pods"), "n", name);
        cluster.place(&key, node, Arc::new(Share::of(&pod(spec))));
    }

    const ASKS: &str = r#"{"containers":[{"resources":{"requests":{"cpu":"1500m"}}}]}"#;

    #[test]
    fn says_why_nothing_fits_as_upstream_does() {
        let tainted = r#"{"taints":[{"key":"k","value":"v","effect":"NoSchedule"}]}"#;
        let mut two = cluster(&[node("a", "{}", "{}"), node("b", tainted, "{}")]);
        place(&mut two, "x", "a", ASKS);
        assert_eq!(
            decision(&two, ASKS),
            Decision::Unschedulable(
                "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}. preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
                    .into()
            )
        );
        let none = decision(&Cluster::default(), ASKS);
        assert_eq!(none, Decision::Unschedulable("no nodes available to schedule pods".into()));
    }

    #[test]
    fn pods_of_one_owner_are_spread() {
        let mut two = cluster(&[node("a", "{}", "{}"), node("b", "{}", "{}")]);
        place(&mut two, "x", "a", r#"{"containers":[{}]}"#);
        assert_eq!(decision(&two, r#"{"containers":[{}]}"#), Decision::Bind("b".into()));
    }

    #[test]
    fn a_pod_that_ends_gives_back_what_it_took() {
        let mut one = cluster(&[node("a", "{}", "{}")]);
        place(&mut one, "x", "a", ASKS);
        assert!(matches!(decision(&one, ASKS), Decision::Unschedulable(_)));
        assert!(one.forget(&Key::new(&GroupResource::new("", "pods"), "n", "x")));
        assert_eq!(decision(&one, ASKS), Decision::Bind("a".into()));
    }

    #[test]
    fn selectors_affinity_ports_and_cordons_are_obeyed() {
        let nodes = [
            node("a", "{}", r#"{"disk":"ssd","gen":"3"}"#),
            node("b", r#"{"unschedulable":true}"#, r#"{"disk":"ssd","gen":"9"}"#),
        ];
        let mut two = cluster(&nodes);
        assert_eq!(
            decision(&two, r#"{"nodeSelector":{"disk":"ssd"}}"#),
            Decision::Bind("a".into())
        );
        let generation = |bound: &str| {
            format!(
                r#"{{"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":
                {{"nodeSelectorTerms":[{{"matchExpressions":[{{"key":"gen","operator":"Gt",
                "values":["{bound}"]}}]}}]}}}}}}}}"#
            )
        };
        assert_eq!(decision(&two, &generation("2")), Decision::Bind("a".into()));
        assert!(matches!(decision(&two, &generation("3")), Decision::Unschedulable(_)));
        let port = r#"{"containers":[{"ports":[{"containerPort":80,"hostPort":80}]}]}"#;
        place(&mut two, "x", "a", port);
        let Decision::Unschedulable(why) = decision(&two, port) else {
            panic!("took a port twice")
        };
        assert!(
            why.contains("1 node(s) didn't have free ports for the requested pod ports"),
            "{why}"
        );
    }
}
