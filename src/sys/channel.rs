//! Frames and file descriptors between two processes: `SOCK_SEQPACKET` unix sockets.
//!
//! The kernel keeps the boundaries of frames and delivers descriptors with the frame they were sent
//! with, so there is no parser and no half frame. Paths of any length work: the directory is opened
//! and named through `/proc/self/fd`, since a socket address holds only 107 bytes.

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag,
    SockType, UnixAddr,
};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Descriptors that one frame may carry: stdin, stdout, stderr and a file.
pub const FRAME_FDS_MAX: usize = 4;

/// One end of a connection. Non-blocking: a full or empty socket answers `WouldBlock`.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags())?;
        Ok((Self(a), Self(b)))
    }

    /// Connects to the socket at `path`; `ConnectionRefused` or `NotFound` when nobody listens.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let fd = socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags(), None)?;
        with_short_path(path, |address| Ok(socket::connect(fd.as_raw_fd(), address)?))?;
        Ok(Self(fd))
    }

    /// Takes over a descriptor that is already a connected channel.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        super::fd::set_nonblocking(&fd, true)?;
        Ok(Self(fd))
    }

    /// The descriptor, given away.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends one frame, wholly or not at all.
    pub fn send(&self, frame: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &[][..] } else { &rights[..] };
        let parts = [IoSlice::new(frame)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        retry(|| socket::sendmsg::<()>(self.0.as_raw_fd(), &parts, control, flags, None))?;
        Ok(())
    }

    /// Receives one frame into `buffer` (whose length bounds it); `None` at the end.
    ///
    /// A frame longer than the buffer is an error, never a part of one.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        let mut control = nix::cmsg_space!([RawFd; FRAME_FDS_MAX]);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let raw = self.0.as_raw_fd();
        let message = socket::recvmsg::<()>(raw, &mut parts, Some(&mut control), flags)?;
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = part {
                // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame is too long"));
        }
        Ok((message.bytes > 0).then_some((message.bytes, fds)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens at `path`, replacing a socket that a dead process left there. The name appears only
    /// when connections are taken: who waits for it need not try again.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let fresh = path.with_extension("new");
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let fd = socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags(), None)?;
        with_short_path(&fresh, |address| Ok(socket::bind(fd.as_raw_fd(), address)?))?;
        socket::listen(&fd, Backlog::new(16)?)?;
        std::fs::rename(fresh, path)?;
        Ok(Self(fd))
    }

    /// The next connection; `WouldBlock` when there is none.
    pub fn accept(&self) -> io::Result<Channel> {
        let raw = retry(|| socket::accept4(self.0.as_raw_fd(), flags()))?;
        // SAFETY: accept has just made this descriptor; nobody else owns it.
        Ok(Channel(unsafe { OwnedFd::from_raw_fd(raw) }))
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Connects to a stream socket, writes `bytes` and hangs up: how libcontainer's init is told to go.
pub fn poke_stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let cloexec = SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(AddressFamily::Unix, SockType::Stream, cloexec, None)?;
    with_short_path(path, |address| Ok(socket::connect(fd.as_raw_fd(), address)?))?;
    let sent = retry(|| socket::send(fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL))?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// A stream socket at `path` on which one descriptor is expected (a console socket).
#[derive(Debug)]
pub struct FdSocket(OwnedFd);

impl FdSocket {
    /// Listens at `path`.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let cloexec = SockFlag::SOCK_CLOEXEC;
        let fd = socket::socket(AddressFamily::Unix, SockType::Stream, cloexec, None)?;
        with_short_path(path, |address| Ok(socket::bind(fd.as_raw_fd(), address)?))?;
        socket::listen(&fd, Backlog::new(1)?)?;
        Ok(Self(fd))
    }

    /// Waits for the sender and takes its descriptor.
    pub fn take(self) -> io::Result<OwnedFd> {
        let raw = retry(|| socket::accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC))?;
        // SAFETY: accept has just made this descriptor; nobody else owns it.
        let connection = Channel(unsafe { OwnedFd::from_raw_fd(raw) });
        let mut buffer = [0; 256];
        let received = connection.receive(&mut buffer)?;
        let fd = received.and_then(|(_, fds)| fds.into_iter().next());
        fd.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "no terminal was sent"))
    }
}

fn flags() -> SockFlag {
    SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

fn with_short_path<T>(path: &Path, call: impl FnOnce(&UnixAddr) -> io::Result<T>) -> io::Result<T> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = File::options().read(true).custom_flags(libc::O_PATH).open(parent)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    call(&UnixAddr::new(&short)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn carries_frames_with_their_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        a.send(b"one", &[]).unwrap();
        a.send(b"two", &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let (n, fds) = b.receive(&mut buffer).unwrap().unwrap();
        assert_eq!((&buffer[..n], fds.len()), (&b"one"[..], 0));
        let (n, mut fds) = b.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..n], b"two");
        File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        io::BufReader::new(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        drop(a);
        assert!(b.receive(&mut buffer).unwrap().is_none());
    }

    #[test]
    fn refuses_a_frame_longer_than_the_buffer() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&[7; 32], &[]).unwrap();
        assert_eq!(b.receive(&mut [0; 16]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(b.receive(&mut [0; 16]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn listens_at_paths_of_any_length() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("x.sock");
        assert!(Channel::connect(&path).is_err());
        let listener = Listener::bind(&path).unwrap();
        let client = Channel::connect(&path).unwrap();
        let server = listener.accept().unwrap();
        client.send(b"x", &[]).unwrap();
        assert_eq!(server.receive(&mut [0; 4]).unwrap().unwrap().0, 1);
        drop(listener);
        let refused = Channel::connect(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        Listener::bind(&path).unwrap();
    }
}
