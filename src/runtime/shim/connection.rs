//! One connection to rk: frames in, frames out, a bounded queue between.

use super::protocol::{Message, Request};
use crate::limits::{SHIM_FRAME_BYTES_MAX, SHIM_QUEUE_MAX};
use crate::sys::channel::Channel;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// See the module.
pub(super) struct Connection {
    channel: Channel,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// Has said hello, so wants to hear of changes.
    pub(super) listens: bool,
}

impl Connection {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel, waiting: VecDeque::new(), listens: false }
    }

    pub(super) fn raw(&self) -> RawFd {
        self.channel.as_raw_fd()
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next request, with its descriptors; `None` when there is none yet. An error ends the
    /// connection.
    pub(super) fn next(&self) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; SHIM_FRAME_BYTES_MAX];
        match self.channel.receive(&mut buffer) {
            Ok(Some((length, fds))) => Ok(Some((serde_json::from_slice(&buffer[..length])?, fds))),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a message, or keeps it until the other side reads. An error ends the connection.
    pub(super) fn send(&mut self, message: &Message, fds: Vec<OwnedFd>) -> io::Result<()> {
        if self.waiting.len() >= SHIM_QUEUE_MAX {
            return Err(io::Error::other("the other side does not read"));
        }
        self.waiting.push_back((serde_json::to_vec(message)?, fds));
        self.flush()
    }

    /// Sends what waits, as far as the other side takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some((frame, fds)) = self.waiting.front() {
            let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match self.channel.send(frame, &borrowed) {
                Ok(()) => self.waiting.pop_front(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}
