//! Descriptors in tokio's reactor.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// Owns one descriptor, keeps it open and never changes it: only such types may be registered.
pub trait OwnsFd: AsRawFd + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
}

macro_rules! owns_fd {
    ($($name:ty),*) => { $( impl sealed::Sealed for $name {} impl OwnsFd for $name {} )* };
}

owns_fd!(OwnedFd, super::channel::Channel, super::process::PidFd, super::watch::DirectoryWatch);

/// Waits for `inner` with the runtime that this is called in. It must be non-blocking.
pub fn register<T: OwnsFd>(inner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the trait is sealed, and its types own one descriptor that they keep open unchanged.
    Ok(unsafe { AsyncFd::register(inner) }?)
}
