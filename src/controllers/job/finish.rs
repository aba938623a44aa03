//! Whether a job has reached its end, and what its conditions say of it.

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::Work;
use super::policy::{self, Verdict};
use super::progress::Progress;
use crate::client::events::Severity;
use crate::controllers::pods;
use crate::controllers::runner::Plan;

const FAILURE_TARGET: &str = "FailureTarget";
const SUCCESS_MET: &str = "SuccessCriteriaMet";
const SUSPENDED: &str = "Suspended";

/// The end that a job is about to come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finish {
    /// `FailureTarget` or `SuccessCriteriaMet`.
    condition: &'static str,
    reason: String,
    message: String,
    /// Whether the stored status says so already.
    pub is_stored: bool,
}

impl Finish {
    fn new(condition: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { condition, reason: reason.into(), message: message.into(), is_stored: false }
    }

    fn failure(reason: &str, message: impl Into<String>) -> Self {
        Self::new(FAILURE_TARGET, reason, message)
    }

    /// Whether the job succeeds.
    pub(super) fn is_success(&self) -> bool {
        self.condition == SUCCESS_MET
    }
}

/// What end a job has reached: the one that its status says, else a failure, else success.
pub(super) fn decide(work: &Work<'_>, progress: &Progress<'_>) -> Option<Finish> {
    stored(work)
        .or_else(|| fails(work))
        .or_else(|| too_many_failures(work, progress))
        .or_else(|| index_failures(work, progress))
        .or_else(|| {
            let message = policy::success(work, progress).filter(|_| work.is_indexed())?;
            Some(Finish::new(SUCCESS_MET, "SuccessPolicy", message))
        })
        .or_else(|| completes(work, progress))
}

fn stored(work: &Work<'_>) -> Option<Finish> {
    let conditions = work.job.status.as_ref()?.conditions.as_ref()?;
    [SUCCESS_MET, FAILURE_TARGET].into_iter().find_map(|condition| {
        let is = |c: &&JobCondition| c.type_ == condition && c.status == "True";
        let found = conditions.iter().find(is)?;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let finish = Finish::new(condition, &text(&found.reason), text(&found.message));
        Some(Finish { is_stored: true, ..finish })
    })
}

/// A pod that failed in a way which fails the job.
fn fails(work: &Work<'_>) -> Option<Finish> {
    let failed = work.pods.iter().filter(|pod| work.is_failed(pod));
    failed.map(|pod| policy::verdict(work.spec, pod)).find_map(|verdict| match verdict {
        Verdict::FailJob(message) => Some(Finish::failure("PodFailurePolicy", message)),
        _ => None,
    })
}

fn too_many_failures(work: &Work<'_>, progress: &Progress<'_>) -> Option<Finish> {
    let limit = i64::from(work.spec.backoff_limit.unwrap_or(6));
    if progress.failed > limit || restarted_too_often(work, limit) {
        let message = "Job has reached the specified backoff limit";
        return Some(Finish::failure("BackoffLimitExceeded", message));
    }
    let start = work.job.status.as_ref()?.start_time.as_ref();
    let timed = work.spec.active_deadline_seconds.is_some() && start.is_some();
    (timed && !work.is_suspended() && work.until_deadline().is_none()).then(|| {
        let message = "Job was active longer than specified deadline";
        Finish::failure("DeadlineExceeded", message)
    })
}

/// Pods that start their containers anew do not fail: their restarts count.
fn restarted_too_often(work: &Work<'_>, limit: i64) -> bool {
    let restarts = |pod: &Pod| -> i64 {
        let status = pod.status.as_ref();
        let lists = status.map(|s| [&s.init_container_statuses, &s.container_statuses]);
        let containers = lists.into_iter().flatten().flatten().flatten();
        containers.map(|container| i64::from(container.restart_count)).sum()
    };
    let template = work.spec.template.spec.as_ref();
    let restarting = template.and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
    let live = work.pods.iter().filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"));
    let sum: i64 = live.map(restarts).sum();
    restarting && sum >= limit.max(1)
}

