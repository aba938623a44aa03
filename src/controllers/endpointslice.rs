//! Keeps a Service's EndpointSlices: the pods behind it, at most a hundred in each.

use std::collections::BTreeMap;

use super::backends::{self, Backend, Port};
use super::calls;
use super::runner::{self, Controller, Moment, Plan, Views};
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::{Call, ENDPOINTSLICES, NODES, PODS, SERVICES};
use crate::history::Event;
use crate::limits;

/// The label that names a slice's Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// The label that says who keeps a slice.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "endpoint-slice-controller",
        watches: vec![
            (SERVICES, runner::itself),
            (PODS, backends::services_of_pod),
            (ENDPOINTSLICES, of_slice),
            (NODES, runner::nothing),
        ],
        reconcile: Box::new(reconcile),
    }
}

fn of_slice(event: &Event, _: &Views) -> Vec<Key> {
    use crate::api::selector::Labels;
    let header = &event.object.header;
    if header.label(MANAGED_BY) != Some(MANAGER) {
        return Vec::new();
    }
    let service = header.label(SERVICE);
    let key = |name| Key::new(&SERVICES.group_resource(), &header.key.namespace, name);
    service.map(key).into_iter().collect()
}

fn reconcile(views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let service = views.of(&SERVICES).get(&key.namespace, &key.name);
    // The slices of a Service that is gone go with it: they name it as their owner.
    let Some(service) = service.and_then(|object| object.tree().ok()) else {
        return Plan::default();
    };
    let Some(selector) = backends::selector(&service).filter(|_| !service.is_deleting()) else {
        return Plan::default();
    };
    let existing = existing(views, key);
    let mut groups: BTreeMap<Vec<Port>, Vec<Value>> = BTreeMap::new();
    for backend in backends::backends(&service, &selector, views) {
        groups.entry(backend.ports.clone()).or_default().push(endpoint(&backend, views));
    }
    let calls = difference(&service, key, existing, groups);
    Plan { calls: calls.into_iter().map(Into::into).collect(), ..Plan::default() }
}

/// The slices of a Service that this controller keeps.
fn existing(views: &Views, key: &Key) -> Vec<Value> {
    use crate::api::selector::Labels;
    let all = views.of(&ENDPOINTSLICES).snapshot();
    let own = all.in_namespace(&key.namespace).filter(|slice| {
        slice.header.label(MANAGED_BY) == Some(MANAGER)
            && slice.header.label(SERVICE) == Some(&*key.name)
            && !slice.header.deleting
    });
    own.filter_map(|slice| slice.tree().ok()).collect()
}

fn endpoint(backend: &Backend, views: &Views) -> Value {
    let conditions = Value::from([
        ("ready", backend.ready.into()),
        ("serving", backend.serving.into()),
        ("terminating", backend.terminating.into()),
    ]);
    let mut endpoint = Value::from([
        ("addresses", vec![backend.address.as_str().into()].into()),
        ("conditions", conditions),
        ("targetRef", backend.target_ref()),
    ]);
    for (field, text) in [("nodeName", &backend.node), ("hostname", &backend.hostname)] {
        if !text.is_empty() {
            endpoint.set(field, text.as_str());
        }
    }
    let zone = views.of(&NODES).get("", &backend.node).and_then(|node| {
        use crate::api::selector::Labels;
        node.header.label("topology.kubernetes.io/zone").map(str::to_owned)
    });
    if let Some(zone) = zone {
        endpoint.set("zone", zone);
    }
    endpoint
}

