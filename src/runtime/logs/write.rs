//! Writing a log: cutting a container's output into records, and rotating.
//!
//! Contract: a full or broken disk costs lines, never the container's progress. A file is rotated
//! where no line is left open in it, unless that would let it grow to twice its bound.

use super::{Record, Stream, files, suffix, timestamp};
use crate::limits::LOG_RECORD_BYTES_MAX;
use crate::runtime::spec::LogTarget;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// The unfinished line of one stream.
#[derive(Debug)]
pub struct Assembly {
    stream: Stream,
    held: Vec<u8>,
}

impl Assembly {
    /// Nothing held yet.
    pub const fn new(stream: Stream) -> Self {
        Self { stream, held: Vec::new() }
    }
}

/// The log of one container.
#[derive(Debug)]
pub struct LogWriter {
    target: LogTarget,
    file: Option<File>,
    size: u64,
    /// Whether the last record of each stream left its line open.
    open: [bool; 2],
}

impl LogWriter {
    /// Opens the log for appending. A file that cannot be opened is tried again at the next line.
    pub fn new(target: LogTarget) -> Self {
        let mut log = Self { target, file: None, size: 0, open: [false; 2] };
        // The error, if any, comes again with the next line.
        let _ = log.reopen();
        log
    }

    /// Closes the file and opens what is at the path now: for a rotation by others.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        if let Some(directory) = self.target.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = File::options().append(true).create(true).open(&self.target.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Takes what a container has written to one stream at `now` (nanoseconds); writes what makes
    /// whole records and holds the rest.
    pub fn append(&mut self, assembly: &mut Assembly, bytes: &[u8], now: i64) -> io::Result<()> {
        let mut batch = Batch::at(now);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.split_last() {
                Some((b'\n', text)) => {
                    self.take(assembly, text, &mut batch);
                    self.emit(assembly, false, &mut batch);
                }
                _ => self.take(assembly, line, &mut batch),
            }
        }
        self.flush(&mut batch);
        batch.outcome
    }

    /// The stream has ended: writes what is held as the last line, which has no end.
    pub fn finish(&mut self, assembly: &mut Assembly, now: i64) -> io::Result<()> {
        let mut batch = Batch::at(now);
        if !assembly.held.is_empty() {
            self.emit(assembly, true, &mut batch);
        }
        self.flush(&mut batch);
        batch.outcome
    }

    /// Adds to the line, in pieces where it grows too long for one record.
    fn take(&mut self, assembly: &mut Assembly, mut text: &[u8], batch: &mut Batch) {
        while assembly.held.len() + text.len() > LOG_RECORD_BYTES_MAX {
            let room = LOG_RECORD_BYTES_MAX - assembly.held.len();
            let (piece, rest) = text.split_at(room);
            assembly.held.extend_from_slice(piece);
            self.emit(assembly, true, batch);
            text = rest;
        }
        assembly.held.extend_from_slice(text);
    }

    fn emit(&mut self, assembly: &mut Assembly, partial: bool, batch: &mut Batch) {
        let stream = assembly.stream;
        Record { time: &batch.time, stream, partial, text: &assembly.held }.write(&mut batch.out);
        self.open[stream.index()] = partial;
        // Gives the memory back: most containers write short lines.
        assembly.held = Vec::new();
        let size = self.size + batch.out.len() as u64;
        let whole = !self.open.contains(&true);
        let (soft, hard) = (self.target.max_bytes, self.target.max_bytes.saturating_mul(2));
        if size >= hard || (size >= soft && whole) {
            self.flush(batch);
            let rotated = self.rotate(batch.now);
            batch.note(rotated);
        }
    }

    fn flush(&mut self, batch: &mut Batch) {
        let bytes = std::mem::take(&mut batch.out);
        if !bytes.is_empty() {
            let written = self.write(&bytes);
            batch.note(written);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(bytes);
        if written.is_err() {
            // What was written may end in the middle of a record; the next one must not be glued to
            // it. Nothing more can be done on a full disk.
            let _ = file.write_all(b"\n");
        }
        self.size = match written {
            Ok(()) => self.size + bytes.len() as u64,
            Err(_) => file.metadata().map_or(self.size, |meta| meta.len()),
        };
        written
    }

    fn rotate(&mut self, now: i64) -> io::Result<()> {
        fs::rename(&self.target.path, self.rotated_name(now)?)?;
        self.reopen()?;
        let all = files(&self.target.path)?;
        let keep = usize::try_from(self.target.max_files.max(2)).unwrap_or(usize::MAX);
        let surplus = all.len().saturating_sub(keep);
        all.iter().take(surplus).try_for_each(fs::remove_file)
    }

    /// A name that sorts after all others, also within one second and when the clock went back.
    fn rotated_name(&self, now: i64) -> io::Result<PathBuf> {
        let all = files(&self.target.path)?;
        let prefix = format!("{}.", self.target.path.display());
        let plain = suffix(now);
        // The current file is the last of the list, the newest rotated one stands before it.
        let newest = all.iter().rev().nth(1).map(|path| path.display().to_string());
        let newest = newest.as_deref().and_then(|path| path.strip_prefix(&prefix));
        let next = match newest.filter(|newest| **newest >= *plain) {
            None => plain,
            Some(newest) => {
                let (stem, number) = newest.split_once('_').unwrap_or((newest, "0"));
                format!("{stem}_{:06}", number.parse::<u32>().unwrap_or(0) + 1)
            }
        };
        Ok(PathBuf::from(prefix + &next))
    }
}

