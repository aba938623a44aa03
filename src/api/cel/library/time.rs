//! Durations and points in time, as Go reads and shows them.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::api::cel::eval::{Answer, Run, Stop, no_overload};
use crate::api::cel::value::Val;

const SECOND: i64 = 1_000_000_000;
/// The last second that a timestamp can name: of the year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;
/// The first one: of the year 1.
const SECONDS_MIN: i64 = -62_135_596_800;

const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// Reads `1h30m`, in billionths of a second.
pub fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut nanos: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let unit = UNITS.iter().find(|(name, _)| *name == &behind[..end])?.1;
        nanos = nanos.checked_add(amount(number, i128::from(unit))?)?;
        rest = &behind[end..];
    }
    i64::try_from(if negative { -nanos } else { nanos }).ok()
}

fn amount(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut part = unit;
    for digit in fraction.chars() {
        part /= 10;
        total += i128::from(digit.to_digit(10)?) * part;
    }
    Some(total)
}

/// Shows a duration as CEL does: in seconds.
pub fn show_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (whole, rest) = (nanos / SECOND.unsigned_abs(), nanos % SECOND.unsigned_abs());
    if rest == 0 {
        return format!("{sign}{whole}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{whole}.{}s", fraction.trim_end_matches('0'))
}

/// Reads a time of RFC 3339.
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let strict = text.len() >= "2006-01-02T15:04:05Z".len()
        && text.as_bytes()[10] == b'T'
        && (text.ends_with('Z') || text.get(19..).is_some_and(|rest| rest.contains(['+', '-'])));
    strict.then(|| text.parse::<Timestamp>().ok()).flatten().filter(in_range)
}

/// Reads a date of RFC 3339, as the beginning of its day.
pub fn date(text: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = text.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp()).filter(in_range)
}

fn in_range(at: &Timestamp) -> bool {
    (SECONDS_MIN..=SECONDS_MAX).contains(&at.as_second())
}

/// A point in time that many seconds after 1970.
pub fn of_seconds(seconds: i64) -> Result<Timestamp, Stop> {
    let at = Timestamp::from_second(seconds).ok().filter(in_range);
    at.ok_or_else(|| Stop::error("timestamp overflow"))
}

/// Sums and differences.
pub fn arithmetic<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
    let overflow = |what: &str| Stop::error(format!("{what} overflow"));
    match (name, a, b) {
        ("_+_", Val::Duration(a), Val::Duration(b)) => {
            a.checked_add(*b).map(Val::Duration).ok_or_else(|| overflow("integer"))
        }
        ("_-_", Val::Duration(a), Val::Duration(b)) => {
            a.checked_sub(*b).map(Val::Duration).ok_or_else(|| overflow("integer"))
        }
        ("_+_", Val::Timestamp(at), Val::Duration(by))
        | ("_+_", Val::Duration(by), Val::Timestamp(at)) => moved(*at, i128::from(*by)),
        ("_-_", Val::Timestamp(at), Val::Duration(by)) => moved(*at, -i128::from(*by)),
        ("_-_", Val::Timestamp(a), Val::Timestamp(b)) => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            i64::try_from(nanos).map(Val::Duration).map_err(|_| overflow("integer"))
        }
        _ => Err(no_overload()),
    }
}

fn moved<'a>(at: Timestamp, by: i128) -> Answer<'a> {
    let at = Timestamp::from_nanosecond(at.as_nanosecond() + by).ok().filter(in_range);
    at.map(Val::Timestamp).ok_or_else(|| Stop::error("timestamp overflow"))
}

/// `getHours()` and its like.
pub fn call<'a>(_run: &mut Run<'a>, name: &str, args: &[Val<'a>]) -> Answer<'a> {
    match args {
        [Val::Duration(nanos)] => of_duration(name, *nanos),
        [Val::Timestamp(at)] => of_time(name, &at.to_zoned(TimeZone::UTC)),
        [Val::Timestamp(at), Val::Str(zone)] => {
            let zone = time_zone(zone)
                .ok_or_else(|| Stop::error(format!("unknown time zone {}", &**zone)))?;
            of_time(name, &at.to_zoned(zone))
        }
        _ => Err(no_overload()),
    }
}

fn of_duration<'a>(name: &str, nanos: i64) -> Answer<'a> {
    Ok(Val::Int(match name {
        "getHours" => nanos / (3600 * SECOND),
        "getMinutes" => nanos / (60 * SECOND),
        "getSeconds" => nanos / SECOND,
        "getMilliseconds" => nanos / 1_000_000,
        _ => return Err(no_overload()),
    }))
}

/// `Europe/Berlin`, or `+02:00`.
fn time_zone(name: &str) -> Option<TimeZone> {
    let Some((hours, minutes)) = name.split_once(':') else {
        return if name.is_empty() { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() };
    };
    let negative = hours.starts_with('-');
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().ok()?;
    let minutes: i32 = minutes.parse().ok()?;
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?;
    Some(TimeZone::fixed(offset))
}

fn of_time<'a>(name: &str, at: &Zoned) -> Answer<'a> {
    Ok(Val::Int(match name {
        "getFullYear" => at.year().into(),
        "getMonth" => i64::from(at.month()) - 1,
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDate" => at.day().into(),
        "getDayOfWeek" => at.weekday().to_sunday_zero_offset().into(),
        "getHours" => at.hour().into(),
        "getMinutes" => at.minute().into(),
        "getSeconds" => at.second().into(),
        "getMilliseconds" => at.millisecond().into(),
        _ => return Err(no_overload()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_does() {
        let cases = [
            ("1h30m", Some(5400 * SECOND)),
            ("-1.5s", Some(-1_500_000_000)),
            ("1us2ns", Some(1002)),
            ("0", Some(0)),
            (".5s", Some(500_000_000)),
            ("1", None),
            ("", None),
            ("-", None),
            ("1d", None),
            ("300000000h", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(duration(text), wanted, "{text}");
        }
        assert_eq!(show_duration(-1_500_000_000), "-1.5s");
    }

    #[test]
    fn times_are_strict() {
        assert!(timestamp("2026-01-02T03:04:05Z").is_some());
        assert!(timestamp("2026-01-02T03:04:05.123+02:00").is_some());
        for wrong in [
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "äöüäöüäöüäöüäöü",
            "2026-01-02T03:04:0é5é",
        ] {
            assert!(timestamp(wrong).is_none(), "{wrong}");
        }
        assert!(date("2026-01-02").is_some());
    }
}