/// The calls that turn the slices that are into those that should be, touching as few as possible:
/// every change of a slice goes to every node.
fn difference(
    service: &Value,
    key: &Key,
    existing: Vec<Value>,
    groups: BTreeMap<Vec<Port>, Vec<Value>>,
) -> Vec<Call> {
    let mut by_ports: BTreeMap<Vec<Port>, Vec<Value>> = BTreeMap::new();
    for slice in existing {
        let ports = slice.get("ports").items().iter().map(Port::of).collect();
        by_ports.entry(ports).or_default().push(slice);
    }
    // A Service without pods still has a slice, so that one can see that it was looked at.
    let groups =
        if groups.is_empty() { BTreeMap::from([(Vec::new(), Vec::new())]) } else { groups };
    let mut calls = Vec::new();
    for (ports, endpoints) in groups {
        let slices = by_ports.remove(&ports).unwrap_or_default();
        let ports = Value::Array(ports.iter().map(Port::to_value).collect());
        calls.extend(fill(service, key, slices, &ports, endpoints));
    }
    calls.extend(by_ports.into_values().flatten().map(|slice| delete(key, &slice)));
    calls
}

/// Puts endpoints into the slices of one set of ports: where they are, then where there is room.
fn fill(
    service: &Value,
    key: &Key,
    slices: Vec<Value>,
    ports: &Value,
    mut endpoints: Vec<Value>,
) -> Vec<Call> {
    let mut filled: Vec<(Value, Vec<Value>)> = Vec::new();
    for slice in slices {
        let had = slice.get("endpoints").items();
        let stays = |wanted: &mut Value| had.iter().any(|old| same_endpoint(old, wanted));
        let kept = endpoints.extract_if(.., |wanted| stays(wanted)).collect();
        filled.push((slice, kept));
    }
    for (_, kept) in &mut filled {
        let room = limits::ENDPOINTS_PER_SLICE.saturating_sub(kept.len()).min(endpoints.len());
        kept.extend(endpoints.drain(..room));
    }
    let mut calls: Vec<Call> = Vec::new();
    let mut left = filled.len();
    for (slice, kept) in filled {
        let empty = kept.is_empty() && (left > 1 || !endpoints.is_empty());
        if empty {
            left -= 1;
            calls.push(delete(key, &slice));
        } else {
            calls.extend(update(service, key, slice, kept));
        }
    }
    if left == 0 && endpoints.is_empty() {
        calls.push(create(service, key, ports, Vec::new()));
    }
    let chunks = endpoints.chunks(limits::ENDPOINTS_PER_SLICE);
    calls.extend(chunks.map(|chunk| create(service, key, ports, chunk.to_vec())));
    calls
}

/// Whether two endpoints are the same pod at the same address.
fn same_endpoint(a: &Value, b: &Value) -> bool {
    a.get("addresses") == b.get("addresses") && a.get("targetRef") == b.get("targetRef")
}

fn labels(service: &Value) -> Value {
    let mut labels = backends::inherited_labels(service);
    labels.set(SERVICE, service.name());
    labels.set(MANAGED_BY, MANAGER);
    labels
}

fn create(service: &Value, key: &Key, ports: &Value, endpoints: Vec<Value>) -> Call {
    let owner = Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "Service".into()),
        ("name", service.name().into()),
        ("uid", service.uid().into()),
        ("controller", true.into()),
        ("blockOwnerDeletion", true.into()),
    ]);
    let metadata = Value::from([
        ("generateName", format!("{}-", service.name()).into()),
        ("labels", labels(service)),
        ("ownerReferences", vec![owner].into()),
    ]);
    let slice = Value::from([
        ("apiVersion", "discovery.k8s.io/v1".into()),
        ("kind", "EndpointSlice".into()),
        ("metadata", metadata),
        ("addressType", "IPv4".into()),
        ("ports", ports.clone()),
        ("endpoints", endpoints.into()),
    ]);
    calls::create(&ENDPOINTSLICES, &key.namespace, slice)
}

fn slice_key(key: &Key, slice: &Value) -> Key {
    Key::new(&ENDPOINTSLICES.group_resource(), &key.namespace, slice.name())
}

