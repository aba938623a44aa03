//! Each pod's end is counted once: finalizer, UID in the status, counter.

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::{JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;

use super::finish::Finish;
use super::progress::{self, Progress, is_countable, knows};
use super::{Work, policy};
use crate::api::tree::Value;
use crate::client::{Call, PODS};
use crate::controllers::runner::Step;
use crate::controllers::{calls, pods};
use crate::limits;

/// What keeps a pod until its end is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Whether a pod's end is still to be counted.
pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Takes the finalizer off a pod.
pub(super) fn release(pod: &Pod) -> Call {
    change(pod, "$deleteFromPrimitiveList/finalizers")
}

/// Puts the finalizer on a pod.
pub(super) fn hold(pod: &Pod) -> Call {
    change(pod, "finalizers")
}

/// The UID in the patch makes it fail on a later pod of the same name.
fn change(pod: &Pod, list: &str) -> Call {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let metadata = Value::from([("uid", uid.into()), (list, vec![FINALIZER.into()].into())]);
    calls::strategic(&PODS, &pods::key(pod), Value::from([("metadata", metadata)]))
}

/// How the end of a pod is counted.
#[derive(Debug, PartialEq, Eq)]
enum Count {
    /// By its index.
    Index(i64),
    /// As a success, by its UID.
    Succeeded,
    /// As a failure, by its UID.
    Failed,
    /// Not at all.
    Nothing,
}

/// Whether a pod's finalizer may go once it is counted, and how it is.
fn count(
    work: &Work<'_>,
    progress: &Progress<'_>,
    finish: Option<&Finish>,
    pod: &Pod,
) -> Option<Count> {
    let over = finish.is_some() || work.job.metadata.deletion_timestamp.is_some();
    let lost = finish.is_some_and(|finish| !finish.is_success());
    if pods::phase(pod) == "Succeeded" {
        let index = progress::index(pod).filter(|_| is_countable(work, pod));
        return Some(match index {
            Some(index) if work.is_indexed() => Count::Index(index),
            None if work.is_indexed() => Count::Nothing,
            _ => Count::Succeeded,
        });
    }
    let failed = work.is_failed(pod);
    if !failed && !over {
        return None;
    }
    let waits = |(_, kept): (&i64, &&Pod)| kept.metadata.uid == pod.metadata.uid;
    if !over && progress.replaced.iter().any(waits) {
        return None;
    }
    let counts = is_countable(work, pod) && policy::verdict(work.spec, pod).counts();
    Some(if (failed || lost) && counts { Count::Failed } else { Count::Nothing })
}

/// Takes the finalizer off the pods whose end the stored status shows.
pub(super) fn releases(
    work: &Work<'_>,
    progress: &Progress<'_>,
    finish: Option<&Finish>,
) -> Vec<Step> {
    let status = work.status();
    let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
    let [succeeded, failed] =
        [uncounted.succeeded, uncounted.failed].map(Option::unwrap_or_default);
    let stored = progress::stored_indexes(work);
    let settled = finish.is_none_or(|finish| finish.is_stored);
    let shown = |pod: &Pod| match count(work, progress, finish, pod) {
        None => false,
        Some(Count::Index(index)) => stored.has(index),
        Some(Count::Succeeded) => knows(&succeeded, pod),
        Some(Count::Failed) => knows(&failed, pod),
        Some(Count::Nothing) => settled,
    };
    let done = work.pods.iter().filter(|pod| is_tracked(pod) && shown(pod));
    done.map(|pod| Step::from(release(pod))).collect()
}

/// The status as it is to be, but for conditions and times.
pub(super) fn status(
    work: &Work<'_>,
    progress: &Progress<'_>,
    finish: Option<&Finish>,
) -> JobStatus {
    let mut status = work.status();
    let uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let tracked: HashSet<&String> = work
        .pods
        .iter()
        .filter(|p| is_tracked(p))
        .filter_map(|p| p.metadata.uid.as_ref())
        .collect();
    // A UID whose pod has lost its finalizer becomes part of the counter.
    let settle = |list: Option<Vec<String>>, counter: &mut Option<i32>| {
        let (kept, gone): (Vec<String>, Vec<String>) =
            list.into_iter().flatten().partition(|uid| tracked.contains(uid));
        let sum =
            counter.unwrap_or(0).saturating_add(i32::try_from(gone.len()).unwrap_or(i32::MAX));
        *counter = (sum > 0).then_some(sum);
        kept
    };
    let mut succeeded = settle(uncounted.succeeded, &mut status.succeeded);
    let mut failed = settle(uncounted.failed, &mut status.failed);
    for pod in work.pods.iter().filter(|pod| is_tracked(pod)) {
        if succeeded.len() + failed.len() >= limits::JOB_UNCOUNTED_MAX {
            break;
        }
        let Some(uid) = pod.metadata.uid.clone() else { continue };
        let list = match count(work, progress, finish, pod) {
            Some(Count::Succeeded) => &mut succeeded,
            Some(Count::Failed) => &mut failed,
            _ => continue,
        };
        if !list.contains(&uid) {
            list.push(uid);
        }
    }
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    status.uncounted_terminated_pods =
        Some(UncountedTerminatedPods { succeeded: some(succeeded), failed: some(failed) });
    observe(work, progress, &mut status);
    status
}

/// What is seen at once: pods that run, and the indexes.
fn observe(work: &Work<'_>, progress: &Progress<'_>, status: &mut JobStatus) {
    let active = i32::try_from(progress.active.len()).unwrap_or(i32::MAX);
    status.active = (active > 0).then_some(active);
    status.ready = Some(progress.ready);
    status.terminating = Some(progress.terminating);
    if work.is_indexed() {
        let text = progress.succeeded_indexes.to_string();
        status.completed_indexes = (!text.is_empty()).then_some(text);
        let count = i32::try_from(progress.succeeded_indexes.len()).unwrap_or(i32::MAX);
        status.succeeded = (count > 0).then_some(count);
        status.failed_indexes = progress.failed_indexes.as_ref().map(ToString::to_string);
    }
}
