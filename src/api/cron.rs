//! Schedules of CronJobs: the five fields, `@hourly` and its like, and `@every 1h30m`.
//!
//! What is accepted, how faults read and which times come out follow Kubernetes' own parser, which
//! differs from what cron crates do (`5/15`, `@every`, Sunday is only 0, an hour that the clock
//! skips has no run), so this is not one of them. Time zones are those compiled in.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::util::clock::Wall;

/// A field that was a star: the other day field alone decides then.
const STAR: u64 = 1 << 63;
/// How far ahead a time is looked for.
const YEARS_MAX: i16 = 5;

/// When something is to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    times: Times,
}

#[derive(Debug, Clone, PartialEq)]
enum Times {
    /// So many seconds after the last.
    Every(i64),
    /// Bits of the values that each field matches.
    Fields { minute: u64, hour: u64, day: u64, month: u64, weekday: u64 },
}

/// A field: its bounds, and the names that stand for numbers from the lower bound on.
struct Field(u32, u32, &'static [&'static str]);

const MINUTE: Field = Field(0, 59, &[]);
const HOUR: Field = Field(0, 23, &[]);
const DAY: Field = Field(1, 31, &[]);
const MONTH: Field = Field(
    1,
    12,
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
);
const WEEKDAY: Field = Field(0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

/// Descriptors and what they stand for.
const DESCRIPTORS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A time zone by its name in the tz database; the empty name is UTC.
///
/// # Errors
/// What is wrong with the name.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

impl Schedule {
    /// Reads a schedule, whose times are in UTC unless it names a zone itself.
    ///
    /// # Errors
    /// What is wrong with it, in Kubernetes' words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        let (zone, text) = match text.strip_prefix("CRON_TZ=").or(text.strip_prefix("TZ=")) {
            None => (TimeZone::UTC, text),
            Some(rest) => {
                let (name, rest) = rest.split_once(' ').ok_or("invalid schedule format")?;
                let located = zone(name).map_err(|e| format!("provided bad location {name}: {e}"));
                (located?, rest.trim())
            }
        };
        let times = if text.starts_with('@') { descriptor(text)? } else { fields(text)? };
        Ok(Self { zone, times })
    }

    /// The same times in another zone.
    #[must_use]
    pub fn within(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }

    /// The first time after `after`; `None` where there is none within five years.
    pub fn next(&self, after: Wall) -> Option<Wall> {
        let second = Timestamp::from_second(after.seconds()).ok()?;
        let found = match self.times {
            Times::Every(seconds) => second.checked_add(seconds.seconds()).ok()?,
            Times::Fields { .. } => {
                let first = second.checked_add(1.second()).ok()?;
                self.next_match(first.to_zoned(self.zone.clone()))?
            }
        };
        Some(Wall::from_seconds(found.as_second()))
    }

    fn next_match(&self, from: Zoned) -> Option<Timestamp> {
        let year_max = from.year().saturating_add(YEARS_MAX);
        let past_minute = i64::from((60 - from.second()) % 60);
        let mut time = from.checked_add(past_minute.seconds()).ok()?;
        while time.year() <= year_max {
            if self.matches_day(&time) {
                let date = time.date();
                while time.date() == date {
                    let (minute, hour) = self.matches_time(&time);
                    match (minute, hour) {
                        (true, true) => return Some(time.timestamp()),
                        (false, true) => time = time.checked_add(1.minute()).ok()?,
                        (_, false) => {
                            let rest = i64::from(60 - time.minute());
                            time = time.checked_add(rest.minutes()).ok()?;
                        }
                    }
                }
            } else {
                let next = time.date().tomorrow().ok()?;
                time = next.to_zoned(self.zone.clone()).ok()?;
            }
        }
        None
    }

    fn matches_day(&self, time: &Zoned) -> bool {
        let Times::Fields { day, month, weekday, .. } = self.times else { return false };
        let own_day = has(day, time.day());
        let own_weekday = has(weekday, time.weekday().to_sunday_zero_offset());
        let any = day & STAR != 0 || weekday & STAR != 0;
        let matches = if any { own_day && own_weekday } else { own_day || own_weekday };
        has(month, time.month()) && matches
    }

    fn matches_time(&self, time: &Zoned) -> (bool, bool) {
        let Times::Fields { minute, hour, .. } = self.times else { return (false, false) };
        (has(minute, time.minute()), has(hour, time.hour()))
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits & (1 << value.unsigned_abs()) != 0
}

fn descriptor(text: &str) -> Result<Times, String> {
    if let Some((_, stands_for)) = DESCRIPTORS.iter().find(|(name, _)| *name == text) {
        return fields(stands_for);
    }
    let Some(every) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    let nanos = duration(every).map_err(|e| format!("failed to parse duration {text}: {e}"))?;
    Ok(Times::Every(i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX).max(1)))
}

fn fields(text: &str) -> Result<Times, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = parts[..] else {
        let (count, list) = (parts.len(), parts.join(" "));
        return Err(format!("expected exactly 5 fields, found {count}: [{list}]"));
    };
    Ok(Times::Fields {
        minute: field(minute, &MINUTE)?,
        hour: field(hour, &HOUR)?,
        day: field(day, &DAY)?,
        month: field(month, &MONTH)?,
        weekday: field(weekday, &WEEKDAY)?,
    })
}