fn index_failures(work: &Work<'_>, progress: &Progress<'_>) -> Option<Finish> {
    let failed = progress.failed_indexes.as_ref()?.len();
    if work.spec.max_failed_indexes.is_some_and(|most| failed > i64::from(most)) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Finish::failure("MaxFailedIndexesExceeded", message));
    }
    let all = failed + progress.succeeded_indexes.len() >= work.completions();
    (failed > 0 && all).then(|| Finish::failure("FailedIndexes", "Job has failed indexes"))
}

/// Enough pods have succeeded and no other runs.
fn completes(work: &Work<'_>, progress: &Progress<'_>) -> Option<Finish> {
    let enough = match work.spec.completions {
        None => progress.succeeded > 0,
        Some(completions) => progress.succeeded >= completions.into(),
    };
    let deleting = work.job.metadata.deletion_timestamp.is_some();
    (enough && progress.active.is_empty() && !deleting).then(|| {
        let message = "Reached expected number of succeeded pods";
        Finish::new(SUCCESS_MET, "CompletionsReached", message)
    })
}

/// Notes when the job starts, and that it is held back or goes on.
pub(super) fn note_suspension(
    work: &Work<'_>,
    finishing: bool,
    status: &mut JobStatus,
    plan: &mut Plan,
) {
    if status.start_time.is_none() && !work.is_suspended() {
        status.start_time = pods::typed(work.now);
    }
    if finishing || work.job.metadata.deletion_timestamp.is_some() {
        return;
    }
    let (value, reason, message) = match work.is_suspended() {
        true => ("True", "JobSuspended", "Job suspended"),
        false => ("False", "JobResumed", "Job resumed"),
    };
    if !set(work, status, SUSPENDED, value, (reason, message)) {
        return;
    }
    // The deadline is of the time for which the job is active without a break.
    status.start_time = if work.is_suspended() { None } else { pods::typed(work.now) };
    let event = if work.is_suspended() { "Suspended" } else { "Resumed" };
    plan.events.push((work.regarding(), Severity::Normal, event, message.into()));
}

/// Sets a condition; one that is not there is not made to say False. True if that changed it.
fn set(
    work: &Work<'_>,
    status: &mut JobStatus,
    condition: &str,
    value: &str,
    (reason, message): (&str, &str),
) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    let new = JobCondition {
        type_: condition.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: pods::typed(work.now),
        last_transition_time: pods::typed(work.now),
    };
    let changed = match conditions.iter_mut().find(|c| c.type_ == condition) {
        Some(old) => {
            let same =
                old.status == new.status && old.reason == new.reason && old.message == new.message;
            if !same {
                *old = new;
            }
            !same
        }
        None if value == "False" => false,
        None => {
            conditions.push(new);
            true
        }
    };
    if conditions.is_empty() {
        status.conditions = None;
    }
    changed
}

/// Writes down the end: first that it is near, then, when all pods are counted and gone, that it
/// is reached.
pub(super) fn enact(
    work: &Work<'_>,
    finish: Option<&Finish>,
    status: &mut JobStatus,
    plan: &mut Plan,
) {
    let Some(finish) = finish else { return };
    let text = (finish.reason.as_str(), finish.message.as_str());
    if !finish.is_stored {
        set(work, status, finish.condition, "True", text);
        return;
    }
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let waits = uncounted.succeeded.is_some() || uncounted.failed.is_some();
    let running = status.active.unwrap_or(0) + status.terminating.unwrap_or(0);
    if waits || running > 0 {
        return;
    }
    let (condition, event) = match finish.is_success() {
        true => ("Complete", (Severity::Normal, "Completed", "Job completed".to_owned())),
        false => ("Failed", (Severity::Warning, reason(&finish.reason), finish.message.clone())),
    };
    set(work, status, condition, "True", text);
    if finish.is_success() {
        status.completion_time = pods::typed(work.now);
    }
    let (severity, reason, message) = event;
    plan.events.push((work.regarding(), severity, reason, message));
}

/// The reasons for which jobs fail, as events have them.
fn reason(of: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "FailedIndexes",
        "MaxFailedIndexesExceeded",
        "PodFailurePolicy",
    ];
    KNOWN.iter().find(|known| **known == of).copied().unwrap_or("Failed")
}
