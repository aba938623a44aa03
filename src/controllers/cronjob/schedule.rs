//! Which of a schedule's times have passed without a job.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJobSpec;

use crate::api::cron::{self, Schedule};
use crate::util::clock::Wall;

/// More missed times than this are told of.
const MISSED_MAX: i64 = 100;

/// The times that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missed {
    /// The last of them: the only one that gets a job.
    pub latest: Option<Wall>,
    /// Whether there are so many that something is wrong.
    pub many: bool,
}

/// The schedule of a CronJob in its time zone.
pub(super) fn of(spec: &CronJobSpec) -> Result<Schedule, String> {
    let schedule = Schedule::parse(&spec.schedule)?;
    match &spec.time_zone {
        None => Ok(schedule),
        Some(name) => Ok(schedule.within(cron::zone(name)?)),
    }
}

/// What was missed after `since` up to `now`; what lies before the deadline for starting does not
/// count.
pub(super) fn missed(schedule: &Schedule, since: Wall, now: Wall, spec: &CronJobSpec) -> Missed {
    let deadline = spec.starting_deadline_seconds.and_then(|s| u64::try_from(s).ok());
    let earliest = deadline.map(|s| now.before(Duration::from_secs(s)));
    let since = earliest.map_or(since, |earliest| since.max(earliest));
    let next = |after: Wall| schedule.next(after).filter(|time| *time <= now);
    let none = Missed { latest: None, many: false };
    let Some(first) = next(since) else { return none };
    let Some(second) = next(first) else { return Missed { latest: Some(first), ..none } };
    // Near enough to now by even steps, and from there one by one.
    let step = (second.seconds() - first.seconds()).max(1);
    let count = (now.seconds() - first.seconds()) / step + 1;
    let near = Wall::from_seconds(first.seconds() + (count - 2).max(0) * step);
    let from = if near > first { near } else { first };
    let latest = std::iter::successors(next(from), |time| next(*time)).last();
    Missed { latest: latest.or(Some(from)), many: count > MISSED_MAX }
}

/// Whether it is too late to start the job of a time.
pub(super) fn is_too_late(spec: &CronJobSpec, due: Wall, now: Wall) -> bool {
    let deadline = spec.starting_deadline_seconds.and_then(|s| u64::try_from(s).ok());
    deadline.is_some_and(|seconds| due.after(Duration::from_secs(seconds)) < now)
}

/// A time as the annotation of its job has it, in the schedule's zone.
pub(super) fn stamp(spec: &CronJobSpec, due: Wall) -> String {
    let zone = cron::zone(spec.time_zone.as_deref().unwrap_or_default());
    let (Ok(zone), Ok(time)) = (zone, Timestamp::from_second(due.seconds())) else {
        return String::new();
    };
    let zoned = time.to_zoned(zone);
    match zoned.offset().is_zero() {
        true => zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        false => zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    }
}
