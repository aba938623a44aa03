//! A container's output on its way: from its pipes or terminal to its log and to whoever is
//! attached.
//!
//! The shim never waits for a reader. What an attached reader has not taken yet is held, up to a
//! bound; while the bound is reached the container's stream is not read, as a terminal would do; a
//! reader that takes nothing at all for a while is cut off.

use crate::limits::{ATTACH_HELD_BYTES_MAX, ATTACH_STALL_MAX};
use crate::runtime::logs::{Assembly, LogWriter, Stream};
use crate::sys::fd;
use crate::util::clock;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// One output of a container.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    stream: Stream,
    assembly: Assembly,
}

/// Somebody who reads an output.
#[derive(Debug)]
pub(super) struct Outlet {
    file: File,
    stream: Stream,
    held: Vec<u8>,
    /// Since when nothing of what is held has been taken.
    stalled: Instant,
}

impl Output {
    /// Takes over the reading end.
    pub(super) fn new(fd: OwnedFd, stream: Stream) -> io::Result<Self> {
        fd::set_nonblocking(&fd, true)?;
        Ok(Self { file: File::from(fd), stream, assembly: Assembly::new(stream) })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether every reader of this output has room for more.
    pub(super) fn may_flow(&self, outlets: &[Outlet]) -> bool {
        let full = |outlet: &Outlet| outlet.held.len() >= ATTACH_HELD_BYTES_MAX;
        !outlets.iter().any(|outlet| outlet.stream == self.stream && full(outlet))
    }

    /// Moves what can be read at once; false at the end.
    pub(super) fn pump(
        &mut self,
        buffer: &mut [u8],
        log: Option<&mut LogWriter>,
        outlets: &mut [Outlet],
    ) -> io::Result<bool> {
        let count = match self.file.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // The last process has closed the terminal.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(false),
            Err(error) => return Err(error),
        };
        let bytes = &buffer[..count];
        for outlet in outlets.iter_mut().filter(|outlet| outlet.stream == self.stream) {
            outlet.give(bytes);
        }
        match log {
            Some(log) => log.append(&mut self.assembly, bytes, clock::now().0).map(|()| true),
            None => Ok(true),
        }
    }

    /// After the container's end: moves what is still in the pipe, and ends the last line.
    pub(super) fn drain(
        &mut self,
        buffer: &mut [u8],
        mut log: Option<&mut LogWriter>,
        outlets: &mut [Outlet],
    ) -> io::Result<()> {
        // A process that got away may hold the pipe and go on writing: no more than it can hold.
        let mut rest = fd::pipe_capacity(&self.file).unwrap_or(buffer.len()).max(buffer.len());
        let mut outcome = Ok(true);
        while rest > 0 && self.has_more()? {
            outcome = self.pump(buffer, log.as_deref_mut(), outlets);
            if !matches!(outcome, Ok(true)) {
                break;
            }
            rest = rest.saturating_sub(buffer.len());
        }
        let finished = match log {
            Some(log) => log.finish(&mut self.assembly, clock::now().0),
            None => Ok(()),
        };
        outcome.and(finished)
    }

    fn has_more(&self) -> io::Result<bool> {
        let interest = fd::Interest { fd: self.raw(), read: true, write: false };
        Ok(fd::wait(&[interest], Some(Duration::ZERO))?.iter().any(|ready| ready.readable))
    }
}

impl Outlet {
    /// A new reader of `stream` and the end that it reads from.
    pub(super) fn open(stream: Stream) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        fd::set_nonblocking(&writer, true)?;
        let file = File::from(writer);
        Ok((Self { file, stream, held: Vec::new(), stalled: clock::instant() }, reader))
    }

    pub(super) fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Whether something waits for the reader.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn give(&mut self, bytes: &[u8]) {
        if self.held.is_empty() {
            self.stalled = clock::instant();
        }
        self.held.extend_from_slice(bytes);
        self.flush();
    }

    /// Gives the reader what it takes now.
    pub(super) fn flush(&mut self) {
        while !self.held.is_empty() {
            match self.file.write(&self.held) {
                Ok(count) => {
                    self.held.drain(..count);
                    self.stalled = clock::instant();
                }
                // A reader that is gone is seen by the loop as a hangup.
                Err(_) => return,
            }
        }
        // Gives the memory back.
        self.held = Vec::new();
    }

    /// When this reader will have been too slow; `None` while nothing waits for it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.holds().then(|| self.stalled + ATTACH_STALL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_stops_the_flow_and_loses_nothing() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut output = Output::new(reader.into(), Stream::Stdout).unwrap();
        let (outlet, slow) = Outlet::open(Stream::Stdout).unwrap();
        let mut outlets = [outlet];
        let mut buffer = vec![0; 32 * 1024];
        let mut sent = 0;
        while output.may_flow(&outlets) {
            writer.write_all(&[b'x'; 16 * 1024]).unwrap();
            sent += 16 * 1024;
            assert!(output.pump(&mut buffer, None, &mut outlets).unwrap());
        }
        assert!(outlets[0].deadline().is_some());
        assert!(sent < ATTACH_HELD_BYTES_MAX + 256 * 1024);
        let mut slow = File::from(slow);
        let mut taken = 0;
        while taken < sent {
            taken += slow.read(&mut buffer).unwrap();
            outlets[0].flush();
        }
        assert!(output.may_flow(&outlets) && outlets[0].deadline().is_none());
        drop(writer);
        assert!(!output.pump(&mut buffer, None, &mut outlets).unwrap());
    }

    #[test]
    fn the_end_drains_what_is_in_the_pipe_but_no_endless_writer() {
        let (reader, writer) = io::pipe().unwrap();
        let mut output = Output::new(reader.into(), Stream::Stderr).unwrap();
        let (outlet, taken) = Outlet::open(Stream::Stderr).unwrap();
        let mut outlets = [outlet];
        (&writer).write_all(&[b'y'; 50_000]).unwrap();
        output.drain(&mut [0; 4096], None, &mut outlets).unwrap();
        outlets[0].flush();
        drop(outlets);
        let mut all = Vec::new();
        File::from(taken).read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 50_000);
    }
}