/// The update of a slice, if it differs.
fn update(service: &Value, key: &Key, mut slice: Value, endpoints: Vec<Value>) -> Option<Call> {
    let labels = labels(service);
    let same =
        *slice.get("endpoints").items() == *endpoints && *slice.metadata().get("labels") == labels;
    if same {
        return None;
    }
    let slice_key = slice_key(key, &slice);
    slice.set("endpoints", endpoints);
    slice.entry("metadata").set("labels", labels);
    Some(calls::update(&ENDPOINTSLICES, &slice_key, slice))
}

fn delete(key: &Key, slice: &Value) -> Call {
    calls::delete(&ENDPOINTSLICES, &slice_key(key, slice), slice.uid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Verb;

    fn service() -> Value {
        Value::parse(br#"{"metadata":{"name":"web","namespace":"n","uid":"s"},"spec":{}}"#).unwrap()
    }

    fn key() -> Key {
        Key::new(&SERVICES.group_resource(), "n", "web")
    }

    fn ports() -> Vec<Port> {
        let (name, protocol, app_protocol) = (String::new(), "TCP".to_owned(), String::new());
        vec![Port { name, protocol, number: 80, app_protocol }]
    }

    fn endpoint(i: usize) -> Value {
        Value::from([("addresses", vec![format!("10.0.0.{i}").into()].into())])
    }

    fn slice(name: &str, endpoints: Vec<Value>) -> Value {
        let mut slice =
            create(&service(), &key(), &vec![ports()[0].to_value()].into(), endpoints).body;
        slice.entry("metadata").set("name", name);
        slice
    }

    fn calls_for(existing: Vec<Value>, endpoints: Vec<Value>) -> Vec<(Verb, usize)> {
        let groups = BTreeMap::from([(ports(), endpoints)]);
        let calls = difference(&service(), &key(), existing, groups);
        calls.iter().map(|call| (call.verb, call.body.get("endpoints").items().len())).collect()
    }

    #[test]
    fn slices_hold_a_hundred_and_only_the_changed_one_is_written() {
        let all: Vec<Value> = (0..150).map(endpoint).collect();
        assert_eq!(calls_for(vec![], all.clone()), [(Verb::Create, 100), (Verb::Create, 50)]);
        let existing = || vec![slice("a", all[..100].to_vec()), slice("b", all[100..].to_vec())];
        assert_eq!(calls_for(existing(), all.clone()), []);
        assert_eq!(calls_for(existing(), all[..149].to_vec()), [(Verb::Update, 49)]);
        let mut more = all.clone();
        more.push(endpoint(200));
        assert_eq!(calls_for(existing(), more), [(Verb::Update, 51)]);
    }

    #[test]
    fn the_last_slice_stays_though_it_is_empty() {
        assert_eq!(calls_for(vec![slice("a", vec![endpoint(1)])], vec![]), [(Verb::Update, 0)]);
        let groups = BTreeMap::new();
        let calls = difference(&service(), &key(), vec![], groups);
        assert_eq!((calls.len(), calls[0].verb), (1, Verb::Create));
    }

    #[test]
    fn a_placeholder_is_made_once() {
        let mut stored = create(&service(), &key(), &Value::Array(vec![]), vec![]).body;
        stored.entry("metadata").set("name", "a");
        stored.remove("ports");
        stored.remove("endpoints");
        assert!(difference(&service(), &key(), vec![stored], BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_port_without_a_name_is_the_same_with_an_empty_one() {
        let mut stored = slice("a", vec![endpoint(1)]);
        stored.entry("ports").items_mut()[0].set("name", "");
        assert_eq!(calls_for(vec![stored], vec![endpoint(1)]), []);
    }

    #[test]
    fn slices_of_other_ports_go() {
        let mut old = slice("a", vec![endpoint(1)]);
        old.set("ports", Vec::<Value>::new());
        let calls = calls_for(vec![old], vec![endpoint(1)]);
        assert_eq!(calls, [(Verb::Create, 1), (Verb::Delete, 0)]);
    }
}
