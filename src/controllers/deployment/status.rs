//! What a Deployment says of itself: counts, and the conditions that `kubectl rollout status`
//! reads.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetStatus,
};

use super::super::runner::{Moment, Plan};
use super::super::{calls, pods};
use super::rollout::{Rollout, available};
use crate::client::DEPLOYMENTS;
use crate::util::clock::Wall;

/// Adds to the plan the status as it should be, and when to look at the deadline.
pub(super) fn report(rollout: &Rollout<'_>, moment: Moment<'_>, plan: &mut Plan) {
    let mut status = counts(rollout);
    // A name that is taken by another owner's set: try the next hash.
    if moment.failure.is_some_and(crate::api::status::Status::is_already_exists) {
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
    }
    status.conditions = conditions(rollout, &status, moment.now);
    plan.again = deadline(rollout, &status, moment.now);
    if rollout.deployment.status.as_ref() != Some(&status) {
        let changed = Deployment { status: Some(status), ..rollout.deployment.clone() };
        plan.always.push(calls::update_status(&DEPLOYMENTS, &rollout.key, calls::tree(&changed)));
    }
}

fn counts(rollout: &Rollout<'_>) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSetStatus) -> i32| -> i32 {
        rollout.all().filter_map(|set| set.status.as_ref()).map(count).sum()
    };
    let some = |count: i32| (count > 0).then_some(count);
    let all_available: i32 = rollout.all().map(available).sum();
    let updated = rollout.new.as_ref().and_then(|set| set.status.as_ref());
    DeploymentStatus {
        replicas: some(sum(|status| status.replicas)),
        updated_replicas: some(updated.map_or(0, |status| status.replicas)),
        ready_replicas: some(sum(|status| status.ready_replicas.unwrap_or(0))),
        available_replicas: some(all_available),
        unavailable_replicas: some((rollout.total() - all_available).max(0)),
        terminating_replicas: Some(sum(|status| status.terminating_replicas.unwrap_or(0))),
        observed_generation: rollout.deployment.metadata.generation,
        collision_count: rollout.deployment.status.as_ref().and_then(|s| s.collision_count),
        conditions: None,
    }
}

struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn conditions(
    rollout: &Rollout<'_>,
    status: &DeploymentStatus,
    now: Wall,
) -> Option<Vec<DeploymentCondition>> {
    let old = rollout.deployment.status.as_ref();
    let mut conditions = old.and_then(|s| s.conditions.clone()).unwrap_or_default();
    set(&mut conditions, "Available", availability(rollout, status), now);
    if let Some(verdict) = progress(rollout, status, &conditions, now) {
        set(&mut conditions, "Progressing", verdict, now);
    }
    match failure(rollout) {
        Some(verdict) => set(&mut conditions, "ReplicaFailure", verdict, now),
        None => conditions.retain(|c| c.type_.as_deref() != Some("ReplicaFailure")),
    }
    Some(conditions)
}

fn availability(rollout: &Rollout<'_>, status: &DeploymentStatus) -> Verdict {
    let enough = rollout.replicas() - rollout.max_unavailable();
    if status.available_replicas.unwrap_or(0) >= enough {
        let message = "Deployment has minimum availability.".into();
        Verdict { status: "True", reason: "MinimumReplicasAvailable", message }
    } else {
        let message = "Deployment does not have minimum availability.".into();
        Verdict { status: "False", reason: "MinimumReplicasUnavailable", message }
    }
}

/// The first failure that one of the sets tells of.
fn failure(rollout: &Rollout<'_>) -> Option<Verdict> {
    let conditions = |set: &ReplicaSet| set.status.as_ref().and_then(|s| s.conditions.clone());
    let newest_first = rollout.new.iter().chain(rollout.old.iter().rev());
    let failed = newest_first
        .filter_map(conditions)
        .flatten()
        .find(|c| c.type_.as_deref() == Some("ReplicaFailure"))?;
    Some(Verdict {
        status: "True",
        reason: "FailedCreate",
        message: failed.message.unwrap_or_default(),
    })
}

fn find<'a>(conditions: &'a [DeploymentCondition], type_: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|c| c.type_.as_deref() == Some(type_))
}

