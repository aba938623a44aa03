//! Elements of the table's sets: what there is to diff, in the bytes that the kernel matches.

use super::family::Address;
use crate::net::Protocol;
use crate::sys::nft;
use std::net::SocketAddr;

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

    /// Bytes of its keys, of addresses of this many bytes.
    pub const fn key_len(self, address: usize) -> usize {
        match self {
            SetId::Endpoints | SetId::OuterEndpoints => address + 12,
            SetId::Selves => 2 * address,
            _ => address + 8,
        }
    }
}

/// An address, protocol and port that clients connect to, or that endpoints have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Front<A> {
    /// The address.
    pub address: A,
    /// The protocol's number.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

impl<A: Address> Front<A> {
    /// An address and port of a protocol.
    pub fn new(address: A, protocol: Protocol, port: u16) -> Self {
        Self { address, protocol: protocol.number(), port }
    }

    /// The front that the bytes of a key begin with.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (address, rest) = (A::read(bytes)?, bytes.get(A::LEN..)?);
        let [protocol, _, _, _, high, low, ..] = *rest else { return None };
        Some(Self { address, protocol, port: u16::from_be_bytes([high, low]) })
    }

    /// The front that a key names or begins with.
    pub fn of(key: &Key<A>) -> Self {
        let read = Self::read(key.0.as_ref());
        // Keys are longer than a front.
        read.unwrap_or(Self { address: A::LOCALHOST, protocol: 0, port: 0 })
    }
}

/// A key, each part padded to four bytes; unused bytes are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<A: Address>(pub A::Bytes);

impl<A: Address> Key<A> {
    /// A front.
    pub fn front(front: Front<A>) -> Self {
        Self::indexed(front, 0)
    }

    /// A front and the index of an endpoint, which the kernel draws in the machine's order.
    pub fn indexed(front: Front<A>, index: u32) -> Self {
        let mut key = A::Bytes::default();
        front.address.write(key.as_mut());
        let rest = &mut key.as_mut()[A::LEN..];
        rest[0] = front.protocol;
        rest[4..6].copy_from_slice(&front.port.to_be_bytes());
        rest[8..12].copy_from_slice(&index.to_ne_bytes());
        Self(key)
    }

    /// A pod as both source and destination.
    pub fn itself(address: A) -> Self {
        let mut key = A::Bytes::default();
        address.write(key.as_mut());
        address.write(&mut key.as_mut()[A::LEN..]);
        Self(key)
    }

    /// The key in the bytes of a dump.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = A::Bytes::default();
        key.as_mut().get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self(key))
    }

    /// The bytes that count in a set.
    pub fn bytes(&self, set: SetId) -> &[u8] {
        &self.0.as_ref()[..set.key_len(A::LEN)]
    }
}

/// An address and port after translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target<A> {
    /// The address.
    pub ip: A,
    /// The port.
    pub port: u16,
}

impl<A: Address> Target<A> {
    /// The target, if it is of this family.
    pub fn of(address: SocketAddr) -> Option<Self> {
        Some(Self { ip: A::of(address.ip())?, port: address.port() })
    }

    /// The target in two padded parts.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [high, low, _, _] = *bytes.get(A::LEN..)? else { return None };
        Some(Self { ip: A::read(bytes)?, port: u16::from_be_bytes([high, low]) })
    }

    /// As two padded parts.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; A::LEN + 4];
        self.ip.write(&mut bytes);
        bytes[A::LEN..A::LEN + 2].copy_from_slice(&self.port.to_be_bytes());
        bytes
    }
}

impl<A: Address> From<Target<A>> for SocketAddr {
    fn from(target: Target<A>) -> Self {
        SocketAddr::new(target.ip.into(), target.port)
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
pub enum Value<A> {
    /// Nothing.
    None,
    /// An endpoint.
    To(Target<A>),
    /// A chain that decides.
    Chain(Chain),
    /// Drop the packet.
    Drop,
    /// Something that this version does not write.
    Unknown,
}

impl<A: Address> Value<A> {
    /// As the encoder wants it.
    pub fn encode(self) -> nft::Value {
        match self {
            Value::None | Value::Unknown => nft::Value::None,
            Value::To(to) => nft::Value::Data(to.bytes()),
            Value::Chain(chain) => nft::Value::Verdict(match chain {
                Chain::Spread { .. } => nft::Verdict::Goto(chain.name()),
                Chain::Keep(_) => nft::Verdict::Jump(chain.name()),
            }),
            Value::Drop => nft::Value::Verdict(nft::Verdict::Drop),
        }
    }

    /// From a dump.
    pub fn decode(value: &nft::Value) -> Self {
        match value {
            nft::Value::None => Value::None,
            nft::Value::Data(bytes) => Target::read(bytes).map_or(Value::Unknown, Value::To),
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

/// An element's place.
pub type Place<A> = (SetId, Key<A>);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

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

    fn survives<A: Address>(address: &str) {
        let address = A::of(address.parse().unwrap()).unwrap();
        let to = Value::<A>::To(Target { ip: address, port: 8080 });
        let spread = Value::Chain(Chain::Spread { ways: 2, outer: true, kept: false });
        let keep = Value::Chain(Chain::Keep(5));
        for value in [Value::None, to, spread, keep, Value::Drop] {
            assert_eq!(Value::decode(&value.encode()), value);
        }
        let wrong = nft::Value::Verdict(nft::Verdict::Jump("to-2".into()));
        assert_eq!(Value::<A>::decode(&wrong), Value::Unknown);
        let front = Front::new(address, Protocol::Udp, 53);
        let key = Key::indexed(front, 7);
        assert_eq!(Front::of(&key), front);
        assert_eq!(Key::from_bytes(key.bytes(SetId::Fronts)), Some(Key::front(front)));
        assert_eq!(Key::from_bytes(key.bytes(SetId::Endpoints)), Some(key));
        assert_eq!(Key::<A>::from_bytes(&[0; 33]), None);
        let own = Key::itself(address);
        assert_eq!(own.bytes(SetId::Selves)[..A::LEN], own.bytes(SetId::Selves)[A::LEN..]);
    }

    #[test]
    fn values_survive_the_kernel() {
        survives::<Ipv4Addr>("10.43.0.1");
        survives::<Ipv6Addr>("fd00::1");
        let front = Front::new(Ipv4Addr::new(10, 43, 0, 1), Protocol::Udp, 53);
        assert_eq!(Key::indexed(front, 7).bytes(SetId::Endpoints).len(), 16);
        assert_eq!(size_of::<Place<Ipv4Addr>>(), 17, "a table of IPv4 stays as small as it is");
    }
}
