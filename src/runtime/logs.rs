//! Container logs in the CRI format: `<RFC3339 time> stdout|stderr F|P text`, one record per line.
//!
//! `F` ends a line of the container, `P` is a piece of one that goes on in the next record of its
//! stream. The shim writes and rotates; rk reads, across rotations and while they happen.

mod read;
mod write;

pub use read::{LogReader, ReadOptions};
pub use write::{Assembly, LogWriter};

use std::io;
use std::path::{Path, PathBuf};

/// Which of its two outputs a container wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, and a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// One record of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// As written in the file.
    pub time: &'a str,
    /// Which output.
    pub stream: Stream,
    /// The line goes on in the next record of this stream.
    pub partial: bool,
    /// What the container wrote, without the line's end.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads one line of a log, without its newline.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(parts.next()?).ok()?;
        let stream = match parts.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // More tags may follow the first after a colon.
        let partial = match parts.next()?.split(|byte| *byte == b':').next()? {
            b"F" => false,
            b"P" => true,
            _ => return None,
        };
        Some(Self { time, stream, partial, text: parts.next()? })
    }

    /// Appends the record as one line.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.time.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.stream.name().as_bytes());
        out.extend_from_slice(if self.partial { b" P " } else { b" F " });
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }
}

/// The files of one log, oldest first, the current one last.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let prefix = format!("{}.", name.to_string_lossy());
    let mut rotated = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let entry_name = entry.file_name();
        let suffix = entry_name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if suffix.is_some_and(|suffix| suffix.starts_with(|c: char| c.is_ascii_digit())) {
            rotated.push(entry.path());
        }
    }
    rotated.sort();
    rotated.push(path.to_owned());
    Ok(rotated)
}

/// `2026-11-20T10:15:00.123456789Z` of nanoseconds since the Unix epoch.
pub fn timestamp(nanos: i64) -> String {
    let (second, fraction) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (year, month, day) = civil(second.div_euclid(86_400));
    let (hour, minute, second) = clock(second);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// `20261120-101500` of nanoseconds since the Unix epoch: the suffix of a rotated file.
fn suffix(nanos: i64) -> String {
    let second = nanos.div_euclid(1_000_000_000);
    let (year, month, day) = civil(second.div_euclid(86_400));
    let (hour, minute, second) = clock(second);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

fn clock(second: i64) -> (i64, i64, i64) {
    let of_day = second.rem_euclid(86_400);
    (of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of days since 1970-01-01, by the usual arithmetic on 400-year eras that
/// begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_everybody_reads_them() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(1_795_169_700_123_456_789), "2026-11-20T10:15:00.123456789Z");
        assert_eq!(timestamp(1_709_164_800_000_000_000), "2024-02-29T00:00:00.000000000Z");
        assert_eq!(suffix(1_795_169_700_123_456_789), "20261120-101500");
        let jiff = |nanos: i64| jiff::Timestamp::from_nanosecond(nanos.into()).unwrap();
        for nanos in (0..4_000_000_000_000_000_000).step_by(86_400_000_000_000 * 97 + 12_345) {
            assert_eq!(timestamp(nanos).parse::<jiff::Timestamp>().unwrap(), jiff(nanos));
        }
    }

    #[test]
    fn records_survive_the_round_trip() {
        for text in [&b"plain"[..], b"", b"with  spaces ", b"\xff\xfe not utf-8"] {
            for partial in [false, true] {
                let time = "2026-11-20T10:15:00.123456789Z";
                let record = Record { time, stream: Stream::Stderr, partial, text };
                let mut line = Vec::new();
                record.write(&mut line);
                assert_eq!(line.pop(), Some(b'\n'));
                assert_eq!(Record::parse(&line), Some(record));
            }
        }
    }

    #[test]
    fn lines_of_another_form_are_no_records() {
        for bad in ["", "time stdout F", "time stdin F x", "time stdout Q x", "just text"] {
            assert_eq!(Record::parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert!(Record::parse(b"t stdout P:more x").unwrap().partial);
    }
}
