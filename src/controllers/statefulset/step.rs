//! What is done next to the pods of a stateful set: made in order, given up in the other, and
//! replaced from the last to the first.

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::Pod;

use super::{Round, ordinal};
use crate::api::tree::Value;
use crate::client::PODS;
use crate::client::events::Regarding;
use crate::controllers::history::{self, HASH};
use crate::controllers::runner::{Step, Told};
use crate::controllers::{calls, pods};

/// The label with a pod's own name.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label with its number.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// Whether a set replaces its pods by itself.
pub(super) fn rolls(set: &StatefulSet) -> bool {
    let strategy = set.spec.update_strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

/// The calls that may be made now. One at a time, unless the set wants them in parallel.
pub(super) fn next(round: &Round<'_>) -> Vec<Step> {
    let ordered = round.set.spec.pod_management_policy.as_deref() != Some("Parallel");
    let mut steps = Vec::new();
    let range = round.start()..round.start().saturating_add(round.replicas());
    for number in range.clone() {
        let Some(pod) = find(round, number) else {
            steps.push(create(round, number));
            if ordered {
                return steps;
            }
            continue;
        };
        let over = matches!(pods::phase(pod), "Succeeded" | "Failed");
        if over && is_staying(pod) {
            steps.push(delete(round, pod));
        }
        if ordered && (over || !is_healthy(round, pod)) {
            return steps;
        }
    }
    let condemned = condemned(round, &range);
    if !condemned.is_empty() {
        steps.extend(give_up(round, &condemned, ordered));
        if ordered {
            return steps;
        }
    }
    if steps.is_empty() && rolls(round.set) {
        steps = replace(round, range, ordered);
    }
    steps
}

fn find<'a>(round: &'a Round<'_>, number: i32) -> Option<&'a Pod> {
    round.pods.iter().find(|pod| ordinal_of(round, pod) == Some(number))
}

fn ordinal_of(round: &Round<'_>, pod: &Pod) -> Option<i32> {
    ordinal(&round.key.name, pod.metadata.name.as_deref()?)
}

fn is_staying(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}

fn is_healthy(round: &Round<'_>, pod: &Pod) -> bool {
    is_staying(pod) && round.is_available(pod)
}

/// Pods beyond those that are wanted, the last first.
fn condemned<'a>(round: &'a Round<'_>, range: &std::ops::Range<i32>) -> Vec<&'a Pod> {
    let beyond = |pod: &&Pod| ordinal_of(round, pod).is_some_and(|n| !range.contains(&n));
    let mut condemned: Vec<&Pod> = round.pods.iter().filter(beyond).collect();
    condemned.sort_by_key(|pod| std::cmp::Reverse(ordinal_of(round, pod)));
    condemned
}

/// In order the last one goes once all before it are well; the first that is not may go at once.
fn give_up(round: &Round<'_>, condemned: &[&Pod], ordered: bool) -> Vec<Step> {
    if !ordered {
        let staying = condemned.iter().filter(|pod| is_staying(pod));
        return staying.map(|pod| delete(round, pod)).collect();
    }
    let sick = condemned.iter().rev().find(|pod| !is_healthy(round, pod));
    let Some(last) = condemned.first() else { return Vec::new() };
    let is_first_sick = sick.is_some_and(|sick| sick.metadata.uid == last.metadata.uid);
    if !is_staying(last) || !is_healthy(round, last) && !is_first_sick {
        return Vec::new();
    }
    vec![delete(round, last)]
}

/// Deletes pods of an old template, the last first; they come back of the new one.
fn replace(round: &Round<'_>, range: std::ops::Range<i32>, ordered: bool) -> Vec<Step> {
    let strategy = round.set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or(0);
    let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let most = limit.map_or(1, |limit| pods::share(limit, round.replicas(), false).max(1));
    let pods: Vec<&Pod> = range.rev().filter_map(|number| find(round, number)).collect();
    let sick = pods.iter().filter(|pod| !is_healthy(round, pod)).count();
    let mut budget = usize::try_from(most).unwrap_or(1).saturating_sub(sick);
    let old = pods.iter().filter(|pod| {
        let below = ordinal_of(round, pod).is_some_and(|n| n - round.start() < partition);
        !below && !round.is_updated(pod) && is_staying(pod)
    });
    let mut steps = Vec::new();
    for pod in old {
        // In parallel, one that is not available costs nothing more.
        let free = !ordered && !round.is_available(pod);
        if free || budget > 0 {
            budget -= usize::from(!free);
            steps.push(delete(round, pod));
        }
    }
    steps
}

/// The revision that a pod of this number is to be of.
fn revision_of<'a>(round: &Round<'a>, number: i32) -> &'a ControllerRevision {
    let strategy = round.set.spec.update_strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let status = round.set.status.as_ref();
    let kept = match rolling {
        Some(rolling) => rolling.partition.unwrap_or(0),
        None => status.and_then(|status| status.current_replicas).unwrap_or(0),
    };
    if rolls(round.set) && number - round.start() < kept { round.current } else { round.update }
}

fn regarding(round: &Round<'_>) -> Regarding {
    Regarding::to("apps/v1", "StatefulSet", &calls::tree(round.set))
}

fn create(round: &Round<'_>, number: i32) -> Step {
    let revision = revision_of(round, number);
    let name = format!("{}-{number}", round.key.name);
    let owner = calls::controller_reference("apps/v1", "StatefulSet", &round.set.metadata);
    let template = history::template(revision).to().unwrap_or_default();
    let mut pod = pods::from_template(&template, &owner);
    let metadata = pod.entry("metadata");
    metadata.remove("generateName");
    metadata.set("name", name.as_str());
    let labels = metadata.entry("labels");
    labels.set(POD_NAME, name.as_str());
    labels.set(POD_INDEX, number.to_string());
    labels.set(HASH, history::name(revision));
    let spec = pod.entry("spec");
    spec.set("hostname", name.as_str());
    match round.set.spec.service_name.as_deref().unwrap_or_default() {
        "" => drop(spec.remove("subdomain")),
        service => spec.set("subdomain", service),
    }
    told(round, calls::create(&PODS, &round.key.namespace, pod), &name, "create")
}

fn delete(round: &Round<'_>, pod: &Pod) -> Step {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let options = Value::object();
    told(round, calls::delete_with(&PODS, &pods::key(pod), uid, options), name, "delete")
}

fn told(round: &Round<'_>, call: crate::client::Call, pod: &str, verb: &str) -> Step {
    let set = &round.key.name;
    let (success, failure, failure_prefix) = match verb {
        "create" => ("SuccessfulCreate", "FailedCreate", "create Pod failed error: "),
        _ => ("SuccessfulDelete", "FailedDelete", "delete Pod failed error: "),
    };
    let told = Told {
        regarding: regarding(round),
        success,
        message: format!("{verb} Pod {pod} in StatefulSet {set} successful"),
        failure,
        failure_prefix,
    };
    Step { call, told: Some(told) }
}
