//! Reading logs that writers made.

use super::super::{Assembly, LogWriter};
use super::*;
use crate::runtime::spec::LogTarget;

const SECOND: i64 = 1_000_000_000;

/// A log whose line `n` is written at second `n`, on stderr when `n` is odd.
fn written(lines: i64, max_bytes: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("0.log");
    let mut log = LogWriter::new(LogTarget { path: path.clone(), max_bytes, max_files: 100 });
    let mut both = [Assembly::new(Stream::Stdout), Assembly::new(Stream::Stderr)];
    for number in 0..lines {
        let assembly = &mut both[usize::try_from(number % 2).unwrap()];
        log.append(assembly, format!("line {number}\n").as_bytes(), number * SECOND).unwrap();
    }
    (directory, path)
}

fn shown(path: &Path, options: ReadOptions) -> String {
    let mut cursor = Cursor::open(path, options).unwrap();
    let mut all = Vec::new();
    loop {
        let chunk = cursor.read().unwrap();
        if chunk.is_empty() {
            return String::from_utf8(all).unwrap();
        }
        all.extend(chunk);
    }
}

fn numbered(numbers: impl IntoIterator<Item = i64>) -> String {
    numbers.into_iter().map(|number| format!("line {number}\n")).collect()
}

#[test]
fn all_is_shown_in_order_over_rotations() {
    for max_bytes in [100, 1000, 1 << 20] {
        let (_directory, path) = written(200, max_bytes);
        assert_eq!(shown(&path, ReadOptions::default()), numbered(0..200));
    }
}

#[test]
fn the_tail_is_counted_over_rotations() {
    for max_bytes in [100, 1000, 1 << 20] {
        let (_directory, path) = written(200, max_bytes);
        for tail in [0, 1, 2, 3, 10, 99, 199, 200, 201, 100_000] {
            let options = ReadOptions { tail: Some(tail), ..ReadOptions::default() };
            let from = 200 - i64::try_from(tail).unwrap().min(200);
            assert_eq!(shown(&path, options), numbered(from..200), "{tail} of {max_bytes}");
        }
    }
}

#[test]
fn since_stream_and_limit_choose() {
    let (_directory, path) = written(20, 300);
    let since = ReadOptions { since_ns: Some(15 * SECOND), ..ReadOptions::default() };
    assert_eq!(shown(&path, since), numbered(15..20));
    let errors = ReadOptions { stream: Some(Stream::Stderr), ..ReadOptions::default() };
    assert_eq!(shown(&path, errors), numbered((1..20).step_by(2)));
    let tail =
        ReadOptions { tail: Some(2), stream: Some(Stream::Stdout), ..ReadOptions::default() };
    assert_eq!(shown(&path, tail), numbered([16, 18]));
    for (limit, expected) in [(0, ""), (3, "lin"), (8, "line 0\nl"), (9999, &numbered(0..20)[..])] {
        let options = ReadOptions { limit_bytes: Some(limit), ..ReadOptions::default() };
        assert_eq!(shown(&path, options), expected);
    }
}

#[test]
fn pieces_of_long_lines_are_joined_and_stamped_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("0.log");
    let target = LogTarget { path: path.clone(), max_bytes: 20_000, max_files: 50 };
    let mut log = LogWriter::new(target);
    let mut out = Assembly::new(Stream::Stdout);
    let long = "x".repeat(100_000);
    log.append(&mut out, format!("first\n{long}\nlast\n").as_bytes(), 0).unwrap();
    assert!(files(&path).unwrap().len() > 2);
    assert_eq!(shown(&path, ReadOptions::default()), format!("first\n{long}\nlast\n"));
    let two = ReadOptions { tail: Some(2), ..ReadOptions::default() };
    assert_eq!(shown(&path, two), format!("{long}\nlast\n"));
    let time = super::super::timestamp(0);
    let stamped = ReadOptions { timestamps: true, ..ReadOptions::default() };
    assert_eq!(shown(&path, stamped), format!("{time} first\n{time} {long}\n{time} last\n"));
}

#[test]
fn a_last_line_without_an_end_is_shown_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("0.log");
    let target = LogTarget { path: path.clone(), max_bytes: 1 << 20, max_files: 2 };
    let mut log = LogWriter::new(target);
    let mut out = Assembly::new(Stream::Stdout);
    log.append(&mut out, b"one\ntwo\nthree", 0).unwrap();
    log.finish(&mut out, 0).unwrap();
    assert_eq!(shown(&path, ReadOptions::default()), "one\ntwo\nthree");
    for (tail, wanted) in [(0, ""), (1, "three"), (2, "two\nthree"), (9, "one\ntwo\nthree")] {
        let options = ReadOptions { tail: Some(tail), ..ReadOptions::default() };
        assert_eq!(shown(&path, options), wanted, "{tail}");
    }
}

#[test]
fn broken_records_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("0.log");
    let time = super::super::timestamp(0);
    let text = format!("garbage\n{time} stdout F good\n\n{time} stdo\n{time} stderr F too\nhalf");
    std::fs::write(&path, text).unwrap();
    assert_eq!(shown(&path, ReadOptions::default()), "good\ntoo\n");
    assert!(Cursor::open(&directory.path().join("1.log"), ReadOptions::default()).is_err());
}

/// A writer that rotates at nearly every line beside a reader that follows.
#[tokio::test]
async fn following_loses_and_repeats_nothing_over_rotations() {
    let (_directory, path) = written(3, 1 << 20);
    let (end, over) = tokio::sync::oneshot::channel::<()>();
    let tail = ReadOptions { tail: Some(1), ..ReadOptions::default() };
    let mut reader = LogReader::follow(&path, tail, over.map(drop)).unwrap();
    let writer = tokio::task::spawn_blocking(move || {
        let target = LogTarget { path, max_bytes: 150, max_files: 10_000 };
        let mut log = LogWriter::new(target);
        let mut out = Assembly::new(Stream::Stdout);
        for number in 3..2000 {
            let text = format!("line {number}\n");
            log.append(&mut out, text.as_bytes(), number * SECOND).unwrap();
        }
        end.send(()).unwrap();
    });
    let mut all = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        all.extend(chunk);
    }
    writer.await.unwrap();
    let all = String::from_utf8(all).unwrap();
    for (shown, expected) in all.lines().zip(numbered(2..2000).lines()) {
        assert_eq!(shown, expected);
    }
    assert_eq!(all.lines().count(), 1998);
}
