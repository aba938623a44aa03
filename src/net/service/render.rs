//! Desired state to elements. Pure.

use super::desired::{Config, Endpoint, HostPort, Port, Service};
use super::element::{Chain, Front, Key, Place, SetId, Value};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// What one owner wants in the table.
pub type Elements = BTreeMap<Place, Value>;

/// What rendering needs to know of the node.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Networks.
    pub config: &'a Config,
    /// Addresses that answer node ports and host ports.
    pub ips: &'a [Ipv4Addr],
}

/// The elements of a service.
pub fn service(service: &Service, node: Node<'_>) -> Elements {
    let mut out = Elements::new();
    for port in &service.ports {
        let backends = Backends::new(&port.endpoints);
        for address in v4(&service.cluster_ips) {
            let front = Front::new(address, port.protocol, port.port);
            inner_front(&mut out, service, &backends, front, node);
        }
        for front in outer_fronts(service, port, node.ips) {
            outer_front(&mut out, service, &backends, front);
        }
        for endpoint in &port.endpoints {
            way_back(&mut out, port, endpoint, node);
        }
    }
    out
}

/// The elements of a pod's host ports.
pub fn host_ports(ports: &[HostPort], node: Node<'_>) -> Elements {
    let mut out = Elements::new();
    for port in ports {
        let SocketAddr::V4(pod) = port.pod else { continue };
        for address in host_addresses(port.host_ip, node.ips) {
            let front = Front::new(address, port.protocol, port.host_port);
            out.insert((SetId::HostPorts, Key::front(front)), Value::To(pod));
        }
        out.insert((SetId::Selves, Key::itself(*pod.ip())), Value::None);
    }
    out
}

/// Endpoints in an order that keeps those that stay in their places, so that a change touches few
/// elements: gaps are filled with new ones, then from the end.
pub fn settle(before: &[Endpoint], wanted: &[Endpoint]) -> Vec<Endpoint> {
    let old: HashSet<&Endpoint> = before.iter().collect();
    let mut new = HashSet::new();
    // In the order wanted, without what is there or is named twice.
    let fresh = wanted.iter().filter(|e| new.insert(**e) && !old.contains(e));
    let mut fresh: VecDeque<Endpoint> = fresh.copied().collect();
    let stay = |e: &Endpoint| new.contains(e).then_some(*e);
    let mut places: Vec<_> = before.iter().map(|e| stay(e).or_else(|| fresh.pop_front())).collect();
    places.extend(fresh.into_iter().map(Some));
    let mut at = 0;
    while at < places.len() {
        match places[at] {
            Some(_) => at += 1,
            None => drop(places.swap_remove(at)),
        }
    }
    places.into_iter().flatten().collect()
}

struct Backends {
    all: Vec<SocketAddrV4>,
    local: Vec<SocketAddrV4>,
}

impl Backends {
    fn new(endpoints: &[Endpoint]) -> Backends {
        let pick = |local: bool| {
            let wanted = endpoints.iter().filter(|e| e.local || !local);
            wanted.filter_map(|e| only_v4(e.addr)).collect()
        };
        Backends { all: pick(false), local: pick(true) }
    }
}

/// A front inside the cluster.
fn inner_front(out: &mut Elements, s: &Service, b: &Backends, front: Front, node: Node<'_>) {
    let backends = if s.internal_local { &b.local } else { &b.all };
    if !b.all.is_empty() {
        lead(out, false, s, front, backends);
    } else if !node.config.service_cidr.contains(&front.address) {
        // Inside the service CIDR everything that leads nowhere is rejected anyway.
        out.insert((SetId::Refused, Key::front(front)), Value::None);
    }
}

/// A front for clients from elsewhere.
fn outer_front(out: &mut Elements, s: &Service, b: &Backends, front: Front) {
    if b.all.is_empty() {
        out.insert((SetId::Refused, Key::front(front)), Value::None);
        return;
    }
    lead(out, false, s, front, &b.all);
    if s.external_local {
        lead(out, true, s, front, &b.local);
    }
}

/// Leads a front to its endpoints, or into nowhere.
fn lead(out: &mut Elements, outer: bool, s: &Service, front: Front, to: &[SocketAddrV4]) {
    let (fronts, endpoints) = match outer {
        true => (SetId::OuterFronts, SetId::OuterEndpoints),
        false => (SetId::Fronts, SetId::Endpoints),
    };
    let ways = to.len() as u32;
    let value = match ways {
        0 => Value::Drop,
        _ => Value::Chain(Chain::Spread { ways, outer, kept: s.affinity.is_some() }),
    };
    out.insert((fronts, Key::front(front)), value);
    if let Some(keep) = s.affinity {
        let seconds = keep.as_secs().clamp(1, u64::from(u32::MAX)) as u32;
        out.insert((SetId::Keeps, Key::front(front)), Value::Chain(Chain::Keep(seconds)));
    }
    for (index, to) in (0..).zip(to) {
        out.insert((endpoints, Key::indexed(front, index)), Value::To(*to));
    }
}

fn outer_fronts<'a>(
    service: &'a Service,
    port: &'a Port,
    node_ips: &'a [Ipv4Addr],
) -> impl Iterator<Item = Front> + 'a {
    let external = v4(&service.external_ips).map(|ip| Front::new(ip, port.protocol, port.port));
    let node_port = port.node_port.into_iter().flat_map(move |node_port| {
        node_ips.iter().map(move |&ip| Front::new(ip, port.protocol, node_port))
    });
    external.chain(node_port)
}

/// What makes answers come back through this node, which alone can undo the translation.
fn way_back(out: &mut Elements, port: &Port, endpoint: &Endpoint, node: Node<'_>) {
    let Some(to) = only_v4(endpoint.addr) else { return };
    if node.ips.contains(to.ip()) {
        return;
    }
    if endpoint.local {
        out.insert((SetId::Selves, Key::itself(*to.ip())), Value::None);
    } else if !node.config.cluster_cidr.contains(to.ip()) {
        let front = Front::new(*to.ip(), port.protocol, to.port());
        out.insert((SetId::Far, Key::front(front)), Value::None);
    }
}

fn host_addresses(host_ip: Option<IpAddr>, node_ips: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    match host_ip {
        Some(IpAddr::V4(ip)) if !ip.is_unspecified() => vec![ip],
        Some(IpAddr::V6(ip)) if !ip.is_unspecified() => Vec::new(),
        _ => node_ips.iter().copied().chain([Ipv4Addr::LOCALHOST]).collect(),
    }
}

/// The IPv4 ones among addresses.
pub fn v4(addresses: &[IpAddr]) -> impl Iterator<Item = Ipv4Addr> + '_ {
    addresses.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    })
}

fn only_v4(addr: SocketAddr) -> Option<SocketAddrV4> {
    match addr {
        SocketAddr::V4(addr) => Some(addr),
        SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests;
