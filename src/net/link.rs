//! One routed veth per pod: no bridge, no ARP, no address on the host's end.
//!
//! Contract: a pod has its /32 on `eth0` and a default route through 169.254.1.1, which exists only
//! as a permanent neighbour entry; the host has one route to the pod. Links are found again by name
//! and alias, so that nothing has to be written down. Must not know which addresses are free.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The default gateway in every pod. No interface owns it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// What a pod's link shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodLink {
    /// Identity of the pod (its uid): the host end's name and alias derive from it.
    pub pod: String,
    /// The pod's pinned network namespace.
    pub netns: PathBuf,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// MTU in bytes; see [`Uplink::mtu`].
    pub mtu: u32,
    /// Processes of the node reach the pod through a loopback address (it has a host port on
    /// 127.0.0.1 or on all addresses).
    pub loopback: bool,
}

/// A pod link that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Identity of the pod.
    pub pod: String,
    /// Name of the host's end.
    pub name: String,
    /// The pod's address, when its route is in place.
    pub address: Option<Ipv4Addr>,
}

/// The interface of the default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// Interface name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its first global address: the source of what the node sends out.
    pub address: Option<Ipv4Addr>,
}
