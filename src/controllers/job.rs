//! Runs pods until enough of them have succeeded.
//!
//! A pod that has ended is counted once, whatever dies in between: it carries a finalizer; its end
//! is written to the job's status (its UID, or its index among the completed ones); then the
//! finalizer goes; then the UID becomes part of a counter. Each reconcile looks at the job and its
//! pods as they are and does the next of these steps, and nothing is remembered between two: how
//! long to wait after failures is read off the pods that failed.

mod create;
mod finish;
mod policy;
mod progress;
#[cfg(test)]
mod tests;
mod track;
pub mod ttl;

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::runner::{self, Controller, Moment, Plan, Step, Views};
use super::{calls, pods};
use crate::api::kinds::batch::JOB_NAME_LABELS;
use crate::api::meta::Key;
use crate::api::selector::{LabelSelector, Labels};
use crate::client::events::Regarding;
use crate::client::{JOBS, PODS};
use crate::history::{Event, Object};
use crate::util::clock::Wall;
use progress::Progress;

/// The name of this controller in `spec.managedBy`.
const MANAGER: &str = "kubernetes.io/job-controller";

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "job-controller",
        watches: vec![(JOBS, runner::itself), (PODS, of_pod)],
        reconcile: Box::new(reconcile),
    }
}

/// A pod that is to be counted also concerns the job that it says it is of, though that is gone.
fn of_pod(event: &Event, views: &Views) -> Vec<Key> {
    let mut keys = pods::concerned(event, views, ("Job", &JOBS), pods::own_selector);
    let header = &event.object.header;
    if let Some(name) = header.label(JOB_NAME_LABELS[0])
        && header.finalizers
        && header.controller().is_none()
    {
        keys.push(Key::new(&JOBS.group_resource(), &header.key.namespace, name));
    }
    keys
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let all = views.of(&PODS).snapshot();
    let job: Option<Job> = views.object(&JOBS, &key.namespace, &key.name);
    let Some((job, spec)) = job.and_then(|job| job.spec.clone().map(|spec| (job, spec))) else {
        return let_go(all.in_namespace(&key.namespace).filter(|pod| was_of(pod, key)));
    };
    if spec.managed_by.as_deref().is_some_and(|manager| manager != MANAGER) {
        return Plan::default();
    }
    let owner = calls::controller_reference("batch/v1", "Job", &job.metadata);
    let deleting = job.metadata.deletion_timestamp.is_some();
    let selector = spec.selector.as_ref().map_or(LabelSelector::nothing(), pods::selector);
    let claim = pods::claim(&PODS, &all, &key.namespace, &selector, &owner, deleting);
    if is_finished(&job) {
        return let_go(claim.mine.iter());
    }
    if !claim.calls.is_empty() {
        let calls = claim.calls.into_iter().map(Step::from).collect();
        return Plan { calls, ..Plan::default() };
    }
    Work { job: &job, spec: &spec, pods: pods::decode_all(&claim.mine), now: moment.now }.plan(key)
}

/// Whether a pod was of a job that is gone.
fn was_of(pod: &Object, key: &Key) -> bool {
    let header = &pod.header;
    match header.controller() {
        Some(_) => pods::manager(pod, "Job", &JOBS).is_some_and(|manager| manager == *key),
        None => header.label(JOB_NAME_LABELS[0]) == Some(&key.name),
    }
}

/// Nobody will count these pods any more.
fn let_go<'a>(objects: impl Iterator<Item = &'a std::sync::Arc<Object>>) -> Plan {
    let tracked = objects.filter(|pod| pod.header.finalizers);
    let pods: Vec<Pod> = tracked.filter_map(|pod| runner::decode(pod)).collect();
    let tracked = pods.iter().filter(|pod| track::is_tracked(pod));
    Plan { calls: tracked.map(|pod| track::release(pod).into()).collect(), ..Plan::default() }
}

/// Whether a job has ended, one way or the other.
pub fn is_finished(job: &Job) -> bool {
    has(job, "Complete") || has(job, "Failed")
}

/// Whether a job has a condition that is true.
pub fn has(job: &Job, condition: &str) -> bool {
    let mut conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|c| c.type_ == condition && c.status == "True")
}

/// A job that has not ended, and its pods.
struct Work<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    pods: Vec<Pod>,
    now: Wall,
}

impl Work<'_> {
    fn plan(&self, key: &Key) -> Plan {
        let mut plan = Plan::default();
        let progress = Progress::new(self);
        let finish = finish::decide(self, &progress);
        let deleting = self.job.metadata.deletion_timestamp.is_some();
        let mut again = None;
        if finish.is_some() {
            plan.calls = progress.active.iter().map(|pod| self.delete(pod)).collect();
        } else if !deleting {
            again = create::manage(self, &progress, &mut plan);
            plan.calls.extend(self.untracked().map(|pod| Step::from(track::hold(pod))));
        }
        plan.calls.extend(track::releases(self, &progress, finish.as_ref()));
        let mut status = track::status(self, &progress, finish.as_ref());
        finish::note_suspension(self, finish.is_some(), &mut status, &mut plan);
        finish::enact(self, finish.as_ref(), &mut status, &mut plan);
        if self.job.status.as_ref() != Some(&status) {
            let changed = Job { status: Some(status), ..self.job.clone() };
            plan.always.push(calls::update_status(&JOBS, key, calls::tree(&changed)));
        }
        plan.again = [again, self.until_deadline()].into_iter().flatten().min();
        plan
    }

    /// Pods that run and would not be counted: those that were adopted.
    fn untracked(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(|pod| pods::is_active(pod) && !track::is_tracked(pod))
    }

    fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    /// How many completions an indexed job has.
    fn completions(&self) -> i64 {
        self.spec.completions.unwrap_or(0).into()
    }

    /// Whether pods are replaced only once they have failed, not when they begin to end.
    fn replaces_failed_only(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
    }

    /// Whether a pod counts as failed. One that is deleted may never get to say so.
    fn is_failed(&self, pod: &Pod) -> bool {
        let phase = pods::phase(pod);
        let deleted = pod.metadata.deletion_timestamp.is_some() && phase != "Succeeded";
        phase == "Failed" || deleted && !self.replaces_failed_only()
    }

    /// How long until the job has been active for too long.
    fn until_deadline(&self) -> Option<Duration> {
        let allowed = u64::try_from(self.spec.active_deadline_seconds?).unwrap_or(0);
        let start = self.job.status.as_ref()?.start_time.as_ref()?;
        let end = pods::wall(start).after(Duration::from_secs(allowed));
        (!self.is_suspended() && end > self.now).then(|| end.since(self.now))
    }

    fn regarding(&self) -> Regarding {
        Regarding::to("batch/v1", "Job", &calls::tree(self.job))
    }

    fn delete(&self, pod: &Pod) -> Step {
        pods::delete(self.regarding(), pod)
    }
}
