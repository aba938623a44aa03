//! The network of this node's pods: addresses, links, and ports of the node that lead to pods.
//!
//! Contract: nothing is written down. After a restart the addresses in use are those of the links
//! that the kernel has, which are adopted before any pod is; ports of the node are told anew by the
//! pods' workers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv6Net;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::net::ipam::Pool;
use crate::net::link::{self, PodLink};
use crate::net::service::HostPort;
use crate::net::{Protocol, ipam};
use crate::util::nets::Nets;

/// Bytes of a packet where no interface says better.
const MTU: u32 = 1500;

/// Why a pod has no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The node has no addresses for pods yet.
    #[error("the node has no pod cidr yet")]
    NotReady,
    /// All addresses are in use.
    #[error(transparent)]
    Address(#[from] ipam::Error),
    /// The kernel refused.
    #[error("cannot connect the pod: {0}")]
    Link(#[from] crate::net::Error),
}

/// The ports of the node that lead to pods, by pod.
pub type HostPorts = BTreeMap<String, Arc<Vec<HostPort>>>;

/// The network of this node's pods; no addresses yet by default.
#[derive(Default)]
pub struct Network {
    state: Mutex<State>,
    host_ports: watch::Sender<HostPorts>,
    ready: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    pool: Option<Pool>,
    /// The range of IPv6, where there is one. Its addresses need no pool of their own: each goes
    /// with one of IPv4, at the same place of the range.
    six: Option<Ipv6Net>,
    mtu: u32,
    /// By pod.
    addresses: BTreeMap<String, Addresses>,
}

/// The addresses of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    four: Ipv4Addr,
    six: Option<Ipv6Addr>,
}

impl Addresses {
    /// All of them, IPv4 first.
    pub fn list(self) -> Vec<IpAddr> {
        std::iter::once(self.four.into()).chain(self.six.map(IpAddr::V6)).collect()
    }
}

impl State {
    /// The address of IPv6 that goes with one of IPv4.
    fn six(&self, four: Ipv4Addr) -> Option<Ipv6Addr> {
        let place = four.to_bits() - self.pool.as_ref()?.cidr().network().to_bits();
        Some(Ipv6Addr::from_bits(self.six?.network().to_bits() + u128::from(place)))
    }
}

impl Network {
    /// Takes over the links that an earlier process has left. Before this, pods seem to have none.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn adopt(&self) -> Result<(), NetworkError> {
        let live = link::list().await?;
        let addresses =
            |live: link::Live| Some((live.pod, Addresses { four: live.address?, six: live.six }));
        self.state.lock().addresses = live.into_iter().filter_map(addresses).collect();
        Ok(())
    }

    /// Begins to give out the addresses of `pods`; those of adopted links are in use.
    ///
    /// # Errors
    /// When the kernel cannot be prepared, or the range is of no use.
    pub async fn open(&self, pods: Nets, services: Nets) -> Result<(), NetworkError> {
        link::prepare(services).await?;
        let mtu = link::uplink().await?.map_or(MTU, |uplink| uplink.mtu);
        {
            let mut state = self.state.lock();
            let pool = Pool::new(pods.four, state.addresses.values().map(|a| a.four))?;
            (state.pool, state.six, state.mtu) = (Some(pool), pods.six, mtu);
        }
        self.ready.send_replace(true);
        Ok(())
    }

    /// Tells when pods can be connected.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// The pods that have a link or an address.
    pub fn pods(&self) -> Vec<String> {
        self.state.lock().addresses.keys().cloned().collect()
    }

    /// The addresses of a pod that is connected.
    pub fn addresses(&self, pod: &str) -> Option<Addresses> {
        self.state.lock().addresses.get(pod).copied()
    }

    /// Connects a pod; one that is connected keeps its addresses.
    ///
    /// # Errors
    /// When no address is free or the kernel refuses.
    pub async fn attach(
        &self,
        pod: &str,
        netns: PathBuf,
        loopback: bool,
    ) -> Result<Addresses, NetworkError> {
        let (addresses, mtu) = self.allocate(pod)?;
        let (pod_id, Addresses { four: address, six }) = (pod.to_owned(), addresses);
        let link = PodLink { pod: pod_id, netns, address, six, mtu, loopback };
        match link::add(link).await {
            Ok(_) => Ok(addresses),
            Err(error) => {
                self.release(pod);
                Err(error.into())
            }
        }
    }

    fn allocate(&self, pod: &str) -> Result<(Addresses, u32), NetworkError> {
        let mut state = self.state.lock();
        let mtu = state.mtu;
        if let Some(address) = state.addresses.get(pod) {
            return Ok((*address, mtu));
        }
        let four = state.pool.as_mut().ok_or(NetworkError::NotReady)?.allocate()?;
        let addresses = Addresses { four, six: state.six(four) };
        state.addresses.insert(pod.to_owned(), addresses);
        Ok((addresses, mtu))
    }

    fn release(&self, pod: &str) {
        let mut state = self.state.lock();
        if let Some(addresses) = state.addresses.remove(pod)
            && let Some(pool) = &mut state.pool
        {
            pool.release(addresses.four);
        }
    }

    /// Disconnects a pod, and frees its address and ports.
    ///
    /// # Errors
    /// When the kernel refuses; the address stays taken then.
    pub async fn detach(&self, pod: &str) -> Result<(), NetworkError> {
        self.set_ports(pod, Vec::new());
        link::remove(pod.to_owned()).await?;
        self.release(pod);
        Ok(())
    }

    /// Leads ports of the node to a pod.
    pub fn set_ports(&self, pod: &str, ports: Vec<HostPort>) {
        self.host_ports.send_if_modified(|all| {
            let known = all.get(pod).map(|known| known.as_slice()).unwrap_or_default();
            if known == ports.as_slice() {
                return false;
            }
            match ports.is_empty() {
                true => drop(all.remove(pod)),
                false => drop(all.insert(pod.to_owned(), Arc::new(ports))),
            }
            true
        });
    }

    /// The ports of the node that lead to pods, as they change.
    pub fn ports(&self) -> watch::Receiver<HostPorts> {
        self.host_ports.subscribe()
    }
}

