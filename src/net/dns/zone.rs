//! The cluster domain: names to records, by the Kubernetes DNS specification 1.1.0.

use super::records::{Endpoint, Name, NamedPort, Records, Service, Target};
use hickory_proto::op::Query;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name as DnsName, RData, Record, RecordType};
use ipnet::IpNet;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seconds for which clients may keep what is found and, by the SOA, what is not. Short, since
/// endpoints come and go; not zero, since a search path asks for the same missing names again and
/// again.
const TTL_S: u32 = 5;
/// The version of the specification that is answered.
const VERSION: &str = "1.1.0";

/// What the zone is made of beside its services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The cluster domain, such as `cluster.local`.
    pub name: String,
    /// Addresses under which clients know the DNS service itself.
    pub servers: Vec<IpAddr>,
    /// Networks whose reverse names are answered here, known or not: services and pods.
    pub reverse: Vec<IpNet>,
}

/// A handle of the zone; clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct Zone {
    state: Arc<RwLock<State>>,
    turn: Arc<AtomicUsize>,
}

/// What the zone says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// These records, and some that the client will ask for next.
    Records(Vec<Record>, Vec<Record>),
    /// This alias; the question goes on at its target.
    Alias(Box<Record>, DnsName),
    /// The name exists, with other types of records.
    NoData,
    /// The name does not exist.
    NoName,
    /// The name is not below the domain.
    NotOurs,
}

#[derive(Debug)]
struct State {
    origin: DnsName,
    /// The labels of the domain in lower case.
    labels: Vec<String>,
    servers: Vec<IpAddr>,
    reverse: Vec<IpNet>,
    records: Records,
    /// Names by address, the oldest first.
    pointers: HashMap<IpAddr, Vec<Pointer>>,
    /// How many services each namespace has.
    namespaces: HashMap<String, usize>,
    /// Counts changes, as a zone's serial number does.
    serial: u32,
}

/// A name that an address leads back to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer {
    service: Name,
    host: Option<String>,
}

impl Zone {
    /// A zone without services. None where the domain is no name.
    pub fn new(domain: Domain) -> Option<Zone> {
        let mut origin = DnsName::from_ascii(&domain.name).ok()?;
        origin.set_fqdn(true);
        let state = State {
            labels: lower_labels(&origin)?,
            origin,
            servers: domain.servers,
            reverse: domain.reverse,
            records: Records::new(),
            pointers: HashMap::new(),
            namespaces: HashMap::new(),
            serial: 1,
        };
        Some(Zone { state: Arc::new(RwLock::new(state)), turn: Arc::default() })
    }

    /// Adds, changes or removes a service.
    pub fn set(&self, name: Name, service: Option<Arc<Service>>) {
        self.state.write().set(name, service);
    }

    /// Makes these all the services.
    pub fn replace(&self, records: Records) {
        let mut state = self.state.write();
        let gone: Vec<_> =
            state.records.keys().filter(|name| !records.contains_key(*name)).cloned().collect();
        gone.into_iter().for_each(|name| state.set(name, None));
        records.into_iter().for_each(|(name, service)| state.set(name, Some(service)));
    }

    /// Changes the addresses under which clients know the DNS service.
    pub fn set_servers(&self, servers: Vec<IpAddr>) {
        self.state.write().servers = servers;
    }

    /// Answers a question. Addresses take turns at being the first.
    pub(super) fn find(&self, query: &Query) -> Found {
        let mut found = self.state.read().find(query.name(), query.query_type());
        if let Found::Records(records, _) = &mut found
            && records.len() > 1
        {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let count = records.len();
            records.rotate_left(turn % count);
        }
        found
    }

    /// The record that goes with what is not found.
    pub(super) fn authority(&self) -> Option<Record> {
        let state = self.state.read();
        Some(state.record(&state.origin, state.soa()?))
    }
}

impl State {
    fn set(&mut self, name: Name, service: Option<Arc<Service>>) {
        let old = match service {
            Some(service) => {
                if self.records.get(&name).is_some_and(|old| *old == service) {
                    return;
                }
                self.point(&name, &service);
                self.records.insert(name.clone(), service)
            }
            None => self.records.remove(&name),
        };
        if let Some(old) = old {
            self.unpoint(&name, &old);
        }
        self.serial = self.serial.wrapping_add(1);
    }

    fn point(&mut self, name: &Name, service: &Service) {
        *self.namespaces.entry(name.namespace.clone()).or_default() += 1;
        for (address, host) in pointed(service) {
            let pointer = Pointer { service: name.clone(), host };
            self.pointers.entry(address).or_default().push(pointer);
        }
    }

