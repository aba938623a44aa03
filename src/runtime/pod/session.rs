//! Streams to and from a process in a container.

use super::{Error, PodHandle};
use crate::runtime::container::Exit;
use crate::runtime::spec::TerminalSize;
use crate::sys::{fd, reactor, terminal};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a process writes: a pipe, or the master of its terminal.
#[derive(Debug)]
pub struct Output(AsyncFd<OwnedFd>);

/// What a process reads. Dropping it ends a pipe.
#[derive(Debug)]
pub struct Input(AsyncFd<OwnedFd>);

fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    fd::set_nonblocking(&fd, true)?;
    reactor::register(fd)
}

impl Output {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(register(fd)?))
    }
}

impl Input {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(register(fd)?))
    }
}

impl AsyncRead for Output {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match guard.try_io(|inner| fd::borrow_file(inner.get_ref()).read(space)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // All processes on the terminal are gone.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Input {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|inner| fd::borrow_file(inner.get_ref()).write(bytes)) {
                Ok(outcome) => return Poll::Ready(outcome),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A process that runs in a container by exec. Dropping it closes the streams and leaves the
/// process alone.
pub struct ExecSession {
    /// As wished; taken by whoever writes.
    pub stdin: Option<Input>,
    /// As wished; all output of a terminal.
    pub stdout: Option<Output>,
    /// As wished; absent with a terminal.
    pub stderr: Option<Output>,
    pub(super) master: Option<File>,
    pub(super) pod: PodHandle,
    pub(super) number: u64,
}

impl ExecSession {
    /// Tells the process how large its terminal is. Without a terminal nothing happens.
    pub fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        match &self.master {
            Some(master) => terminal::set_size(master, size.width, size.height)
                .map_err(super::system("cannot resize a terminal")),
            None => Ok(()),
        }
    }

    /// Sends the process a signal; one that has ended is no error.
    pub async fn kill(&self, signal: i32) -> Result<(), Error> {
        self.pod.kill_exec(self.number, signal).await
    }

    /// Waits until the process has ended.
    pub async fn wait(&self) -> Exit {
        self.pod.exec_end(self.number).await
    }
}

impl Drop for ExecSession {
    fn drop(&mut self) {
        self.pod.0.state.lock().execs.remove(&self.number);
    }
}

/// The streams of a container's first process. Dropping it detaches.
#[derive(Debug)]
pub struct AttachSession {
    /// When it was asked for.
    pub stdin: Option<Input>,
    /// When it was asked for; all output of a terminal.
    pub stdout: Option<Output>,
    /// When it was asked for; at its end at once with a terminal.
    pub stderr: Option<Output>,
}
