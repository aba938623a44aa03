//! Removes jobs a while after they ended, where they say so.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;

use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::JOBS;
use crate::controllers::runner::{self, Controller, Moment, Plan, Views};
use crate::controllers::{calls, pods};
use crate::util::clock::Wall;

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "ttl-after-finished-controller",
        watches: vec![(JOBS, runner::itself)],
        reconcile: Box::new(reconcile),
    }
}

fn reconcile(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let job: Option<Job> = views.object(&JOBS, &key.namespace, &key.name);
    let Some((job, end)) = job.and_then(|job| expires(&job).map(|end| (job, end))) else {
        return Plan::default();
    };
    if end > moment.now {
        return Plan { again: Some(end.since(moment.now)), ..Plan::default() };
    }
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let options = Value::from([("propagationPolicy", "Foreground".into())]);
    let call = calls::delete_with(&JOBS, key, uid, options);
    Plan { calls: vec![call.into()], ..Plan::default() }
}

/// When a job is to go; `None` while it has not ended, or for ever.
fn expires(job: &Job) -> Option<Wall> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ended = conditions
        .iter()
        .find(|c| matches!(c.type_.as_str(), "Complete" | "Failed") && c.status == "True")?;
    let time = pods::wall(ended.last_transition_time.as_ref()?);
    let alive = job.metadata.deletion_timestamp.is_none();
    alive.then(|| time.after(Duration::from_secs(u64::try_from(ttl).unwrap_or(0))))
}
