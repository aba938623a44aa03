//! Keeps the number of pods that a ReplicaSet or a ReplicationController asks for.
//!
//! The two differ in how they say which pods are theirs, and in nothing else that matters here.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::runner::{self, Controller, Moment, Plan, Step, Views};
use super::{calls, pods};
use crate::api::kinds::core::replication;
use crate::api::meta::Key;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::events::Regarding;
use crate::client::{Gvr, PODS, REPLICASETS, REPLICATIONCONTROLLERS};
use crate::history::Event;
use crate::limits;
use crate::util::clock::Wall;

/// A kind of object that keeps a number of pods.
struct Kind {
    api_version: &'static str,
    kind: &'static str,
    resource: Gvr,
    /// Reads an object as a ReplicaSet.
    read: fn(Value) -> Option<ReplicaSet>,
    /// The status as the kind has it.
    status: fn(&ReplicaSetStatus) -> Value,
}

static REPLICA_SET: Kind = Kind {
    api_version: "apps/v1",
    kind: "ReplicaSet",
    resource: REPLICASETS,
    read: |tree| tree.to().ok(),
    status: calls::tree,
};

static REPLICATION_CONTROLLER: Kind = Kind {
    api_version: "v1",
    kind: "ReplicationController",
    resource: REPLICATIONCONTROLLERS,
    read: |mut tree| {
        let labels = tree.entry("spec").remove("selector");
        tree.entry("spec").set("selector", Value::from([("matchLabels", labels)]));
        tree.set("apiVersion", REPLICA_SET.api_version);
        tree.set("kind", REPLICA_SET.kind);
        tree.to().ok()
    },
    status: |status| {
        let mut tree = calls::tree(status);
        tree.remove("terminatingReplicas");
        tree
    },
};

/// The row of the controller of ReplicaSets.
pub fn controller() -> Controller {
    Controller {
        name: "replicaset-controller",
        watches: vec![(REPLICASETS, runner::itself), (PODS, of_set)],
        reconcile: Box::new(|views, key, moment| reconcile(&REPLICA_SET, views, key, moment)),
    }
}

/// The row of the controller of ReplicationControllers.
pub fn replication() -> Controller {
    let reconcile = |views: &Views, key: &Key, moment: Moment<'_>| {
        reconcile(&REPLICATION_CONTROLLER, views, key, moment)
    };
    Controller {
        name: "replication-controller",
        watches: vec![(REPLICATIONCONTROLLERS, runner::itself), (PODS, of_controller)],
        reconcile: Box::new(reconcile),
    }
}

fn of_set(event: &Event, views: &Views) -> Vec<Key> {
    pods::concerned(event, views, ("ReplicaSet", &REPLICASETS), pods::own_selector)
}

fn of_controller(event: &Event, views: &Views) -> Vec<Key> {
    let managers = ("ReplicationController", &REPLICATIONCONTROLLERS);
    pods::concerned(event, views, managers, replication::selector_of)
}

fn reconcile(kind: &Kind, views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let stored = views.of(&kind.resource).get(&key.namespace, &key.name);
    let Some(mut tree) = stored.and_then(|object| object.tree().ok()) else {
        return Plan::default();
    };
    let Some(set) = (kind.read)(tree.clone()) else { return Plan::default() };
    let deleting = set.metadata.deletion_timestamp.is_some();
    let owner = calls::controller_reference(kind.api_version, kind.kind, &set.metadata);
    let all = views.of(&PODS).snapshot();
    let selector = pods::selector(&set.spec.selector);
    let claim = pods::claim(&PODS, &all, &key.namespace, &selector, &owner, deleting);
    let mine = pods::decode_all(&claim.mine);
    let mut plan =
        Plan { calls: claim.calls.into_iter().map(Step::from).collect(), ..Plan::default() };
    // Adopted pods count once they are seen: no pod is made that an orphan makes superfluous.
    if !deleting && plan.calls.is_empty() {
        let regarding = Regarding::to(kind.api_version, kind.kind, &tree);
        plan.calls = scale(kind, &set, &mine, views, key, &regarding);
    }
    let failure = moment.failure.filter(|_| !plan.calls.is_empty());
    let status = (kind.status)(&status(&set, &mine, moment.now, failure));
    if *tree.get("status") != status {
        tree.set("status", status);
        plan.always.push(calls::update_status(&kind.resource, key, tree));
    }
    plan.again =
        pods::next_availability(&mine, set.spec.min_ready_seconds.unwrap_or(0), moment.now);
    plan
}

