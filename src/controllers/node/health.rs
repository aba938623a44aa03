//! Judges a node by its lease: one that is not renewed makes every condition `Unknown`, and the
//! conditions make the taints that keep pods away.

use std::time::Duration;

use crate::api::meta::{Key, Meta};
use crate::api::time;
use crate::api::tree::Value;
use crate::client::events::{Regarding, Severity};
use crate::client::{Call, LEASES, NODES, PODS};
use crate::controllers::calls;
use crate::controllers::runner::{self, Controller, Moment, Plan, Step, Views};
use crate::history::Event;
use crate::limits;
use crate::util::clock::Wall;

/// The namespace of the leases by which nodes say that they live.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// The taints that this controller keeps, and the conditions they stand for: taint, condition, and
/// the condition's status that brings the taint.
const TAINTS: [(&str, &str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "Ready", "False"),
    ("node.kubernetes.io/unreachable", "Ready", "Unknown"),
    ("node.kubernetes.io/memory-pressure", "MemoryPressure", "True"),
    ("node.kubernetes.io/disk-pressure", "DiskPressure", "True"),
    ("node.kubernetes.io/pid-pressure", "PIDPressure", "True"),
    ("node.kubernetes.io/network-unavailable", "NetworkUnavailable", "True"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The conditions that a silent node can no longer vouch for.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The controller's row. Before `since` nobody listened: silence counts from then.
pub fn controller(since: Wall) -> Controller {
    Controller {
        name: "node-controller",
        watches: vec![(NODES, runner::itself), (LEASES, of_lease), (PODS, runner::nothing)],
        reconcile: Box::new(move |views, key, moment| reconcile(views, key, moment, since)),
    }
}

/// A lease that appears concerns its node; a mere renewal does not: the next look is planned.
fn of_lease(event: &Event, views: &Views) -> Vec<Key> {
    let key = &event.object.header.key;
    let node = || Key::new(&NODES.group_resource(), "", &key.name);
    let ours = &*key.namespace == LEASE_NAMESPACE;
    let new = event.previous.is_none() || event.deleted;
    let silent = || {
        views
            .of(&NODES)
            .get("", &key.name)
            .and_then(|n| n.tree().ok())
            .is_some_and(|node| status_of(&node, "Ready") == Some("Unknown"))
    };
    (ours && (new || silent())).then(node).into_iter().collect()
}

fn status_of<'a>(node: &'a Value, type_: &str) -> Option<&'a str> {
    let conditions = node.at(&["status", "conditions"]).items();
    conditions.iter().find(|c| c.get("type").str() == type_)?.get("status").as_str()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>, since: Wall) -> Plan {
    let node = views.of(&NODES).get("", &key.name).and_then(|object| object.tree().ok());
    let Some(node) = node else { return Plan::default() };
    let heard = last_heard(views, &node).max(since);
    if moment.now.since(heard) > limits::NODE_GRACE {
        return silent(views, key, &node, moment.now);
    }
    // A little later than the moment at which silence would count.
    let left = limits::NODE_GRACE.saturating_sub(moment.now.since(heard));
    Plan {
        then: taints(key, &node, moment.now).map(Into::into).into_iter().collect(),
        again: Some(left + Duration::from_secs(1)),
        ..Plan::default()
    }
}

/// What follows from a node's silence. Its pods come first and each time: whoever marked the node
/// may not have lived to mark them.
fn silent(views: &Views, key: &Key, node: &Value, now: Wall) -> Plan {
    let mut plan = Plan::default();
    let pods = pods_not_ready(views, &key.name, now);
    plan.calls.extend(pods.into_iter().map(Step::from));
    let mut judged = node.clone();
    mark_unknown(&mut judged, now);
    if judged == *node {
        plan.then.extend(taints(key, node, now).map(Into::into));
    } else {
        // The new status wakes this key again, and then come the taints.
        plan.then.push(calls::update_status(&NODES, key, judged).into());
        tell(node, &mut plan);
    }
    plan
}

