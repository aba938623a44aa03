//! CronJobs over time, without a server.

use k8s_openapi::api::batch::v1::CronJobSpec;

use super::schedule;
use crate::api::time;
use crate::util::clock::Wall;

fn spec(schedule: &str, deadline: Option<i64>) -> CronJobSpec {
    CronJobSpec {
        schedule: schedule.into(),
        starting_deadline_seconds: deadline,
        ..CronJobSpec::default()
    }
}

fn at(text: &str) -> Wall {
    time::parse(&format!("2026-11-20T{text}Z")).unwrap()
}

fn missed(spec: &CronJobSpec, since: &str, now: &str) -> (Option<String>, bool) {
    let timetable = schedule::of(spec).unwrap();
    let missed = schedule::missed(&timetable, at(since), at(now), spec);
    (missed.latest.map(time::format), missed.many)
}

#[test]
fn the_last_missed_time_gets_the_job() {
    let hourly = spec("0 * * * *", None);
    assert_eq!(missed(&hourly, "10:00:00", "10:59:59"), (None, false));
    let eleven = Some("2026-11-20T11:00:00Z".to_owned());
    assert_eq!(missed(&hourly, "10:00:00", "11:00:00"), (eleven.clone(), false));
    assert_eq!(missed(&hourly, "08:30:00", "11:59:00"), (eleven, false));
    let every_minute = spec("* * * * *", None);
    let expected = (Some("2026-11-20T11:59:00Z".to_owned()), true);
    assert_eq!(missed(&every_minute, "08:00:00", "11:59:30"), expected);
    // Uneven steps.
    let uneven = spec("30 6-16/4 * * *", None);
    let expected = (Some("2026-11-20T14:30:00Z".to_owned()), false);
    assert_eq!(missed(&uneven, "00:00:00", "16:00:00"), expected);
}

#[test]
fn what_is_past_its_deadline_is_left_out() {
    let hurried = spec("0 * * * *", Some(60));
    assert_eq!(missed(&hurried, "08:30:00", "11:59:00"), (None, false));
    let eleven = Some("2026-11-20T11:00:00Z".to_owned());
    assert_eq!(missed(&hurried, "08:30:00", "11:00:30"), (eleven, false));
    assert!(schedule::is_too_late(&hurried, at("11:00:00"), at("11:01:01")));
    assert!(!schedule::is_too_late(&hurried, at("11:00:00"), at("11:01:00")));
}

#[test]
fn jobs_say_what_time_they_are_for_in_the_schedules_zone() {
    let mut zoned = spec("0 12 * * *", None);
    assert_eq!(schedule::stamp(&zoned, at("12:00:00")), "2026-11-20T12:00:00Z");
    zoned.time_zone = Some("Asia/Kolkata".into());
    assert_eq!(schedule::stamp(&zoned, at("06:30:00")), "2026-11-20T12:00:00+05:30");
    let timetable = schedule::of(&zoned).unwrap();
    assert_eq!(timetable.next(at("00:00:00")), Some(at("06:30:00")));
    zoned.time_zone = Some("Mars/Olympus".into());
    assert!(schedule::of(&zoned).is_err());
}
