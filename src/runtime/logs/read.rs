//! Reading a log: the last lines, since when, how much, and following it over rotations.
//!
//! [`LogReader::next`] is a pull: nothing is read ahead of a slow client. Waiting is on inotify.

use super::{Record, Stream, files};
use crate::limits::{LOG_CHUNK_BYTES, LOG_RECORD_BYTES_MAX};
use crate::sys::reactor;
use crate::sys::watch::DirectoryWatch;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// What to show of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Only this many lines at the end.
    pub tail: Option<u64>,
    /// Only lines written at or after this, in nanoseconds since the Unix epoch.
    pub since_ns: Option<i64>,
    /// Stop after this many bytes of output.
    pub limit_bytes: Option<u64>,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Only one of the two outputs.
    pub stream: Option<Stream>,
}

/// A log being read.
pub struct LogReader {
    cursor: Option<Cursor>,
    following: Option<Following>,
}

struct Following {
    watch: AsyncFd<DirectoryWatch>,
    name: OsString,
    /// Resolves once the container has written its last.
    over: Option<BoxFuture<'static, ()>>,
}

impl LogReader {
    /// Opens the log whose current file is `path`; `NotFound` when there is none yet.
    pub fn open(path: &Path, options: ReadOptions) -> io::Result<Self> {
        Ok(Self { cursor: Some(Cursor::open(path, options)?), following: None })
    }

    /// The same, and goes on with what is written later until `over` resolves (the container's
    /// exit) and all of it has been shown.
    pub fn follow(
        path: &Path,
        options: ReadOptions,
        over: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        // Before the first read, so that no change is missed in between.
        let watch = DirectoryWatch::new(path.parent().unwrap_or(Path::new(".")))?;
        let following = Following {
            watch: reactor::register(watch)?,
            name: path.file_name().unwrap_or_default().to_owned(),
            over: Some(over.boxed()),
        };
        Ok(Self { cursor: Some(Cursor::open(path, options)?), following: Some(following) })
    }

    /// The next piece of output; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // Asked before reading: what was written before the end is then there to be read.
            let last = self.following.as_mut().is_none_or(Following::is_over);
            let Some(mut cursor) = self.cursor.take() else { return Ok(None) };
            let read = tokio::task::spawn_blocking(move || (cursor.read(), cursor)).await;
            let (chunk, cursor) = read.map_err(io::Error::other)?;
            let exhausted = cursor.exhausted;
            self.cursor = Some(cursor);
            let chunk = chunk?;
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
            match &mut self.following {
                Some(following) if !last && !exhausted => following.changed().await?,
                _ => return Ok(None),
            }
        }
    }
}

impl Following {
    fn is_over(&mut self) -> bool {
        if self.over.as_mut().is_some_and(|over| over.now_or_never().is_some()) {
            self.over = None;
        }
        self.over.is_none()
    }

    /// Waits until the log has grown or was rotated, or the container is over.
    async fn changed(&mut self) -> io::Result<()> {
        let Self { watch, name, over } = self;
        let Some(ending) = over else { return Ok(()) };
        tokio::select! {
            changed = log_change(watch, name) => changed,
            () = ending => {
                *over = None;
                Ok(())
            }
        }
    }
}

async fn log_change(watch: &AsyncFd<DirectoryWatch>, log: &OsStr) -> io::Result<()> {
    let concerns = |name: &Option<OsString>| {
        let starts = |name: &OsString| name.as_encoded_bytes().starts_with(log.as_encoded_bytes());
        name.as_ref().is_none_or(starts)
    };
    loop {
        let mut ready = watch.readable().await?;
        match watch.get_ref().changes() {
            Ok(names) if names.iter().any(concerns) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) => return Err(error),
        }
    }
}

/// Where a reader is, and what it has read but not yet shown.
#[derive(Debug)]
struct Cursor {
    path: PathBuf,
    options: ReadOptions,
    file: File,
    pending: Vec<u8>,
    /// Files between this one and the current one, oldest first.
    ahead: VecDeque<File>,
    /// Whether the next record of each stream begins a line.
    fresh: [bool; 2],
    left: u64,
    exhausted: bool,
}

