//! Keeps count of how many pods a PodDisruptionBudget allows to be evicted.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::runner::{self, Controller, Moment, Plan, Views};
use super::{calls, pods};
use crate::api::meta::Key;
use crate::client::{
    DEPLOYMENTS, Gvr, PODDISRUPTIONBUDGETS, PODS, REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS,
};
use crate::history::Event;
use crate::limits;
use crate::util::clock::Wall;

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "disruption-controller",
        watches: vec![
            (PODDISRUPTIONBUDGETS, runner::itself),
            (PODS, of_pod),
            (REPLICASETS, of_owner),
            (REPLICATIONCONTROLLERS, of_owner),
            (STATEFULSETS, of_owner),
            (DEPLOYMENTS, of_owner),
        ],
        reconcile: Box::new(reconcile),
    }
}

/// A pod concerns the budgets that select it, now or before.
fn of_pod(event: &Event, views: &Views) -> Vec<Key> {
    let states = [Some(&event.object), event.previous.as_ref()];
    let budgets = views.of(&PODDISRUPTIONBUDGETS).snapshot();
    let here = budgets.in_namespace(&event.object.header.key.namespace);
    let selecting = here.filter(|budget| {
        let selector = budget.tree().map(|tree| pods::own_selector(&tree));
        selector.is_ok_and(|s| states.iter().flatten().any(|pod| s.matches(&pod.header)))
    });
    selecting.map(|budget| budget.header.key.clone()).collect()
}

/// A change of size concerns all budgets of the namespace.
fn of_owner(event: &Event, views: &Views) -> Vec<Key> {
    let header = &event.object.header;
    let same = event.previous.as_ref().is_some_and(|p| p.header.generation == header.generation);
    if same && !event.deleted {
        return Vec::new();
    }
    let budgets = views.of(&PODDISRUPTIONBUDGETS).snapshot();
    let here = budgets.in_namespace(&header.key.namespace);
    here.map(|budget| budget.header.key.clone()).collect()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let object = views.of(&PODDISRUPTIONBUDGETS).get(&key.namespace, &key.name);
    let budget: Option<PodDisruptionBudget> = object.as_ref().and_then(|o| runner::decode(o));
    let (Some(budget), Some(object)) = (budget, object) else { return Plan::default() };
    let selector = object.tree().map(|tree| pods::own_selector(&tree));
    let all = views.of(&PODS).snapshot();
    let chosen = all
        .in_namespace(&key.namespace)
        .filter(|pod| selector.as_ref().is_ok_and(|selector| selector.matches(&pod.header)));
    let chosen: Vec<Pod> = chosen.filter_map(|pod| runner::decode(pod)).collect();
    let mut plan = Plan::default();
    let status = match wanted(views, key, &budget, &chosen) {
        Ok((expected, desired)) => {
            let disrupted = still_disrupted(&budget, &chosen, moment.now, &mut plan);
            let counts = Counts { healthy: healthy(&chosen, &disrupted), desired, expected };
            counts.status(&budget, disrupted, moment.now)
        }
        Err(why) => failed(&budget, &why, moment.now),
    };
    if budget.status.as_ref() != Some(&status) {
        let changed = PodDisruptionBudget { status: Some(status), ..budget };
        let call = calls::update_status(&PODDISRUPTIONBUDGETS, key, calls::tree(&changed));
        plan.always.push(call);
    }
    plan
}

/// How many pods there are to be, and how many of them healthy.
fn wanted(
    views: &Views,
    key: &Key,
    budget: &PodDisruptionBudget,
    chosen: &[Pod],
) -> Result<(i32, i32), String> {
    let spec = budget.spec.clone().unwrap_or_default();
    let there = i32::try_from(chosen.len()).unwrap_or(i32::MAX);
    Ok(match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let expected = scale(views, key, chosen)?;
            (expected, (expected - pods::share(most, expected, true)).max(0))
        }
        (None, Some(IntOrString::Int(least))) => (there, *least),
        (None, Some(least)) => {
            let expected = scale(views, key, chosen)?;
            (expected, pods::share(least, expected, true))
        }
        (None, None) => (0, 0),
    })
}

