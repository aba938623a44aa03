//! The network of this node's pods: addresses, links, and ports of the node that lead to pods.
//!
//! Contract: nothing is written down. After a restart the addresses in use are those of the links
//! that the kernel has, which are adopted before any pod is; ports of the node are told anew by the
//! pods' workers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::net::ipam::Pool;
use crate::net::link::{self, PodLink};
use crate::net::service::HostPort;
use crate::net::{Protocol, ipam};

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
    mtu: u32,
    /// By pod.
    addresses: BTreeMap<String, Ipv4Addr>,
}

impl Network {
    /// Takes over the links that an earlier process has left. Before this, pods seem to have none.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn adopt(&self) -> Result<(), NetworkError> {
        let live = link::list().await?;
        self.state.lock().addresses =
            live.into_iter().filter_map(|live| Some((live.pod, live.address?))).collect();
        Ok(())
    }

    /// Begins to give out the addresses of `cidr`; those of adopted links are in use.
    ///
    /// # Errors
    /// When the kernel cannot be prepared, or the range is of no use.
    pub async fn open(&self, cidr: Ipv4Net, service_cidr: Ipv4Net) -> Result<(), NetworkError> {
        link::prepare(service_cidr).await?;
        let mtu = link::uplink().await?.map_or(MTU, |uplink| uplink.mtu);
        {
            let mut state = self.state.lock();
            let pool = Pool::new(cidr, state.addresses.values().copied())?;
            (state.pool, state.mtu) = (Some(pool), mtu);
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

    /// The address of a pod that is connected.
    pub fn address(&self, pod: &str) -> Option<Ipv4Addr> {
        self.state.lock().addresses.get(pod).copied()
    }

    /// Connects a pod; one that is connected keeps its address.
    ///
    /// # Errors
    /// When no address is free or the kernel refuses.
    pub async fn attach(
        &self,
        pod: &str,
        netns: PathBuf,
        loopback: bool,
    ) -> Result<Ipv4Addr, NetworkError> {
        let (address, mtu) = self.allocate(pod)?;
        let link = PodLink { pod: pod.to_owned(), netns, address, mtu, loopback };
        match link::add(link).await {
            Ok(_) => Ok(address),
            Err(error) => {
                self.release(pod);
                Err(error.into())
            }
        }
    }

    fn allocate(&self, pod: &str) -> Result<(Ipv4Addr, u32), NetworkError> {
        let mut state = self.state.lock();
        let mtu = state.mtu;
        if let Some(address) = state.addresses.get(pod) {
            return Ok((*address, mtu));
        }
        let address = state.pool.as_mut().ok_or(NetworkError::NotReady)?.allocate()?;
        state.addresses.insert(pod.to_owned(), address);
        Ok((address, mtu))
    }

    fn release(&self, pod: &str) {
        let mut state = self.state.lock();
        if let Some(address) = state.addresses.remove(pod)
            && let Some(pool) = &mut state.pool
        {
            pool.release(address);
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

/// The ports of the node that a pod at `address` shall have. In the host's network they are its
/// own.
pub fn host_ports(pod: &Pod, address: IpAddr) -> Vec<HostPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let host_port = |port: &k8s_openapi::api::core::v1::ContainerPort| {
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
            pod: SocketAddr::new(address, number(port.container_port)?),
        })
    };
    ports.filter_map(host_port).collect()
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
        let ports = host_ports(&pod, "10.42.0.2".parse().unwrap());
        assert_eq!(ports.len(), 2);
        assert_eq!((ports[0].host_port, ports[0].pod.port()), (8080, 80));
        assert!(needs_loopback(&ports) && !needs_loopback(&ports[1..]));
        pod.spec.as_mut().unwrap().host_network = Some(true);
        assert!(host_ports(&pod, "10.42.0.2".parse().unwrap()).is_empty());
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
