//! Runs one pod on each node that fits.

mod nodes;
mod update;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::history::{self, HASH, History, Subject};
use super::runner::{self, Controller, Moment, Plan, Step, Views};
use super::{calls, pods};
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::events::{Regarding, Severity};
use crate::client::{CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS};
use crate::history::{Event, Object};
use crate::limits;
use crate::util::clock::Wall;

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "daemonset-controller",
        watches: vec![
            (DAEMONSETS, runner::itself),
            (PODS, of_dependent),
            (CONTROLLERREVISIONS, of_dependent),
            (NODES, of_node),
        ],
        reconcile: Box::new(reconcile),
    }
}

fn of_dependent(event: &Event, views: &Views) -> Vec<Key> {
    pods::concerned(event, views, ("DaemonSet", &DAEMONSETS), pods::own_selector)
}

/// A node concerns all sets when it comes or goes, or may be chosen by others than before.
fn of_node(event: &Event, views: &Views) -> Vec<Key> {
    let facts = |node: &Arc<Object>| {
        let tree = node.tree().unwrap_or_default();
        [tree.at(&["metadata", "labels"]).clone(), tree.at(&["spec", "taints"]).clone()]
    };
    let same = |before: &Arc<Object>| facts(before) == facts(&event.object);
    if !event.deleted && event.previous.as_ref().is_some_and(same) {
        return Vec::new();
    }
    views.of(&DAEMONSETS).snapshot().iter().map(|set| set.header.key.clone()).collect()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let set: Option<DaemonSet> = views.object(&DAEMONSETS, &key.namespace, &key.name);
    let Some(set) = set.filter(|set| set.metadata.deletion_timestamp.is_none()) else {
        return Plan::default();
    };
    let owner = calls::controller_reference("apps/v1", "DaemonSet", &set.metadata);
    let selector = pods::selector(&set.spec.selector);
    let all = views.of(&PODS).snapshot();
    let claim = pods::claim(&PODS, &all, &key.namespace, &selector, &owner, false);
    let mut history = History::of(views, key, &subject(&set));
    let mut first = std::mem::take(&mut history.steps);
    first.extend(claim.calls.into_iter().map(Step::from));
    if !first.is_empty() {
        return Plan { calls: first, ..Plan::default() };
    }
    let Some(current) = &history.current else { return collided(set, key) };
    let nodes = views.of(&NODES).snapshot();
    let round = Round {
        key,
        hash: history::label(current, HASH),
        nodes: nodes.iter().filter_map(|node| node.tree().ok()).collect(),
        pods: pods::decode_all(&claim.mine),
        spec: nodes::pod_spec(&set),
        now: moment.now,
        set: &set,
    };
    round.plan(&history)
}

fn subject(set: &DaemonSet) -> Subject<'_> {
    Subject {
        metadata: &set.metadata,
        owner: calls::controller_reference("apps/v1", "DaemonSet", &set.metadata),
        selector: &set.spec.selector,
        template: calls::tree(&set.spec.template),
        collisions: set.status.as_ref().and_then(|status| status.collision_count),
        label: HASH,
    }
}

/// The name of the present template is taken: another is made of one more collision.
fn collided(set: DaemonSet, key: &Key) -> Plan {
    let mut status = set.status.clone().unwrap_or_default();
    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    let changed = DaemonSet { status: Some(status), ..set };
    let call = calls::update_status(&DAEMONSETS, key, calls::tree(&changed));
    Plan { always: vec![call], ..Plan::default() }
}

/// One look at a set, its nodes and its pods.
struct Round<'a> {
    key: &'a Key,
    set: &'a DaemonSet,
    /// What the pods of the present template are labelled with.
    hash: &'a str,
    nodes: Vec<Value>,
    pods: Vec<Pod>,
    /// The spec of its pods, but for their node.
    spec: Value,
    now: Wall,
}

