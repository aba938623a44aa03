//! Netlink: messages as nested attributes, and a socket that sends them and reads what comes back.
//!
//! Contract: the kernel handles a request inside `send`, so that every call here is short and may
//! be made from any thread; a socket belongs to the network namespace of the thread that opens it.
//! Knows no family: what the numbers mean is said in `rtnl`, `nft` and `conntrack`.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sockopt};
use nix::sys::time::TimeVal;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use tokio::io::unix::AsyncFd;

const HEADER_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLM_F_CAPPED: u16 = 0x100;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// It is a request. Every message that is sent carries it.
pub const REQUEST: u16 = 1;
/// The kernel shall answer even when all went well.
pub const ACK: u16 = 4;
/// All objects rather than one.
pub const DUMP: u16 = 0x300;
/// Replace what exists.
pub const REPLACE: u16 = 0x100;
/// Fail where it exists.
pub const EXCL: u16 = 0x200;
/// Make it where it does not exist.
pub const CREATE: u16 = 0x400;
/// At the end of a list.
pub const APPEND: u16 = 0x800;

/// Why a request failed.
#[derive(Debug)]
pub struct Error {
    /// What the kernel said, or what the socket met.
    pub errno: Errno,
    /// Which message of the batch it was, counted from 0.
    pub index: Option<u32>,
    /// The kernel's own words, where it had some.
    pub message: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno.desc())?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        match self.index {
            Some(index) => write!(f, " (message {index})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error { errno, index: None, message: None }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(io::Error::from(error.errno).kind(), error)
    }
}

/// What came of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// One or more messages under construction.
#[derive(Debug, Default)]
pub struct Messages {
    buf: Vec<u8>,
    /// Where the message under construction starts.
    start: usize,
    count: u32,
    /// The last message that asks for an answer.
    acked: u32,
    /// An attribute grew past what its 16-bit length can say.
    oversize: bool,
}

impl Messages {
    /// Starts the next message: its type, its flags and the header of its family.
    pub fn open(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.close();
        self.start = self.buf.len();
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.buf.extend_from_slice(&self.count.to_ne_bytes());
        self.buf.extend_from_slice(&0u32.to_ne_bytes());
        self.buf.extend_from_slice(header);
        self.pad();
        self.count += 1;
        self.flag(flags);
        self
    }

    /// Appends an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let at = self.begin(kind);
        self.buf.extend_from_slice(value);
        self.end(at);
        self
    }

    /// Appends a string with its closing zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let at = self.begin(kind);
        self.buf.extend_from_slice(value.as_bytes());
        self.buf.push(0);
        self.end(at);
        self
    }

    /// Appends a number in network order, as netfilter wants it.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_be_bytes())
    }

    /// Appends a number in the machine's order, as routing wants it.
    pub fn ne32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Appends an attribute made of attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.begin(kind | NLA_F_NESTED);
        fill(self);
        self.end(at);
        self
    }

    /// Appends bytes that stand before the attributes of a nest.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.buf.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Starts an attribute whose end is not known yet; [`Messages::end`] closes it.
    pub fn begin(&mut self, kind: u16) -> usize {
        let at = self.buf.len();
        self.buf.extend_from_slice(&0u16.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        at
    }

    /// Closes the attribute that [`Messages::begin`] started.
    pub fn end(&mut self, at: usize) {
        let len = self.buf.len() - at;
        match u16::try_from(len) {
            Ok(len) => self.buf[at..at + 2].copy_from_slice(&len.to_ne_bytes()),
            Err(_) => self.oversize = true,
        }
        self.pad();
    }

    /// Starts a nest; [`Messages::end`] closes it.
    pub fn begin_nest(&mut self, kind: u16) -> usize {
        self.begin(kind | NLA_F_NESTED)
    }

    /// Messages so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Adds flags to the message under construction.
    pub fn flag(&mut self, flags: u16) {
        if let Some(byte) = self.buf.get_mut(self.start + 6..self.start + 8) {
            let old = u16::from_ne_bytes([byte[0], byte[1]]);
            byte.copy_from_slice(&(old | flags).to_ne_bytes());
        }
        if flags & ACK != 0 {
            self.acked = self.count - 1;
        }
    }

    fn close(&mut self) {
        let len = (self.buf.len() - self.start) as u32;
        if let Some(at) = self.buf.get_mut(self.start..self.start + 4) {
            at.copy_from_slice(&len.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        let over = self.buf.len() % 4;
        if over > 0 {
            self.buf.resize(self.buf.len() + 4 - over, 0);
        }
    }

    /// The finished bytes, with sequence numbers counted from `first`.
    fn finish(mut self, first: u32) -> Result<(Vec<u8>, u32)> {
        self.close();
        if self.oversize || self.buf.is_empty() {
            return Err(Errno::EINVAL.into());
        }
        let mut at = 0;
        while let Some(len) = u32_at(&self.buf, at) {
            let index = u32_at(&self.buf, at + 8).unwrap_or(0);
            let seq = first.wrapping_add(index);
            self.buf[at + 8..at + 12].copy_from_slice(&seq.to_ne_bytes());
            at += len as usize;
        }
        Ok((self.buf, self.count))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The attributes in a piece of a message. A malformed rest ends the list.
#[derive(Debug, Clone, Copy)]
pub struct Attrs<'a>(pub &'a [u8]);

impl<'a> Attrs<'a> {
    /// The value of the first attribute of this type.
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|(k, _)| *k == kind).map(|(_, value)| value)
    }

    /// The attributes inside an attribute; none where it is missing.
    pub fn nested(self, kind: u16) -> Attrs<'a> {
        Attrs(self.get(kind).unwrap_or_default())
    }

    /// A string without its closing zero.
    pub fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }

    /// A number in network order.
    pub fn be32(self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(kind)?.try_into().ok()?))
    }

    /// A number in the machine's order.
    pub fn ne32(self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.get(kind)?.try_into().ok()?))
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = u16_at(self.0, 0)? as usize;
        let kind = u16_at(self.0, 2)? & NLA_TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The two families that rk speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes, neighbours.
    Route,
    /// nf_tables and conntrack.
    Netfilter,
}

