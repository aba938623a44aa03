//! Rules and names of all services, kept up to date from events, by service.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use super::rules::Place;
use super::{SERVICE_NAME, names, rules};
use crate::api::selector::Labels;
use crate::api::tree::Value;
use crate::history::{Event, Object, Snapshot};
use crate::net::{dns, service};

/// What all services come to.
#[derive(Default)]
pub struct Table {
    place: Place,
    /// Services that the node itself answers where they have no endpoints of their own.
    served: BTreeMap<String, Vec<SocketAddr>>,
    /// For packets, by `namespace/name`.
    pub services: BTreeMap<String, Arc<service::Service>>,
    /// For DNS.
    pub records: HashMap<dns::Name, Arc<dns::Service>>,
    /// The names of the slices of each service.
    slices: HashMap<dns::Name, BTreeSet<Arc<str>>>,
}

/// The service that a slice belongs to.
fn service_of(slice: &Object) -> Option<dns::Name> {
    let name = slice.header.label(SERVICE_NAME)?.to_owned();
    Some(dns::Name { namespace: slice.header.key.namespace.to_string(), name })
}

fn name_of(service: &Object) -> dns::Name {
    let key = &service.header.key;
    dns::Name { namespace: key.namespace.to_string(), name: key.name.to_string() }
}

impl Table {
    /// The table of everything in two snapshots.
    pub fn new(
        place: Place,
        served: BTreeMap<String, Vec<SocketAddr>>,
        services: &Snapshot,
        slices: &Snapshot,
    ) -> Self {
        let mut table = Self { place, served, ..Self::default() };
        let mut touched: BTreeSet<dns::Name> = services.iter().map(|s| name_of(s)).collect();
        for slice in slices.iter() {
            touched.extend(table.file(slice));
        }
        table.refresh(&touched, services, slices);
        table
    }

    /// Takes note of where a slice belongs.
    fn file(&mut self, slice: &Object) -> Option<dns::Name> {
        let service = service_of(slice)?;
        let name = Arc::clone(&slice.header.key.name);
        self.slices.entry(service.clone()).or_default().insert(name);
        Some(service)
    }

    fn unfile(&mut self, slice: &Object) -> Option<dns::Name> {
        let service = service_of(slice)?;
        if let Some(names) = self.slices.get_mut(&service) {
            names.remove(&slice.header.key.name);
            if names.is_empty() {
                self.slices.remove(&service);
            }
        }
        Some(service)
    }

    /// The services that some events are about.
    pub fn touched(
        &mut self,
        services: &[Arc<Event>],
        slices: &[Arc<Event>],
    ) -> BTreeSet<dns::Name> {
        let mut touched: BTreeSet<dns::Name> =
            services.iter().map(|event| name_of(&event.object)).collect();
        for event in slices {
            touched.extend(event.previous.as_ref().and_then(|old| self.unfile(old)));
            let now =
                if event.deleted { self.unfile(&event.object) } else { self.file(&event.object) };
            touched.extend(now);
        }
        touched
    }

    /// Works some services out anew. Returns whether anything is different for packets, and the
    /// services that are for DNS.
    pub fn refresh(
        &mut self,
        touched: &BTreeSet<dns::Name>,
        services: &Snapshot,
        slices: &Snapshot,
    ) -> (bool, Vec<dns::Name>) {
        let (mut packets, mut names_changed) = (false, Vec::new());
        for name in touched {
            let service = services.get(&name.namespace, &name.name).and_then(|s| s.tree().ok());
            let own = self.trees(name, slices);
            let own: Vec<&Value> = own.iter().collect();
            let mut rule = service.as_ref().and_then(|s| rules::service(s, &own, &self.place));
            let record = service.as_ref().and_then(|s| names::service(s, &own));
            let key = format!("{}/{}", name.namespace, name.name);
            if let (Some(rule), Some(at)) = (&mut rule, self.served.get(&key)) {
                serve(rule, at);
            }
            packets |= put(&mut self.services, key, rule);
            if put_hashed(&mut self.records, name, record) {
                names_changed.push(name.clone());
            }
        }
        (packets, names_changed)
    }

    fn trees(&self, service: &dns::Name, slices: &Snapshot) -> Vec<Value> {
        let names = self.slices.get(service).into_iter().flatten();
        let objects = names.filter_map(|name| slices.get(&service.namespace, name));
        objects.filter_map(|object| object.tree().ok()).collect()
    }
}

/// Leads the ports of a service that have no endpoints to addresses of the node.
fn serve(rule: &mut service::Service, at: &[SocketAddr]) {
    for port in rule.ports.iter_mut().filter(|port| port.endpoints.is_empty()) {
        let local = at.iter().map(|addr| service::Endpoint { addr: *addr, local: true });
        port.endpoints.extend(local);
    }
}