/// The sum of the sizes of what manages these pods; those that nothing manages are left out.
fn scale(views: &Views, key: &Key, chosen: &[Pod]) -> Result<i32, String> {
    let mut sizes: HashMap<String, i32> = HashMap::new();
    for pod in chosen {
        let mut owners = pod.metadata.owner_references.iter().flatten();
        let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
            continue;
        };
        let found = match owner.kind.as_str() {
            "ReplicaSet" => size(views, &REPLICASETS, key, &owner.name, &owner.uid),
            "ReplicationController" => {
                size(views, &REPLICATIONCONTROLLERS, key, &owner.name, &owner.uid)
            }
            "StatefulSet" => size(views, &STATEFULSETS, key, &owner.name, &owner.uid),
            _ => None,
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let (uid, size) = found.ok_or_else(|| format!("found no controllers for pod {name:?}"))?;
        sizes.insert(uid, size);
    }
    Ok(sizes.values().sum())
}

/// The UID and size of a set, or of the deployment that manages it.
fn size(views: &Views, kind: &Gvr, key: &Key, name: &str, uid: &str) -> Option<(String, i32)> {
    let set = views.of(kind).get(&key.namespace, name).filter(|set| *set.header.uid == *uid)?;
    if let Some(deployment) = pods::manager(&set, "Deployment", &DEPLOYMENTS) {
        let uid = &set.header.controller()?.uid;
        return size(views, &DEPLOYMENTS, key, &deployment.name, uid);
    }
    let tree = set.tree().ok()?;
    let replicas = tree.at(&["spec", "replicas"]).as_int().unwrap_or(1);
    Some((uid.to_owned(), i32::try_from(replicas).unwrap_or(i32::MAX)))
}

/// The evicted pods whose deletion is still to be seen.
fn still_disrupted(
    budget: &PodDisruptionBudget,
    chosen: &[Pod],
    now: Wall,
    plan: &mut Plan,
) -> BTreeMap<String, Time> {
    let listed = budget.status.as_ref().and_then(|status| status.disrupted_pods.clone());
    let mut listed = listed.unwrap_or_default();
    listed.retain(|name, time| {
        let staying = |pod: &Pod| {
            pod.metadata.name.as_ref() == Some(name) && pod.metadata.deletion_timestamp.is_none()
        };
        let until = pods::wall(time).after(limits::EVICTION_CONFIRMED);
        let waits = chosen.iter().any(staying) && until > now;
        if waits {
            let rest: Duration = until.since(now);
            plan.again = Some(plan.again.map_or(rest, |other| other.min(rest)));
        }
        waits
    });
    listed
}

fn healthy(chosen: &[Pod], disrupted: &BTreeMap<String, Time>) -> i32 {
    let counts = |pod: &&Pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        pod.metadata.deletion_timestamp.is_none()
            && !disrupted.contains_key(name)
            && pods::ready_since(pod).is_some()
    };
    i32::try_from(chosen.iter().filter(counts).count()).unwrap_or(i32::MAX)
}

/// What a budget's status says.
struct Counts {
    healthy: i32,
    desired: i32,
    expected: i32,
}

impl Counts {
    fn status(
        self,
        budget: &PodDisruptionBudget,
        disrupted: BTreeMap<String, Time>,
        now: Wall,
    ) -> PodDisruptionBudgetStatus {
        let spare = (self.healthy - self.desired).max(0);
        let allowed = if self.expected > 0 { spare } else { 0 };
        let (value, reason) = match allowed > 0 {
            true => ("True", "SufficientPods"),
            false => ("False", "InsufficientPods"),
        };
        PodDisruptionBudgetStatus {
            current_healthy: Some(self.healthy),
            desired_healthy: Some(self.desired),
            disruptions_allowed: Some(allowed),
            expected_pods: Some(self.expected),
            disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
            observed_generation: budget.metadata.generation,
            conditions: conditions(budget, value, reason, "", now),
        }
    }
}

/// The status of a budget whose pods cannot be counted: nothing may be evicted.
fn failed(budget: &PodDisruptionBudget, why: &str, now: Wall) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus {
        disruptions_allowed: Some(0),
        observed_generation: budget.metadata.generation,
        conditions: conditions(budget, "False", "SyncFailed", why, now),
        ..budget.status.clone().unwrap_or_default()
    }
}

fn conditions(
    budget: &PodDisruptionBudget,
    value: &str,
    reason: &str,
    message: &str,
    now: Wall,
) -> Option<Vec<Condition>> {
    const TYPE: &str = "DisruptionAllowed";
    let old = budget.status.as_ref().and_then(|status| status.conditions.clone());
    let mut list = old.unwrap_or_default();
    let before = list.iter().find(|condition| condition.type_ == TYPE);
    let since = before.filter(|c| c.status == value).map(|c| c.last_transition_time.clone());
    let condition = Condition {
        type_: TYPE.into(),
        status: value.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since.or_else(|| pods::typed(now))?,
    };
    list.retain(|condition| condition.type_ != TYPE);
    list.push(condition);
    Some(list)
}
