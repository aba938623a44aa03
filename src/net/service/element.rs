//! Elements of the table's sets: what there is to diff, in the bytes that the kernel matches.

use crate::net::Protocol;
use crate::sys::nft;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The sets whose elements follow from the desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetId {
    /// Front -> where to: for pods and processes of this node, and for those from elsewhere
    /// where the next set says nothing.
    Fronts,
    /// The same for packets from elsewhere, where only local endpoints may answer.
    OuterFronts,
    /// Front and index -> endpoint.
    Endpoints,
    /// The same for `OuterFronts`.
    OuterEndpoints,
    /// Front -> the one pod behind it.
    HostPorts,
    /// Fronts that have no endpoint at all.
    Refused,
    /// Pods that may meet themselves: their packets must come back through the node.
    Selves,
    /// Endpoints outside the pod network: only this node knows how to undo the translation.
    Far,
}

impl SetId {
    /// All of them.
    pub const ALL: [SetId; 8] = [
        SetId::Fronts,
        SetId::OuterFronts,
        SetId::Endpoints,
        SetId::OuterEndpoints,
        SetId::HostPorts,
        SetId::Refused,
        SetId::Selves,
        SetId::Far,
    ];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            SetId::Fronts => "fronts",
            SetId::OuterFronts => "fronts-outer",
            SetId::Endpoints => "endpoints",
            SetId::OuterEndpoints => "endpoints-outer",
            SetId::HostPorts => "host-ports",
            SetId::Refused => "refused",
            SetId::Selves => "selves",
            SetId::Far => "far",
        }
    }

    /// Bytes of its keys.
    pub const fn key_len(self) -> usize {
        match self {
            SetId::Endpoints | SetId::OuterEndpoints => 16,
            SetId::Selves => 8,
            _ => 12,
        }
    }
}

/// An address, protocol and port that clients connect to, or that endpoints have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Front {
    /// The address.
    pub address: Ipv4Addr,
    /// The protocol's number.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

impl Front {
    /// An address and port of a protocol.
    pub fn new(address: Ipv4Addr, protocol: Protocol, port: u16) -> Front {
        Front { address, protocol: protocol.number(), port }
    }

    /// The front that a key names or begins with.
    pub fn of(key: &Key) -> Front {
        let [a, b, c, d, protocol, _, _, _, high, low, ..] = key.0;
        let (address, port) = (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
        Front { address, protocol, port }
    }
}

/// A key, each part padded to four bytes; unused bytes are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// A front.
    pub fn front(front: Front) -> Key {
        Key::indexed(front, 0)
    }

    /// A front and the index of an endpoint, which the kernel draws in the machine's order.
    pub fn indexed(front: Front, index: u32) -> Key {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&front.address.octets());
        key[4] = front.protocol;
        key[8..10].copy_from_slice(&front.port.to_be_bytes());
        key[12..].copy_from_slice(&index.to_ne_bytes());
        Key(key)
    }

    /// A pod as both source and destination.
    pub fn itself(address: Ipv4Addr) -> Key {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&address.octets());
        key[4..8].copy_from_slice(&address.octets());
        Key(key)
    }

    /// The key in the bytes of a dump.
    pub fn from_bytes(bytes: &[u8]) -> Option<Key> {
        let mut key = [0; 16];
        key.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Key(key))
    }
}

/// A chain that spreads connections over endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spread {
    /// Over how many.
    pub ways: u32,
    /// Over those of `OuterEndpoints`.
    pub outer: bool,
    /// For how many seconds a client stays with its endpoint; 0: not at all.
    pub keep_s: u32,
}

impl Spread {
    /// Name of the chain.
    pub fn name(self) -> String {
        let outer = if self.outer { "-outer" } else { "" };
        match self.keep_s {
            0 => format!("to-{}{outer}", self.ways),
            s => format!("to-{}{outer}-keep-{s}", self.ways),
        }
    }

    /// The chain of this name, if it is one of these.
    pub fn parse(name: &str) -> Option<Spread> {
        let mut words = name.strip_prefix("to-")?.split('-').peekable();
        let ways = words.next()?.parse().ok()?;
        let outer = words.next_if_eq(&"outer").is_some();
        let keep_s = match words.next() {
            None => 0,
            Some("keep") => words.next()?.parse().ok()?,
            Some(_) => return None,
        };
        let spread = Spread { ways, outer, keep_s };
        (spread.name() == name).then_some(spread)
    }
}

/// What an element carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing.
    None,
    /// An endpoint.
    To(SocketAddrV4),
    /// The chain that chooses the endpoint.
    Spread(Spread),
    /// Drop the packet.
    Drop,
    /// Something that this version does not write.
    Unknown,
}

impl Value {
    /// As the encoder wants it.
    pub fn encode(self) -> nft::Value {
        match self {
            Value::None | Value::Unknown => nft::Value::None,
            Value::To(to) => nft::Value::Data(endpoint_bytes(to).to_vec()),
            Value::Spread(spread) => nft::Value::Verdict(nft::Verdict::Goto(spread.name())),
            Value::Drop => nft::Value::Verdict(nft::Verdict::Drop),
        }
    }

    /// From a dump.
    pub fn decode(value: &nft::Value) -> Value {
        match value {
            nft::Value::None => Value::None,
            nft::Value::Data(bytes) => endpoint(bytes).map_or(Value::Unknown, Value::To),
            nft::Value::Verdict(nft::Verdict::Drop) => Value::Drop,
            nft::Value::Verdict(nft::Verdict::Goto(chain)) => {
                Spread::parse(chain).map_or(Value::Unknown, Value::Spread)
            }
            nft::Value::Verdict(_) => Value::Unknown,
        }
    }
}

/// An endpoint as two padded parts.
fn endpoint_bytes(to: SocketAddrV4) -> [u8; 8] {
    let ([a, b, c, d], [high, low]) = (to.ip().octets(), to.port().to_be_bytes());
    [a, b, c, d, high, low, 0, 0]
}

/// The endpoint in two padded parts.
pub fn endpoint(bytes: &[u8]) -> Option<SocketAddrV4> {
    let [a, b, c, d, high, low, _, _] = bytes.try_into().ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])))
}

/// An element's place.
pub type Place = (SetId, Key);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_known_by_their_names() {
        for (ways, outer, keep_s, name) in [
            (1, false, 0, "to-1"),
            (12, true, 0, "to-12-outer"),
            (3, false, 10800, "to-3-keep-10800"),
            (3, true, 5, "to-3-outer-keep-5"),
        ] {
            let spread = Spread { ways, outer, keep_s };
            assert_eq!(spread.name(), name);
            assert_eq!(Spread::parse(name), Some(spread));
        }
        for other in ["to-", "to-x", "to-1-", "to-1-keep", "to-01", "to-1-keep-0", "reject"] {
            assert_eq!(Spread::parse(other), None, "{other}");
        }
    }

    #[test]
    fn values_survive_the_kernel() {
        let to = "10.42.0.5:8080".parse().unwrap();
        let spread = Spread { ways: 2, outer: true, keep_s: 0 };
        for value in [Value::None, Value::To(to), Value::Spread(spread), Value::Drop] {
            assert_eq!(Value::decode(&value.encode()), value);
        }
        let key = Key::indexed(Front::new(Ipv4Addr::new(10, 43, 0, 1), Protocol::Udp, 53), 7);
        assert_eq!(Front::of(&key).port, 53);
        assert_eq!(Key::from_bytes(&key.0[..12]), Some(Key::front(Front::of(&key))));
        assert_eq!(Key::from_bytes(&[0; 17]), None);
    }
}
