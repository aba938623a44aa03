//! The kernel's table of flows: what is in it, and how to make it forget one.
//!
//! Contract: in the namespace of the socket, one family at a time.

use super::netlink::{self, ACK, Attrs, DUMP, Family, Messages, Socket};
use nix::errno::Errno;
use std::net::{IpAddr, SocketAddr};

const SUBSYS: u16 = 1 << 8;
const GET: u16 = SUBSYS | 1;
const DELETE: u16 = SUBSYS | 2;
const HEADER_BYTES: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;
const FILTER_REPLY_FLAGS: u16 = 2;
const FILTER_PROTOCOL: u32 = 1 << 3;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const IP_SOURCE: [u16; 2] = [1, 3];
const IP_DESTINATION: [u16; 2] = [2, 4];
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// A flow of a protocol with ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where the first packet was sent to.
    pub destination: SocketAddr,
    /// Where answers come from: the destination, or what it was translated to.
    pub answered_from: SocketAddr,
    /// The destination was translated.
    pub translated: bool,
    /// Its family.
    family: u8,
    /// What names it to the kernel: its first tuple and its id, as they came.
    name: (Vec<u8>, Vec<u8>),
}

/// A socket for the calls below.
pub fn socket() -> netlink::Result<Socket> {
    Socket::open(Family::Netfilter)
}

/// Hands every flow of a family and protocol to `each`. The kernel walks its whole table for it.
pub fn flows(
    s: &mut Socket,
    family: u8,
    protocol: u8,
    mut each: impl FnMut(Flow),
) -> netlink::Result<()> {
    let mut m = Messages::default();
    m.open(GET, DUMP, &header(family));
    // Kernels before 5.8 do not know the filter and hand out everything.
    m.nest(FILTER, |m| {
        m.ne32(FILTER_ORIGINAL_FLAGS, FILTER_PROTOCOL).ne32(FILTER_REPLY_FLAGS, 0);
    });
    m.nest(TUPLE_ORIGINAL, |m| {
        m.nest(TUPLE_PROTOCOL, |m| {
            m.attr(PROTOCOL_NUMBER, &[protocol]);
        });
    });
    s.dump(m, |_, payload| {
        if let Some(flow) =
            payload.get(HEADER_BYTES..).and_then(|p| read(Attrs(p), family, protocol))
        {
            each(flow);
        }
    })
}

/// Makes the kernel forget a flow: its next packet starts a new one. No error where it has ended
/// meanwhile.
pub fn delete(s: &mut Socket, flow: &Flow) -> netlink::Result<()> {
    const NESTED: u16 = 0x8000;
    let mut m = Messages::default();
    m.open(DELETE, ACK, &header(flow.family));
    m.attr(TUPLE_ORIGINAL | NESTED, &flow.name.0).attr(ID, &flow.name.1);
    match s.transact(m) {
        Err(e) if e.errno == Errno::ENOENT => Ok(()),
        other => other,
    }
}

fn header(family: u8) -> [u8; HEADER_BYTES] {
    [family, 0, 0, 0]
}

fn read(attrs: Attrs<'_>, family: u8, protocol: u8) -> Option<Flow> {
    let original = attrs.nested(TUPLE_ORIGINAL);
    if original.nested(TUPLE_PROTOCOL).get(PROTOCOL_NUMBER)? != [protocol] {
        return None;
    }
    let name = (attrs.get(TUPLE_ORIGINAL)?.to_vec(), attrs.get(ID)?.to_vec());
    Some(Flow {
        destination: end(original, IP_DESTINATION, DESTINATION_PORT)?,
        answered_from: end(attrs.nested(TUPLE_REPLY), IP_SOURCE, SOURCE_PORT)?,
        translated: attrs.be32(STATUS)? & super::nft::IPS_DST_NAT != 0,
        family,
        name,
    })
}

fn end(tuple: Attrs<'_>, ip: [u16; 2], port: u16) -> Option<SocketAddr> {
    let [four, six] = ip.map(|kind| tuple.nested(TUPLE_IP).get(kind));
    let ip = match (four, six) {
        (Some(four), _) => IpAddr::from(<[u8; 4]>::try_from(four).ok()?),
        (None, six) => IpAddr::from(<[u8; 16]>::try_from(six?).ok()?),
    };
    let port: [u8; 2] = tuple.nested(TUPLE_PROTOCOL).get(port)?.try_into().ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}
