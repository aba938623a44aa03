//! Writes a pod's status: only what changed, one write at a time.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::{Context, Note, RETRY_FIRST, RETRY_MAX, Worker};
use crate::api::meta::Meta;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::client::{PODS, PatchKind};
use crate::node::pod::{Step, resize};
use crate::util::backoff::Backoff;
use crate::util::clock::{self, Wall};

/// What was reported of a pod.
pub(super) struct Report {
    /// The status after the last write, and the revision that the write made.
    written: Option<(Value, u64)>,
    /// The last patch that was sent and taken: what the server did not take over of it, it will not
    /// take over the next time either.
    sent: Value,
    writing: bool,
    backoff: Backoff,
    retry: Option<Wall>,
}

impl Default for Report {
    fn default() -> Self {
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        Self { written: None, sent: Value::Null, writing: false, backoff, retry: None }
    }
}

/// The fields that a node owns and may take away again.
const OWNED: [&str; 9] = [
    "message",
    "reason",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
];
/// Conditions that go when what they tell of is over.
const PASSING: [&str; 2] = [resize::PENDING, resize::IN_PROGRESS];
/// Lists that a strategic merge patch merges by address.
const BY_ADDRESS: [&str; 2] = ["podIPs", "hostIPs"];

impl Report {
    /// The object with the newest status that is known: a view may lag behind a write.
    pub(super) fn merged(&self, mut tree: Value, revision: u64) -> Value {
        if let Some((status, written)) = &self.written
            && *written > revision
        {
            tree.set("status", status.clone());
        }
        tree
    }

    /// When a write that failed is tried again.
    pub(super) fn retry(&self) -> Option<Wall> {
        self.retry
    }

    fn done(&mut self, result: Result<Value, Status>) {
        self.writing = false;
        match result {
            Ok(object) => {
                let revision = object.resource_version().parse().unwrap_or(0);
                self.written = Some((object.get("status").clone(), revision));
                self.backoff.reset();
                self.retry = None;
            }
            // The object is gone or another: the view will tell.
            Err(error) if error.is_not_found() || error.is_conflict() => {
                self.sent = Value::Null;
                self.retry = Some(clock::now().after(self.backoff.fail()));
            }
            Err(error) => {
                self.sent = Value::Null;
                let delay = self.backoff.fail();
                tracing::warn!(%error, "cannot report a pod's status; trying again in {delay:?}");
                self.retry = Some(clock::now().after(delay));
            }
        }
    }
}

impl Worker {
    /// Begins to write the status if it differs from what was reported.
    pub(super) fn send_report(&mut self, pod: &Pod, step: &Step) {
        let waits = self.report.retry.is_some_and(|at| at > clock::now());
        if self.report.writing || waits || step.quiet || self.seen.orphaned {
            return;
        }
        let Some(patch) = patch(pod.status.as_ref(), &step.status) else { return };
        if patch == self.report.sent {
            return;
        }
        self.report.sent = patch.clone();
        self.report.writing = true;
        let context = Arc::clone(&self.context);
        let place = place(pod);
        self.tasks.spawn(async move {
            let result = write(&context, place, patch).await;
            context.note(Note::Reported(result)).await;
        });
    }

    /// Whether everything of a decision has been reported.
    pub(super) fn is_reported(&self, pod: &Pod, status: &PodStatus) -> bool {
        let patch = patch(pod.status.as_ref(), status);
        !self.report.writing && patch.is_none_or(|patch| patch == self.report.sent)
    }

    pub(super) fn reported(&mut self, result: Result<Value, Status>) {
        self.report.done(result);
    }
}

/// Namespace and name of a pod.
pub(super) fn place(pod: &Pod) -> (String, String) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&pod.metadata.namespace), text(&pod.metadata.name))
}

async fn write(
    context: &Context,
    (namespace, name): (String, String),
    status: Value,
) -> Result<Value, Status> {
    // Another pod of the same name shall not get this one's status.
    let metadata = Value::from([("uid", context.uid.as_str().into())]);
    let patch = Value::from([("metadata", metadata), ("status", status)]);
    let client = &context.shared.client;
    client.patch(&PODS, &namespace, &name, "status", PatchKind::Strategic, patch).await
}