fn field(text: &str, field: &Field) -> Result<u64, String> {
    let ranges = text.split(',').filter(|range| !range.is_empty());
    ranges.map(|text| range(text, field)).try_fold(0, |bits, range| Ok(bits | range?))
}

/// A number, a range or a star, each with or without a step.
fn range(text: &str, field: &Field) -> Result<u64, String> {
    let Field(low, high, names) = *field;
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends[..] {
        _ if star => (low, high),
        [one] => (number(one, low, names)?, number(one, low, names)?),
        [first, last] => (number(first, low, names)?, number(last, low, names)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match steps[..] {
        [_] => 1,
        [_, step] => {
            // `N/step` means from N to the end.
            end = if ends.len() == 1 { high } else { end };
            number(step, 0, &[])?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
    Ok(if star && step == 1 { bits | STAR } else { bits })
}

fn number(text: &str, first: u32, names: &[&str]) -> Result<u32, String> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    if let Some(position) = named.and_then(|position| u32::try_from(position).ok()) {
        return Ok(first + position);
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sound = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let why = if sound { "value out of range" } else { "invalid syntax" };
    let parsed = text.parse::<i64>().ok().filter(|_| sound).ok_or_else(|| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}")
    })?;
    if parsed < 0 {
        return Err(format!("negative number ({parsed}) not allowed: {text}"));
    }
    Ok(u32::try_from(parsed).unwrap_or(u32::MAX))
}

/// Units of durations in nanoseconds.
const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration as Go writes it, `1h30m` or `-1.5s`, in nanoseconds.
fn duration(text: &str) -> Result<i128, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum: i128 = 0;
    while !rest.is_empty() {
        let length = |text: &str, is: fn(char) -> bool| text.find(|c| !is(c)).unwrap_or(text.len());
        let (amount, after) = rest.split_at(length(rest, |c| c.is_ascii_digit() || c == '.'));
        let (unit, after) = after.split_at(length(after, |c| !c.is_ascii_digit() && c != '.'));
        let amount: f64 = amount.parse().map_err(|_| invalid())?;
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, nanos) =
            known.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        sum += scaled(amount, *nanos);
        if sum > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    Ok(if negative { -sum } else { sum })
}

#[allow(clippy::cast_possible_truncation, reason = "a float that is too large saturates")]
#[allow(clippy::cast_precision_loss, reason = "units are small powers of ten and sixty")]
fn scaled(amount: f64, nanos: i128) -> i128 {
    (amount * nanos as f64) as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::time;

    fn after(schedule: &str, zone_name: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule).unwrap().within(zone(zone_name).unwrap());
        let mut at = time::parse(from).unwrap();
        let mut found = Vec::new();
        while let Some(next) = schedule.next(at).filter(|_| found.len() < count) {
            found.push(time::format(next));
            at = next;
        }
        found
    }

    #[test]
    fn times_are_found_in_order() {
        let from = "2026-11-20T12:00:30Z";
        assert_eq!(
            after("*/20 12 * * *", "", from, 3),
            ["2026-11-20T12:20:00Z", "2026-11-20T12:40:00Z", "2026-11-21T12:00:00Z"]
        );
        assert_eq!(
            after("5/25 0 1 jan,JUL ?", "", from, 3),
            ["2027-01-01T00:05:00Z", "2027-01-01T00:30:00Z", "2027-01-01T00:55:00Z"]
        );
        // Two day fields that are no stars: either will do.
        assert_eq!(
            after("0 0 13 * fri", "", from, 3),
            ["2026-11-27T00:00:00Z", "2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z"]
        );
        assert_eq!(after("@weekly", "", from, 1), ["2026-11-22T00:00:00Z"]);
        assert_eq!(after("@every 1h30m", "", from, 1), ["2026-11-20T13:30:30Z"]);
        assert_eq!(after("@every 5ms", "", from, 1), ["2026-11-20T12:00:31Z"]);
        assert_eq!(after("0 0 29 2 *", "", from, 1), ["2028-02-29T00:00:00Z"]);
        assert!(after("0 0 31 2 *", "", from, 1).is_empty(), "there is no such day");
    }

    #[test]
    fn clocks_that_are_put_forward_or_back() {
        let zone = "Europe/Berlin";
        // 02:30 does not exist on 29 March.
        assert_eq!(
            after("30 2 * * *", zone, "2026-03-28T00:00:00Z", 2),
            ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        // 02:30 comes twice on 25 October.
        assert_eq!(
            after("30 2 * * *", zone, "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]
        );
        assert_eq!(
            after("0 0 * * *", "Asia/Kolkata", "2026-11-20T12:00:00Z", 1),
            ["2026-11-20T18:30:00Z"]
        );
    }

    #[test]
    fn faults_are_told_in_kubernetes_words() {
        for (schedule, why) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@often", "unrecognized descriptor: @often"),
            (
                "@every 1d",
                "failed to parse duration @every 1d: time: unknown unit \"d\" in duration \"1d\"",
            ),
            (
                "TZ=Mars/Olympus 0 * * * *",
                "provided bad location Mars/Olympus: unknown time zone Mars/Olympus",
            ),
        ] {
            assert_eq!(Schedule::parse(schedule).unwrap_err(), why, "{schedule}");
        }
    }
}
