//! Work inside another network namespace.
//!
//! Contract: the calling thread never changes its namespace; a thread made for the purpose does,
//! and ends. Sockets keep the namespace that they were opened in.

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

/// Runs `work` on a thread inside the namespace, and waits for it.
///
/// # Errors
/// Where the thread cannot be made or cannot enter; a panic of `work` is an error too.
pub fn within<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_own_thread(|| {
        setns(netns, CloneFlags::CLONE_NEWNET)?;
        Ok(work())
    })
}

/// A new network namespace, which lives as long as the file or what is mounted from it.
pub fn create() -> io::Result<File> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        current()
    })
}

/// The namespace of the calling thread.
pub fn current() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}

/// Whether both are the same namespace.
pub fn same(a: impl AsFd, b: impl AsFd) -> io::Result<bool> {
    let (a, b) = (nix::sys::stat::fstat(a)?, nix::sys::stat::fstat(b)?);
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// A TCP socket of the namespace, not blocking and not connected.
pub fn tcp_socket(netns: BorrowedFd<'_>, v6: bool) -> io::Result<OwnedFd> {
    let family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made = within(netns, || socket(family, SockType::Stream, flags, SockProtocol::Tcp))?;
    Ok(made?)
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("rk-netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("thread in namespace panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_inside_and_the_caller_stays() {
        let before = current().unwrap();
        let other = create().unwrap();
        let seen = within(other.as_fd(), || current().unwrap()).unwrap();
        assert!(same(&seen, &other).unwrap());
        assert!(!same(&before, &other).unwrap());
        assert!(same(&before, current().unwrap()).unwrap());
        assert!(within(other.as_fd(), || panic!("inside")).is_err());
    }
}
