//! What every pod acquires: patience with a node that does not answer.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::status::Status;
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

fn tolerates(toleration: &Value, key: &str) -> bool {
    let (own, effect) = (toleration.get("key").str(), toleration.get("effect").str());
    (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
}