    fn unpoint(&mut self, name: &Name, service: &Service) {
        if let Entry::Occupied(mut count) = self.namespaces.entry(name.namespace.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        for (address, host) in pointed(service) {
            let Entry::Occupied(mut entry) = self.pointers.entry(address) else { continue };
            let old = Pointer { service: name.clone(), host };
            // One of them: the service's new state may have the same.
            if let Some(at) = entry.get().iter().position(|pointer| *pointer == old) {
                entry.get_mut().remove(at);
            }
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    fn find(&self, name: &DnsName, kind: RecordType) -> Found {
        let Some(labels) = lower_labels(name) else { return Found::NotOurs };
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let split = labels.len().checked_sub(self.labels.len());
        match split.map(|at| labels.split_at(at)) {
            Some((below, domain)) if domain == self.labels => self.below(name, below, kind),
            _ if labels.last() == Some(&"arpa") => self.reversed(name, kind),
            _ => Found::NotOurs,
        }
    }

    fn below(&self, name: &DnsName, labels: &[&str], kind: RecordType) -> Found {
        match labels {
            [] => self.apex(kind),
            ["dns-version"] => {
                let text = RData::TXT(TXT::new(vec![VERSION.to_owned()]));
                self.only(name, kind, RecordType::TXT, Some(text))
            }
            ["ns", "dns"] => self.addresses(name, kind, self.servers.iter().copied()),
            ["dns" | "svc" | "pod"] => Found::NoData,
            [namespace, "svc" | "pod"] if self.namespaces.contains_key(*namespace) => Found::NoData,
            [dashed, _, "pod"] => match undash(dashed) {
                Some(address) => self.addresses(name, kind, [address].into_iter()),
                None => Found::NoName,
            },
            [rest @ .., service, namespace, "svc"] => {
                let key = Name { namespace: (*namespace).into(), name: (*service).into() };
                match self.records.get(&key) {
                    Some(service) => self.service(name, rest, &key, service, kind),
                    None => Found::NoName,
                }
            }
            _ => Found::NoName,
        }
    }

    fn service(
        &self,
        name: &DnsName,
        labels: &[&str],
        key: &Name,
        service: &Service,
        kind: RecordType,
    ) -> Found {
        match (labels, &service.target) {
            ([], Target::ExternalName(target)) => self.alias(name, target),
            ([], _) if kind == RecordType::SRV => self.ports(name, key, service, None),
            ([], Target::ClusterIps(ips)) => self.addresses(name, kind, ips.iter().copied()),
            ([], Target::Headless(all)) => {
                self.addresses(name, kind, all.iter().map(|endpoint| endpoint.address))
            }
            (["_tcp" | "_udp" | "_sctp"], _) => Found::NoData,
            ([host], Target::Headless(all)) => {
                let own: Vec<_> = all.iter().filter(|e| host_label(e) == *host).collect();
                match own.is_empty() {
                    true => Found::NoName,
                    false => self.addresses(name, kind, own.iter().map(|e| e.address)),
                }
            }
            ([port, protocol], _) => {
                let wanted = port.strip_prefix('_').zip(protocol.strip_prefix('_'));
                match wanted.map(|wanted| self.ports(name, key, service, Some(wanted))) {
                    None => Found::NoName,
                    Some(Found::Records(..)) if kind != RecordType::SRV => Found::NoData,
                    Some(found) => found,
                }
            }
            _ => Found::NoName,
        }
    }

    /// SRV records of all ports, or of the one with this name and protocol.
    fn ports(
        &self,
        name: &DnsName,
        key: &Name,
        service: &Service,
        wanted: Option<(&str, &str)>,
    ) -> Found {
        let matches = |port: &&NamedPort| {
            wanted.is_none_or(|(name, protocol)| {
                !name.is_empty() && port.name == name && port.protocol.label() == protocol
            })
        };
        // Port, host and address of each.
        let mut found: Vec<(u16, Option<&Endpoint>, Vec<IpAddr>)> = Vec::new();
        match &service.target {
            Target::ExternalName(_) => (),
            Target::ClusterIps(ips) => {
                let own = service.ports.iter().filter(matches);
                found.extend(own.map(|port| (port.port, None, ips.clone())));
            }
            Target::Headless(all) => {
                for endpoint in all {
                    let own = endpoint.ports.iter().filter(matches);
                    found.extend(own.map(|p| (p.port, Some(endpoint), vec![endpoint.address])));
                }
            }
        }
        let weight = (100 / found.len().max(1)).max(1) as u16;
        let (mut answers, mut further) = (Vec::new(), Vec::new());
        for (port, endpoint, addresses) in found {
            let host = endpoint.map(host_label);
            let Some(target) = self.service_name(key, host.as_deref()) else { continue };
            further.extend(addresses.iter().map(|ip| self.record(&target, address(*ip))));
            answers.push(self.record(name, RData::SRV(SRV::new(0, weight, port, target))));
        }
        further.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.data.cmp(&b.data)));
        further.dedup();
        match (answers.is_empty(), wanted) {
            (false, _) => Found::Records(answers, further),
            (true, Some(_)) => Found::NoName,
            (true, None) => Found::NoData,
        }
    }

    fn alias(&self, name: &DnsName, target: &str) -> Found {
        let Ok(mut target) = DnsName::from_ascii(target) else { return Found::NoData };
        target.set_fqdn(true);
        let record = self.record(name, RData::CNAME(CNAME(target.clone())));
        Found::Alias(Box::new(record), target)
    }

    fn apex(&self, kind: RecordType) -> Found {
        let server = || DnsName::from_ascii("ns.dns").ok()?.append_domain(&self.origin).ok();
        match kind {
            RecordType::SOA => self.only(&self.origin, kind, kind, self.soa()),
            RecordType::NS => {
                self.only(&self.origin, kind, kind, server().map(|name| RData::NS(NS(name))))
            }
            _ => Found::NoData,
        }
    }

    fn soa(&self) -> Option<RData> {
        const REFRESH_S: i32 = 7200;
        const RETRY_S: i32 = 1800;
        const EXPIRE_S: i32 = 86400;
        let below = |label: &str| DnsName::from_ascii(label).ok()?.append_domain(&self.origin).ok();
        let (server, contact) = (below("ns.dns")?, below("hostmaster")?);
        let soa = SOA::new(server, contact, self.serial, REFRESH_S, RETRY_S, EXPIRE_S, TTL_S);
        Some(RData::SOA(soa))
    }

    fn reversed(&self, name: &DnsName, kind: RecordType) -> Found {
        let Ok(net) = name.parse_arpa_name() else { return Found::NotOurs };
        let address = net.addr();
        let whole = net.prefix_len() == net.max_prefix_len();
        match self.pointers.get(&address).filter(|_| whole) {
            Some(_) if kind != RecordType::PTR => Found::NoData,
            Some(pointers) => {
                let target = |p: &Pointer| self.service_name(&p.service, p.host.as_deref());
                let targets = pointers.iter().filter_map(target);
                let records = targets.map(|target| self.record(name, RData::PTR(PTR(target))));
                Found::Records(records.collect(), Vec::new())
            }
            None if self.reverse.iter().any(|own| own.contains(&net)) => Found::NoName,
            None => Found::NotOurs,
        }
    }

    /// `[host.]service.namespace.svc.domain`.
    fn service_name(&self, service: &Name, host: Option<&str>) -> Option<DnsName> {
        let labels = host.into_iter().chain([&*service.name, &*service.namespace, "svc"]);
        let name = DnsName::from_labels(labels.map(str::as_bytes)).ok()?;
        name.append_domain(&self.origin).ok()
    }

    /// A name that has one record.
    fn only(
        &self,
        name: &DnsName,
        asked: RecordType,
        kind: RecordType,
        data: Option<RData>,
    ) -> Found {
        match data {
            Some(data) if asked == kind || asked == RecordType::ANY => {
                Found::Records(vec![self.record(name, data)], Vec::new())
            }
            _ => Found::NoData,
        }
    }

    /// A name that has addresses. Each of them once, in the given order.
    fn addresses(
        &self,
        name: &DnsName,
        kind: RecordType,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Found {
        let wanted = |ip: &IpAddr| match kind {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            kind => kind == RecordType::ANY,
        };
        let mut seen = std::collections::HashSet::new();
        let own = addresses.filter(|ip| wanted(ip) && seen.insert(*ip));
        let records: Vec<_> = own.map(|ip| self.record(name, address(ip))).collect();
        match records.is_empty() {
            true => Found::NoData,
            false => Found::Records(records, Vec::new()),
        }
    }

    fn record(&self, name: &DnsName, data: RData) -> Record {
        Record::from_rdata(name.clone(), TTL_S, data)
    }
}

/// The addresses that lead back to a service, and under which host name.
fn pointed(service: &Service) -> Vec<(IpAddr, Option<String>)> {
    match &service.target {
        Target::ClusterIps(ips) => ips.iter().map(|ip| (*ip, None)).collect(),
        Target::Headless(all) => all.iter().map(|e| (e.address, Some(host_label(e)))).collect(),
        Target::ExternalName(_) => Vec::new(),
    }
}

/// The name of an endpoint below its service's.
fn host_label(endpoint: &Endpoint) -> String {
    match &endpoint.hostname {
        Some(name) => name.to_ascii_lowercase(),
        None => endpoint.address.to_string().replace(['.', ':'], "-"),
    }
}

/// The address that a pod's name is made of.
fn undash(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse().ok().map(IpAddr::V4);
    v4.or_else(|| label.replace('-', ":").parse().ok().map(IpAddr::V6))
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

/// None where a label is no text: no name of ours.
fn lower_labels(name: &DnsName) -> Option<Vec<String>> {
    let lower = |label: &[u8]| Some(std::str::from_utf8(label).ok()?.to_ascii_lowercase());
    name.iter().map(lower).collect()
}

#[cfg(test)]
mod tests;
