//! Which pods a job still needs, and which are too many.

use std::collections::HashSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodTemplateSpec,
};

use super::policy;
use super::progress::{self, FAILURES, IGNORED_FAILURES, INDEX, Progress};
use super::{Work, track};
use crate::controllers::runner::{Plan, Step};
use crate::controllers::{calls, pods};
use crate::limits;
use crate::util::backoff::Backoff;
use crate::util::clock::Wall;

/// The environment variable by which a container knows its index.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Plans deletions or creations, never both: deletions go first. Returns when to look again.
pub(super) fn manage(
    work: &Work<'_>,
    progress: &Progress<'_>,
    plan: &mut Plan,
) -> Option<Duration> {
    let active = progress.active.len();
    let wanted = wanted(work, progress);
    let surplus = surplus(work, progress, active.saturating_sub(wanted));
    if !surplus.is_empty() {
        // Such a pod is not a failure, so it is let go before it is deleted.
        let tracked = surplus.iter().filter(|pod| track::is_tracked(pod));
        plan.calls.extend(tracked.map(|pod| Step::from(track::release(pod))));
        plan.then.extend(surplus.iter().map(|pod| work.delete(pod)));
        return None;
    }
    let leaving = if work.replaces_failed_only() { progress.terminating } else { 0 };
    let there = active + usize::try_from(leaving).unwrap_or(0);
    let missing = wanted.saturating_sub(there).min(limits::REPLICA_BURST);
    if missing == 0 || work.is_suspended() {
        return None;
    }
    if progress.failed_indexes.is_none() {
        let (failures, last) = progress.failures;
        let rest = rest(work.now, failures, last);
        if rest.is_some() {
            return rest;
        }
    }
    if !work.is_indexed() {
        let create = || create(work, None, None);
        plan.calls.extend(std::iter::repeat_with(create).take(missing));
        return None;
    }
    let (now, later) = pending(work, progress, missing);
    plan.calls.extend(
        now.into_iter()
            .map(|index| create(work, Some(index), progress.replaced.get(&index).copied())),
    );
    later
}

/// How many pods are to be active.
fn wanted(work: &Work<'_>, progress: &Progress<'_>) -> usize {
    let parallelism = i64::from(work.spec.parallelism.unwrap_or(1));
    let active = i64::try_from(progress.active.len()).unwrap_or(i64::MAX);
    let wanted = match work.spec.completions {
        _ if work.is_suspended() => 0,
        Some(completions) => (i64::from(completions) - progress.succeeded).min(parallelism),
        // Once one has succeeded the others may end, and none takes their place.
        None if progress.succeeded > 0 => active.min(parallelism),
        None => parallelism,
    };
    usize::try_from(wanted).unwrap_or(0)
}

/// At least so many pods to delete, those first that got least far; of an indexed job also all
/// whose index is wrong or has another pod.
fn surplus<'a>(work: &Work<'_>, progress: &Progress<'a>, at_least: usize) -> Vec<&'a Pod> {
    let mut sorted: Vec<Pod> = progress.active.iter().map(|pod| (*pod).clone()).collect();
    pods::sort_for_deletion(&mut sorted, |_| 0);
    let rank = |pod: &Pod| sorted.iter().position(|other| other.metadata.uid == pod.metadata.uid);
    let mut active = progress.active.clone();
    active.sort_by_key(|pod| rank(pod));
    let (mut surplus, mut rest) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    // The last of an index is the one that got furthest.
    for pod in active.into_iter().rev() {
        let index = progress::index(pod);
        let sound = progress::is_countable(work, pod);
        let superfluous = work.is_indexed() && (!sound || !seen.insert(index));
        if superfluous { surplus.push(pod) } else { rest.push(pod) }
    }
    let more = at_least.saturating_sub(surplus.len());
    surplus.extend(rest.into_iter().rev().take(more));
    surplus.truncate(limits::REPLICA_BURST);
    surplus
}

