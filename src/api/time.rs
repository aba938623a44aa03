//! Kubernetes' time texts: RFC 3339 with whole seconds (`Time`) or microseconds (`MicroTime`).

use crate::util::clock::Wall;

/// `metav1.Time`: `2026-11-20T09:48:00Z`.
pub fn format(time: Wall) -> String {
    text(time).map_or_else(String::new, |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// `metav1.MicroTime`: `2026-11-20T09:48:00.000000Z`.
pub fn format_micro(time: Wall) -> String {
    text(time).map_or_else(String::new, |t| t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

/// As `date` writes it: `Fri Nov 20 09:48:00 UTC 2026`.
pub fn format_unix(time: Wall) -> String {
    text(time).map_or_else(String::new, |t| t.strftime("%a %b %e %H:%M:%S UTC %Y").to_string())
}

/// Reads any RFC 3339 time, with or without fraction or offset. Saturates in 1677 and 2262.
pub fn parse(text: &str) -> Option<Wall> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let nanoseconds = time.as_nanosecond();
    let end = if nanoseconds < 0 { i64::MIN } else { i64::MAX };
    Some(Wall(i64::try_from(nanoseconds).unwrap_or(end)))
}

fn text(time: Wall) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_nanosecond(time.0.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses() {
        let time = Wall(1_795_168_080_123_456_000);
        assert_eq!(format_micro(time), "2026-11-20T09:48:00.123456Z");
        assert_eq!(parse(&format(time)), Some(Wall::from_seconds(1_795_168_080)));
        assert_eq!(parse("2026-11-20T10:48:00+01:00"), Some(Wall::from_seconds(1_795_168_080)));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("2999-01-01T00:00:00Z"), Some(Wall(i64::MAX)));
    }
}