/// Records on their way to the file, and the first thing that went wrong.
struct Batch {
    now: i64,
    time: String,
    out: Vec<u8>,
    outcome: io::Result<()>,
}

impl Batch {
    fn at(now: i64) -> Self {
        Self { now, time: timestamp(now), out: Vec::new(), outcome: Ok(()) }
    }

    fn note(&mut self, outcome: io::Result<()>) {
        if self.outcome.is_ok() {
            self.outcome = outcome;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(directory: &tempfile::TempDir, max_bytes: u64, max_files: u32) -> LogTarget {
        LogTarget { path: directory.path().join("0.log"), max_bytes, max_files }
    }

    fn records(path: &std::path::Path) -> Vec<(bool, usize)> {
        let text = fs::read(path).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let parsed = lines.map(|line| Record::parse(line).unwrap());
        parsed.map(|record| (record.partial, record.text.len())).collect()
    }

    #[test]
    fn lines_are_held_until_they_end_and_cut_when_too_long() {
        let directory = tempfile::tempdir().unwrap();
        let target = target(&directory, 1 << 20, 3);
        let mut log = LogWriter::new(target.clone());
        let mut out = Assembly::new(Stream::Stdout);
        log.append(&mut out, b"one\ntw", 0).unwrap();
        assert_eq!(records(&target.path), [(false, 3)]);
        log.append(&mut out, b"o\n\n", 0).unwrap();
        log.append(&mut out, &vec![b'x'; LOG_RECORD_BYTES_MAX * 2 + 10], 0).unwrap();
        log.append(&mut out, b"end", 0).unwrap();
        log.finish(&mut out, 0).unwrap();
        let max = LOG_RECORD_BYTES_MAX;
        assert_eq!(
            records(&target.path),
            [(false, 3), (false, 3), (false, 0), (true, max), (true, max), (true, 13)]
        );
    }

    #[test]
    fn rotation_keeps_count_order_and_every_line() {
        let directory = tempfile::tempdir().unwrap();
        let target = target(&directory, 500, 4);
        let mut log = LogWriter::new(target.clone());
        let mut out = Assembly::new(Stream::Stdout);
        // One and the same second, then a clock that goes back.
        for number in 0..100 {
            let now = if number < 60 { 5_000_000_000_000 } else { 1_000_000_000 };
            log.append(&mut out, format!("line {number:03}\n").as_bytes(), now).unwrap();
        }
        let files = files(&target.path).unwrap();
        assert_eq!(files.len(), 4);
        assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() < 600));
        let text: Vec<String> = files.iter().map(|f| fs::read_to_string(f).unwrap()).collect();
        let text = text.concat();
        let numbers: Vec<&str> = text.lines().map(|line| &line[line.len() - 3..]).collect();
        assert!(numbers.is_sorted() && numbers.last() == Some(&"099") && numbers.len() > 30);
    }

    #[test]
    fn an_open_line_is_not_torn_apart_unless_it_never_ends() {
        let directory = tempfile::tempdir().unwrap();
        let max = LOG_RECORD_BYTES_MAX as u64;
        let target = target(&directory, max, 10);
        let mut log = LogWriter::new(target.clone());
        let (mut out, mut err) = (Assembly::new(Stream::Stdout), Assembly::new(Stream::Stderr));
        log.append(&mut out, &vec![b'x'; LOG_RECORD_BYTES_MAX + 1], 0).unwrap();
        log.append(&mut err, b"other\n", 0).unwrap();
        assert_eq!(files(&target.path).unwrap().len(), 1);
        log.append(&mut out, b"end\n", 0).unwrap();
        assert_eq!(files(&target.path).unwrap().len(), 2);
        log.append(&mut out, &vec![b'y'; LOG_RECORD_BYTES_MAX * 5], 0).unwrap();
        assert!(files(&target.path).unwrap().len() > 3);
    }

    #[test]
    fn a_full_disk_costs_lines_and_tells() {
        let target = LogTarget { path: "/dev/full".into(), max_bytes: 1 << 20, max_files: 2 };
        let mut log = LogWriter::new(target);
        let mut out = Assembly::new(Stream::Stdout);
        let error = log.append(&mut out, b"lost\n", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(out.held.is_empty());
    }

    #[test]
    fn a_removed_directory_comes_back_on_reopen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/0.log");
        let target = LogTarget { path: path.clone(), max_bytes: 1 << 20, max_files: 2 };
        let mut log = LogWriter::new(target);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
        log.reopen().unwrap();
        log.append(&mut Assembly::new(Stream::Stdout), b"x\n", 0).unwrap();
        assert_eq!(records(&path), [(false, 1)]);
    }
}
