//! What is in use is not taken away: claims while pods use them, volumes while they are bound, and
//! classes of attributes while claims or volumes name them.
//!
//! Admission gives each a finalizer as it comes; here it is taken off once nothing needs it.

use super::calls;
use super::runner::{self, Controller, Moment, Plan, Views};
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::{
    Gvr, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, VOLUMEATTRIBUTESCLASSES,
};
use crate::history::Event;

/// The row of the controller of claims.
pub fn claims() -> Controller {
    Controller {
        name: "pvc-protection-controller",
        watches: vec![(PERSISTENTVOLUMECLAIMS, runner::itself), (PODS, of_pod)],
        reconcile: Box::new(|views, key, _: Moment<'_>| {
            kept(views, &PERSISTENTVOLUMECLAIMS, key, "kubernetes.io/pvc-protection", claim_in_use)
        }),
    }
}

/// The row of the controller of volumes.
pub fn volumes() -> Controller {
    Controller {
        name: "pv-protection-controller",
        watches: vec![(PERSISTENTVOLUMES, runner::itself)],
        reconcile: Box::new(|views, key, _: Moment<'_>| {
            kept(views, &PERSISTENTVOLUMES, key, "kubernetes.io/pv-protection", |_, volume| {
                volume.at(&["status", "phase"]).str() == "Bound"
            })
        }),
    }
}

/// The row of the controller of classes of attributes.
pub fn attributes() -> Controller {
    Controller {
        name: "volumeattributesclass-protection-controller",
        watches: vec![
            (VOLUMEATTRIBUTESCLASSES, runner::itself),
            (PERSISTENTVOLUMECLAIMS, classes),
            (PERSISTENTVOLUMES, classes),
        ],
        reconcile: Box::new(|views, key, _: Moment<'_>| {
            let finalizer = "kubernetes.io/vac-protection";
            kept(views, &VOLUMEATTRIBUTESCLASSES, key, finalizer, class_in_use)
        }),
    }
}

/// The claims of the pod's namespace that are to go: there are few, and often none.
fn of_pod(event: &Event, views: &Views) -> Vec<Key> {
    let claims = views.of(&PERSISTENTVOLUMECLAIMS).snapshot();
    let claims = claims.in_namespace(&event.object.header.key.namespace);
    claims.filter(|claim| claim.header.deleting).map(|claim| claim.header.key.clone()).collect()
}

/// The classes that are to go.
fn classes(_: &Event, views: &Views) -> Vec<Key> {
    let classes = views.of(&VOLUMEATTRIBUTESCLASSES).snapshot();
    let going = classes.iter().filter(|class| class.header.deleting);
    going.map(|class| class.header.key.clone()).collect()
}

/// An object has the finalizer until it is to go and nothing uses it.
fn kept(
    views: &Views,
    resource: &Gvr,
    key: &Key,
    finalizer: &str,
    in_use: fn(&Views, &Value) -> bool,
) -> Plan {
    let stored = views.of(resource).get(&key.namespace, &key.name);
    let Some(mut object) = stored.and_then(|stored| stored.tree().ok()) else {
        return Plan::default();
    };
    let mut finalizers = object.metadata().get("finalizers").items().to_vec();
    let held = finalizers.iter().any(|other| other.str() == finalizer);
    match (object.is_deleting(), held) {
        (true, true) if !in_use(views, &object) => {
            finalizers.retain(|other| other.str() != finalizer);
        }
        // What was there before admission gave finalizers.
        (false, false) => finalizers.push(finalizer.into()),
        _ => return Plan::default(),
    }
    object.entry("metadata").set("finalizers", finalizers);
    Plan { calls: vec![calls::update(resource, key, object).into()], ..Plan::default() }
}

/// Whether a pod that has a node mounts the claim; no node takes up a pod whose claim is to go.
fn claim_in_use(views: &Views, claim: &Value) -> bool {
    let pods = views.of(&PODS).snapshot();
    let mut pods = pods
        .in_namespace(claim.namespace())
        .filter(|pod| pod.header.field("spec.nodeName").is_some_and(|node| !node.is_empty()))
        .filter_map(|pod| pod.tree().ok());
    pods.any(|pod| pod.at(&["spec", "volumes"]).items().iter().any(|v| mounts(&pod, v, claim)))
}

fn mounts(pod: &Value, volume: &Value, claim: &Value) -> bool {
    if volume.at(&["persistentVolumeClaim", "claimName"]).str() == claim.name() {
        return true;
    }
    let own = format!("{}-{}", pod.name(), volume.get("name").str());
    let owners = claim.metadata().get("ownerReferences").items();
    let is_its = owners
        .iter()
        .any(|owner| owner.get("controller").is_true() && owner.get("uid").str() == pod.uid());
    !volume.get("ephemeral").is_null() && own == claim.name() && is_its && !is_shut_down(pod)
}

/// Whether its node is done with a pod: it goes at once, and waits for its finalizers only.
fn is_shut_down(pod: &Value) -> bool {
    pod.is_deleting() && pod.metadata().get("deletionGracePeriodSeconds").as_int() == Some(0)
}

