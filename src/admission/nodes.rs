//! A new node gets no pods before it has said that it is ready.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::status::Status;
use crate::api::tree::Value;

/// The taint that goes with the first Ready condition.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) fn taint(_: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    if request.operation != Operation::Create || !request.is("", "nodes", "") {
        return Ok(());
    }
    let spec = request.object.entry("spec");
    let mut taints = spec.get("taints").items().to_vec();
    let there = |taint: &Value| {
        taint.get("key").str() == NOT_READY && taint.get("effect").str() == "NoSchedule"
    };
    if !taints.iter().any(there) {
        taints.push(Value::from([("key", NOT_READY.into()), ("effect", "NoSchedule".into())]));
        spec.set("taints", taints);
    }
    Ok(())
}
