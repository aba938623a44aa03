//! What replica controllers ask of pods: whose they are, how well they are, which may go first.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector as TypedSelector, OwnerReference, Time,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::calls;
use super::runner::{Step, Told, Views, decode};
use crate::api::meta::Key;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::client::events::Regarding;
use crate::client::{Call, Gvr, PODS};
use crate::history::{Event, Object, Snapshot};
use crate::util::clock::Wall;

/// A typed selector, ready to match. One that does not parse matches nothing: validation refused it
/// long before.
pub fn selector(typed: &TypedSelector) -> LabelSelector {
    LabelSelector::from_object(&calls::tree(typed)).unwrap_or(LabelSelector::nothing())
}

/// What an event on a dependent concerns among the objects of a kind: its manager, now and before;
/// for an orphan all whose selector, read off their tree, it matches.
pub fn concerned(
    event: &Event,
    views: &Views,
    (kind, resource): (&str, &Gvr),
    selector: impl Fn(&Value) -> LabelSelector,
) -> Vec<Key> {
    let states = [Some(&event.object), event.previous.as_ref()].into_iter().flatten();
    let mut keys: Vec<Key> = states.filter_map(|state| manager(state, kind, resource)).collect();
    keys.dedup();
    let header = &event.object.header;
    if header.controller().is_none() && !event.deleted {
        let all = views.of(resource).snapshot();
        let matching = all
            .in_namespace(&header.key.namespace)
            .filter(|object| object.tree().is_ok_and(|tree| selector(&tree).matches(header)));
        keys.extend(matching.map(|object| object.header.key.clone()));
    }
    keys
}

/// The selector at an object's `spec.selector`.
pub fn own_selector(tree: &Value) -> LabelSelector {
    let selector = tree.at(&["spec", "selector"]);
    LabelSelector::from_object(selector).unwrap_or(LabelSelector::nothing())
}

/// Makes a pod, and tells of it as an event of `regarding`.
pub fn create(regarding: Regarding, namespace: &str, pod: Value) -> Step {
    let told =
        told(regarding, ("SuccessfulCreate", "FailedCreate"), ("Created", "Error creating: "));
    Step { call: calls::create(&PODS, namespace, pod), told: Some(told) }
}

/// Deletes a pod, and tells of it as an event of `regarding`.
pub fn delete(regarding: Regarding, pod: &Pod) -> Step {
    let told =
        told(regarding, ("SuccessfulDelete", "FailedDelete"), ("Deleted", "Error deleting: "));
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    Step { call: calls::delete(&PODS, &key(pod), uid), told: Some(told) }
}

fn told(
    regarding: Regarding,
    (success, failure): (&'static str, &'static str),
    (done, failure_prefix): (&'static str, &'static str),
) -> Told {
    Told { regarding, success, message: format!("{done} pod: {{}}"), failure, failure_prefix }
}

/// A pod's key.
pub fn key(pod: &Pod) -> Key {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
    Key::new(&PODS.group_resource(), &namespace, &name)
}

/// The objects that belong to an owner, and what must be done about others.
#[derive(Default)]
pub struct Claim {
    /// Those that the owner manages.
    pub mine: Vec<Arc<Object>>,
    /// Calls that adopt orphans which match, and release what no longer does.
    pub calls: Vec<Call>,
}

/// Sorts the objects of a namespace into an owner's own, those to adopt, and those to release.
pub fn claim(
    resource: &Gvr,
    objects: &Snapshot,
    namespace: &str,
    selector: &LabelSelector,
    owner: &OwnerReference,
    owner_deleting: bool,
) -> Claim {
    let mut claim = Claim::default();
    for object in objects.in_namespace(namespace) {
        let header = &object.header;
        let matches = selector.matches(header);
        match header.controller() {
            Some(controller) if *controller.uid == *owner.uid && matches => {
                claim.mine.push(Arc::clone(object));
            }
            Some(controller) if *controller.uid == *owner.uid && !owner_deleting => {
                claim.calls.push(release(resource, object, owner));
            }
            None if matches && !owner_deleting && !header.deleting => {
                claim.calls.push(adopt(resource, object, owner));
            }
            _ => {}
        }
    }
    claim
}

/// The UID in the patch makes it fail on a later object of the same name.
fn adopt(resource: &Gvr, object: &Object, owner: &OwnerReference) -> Call {
    let metadata = Value::from([
        ("uid", (&*object.header.uid).into()),
        ("ownerReferences", vec![calls::tree(owner)].into()),
    ]);
    calls::strategic(resource, &object.header.key, Value::from([("metadata", metadata)]))
}

fn release(resource: &Gvr, object: &Object, owner: &OwnerReference) -> Call {
    let gone = Value::from([("$patch", "delete".into()), ("uid", owner.uid.as_str().into())]);
    let metadata = Value::from([
        ("uid", (&*object.header.uid).into()),
        ("ownerReferences", vec![gone].into()),
    ]);
    calls::strategic(resource, &object.header.key, Value::from([("metadata", metadata)]))
}

/// Decodes pods.
pub fn decode_all(objects: &[Arc<Object>]) -> Vec<Pod> {
    objects.iter().filter_map(|object| decode(object)).collect()
}

/// A pod's phase.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether a pod has not ended and is not about to.
pub fn is_active(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none()
}