impl Cursor {
    fn open(path: &Path, options: ReadOptions) -> io::Result<Self> {
        let mut ahead = open_all(path)?;
        if let Some(lines) = options.tail {
            skip_to_tail(&mut ahead, lines, options.stream)?;
        }
        let file = ahead.pop_front().ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            path: path.to_owned(),
            left: options.limit_bytes.unwrap_or(u64::MAX),
            exhausted: options.limit_bytes == Some(0),
            options,
            file,
            pending: Vec::new(),
            ahead,
            fresh: [true; 2],
        })
    }

    /// The next piece of output; empty when all that is written has been read.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < LOG_CHUNK_BYTES && !self.exhausted {
            if !self.fill()? && !self.advance()? {
                break;
            }
            self.show(&mut out);
        }
        Ok(out)
    }

    /// Reads more of the present file; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let wanted = LOG_CHUNK_BYTES.max(2 * LOG_RECORD_BYTES_MAX) as u64;
        Ok((&self.file).take(wanted).read_to_end(&mut self.pending)? > 0)
    }

    /// Moves to the next file, when this one has been replaced; false when it is the current one.
    fn advance(&mut self) -> io::Result<bool> {
        if self.ahead.is_empty() {
            self.ahead = self.newer()?;
        }
        let Some(next) = self.ahead.pop_front() else { return Ok(false) };
        // Between the last read and the rotation more may have been written.
        if self.fill()? {
            self.ahead.push_front(next);
            return Ok(true);
        }
        // A piece without an end is what a full disk left.
        self.pending.clear();
        self.file = next;
        Ok(true)
    }

    fn newer(&self) -> io::Result<VecDeque<File>> {
        let mut all = open_all(&self.path)?;
        let present = identity(&self.file)?;
        let mut place = None;
        for (index, file) in all.iter().enumerate() {
            if identity(file)? == present {
                place = Some(index);
            }
        }
        // One that is gone already is older than all that are left.
        let older = place.map_or(0, |index| index + 1);
        Ok(all.split_off(older.min(all.len())))
    }

    /// Shows the whole records in `pending`.
    fn show(&mut self, out: &mut Vec<u8>) {
        let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = self.pending.split_off(end + 1);
        let whole = std::mem::replace(&mut self.pending, rest);
        for line in whole.split(|byte| *byte == b'\n') {
            if let Some(record) = Record::parse(line)
                && !self.exhausted
            {
                self.show_record(record, out);
            }
        }
    }

    fn show_record(&mut self, record: Record<'_>, out: &mut Vec<u8>) {
        let fresh = std::mem::replace(&mut self.fresh[record.stream.index()], !record.partial);
        if self.options.stream.is_some_and(|wanted| wanted != record.stream) || self.too_old(record)
        {
            return;
        }
        let from = out.len();
        if self.options.timestamps && fresh {
            out.extend_from_slice(record.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if !record.partial {
            out.push(b'\n');
        }
        let written = (out.len() - from) as u64;
        if written >= self.left {
            out.truncate(from + usize::try_from(self.left).unwrap_or(usize::MAX));
            self.exhausted = true;
        }
        self.left = self.left.saturating_sub(written);
    }

    fn too_old(&self, record: Record<'_>) -> bool {
        let Some(since) = self.options.since_ns else { return false };
        let time = record.time.parse::<jiff::Timestamp>();
        time.is_ok_and(|time| time.as_nanosecond() < i128::from(since))
    }
}

/// All files of the log, oldest first. A directory that changes while it is listed may show a part
/// of its entries, so the list counts only when no rotation came in between. In the middle of one
/// there is no current file, and none again in the next: so the names must have stayed as well.
fn open_all(path: &Path) -> io::Result<VecDeque<File>> {
    loop {
        let current = open(path)?;
        let names = files(path)?;
        let mut all = VecDeque::new();
        for rotated in names.iter().filter(|file| *file != path) {
            all.extend(open(rotated)?);
        }
        let before = current.as_ref().map(identity).transpose()?;
        let after = open(path)?.as_ref().map(identity).transpose()?;
        if before == after && names == files(path)? {
            all.extend(current);
            return Ok(all);
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        // Rotated away meanwhile, or about to be made anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

/// Drops files and moves into the first that is left, so that `lines` lines remain.
fn skip_to_tail(all: &mut VecDeque<File>, lines: u64, stream: Option<Stream>) -> io::Result<()> {
    let mut tail = Tail { lines, stream, at_end: true };
    for index in (0..all.len()).rev() {
        let start = tail.start(&mut all[index])?;
        all[index].seek(SeekFrom::Start(start.unwrap_or(0)))?;
        if start.is_some() {
            all.drain(..index);
            return Ok(());
        }
    }
    Ok(())
}

/// The last lines of a log, looked for from its end.
struct Tail {
    /// How many are still to be found.
    lines: u64,
    stream: Option<Stream>,
    /// Nothing has been seen yet: what is seen first is a line, though it may have no end.
    at_end: bool,
}

impl Tail {
    /// The offset at which the lines begin, found by the end of the line before them; `None` when
    /// they begin in an older file. Reads backwards, block by block.
    fn start(&mut self, file: &mut File) -> io::Result<Option<u64>> {
        let mut end = file.seek(SeekFrom::End(0))?;
        let mut carry = Vec::new();
        let mut complete = end;
        while end > 0 {
            let start = end.saturating_sub(LOG_CHUNK_BYTES as u64);
            let mut block = vec![0; usize::try_from(end - start).unwrap_or(0)];
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(&mut block)?;
            block.append(&mut carry);
            // The first line of the block may begin in the one before it.
            let head = match block.iter().position(|byte| *byte == b'\n') {
                Some(at) if start > 0 => at + 1,
                None if start > 0 => block.len(),
                _ => 0,
            };
            let mut at = block.len();
            for line in block[head..].rsplit(|byte| *byte == b'\n') {
                let begin = at - line.len();
                at = begin.saturating_sub(1);
                if self.ends_line(line) {
                    if self.lines == 0 {
                        return Ok(Some(complete));
                    }
                    self.lines -= 1;
                }
                complete = start + begin as u64;
            }
            carry = block[..head].to_vec();
            end = start;
        }
        Ok(None)
    }

    fn ends_line(&mut self, record: &[u8]) -> bool {
        let record = Record::parse(record);
        let wanted = |record: &Record<'_>| self.stream.is_none_or(|s| s == record.stream);
        let Some(record) = record.filter(wanted) else { return false };
        std::mem::take(&mut self.at_end) || !record.partial
    }
}

#[cfg(test)]
mod tests;
