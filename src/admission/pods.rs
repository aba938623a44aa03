//! What every pod acquires, patience with a node that does not answer, and what a resize must
//! satisfy: that the pod's node could ever give what is asked for.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::amounts::{Amounts, Totals};
use crate::api::meta::Meta;
use crate::api::quantity::Quantity;
use crate::api::status::{Cause, Status};
use crate::api::tree::Value;

/// How long a pod stays bound to a node that is not ready or cannot be reached.
const TOLERATION_S: i64 = 300;

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

/// PodResizeValidator: a bound pod asks for no more than its node has, and its node can resize.
pub(super) fn resize(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let wanted = request.operation == Operation::Update && request.is("", "pods", "resize");
    let name = request.object.at(&["spec", "nodeName"]).str();
    let same = |old: &Value| old.generation() == request.object.generation();
    if !wanted || name.is_empty() || request.old.is_some_and(same) {
        return Ok(());
    }
    let found = world.find(("", "nodes"), "", name).and_then(|node| node.tree().ok());
    let Some(node) = found else {
        return Err(request.forbidden(&format!("node {name:?} not found")));
    };
    let refused = |reason: &'static str, why: &str| {
        let mut status = request.forbidden(why);
        let cause = Cause { reason, message: String::new(), field: String::new() };
        status.details.get_or_insert_default().causes.push(cause);
        Err(status)
    };
    let system = node.metadata().get("labels").get("kubernetes.io/os").str();
    if !matches!(system, "" | "linux") {
        let why =
            format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}");
        return refused("UnsupportedPlatform", &why);
    }
    let short = short_of(request.object, node.at(&["status", "allocatable"]));
    match short.is_empty() {
        true => Ok(()),
        false => {
            let what = short.join("; ");
            let why = format!("node didn't have enough allocatable resources: {what}");
            refused("NodeCapacity", &why)
        }
    }
}

/// Of what the pod alone asks for more than there is.
fn short_of(pod: &Value, allocatable: &Value) -> Vec<String> {
    let spec = pod.get("spec");
    let mut requests = Amounts::of_pod(spec, "requests");
    requests.add(&Amounts::of(spec.get("overhead")));
    let allocatable = Amounts::of(allocatable);
    let units = [("cpu", Quantity::milli_value as fn(_) -> i64), ("memory", Quantity::value)];
    let short = |(name, unit): (&str, fn(Quantity) -> i64)| {
        let (wanted, has) = (requests.get(name)?, allocatable.get(name).unwrap_or_default());
        let told = || format!("{name}, requested: {}, allocatable: {}", unit(wanted), unit(has));
        (wanted > has).then(told)
    };
    units.into_iter().filter_map(short).collect()
}

fn tolerates(toleration: &Value, key: &str) -> bool {
    let (own, effect) = (toleration.get("key").str(), toleration.get("effect").str());
    (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
}
