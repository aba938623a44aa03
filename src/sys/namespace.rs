//! Namespaces: leave the shared ones, keep one alive by a file, prepare a fresh one.

use super::fd::check;
use nix::sched::CloneFlags;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Network devices, addresses, routes, rules.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Process ids; applies to children only.
    Pid,
    /// Mounts.
    Mount,
}

impl Kind {
    /// The name below `/proc/PID/ns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Pid => "pid",
            Self::Mount => "mnt",
        }
    }

    fn flag(self) -> CloneFlags {
        match self {
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::Mount => CloneFlags::CLONE_NEWNS,
        }
    }
}

/// Moves this thread into fresh namespaces of these kinds.
pub fn leave(kinds: &[Kind]) -> io::Result<()> {
    let flags = kinds.iter().fold(CloneFlags::empty(), |all, kind| all | kind.flag());
    Ok(nix::sched::unshare(flags)?)
}

/// Moves this thread into the namespace that `path` stands for.
pub fn enter(path: &Path, kind: Kind) -> io::Result<()> {
    Ok(nix::sched::setns(File::open(path)?, kind.flag())?)
}

/// Keeps this thread's namespace alive by mounting it on the file `target`, which is made.
pub fn pin(kind: Kind, target: &Path) -> io::Result<()> {
    File::create(target)?;
    let source = format!("/proc/thread-self/ns/{}", kind.name());
    super::mount::bind(Path::new(&source), target, false)
}

/// Sets the host name of this UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

/// Brings up the loopback device of this network namespace.
pub fn loopback_up() -> io::Result<()> {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: the structure is plain data, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        // Signed on x86, unsigned on arm.
        *to = libc::c_char::from_ne_bytes([from]);
    }
    interface_flags(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the kernel has just filled in the flags member of the union.
    unsafe {
        request.ifr_ifru.ifru_flags |= libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    }
    interface_flags(&socket, libc::SIOCSIFFLAGS, &mut request)
}

fn interface_flags(socket: &OwnedFd, call: u64, request: &mut libc::ifreq) -> io::Result<()> {
    #[allow(clippy::cast_possible_truncation, reason = "request numbers are 16 bits wide")]
    let call = call as libc::Ioctl;
    // SAFETY: both calls read and write one ifreq, which outlives them.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), call, request) }).map(drop)
}
