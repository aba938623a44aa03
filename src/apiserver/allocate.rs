//! Cluster addresses and node ports of Services: given out together with the write that uses them.
//!
//! The history says what is taken; this only keeps count of it, by a cursor on the Services. One
//! lock is held from the choice of an address until its write is published, so that no address is
//! given twice; a write that fails or is a dry run needs no undoing, and a deletion no release.

mod families;
mod supply;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::api::meta::GroupResource;
use crate::api::registry::Errors;
use crate::api::tree::Value;
use crate::history::{Cursor, History};
use crate::util::id;
use crate::util::nets::Nets;
use supply::Supply;

/// Where addresses and ports come from.
#[derive(Debug, Clone)]
pub struct Ranges {
    /// Cluster addresses, besides those of ServiceCIDRs.
    pub services: Nets,
    /// Node ports.
    pub node_ports: RangeInclusive<u16>,
}

/// Gives out cluster addresses and node ports.
pub struct Allocator {
    ranges: Ranges,
    taken: Arc<Mutex<Taken>>,
}

/// What is taken, as of the cursor.
pub struct Taken {
    history: Arc<History>,
    services: GroupResource,
    cursor: Option<Cursor>,
    addresses: HashSet<IpAddr>,
    /// Node ports by the Services that hold them.
    ports: HashMap<u16, String>,
}

/// Holds the choice until the write is through.
pub type Allocating = OwnedMutexGuard<Taken>;

impl Allocator {
    /// An allocator over the Services of `history`.
    pub fn new(history: Arc<History>, ranges: Ranges) -> Self {
        let taken = Taken {
            history,
            services: GroupResource::new("", "services"),
            cursor: None,
            addresses: HashSet::new(),
            ports: HashMap::new(),
        };
        Self { ranges, taken: Arc::new(Mutex::new(taken)) }
    }