/// When a node last said that it lives: by its lease, its status, or its registration.
fn last_heard(views: &Views, node: &Value) -> Wall {
    let lease = views.of(&LEASES).get(LEASE_NAMESPACE, node.name());
    let renewed = lease
        .and_then(|object| object.tree().ok())
        .and_then(|lease| time::parse(lease.at(&["spec", "renewTime"]).str()));
    let reported = node
        .at(&["status", "conditions"])
        .items()
        .iter()
        .filter_map(|condition| time::parse(condition.get("lastHeartbeatTime").str()));
    reported.chain(renewed).chain(node.created()).max().unwrap_or(Wall(0))
}

fn mark_unknown(node: &mut Value, now: Wall) {
    let conditions = node.entry("status").entry("conditions");
    for type_ in CONDITIONS {
        let known = conditions.items_mut().iter_mut().find(|c| c.get("type").str() == type_);
        let unknown = |condition: &mut Value, reason: &str, message: &str| {
            condition.set("status", "Unknown");
            condition.set("reason", reason);
            condition.set("message", message);
            condition.set("lastTransitionTime", time::format(now));
        };
        match known {
            Some(condition) if condition.get("status").str() == "Unknown" => {}
            Some(condition) => {
                unknown(condition, "NodeStatusUnknown", "Kubelet stopped posting node status.");
            }
            None => {
                let mut condition = Value::from([("type", type_.into())]);
                unknown(
                    &mut condition,
                    "NodeStatusNeverUpdated",
                    "Kubelet never posted node status.",
                );
                match conditions.as_array_mut() {
                    Some(list) => list.push(condition),
                    None => *conditions = vec![condition].into(),
                }
            }
        }
    }
}

fn tell(node: &Value, plan: &mut Plan) {
    let message = format!("Node {} status is now: NodeNotReady", node.name());
    let mut regarding = Regarding::to("v1", "Node", node);
    // Upstream files a node's events under its name.
    regarding.uid = node.name().to_owned();
    plan.events.push((regarding, Severity::Normal, "NodeNotReady", message));
}

/// Pods of a silent node are not ready: Services must send nothing there.
fn pods_not_ready(views: &Views, node: &str, now: Wall) -> Vec<Call> {
    let pods = views.of(&PODS).snapshot();
    let on_node = pods.iter().filter(|pod| pod.header.field("spec.nodeName") == Some(node));
    on_node.filter_map(|pod| not_ready(pod.tree().ok()?, &pod.header.key, now)).collect()
}

fn not_ready(mut pod: Value, key: &Key, now: Wall) -> Option<Call> {
    let conditions = pod.entry("status").entry("conditions").items_mut();
    let ready = conditions.iter_mut().find(|c| c.get("type").str() == "Ready")?;
    if ready.get("status").str() != "True" {
        return None;
    }
    ready.set("status", "False");
    ready.set("reason", "NodeNotReady");
    ready.set("lastTransitionTime", time::format(now));
    Some(calls::update_status(&PODS, key, pod))
}

/// The patch that makes a node's taints follow its conditions, if they do not.
fn taints(key: &Key, node: &Value, now: Wall) -> Option<Call> {
    let spec = node.get("spec");
    let current = spec.get("taints").items();
    let mut wanted: Vec<Value> = Vec::new();
    for taint in current.iter().filter(|taint| !is_ours(taint)) {
        wanted.push(taint.clone());
    }
    for (key, effect) in due(node) {
        let same = |t: &&Value| t.get("key").str() == key && t.get("effect").str() == effect;
        wanted.push(current.iter().find(same).cloned().unwrap_or_else(|| taint(key, effect, now)));
    }
    let unchanged = wanted.len() == current.len() && wanted.iter().all(|t| current.contains(t));
    if unchanged {
        return None;
    }
    // Guarded by what was seen: a taint that somebody adds meanwhile must not be lost.
    let seen = Value::from([("resourceVersion", node.resource_version().into())]);
    let spec = Value::from([("taints", wanted.into())]);
    Some(calls::merge(&NODES, key, Value::from([("metadata", seen), ("spec", spec)])))
}

fn is_ours(taint: &Value) -> bool {
    let key = taint.get("key").str();
    key == UNSCHEDULABLE || TAINTS.iter().any(|(name, _, _)| *name == key)
}

