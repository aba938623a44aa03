//! What replica controllers ask of pods: whose they are, how well they are, which may go first.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector as TypedSelector, OwnerReference, Time,
};

use super::calls;
use super::runner::decode;
use crate::api::meta::Key;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::client::{Call, Gvr};
use crate::history::{Object, Snapshot};
use crate::util::clock::Wall;

/// A typed selector, ready to match. One that does not parse matches nothing: validation refused it
/// long before.
pub fn selector(typed: &TypedSelector) -> LabelSelector {
    LabelSelector::from_object(&calls::tree(typed)).unwrap_or(LabelSelector::nothing())
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

fn phase(pod: &Pod) -> &str {
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
    ready_since(pod).map(|since| since.after(std::time::Duration::from_secs(wait)))
}

/// A typed time as wall time.
pub fn wall(time: &Time) -> Wall {
    i64::try_from(time.0.as_nanosecond()).map_or(Wall(0), Wall)
}

/// A wall time as typed, in whole seconds; `None` beyond the range of the type.
pub fn typed(time: Wall) -> Option<Time> {
    jiff::Timestamp::from_second(time.seconds()).ok().map(Time)
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

/// The owner's name and a dash, shortened so that a name of 63 characters can come of it.
fn generate_name(owner: &str) -> String {
    const PREFIX_MAX: usize = 63 - 5 - 1;
    let end = owner.len().min(PREFIX_MAX);
    format!("{}-", &owner[..end])
}

/// The key of the object that manages another, if it is of the given kind.
pub fn manager(object: &Object, kind: &str, resource: &Gvr) -> Option<Key> {
    let owner = object.header.controller()?;
    let same = *owner.kind == *kind && owner.group() == resource.group;
    same.then(|| Key::new(&resource.group_resource(), &object.header.key.namespace, &owner.name))
}