/// A socket to the kernel.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    seq: u32,
}

/// How long the kernel may owe an answer, in seconds. It answers inside `send`; this only turns a
/// lost answer into an error.
const ANSWER_S: i64 = 10;
/// A whole transaction must go in one send: ten thousand services take 1.4 MB.
const SEND_BYTES_MAX: usize = 128 << 20;
/// Answers to a batch pile up until it is done.
const RECEIVE_BYTES_MAX: usize = 8 << 20;
/// The kernel packs dumps into at most 32 KiB.
const CHUNK_BYTES: usize = 64 << 10;

impl Socket {
    /// A socket in the network namespace of the calling thread.
    pub fn open(family: Family) -> Result<Socket> {
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Without the capability the defaults hold, which suffice for small requests.
        let _ = socket::setsockopt(&fd, sockopt::SndBufForce, &SEND_BYTES_MAX);
        let _ = socket::setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BYTES_MAX);
        socket::setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_S, 0))?;
        // A port of its own: what has none is left out when groups are told.
        socket::bind(fd.as_raw_fd(), &socket::NetlinkAddr::new(0, 0))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            set_option(&fd, option, 1)?;
        }
        Ok(Socket { fd, seq: 1 })
    }

    /// Sends messages, of which one asks for an answer, and waits for that answer or for the first
    /// error of any.
    pub fn transact(&mut self, messages: Messages) -> Result<()> {
        let acked = messages.acked;
        let first = self.send(messages)?;
        let last = first.wrapping_add(acked);
        let mut outcome = None;
        while outcome.is_none() {
            self.receive(MsgFlags::empty(), |message| {
                if outcome.is_none() && message.kind == NLMSG_ERROR {
                    outcome = message.outcome(first, last);
                }
            })?;
        }
        // What else was answered must not meet the next request.
        while self.receive(MsgFlags::MSG_DONTWAIT, |_| ()).is_ok() {}
        outcome.unwrap_or(Ok(()))
    }

    /// Sends one dump request and hands every object's type and payload to `each`.
    pub fn dump(&mut self, messages: Messages, mut each: impl FnMut(u16, &[u8])) -> Result<()> {
        let first = self.send(messages)?;
        let mut outcome = None;
        while outcome.is_none() {
            self.receive(MsgFlags::empty(), |message| match message.kind {
                _ if message.seq != first || outcome.is_some() => (),
                NLMSG_ERROR => outcome = message.outcome(first, first),
                NLMSG_DONE => outcome = Some(message.done()),
                kind => each(kind, message.payload),
            })?;
        }
        outcome.unwrap_or(Ok(()))
    }

    /// Sends one request for one object and returns its payload.
    pub fn get(&mut self, messages: Messages) -> Result<Vec<u8>> {
        let first = self.send(messages)?;
        let mut found = None;
        while found.is_none() {
            self.receive(MsgFlags::empty(), |message| match message.kind {
                _ if message.seq != first => (),
                NLMSG_ERROR => {
                    let outcome = message.outcome(first, first);
                    found = found.take().or(outcome.map(|o| o.map(|()| Vec::new())));
                }
                _ => found = Some(Ok(message.payload.to_vec())),
            })?;
        }
        found.unwrap_or(Ok(Vec::new()))
    }

    /// Joins a multicast group; [`Socket::wait`] then waits for its news.
    pub fn subscribe(&mut self, group: u32) -> Result<()> {
        set_option(&self.fd, libc::NETLINK_ADD_MEMBERSHIP, group as libc::c_int)
    }

    /// Waits for news of the groups joined, whatever they are. `EAGAIN` where there were none for
    /// ten seconds.
    pub fn wait(&mut self) -> Result<()> {
        match self.receive(MsgFlags::empty(), |_| ()) {
            Err(e) if e.errno == Errno::ENOBUFS => Ok(()),
            other => other,
        }
    }

    fn send(&mut self, messages: Messages) -> Result<u32> {
        let first = self.seq;
        let (bytes, count) = messages.finish(first)?;
        self.seq = self.seq.wrapping_add(count);
        let sent = socket::send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
        if sent != bytes.len() {
            return Err(Errno::EMSGSIZE.into());
        }
        Ok(first)
    }

    fn receive(&self, flags: MsgFlags, mut each: impl FnMut(Message<'_>)) -> Result<()> {
        let mut buf = vec![0; CHUNK_BYTES];
        let len = loop {
            match socket::recv(self.fd.as_raw_fd(), &mut buf, flags) {
                Err(Errno::EINTR) => continue,
                other => break other?,
            }
        };
        for message in Parts(&buf[..len]) {
            each(message);
        }
        Ok(())
    }
}

