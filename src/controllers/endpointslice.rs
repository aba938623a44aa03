//! Keeps a Service's EndpointSlices: the pods behind it, at most a hundred in each.

use super::backends::{self, Backend};
use super::runner::{self, Controller, Moment, Plan, Views};
use super::slices::{self, Groups, Source};
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::{ENDPOINTSLICES, NODES, PODS, SERVICES};
use crate::history::Event;
use crate::limits;

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
    slices::source(event, MANAGER, &SERVICES)
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
    let mut groups = Groups::new();
    for family in backends::families(&service) {
        for backend in backends::backends(&service, &selector, family, views) {
            let group = groups.entry((family, backend.ports.clone())).or_default();
            group.push(endpoint(&backend, views));
        }
        // A Service without pods still has a slice, so that one can see that it was looked at.
        if !groups.keys().any(|(known, _)| *known == family) {
            groups.insert((family, Vec::new()), Vec::new());
        }
    }
    let source = Source {
        key,
        kind: "Service",
        uid: service.uid(),
        manager: MANAGER,
        labels: backends::inherited_labels(&service),
        annotations: Value::Null,
        endpoints_max: limits::ENDPOINTS_PER_SLICE,
    };
    let calls = source.difference(slices::of(views, key, MANAGER), groups);
    Plan { calls: calls.into_iter().map(Into::into).collect(), ..Plan::default() }
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