    /// Fills in of which families a Service is, which its rules look at.
    ///
    /// # Errors
    /// What this cluster does not have.
    pub fn choose_families(&self, service: &mut Value, old: Option<&Value>) -> Result<(), Errors> {
        let mut errors = Errors::default();
        families::choose(families::of(self.ranges.services), service, old, &mut errors);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Fills in what a Service of known families wants allocated. Hold the result until the Service
    /// is stored.
    ///
    /// # Errors
    /// What cannot be had, as field errors.
    pub async fn allocate(
        &self,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Allocating, Errors> {
        let mut taken = Arc::clone(&self.taken).lock_owned().await;
        taken.catch_up();
        if let Some(old) = old {
            taken.forget(old);
        }
        let mut errors = Errors::default();
        if wants_addresses(service, old) {
            self.addresses(&taken, service, old, &mut errors);
        }
        if wants_ports(service) {
            self.ports(&taken, service, &mut errors);
        }
        if let Some(old) = old {
            taken.note(old);
        }
        if errors.is_empty() { Ok(taken) } else { Err(errors) }
    }

    /// An address of each of the Service's families, in their order. What it had it keeps.
    fn addresses(
        &self,
        taken: &Taken,
        service: &mut Value,
        old: Option<&Value>,
        errors: &mut Errors,
    ) {
        let spec = service.get("spec");
        let mut given: Vec<Value> = spec.get("clusterIPs").items().to_vec();
        let families: Vec<&str> = spec.get("ipFamilies").items().iter().map(Value::str).collect();
        given.resize(families.len().max(1), "".into());
        let had = old.map_or(&[][..], |old| old.at(&["spec", "clusterIPs"]).items());
        let supply = Supply::of(&taken.history, self.ranges.services);
        let mut chosen = given.clone();
        for (at, place) in chosen.iter_mut().enumerate() {
            let six = families.get(at) == Some(&families::SIX);
            let found = match place.str() {
                "" => supply
                    .any(&taken.addresses, six)
                    .ok_or_else(|| "failed to allocate a serviceIP: range is full".to_owned()),
                _ if had.contains(place) => continue,
                name => supply
                    .named(&taken.addresses, name)
                    .map_err(|why| format!("failed to allocate IP {name}: {why}")),
            };
            match found {
                Ok(address) => *place = address.to_string().into(),
                Err(why) => errors.invalid("spec.clusterIPs", &given.clone().into(), &why),
            }
        }
        let spec = service.entry("spec");
        spec.set("clusterIP", chosen[0].clone());
        spec.set("clusterIPs", chosen);
    }

    fn ports(&self, taken: &Taken, service: &mut Value, errors: &mut Errors) {
        // A port may serve several protocols of one Service, and no second Service.
        let mut own: HashMap<(u16, String), usize> = HashMap::new();
        let count = service.at(&["spec", "ports"]).items().len();
        for at in 0..count {
            let port = &service.at(&["spec", "ports"]).items()[at];
            let protocol = port.get("protocol").str().to_owned();
            let given = port.get("nodePort").as_int().unwrap_or(0);
            let field = format!("spec.ports[{at}].nodePort");
            let chosen = if given == 0 {
                let shared = own.keys().map(|(port, _)| *port);
                self.free_port(taken, &shared.collect()).ok_or("range is full".to_owned())
            } else {
                self.check_port(taken, given)
            };
            match chosen {
                Ok(chosen) if own.insert((chosen, protocol), at).is_some() => {
                    errors.duplicate(field, &i64::from(chosen).into());
                }
                Ok(chosen) => {
                    let ports = service.entry_at(&["spec", "ports"]);
                    ports.items_mut()[at].set("nodePort", i64::from(chosen));
                }
                Err(why) => errors.invalid(field, &given.into(), &why),
            }
        }
        self.health_check_port(taken, service, errors);
    }

    fn health_check_port(&self, taken: &Taken, service: &mut Value, errors: &mut Errors) {
        let spec = service.get("spec");
        let wanted = spec.get("type").str() == "LoadBalancer"
            && spec.get("externalTrafficPolicy").str() == "Local";
        if !wanted {
            return;
        }
        let given = spec.get("healthCheckNodePort").as_int().unwrap_or(0);
        let own = spec.get("ports").items().iter().filter_map(node_port).collect();
        let chosen = match given {
            0 => self.free_port(taken, &own).ok_or_else(|| "range is full".to_owned()),
            given => self.check_port(taken, given),
        };
        match chosen {
            Ok(port) => service.entry("spec").set("healthCheckNodePort", i64::from(port)),
            Err(why) => errors.invalid("spec.healthCheckNodePort", &given.into(), &why),
        }
    }

    fn check_port(&self, taken: &Taken, given: i64) -> Result<u16, String> {
        let range = &self.ranges.node_ports;
        let Some(port) = u16::try_from(given).ok().filter(|port| range.contains(port)) else {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start(),
                range.end()
            ));
        };
        match taken.ports.contains_key(&port) {
            true => Err("provided port is already allocated".into()),
            false => Ok(port),
        }
    }

    fn free_port(&self, taken: &Taken, own: &HashSet<u16>) -> Option<u16> {
        let range = &self.ranges.node_ports;
        let (first, last) = (u32::from(*range.start()), u32::from(*range.end()));
        scattered(first, (last + 1).saturating_sub(first))
            .filter_map(|port| u16::try_from(port).ok())
            .find(|port| !taken.ports.contains_key(port) && !own.contains(port))
    }
}

/// The numbers from `first` on, `count` of them, from a random place round.
fn scattered(first: u32, count: u32) -> impl Iterator<Item = u32> {
    let start = u64::from(u32::from_le_bytes(id::random::<4>()));
    let count = u64::from(count);
    (0..count).filter_map(move |i| u32::try_from(u64::from(first) + (start + i) % count).ok())
}

