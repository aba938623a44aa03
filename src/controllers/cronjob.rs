//! Makes a Job whenever a CronJob's schedule says so, and removes old ones.
//!
//! A Job's name comes of the minute that it is for, so that none is made twice.

mod schedule;
#[cfg(test)]
mod tests;

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;

use super::runner::{self, Controller, Moment, Plan, Step, Told, Views};
use super::{calls, job, pods};
use crate::api::meta::Key;
use crate::api::time;
use crate::api::tree::Value;
use crate::client::events::{Regarding, Severity};
use crate::client::{CRONJOBS, JOBS};
use crate::history::Event;
use crate::util::clock::Wall;
use schedule::Missed;

/// Carries the time that a job was made for.
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "cronjob-controller",
        watches: vec![(CRONJOBS, runner::itself), (JOBS, of_job)],
        reconcile: Box::new(reconcile),
    }
}

fn of_job(event: &Event, _: &Views) -> Vec<Key> {
    pods::manager(&event.object, "CronJob", &CRONJOBS).into_iter().collect()
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let cron: Option<CronJob> = views.object(&CRONJOBS, &key.namespace, &key.name);
    let Some(cron) = cron else { return Plan::default() };
    let spec = &cron.spec;
    let uid = cron.metadata.uid.clone().unwrap_or_default();
    let all = views.of(&JOBS).snapshot();
    let mine = all
        .in_namespace(&key.namespace)
        .filter(|job| job.header.controller().is_some_and(|owner| *owner.uid == *uid));
    let jobs: Vec<Job> = mine.filter_map(|job| runner::decode(job)).collect();
    let status = cron.status.clone().unwrap_or_default();
    let mut round =
        Round { key, cron: &cron, spec, jobs, now: moment.now, status, plan: Plan::default() };
    round.note_jobs();
    round.remove_old();
    if cron.metadata.deletion_timestamp.is_none() && spec.suspend != Some(true) {
        round.start();
    }
    round.finish()
}

/// One look at a CronJob.
struct Round<'a> {
    key: &'a Key,
    cron: &'a CronJob,
    spec: &'a CronJobSpec,
    jobs: Vec<Job>,
    now: Wall,
    /// The status as it is to be.
    status: CronJobStatus,
    plan: Plan,
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

