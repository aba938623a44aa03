//! Packets between pods, services and the world: makes the kernel match plain structs.
//!
//! Contract: every part takes desired state as plain structs and makes the kernel match it; the
//! kernel is the only memory, so that a restarted process reads what is there and converges by
//! difference, without touching flows that exist. Must not know Kubernetes kinds, the API or disk.
//!
//! Functions without `async` act on the network namespace of the calling thread and may block for
//! some milliseconds; their `async` counterparts run them on the blocking pool.
//!
//! IPv4 is what works. Desired state carries [`std::net::IpAddr`] so that callers need no change
//! for IPv6: everything below programs family `ip` and leaves IPv6 entries out.

/// Authoritative DNS for the cluster domain, and forwarding of the rest.
pub mod dns;
/// Addresses of this node's pods.
pub mod ipam;
/// One routed veth per pod.
pub mod link;
/// Services, host ports and masquerading as one nftables table.
pub mod service;

/// A transport protocol that services and host ports know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The label in SRV names, without its underscore.
    pub const fn label(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}
