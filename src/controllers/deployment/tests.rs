//! The arithmetic of rollouts.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::rollout::{Rollout, Target};
use super::scaling;
use crate::api::meta::{GroupResource, Key};
use crate::api::tree::Value;

fn deployment(replicas: i64, surge: &str, unavailable: &str) -> Deployment {
    let text = format!(
        r#"{{"metadata":{{"name":"web","uid":"d"}},"spec":{{"replicas":{replicas},
        "selector":{{"matchLabels":{{"app":"web"}}}},
        "strategy":{{"type":"RollingUpdate","rollingUpdate":{{"maxSurge":{surge},
        "maxUnavailable":{unavailable}}}}},
        "template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"containers":[
        {{"name":"c","image":"two"}}]}}}}}}}}"#
    );
    Value::parse(text.as_bytes()).unwrap().to().unwrap()
}

/// A set with `size` pods asked for and `available` there; the Deployment had `desired` and `max`.
fn set(image: &str, at: i64, size: i64, available: i64, desired: i64, max: i64) -> ReplicaSet {
    let text = format!(
        r#"{{"metadata":{{"name":"web-{image}","uid":"{image}",
        "creationTimestamp":"2026-01-01T00:00:{at:02}Z","annotations":{{
        "deployment.kubernetes.io/desired-replicas":"{desired}",
        "deployment.kubernetes.io/max-replicas":"{max}",
        "deployment.kubernetes.io/revision":"{at}"}}}},
        "spec":{{"replicas":{size},"selector":{{}},
        "template":{{"metadata":{{"labels":{{"app":"web","pod-template-hash":"x"}}}},
        "spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}}},
        "status":{{"replicas":{size},"availableReplicas":{available}}}}}"#
    );
    Value::parse(text.as_bytes()).unwrap().to().unwrap()
}

fn rollout(deployment: &Deployment, sets: Vec<ReplicaSet>) -> Rollout<'_> {
    let key = Key::new(&GroupResource::new("apps", "deployments"), "n", "web");
    Rollout::new(deployment, sets, key)
}

fn sizes(targets: &[Target<'_>]) -> Vec<(String, i32)> {
    targets.iter().map(|t| (t.set.metadata.uid.clone().unwrap_or_default(), t.replicas)).collect()
}

fn one(uid: &str, replicas: i32) -> Vec<(String, i32)> {
    vec![(uid.to_owned(), replicas)]
}

#[test]
fn the_set_of_the_present_template_is_found_whatever_its_hash() {
    let d = deployment(3, "1", "0");
    let r = rollout(&d, vec![set("two", 2, 1, 1, 3, 4), set("one", 1, 3, 3, 3, 4)]);
    assert_eq!(r.new.as_ref().unwrap().metadata.uid.as_deref(), Some("two"));
    assert_eq!(r.old.len(), 1);
}

#[test]
fn a_surge_comes_first_and_old_pods_go_only_for_available_new_ones() {
    let d = deployment(10, r#""25%""#, r#""25%""#);
    let r = rollout(&d, vec![set("one", 1, 10, 10, 10, 13)]);
    assert_eq!(scaling::first_size(&r), 3, "25 % of 10, rounded up");
    let waiting = rollout(&d, vec![set("one", 1, 10, 10, 10, 13), set("two", 2, 3, 0, 10, 13)]);
    assert_eq!(sizes(&scaling::rolling(&waiting)), one("one", 8), "25 % rounded down may miss");
    let some = rollout(&d, vec![set("one", 1, 8, 8, 10, 13), set("two", 2, 5, 3, 10, 13)]);
    assert_eq!(sizes(&scaling::rolling(&some)), one("one", 5), "8 must stay available");
    let last = rollout(&d, vec![set("one", 1, 1, 1, 10, 13), set("two", 2, 10, 10, 10, 13)]);
    assert_eq!(sizes(&scaling::rolling(&last)), one("one", 0));
}

#[test]
fn unhealthy_old_pods_go_first() {
    let d = deployment(4, "0", "1");
    let sets =
        vec![set("bad", 1, 1, 0, 4, 4), set("one", 2, 3, 3, 4, 4), set("two", 3, 0, 0, 4, 4)];
    assert_eq!(sizes(&scaling::rolling(&rollout(&d, sets))), one("bad", 0));
}

#[test]
fn a_rollout_always_has_room_to_move() {
    let d = deployment(1, "0", "0");
    assert_eq!(rollout(&d, Vec::new()).max_unavailable(), 1);
}

#[test]
fn scaling_in_mid_rollout_is_shared() {
    // Upstream's documented example: 10 replicas, surge 3, unavailable 2, scaled to 15.
    let d = deployment(15, "3", "2");
    let r = rollout(&d, vec![set("one", 1, 8, 8, 10, 13), set("two", 2, 5, 0, 10, 13)]);
    assert!(r.is_scaled());
    let targets = sizes(&scaling::proportional(&r));
    assert_eq!(targets, vec![("one".to_owned(), 11), ("two".to_owned(), 7)]);
}

#[test]
fn scaling_to_nothing_empties_every_set() {
    let d = deployment(0, "1", "0");
    let r = rollout(&d, vec![set("one", 1, 2, 2, 3, 4), set("two", 2, 2, 2, 3, 4)]);
    let total: i32 = scaling::proportional(&r).iter().map(|t| t.replicas).sum();
    assert_eq!(total, 0);
}

#[test]
fn history_beyond_the_limit_goes_oldest_first() {
    let mut d = deployment(1, "1", "0");
    d.spec.revision_history_limit = Some(1);
    let sets = vec![
        set("a", 1, 0, 0, 1, 2),
        set("b", 2, 0, 0, 1, 2),
        set("c", 3, 0, 0, 1, 2),
        set("two", 4, 1, 1, 1, 2),
    ];
    let r = rollout(&d, sets);
    let gone: Vec<String> = r.superfluous().map(|call| call.name).collect();
    assert_eq!(gone, ["web-a", "web-b"]);
}

#[test]
fn a_rollback_becomes_the_newest_revision() {
    let d = deployment(1, "1", "0");
    let r = rollout(&d, vec![set("two", 1, 0, 0, 1, 2), set("three", 2, 1, 1, 1, 2)]);
    let step = r.annotate_new().unwrap();
    let annotations = step.call.body.at(&["metadata", "annotations"]);
    assert_eq!(annotations.get(super::rollout::REVISION).str(), "3");
    assert_eq!(annotations.get("deployment.kubernetes.io/revision-history").str(), "1");
}
