//! Removes pods from nodes that they cannot stay on: those that do not tolerate a `NoExecute` taint
//! (after the time that they tolerate it for), and those whose node is gone.

use std::sync::Arc;
use std::time::Duration;

use crate::api::meta::{Key, Meta};
use crate::api::selector::tolerates;
use crate::api::time;
use crate::api::tree::Value;
use crate::client::events::{Regarding, Severity};
use crate::client::{NODES, PODS};
use crate::controllers::calls;
use crate::controllers::runner::{self, Controller, Moment, Plan, Views};
use crate::history::{Event, Object};
use crate::limits;
use crate::util::clock::Wall;

/// The row of the controller that acts on `NoExecute` taints.
pub fn controller() -> Controller {
    Controller {
        name: "taint-eviction-controller",
        watches: vec![(PODS, runner::itself), (NODES, pods_of_node)],
        reconcile: Box::new(reconcile),
    }
}

/// The row of the controller that removes pods of nodes that are gone, and those that have ended
/// beyond the number that is kept.
pub fn collector() -> Controller {
    Controller {
        name: "pod-garbage-collector",
        watches: vec![(PODS, runner::itself), (NODES, pods_of_lost_node)],
        reconcile: Box::new(collect),
    }
}

fn on_node(views: &Views, node: &str) -> Vec<Key> {
    let pods = views.of(&PODS).snapshot();
    let here = pods.iter().filter(|pod| pod.header.field("spec.nodeName") == Some(node));
    here.map(|pod| pod.header.key.clone()).collect()
}

/// A node concerns its pods when its taints changed.
fn pods_of_node(event: &Event, views: &Views) -> Vec<Key> {
    let taints = |object: &Arc<Object>| object.tree().map(|t| no_execute(&t)).unwrap_or_default();
    let before = event.previous.as_ref().map(taints).unwrap_or_default();
    let same = !event.deleted && taints(&event.object) == before;
    if same { Vec::new() } else { on_node(views, &event.object.header.key.name) }
}

fn pods_of_lost_node(event: &Event, views: &Views) -> Vec<Key> {
    if event.deleted { on_node(views, &event.object.header.key.name) } else { Vec::new() }
}

fn no_execute(node: &Value) -> Vec<Value> {
    let taints = node.at(&["spec", "taints"]).items().iter();
    taints.filter(|taint| taint.get("effect").str() == "NoExecute").cloned().collect()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let pod = views.of(&PODS).get(&key.namespace, &key.name);
    let Some(pod) = pod.filter(|pod| !pod.header.deleting).and_then(|p| p.tree().ok()) else {
        return Plan::default();
    };
    let node = views.of(&NODES).get("", pod.at(&["spec", "nodeName"]).str());
    let taints = node.and_then(|n| n.tree().ok()).map(|n| no_execute(&n)).unwrap_or_default();
    let Some(end) = stay(&taints, pod.at(&["spec", "tolerations"]).items(), moment.now) else {
        return Plan::default();
    };
    if end > moment.now {
        return Plan { again: Some(end.since(moment.now)), ..Plan::default() };
    }
    evict(&pod, key, moment.now)
}

/// Until when a pod may stay: `None` for ever, the present (or past) when it must go now.
fn stay(taints: &[Value], tolerations: &[Value], now: Wall) -> Option<Wall> {
    taints.iter().filter_map(|taint| stay_with(taint, tolerations, now)).min()
}

fn stay_with(taint: &Value, tolerations: &[Value], now: Wall) -> Option<Wall> {
    let tolerating: Vec<&Value> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
    if tolerating.is_empty() {
        return Some(now);
    }
    let seconds = tolerating.iter().filter_map(|t| t.get("tolerationSeconds").as_int()).min()?;
    let added = time::parse(taint.get("timeAdded").str()).unwrap_or(now);
    let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(added.after(wait))
}

