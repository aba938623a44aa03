//! How far a job is: its pods sorted, its successes and failures counted, its indexes.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::Pod;

use super::policy::{self, Verdict};
use super::{Work, track};
use crate::api::kinds::batch::indexes::Indexes;
use crate::controllers::pods;
use crate::util::clock::Wall;

/// The annotation and label of a pod's index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How many pods of this index failed before.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How many of them failed in a way that is ignored.
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// Where a job stands.
pub(super) struct Progress<'a> {
    /// Pods that have not ended and are not about to.
    pub active: Vec<&'a Pod>,
    /// How many of them are ready.
    pub ready: i32,
    /// Pods that are about to end.
    pub terminating: i32,
    /// Successes, those included that are not counted yet.
    pub succeeded: i64,
    /// Failures, those included that are not counted yet.
    pub failed: i64,
    /// The indexes that have succeeded; empty for jobs without.
    pub succeeded_indexes: Indexes,
    /// The indexes that have failed for good, where failures are limited by index.
    pub failed_indexes: Option<Indexes>,
    /// The failed pods that are kept until another takes their index, by index: their count of
    /// failures goes over to it.
    pub replaced: BTreeMap<i64, &'a Pod>,
    /// The failures since the last success, and when the last one was.
    pub failures: (u32, Option<Wall>),
}

impl<'a> Progress<'a> {
    /// Looks at a job's pods.
    pub(super) fn new(work: &'a Work<'_>) -> Self {
        let active: Vec<&Pod> = work.pods.iter().filter(|pod| pods::is_active(pod)).collect();
        let ready = active.iter().filter(|pod| pods::ready_since(pod).is_some()).count();
        let terminating = work.pods.iter().filter(|pod| pods::is_terminating(pod)).count();
        let (succeeded, failed) = counts(work);
        let succeeded_indexes = succeeded_indexes(work);
        let failed_indexes = failed_indexes(work);
        let mut progress = Self {
            ready: i32::try_from(ready).unwrap_or(i32::MAX),
            terminating: i32::try_from(terminating).unwrap_or(i32::MAX),
            succeeded: if work.is_indexed() { succeeded_indexes.len() } else { succeeded },
            failed,
            succeeded_indexes,
            failed_indexes,
            replaced: BTreeMap::new(),
            failures: failures(work),
            active,
        };
        if progress.failed_indexes.is_some() {
            progress.replaced = replaced(work, &progress);
        }
        progress
    }

    /// The indexes of active pods.
    pub(super) fn active_indexes(&self) -> HashSet<i64> {
        self.active.iter().filter_map(|pod| index(pod)).collect()
    }
}

/// A pod's index.
pub(super) fn index(pod: &Pod) -> Option<i64> {
    annotation(pod, INDEX)
}

fn annotation(pod: &Pod, name: &str) -> Option<i64> {
    let text = pod.metadata.annotations.as_ref()?.get(name)?;
    text.parse::<i32>().ok().filter(|number| *number >= 0).map(i64::from)
}

/// A pod's counts of earlier failures of its index: those that count, and those that do not.
pub(super) fn index_failures(pod: &Pod) -> (i64, i64) {
    let count = |name| annotation(pod, name).unwrap_or(0);
    (count(FAILURES), count(IGNORED_FAILURES))
}

/// Whether the end of a pod matters: jobs with indexes count only pods that have one.
pub(super) fn is_countable(work: &Work<'_>, pod: &Pod) -> bool {
    !work.is_indexed() || index(pod).is_some_and(|index| index < work.completions())
}

