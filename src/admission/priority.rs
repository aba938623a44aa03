//! How important a pod is: its class, resolved to a number when it is made.
//!
//! What a class says is looked at once; a class that changes or goes later changes no pod.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::kinds::scheduling;
use crate::api::meta::Meta;
use crate::api::status::Status;
use crate::api::tree::Value;

const CLASSES: (&str, &str) = ("scheduling.k8s.io", "priorityclasses");

/// A priority class as a pod takes it over.
struct Class {
    name: String,
    value: i64,
    preemption_policy: String,
}

impl Class {
    /// What a pod has that names no class where there is no default.
    fn none() -> Self {
        Self {
            name: String::new(),
            value: 0,
            preemption_policy: scheduling::PREEMPTION_POLICY.to_owned(),
        }
    }

    fn from_value(class: &Value) -> Self {
        let policy = class.get("preemptionPolicy").as_str();
        Self {
            name: class.name().to_owned(),
            value: class.get("value").as_int().unwrap_or(0),
            preemption_policy: policy.unwrap_or(scheduling::PREEMPTION_POLICY).to_owned(),
        }
    }

    fn find(world: &World, name: &str) -> Option<Self> {
        let stored = world.find(CLASSES, "", name)?;
        stored.tree().ok().map(|class| Self::from_value(&class))
    }

    /// The class of pods that name none: of several global defaults the lowest, as upstream has it.
    fn default(world: &World) -> Option<Self> {
        let classes = world.all(CLASSES.0, CLASSES.1).into_iter();
        classes
            .filter_map(|object| object.tree().ok())
            .filter(|class| class.get("globalDefault").is_true())
            .map(|class| Self::from_value(&class))
            .min_by_key(|class| class.value)
    }
}

/// Resolves a pod's priority class; in an update, fills in what the pod has.
pub(super) fn resolve(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    if !request.is("", "pods", "") {
        return Ok(());
    }
    match request.operation {
        Operation::Create => give(world, request),
        Operation::Update => {
            keep(request);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn give(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let spec = request.object.get("spec");
    let class = match spec.get("priorityClassName").str() {
        "" => Class::default(world).unwrap_or_else(Class::none),
        name => Class::find(world, name).ok_or_else(|| {
            request.forbidden(&format!("no PriorityClass with name {name} was found"))
        })?,
    };
    if let Some(given) = spec.get("priority").as_int().filter(|given| *given != class.value) {
        return Err(request.forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority \
             admission controller computed {} from the given PriorityClass name",
            class.value
        )));
    }
    let policy = spec.get("preemptionPolicy").as_str();
    if let Some(given) = policy.filter(|given| *given != class.preemption_policy) {
        return Err(request.forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {} from the given PriorityClass name",
            class.preemption_policy
        )));
    }
    let spec = request.object.entry("spec");
    if !class.name.is_empty() {
        spec.set("priorityClassName", class.name);
    }
    spec.set("priority", class.value);
    spec.set("preemptionPolicy", class.preemption_policy);
    Ok(())
}

fn keep(request: &mut AdmissionRequest<'_>) {
    let Some(old) = request.old else { return };
    for field in ["priority", "preemptionPolicy"] {
        let before = old.at(&["spec", field]);
        if request.object.at(&["spec", field]).is_null() && !before.is_null() {
            request.object.entry("spec").set(field, before.clone());
        }
    }
}

/// There is one default at most.
pub(super) fn validate(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let wants = writes && request.is(CLASSES.0, CLASSES.1, "");
    if !wants || !request.object.get("globalDefault").is_true() {
        return Ok(());
    }
    let is_new = request.operation == Operation::Create;
    match Class::default(world) {
        Some(other) if is_new || other.name != request.object_name() => {
            Err(request.forbidden(&format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                other.name
            )))
        }
        _ => Ok(()),
    }
}
