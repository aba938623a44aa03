//! RuntimeClass: what a pod's class adds to its needs and to where it may run.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::amounts::Amounts;
use crate::api::status::Status;
use crate::api::tree::Value;

const DIFFERS: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// The class of a new pod; null where it names none.
fn class(world: &World, request: &AdmissionRequest<'_>) -> Result<Option<Value>, Status> {
    if request.operation != Operation::Create || !request.is("", "pods", "") {
        return Ok(None);
    }
    let Some(name) = request.object.at(&["spec", "runtimeClassName"]).as_str() else {
        return Ok(Some(Value::Null));
    };
    let stored = world.find(("node.k8s.io", "runtimeclasses"), "", name);
    let class = stored.and_then(|object| object.tree().ok());
    class
        .map(Some)
        .ok_or_else(|| request.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found")))
}

/// Takes over overhead and placement from the class.
pub(super) fn apply(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    let Some(class) = class(world, request)? else { return Ok(()) };
    let fixed = class.at(&["overhead", "podFixed"]);
    if !class.get("overhead").is_null() {
        let own = request.object.at(&["spec", "overhead"]);
        if !own.is_empty() && Amounts::of(own) != Amounts::of(fixed) {
            return Err(request.forbidden(DIFFERS));
        }
        request.object.entry("spec").set("overhead", fixed.clone());
    }
    place(request, class.get("scheduling"))
}

fn place(request: &mut AdmissionRequest<'_>, scheduling: &Value) -> Result<(), Status> {
    for (label, value) in scheduling.get("nodeSelector").fields() {
        let own = request.object.at(&["spec", "nodeSelector", label]);
        if !own.is_null() && own != value {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {}; \
                 pod.spec.nodeSelector[{label}] = {}",
                value.str(),
                own.str()
            );
            return Err(request.forbidden(&why));
        }
        request.object.entry_at(&["spec", "nodeSelector"]).set(label, value.clone());
    }
    let more = scheduling.get("tolerations").items();
    if !more.is_empty() {
        let spec = request.object.entry("spec");
        let all: Vec<Value> = spec.get("tolerations").items().iter().chain(more).cloned().collect();
        spec.set("tolerations", merged(&all));
    }
    Ok(())
}

/// The tolerations that no other one covers; of equal ones the first.
fn merged(all: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let known = merged.iter().any(|other| covers(other, one));
        let later = all[at + 1..].iter().any(|other| other != one && covers(other, one));
        if !known && !later {
            merged.push(one.clone());
        }
    }
    merged
}

/// Whether a toleration holds wherever another does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let field = |toleration: &Value, name: &str| toleration.get(name).str().to_owned();
    let exists = field(wide, "operator") == "Exists";
    let every_key = field(wide, "key").is_empty() && exists;
    if field(wide, "key") != field(narrow, "key") && !every_key {
        return false;
    }
    let effect = field(wide, "effect");
    if !effect.is_empty() && effect != field(narrow, "effect") {
        return false;
    }
    let seconds = |toleration: &Value| toleration.get("tolerationSeconds").as_int();
    if effect == "NoExecute"
        && let Some(most) = seconds(wide)
        && seconds(narrow).is_none_or(|s| s > most)
    {
        return false;
    }
    match &*field(wide, "operator") {
        "" | "Equal" => {
            field(narrow, "operator") == "Equal" && field(narrow, "value") == field(wide, "value")
        }
        _ => exists,
    }
}

/// What a pod says that its class costs is what the class says.
pub(super) fn check(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let Some(class) = class(world, request)? else { return Ok(()) };
    let own = request.object.at(&["spec", "overhead"]);
    let why = match class.get("overhead") {
        Value::Null if own.is_null() => return Ok(()),
        Value::Null => {
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        }
        overhead if Amounts::of(overhead.get("podFixed")) == Amounts::of(own) => return Ok(()),
        _ => DIFFERS,
    };
    Err(request.forbidden(why))
}