impl Round<'_> {
    fn regarding(&self) -> Regarding {
        Regarding::to("batch/v1", "CronJob", &calls::tree(self.cron))
    }

    fn tell(&mut self, severity: Severity, reason: &'static str, message: String) {
        self.plan.events.push((self.regarding(), severity, reason, message));
    }

    fn active(&mut self) -> &mut Vec<ObjectReference> {
        self.status.active.get_or_insert_default()
    }

    /// Keeps the list of running jobs and the time of the last success true.
    fn note_jobs(&mut self) {
        let mut listed = std::mem::take(self.active());
        for job in std::mem::take(&mut self.jobs) {
            let uid = job.metadata.uid.clone();
            let known = listed.iter().position(|reference| reference.uid == uid);
            match (job::is_finished(&job), known) {
                (true, Some(at)) => {
                    listed.remove(at);
                    let ended = if job::has(&job, "Complete") { "Complete" } else { "Failed" };
                    let message = format!("Saw completed job: {}, condition: {ended}", name(&job));
                    self.tell(Severity::Normal, "SawCompletedJob", message);
                }
                // Made by this controller, which did not live to write that down.
                (false, None) => listed.push(reference(&job)),
                _ => {}
            }
            self.note_success(&job);
            self.jobs.push(job);
        }
        let (present, gone): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|reference| self.jobs.iter().any(|job| job.metadata.uid == reference.uid));
        for reference in gone {
            let lost = reference.name.unwrap_or_default();
            self.tell(Severity::Normal, "MissingJob", format!("Active job went missing: {lost}"));
        }
        *self.active() = present;
    }

    fn note_success(&mut self, job: &Job) {
        let end = job.status.as_ref().and_then(|status| status.completion_time.clone());
        let Some(end) = end.filter(|_| job::has(job, "Complete")) else { return };
        if self.status.last_successful_time.as_ref().is_none_or(|last| last.0 < end.0) {
            self.status.last_successful_time = Some(end);
        }
    }

    /// Removes the oldest jobs beyond the number that is kept of each outcome.
    fn remove_old(&mut self) {
        let limits = [
            ("Complete", self.spec.successful_jobs_history_limit),
            ("Failed", self.spec.failed_jobs_history_limit),
        ];
        for (outcome, limit) in limits {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            let mut ended: Vec<Job> =
                self.jobs.iter().filter(|job| job::has(job, outcome)).cloned().collect();
            ended.sort_by_key(|job| {
                let start = job.status.as_ref().and_then(|status| status.start_time.as_ref());
                (start.map_or(i64::MAX, |start| pods::wall(start).0), name(job).to_owned())
            });
            let surplus = ended.len().saturating_sub(limit);
            for job in ended.into_iter().take(surplus) {
                if job.metadata.deletion_timestamp.is_none() {
                    let step = self.delete(&job);
                    self.plan.calls.push(step);
                }
            }
        }
    }

    /// A job goes with its pods.
    fn delete(&self, job: &Job) -> Step {
        let key = Key::new(&JOBS.group_resource(), &self.key.namespace, name(job));
        let uid = job.metadata.uid.as_deref().unwrap_or_default();
        let options = Value::from([("propagationPolicy", "Background".into())]);
        let told = Told {
            regarding: self.regarding(),
            success: "SuccessfulDelete",
            message: format!("Deleted job {}", name(job)),
            failure: "FailedDelete",
            failure_prefix: "Deleted job: ",
        };
        Step { call: calls::delete_with(&JOBS, &key, uid, options), told: Some(told) }
    }

    /// Makes the job that is due, if one is; plans when to look again.
    fn start(&mut self) {
        let timetable = match schedule::of(self.spec) {
            Ok(timetable) => timetable,
            Err(why) => {
                let message = format!("unparseable schedule: {:?} : {why}", self.spec.schedule);
                return self.tell(Severity::Warning, "UnparseableSchedule", message);
            }
        };
        let last = self.status.last_schedule_time.as_ref();
        let created = self.cron.metadata.creation_timestamp.as_ref();
        let since = last.or(created).map_or(self.now, pods::wall);
        let missed = schedule::missed(&timetable, since, self.now, self.spec);
        let Missed { latest, many } = missed;
        self.plan.again = timetable.next(self.now).map(|next| next.since(self.now));
        let Some(due) = latest else { return };
        if many {
            let message = "too many missed start times. Set or decrease \
                           .spec.startingDeadlineSeconds or check clock skew";
            self.tell(Severity::Warning, "TooManyMissedTimes", message.into());
        }
        if self.may_start(due) {
            self.create(due);
        }
    }

    /// Whether the job of this time may start; under `Replace` those that run are deleted.
    fn may_start(&mut self, due: Wall) -> bool {
        if schedule::is_too_late(self.spec, due, self.now) {
            let message = format!("Missed scheduled time to start a job: {}", time::format(due));
            self.tell(Severity::Warning, "MissSchedule", message);
            return false;
        }
        let job = self.job_name(due);
        if self.jobs.iter().any(|known| name(known) == job) {
            // Made by this controller, which did not live to write that down.
            self.status.last_schedule_time = pods::typed(due);
            return false;
        }
        let running = self.active().clone();
        match self.spec.concurrency_policy.as_deref() {
            Some("Forbid") if !running.is_empty() => {
                let message = "Not starting job because prior execution is running and \
                               concurrency policy is Forbid";
                self.tell(Severity::Normal, "JobAlreadyActive", message.into());
                false
            }
            Some("Replace") => {
                let is_running = |job: &&Job| running.iter().any(|r| r.uid == job.metadata.uid);
                let steps: Vec<Step> =
                    self.jobs.iter().filter(is_running).map(|job| self.delete(job)).collect();
                self.plan.calls.extend(steps);
                self.active().clear();
                true
            }
            _ => true,
        }
    }

    fn job_name(&self, due: Wall) -> String {
        format!("{}-{}", self.key.name, due.seconds().div_euclid(60))
    }

    fn create(&mut self, due: Wall) {
        let template = &self.spec.job_template;
        let metadata = template.metadata.clone().unwrap_or_default();
        let owner = calls::controller_reference("batch/v1", "CronJob", &self.cron.metadata);
        let mut annotations = metadata.annotations.unwrap_or_default();
        annotations.insert(SCHEDULED_AT.into(), schedule::stamp(self.spec, due));
        let mut meta = Value::from([
            ("name", self.job_name(due).into()),
            ("annotations", calls::tree(&annotations)),
            ("ownerReferences", vec![calls::tree(&owner)].into()),
        ]);
        if let Some(labels) = metadata.labels {
            meta.set("labels", calls::tree(&labels));
        }
        let job = Value::from([
            ("apiVersion", "batch/v1".into()),
            ("kind", "Job".into()),
            ("metadata", meta),
            ("spec", calls::tree(&template.spec)),
        ]);
        let told = Told {
            regarding: self.regarding(),
            success: "SuccessfulCreate",
            message: "Created job {}".into(),
            failure: "FailedCreate",
            failure_prefix: "Error creating job: ",
        };
        let call = calls::create(&JOBS, &self.key.namespace, job);
        self.plan.then.push(Step { call, told: Some(told) });
        self.status.last_schedule_time = pods::typed(due);
    }

    /// The status goes last: it must not tell of a job that could not be made.
    fn finish(mut self) -> Plan {
        if self.status.active.as_ref().is_some_and(Vec::is_empty) {
            self.status.active = None;
        }
        if self.cron.status.as_ref() != Some(&self.status) {
            let changed = CronJob { status: Some(self.status), ..self.cron.clone() };
            let call = calls::update_status(&CRONJOBS, self.key, calls::tree(&changed));
            self.plan.then.push(call.into());
        }
        self.plan
    }
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}
