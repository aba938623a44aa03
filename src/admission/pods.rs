//! What every pod acquires: a priority, and patience with a node that does not answer.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::status::Status;
use crate::api::tree::Value;

/// The classes that exist without being made, and their values.
const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
/// What a pod may do to pods of lower priority unless its class says otherwise.
const PREEMPTION_POLICY: &str = "PreemptLowerPriority";
/// How long a pod stays bound to a node that is not ready or cannot be reached.
const TOLERATION_S: i64 = 300;

/// A priority class as a pod takes it over.
struct Class {
    name: String,
    value: i64,
    preemption_policy: String,
}

impl Class {
    fn from_value(class: &Value) -> Self {
        use crate::api::meta::Meta;
        let policy = class.get("preemptionPolicy").as_str().unwrap_or(PREEMPTION_POLICY);
        Self {
            name: class.name().to_owned(),
            value: class.get("value").as_int().unwrap_or(0),
            preemption_policy: policy.to_owned(),
        }
    }

    fn find(world: &World, name: &str) -> Option<Self> {
        let stored = world.find(("scheduling.k8s.io", "priorityclasses"), "", name);
        if let Some(class) = stored.and_then(|object| object.tree().ok()) {
            return Some(Self::from_value(&class));
        }
        let (name, value) = SYSTEM_CLASSES.iter().find(|(system, _)| *system == name)?;
        Some(Self {
            name: (*name).to_owned(),
            value: *value,
            preemption_policy: PREEMPTION_POLICY.to_owned(),
        })
    }

    /// The class of pods that name none: of several global defaults the lowest, as upstream has it.
    fn default(world: &World) -> Self {
        let classes = world.all("scheduling.k8s.io", "priorityclasses").into_iter();
        classes
            .filter_map(|object| object.tree().ok())
            .filter(|class| class.get("globalDefault").is_true())
            .map(|class| Self::from_value(&class))
            .min_by_key(|class| class.value)
            .unwrap_or(Self {
                name: String::new(),
                value: 0,
                preemption_policy: PREEMPTION_POLICY.to_owned(),
            })
    }
}

/// Resolves a pod's priority class.
pub(super) fn priority(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    if request.operation != Operation::Create || !request.is("", "pods", "") {
        return Ok(());
    }
    let spec = request.object.get("spec");
    let class = match spec.get("priorityClassName").str() {
        "" => Class::default(world),
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

/// Adds the two tolerations that bound how long a pod outlives its node's silence.
pub(super) fn tolerations(_: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !writes || !request.is("", "pods", "") {
        return Ok(());
    }
    let spec = request.object.entry("spec");
    let present = spec.get("tolerations").items();
    let missing: Vec<Value> = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
        .into_iter()
        .filter(|key| !present.iter().any(|toleration| tolerates(toleration, key)))
        .map(|key| {
            Value::from([
                ("key", key.into()),
                ("operator", "Exists".into()),
                ("effect", "NoExecute".into()),
                ("tolerationSeconds", TOLERATION_S.into()),
            ])
        })
        .collect();
    if !missing.is_empty() {
        let tolerations = present.iter().cloned().chain(missing).collect::<Vec<_>>();
        spec.set("tolerations", tolerations);
    }
    Ok(())
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let (own, effect) = (toleration.get("key").str(), toleration.get("effect").str());
    (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
}
