//! Which pods stand behind a Service: what Endpoints and EndpointSlices both are made of.

use crate::api::meta::{Key, Meta};
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::client::{PODS, SERVICES};
use crate::history::{Event, Object};

use super::runner::Views;
use super::slices::{IPV4, IPV6};

/// One pod behind a Service.
pub(super) struct Backend {
    pub(super) address: String,
    /// May get new connections.
    pub(super) ready: bool,
    /// Answers, though it may be about to end.
    pub(super) serving: bool,
    pub(super) terminating: bool,
    pub(super) node: String,
    /// The pod's own name within the Service's domain, if it has one.
    pub(super) hostname: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// The Service's ports as this pod has them.
    pub(super) ports: Vec<Port>,
}

/// A port of a Service at one pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) number: i64,
    pub(super) app_protocol: String,
}

/// The selector of a Service; `None` when its endpoints are someone else's business.
pub(super) fn selector(service: &Value) -> Option<LabelSelector> {
    let spec = service.get("spec");
    if spec.get("type").str() == "ExternalName" || spec.get("selector").is_null() {
        return None;
    }
    Some(LabelSelector::from_pairs(spec.get("selector").fields().map(|(k, v)| (k, v.str()))))
}

/// The Services of a pod's namespace that select it, now or before.
pub(super) fn services_of_pod(event: &Event, views: &Views) -> Vec<Key> {
    let states = || [Some(&event.object), event.previous.as_ref()].into_iter().flatten();
    let namespace = &event.object.header.key.namespace;
    let services = views.of(&SERVICES).snapshot();
    let selects = |service: &Object| {
        let selector = service.tree().ok().as_ref().and_then(selector);
        selector.is_some_and(|selector| states().any(|pod| selector.matches(&pod.header)))
    };
    let selecting = services.in_namespace(namespace).filter(|service| selects(service));
    selecting.map(|service| service.header.key.clone()).collect()
}

/// The families of a Service's addresses, in their order. One of before there were families is of
/// IPv4, or of that of its address.
pub(super) fn families(service: &Value) -> Vec<&'static str> {
    let spec = service.get("spec");
    let six = |item: &Value| if item.str() == IPV6 { IPV6 } else { IPV4 };
    match spec.get("ipFamilies").items() {
        [] if spec.get("clusterIP").str().contains(':') => vec![IPV6],
        [] => vec![IPV4],
        given => given.iter().map(six).collect(),
    }
}

/// The pods behind a Service with their addresses of a family, in order of name: those that have
/// one and have not ended.
pub(super) fn backends(
    service: &Value,
    selector: &LabelSelector,
    family: &str,
    views: &Views,
) -> Vec<Backend> {
    let pods = views.of(&PODS).snapshot();
    let selected = pods.in_namespace(service.namespace()).filter(|p| selector.matches(&p.header));
    selected.filter_map(|pod| backend(service, &pod.tree().ok()?, family)).collect()
}

/// A pod's address of a family.
fn address<'a>(status: &'a Value, family: &str) -> Option<&'a str> {
    let of_family =
        |address: &&str| !address.is_empty() && address.contains(':') == (family == IPV6);
    let first = status.get("podIP").str();
    let all = status.get("podIPs").items().iter().map(|item| item.get("ip").str());
    std::iter::once(first).chain(all).find(of_family)
}

fn backend(service: &Value, pod: &Value, family: &str) -> Option<Backend> {
    let (spec, status) = (pod.get("spec"), pod.get("status"));
    let address = address(status, family)?;
    if matches!(status.get("phase").str(), "Succeeded" | "Failed") {
        return None;
    }
    let serving = is_ready(status);
    let terminating = pod.is_deleting();
    let anyhow = service.at(&["spec", "publishNotReadyAddresses"]).is_true();
    let own_name = spec.get("subdomain").str() == service.name();
    Some(Backend {
        address: address.to_owned(),
        ready: anyhow || serving && !terminating,
        serving,
        terminating,
        node: spec.get("nodeName").str().to_owned(),
        hostname: if own_name { spec.get("hostname").str().to_owned() } else { String::new() },
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        ports: ports(service, spec),
    })
}

fn is_ready(status: &Value) -> bool {
    let mut conditions = status.get("conditions").items().iter();
    conditions.any(|c| c.get("type").str() == "Ready" && c.get("status").str() == "True")
}

/// The Service's ports at a pod; one whose name the pod does not have is left out.
fn ports(service: &Value, pod_spec: &Value) -> Vec<Port> {
    let wanted = service.at(&["spec", "ports"]).items().iter();
    let found = wanted.filter_map(|port| {
        Some(Port {
            name: port.get("name").str().to_owned(),
            protocol: port.get("protocol").as_str().unwrap_or("TCP").to_owned(),
            number: target(port, pod_spec)?,
            app_protocol: port.get("appProtocol").str().to_owned(),
        })
    });
    found.collect()
}

fn target(port: &Value, pod_spec: &Value) -> Option<i64> {
    match port.get("targetPort") {
        Value::Null | Value::Int(0) => port.get("port").as_int(),
        Value::Int(number) => Some(*number),
        Value::Str(name) => named_port(name, port.get("protocol").str(), pod_spec),
        _ => None,
    }
}

fn named_port(name: &str, protocol: &str, pod_spec: &Value) -> Option<i64> {
    let sidecar = |c: &&Value| c.get("restartPolicy").str() == "Always";
    let sidecars = pod_spec.get("initContainers").items().iter().filter(sidecar);
    let containers = pod_spec.get("containers").items().iter().chain(sidecars);
    let mut ports = containers.flat_map(|container| container.get("ports").items());
    let found = ports.find(|port| {
        let same = port.get("protocol").as_str().unwrap_or("TCP") == protocol;
        port.get("name").str() == name && same
    });
    found?.get("containerPort").as_int()
}

impl Backend {
    /// The reference by which endpoints name the pod.
    pub(super) fn target_ref(&self) -> Value {
        Value::from([
            ("kind", "Pod".into()),
            ("namespace", self.namespace.as_str().into()),
            ("name", self.name.as_str().into()),
            ("uid", self.uid.as_str().into()),
        ])
    }
}

impl Port {
    /// The port that an EndpointSlice has: no name is stored as the empty one, or not at all.
    pub(super) fn of(value: &Value) -> Self {
        Self {
            name: value.get("name").str().to_owned(),
            protocol: value.get("protocol").as_str().unwrap_or("TCP").to_owned(),
            number: value.get("port").as_int().unwrap_or(0),
            app_protocol: value.get("appProtocol").str().to_owned(),
        }
    }

    /// The port as an Endpoints or EndpointSlice object has it.
    pub(super) fn to_value(&self) -> Value {
        let mut value = Value::from([
            ("protocol", self.protocol.as_str().into()),
            ("port", self.number.into()),
        ]);
        for (field, text) in [("name", &self.name), ("appProtocol", &self.app_protocol)] {
            if !text.is_empty() {
                value.set(field, text.as_str());
            }
        }
        value
    }
}

/// The annotations and labels that a Service hands down to its endpoints.
pub(super) fn inherited_labels(service: &Value) -> Value {
    let mut labels = service.metadata().get("labels").clone();
    if labels.is_null() {
        labels = Value::object();
    }
    labels.remove("service.kubernetes.io/headless");
    if service.at(&["spec", "clusterIP"]).str() == "None" {
        labels.set("service.kubernetes.io/headless", "");
    }
    labels
}