fn wants_addresses(service: &Value, old: Option<&Value>) -> bool {
    let spec = service.get("spec");
    let settled = families::is_settled(spec, old.map(|old| old.get("spec")));
    spec.get("type").str() != "ExternalName" && spec.get("clusterIP").str() != "None" && !settled
}

fn wants_ports(service: &Value) -> bool {
    let spec = service.get("spec");
    match spec.get("type").str() {
        "NodePort" => true,
        "LoadBalancer" => spec.get("allocateLoadBalancerNodePorts").as_bool() != Some(false),
        _ => false,
    }
}

fn node_port(port: &Value) -> Option<u16> {
    port.get("nodePort").as_int().and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
}

/// What a Service holds: addresses and ports.
fn held(service: &Value) -> (Vec<IpAddr>, Vec<u16>) {
    let spec = service.get("spec");
    let first = std::iter::once(spec.get("clusterIP"));
    let addresses = first
        .chain(spec.get("clusterIPs").items())
        .filter_map(|text| text.str().parse().ok())
        .collect();
    let health = spec.get("healthCheckNodePort").as_int().and_then(|p| u16::try_from(p).ok());
    let ports = spec.get("ports").items().iter().filter_map(node_port);
    (addresses, ports.chain(health.filter(|p| *p != 0)).collect())
}

fn owner(service: &Value) -> String {
    use crate::api::meta::Meta;
    format!("{}/{}", service.namespace(), service.name())
}

impl Taken {
    /// Reads what has changed since the last time.
    fn catch_up(&mut self) {
        let events = match &mut self.cursor {
            Some(cursor) => cursor.poll(usize::MAX),
            None => return self.start_over(),
        };
        let Ok(events) = events else { return self.start_over() };
        for event in events {
            if let Some(Ok(old)) = event.previous.as_ref().map(|old| old.tree()) {
                self.forget(&old);
            }
            if let (false, Ok(new)) = (event.deleted, event.object.tree()) {
                self.note(&new);
            }
        }
    }

    /// Counts anew. A Service that holds what another holds too is named: it came from elsewhere.
    fn start_over(&mut self) {
        let snapshot = self.history.snapshot(&self.services);
        self.addresses.clear();
        self.ports.clear();
        for service in snapshot.iter().filter_map(|object| object.tree().ok()) {
            let (addresses, ports) = held(&service);
            let twice = addresses.iter().any(|address| self.addresses.contains(address))
                || ports.iter().any(|port| self.ports.contains_key(port));
            if twice {
                let service = owner(&service);
                tracing::warn!(%service, "holds a cluster address or node port of another Service");
            }
            self.note(&service);
        }
        self.cursor = self.history.cursor(&self.services, snapshot.revision).ok();
    }

    fn note(&mut self, service: &Value) {
        let (addresses, ports) = held(service);
        self.addresses.extend(addresses);
        self.ports.extend(ports.into_iter().map(|port| (port, owner(service))));
    }