/// The taints that a node's conditions demand.
fn due(node: &Value) -> Vec<(&'static str, &'static str)> {
    let mut due = Vec::new();
    for (taint, condition, status) in TAINTS {
        if status_of(node, condition) == Some(status) {
            due.push((taint, "NoSchedule"));
            if condition == "Ready" {
                due.push((taint, "NoExecute"));
            }
        }
    }
    if node.at(&["spec", "unschedulable"]).is_true() {
        due.push((UNSCHEDULABLE, "NoSchedule"));
    }
    due
}

fn taint(key: &str, effect: &str, now: Wall) -> Value {
    Value::from([
        ("key", key.into()),
        ("effect", effect.into()),
        ("timeAdded", time::format(now).into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::runner::testing;

    fn node(ready: &str, taints: &str) -> Value {
        let text = format!(
            r#"{{"metadata":{{"name":"n","creationTimestamp":"2026-01-01T00:00:00Z"}},
            "spec":{{"taints":{taints}}},
            "status":{{"conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
        );
        Value::parse(text.as_bytes()).unwrap()
    }

    fn wanted(node: &Value) -> Option<Vec<String>> {
        let key = Key::new(&NODES.group_resource(), "", "n");
        let call = taints(&key, node, Wall(0))?;
        let list = call.body.at(&["spec", "taints"]).items().to_vec();
        Some(
            list.iter()
                .map(|t| format!("{}:{}", t.get("key").str(), t.get("effect").str()))
                .collect(),
        )
    }

    #[test]
    fn taints_follow_conditions_and_leave_others_alone() {
        let mine = r#"[{"key":"mine","effect":"NoSchedule"}]"#;
        assert_eq!(wanted(&node("True", mine)), None);
        let lost = wanted(&node("Unknown", mine)).unwrap();
        assert_eq!(
            lost,
            [
                "mine:NoSchedule",
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute"
            ]
        );
        let new = r#"[{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}]"#;
        assert_eq!(wanted(&node("True", new)), Some(vec![]));
    }

    #[test]
    fn a_silent_node_vouches_for_nothing() {
        let mut silent = node("True", "[]");
        mark_unknown(&mut silent, Wall(0));
        assert_eq!(status_of(&silent, "Ready"), Some("Unknown"));
        assert_eq!(status_of(&silent, "DiskPressure"), Some("Unknown"));
        let again = silent.clone();
        mark_unknown(&mut silent, Wall(1));
        assert_eq!(silent, again, "and is told so once");
    }

    /// A node that was last heard of at `heard`, with a pod that is ready.
    fn views(ready: &str, heard: &str) -> Views {
        let pressed = if ready == "Unknown" { "Unknown" } else { "False" };
        let node = format!(
            r#"{{"metadata":{{"name":"n"}},"status":{{"conditions":[
                {{"type":"Ready","status":"{ready}","lastHeartbeatTime":"{heard}"}},
                {{"type":"MemoryPressure","status":"{pressed}"}},
                {{"type":"DiskPressure","status":"{pressed}"}},
                {{"type":"PIDPressure","status":"{pressed}"}}]}}}}"#
        );
        let pod = r#"{"metadata":{"name":"p","namespace":"x"},"spec":{"nodeName":"n"},
            "status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
        let fields = || vec![("spec.nodeName", "n".into())];
        testing::views(&[NODES, PODS, LEASES], [(&NODES, &*node, fields()), (&PODS, pod, fields())])
    }

    fn planned(ready: &str, now: i64, since: i64) -> String {
        let key = Key::new(&NODES.group_resource(), "", "n");
        let moment = Moment { now: Wall::from_seconds(now), failure: None };
        let views = views(ready, "1970-01-01T00:01:40Z");
        let plan = reconcile(&views, &key, moment, Wall::from_seconds(since));
        let steps = plan.calls.iter().chain(&plan.then);
        let told =
            steps.map(|step| format!("{}{}", step.call.resource.plural, step.call.subresource));
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn silence_counts_while_somebody_listens() {
        assert_eq!(planned("True", 120, 0), "");
        assert_eq!(planned("True", 200, 0), "podsstatus nodesstatus");
        assert_eq!(planned("True", 200, 190), "", "the server was away, not the node");
    }

    #[test]
    fn what_a_marked_node_still_vouches_for_is_marked_too() {
        assert_eq!(planned("Unknown", 200, 0), "podsstatus nodes");
    }
}
