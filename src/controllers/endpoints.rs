//! Keeps a Service's Endpoints object, for those who do not read EndpointSlices yet.

use std::collections::BTreeMap;

use super::backends::{self, Backend, Port};
use super::calls;
use super::runner::{self, Controller, Moment, Plan, Views};
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::{ENDPOINTS, PODS, SERVICES};
use crate::history::Event;
use crate::limits;

/// The label that says who keeps the object.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Set when a Service has more pods than an Endpoints object may hold.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "endpoint-controller",
        watches: vec![
            (SERVICES, runner::itself),
            (PODS, backends::services_of_pod),
            (ENDPOINTS, of_endpoints),
        ],
        reconcile: Box::new(reconcile),
    }
}

fn of_endpoints(event: &Event, _: &Views) -> Vec<Key> {
    let key = &event.object.header.key;
    vec![Key::new(&SERVICES.group_resource(), &key.namespace, &key.name)]
}

fn reconcile(views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let tree = |object: std::sync::Arc<crate::history::Object>| object.tree().ok();
    let service = views.of(&SERVICES).get(&key.namespace, &key.name).and_then(tree);
    let existing = views.of(&ENDPOINTS).get(&key.namespace, &key.name).and_then(tree);
    let own = Key::new(&ENDPOINTS.group_resource(), &key.namespace, &key.name);
    let call = match (service, existing) {
        (None, Some(old)) if is_ours(&old) => Some(calls::delete(&ENDPOINTS, &own, old.uid())),
        (None, _) => None,
        (Some(service), old) => write(&service, old, &own, views),
    };
    Plan { calls: call.into_iter().map(Into::into).collect(), ..Plan::default() }
}

fn is_ours(endpoints: &Value) -> bool {
    endpoints.label(MANAGED_BY) == Some(MANAGER)
}

fn write(
    service: &Value,
    old: Option<Value>,
    key: &Key,
    views: &Views,
) -> Option<crate::client::Call> {
    let selector = backends::selector(service).filter(|_| !service.is_deleting())?;
    // An Endpoints object is of one family: the first of the Service.
    let family = backends::families(service)[0];
    let mut all = backends::backends(service, &selector, family, views);
    let over = all.len() > limits::ENDPOINTS_MAX;
    // Ready ones first, so that those are kept.
    all.sort_by_key(|backend| !backend.ready);
    all.truncate(limits::ENDPOINTS_MAX);
    let mut wanted = old.clone().unwrap_or_else(|| new(service));
    let mut labels = backends::inherited_labels(service);
    labels.set(MANAGED_BY, MANAGER);
    wanted.entry("metadata").set("labels", labels);
    mark_capacity(&mut wanted, over);
    wanted.set("subsets", subsets(&all));
    match &old {
        None => Some(calls::create(&ENDPOINTS, &key.namespace, wanted)),
        Some(old) if *old == wanted || without_empty(old) == without_empty(&wanted) => None,
        Some(_) => Some(calls::update(&ENDPOINTS, key, wanted)),
    }
}

/// No subsets and an empty list of them are the same.
fn without_empty(endpoints: &Value) -> Value {
    let mut copy = endpoints.clone();
    if copy.get("subsets").is_empty() {
        copy.remove("subsets");
    }
    copy
}

fn new(service: &Value) -> Value {
    Value::from([
        ("apiVersion", "v1".into()),
        ("kind", "Endpoints".into()),
        ("metadata", Value::from([("name", service.name().into())])),
    ])
}

fn mark_capacity(endpoints: &mut Value, over: bool) {
    let metadata = endpoints.entry("metadata");
    if over {
        metadata.entry("annotations").set(OVER_CAPACITY, "truncated");
    } else if !metadata.get("annotations").get(OVER_CAPACITY).is_null() {
        metadata.entry("annotations").remove(OVER_CAPACITY);
    }
}

/// Pods with the same ports together, ready ones apart from those that are not.
fn subsets(backends: &[Backend]) -> Vec<Value> {
    let mut groups: BTreeMap<&[Port], (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for backend in backends.iter().filter(|b| b.ready || !b.terminating) {
        let (ready, waiting) = groups.entry(&backend.ports).or_default();
        if backend.ready { ready } else { waiting }.push(address(backend));
    }
    groups.into_iter().map(|(ports, (ready, waiting))| subset(ports, ready, waiting)).collect()
}

fn subset(ports: &[Port], ready: Vec<Value>, waiting: Vec<Value>) -> Value {
    let mut subset = Value::object();
    for (field, mut addresses) in [("addresses", ready), ("notReadyAddresses", waiting)] {
        addresses.sort_by(|a, b| a.get("ip").str().cmp(b.get("ip").str()));
        if !addresses.is_empty() {
            subset.set(field, addresses);
        }
    }
    if !ports.is_empty() {
        subset.set("ports", ports.iter().map(Port::to_value).collect::<Vec<_>>());
    }
    subset
}

fn address(backend: &Backend) -> Value {
    let mut address =
        Value::from([("ip", backend.address.as_str().into()), ("targetRef", backend.target_ref())]);
    for (field, text) in [("nodeName", &backend.node), ("hostname", &backend.hostname)] {
        if !text.is_empty() {
            address.set(field, text.as_str());
        }
    }
    address
}
