//! Desired state to elements. Pure.

use super::desired::{Endpoint, HostPort, Port, Service};
use super::element::{Chain, Front, Key, Place, SetId, Target, Value};
use super::family::{Address, Local};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::IpAddr;

/// What one owner wants in the table.
pub type Elements<A> = BTreeMap<Place<A>, Value<A>>;

/// What rendering needs to know of the node.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a, A> {
    /// Networks.
    pub config: &'a Local,
    /// Addresses that answer node ports and host ports.
    pub ips: &'a [A],
}

/// The elements of a service.
pub fn service<A: Address>(service: &Service, node: Node<'_, A>) -> Elements<A> {
    let mut out = Elements::new();
    for port in &service.ports {
        let backends = Backends::new(&port.endpoints);
        for address in of(&service.cluster_ips) {
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
pub fn host_ports<A: Address>(ports: &[HostPort], node: Node<'_, A>) -> Elements<A> {
    let mut out = Elements::new();
    for port in ports {
        let Some(pod) = Target::<A>::of(port.pod) else { continue };
        for address in host_addresses(port.host_ip, node.ips) {
            let front = Front::new(address, port.protocol, port.host_port);
            out.insert((SetId::HostPorts, Key::front(front)), Value::To(pod));
        }
        out.insert((SetId::Selves, Key::itself(pod.ip)), Value::None);
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

struct Backends<A> {
    all: Vec<Target<A>>,
    local: Vec<Target<A>>,
}

impl<A: Address> Backends<A> {
    fn new(endpoints: &[Endpoint]) -> Self {
        let pick = |local: bool| {
            let wanted = endpoints.iter().filter(|e| e.local || !local);
            wanted.filter_map(|e| Target::of(e.addr)).collect()
        };
        Backends { all: pick(false), local: pick(true) }
    }
}

/// A front inside the cluster.
fn inner_front<A: Address>(
    out: &mut Elements<A>,
    s: &Service,
    b: &Backends<A>,
    front: Front<A>,
    node: Node<'_, A>,
) {
    let backends = if s.internal_local { &b.local } else { &b.all };
    if !b.all.is_empty() {
        lead(out, false, s, front, backends);
    } else if !node.config.services.contains(&front.address.into()) {
        // Inside the service CIDR everything that leads nowhere is rejected anyway.
        out.insert((SetId::Refused, Key::front(front)), Value::None);
    }
}

/// A front for clients from elsewhere.
fn outer_front<A: Address>(out: &mut Elements<A>, s: &Service, b: &Backends<A>, front: Front<A>) {
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
fn lead<A: Address>(
    out: &mut Elements<A>,
    outer: bool,
    s: &Service,
    front: Front<A>,
    to: &[Target<A>],
) {
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

fn outer_fronts<'a, A: Address>(
    service: &'a Service,
    port: &'a Port,
    node_ips: &'a [A],
) -> impl Iterator<Item = Front<A>> + 'a {
    let external = of(&service.external_ips).map(|ip| Front::new(ip, port.protocol, port.port));
    let node_port = port.node_port.into_iter().flat_map(move |node_port| {
        node_ips.iter().map(move |&ip| Front::new(ip, port.protocol, node_port))
    });
    external.chain(node_port)
}

/// What makes answers come back through this node, which alone can undo the translation.
fn way_back<A: Address>(
    out: &mut Elements<A>,
    port: &Port,
    endpoint: &Endpoint,
    node: Node<'_, A>,
) {
    let Some(to) = Target::<A>::of(endpoint.addr) else { return };
    if node.ips.contains(&to.ip) {
        return;
    }
    if endpoint.local {
        out.insert((SetId::Selves, Key::itself(to.ip)), Value::None);
    } else if !node.config.cluster.contains(&to.ip.into()) {
        let front = Front::new(to.ip, port.protocol, to.port);
        out.insert((SetId::Far, Key::front(front)), Value::None);
    }
}

/// Of IPv6, processes of the node reach no pod from the loopback address.
fn host_addresses<A: Address>(host_ip: Option<IpAddr>, node_ips: &[A]) -> Vec<A> {
    match host_ip {
        Some(ip) if !ip.is_unspecified() => A::of(ip).into_iter().collect(),
        Some(ip) if A::of(ip).is_none() && ip.is_ipv4() => Vec::new(),
        _ => {
            let loopback = A::LOCALHOST.into().is_ipv4().then_some(A::LOCALHOST);
            node_ips.iter().copied().chain(loopback).collect()
        }
    }
}

/// Those of a family among addresses.
pub fn of<A: Address>(addresses: &[IpAddr]) -> impl Iterator<Item = A> + '_ {
    addresses.iter().filter_map(|ip| A::of(*ip))
}

#[cfg(test)]
mod tests;