/// What is to be done on the nodes.
#[derive(Default)]
struct Changes<'a> {
    /// Nodes that get a pod.
    create: Vec<String>,
    /// Pods that go.
    delete: Vec<&'a Pod>,
}

impl Changes<'_> {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }
}

impl Round<'_> {
    fn plan(&self, history: &History) -> Plan {
        let mut plan = Plan::default();
        let by_node = self.by_node();
        let mut changes = self.manage(&by_node, &mut plan);
        if changes.is_empty() {
            changes = update::roll(self, &by_node);
        }
        let deleted = changes.delete.iter().take(limits::REPLICA_BURST);
        plan.calls.extend(deleted.map(|pod| pods::delete(self.regarding(), pod)));
        let created = changes.create.iter().take(limits::REPLICA_BURST);
        plan.calls.extend(created.map(|node| self.create(node)));
        let live: HashSet<String> = self.pods.iter().map(|pod| pod_hash(pod).to_owned()).collect();
        let limit = self.set.spec.revision_history_limit.unwrap_or(10);
        plan.then = history.superfluous(self.key, limit, &live, HASH);
        let status = self.status(&by_node);
        if self.set.status.as_ref() != Some(&status) {
            let changed = DaemonSet { status: Some(status), ..self.set.clone() };
            plan.always.push(calls::update_status(&DAEMONSETS, self.key, calls::tree(&changed)));
        }
        let ready = pods::next_availability(&self.pods, self.min_ready(), self.now);
        plan.again = [plan.again, ready].into_iter().flatten().min();
        plan
    }

    fn regarding(&self) -> Regarding {
        Regarding::to("apps/v1", "DaemonSet", &calls::tree(self.set))
    }

    fn min_ready(&self) -> i32 {
        self.set.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::available_at(pod, self.min_ready()).is_some_and(|at| at <= self.now)
    }

    fn is_new(&self, pod: &Pod) -> bool {
        pod_hash(pod) == self.hash
    }

    /// The set's pods by their node, the oldest first; those that ended and are deleted are gone.
    fn by_node(&self) -> BTreeMap<String, Vec<&Pod>> {
        let mut by_node: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
        for pod in &self.pods {
            let over = matches!(pods::phase(pod), "Succeeded" | "Failed");
            if !(over && pod.metadata.deletion_timestamp.is_some()) {
                by_node.entry(nodes::of_pod(pod)).or_default().push(pod);
            }
        }
        for pods in by_node.values_mut() {
            pods.sort_by_key(|pod| {
                let created = pod.metadata.creation_timestamp.as_ref().map(pods::wall);
                (created.map(Wall::seconds), pod.metadata.name.clone())
            });
        }
        by_node
    }

    /// Pods that are missing on nodes, and those that should not be there.
    fn manage<'a>(&self, by_node: &BTreeMap<String, Vec<&'a Pod>>, plan: &mut Plan) -> Changes<'a> {
        let mut changes = Changes::default();
        for node in &self.nodes {
            let pods = by_node.get(node.name()).map_or(&[][..], Vec::as_slice);
            let fit = nodes::fit(&self.spec, node);
            if !fit.may_stay {
                changes.delete.extend(pods.iter().filter(|pod| is_staying(pod)));
            } else if pods.is_empty() {
                changes.create.extend(fit.may_start.then(|| node.name().to_owned()));
            } else {
                let running = self.replace_ended(pods, &mut changes, plan);
                self.prune(node.name(), running, fit.may_start, &mut changes);
            }
        }
        // A pod that waits for a node which is gone waits in vain.
        let gone = |name: &str| !self.nodes.iter().any(|node| node.name() == name);
        let lost = by_node.iter().filter(|(name, _)| gone(name)).flat_map(|(_, pods)| pods);
        changes.delete.extend(lost.filter(|pod| nodes::is_unbound(pod) && is_staying(pod)));
        changes
    }

    /// Deletes pods that have ended, and returns those that run.
    fn replace_ended<'a>(
        &self,
        pods: &[&'a Pod],
        changes: &mut Changes<'a>,
        plan: &mut Plan,
    ) -> Vec<&'a Pod> {
        let mut running = Vec::new();
        for pod in pods.iter().filter(|pod| is_staying(pod)) {
            let (severity, reason, what) = match pods::phase(pod) {
                "Failed" => {
                    let due = pods::ended_at(pod).after(limits::DAEMON_BACKOFF);
                    if due > self.now {
                        let wait = due.since(self.now);
                        plan.again = Some(plan.again.map_or(wait, |other| other.min(wait)));
                        continue;
                    }
                    (Severity::Warning, "FailedDaemonPod", "failed")
                }
                "Succeeded" => (Severity::Normal, "SucceededDaemonPod", "succeeded"),
                _ => {
                    running.push(*pod);
                    continue;
                }
            };
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let (namespace, node) = (&self.key.namespace, nodes::of_pod(pod));
            let message = format!(
                "Found {what} daemon pod {namespace}/{name} on node {node}, will try to kill it"
            );
            plan.events.push((self.regarding(), severity, reason, message));
            changes.delete.push(pod);
        }
        running
    }

    /// Leaves one pod on a node; of a surge also the one that it replaces, while that is needed.
    fn prune<'a>(
        &self,
        node: &str,
        running: Vec<&'a Pod>,
        may_start: bool,
        changes: &mut Changes<'a>,
    ) {
        if update::surge(self, 1) == 0 {
            changes.delete.extend(running.into_iter().skip(1));
            return;
        }
        if running.is_empty() && may_start {
            changes.create.push(node.to_owned());
        }
        let (mut new, mut old): (Vec<&Pod>, Vec<&Pod>) =
            running.into_iter().partition(|pod| self.is_new(pod));
        changes.delete.extend(new.drain(1.min(new.len())..));
        changes.delete.extend(old.drain(1.min(old.len())..));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (pods::ready_since(old).is_none() || self.is_available(new))
        {
            changes.delete.push(old);
        }
    }

    fn create(&self, node: &str) -> Step {
        let owner = calls::controller_reference("apps/v1", "DaemonSet", &self.set.metadata);
        let mut pod = pods::from_template(&self.set.spec.template, &owner);
        pod.entry_at(&["metadata", "labels"]).set(HASH, self.hash);
        if let Some(generation) = nodes::template_generation(self.set) {
            pod.entry_at(&["metadata", "labels"]).set(nodes::TEMPLATE_GENERATION, generation);
        }
        pod.set("spec", nodes::bound_to(self.spec.clone(), node));
        pods::create(self.regarding(), &self.key.namespace, pod)
    }

    fn status(&self, by_node: &BTreeMap<String, Vec<&Pod>>) -> DaemonSetStatus {
        let old = self.set.status.clone().unwrap_or_default();
        let mut status = DaemonSetStatus {
            collision_count: old.collision_count,
            conditions: old.conditions,
            observed_generation: self.set.metadata.generation,
            ..DaemonSetStatus::default()
        };
        let (mut updated, mut available) = (0, 0);
        for node in &self.nodes {
            let pod = by_node.get(node.name()).and_then(|pods| pods.first());
            if !nodes::fit(&self.spec, node).may_start {
                status.number_misscheduled += i32::from(pod.is_some());
                continue;
            }
            status.desired_number_scheduled += 1;
            let Some(pod) = pod else { continue };
            status.current_number_scheduled += 1;
            status.number_ready += i32::from(pods::ready_since(pod).is_some());
            available += i32::from(self.is_available(pod));
            updated += i32::from(self.is_new(pod));
        }
        let some = |count: i32| (count > 0).then_some(count);
        status.updated_number_scheduled = some(updated);
        status.number_available = some(available);
        status.number_unavailable = some(status.desired_number_scheduled - available);
        status
    }
}

fn pod_hash(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(HASH)).map_or("", String::as_str)
}

/// Whether a pod is not being deleted.
fn is_staying(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}