/// A strategic merge patch from what is reported to what shall be; none where they agree.
fn patch(old: Option<&PodStatus>, new: &PodStatus) -> Option<Value> {
    let tree = |status: &PodStatus| Value::of(status).unwrap_or_default();
    let (old, new) = (old.map(tree).unwrap_or_default(), tree(new));
    let mut patch = Value::object();
    for (key, value) in new.fields() {
        let known = old.get(key);
        if key == "conditions" {
            let changed = conditions(known, value);
            if !changed.is_empty() {
                patch.set(key, changed);
            }
        } else if known != value {
            patch.set(key, list_patch(key, known, value));
        }
    }
    for key in OWNED {
        if new.get(key).is_null() && !old.get(key).is_null() {
            patch.set(key, Value::Null);
        }
    }
    (!patch.is_empty()).then_some(patch)
}

/// A new value of a list that is merged must say what goes.
fn list_patch(key: &str, old: &Value, new: &Value) -> Value {
    if !BY_ADDRESS.contains(&key) {
        return new.clone();
    }
    let stays = |ip: &Value| new.items().iter().any(|item| item.get("ip") == ip);
    let gone = old.items().iter().map(|item| item.get("ip")).filter(|ip| !stays(ip));
    let removal = |ip: &Value| Value::from([("$patch", "delete".into()), ("ip", ip.clone())]);
    let mut list = new.items().to_vec();
    list.extend(gone.map(removal));
    list.into()
}

/// The conditions that differ in more than the probe's time, which nobody sets.
fn conditions(old: &Value, new: &Value) -> Vec<Value> {
    let same = |a: &Value, b: &Value| {
        ["type", "status", "reason", "message", "lastTransitionTime", "observedGeneration"]
            .iter()
            .all(|key| a.get(key) == b.get(key))
    };
    let known = |condition: &Value| old.items().iter().any(|other| same(condition, other));
    let changed = new.items().iter().filter(|condition| !known(condition));
    let there = |kind: &Value| new.items().iter().any(|condition| condition.get("type") == kind);
    let kinds = old.items().iter().map(|condition| condition.get("type"));
    let gone = kinds.filter(|kind| PASSING.contains(&kind.str()) && !there(kind));
    let removal = |kind: &Value| Value::from([("$patch", "delete".into()), ("type", kind.clone())]);
    // A field that is not there any more must be taken away by name.
    let explicit = |condition: &Value| {
        let mut condition = condition.clone();
        for key in ["reason", "message"] {
            if condition.get(key).is_null() {
                condition.set(key, Value::Null);
            }
        }
        condition
    };
    changed.map(explicit).chain(gone.map(removal)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> PodStatus {
        serde_json::from_str(json).unwrap()
    }

    fn patched(old: &str, new: &str) -> String {
        patch(Some(&status(old)), &status(new)).map_or_else(String::new, |p| p.to_string())
    }

    #[test]
    fn only_differences_are_written() {
        let same = r#"{"phase":"Running","podIP":"a","nominatedNodeName":"x"}"#;
        assert_eq!(patched(same, r#"{"phase":"Running","podIP":"a"}"#), "");
        assert_eq!(
            patched(r#"{"phase":"Pending","reason":"r"}"#, r#"{"phase":"Running"}"#),
            r#"{"phase":"Running","reason":null}"#
        );
        assert_eq!(
            patched(r#"{"podIPs":[{"ip":"a"}]}"#, r#"{"podIPs":[{"ip":"b"}]}"#),
            r#"{"podIPs":[{"ip":"b"},{"$patch":"delete","ip":"a"}]}"#
        );
    }

    #[test]
    fn conditions_of_others_stay() {
        let old = r#"{"conditions":[{"type":"Mine","status":"True","reason":"x"},
            {"type":"Ready","status":"True","lastProbeTime":"2020-01-01T00:00:00Z"}]}"#;
        let new = r#"{"conditions":[{"type":"Ready","status":"True"}]}"#;
        assert_eq!(patched(old, new), "");
        let new = r#"{"conditions":[{"type":"Ready","status":"False"}]}"#;
        let expected =
            r#"{"conditions":[{"message":null,"reason":null,"status":"False","type":"Ready"}]}"#;
        assert_eq!(patched(old, new), expected);
    }
}
