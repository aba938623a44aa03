//! Rolls a Deployment's pods from one template to the next through ReplicaSets.
//!
//! Each reconcile looks at the Deployment and its ReplicaSets as they are and does the next step;
//! nothing is remembered between two.

mod rollout;
mod scaling;
mod status;
#[cfg(test)]
mod tests;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::runner::{self, Controller, Moment, Plan, Step, Told, Views};
use super::{calls, pods};
use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::events::Regarding;
use crate::client::{DEPLOYMENTS, PODS, REPLICASETS};
use crate::history::Event;
use rollout::{Rollout, Target};

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "deployment-controller",
        watches: vec![(DEPLOYMENTS, runner::itself), (REPLICASETS, of_replica_set), (PODS, of_pod)],
        reconcile: Box::new(reconcile),
    }
}

/// A ReplicaSet concerns its Deployment, now and before; an orphan those that select it.
fn of_replica_set(event: &Event, views: &Views) -> Vec<Key> {
    let states = [Some(&event.object), event.previous.as_ref()].into_iter().flatten();
    let mut keys: Vec<Key> =
        states.filter_map(|set| pods::manager(set, "Deployment", &DEPLOYMENTS)).collect();
    keys.dedup();
    if event.object.header.controller().is_none() && !event.deleted {
        let deployments = views.of(&DEPLOYMENTS).snapshot();
        let in_namespace = deployments.in_namespace(&event.object.header.key.namespace);
        let selecting = in_namespace.filter(|object| {
            runner::decode::<Deployment>(object)
                .is_some_and(|d| pods::selector(&d.spec.selector).matches(&event.object.header))
        });
        keys.extend(selecting.map(|object| object.header.key.clone()));
    }
    keys
}

/// The end of a pod lets a `Recreate` Deployment go on.
fn of_pod(event: &Event, views: &Views) -> Vec<Key> {
    let ended = event.deleted
        || matches!(event.object.header.field("status.phase"), Some("Succeeded" | "Failed"));
    if !ended {
        return Vec::new();
    }
    let set = pods::manager(&event.object, "ReplicaSet", &REPLICASETS);
    let set = set.and_then(|key| views.of(&REPLICASETS).get(&key.namespace, &key.name));
    set.and_then(|set| pods::manager(&set, "Deployment", &DEPLOYMENTS)).into_iter().collect()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let deployment: Option<Deployment> = views.object(&DEPLOYMENTS, &key.namespace, &key.name);
    let Some(deployment) = deployment else { return Plan::default() };
    let deleting = deployment.metadata.deletion_timestamp.is_some();
    let owner = calls::controller_reference("apps/v1", "Deployment", &deployment.metadata);
    let selector = pods::selector(&deployment.spec.selector);
    let all = views.of(&REPLICASETS).snapshot();
    let claim = pods::claim(&REPLICASETS, &all, &key.namespace, &selector, &owner, deleting);
    let sets: Vec<ReplicaSet> = claim.mine.iter().filter_map(|set| runner::decode(set)).collect();
    let rollout = Rollout::new(&deployment, sets, key.clone());
    let mut plan = Plan::default();
    plan.calls.extend(claim.calls.into_iter().map(Step::from));
    if !deleting && plan.calls.is_empty() {
        advance(&rollout, views, &mut plan);
    }
    status::report(&rollout, moment, &mut plan);
    plan
}

/// The next step of the rollout.
fn advance(rollout: &Rollout<'_>, views: &Views, plan: &mut Plan) {
    let targets = if rollout.is_paused() || rollout.is_scaled() {
        scaling::proportional(rollout)
    } else if rollout.new.is_none() {
        if rollout.is_recreate() && recreate_blocked(rollout, views) {
            scaling::empty_old(rollout)
        } else {
            plan.then.push(create_new(rollout));
            return;
        }
    } else if rollout.is_recreate() {
        scaling::recreate(rollout, recreate_blocked(rollout, views))
    } else {
        scaling::rolling(rollout)
    };
    let moved = !targets.is_empty();
    plan.then.extend(targets.into_iter().map(|target| scale(rollout, &target)));
    plan.then.extend(rollout.annotate_new());
    plan.then.extend(rollout.annotate_deployment());
    if !moved && !rollout.is_paused() && rollout.is_complete() {
        plan.then.extend(rollout.superfluous().map(Step::from));
    }
}

/// Whether pods of old templates are still about; `Recreate` waits for the last to end.
fn recreate_blocked(rollout: &Rollout<'_>, views: &Views) -> bool {
    let old: Vec<&str> = rollout.old.iter().filter_map(|s| s.metadata.uid.as_deref()).collect();
    let all = views.of(&PODS).snapshot();
    all.in_namespace(&rollout.key.namespace).any(|pod| {
        let ended = matches!(pod.header.field("status.phase"), Some("Succeeded" | "Failed"));
        !ended && pod.header.controller().is_some_and(|owner| old.contains(&&*owner.uid))
    })
}

/// Makes the ReplicaSet of the present template, with as many pods as it may have at once.
fn create_new(rollout: &Rollout<'_>) -> Step {
    let replicas = scaling::first_size(rollout);
    let name = rollout.new_name();
    let told = (replicas > 0)
        .then(|| told(rollout, format!("Scaled up replica set {name} from 0 to {replicas}")));
    let call = calls::create(&REPLICASETS, &rollout.key.namespace, rollout.new_set(replicas));
    Step { call, told }
}

fn told(rollout: &Rollout<'_>, message: String) -> Told {
    Told {
        regarding: Regarding::to("apps/v1", "Deployment", &calls::tree(rollout.deployment)),
        success: "ScalingReplicaSet",
        message,
        failure: "",
        failure_prefix: "",
    }
}

/// Sets a ReplicaSet's size, and notes on it what the Deployment wanted.
fn scale(rollout: &Rollout<'_>, target: &Target<'_>) -> Step {
    let set = target.set;
    let (from, to) = (rollout::size(set), target.replicas);
    let name = set.metadata.name.clone().unwrap_or_default();
    let direction = if to > from { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
    let annotations = rollout.size_annotations();
    let patch = Value::from([
        ("metadata", Value::from([("annotations", annotations)])),
        ("spec", Value::from([("replicas", to.into())])),
    ]);
    let key = Key::new(&REPLICASETS.group_resource(), &rollout.key.namespace, &name);
    let told = (from != to).then(|| told(rollout, message));
    Step { call: calls::merge(&REPLICASETS, &key, patch), told }
}