/// What the kernel tells those who listen to a group.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<Socket>,
}

impl Listener {
    /// Joins a multicast group in the namespace of the calling thread. Only messages of the type
    /// `only` wake the listener. To be called inside the runtime.
    pub fn join(family: Family, group: u32, only: u16) -> Result<Listener> {
        let socket = Socket::open(family)?;
        filter_type(&socket.fd, only)?;
        set_option(&socket.fd, libc::NETLINK_ADD_MEMBERSHIP, group as libc::c_int)?;
        let flags = OFlag::O_NONBLOCK | OFlag::O_RDWR;
        fcntl(&socket.fd, FcntlArg::F_SETFL(flags))?;
        // SAFETY: the descriptor belongs to the socket, which the AsyncFd owns and nobody can
        // exchange inside it.
        let registered = unsafe { AsyncFd::register(socket) };
        let socket = registered.map_err(|e| Error::from(errno(&e.into_parts().1)))?;
        Ok(Listener { socket })
    }

    /// Waits, and hands what has come to `each`: who caused it (a socket's port), and the payload.
    /// `ENOBUFS` where something was lost.
    pub async fn read(&mut self, mut each: impl FnMut(u32, &[u8])) -> Result<()> {
        loop {
            let mut ready = self.socket.readable().await.map_err(|e| Error::from(errno(&e)))?;
            let flags = MsgFlags::MSG_DONTWAIT;
            match ready.get_inner().receive(flags, |m| each(m.port, m.payload)) {
                Err(e) if e.errno == Errno::EAGAIN => ready.clear_ready(),
                other => return other,
            }
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl Socket {
    /// The port by which listeners see who caused a change.
    pub fn port(&self) -> Result<u32> {
        let address: socket::NetlinkAddr = socket::getsockname(self.fd.as_raw_fd())?;
        Ok(address.pid())
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    seq: u32,
    port: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// The outcome that an error message tells of a request with these sequence numbers: an error
    /// of any of them, or the success of the last.
    fn outcome(&self, first: u32, last: u32) -> Option<Result<()>> {
        let index = self.seq.wrapping_sub(first);
        if index > last.wrapping_sub(first) {
            return None;
        }
        match u32_at(self.payload, 0)? as i32 {
            0 if self.seq == last => Some(Ok(())),
            0 => None,
            errno => Some(Err(Error {
                errno: Errno::from_raw(-errno),
                index: Some(index),
                message: self.words(),
            })),
        }
    }

    /// The kernel's words behind an error: after the header of the request it refers to.
    fn words(&self) -> Option<String> {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return None;
        }
        let echoed = if self.flags & NLM_F_CAPPED != 0 {
            HEADER_LEN
        } else {
            (u32_at(self.payload, 4)? as usize).next_multiple_of(4)
        };
        let attrs = Attrs(self.payload.get(4 + echoed..)?);
        attrs.text(NLMSGERR_ATTR_MSG).map(str::to_owned)
    }

    /// The outcome at the end of a dump.
    fn done(&self) -> Result<()> {
        match u32_at(self.payload, 0).unwrap_or(0) as i32 {
            code if code < 0 => Err(Errno::from_raw(-code).into()),
            _ => Ok(()),
        }
    }
}

struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = u32_at(self.0, 0)? as usize;
        let message = Message {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            seq: u32_at(self.0, 8)?,
            port: u32_at(self.0, 12)?,
            payload: self.0.get(HEADER_LEN..len)?,
        };
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

fn set_option(fd: &OwnedFd, option: libc::c_int, value: libc::c_int) -> Result<()> {
    // SAFETY: the pointer and the length are those of a live integer.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    Errno::result(rc).map(drop).map_err(Error::from)
}

/// Lets only messages of one type through to a socket, so that others cost no wake-up.
fn filter_type(fd: &OwnedFd, kind: u16) -> Result<()> {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    // Loads are in network order, the header is in the machine's.
    let wanted = u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 4),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, wanted),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives until the call returns.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    Errno::result(rc).map(drop).map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_lengths_padding_and_sequence() {
        let mut m = Messages::default();
        m.open(7, ACK, &[2]).text(1, "ab").nest(2, |m| {
            m.be32(1, 5);
        });
        m.open(8, 0, &[]).attr(3, &[9]);
        let (bytes, count) = m.finish(40).unwrap();
        assert_eq!(count, 2);
        assert_eq!(u32_at(&bytes, 0), Some(16 + 4 + 8 + 12));
        assert_eq!(u16_at(&bytes, 6), Some(ACK | REQUEST));
        assert_eq!(u32_at(&bytes, 8), Some(40));
        assert_eq!(u32_at(&bytes, 40 + 8), Some(41));
        let attrs = Attrs(&bytes[20..40]);
        assert_eq!(attrs.text(1), Some("ab"));
        assert_eq!(attrs.nested(2).be32(1), Some(5));
        assert_eq!(attrs.get(3), None);
    }

    #[test]
    fn an_oversized_attribute_is_an_error_not_a_lie() {
        let mut m = Messages::default();
        m.open(1, 0, &[]).attr(1, &vec![0; 70_000]);
        assert_eq!(m.finish(1).unwrap_err().errno, Errno::EINVAL);
    }

    #[test]
    fn malformed_attributes_end_the_list() {
        for bytes in [&[1u8, 0, 1, 0][..], &[200, 0, 1, 0, 1], &[0, 0, 0, 0], &[8]] {
            assert_eq!(Attrs(bytes).next(), None);
        }
    }

    #[test]
    fn the_kernel_answers_with_errors_and_dumps() {
        let mut socket = Socket::open(Family::Route).unwrap();
        // RTM_GETLINK for an index that cannot exist, then a dump, on one socket.
        let mut header = [0u8; 16];
        header[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let mut m = Messages::default();
        m.open(18, 0, &header);
        assert_eq!(socket.get(m).unwrap_err().errno, Errno::ENODEV);
        let mut m = Messages::default();
        m.open(18, DUMP, &[0; 16]);
        let mut links = 0;
        socket.dump(m, |_, _| links += 1).unwrap();
        assert!(links >= 1);
    }
}
