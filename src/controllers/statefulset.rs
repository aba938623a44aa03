//! Keeps pods that have names of their own: `web-0`, `web-1` and so on, made in that order and
//! given up in the other.

mod step;

use std::collections::HashSet;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::history::{self, HASH, History, Subject};
use super::runner::{self, Controller, Moment, Plan, Step, Views};
use super::{calls, pods};
use crate::api::meta::Key;
use crate::client::{CONTROLLERREVISIONS, PODS, STATEFULSETS};
use crate::history::Event;
use crate::util::clock::Wall;

/// The label of a revision that holds its hash.
const REVISION_HASH: &str = "controller.kubernetes.io/hash";

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "statefulset-controller",
        watches: vec![
            (STATEFULSETS, runner::itself),
            (PODS, of_dependent),
            (CONTROLLERREVISIONS, of_dependent),
        ],
        reconcile: Box::new(reconcile),
    }
}

fn of_dependent(event: &Event, views: &Views) -> Vec<Key> {
    pods::concerned(event, views, ("StatefulSet", &STATEFULSETS), pods::own_selector)
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let set: Option<StatefulSet> = views.object(&STATEFULSETS, &key.namespace, &key.name);
    let Some(set) = set else { return Plan::default() };
    let deleting = set.metadata.deletion_timestamp.is_some();
    let owner = calls::controller_reference("apps/v1", "StatefulSet", &set.metadata);
    let selector = pods::selector(&set.spec.selector);
    let all = views.of(&PODS).snapshot();
    let mut claim = pods::claim(&PODS, &all, &key.namespace, &selector, &owner, deleting);
    // Only pods of the set's name are its own, whatever their labels.
    claim.mine.retain(|pod| ordinal(&key.name, &pod.header.key.name).is_some());
    claim.calls.retain(|call| ordinal(&key.name, &call.name).is_some());
    let mut history = History::of(views, key, &subject(&set));
    let mut first = std::mem::take(&mut history.steps);
    first.extend(claim.calls.into_iter().map(Step::from));
    if !first.is_empty() {
        let calls = if deleting { Vec::new() } else { first };
        return Plan { calls, ..Plan::default() };
    }
    let Some(update) = &history.current else { return collided(set, key) };
    let named = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
    let is_current = |revision: &&ControllerRevision| Some(history::name(revision)) == named;
    let round = Round {
        key,
        current: history.old.iter().find(is_current).unwrap_or(update),
        update,
        pods: pods::decode_all(&claim.mine),
        now: moment.now,
        set: &set,
    };
    round.plan(&history)
}

fn subject(set: &StatefulSet) -> Subject<'_> {
    Subject {
        metadata: &set.metadata,
        owner: calls::controller_reference("apps/v1", "StatefulSet", &set.metadata),
        selector: &set.spec.selector,
        template: calls::tree(&set.spec.template),
        collisions: set.status.as_ref().and_then(|s| s.collision_count).filter(|n| *n > 0),
        label: REVISION_HASH,
    }
}

/// The name of the present template is taken: another is made of one more collision.
fn collided(set: StatefulSet, key: &Key) -> Plan {
    let mut status = set.status.clone().unwrap_or_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    let changed = StatefulSet { status: Some(status), ..set };
    let call = calls::update_status(&STATEFULSETS, key, calls::tree(&changed));
    Plan { always: vec![call], ..Plan::default() }
}

/// The number in a pod's name, if it is one of the set's.
fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let number = pod.strip_prefix(set)?.strip_prefix('-')?;
    number.parse().ok().filter(|ordinal: &i32| ordinal.to_string() == number)
}

/// One look at a set and its pods.
struct Round<'a> {
    key: &'a Key,
    set: &'a StatefulSet,
    /// What pods below the partition are of.
    current: &'a ControllerRevision,
    /// What all others are to be of.
    update: &'a ControllerRevision,
    pods: Vec<Pod>,
    now: Wall,
}

impl Round<'_> {
    fn plan(&self, history: &History) -> Plan {
        let mut plan = Plan::default();
        if self.set.metadata.deletion_timestamp.is_none() {
            plan.calls = step::next(self);
            let live: HashSet<String> = self.pods.iter().map(|p| revision(p).to_owned()).collect();
            let live = live.into_iter().chain([history::name(self.current).to_owned()]).collect();
            let limit = self.set.spec.revision_history_limit.unwrap_or(10);
            plan.then = history.superfluous(self.key, limit, &live, REVISION_HASH);
        }
        let status = self.status();
        if self.set.status.as_ref() != Some(&status) {
            let changed = StatefulSet { status: Some(status), ..self.set.clone() };
            plan.always.push(calls::update_status(&STATEFULSETS, self.key, calls::tree(&changed)));
        }
        plan.again = pods::next_availability(&self.pods, self.min_ready(), self.now);
        plan
    }

    fn min_ready(&self) -> i32 {
        self.set.spec.min_ready_seconds.unwrap_or(0)
    }

    fn replicas(&self) -> i32 {
        self.set.spec.replicas.unwrap_or(1)
    }

    fn start(&self) -> i32 {
        self.set.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::available_at(pod, self.min_ready()).is_some_and(|at| at <= self.now)
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        revision(pod) == history::name(self.update)
    }

    fn status(&self) -> StatefulSetStatus {
        let old = self.set.status.clone().unwrap_or_default();
        let count = |holds: &dyn Fn(&Pod) -> bool| {
            let count = self.pods.iter().filter(|pod| holds(pod)).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        let is_ready =
            |pod: &Pod| pods::phase(pod) == "Running" && pods::ready_since(pod).is_some();
        let of = |name: &str, pod: &Pod| {
            pod.metadata.deletion_timestamp.is_none() && revision(pod) == name
        };
        let (current, update) = (history::name(self.current), history::name(self.update));
        let some = |count: i32| (count > 0).then_some(count);
        let replicas = count(&|_| true);
        let (ready, updated) = (count(&is_ready), count(&|pod| of(update, pod)));
        let mut status = StatefulSetStatus {
            replicas,
            ready_replicas: some(ready),
            available_replicas: Some(count(&|pod| is_ready(pod) && self.is_available(pod))),
            current_replicas: some(count(&|pod| of(current, pod))),
            updated_replicas: some(updated),
            current_revision: Some(current.to_owned()),
            update_revision: Some(update.to_owned()),
            collision_count: Some(old.collision_count.unwrap_or(0)),
            observed_generation: self.set.metadata.generation,
            conditions: old.conditions,
        };
        // An update is over when every pod is of the new template and ready.
        if step::rolls(self.set) && updated == replicas && ready == replicas {
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
        status
    }
}

/// The revision that a pod is of.
fn revision(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(HASH)).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_belongs_to_a_set_by_its_name() {
        assert_eq!(ordinal("web", "web-0"), Some(0));
        assert_eq!(ordinal("web", "web-12"), Some(12));
        for other in ["web", "web-", "web-01", "web-x", "web-1-2", "webs-1", "web-+1"] {
            assert_eq!(ordinal("web", other), None, "{other}");
        }
    }
}
