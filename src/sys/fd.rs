//! Small operations on file descriptors, and waiting for several at once.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Makes reads and writes of the open file answer `WouldBlock` instead of waiting.
pub fn set_nonblocking(fd: &impl AsRawFd, nonblocking: bool) -> io::Result<()> {
    // SAFETY: fcntl with F_GETFL and F_SETFL touches no memory.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    let wanted = if nonblocking { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: as above.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, wanted) }).map(drop)
}

/// A pipe, reading end first, closed on exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?)
}

/// A second descriptor of the same open file, closed on exec.
pub fn duplicate(fd: &impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

/// A second descriptor of the open file that `raw` names, closed on exec; an error when it names
/// none.
pub fn duplicate_raw(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC touches no memory and fails for a number that is not open.
    let copy = check(unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fcntl has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// `/dev/null`, readable and writable.
pub fn dev_null() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

/// Takes what the parent left as descriptor 0 and puts `/dev/null` there and on 1; standard error
/// stays. Call once, first thing in a process, before anything else has opened a file.
pub fn take_stdin() -> io::Result<OwnedFd> {
    // SAFETY: at the start of the process nothing owns descriptor 0, and it is duplicated before it
    // is replaced.
    let taken = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: fcntl has just made it.
    let taken = unsafe { OwnedFd::from_raw_fd(check(taken)?) };
    let null = dev_null()?;
    for target in [0, 1] {
        replace(&null, target)?;
    }
    Ok(taken)
}

/// Makes descriptor `target` the same open file as `fd`; `target` stays open over exec.
pub fn replace(fd: &impl AsRawFd, target: RawFd) -> io::Result<()> {
    // SAFETY: dup2 touches no memory; the callers own the standard descriptors they replace.
    check(unsafe { libc::dup2(fd.as_raw_fd(), target) }).map(drop)
}

/// Closes every descriptor but 0, 1, 2 and `kept`, which get the numbers from 3 on, in order.
///
/// For a forked child that will never return to its parent's code: what else it has in memory as an
/// owned descriptor is closed or another file afterwards, and must not be used or dropped.
pub fn isolate(kept: Vec<OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    let first_free = 3 + i32::try_from(kept.len()).unwrap_or(i32::MAX - 3);
    let mut high = Vec::new();
    for fd in kept {
        // SAFETY: F_DUPFD_CLOEXEC touches no memory.
        let raw = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first_free) };
        high.push(check(raw)?);
        std::mem::forget(fd);
    }
    let mut low = Vec::new();
    for (target, source) in (3..).zip(high) {
        // SAFETY: the numbers from 3 on belong to nobody any more, by the contract.
        check(unsafe { libc::dup3(source, target, libc::O_CLOEXEC) })?;
        // SAFETY: dup3 has just made it.
        low.push(unsafe { OwnedFd::from_raw_fd(target) });
    }
    // SAFETY: nobody uses the numbers above any more, by the contract.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first_free, u32::MAX, 0u32) };
    check(i32::try_from(result).unwrap_or(-1))?;
    Ok(low)
}

/// Takes the lock of the open file, shared by its duplicates and gone with the last of them; waits
/// for it only when `wait`. Returns whether it was to be had.
pub fn lock(file: &File, wait: bool) -> io::Result<bool> {
    let operation = if wait { libc::LOCK_EX } else { libc::LOCK_EX | libc::LOCK_NB };
    // SAFETY: flock takes integers only.
    match check(unsafe { libc::flock(file.as_raw_fd(), operation) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// A file in memory with `bytes` in it, to be read through `/proc/self/fd`.
pub fn memory_file(name: &str, bytes: &[u8]) -> io::Result<File> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name is a C string that outlives the call.
    let raw = check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: memfd_create has just made it.
    let mut file = File::from(unsafe { OwnedFd::from_raw_fd(raw) });
    io::Write::write_all(&mut file, bytes)?;
    Ok(file)
}

/// How many bytes a pipe can hold.
pub fn pipe_capacity(fd: &impl AsRawFd) -> io::Result<usize> {
    // SAFETY: F_GETPIPE_SZ touches no memory.
    let size = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETPIPE_SZ) })?;
    Ok(usize::try_from(size).unwrap_or(0))
}

/// A descriptor as a file, for a read or a write.
pub fn borrow_file(fd: &OwnedFd) -> std::mem::ManuallyDrop<File> {
    // SAFETY: the file is never dropped, so it does not close what it borrows, and callers use it
    // for one call while `fd` lives.
    std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd.as_raw_fd()) })
}

/// What to wait for on one descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Interest {
    /// The descriptor; the caller keeps it open while waiting.
    pub fd: RawFd,
    /// Wait until it can be read or has ended.
    pub read: bool,
    /// Wait until it can be written.
    pub write: bool,
}

/// What has come of an [`Interest`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read will not block: there are bytes, or the end.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
    /// The other side is gone, or the descriptor is in error.
    pub hangup: bool,
}

impl Ready {
    /// Whether anything happened.
    pub fn any(self) -> bool {
        self.readable || self.writable || self.hangup
    }
}

/// Waits until one of `interests` is ready or `timeout` is over (`None`: for ever). The answers are
/// in the order of the questions; after the time-out none of them is set.
pub fn wait(interests: &[Interest], timeout: Option<Duration>) -> io::Result<Vec<Ready>> {
    let mut list: Vec<libc::pollfd> = interests.iter().map(to_poll).collect();
    let count = libc::nfds_t::try_from(list.len()).unwrap_or(libc::nfds_t::MAX);
    // Rounded up, so that a deadline has passed when the wait is over.
    let millis =
        timeout.map_or(-1, |t| i32::try_from(t.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
    // SAFETY: the list lives through the call and `count` is its length.
    match check(unsafe { libc::poll(list.as_mut_ptr(), count, millis) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        Err(_) => Ok(vec![Ready::default(); interests.len()]),
        Ok(_) => Ok(list.iter().map(|entry| from_poll(entry.revents)).collect()),
    }
}

fn to_poll(interest: &Interest) -> libc::pollfd {
    let read = if interest.read { libc::POLLIN } else { 0 };
    let write = if interest.write { libc::POLLOUT } else { 0 };
    libc::pollfd { fd: interest.fd, events: read | write, revents: 0 }
}

fn from_poll(events: libc::c_short) -> Ready {
    Ready {
        readable: events & (libc::POLLIN | libc::POLLHUP) != 0,
        writable: events & libc::POLLOUT != 0,
        hangup: events & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0,
    }
}

pub(super) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_descriptor_that_is_ready() {
        let (r1, _w1) = pipe().unwrap();
        let (r2, w2) = pipe().unwrap();
        let ask = |fd: &OwnedFd| Interest { fd: fd.as_raw_fd(), read: true, write: false };
        let none = wait(&[ask(&r1), ask(&r2)], Some(Duration::ZERO)).unwrap();
        assert!(none.iter().all(|ready| !ready.any()));
        drop(w2);
        let ready = wait(&[ask(&r1), ask(&r2)], None).unwrap();
        assert!(!ready[0].any() && ready[1].hangup && ready[1].readable);
    }

    #[test]
    fn a_memory_file_is_read_by_path() {
        let file = memory_file("x", b"content").unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(std::fs::read(path).unwrap(), b"content");
    }
}