/// Sets or removes an entry; an equal value keeps its place in memory. Returns whether it changed.
fn put<V: PartialEq>(map: &mut BTreeMap<String, Arc<V>>, key: String, value: Option<V>) -> bool {
    match value {
        None => map.remove(&key).is_some(),
        Some(value) if map.get(&key).is_some_and(|old| **old == value) => false,
        Some(value) => {
            map.insert(key, Arc::new(value));
            true
        }
    }
}

fn put_hashed<V: PartialEq>(
    map: &mut HashMap<dns::Name, Arc<V>>,
    key: &dns::Name,
    value: Option<V>,
) -> bool {
    match value {
        None => map.remove(key).is_some(),
        Some(value) if map.get(key).is_some_and(|old| **old == value) => false,
        Some(value) => {
            map.insert(key.clone(), Arc::new(value));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::meta::{GroupResource, Key};
    use crate::history::{Change, History};

    struct World {
        history: Arc<History>,
        services: GroupResource,
        slices: GroupResource,
        revision: u64,
    }

    impl World {
        fn new() -> Self {
            Self {
                history: History::new(1, 1 << 20),
                services: GroupResource::new("", "services"),
                slices: GroupResource::new("discovery.k8s.io", "endpointslices"),
                revision: 1,
            }
        }

        fn object(&mut self, resource: &GroupResource, name: &str, body: &str) -> Arc<Object> {
            self.revision += 1;
            let key = Key::new(resource, "n", name);
            let tree = Value::parse(body.as_bytes()).unwrap();
            Arc::new(Object::new(key, tree, self.revision, Vec::new()))
        }

        fn service(&mut self, name: &str, ip: &str) {
            let body = format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"n"}},
                    "spec":{{"clusterIP":"{ip}","ports":[{{"port":80}}]}}}}"#
            );
            let object = self.object(&self.services.clone(), name, &body);
            self.history.publish(vec![Change::Put(object)], self.revision);
        }

        fn slice(&mut self, service: &str, endpoint: &str) -> Arc<Object> {
            let body = format!(
                r#"{{"metadata":{{"name":"x","namespace":"n","labels":{{"{SERVICE_NAME}":"{service}"}}}},
                    "addressType":"IPv4","ports":[{{"port":8080}}],
                    "endpoints":[{{"addresses":["{endpoint}"]}}]}}"#
            );
            let object = self.object(&self.slices.clone(), "x", &body);
            self.history.publish(vec![Change::Put(Arc::clone(&object))], self.revision);
            object
        }
    }

    fn endpoints(table: &Table, service: &str) -> usize {
        table.services.get(&format!("n/{service}")).map_or(99, |s| s.ports[0].endpoints.len())
    }

    #[test]
    fn a_slice_that_moves_touches_both_services_and_nothing_else_changes() {
        let mut world = World::new();
        world.service("a", "10.43.0.1");
        world.service("b", "10.43.0.2");
        world.slice("a", "10.42.0.9");
        let (services, slices) = (world.services.clone(), world.slices.clone());
        let mut table = Table::new(
            Place::default(),
            BTreeMap::new(),
            &world.history.snapshot(&services),
            &world.history.snapshot(&slices),
        );
        assert_eq!((endpoints(&table, "a"), endpoints(&table, "b")), (1, 0));

        let mut cursor = world.history.cursor(&slices, world.revision).unwrap();
        let last = world.slice("b", "10.42.0.9");
        let events = cursor.poll(9).unwrap();
        let touched = table.touched(&[], &events);
        let changed = table.refresh(
            &touched,
            &world.history.snapshot(&services),
            &world.history.snapshot(&slices),
        );
        assert_eq!((endpoints(&table, "a"), endpoints(&table, "b")), (0, 1));
        assert!(changed.0 && changed.1.is_empty(), "DNS answers with the same addresses");

        world.revision += 1;
        world.history.publish(
            vec![Change::Delete(Arc::new(Object {
                header: crate::history::Header { revision: world.revision, ..last.header.clone() },
                body: last.body.clone(),
            }))],
            world.revision,
        );
        let events = cursor.poll(9).unwrap();
        let touched = table.touched(&[], &events);
        assert_eq!(touched.len(), 1);
        table.refresh(
            &touched,
            &world.history.snapshot(&services),
            &world.history.snapshot(&slices),
        );
        assert_eq!(endpoints(&table, "b"), 0);
        assert!(table.slices.is_empty());
    }
}
