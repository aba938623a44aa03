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
    /// Front -> for how long its clients stay with their endpoints.
    Keeps,
    /// Fronts that have no endpoint at all.
    Refused,
    /// Pods that may meet themselves: their packets must come back through the node.
    Selves,
    /// Endpoints outside the pod network: only this node knows how to undo the translation.
    Far,
}

impl SetId {
    /// All of them.
    pub const ALL: [SetId; 9] = [
        SetId::Fronts,
        SetId::OuterFronts,
        SetId::Endpoints,
        SetId::OuterEndpoints,
        SetId::HostPorts,
        SetId::Keeps,
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
            SetId::Keeps => "keeps",
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

/// A chain that elements lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// Spreads connections over endpoints.
    Spread {
        /// Over how many.
        ways: u32,
        /// Over those of `OuterEndpoints`.
        outer: bool,
        /// Clients stay with their endpoints.
        kept: bool,
    },
    /// Remembers a client's endpoint for this many seconds.
    Keep(u32),
}

impl Chain {
    /// Name of the chain.
    pub fn name(self) -> String {
        match self {
            Chain::Keep(seconds) => format!("keep-{seconds}"),
            Chain::Spread { ways, outer, kept } => {
                let outer = if outer { "-outer" } else { "" };
                let kept = if kept { "-kept" } else { "" };
                format!("to-{ways}{outer}{kept}")
            }
        }
    }

    /// The chain of this name, if it is one of these.
    pub fn parse(name: &str) -> Option<Chain> {
        let chain = match name.split_once('-')? {
            ("keep", seconds) => Chain::Keep(seconds.parse().ok()?),
            ("to", rest) => {
                let (rest, kept) = strip(rest, "-kept");
                let (rest, outer) = strip(rest, "-outer");
                Chain::Spread { ways: rest.parse().ok()?, outer, kept }
            }
            _ => return None,
        };
        (chain.name() == name).then_some(chain)
    }
}

fn strip<'a>(text: &'a str, suffix: &str) -> (&'a str, bool) {
    text.strip_suffix(suffix).map_or((text, false), |rest| (rest, true))
}

/// What an element carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// Nothing.
    None,
    /// An endpoint.
    To(SocketAddrV4),
    /// A chain that decides.
    Chain(Chain),
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
            Value::Chain(chain) => nft::Value::Verdict(match chain {
                Chain::Spread { .. } => nft::Verdict::Goto(chain.name()),
                Chain::Keep(_) => nft::Verdict::Jump(chain.name()),
            }),
            Value::Drop => nft::Value::Verdict(nft::Verdict::Drop),
        }
    }

    /// From a dump.
    pub fn decode(value: &nft::Value) -> Value {
        match value {
            nft::Value::None => Value::None,
            nft::Value::Data(bytes) => endpoint(bytes).map_or(Value::Unknown, Value::To),
            nft::Value::Verdict(nft::Verdict::Drop) => Value::Drop,
            nft::Value::Verdict(nft::Verdict::Goto(name) | nft::Verdict::Jump(name)) => {
                let known = Chain::parse(name).map_or(Value::Unknown, Value::Chain);
                // A goto in the place of a jump is as wrong as an unknown name.
                if known.encode() == *value { known } else { Value::Unknown }
            }
            nft::Value::Verdict(nft::Verdict::Accept) => Value::Unknown,
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
        for (chain, name) in [
            (Chain::Spread { ways: 1, outer: false, kept: false }, "to-1"),
            (Chain::Spread { ways: 12, outer: true, kept: false }, "to-12-outer"),
            (Chain::Spread { ways: 3, outer: false, kept: true }, "to-3-kept"),
            (Chain::Spread { ways: 3, outer: true, kept: true }, "to-3-outer-kept"),
            (Chain::Keep(10800), "keep-10800"),
        ] {
            assert_eq!(chain.name(), name);
            assert_eq!(Chain::parse(name), Some(chain));
        }
        for other in ["to-", "to-x", "to-1-", "to-01", "to-1-kept-outer", "keep-", "reject"] {
            assert_eq!(Chain::parse(other), None, "{other}");
        }
    }

    #[test]
    fn values_survive_the_kernel() {
        let to = Value::To("10.42.0.5:8080".parse().unwrap());
        let spread = Value::Chain(Chain::Spread { ways: 2, outer: true, kept: false });
        let keep = Value::Chain(Chain::Keep(5));
        for value in [Value::None, to, spread, keep, Value::Drop] {
            assert_eq!(Value::decode(&value.encode()), value);
        }
        let wrong = nft::Value::Verdict(nft::Verdict::Jump("to-2".into()));
        assert_eq!(Value::decode(&wrong), Value::Unknown);
        let key = Key::indexed(Front::new(Ipv4Addr::new(10, 43, 0, 1), Protocol::Udp, 53), 7);
        assert_eq!(Front::of(&key).port, 53);
        assert_eq!(Key::from_bytes(&key.0[..12]), Some(Key::front(Front::of(&key))));
        assert_eq!(Key::from_bytes(&[0; 17]), None);
    }
}