/// The first indexes without a pod that may get one now; else how long until one may.
fn pending(work: &Work<'_>, progress: &Progress<'_>, count: usize) -> (Vec<i64>, Option<Duration>) {
    let mut taken = progress.succeeded_indexes.clone();
    let held = work.pods.iter().filter(|pod| {
        pods::is_active(pod) || work.replaces_failed_only() && pods::is_terminating(pod)
    });
    held.filter_map(progress::index).for_each(|index| taken.add(index));
    let failed = progress.failed_indexes.as_ref();
    let free = taken.missing(work.completions());
    let free = free.filter(|index| failed.is_none_or(|failed| !failed.has(*index))).take(count);
    let (mut now, mut later) = (Vec::new(), None);
    for index in free {
        let wait = progress.replaced.get(&index).and_then(|pod| {
            let (counted, ignored) = progress::index_failures(pod);
            let failures = u32::try_from(counted + ignored + 1).unwrap_or(u32::MAX);
            rest(work.now, failures, Some(pods::ended_at(pod)))
        });
        match wait {
            None => now.push(index),
            Some(wait) => later = Some(later.map_or(wait, |other: Duration| other.min(wait))),
        }
    }
    let later = later.filter(|_| now.is_empty());
    (now, later)
}

/// What is left of the wait after so many failures.
fn rest(now: Wall, failures: u32, last: Option<Wall>) -> Option<Duration> {
    let mut backoff = Backoff::new(limits::JOB_BACKOFF_FIRST, limits::JOB_BACKOFF_MAX);
    // After thirty the ceiling is long reached.
    let delay = (0..failures.min(30)).map(|_| backoff.fail()).last()?;
    let due = last?.after(delay);
    (due > now).then(|| due.since(now))
}

fn create(work: &Work<'_>, index: Option<i64>, replaced: Option<&Pod>) -> Step {
    let owner = calls::controller_reference("batch/v1", "Job", &work.job.metadata);
    let mut template = work.spec.template.clone();
    if let Some(index) = index {
        give_index(work, &mut template, index, replaced);
    }
    let mut pod = pods::from_template(&template, &owner);
    let metadata = pod.entry("metadata");
    let mut finalizers = metadata.get("finalizers").items().to_vec();
    finalizers.retain(|finalizer| finalizer.str() != track::FINALIZER);
    finalizers.push(track::FINALIZER.into());
    metadata.set("finalizers", finalizers);
    if let Some(index) = index {
        let suffix = format!("-{index}-");
        let end = owner.name.len().min(pods::GENERATED_BASE_MAX - suffix.len());
        metadata.set("generateName", format!("{}{suffix}", &owner.name[..end]));
    }
    pods::create(work.regarding(), &namespace(work), pod)
}

fn namespace(work: &Work<'_>) -> String {
    work.job.metadata.namespace.clone().unwrap_or_default()
}

/// What a pod knows of its index: annotation, label, host name, environment.
fn give_index(work: &Work<'_>, template: &mut PodTemplateSpec, index: i64, replaced: Option<&Pod>) {
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels.get_or_insert_default().insert(INDEX.into(), index.to_string());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.into(), index.to_string());
    if work.spec.backoff_limit_per_index.is_some() {
        let (counted, ignored) = replaced.map_or((0, 0), |pod| {
            let (counted, ignored) = progress::index_failures(pod);
            let counts = i64::from(policy::verdict(work.spec, pod).counts());
            (counted + counts, ignored + 1 - counts)
        });
        annotations.insert(FAILURES.into(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.into(), ignored.to_string());
        }
    }
    let Some(spec) = template.spec.as_mut() else { return };
    let name = work.job.metadata.name.as_deref().unwrap_or_default();
    spec.hostname = Some(format!("{name}-{index}"));
    spec.init_containers.iter_mut().flatten().for_each(give_variable);
    spec.containers.iter_mut().for_each(give_variable);
}

fn give_variable(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector {
        field_path: format!("metadata.labels['{INDEX}']"),
        ..ObjectFieldSelector::default()
    };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(source),
        ..EnvVar::default()
    });
}
