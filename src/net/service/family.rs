//! What is different between IPv4 and IPv6 in the table: everything else is written once, for an
//! [`Address`].

use super::desired::Config;
use crate::sys::nft::{self, Answer, Conntrack, Kind};
use ipnet::IpNet;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of the one family or the other.
pub trait Address:
    Copy + Ord + Hash + Debug + Display + Into<IpAddr> + Send + Sync + 'static
{
    /// The bytes of the longest key, so that a table of IPv4 takes no more room than it needs.
    type Bytes: Copy + Ord + Hash + Debug + Default + AsRef<[u8]> + AsMut<[u8]> + Send + Sync;
    /// The family to the kernel.
    const FAMILY: u8;
    /// Bytes of an address.
    const LEN: usize;
    /// Registers that an address takes.
    const REGISTERS: u32 = Self::LEN as u32 / 4;
    /// Where the source is in the packet.
    const SOURCE: u32;
    /// Where the destination is.
    const DESTINATION: u32;
    /// Its type in sets.
    const KIND: Kind;
    /// What loads the address that a flow's first packet was sent to.
    const FIRST: Conntrack;
    /// What tells a client that nobody listens.
    const UNREACHABLE: Answer;
    /// The loopback network.
    const LOOPBACK: IpNet;
    /// The loopback address that processes use.
    const LOCALHOST: Self;

    /// The address, if it is of this family.
    fn of(ip: IpAddr) -> Option<Self>;

    /// The address in some bytes.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Writes the address to the start of some bytes.
    fn write(self, to: &mut [u8]);
}

impl Address for Ipv4Addr {
    type Bytes = [u8; 16];
    const FAMILY: u8 = nft::FAMILY_IP;
    const LEN: usize = 4;
    const SOURCE: u32 = 12;
    const DESTINATION: u32 = 16;
    const KIND: Kind = Kind::Address;
    const FIRST: Conntrack = Conntrack::FirstAddress;
    const UNREACHABLE: Answer = Answer::PortUnreachable;
    const LOOPBACK: IpNet = IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));
    const LOCALHOST: Self = Ipv4Addr::LOCALHOST;

    fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(_) => None,
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?.into())
    }

    fn write(self, to: &mut [u8]) {
        to[..4].copy_from_slice(&self.octets());
    }
}

impl Address for Ipv6Addr {
    type Bytes = [u8; 32];
    const FAMILY: u8 = nft::FAMILY_IP6;
    const LEN: usize = 16;
    const SOURCE: u32 = 8;
    const DESTINATION: u32 = 24;
    const KIND: Kind = Kind::AddressSix;
    const FIRST: Conntrack = Conntrack::FirstAddressSix;
    const UNREACHABLE: Answer = Answer::PortUnreachableSix;
    const LOOPBACK: IpNet = IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128));
    const LOCALHOST: Self = Ipv6Addr::LOCALHOST;

    fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V6(ip) => Some(ip),
            IpAddr::V4(_) => None,
        }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(<[u8; 16]>::try_from(bytes.get(..16)?).ok()?.into())
    }

    fn write(self, to: &mut [u8]) {
        to[..16].copy_from_slice(&self.octets());
    }
}

/// What the table of one family is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// As in [`Config`].
    pub table: String,
    /// Addresses of the pods of this node.
    pub pods: IpNet,
    /// Addresses of the pods of all nodes.
    pub cluster: IpNet,
    /// Virtual addresses.
    pub services: IpNet,
    /// As in [`Config`].
    pub unmasqueraded: Vec<IpNet>,
}

impl Local {
    /// The part of a configuration that is of IPv4.
    pub fn of_four(config: &Config) -> Local {
        let [pods, cluster, services] =
            [config.pod_cidr, config.cluster_cidr, config.service_cidr].map(|n| IpNet::V4(n.four));
        Local::new(config, [pods, cluster, services])
    }

    /// The part that is of IPv6; none where the node has none of it.
    pub fn of_six(config: &Config) -> Option<Local> {
        let (pods, cluster) = (config.pod_cidr.six?, config.cluster_cidr.six?);
        Some(Local::new(config, [pods, cluster, config.service_cidr.six?].map(IpNet::V6)))
    }

    fn new(config: &Config, [pods, cluster, services]: [IpNet; 3]) -> Local {
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == pods.addr().is_ipv4();
        Local {
            table: config.table.clone(),
            pods,
            cluster,
            services,
            unmasqueraded: config.unmasqueraded.iter().filter(of_family).copied().collect(),
        }
    }
}

/// The bytes of an address of either family.
pub fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
