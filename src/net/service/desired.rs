//! What shall be in force, as plain structs.

use crate::net::Protocol;
use crate::util::nets::Nets;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What does not change while the process runs. Another value on the next start replaces the
/// whole table in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of the table, `rk` but in tests; there is one of each family that the networks have.
    pub table: String,
    /// Addresses of the pods of this node.
    pub pod_cidr: Nets,
    /// Addresses of the pods of all nodes.
    pub cluster_cidr: Nets,
    /// ClusterIPs; what no service answers there is rejected.
    pub service_cidr: Nets,
    /// Further destinations that see the pods' own addresses: networks with a way back to
    /// the pods. Leave the nodes' network out where only the overlay knows pod addresses.
    pub unmasqueraded: Vec<IpNet>,
}

/// Everything that shall be in force. Cheap to clone; `apply` looks only at services whose `Arc`
/// changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Addresses of this node that answer node ports and host ports; loopback is ignored.
    pub node_ips: Vec<IpAddr>,
    /// By a stable name such as `namespace/name`. Where two claim the same address and port, the
    /// first name wins.
    pub services: BTreeMap<String, Arc<Service>>,
    /// By pod.
    pub host_ports: BTreeMap<String, Arc<Vec<HostPort>>>,
}

/// A service with at least one address that is not an endpoint's own (headless ones and external
/// names have no business here).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Virtual addresses inside the cluster; `internal_local` holds for them.
    pub cluster_ips: Vec<IpAddr>,
    /// externalIPs and load balancer ingress addresses; `external_local` holds for them.
    pub external_ips: Vec<IpAddr>,
    /// The ports and what is behind each.
    pub ports: Vec<Port>,
    /// ClientIP affinity: how long a client is remembered after its last new connection.
    pub affinity: Option<Duration>,
    /// internalTrafficPolicy Local: only endpoints of this node; without one, packets are dropped.
    pub internal_local: bool,
    /// externalTrafficPolicy Local: clients from elsewhere reach only endpoints of this node, which
    /// see the client's address; without one, packets are dropped. Pods and processes of this node
    /// reach every endpoint.
    pub external_local: bool,
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Protocol of the port and of its endpoints.
    pub protocol: Protocol,
    /// Port on the service's addresses.
    pub port: u16,
    /// Port on [`Desired::node_ips`]; `external_local` holds for it.
    pub node_port: Option<u16>,
    /// Those that take new connections. None: clients are rejected.
    pub endpoints: Vec<Endpoint>,
}

/// An address that takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address and port after translation.
    pub addr: SocketAddr,
    /// On this node: a pod of it or one of its own addresses.
    pub local: bool,
}

/// A port of this node that leads to one of its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPort {
    /// Protocol of both ports.
    pub protocol: Protocol,
    /// Address of the node. None or unspecified: all of [`Desired::node_ips`], and of IPv4
    /// 127.0.0.1 for processes of the node. A loopback address answers processes of the node only;
    /// for both, the pod's link needs [`crate::net::link::PodLink::loopback`].
    pub host_ip: Option<IpAddr>,
    /// Port of the node.
    pub host_port: u16,
    /// The pod's address and port.
    pub pod: SocketAddr,
}