    fn forget(&mut self, service: &Value) {
        let (addresses, ports) = held(service);
        for address in addresses {
            self.addresses.remove(&address);
        }
        let owner = owner(service);
        for port in ports {
            if self.ports.get(&port) == Some(&owner) {
                self.ports.remove(&port);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meta::Key;
    use crate::history::{Change, Object};

    fn ranges() -> Ranges {
        Ranges { services: "10.43.0.0/29".parse().unwrap(), node_ports: 30_000..=30_002 }
    }

    fn service(text: &str) -> Value {
        let mut service = Value::parse(text.as_bytes()).unwrap();
        let one = service.at(&["spec", "clusterIP"]).clone();
        if !one.is_empty() {
            service.entry("spec").set("clusterIPs", vec![one]);
        }
        service
    }

    fn store(history: &History, name: &str, service: &Value, revision: u64) {
        let key = Key::new(&GroupResource::new("", "services"), "d", name);
        let object = Object::new(key, service.clone(), revision, Vec::new());
        history.publish(vec![Change::Put(Arc::new(object))], revision);
    }

    #[tokio::test]
    async fn no_address_is_given_twice_and_freed_ones_come_back() {
        let history = History::new(1, 1 << 20);
        let allocator = Allocator::new(Arc::clone(&history), ranges());
        let mut seen = HashSet::new();
        let mut last = Value::Null;
        for revision in 2..8 {
            let mut one = service(r#"{"spec":{"type":"ClusterIP"}}"#);
            let name = format!("s{revision}");
            one.entry("metadata").set("name", name.as_str());
            drop(allocator.allocate(&mut one, None).await.unwrap());
            assert!(seen.insert(one.at(&["spec", "clusterIP"]).str().to_owned()));
            store(&history, &name, &one, revision);
            last = one;
        }
        let mut more = service(r#"{"spec":{"type":"ClusterIP"}}"#);
        let full = allocator.allocate(&mut more, None).await.err().unwrap().into_causes();
        assert_eq!(
            full[0].message,
            r#"Invalid value: [""]: failed to allocate a serviceIP: range is full"#
        );
        let key = Key::new(&GroupResource::new("", "services"), "d", "s7");
        let gone = Arc::new(Object::new(key, last.clone(), 9, Vec::new()));
        history.publish(vec![Change::Delete(gone)], 9);
        drop(allocator.allocate(&mut more, None).await.unwrap());
        assert_eq!(more.at(&["spec", "clusterIP"]), last.at(&["spec", "clusterIP"]));
    }

    #[tokio::test]
    async fn asked_for_addresses_and_ports_are_honoured_or_refused() {
        let history = History::new(1, 1 << 20);
        let allocator = Allocator::new(Arc::clone(&history), ranges());
        let text = r#"{"metadata":{"name":"a","namespace":"d"},"spec":{"type":"NodePort",
            "clusterIP":"10.43.0.3","ports":[{"port":53,"protocol":"TCP","nodePort":30001},
            {"port":53,"protocol":"UDP","nodePort":30001},{"port":80,"protocol":"TCP"}]}}"#;
        let mut first = service(text);
        drop(allocator.allocate(&mut first, None).await.unwrap());
        assert_eq!(first.at(&["spec", "clusterIPs"]).items()[0].str(), "10.43.0.3");
        let third = first.at(&["spec", "ports"]).items()[2].get("nodePort").as_int().unwrap();
        assert!(third == 30_000 || third == 30_002);
        store(&history, "a", &first, 2);

        let errors = allocator.allocate(&mut service(text), None).await.err().unwrap();
        let texts: Vec<String> = errors
            .into_causes()
            .into_iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        assert_eq!(
            texts[..2],
            [
                "spec.clusterIPs: Invalid value: [\"10.43.0.3\"]: failed to allocate IP \
                 10.43.0.3: provided IP is already allocated",
                "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated",
            ]
        );
        drop(allocator.allocate(&mut first.clone(), Some(&first)).await.unwrap());
        let mut outside = service(r#"{"spec":{"clusterIP":"10.44.0.1"}}"#);
        assert!(allocator.allocate(&mut outside, None).await.is_err());
    }

    /// Stores an object of the networking group.
    fn network(history: &History, plural: &str, text: &str, revision: u64) {
        let tree = Value::parse(text.as_bytes()).unwrap();
        let name = tree.at(&["metadata", "name"]).str().to_owned();
        let key = Key::new(&GroupResource::new("networking.k8s.io", plural), "", &name);
        let object = Object::new(key, tree, revision, Vec::new());
        history.publish(vec![Change::Put(Arc::new(object))], revision);
    }

    #[tokio::test]
    async fn ready_ranges_add_addresses_and_reserved_ones_are_left() {
        let history = History::new(1, 1 << 20);
        let allocator = Allocator::new(Arc::clone(&history), ranges());
        let asks = |address: &str| service(&format!(r#"{{"spec":{{"clusterIP":"{address}"}}}}"#));
        let range = |status: &str| {
            format!(
                r#"{{"metadata":{{"name":"more"}},"spec":{{"cidrs":["10.99.0.0/30","fd00::/112"]}},
                "status":{{"conditions":[{{"type":"Ready","status":"{status}"}}]}}}}"#
            )
        };
        network(&history, "servicecidrs", &range("False"), 2);
        assert!(allocator.allocate(&mut asks("10.99.0.1"), None).await.is_err());
        network(&history, "servicecidrs", &range("True"), 3);
        assert!(allocator.allocate(&mut asks("10.99.0.1"), None).await.is_ok());
        network(&history, "ipaddresses", r#"{"metadata":{"name":"10.99.0.1"}}"#, 4);
        assert!(allocator.allocate(&mut asks("10.99.0.1"), None).await.is_err(), "reserved");
        for (revision, host) in (5..).zip(1..=6) {
            let one = asks(&format!("10.43.0.{host}"));
            store(&history, &format!("s{host}"), &one, revision);
        }
        let mut any = service(r#"{"spec":{"type":"ClusterIP"}}"#);
        drop(allocator.allocate(&mut any, None).await.unwrap());
        assert_eq!(any.at(&["spec", "clusterIP"]).str(), "10.99.0.2", "its own range is full");
    }

    #[tokio::test]
    async fn each_family_has_its_own_addresses() {
        let history = History::new(1, 1 << 20);
        let services = "10.43.0.0/29,fd00::/124".parse().unwrap();
        let ranges = Ranges { services, ..ranges() };
        let allocator = Allocator::new(Arc::clone(&history), ranges);
        let ips = |service: &Value| -> Vec<String> {
            let list = service.at(&["spec", "clusterIPs"]).items();
            list.iter().map(|ip| ip.str().to_owned()).collect()
        };
        let mut dual = service(
            r#"{"spec":{"ipFamilyPolicy":"RequireDualStack",
            "ipFamilies":["IPv6","IPv4"]}}"#,
        );
        drop(allocator.allocate(&mut dual, None).await.unwrap());
        let first = ips(&dual);
        assert!(first[0].starts_with("fd00::") && first[1].starts_with("10.43.0."), "{first:?}");
        assert_eq!(dual.at(&["spec", "clusterIP"]).str(), first[0]);
        store(&history, "a", &dual, 2);

        // A second family comes and takes nothing that is held; it goes and is free again.
        let free = if first[1] == "10.43.0.6" { "10.43.0.5" } else { "10.43.0.6" };
        let mut grown = service(&format!(r#"{{"spec":{{"clusterIP":"{free}"}}}}"#));
        drop(allocator.allocate(&mut grown, None).await.unwrap());
        let old = grown.clone();
        grown.entry("spec").set("ipFamilies", vec!["IPv4".into(), "IPv6".into()]);
        drop(allocator.allocate(&mut grown, Some(&old)).await.unwrap());
        assert_eq!(ips(&grown)[0], free);
        assert_ne!(ips(&grown)[1], first[0]);
        store(&history, "b", &grown, 3);
        let wanted = ips(&grown)[1].clone();
        let asks = || service(&format!(r#"{{"spec":{{"clusterIP":"{wanted}"}}}}"#));
        assert!(allocator.allocate(&mut asks(), None).await.is_err());
        store(&history, "b", &old, 4);
        assert!(allocator.allocate(&mut asks(), None).await.is_ok());
        let mut far = service(r#"{"spec":{"clusterIP":"fd00::1:1"}}"#);
        let errors = allocator.allocate(&mut far, None).await.err().unwrap().into_causes();
        let why = "The range of valid IPs is fd00::/124";
        assert!(errors[0].message.ends_with(why), "{}", errors[0].message);
    }
}