/// The ports of the node that a pod at `addresses` shall have. In the host's network they are its
/// own.
pub fn host_ports(pod: &Pod, addresses: &[IpAddr]) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let host_port = |(port, address): (&k8s_openapi::api::core::v1::ContainerPort, &IpAddr)| {
        let number = |n: i32| u16::try_from(n).ok().filter(|n| *n > 0);
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        Some(HostPort {
            protocol,
            host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
            host_port: number(port.host_port?)?,
            pod: SocketAddr::new(*address, number(port.container_port)?),
        })
    };
    let at_each = ports.flat_map(|port| addresses.iter().map(move |address| (port, address)));
    at_each.filter_map(host_port).collect()
}

/// Whether one of the ports is reached from the node's loopback.
pub fn needs_loopback(ports: &[HostPort]) -> bool {
    let loops =
        |port: &HostPort| port.host_ip.is_none_or(|ip| ip.is_unspecified() || ip.is_loopback());
    ports.iter().any(loops)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_node_lead_to_the_pod() {
        let text = r#"{"metadata":{},"spec":{"containers":[{"name":"c","ports":[
            {"containerPort":80,"hostPort":8080},{"containerPort":81},
            {"containerPort":53,"hostPort":53,"protocol":"UDP","hostIP":"192.0.2.1"}]}]}}"#;
        let mut pod: Pod = serde_json::from_str(text).unwrap();
        let ports = host_ports(&pod, &["10.42.0.2".parse().unwrap()]);
        assert_eq!(ports.len(), 2);
        assert_eq!((ports[0].host_port, ports[0].pod.port()), (8080, 80));
        assert!(needs_loopback(&ports) && !needs_loopback(&ports[1..]));
        let both = ["10.42.0.2", "fd00::2"].map(|ip| ip.parse().unwrap());
        assert_eq!(host_ports(&pod, &both).len(), 4);
        pod.spec.as_mut().unwrap().host_network = Some(true);
        assert!(host_ports(&pod, &["10.42.0.2".parse().unwrap()]).is_empty());
    }

    #[test]
    fn the_second_address_goes_with_the_first() {
        let network = Network::default();
        let given = |pod: &str| network.allocate(pod).map(|(addresses, _)| addresses.list());
        assert!(given("a").is_err());
        let old = Addresses { four: Ipv4Addr::new(10, 42, 3, 9), six: None };
        network.state.lock().addresses.insert("old".into(), old);
        {
            let mut state = network.state.lock();
            state.pool = Some(Pool::new("10.42.3.0/24".parse().unwrap(), [old.four]).unwrap());
            state.six = Some("fd00:0:0:7::/64".parse().unwrap());
        }
        let want = ["10.42.3.10", "fd00:0:0:7::a"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(given("a").unwrap(), want);
        assert_eq!(given("a").unwrap(), want, "and stays");
        assert_eq!(given("old").unwrap(), [IpAddr::V4(old.four)], "as it was made");
        network.release("a");
        assert_eq!(network.addresses("a"), None);
    }

    #[test]
    fn only_changes_are_told() {
        let network = Network::default();
        let mut told = network.ports();
        let port = HostPort {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port: 1,
            pod: "10.42.0.2:1".parse().unwrap(),
        };
        network.set_ports("a", vec![port]);
        assert!(told.has_changed().unwrap());
        told.mark_unchanged();
        network.set_ports("a", vec![port]);
        network.set_ports("b", Vec::new());
        assert!(!told.has_changed().unwrap());
        network.set_ports("a", Vec::new());
        assert!(told.borrow_and_update().is_empty());
    }
}