/// Makes the pods that are missing, or deletes those that are too many.
fn scale(
    kind: &Kind,
    set: &ReplicaSet,
    mine: &[Pod],
    views: &Views,
    key: &Key,
    regarding: &Regarding,
) -> Vec<Step> {
    let mut active: Vec<Pod> = mine.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
    if active.len() > wanted {
        let crowd = crowd(kind, views, set, &key.namespace);
        pods::sort_for_deletion(&mut active, |pod| crowd.get(node(pod)).copied().unwrap_or(0));
        let surplus = (active.len() - wanted).min(limits::REPLICA_BURST);
        return active[..surplus].iter().map(|pod| pods::delete(regarding.clone(), pod)).collect();
    }
    let Some(template) = set.spec.template.as_ref() else { return Vec::new() };
    let owner = calls::controller_reference(kind.api_version, kind.kind, &set.metadata);
    let missing = (wanted - active.len()).min(limits::REPLICA_BURST);
    let pod = pods::from_template(template, &owner);
    let create = || pods::create(regarding.clone(), &key.namespace, pod.clone());
    std::iter::repeat_with(create).take(missing).collect()
}

fn node(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// How many active pods of the set's own owner (a Deployment and its other sets) each node has.
fn crowd(kind: &Kind, views: &Views, set: &ReplicaSet, namespace: &str) -> HashMap<String, usize> {
    let owners = set.metadata.owner_references.iter().flatten();
    let owner = owners.filter(|o| o.controller == Some(true)).map(|o| o.uid.as_str()).next();
    let sets = views.of(&kind.resource).snapshot();
    let fellows: Vec<Arc<str>> = sets
        .in_namespace(namespace)
        .filter(|object| {
            let own = Some(&*object.header.uid) == set.metadata.uid.as_deref();
            own || owner.is_some() && object.header.controller().map(|o| &*o.uid) == owner
        })
        .map(|object| Arc::clone(&object.header.uid))
        .collect();
    let mut crowd = HashMap::new();
    for object in views.of(&PODS).snapshot().in_namespace(namespace) {
        let fellow = object.header.controller().is_some_and(|o| fellows.contains(&o.uid));
        if fellow && !object.header.deleting {
            let node = object.header.field("spec.nodeName").unwrap_or_default();
            *crowd.entry(node.to_owned()).or_default() += 1;
        }
    }
    crowd
}

fn status(set: &ReplicaSet, mine: &[Pod], now: Wall, failure: Option<&Status>) -> ReplicaSetStatus {
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let template = set.spec.template.as_ref();
    let labels = template.and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.clone());
    let active: Vec<&Pod> = mine.iter().filter(|pod| pods::is_active(pod)).collect();
    let count = |holds: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| holds(pod)).count()).unwrap_or(i32::MAX)
    };
    let labelled = |pod: &Pod| {
        let has = pod.metadata.labels.clone().unwrap_or_default();
        labels.iter().flatten().all(|(k, v)| has.get(k) == Some(v))
    };
    let terminating = mine.iter().filter(|pod| pods::is_terminating(pod)).count();
    let some = |count: i32| (count > 0).then_some(count);
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: some(count(&labelled)),
        ready_replicas: some(count(&|pod| pods::ready_since(pod).is_some())),
        available_replicas: some(count(&|pod| {
            pods::available_at(pod, min_ready).is_some_and(|at| at <= now)
        })),
        terminating_replicas: i32::try_from(terminating).ok(),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, now, failure),
    }
}

/// `ReplicaFailure` while pods cannot be made or deleted.
fn conditions(
    set: &ReplicaSet,
    now: Wall,
    failure: Option<&Status>,
) -> Option<Vec<ReplicaSetCondition>> {
    const TYPE: &str = "ReplicaFailure";
    let old = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let known = old.iter().find(|c| c.type_.as_deref() == Some(TYPE)).cloned();
    let mut conditions: Vec<_> =
        old.into_iter().filter(|c| c.type_.as_deref() != Some(TYPE)).collect();
    if let Some(failure) = failure {
        let new = ReplicaSetCondition {
            type_: Some(TYPE.into()),
            status: Some("True".into()),
            reason: Some("FailedCreate".into()),
            message: Some(failure.message.clone()),
            last_transition_time: pods::typed(now),
        };
        conditions.push(known.filter(|k| k.message == new.message).unwrap_or(new));
    }
    (!conditions.is_empty()).then_some(conditions)
}