/// Says on the pod why it goes, then deletes it.
fn evict(pod: &Value, key: &Key, now: Wall) -> Plan {
    let condition = Value::from([
        ("type", "DisruptionTarget".into()),
        ("status", "True".into()),
        ("reason", "DeletionByTaintManager".into()),
        ("message", "Taint manager: deleting due to NoExecute taint".into()),
        ("lastTransitionTime", time::format(now).into()),
    ]);
    let status = Value::from([("conditions", vec![condition].into())]);
    let uid = Value::from([("uid", pod.uid().into())]);
    let patch = Value::from([("metadata", uid), ("status", status)]);
    let mark = crate::client::Call { subresource: "status", ..calls::strategic(&PODS, key, patch) };
    let message = format!("Marking for deletion Pod {}/{}", key.namespace, key.name);
    let event =
        (Regarding::to("v1", "Pod", pod), Severity::Normal, "TaintManagerEviction", message);
    Plan {
        then: vec![mark.into(), calls::delete(&PODS, key, pod.uid()).into()],
        events: vec![event],
        ..Plan::default()
    }
}

fn collect(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let Some(object) = views.of(&PODS).get(&key.namespace, &key.name) else {
        return Plan::default();
    };
    let node = object.header.field("spec.nodeName").unwrap_or_default();
    let ended = matches!(object.header.field("status.phase"), Some("Succeeded" | "Failed"));
    let lost = !node.is_empty() && views.of(&NODES).get("", node).is_none();
    let never_started = node.is_empty() && object.header.deleting;
    if lost || never_started {
        return remove(&object, key, moment.now);
    }
    if ended && is_surplus(views, &object) {
        return Plan {
            calls: vec![calls::delete(&PODS, key, &object.header.uid).into()],
            ..Plan::default()
        };
    }
    Plan::default()
}

/// Whether more pods have ended than are kept, and this one is among the oldest.
fn is_surplus(views: &Views, object: &Object) -> bool {
    let pods = views.of(&PODS).snapshot();
    if pods.len() <= limits::ENDED_PODS_MAX {
        return false;
    }
    let ended = |pod: &&Arc<Object>| {
        matches!(pod.header.field("status.phase"), Some("Succeeded" | "Failed"))
    };
    let younger = pods.iter().filter(ended).filter(|p| p.header.revision > object.header.revision);
    younger.count() >= limits::ENDED_PODS_MAX
}

/// Nobody is left to stop the pod: its object goes at once.
fn remove(object: &Object, key: &Key, now: Wall) -> Plan {
    let options = Value::from([("gracePeriodSeconds", 0i64.into())]);
    let delete = calls::delete_with(&PODS, key, &object.header.uid, options);
    let condition = Value::from([
        ("type", "DisruptionTarget".into()),
        ("status", "True".into()),
        ("reason", "DeletionByPodGC".into()),
        ("message", "PodGC: node no longer exists".into()),
        ("lastTransitionTime", time::format(now).into()),
    ]);
    let status = Value::from([("phase", "Failed".into()), ("conditions", vec![condition].into())]);
    let uid = Value::from([("uid", (&*object.header.uid).into())]);
    let patch = Value::from([("metadata", uid), ("status", status)]);
    let mark = crate::client::Call { subresource: "status", ..calls::strategic(&PODS, key, patch) };
    Plan { then: vec![mark.into(), delete.into()], ..Plan::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        let taint = value(r#"{"key":"k","effect":"NoExecute","timeAdded":"1970-01-01T00:01:40Z"}"#);
        let taints = [taint];
        let now = Wall::from_seconds(200);
        let seconds =
            |tolerations: &str| stay(&taints, value(tolerations).items(), now).map(Wall::seconds);
        assert_eq!(seconds("[]"), Some(200));
        assert_eq!(seconds(r#"[{"key":"k","operator":"Exists"}]"#), None);
        assert_eq!(seconds(r#"[{"operator":"Exists","tolerationSeconds":300}]"#), Some(400));
        assert_eq!(seconds(r#"[{"key":"k","value":"x"}]"#), Some(200));
        assert_eq!(stay(&[], &[], now), None);
    }
}