/// Whether a pod is on its way out but has not ended.
pub fn is_terminating(pod: &Pod) -> bool {
    !matches!(phase(pod), "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_some()
}

/// Since when a pod has been ready; `None` when it is not.
pub fn ready_since(pod: &Pod) -> Option<Wall> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    // A condition without a time has been so for ever.
    Some(ready.last_transition_time.as_ref().map_or(Wall(0), wall))
}

/// When a ready pod is available: ready for `min_ready_s` seconds. `None` when it is not ready.
pub fn available_at(pod: &Pod, min_ready_s: i32) -> Option<Wall> {
    let wait = u64::try_from(min_ready_s).unwrap_or(0);
    ready_since(pod).map(|since| since.after(Duration::from_secs(wait)))
}

/// When the next ready pod becomes available.
pub fn next_availability(mine: &[Pod], min_ready: i32, now: Wall) -> Option<Duration> {
    let times = mine.iter().filter_map(|pod| available_at(pod, min_ready));
    times.filter(|at| *at > now).min().map(|at| at.since(now))
}

/// A typed time as wall time.
pub fn wall(time: &Time) -> Wall {
    i64::try_from(time.0.as_nanosecond()).map_or(Wall(0), Wall)
}

/// A wall time as typed, in whole seconds; `None` beyond the range of the type.
pub fn typed(time: Wall) -> Option<Time> {
    jiff::Timestamp::from_second(time.seconds()).ok().map(Time)
}

/// When a pod ended: its last container, else when it was no longer ready, else when its deletion
/// began.
pub fn ended_at(pod: &Pod) -> Wall {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_ref());
    let ends = containers.map(|containers| {
        let end = |c: &ContainerStatus| {
            c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(wall)
        };
        containers.iter().map(end).collect::<Option<Vec<Wall>>>()
    });
    let last_end = ends.flatten().and_then(|ends| ends.into_iter().max());
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let unready = conditions.filter(|c| c.type_ == "Ready" && c.status == "False");
    let unready = unready.filter_map(|c| c.last_transition_time.as_ref()).map(wall).next();
    let metadata = &pod.metadata;
    let deletion = metadata.deletion_timestamp.as_ref().map(|end| {
        let grace = metadata.deletion_grace_period_seconds.unwrap_or(0).unsigned_abs();
        wall(end).before(Duration::from_secs(grace))
    });
    let created = metadata.creation_timestamp.as_ref().map(wall);
    last_end.or(unready).or(deletion).or(created).unwrap_or(Wall(0))
}

/// A number or a percentage of `of`, rounded up for surges and down for the rest.
pub fn share(limit: &IntOrString, of: i32, up: bool) -> i32 {
    match limit {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * i64::from(of);
            let whole = if up { (product + 99) / 100 } else { product / 100 };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

/// Puts pods in the order in which a controller gives them up, the first to go first: unscheduled,
/// not running, not ready, cheap to delete, crowded on their node, ready for a short time, often
/// restarted, young. `crowd` counts a pod's fellows on its node.
pub fn sort_for_deletion(pods: &mut [Pod], crowd: impl Fn(&Pod) -> usize) {
    pods.sort_by_cached_key(|pod| {
        let spec = pod.spec.as_ref();
        let scheduled = spec.and_then(|s| s.node_name.as_deref()).is_some_and(|n| !n.is_empty());
        let progress = match phase(pod) {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let ready = ready_since(pod);
        (
            (scheduled, progress, ready.is_some()),
            deletion_cost(pod),
            Reverse(crowd(pod)),
            ready.map(|since| Reverse(since.seconds())),
            Reverse(restarts(pod)),
            Reverse(pod.metadata.creation_timestamp.as_ref().map(|t| wall(t).seconds())),
        )
    });
}

/// The annotation `controller.kubernetes.io/pod-deletion-cost` (KEP-2255).
fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"))
        .and_then(|cost| cost.parse().ok())
        .unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|c| c.restart_count).max().unwrap_or(0)
}

/// A new pod from a template, made by `owner`.
pub fn from_template(template: &PodTemplateSpec, owner: &OwnerReference) -> Value {
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut meta = Value::from([
        ("generateName", generate_name(&owner.name).into()),
        ("ownerReferences", vec![calls::tree(owner)].into()),
    ]);
    for (field, value) in [
        ("labels", calls::tree(&metadata.labels)),
        ("annotations", calls::tree(&metadata.annotations)),
        ("finalizers", calls::tree(&metadata.finalizers)),
    ] {
        if !value.is_empty() {
            meta.set(field, value);
        }
    }
    Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "Pod".into()),
        ("metadata", meta),
        ("spec", calls::tree(&template.spec)),
    ])
}

/// The longest base of which a name of 63 characters can come.
pub const GENERATED_BASE_MAX: usize = 63 - 5;

/// The owner's name and a dash.
fn generate_name(owner: &str) -> String {
    let end = owner.len().min(GENERATED_BASE_MAX - 1);
    format!("{}-", &owner[..end])
}

/// The key of the object that manages another, if it is of the given kind.
pub fn manager(object: &Object, kind: &str, resource: &Gvr) -> Option<Key> {
    let owner = object.header.controller()?;
    let same = *owner.kind == *kind && owner.group() == resource.group;
    same.then(|| Key::new(&resource.group_resource(), &object.header.key.namespace, &owner.name))
}