fn class_in_use(views: &Views, class: &Value) -> bool {
    const CLAIM: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    let named = |resource: &Gvr, paths: &[&[&str]]| {
        let all = views.of(resource).snapshot();
        let mut all = all.iter().filter_map(|stored| stored.tree().ok());
        all.any(|object| paths.iter().any(|path| object.at(path).str() == class.name()))
    };
    named(&PERSISTENTVOLUMES, &CLAIM[..1]) || named(&PERSISTENTVOLUMECLAIMS, &CLAIM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::runner::testing::views;

    fn object(name: &str, rest: &str) -> String {
        format!(r#"{{"metadata":{{"name":"{name}","namespace":"d","uid":"u-{name}"{rest}}}"#)
    }

    /// The finalizers that are written, if any are.
    fn written(row: &Controller, of: &Gvr, objects: &[(&Gvr, String)]) -> Option<Vec<String>> {
        let node = |text: &str| {
            vec![("spec.nodeName", if text.contains("nodeName") { "n" } else { "" }.into())]
        };
        let all = [PODS, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, VOLUMEATTRIBUTESCLASSES];
        let views = views(
            &all,
            objects.iter().map(|(resource, text)| {
                let fields = if **resource == PODS { node(text) } else { Vec::new() };
                (*resource, text.as_str(), fields)
            }),
        );
        let key = Key::new(&of.group_resource(), "d", "x");
        let moment = Moment { now: crate::util::clock::now(), failure: None };
        let calls = (row.reconcile)(&views, &key, moment).calls;
        let call = calls.into_iter().next()?.call;
        Some(call.body.finalizers().into_iter().map(ToOwned::to_owned).collect())
    }

    #[test]
    fn a_claim_stays_while_a_pod_with_a_node_mounts_it() {
        let row = claims();
        let of = |objects: &[(&Gvr, String)]| written(&row, &PERSISTENTVOLUMECLAIMS, objects);
        let claim = |rest: &str| (&PERSISTENTVOLUMECLAIMS, object("x", rest) + "}");
        let going = r#","deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["a","kubernetes.io/pvc-protection"],
            "ownerReferences":[{"uid":"u-p","controller":true}]"#;
        let pod = |name: &str, node: &str, volume: &str, rest: &str| {
            let spec = format!(r#","spec":{{{node}"volumes":[{{"name":"v",{volume}}}]}}}}"#);
            (&PODS, object(name, rest) + &spec)
        };
        let (node, mounted) =
            (r#""nodeName":"n","#, r#""persistentVolumeClaim":{"claimName":"x"}"#);
        assert_eq!(of(&[claim("")]), Some(vec!["kubernetes.io/pvc-protection".into()]));
        assert_eq!(of(&[claim(r#","finalizers":["kubernetes.io/pvc-protection"]"#)]), None);
        assert_eq!(of(&[claim(going)]), Some(vec!["a".into()]));
        assert_eq!(of(&[claim(going), pod("p", node, mounted, "")]), None);
        assert_eq!(of(&[claim(going), pod("p", "", mounted, "")]), Some(vec!["a".into()]));
        let other = r#""persistentVolumeClaim":{"claimName":"y"}"#;
        assert_eq!(of(&[claim(going), pod("p", node, other, "")]), Some(vec!["a".into()]));
    }

    #[test]
    fn a_claim_of_a_pod_stays_until_the_pod_is_shut_down() {
        let pod = |rest: &str| Value::parse((object("p", rest) + "}").as_bytes()).unwrap();
        let claim = Value::parse(
            br#"{"metadata":{"name":"p-v","ownerReferences":[{"uid":"u-p","controller":true}]}}"#,
        )
        .unwrap();
        let volume = Value::parse(br#"{"name":"v","ephemeral":{}}"#).unwrap();
        assert!(mounts(&pod(""), &volume, &claim));
        let done = r#","deletionTimestamp":"2026-01-01T00:00:00Z","deletionGracePeriodSeconds":0"#;
        assert!(!mounts(&pod(done), &volume, &claim));
        let foreign = Value::parse(br#"{"metadata":{"name":"p-v"}}"#).unwrap();
        assert!(!mounts(&pod(""), &volume, &foreign));
    }

    #[test]
    fn a_volume_stays_while_bound_and_a_class_while_named() {
        let going = |finalizer: &str, rest: &str| {
            format!(
                r#"{{"metadata":{{"name":"x","deletionTimestamp":"2026-01-01T00:00:00Z",
                    "finalizers":["kubernetes.io/{finalizer}"]}}{rest}}}"#
            )
        };
        let calls = |row: &Controller, of: &Gvr, objects: &[(&Gvr, &str)]| {
            let all = [PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, VOLUMEATTRIBUTESCLASSES];
            let objects = objects.iter().map(|(resource, text)| (*resource, *text, Vec::new()));
            let views = views(&all, objects);
            let key = Key::new(&of.group_resource(), "", "x");
            let moment = Moment { now: crate::util::clock::now(), failure: None };
            (row.reconcile)(&views, &key, moment).calls.len()
        };
        for (phase, count) in [("Bound", 0), ("Released", 1)] {
            let volume = going("pv-protection", &format!(r#","status":{{"phase":"{phase}"}}"#));
            let objects = [(&PERSISTENTVOLUMES, volume.as_str())];
            assert_eq!(calls(&volumes(), &PERSISTENTVOLUMES, &objects), count, "{phase}");
        }
        let class = going("vac-protection", "");
        let class = (&VOLUMEATTRIBUTESCLASSES, class.as_str());
        let of = |objects: &[(&Gvr, &str)]| calls(&attributes(), &VOLUMEATTRIBUTESCLASSES, objects);
        assert_eq!(of(&[class]), 1);
        let claim = r#"{"metadata":{"name":"c","namespace":"d"},
            "status":{"currentVolumeAttributesClassName":"x"}}"#;
        assert_eq!(of(&[class, (&PERSISTENTVOLUMECLAIMS, claim)]), 0);
        let volume = r#"{"metadata":{"name":"v"},"spec":{"volumeAttributesClassName":"x"}}"#;
        assert_eq!(of(&[class, (&PERSISTENTVOLUMES, volume)]), 0);
    }
}