fn counts(work: &Work<'_>) -> (i64, i64) {
    let status = work.status();
    let uncounted = status.uncounted_terminated_pods.unwrap_or_default();
    let [succeeded, failed] =
        [uncounted.succeeded, uncounted.failed].map(Option::unwrap_or_default);
    let new = |known: &[String], ended: &dyn Fn(&Pod) -> bool| {
        let new = work.pods.iter().filter(|pod| {
            track::is_tracked(pod) && is_countable(work, pod) && !knows(known, pod) && ended(pod)
        });
        i64::try_from(new.count() + known.len()).unwrap_or(i64::MAX)
    };
    let is_failure = |pod: &Pod| work.is_failed(pod) && policy::verdict(work.spec, pod).counts();
    (
        i64::from(status.succeeded.unwrap_or(0))
            + new(&succeeded, &|pod| pods::phase(pod) == "Succeeded"),
        i64::from(status.failed.unwrap_or(0)) + new(&failed, &is_failure),
    )
}

/// Whether a pod's UID is on a list.
pub(super) fn knows(list: &[String], pod: &Pod) -> bool {
    pod.metadata.uid.as_ref().is_some_and(|uid| list.contains(uid))
}

fn succeeded_indexes(work: &Work<'_>) -> Indexes {
    if !work.is_indexed() {
        return Indexes::default();
    }
    let mut indexes = stored_indexes(work);
    for pod in work.pods.iter().filter(|pod| track::is_tracked(pod) && is_countable(work, pod)) {
        if let Some(index) = index(pod).filter(|_| pods::phase(pod) == "Succeeded") {
            indexes.add(index);
        }
    }
    indexes
}

/// The indexes that the status says have succeeded.
pub(super) fn stored_indexes(work: &Work<'_>) -> Indexes {
    let text = work.status().completed_indexes.unwrap_or_default();
    Indexes::parse_below(&text, work.completions())
}

fn failed_indexes(work: &Work<'_>) -> Option<Indexes> {
    let limit = i64::from(work.spec.backoff_limit_per_index.filter(|_| work.is_indexed())?);
    let text = work.status().failed_indexes.unwrap_or_default();
    let mut indexes = Indexes::parse_below(&text, work.completions());
    for pod in work.pods.iter().filter(|pod| track::is_tracked(pod) && is_countable(work, pod)) {
        if !work.is_failed(pod) {
            continue;
        }
        let verdict = policy::verdict(work.spec, pod);
        let spent = verdict.counts() && index_failures(pod).0 >= limit;
        if let Some(index) = index(pod).filter(|_| verdict == Verdict::FailIndex || spent) {
            indexes.add(index);
        }
    }
    Some(indexes)
}

/// The last failed pod of each index that is to get another.
fn replaced<'a>(work: &'a Work<'_>, progress: &Progress<'a>) -> BTreeMap<i64, &'a Pod> {
    let active = progress.active_indexes();
    let failed = progress.failed_indexes.as_ref();
    let mut last: BTreeMap<i64, &Pod> = BTreeMap::new();
    for pod in work.pods.iter().filter(|pod| track::is_tracked(pod) && work.is_failed(pod)) {
        let Some(index) = index(pod).filter(|_| is_countable(work, pod)) else { continue };
        let settled = progress.succeeded_indexes.has(index)
            || failed.is_some_and(|failed| failed.has(index))
            || active.contains(&index);
        let rank = |pod: &Pod| {
            let (counted, ignored) = index_failures(pod);
            (counted + ignored, pods::ended_at(pod))
        };
        if !settled && last.get(&index).is_none_or(|other| rank(other) <= rank(pod)) {
            last.insert(index, pod);
        }
    }
    last
}

/// The failures since the last success, and the time of the last failure.
fn failures(work: &Work<'_>) -> (u32, Option<Wall>) {
    let succeeded = work.pods.iter().filter(|pod| pods::phase(pod) == "Succeeded");
    let last_success = succeeded.map(pods::ended_at).max();
    let times = work.pods.iter().filter(|pod| {
        work.is_failed(pod) && is_countable(work, pod) && policy::verdict(work.spec, pod).counts()
    });
    let times: Vec<Wall> = times
        .map(pods::ended_at)
        .filter(|time| last_success.is_none_or(|last| *time > last))
        .collect();
    (u32::try_from(times.len()).unwrap_or(u32::MAX), times.into_iter().max())
}