/// Sets a condition: its transition time moves with its status, its update time with any change.
fn set(conditions: &mut Vec<DeploymentCondition>, type_: &str, verdict: Verdict, now: Wall) {
    let old = find(conditions, type_).cloned();
    let same_status = old.as_ref().is_some_and(|c| c.status.as_deref() == Some(verdict.status));
    let same = same_status
        && old.as_ref().is_some_and(|c| {
            c.reason.as_deref() == Some(verdict.reason)
                && c.message.as_deref() == Some(verdict.message.as_str())
        });
    if same {
        return;
    }
    let transition = old.filter(|_| same_status).and_then(|c| c.last_transition_time);
    conditions.retain(|c| c.type_.as_deref() != Some(type_));
    conditions.push(DeploymentCondition {
        type_: Some(type_.into()),
        status: Some(verdict.status.into()),
        reason: Some(verdict.reason.into()),
        message: Some(verdict.message),
        last_update_time: pods::typed(now),
        last_transition_time: transition.or_else(|| pods::typed(now)),
    });
}

/// How the rollout gets on; `None` leaves the condition as it is.
fn progress(
    rollout: &Rollout<'_>,
    status: &DeploymentStatus,
    conditions: &[DeploymentCondition],
    now: Wall,
) -> Option<Verdict> {
    rollout.deployment.spec.progress_deadline_seconds.filter(|s| *s != i32::MAX)?;
    let known = find(conditions, "Progressing");
    let reason = known.and_then(|c| c.reason.as_deref()).unwrap_or_default();
    if let Some(verdict) = pausing(rollout, reason) {
        return verdict;
    }
    let name = rollout.new.as_ref().and_then(|set| set.metadata.name.clone());
    let Some(name) = name else {
        let (reason, name) = ("NewReplicaSetCreated", rollout.new_name());
        let message = format!("Created new replica set {name:?}");
        return Some(Verdict { status: "True", reason, message });
    };
    if rollout.is_complete() {
        let message = format!("ReplicaSet {name:?} has successfully progressed.");
        return Some(Verdict { status: "True", reason: "NewReplicaSetAvailable", message });
    }
    if has_moved(rollout, status) || reason == "NewReplicaSetAvailable" || known.is_none() {
        let message = format!("ReplicaSet {name:?} is progressing.");
        return Some(Verdict { status: "True", reason: "ReplicaSetUpdated", message });
    }
    if time_left(rollout, known, now) == Some(Duration::ZERO) {
        let message = format!("ReplicaSet {name:?} has timed out progressing.");
        return Some(Verdict { status: "False", reason: "ProgressDeadlineExceeded", message });
    }
    None
}

/// While it is paused there is no progress to judge. `Some(None)` leaves the condition alone.
fn pausing(rollout: &Rollout<'_>, reason: &str) -> Option<Option<Verdict>> {
    let verdict = |status, reason, message: &str| {
        Some(Some(Verdict { status, reason, message: message.into() }))
    };
    match (rollout.is_paused(), reason) {
        (true, "DeploymentPaused") => Some(None),
        (true, _) => verdict("Unknown", "DeploymentPaused", "Deployment is paused"),
        (false, "DeploymentPaused") => {
            verdict("Unknown", "DeploymentResumed", "Deployment is resumed")
        }
        (false, _) => None,
    }
}

/// Whether anything got better since the last status.
fn has_moved(rollout: &Rollout<'_>, new: &DeploymentStatus) -> bool {
    let Some(old) = &rollout.deployment.status else { return true };
    let count = |count: Option<i32>| count.unwrap_or(0);
    let outdated =
        |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

/// How long the rollout may still show no progress; `None` when that does not count.
fn time_left(
    rollout: &Rollout<'_>,
    condition: Option<&DeploymentCondition>,
    now: Wall,
) -> Option<Duration> {
    let seconds = rollout.deployment.spec.progress_deadline_seconds.filter(|s| *s != i32::MAX)?;
    let reason = condition?.reason.as_deref()?;
    if matches!(reason, "NewReplicaSetAvailable" | "ProgressDeadlineExceeded" | "DeploymentPaused")
    {
        return None;
    }
    let since = pods::wall(condition?.last_update_time.as_ref()?);
    let end = since.after(Duration::from_secs(u64::try_from(seconds).ok()?));
    Some(end.since(now))
}

/// When to look whether the deadline has passed.
fn deadline(rollout: &Rollout<'_>, status: &DeploymentStatus, now: Wall) -> Option<Duration> {
    let conditions = status.conditions.as_ref()?;
    let left = time_left(rollout, find(conditions, "Progressing"), now)?;
    // A little later, since times are kept in whole seconds.
    Some(left + Duration::from_secs(1))
}
