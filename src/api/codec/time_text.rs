//! Times and durations as Go writes them, with the errors that Go gives for others.

use crate::api::tree::Value;

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const LAYOUT_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";
/// What Go calls the parts of a layout, and how many digits they have or which sign they are.
const PARTS: [(&str, usize); 11] = [
    ("2006", 4),
    ("-", 0),
    ("01", 2),
    ("-", 0),
    ("02", 2),
    ("T", 0),
    ("15", 2),
    (":", 0),
    ("04", 2),
    (":", 0),
    ("05", 2),
];

/// `metav1.Time` in canonical text: UTC, whole seconds. The zero time is null.
pub(super) fn time(text: &str) -> Result<Value, String> {
    let time = parse(text, false)?;
    Ok(if is_zero(time) { Value::Null } else { format(time.as_second()).into() })
}

/// `metav1.MicroTime` in canonical text: UTC, six digits of fraction. The zero time is null.
pub(super) fn micro(text: &str) -> Result<Value, String> {
    let time = parse(text, true)?;
    let micros = time.as_microsecond();
    Ok(if is_zero(time) {
        Value::Null
    } else {
        format_micro(micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000)).into()
    })
}

/// A time in canonical text as protobuf's seconds and nanoseconds.
pub(super) fn timestamp(text: &str, micro: bool) -> Result<(i64, i64), String> {
    let time = parse(text, micro)?;
    if !micro {
        return Ok((time.as_second(), 0));
    }
    let micros = time.as_microsecond();
    Ok((micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) * 1000))
}

/// Protobuf's seconds and nanoseconds as canonical text. The zero time is null.
pub(super) fn from_timestamp(seconds: i64, nanos: i64, micro: bool) -> Result<Value, String> {
    if !(ZERO_SECONDS..=LAST_SECONDS).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(format!("time {seconds} is out of range"));
    }
    Ok(match (seconds, nanos) {
        (ZERO_SECONDS, 0) => Value::Null,
        _ if micro => format_micro(seconds, nanos / 1000).into(),
        _ => format(seconds).into(),
    })
}

/// Seconds since 1970 as text.
fn format(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Seconds since 1970 and microseconds as text.
fn format_micro(seconds: i64, micros: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    format!("{}.{micros:06}Z", time.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// Go's zero time, the first of January of year 1.
fn is_zero(time: jiff::Timestamp) -> bool {
    time.as_second() == ZERO_SECONDS && time.subsec_nanosecond() == 0
}

/// Seconds since 1970 of Go's zero time.
const ZERO_SECONDS: i64 = -62_135_596_800;

/// Seconds since 1970 of the last second of year 9999.
const LAST_SECONDS: i64 = 253_402_300_799;

/// RFC 3339. `micro`: exactly six digits of fraction are asked for.
fn parse(text: &str, micro: bool) -> Result<jiff::Timestamp, String> {
    let layout = if micro { LAYOUT_MICRO } else { LAYOUT };
    let cannot = |rest: &str, part: &str| {
        let quote = super::scalar::quote;
        let (text, layout, rest, part) = (quote(text), quote(layout), quote(rest), quote(part));
        format!("parsing time {text} as {layout}: cannot parse {rest} as {part}")
    };
    let mut rest = text;
    for (part, digits) in PARTS {
        rest = match digits {
            0 => rest.strip_prefix(part),
            n => rest.get(n..).filter(|_| rest.as_bytes()[..n].iter().all(u8::is_ascii_digit)),
        }
        .ok_or_else(|| cannot(rest, part))?;
    }
    let after = rest.strip_prefix(['.', ',']);
    let digits = after.map_or(0, |a| a.bytes().take_while(u8::is_ascii_digit).count());
    if micro && digits != 6 {
        return Err(cannot(rest, ".000000"));
    }
    if digits > 0 {
        rest = &rest[1 + digits..];
    }
    if !is_zone(rest) {
        return Err(cannot(rest, "Z07:00"));
    }
    text.replace(',', ".").parse().map_err(|_| {
        format!("parsing time {}: {} out of range", super::scalar::quote(text), out_of_range(text))
    })
}

fn is_zone(text: &str) -> bool {
    match text.as_bytes() {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    }
}

/// Which part of a well-formed time is too large.
fn out_of_range(text: &str) -> &'static str {
    let number = |from: usize| text.get(from..from + 2).and_then(|t| t.parse().ok()).unwrap_or(0);
    match (number(5), number(11), number(14), number(17)) {
        (month, ..) if !(1..=12).contains(&month) => "month",
        (_, hour, ..) if hour > 23 => "hour",
        (_, _, minute, _) if minute > 59 => "minute",
        (_, _, _, second) if second > 59 => "second",
        _ => "day",
    }
}

/// `metav1.Duration` in canonical text, `1h30m0s`.
pub(super) fn duration(text: &str) -> Result<Value, String> {
    parse_duration(text).map(|nanos| format_duration(nanos).into())
}

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration in nanoseconds.
pub(super) fn parse_duration(text: &str) -> Result<i64, String> {
    let quoted = super::scalar::quote(text);
    let invalid = || format!("time: invalid duration {quoted}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, behind) = split_digits(rest);
        let (fraction, behind) = behind.strip_prefix('.').map_or(("", behind), split_digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = behind.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {quoted}"));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let unit = super::scalar::quote(unit);
            return Err(format!("time: unknown unit {unit} in duration {quoted}"));
        };
        total += amount(whole, fraction, *nanos).ok_or_else(invalid)?;
        rest = behind;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` units in nanoseconds; `None` beyond any duration.
fn amount(whole: &str, fraction: &str, unit: i128) -> Option<i128> {
    let number = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    let whole: i64 = number(whole)?;
    // More digits than these are below a nanosecond even of an hour.
    let fraction = &fraction[..fraction.len().min(18)];
    let parts = i128::from(number(fraction)?);
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(i128::from(whole) * unit + parts * unit / scale)
}

/// Nanoseconds as Go prints them: `1h2m3.5s`, `1.5ms`, `0s`.
pub(super) fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let (whole, rest) = (value / unit, value % unit);
        if rest == 0 {
            return whole.to_string();
        }
        let width = unit.ilog10() as usize;
        format!("{whole}.{rest:0width$}").trim_end_matches('0').to_owned()
    };
    match all {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{all}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(all, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(all, 1_000_000)),
        _ => {
            let (minutes, rest) = (all / 60_000_000_000, all % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}
