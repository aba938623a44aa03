//! Mirrors Endpoints that somebody keeps by hand into EndpointSlices, which is what nodes read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::backends::Port;
use super::runner::{self, Controller, Moment, Plan, Views};
use super::slices::{self, Groups, IPV4, IPV6, Source};
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::events::{Regarding, Severity};
use crate::client::{ENDPOINTS, ENDPOINTSLICES, SERVICES};
use crate::history::Event;
use crate::limits;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// The label of Endpoints whose slices somebody makes.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints that only hold a lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that concern the Endpoints object alone.
const OWN_ANNOTATIONS: &[&str] = &[
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];

/// The controller's row.
pub fn controller() -> Controller {
    Controller {
        name: "endpoint-slice-mirroring-controller",
        watches: vec![
            (ENDPOINTS, runner::itself),
            (SERVICES, of_service),
            (ENDPOINTSLICES, of_slice),
        ],
        reconcile: Box::new(reconcile),
    }
}

fn of_service(event: &Event, _: &Views) -> Vec<Key> {
    let key = &event.object.header.key;
    vec![Key::new(&ENDPOINTS.group_resource(), &key.namespace, &key.name)]
}

fn of_slice(event: &Event, _: &Views) -> Vec<Key> {
    slices::source(event, MANAGER, &ENDPOINTS)
}

fn reconcile(views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let existing = slices::of(views, key, MANAGER);
    let Some(endpoints) = mirrored(views, key) else {
        let calls = existing.iter().map(|slice| slices::delete(key, slice).into()).collect();
        return Plan { calls, ..Plan::default() };
    };
    if endpoints.is_deleting() {
        return Plan::default();
    }
    let (groups, skipped) = groups(&endpoints);
    let source = Source {
        key,
        kind: "Endpoints",
        uid: endpoints.uid(),
        manager: MANAGER,
        labels: map(&endpoints, "labels"),
        annotations: annotations(&endpoints),
        endpoints_max: limits::ENDPOINTS_MAX,
    };
    let calls: Vec<_> = source.difference(existing, groups);
    let mut plan = Plan { calls: calls.into_iter().map(Into::into).collect(), ..Plan::default() };
    // Told when something changes, and not whenever it is looked at.
    if skipped > 0 && !plan.calls.is_empty() {
        let regarding = Regarding::to("v1", "Endpoints", &endpoints);
        let most = limits::ENDPOINTS_MAX;
        let message = format!(
            "A max of {most} addresses can be mirrored to EndpointSlices per Endpoints subset. \
             {skipped} addresses were skipped"
        );
        plan.events.push((regarding, Severity::Warning, "TooManyAddressesToMirror", message));
    }
    plan
}

/// The Endpoints object, if it is to be mirrored: its Service selects no pods.
fn mirrored(views: &Views, key: &Key) -> Option<Value> {
    let service = views.of(&SERVICES).get(&key.namespace, &key.name)?.tree().ok()?;
    let endpoints = views.of(&ENDPOINTS).get(&key.namespace, &key.name)?.tree().ok()?;
    let by_hand = service.at(&["spec", "selector"]).is_null();
    let skipped = endpoints.label(SKIP) == Some("true")
        || !endpoints.metadata().get("annotations").get(LEADER).is_null();
    (by_hand && !skipped).then_some(endpoints)
}

fn map(object: &Value, name: &str) -> Value {
    match object.metadata().get(name) {
        Value::Null => Value::object(),
        map => map.clone(),
    }
}

fn annotations(endpoints: &Value) -> Value {
    let mut annotations = map(endpoints, "annotations");
    for own in OWN_ANNOTATIONS {
        annotations.remove(own);
    }
    annotations
}

/// Addresses by IP and UID, each with whether it is ready.
type Addresses<'a> = BTreeMap<(&'a str, &'a str), (bool, &'a Value)>;

/// The endpoints by what they have in common, and how many addresses are too many.
fn groups(endpoints: &Value) -> (Groups, usize) {
    let mut groups = Groups::new();
    let mut skipped = 0;
    for (ports, addresses) in packed(endpoints) {
        let mut addresses: Vec<(bool, &Value)> = addresses.into_values().collect();
        addresses.sort_by_key(|(ready, _)| !ready);
        skipped += addresses.len().saturating_sub(limits::ENDPOINTS_MAX);
        addresses.truncate(limits::ENDPOINTS_MAX);
        for (ready, address) in addresses {
            let Some((family, endpoint)) = endpoint(address, ready) else { continue };
            groups.entry((family, ports.clone())).or_default().push(endpoint);
        }
    }
    (groups, skipped)
}

/// The subsets such that no two have the same addresses, and no address is twice at a port. An
/// address that is both ready and not is not.
fn packed(endpoints: &Value) -> Vec<(Vec<Port>, Addresses<'_>)> {
    let mut by_port: BTreeMap<Option<Port>, Addresses<'_>> = BTreeMap::new();
    for subset in endpoints.get("subsets").items() {
        let ports = subset.get("ports").items().iter().map(|port| Some(Port::of(port)));
        let ports: Vec<_> = ports.collect();
        for port in if ports.is_empty() { vec![None] } else { ports } {
            let addresses = by_port.entry(port).or_default();
            for (list, ready) in [("addresses", true), ("notReadyAddresses", false)] {
                for address in subset.get(list).items() {
                    let uid = address.at(&["targetRef", "uid"]).str();
                    let known = addresses.entry((address.get("ip").str(), uid));
                    known.or_insert((ready, address)).0 &= ready;
                }
            }
        }
    }
    let mut packed: Vec<(Vec<Port>, Addresses<'_>)> = Vec::new();
    for (port, addresses) in by_port {
        let states = |a: &Addresses<'_>| -> Vec<bool> { a.values().map(|(r, _)| *r).collect() };
        let same = packed.iter_mut().find(|(_, known)| {
            known.keys().eq(addresses.keys()) && states(known) == states(&addresses)
        });
        match same {
            Some((ports, _)) => ports.extend(port),
            None => packed.push((port.into_iter().collect(), addresses)),
        }
    }
    packed
}

/// An address as a slice has it; none where it is no address.
fn endpoint(address: &Value, ready: bool) -> Option<(&'static str, Value)> {
    let ip: IpAddr = address.get("ip").str().parse().ok()?;
    let mut endpoint = Value::from([
        ("addresses", vec![ip.to_string().into()].into()),
        ("conditions", Value::from([("ready", ready.into())])),
    ]);
    for field in ["targetRef", "nodeName", "hostname"] {
        if !address.get(field).is_empty() {
            endpoint.set(field, address.get(field).clone());
        }
    }
    Some((if ip.is_ipv6() { IPV6 } else { IPV4 }, endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each group as its type, ports and endpoints.
    fn mirrored(subsets: &str) -> (Vec<String>, usize) {
        let json = format!(r#"{{"metadata":{{"name":"e"}},"subsets":{subsets}}}"#);
        let (groups, skipped) = groups(&Value::parse(json.as_bytes()).unwrap());
        let told = |((family, ports), endpoints): (&(&str, Vec<Port>), &Vec<Value>)| {
            let ports: Vec<i64> = ports.iter().map(|port| port.number).collect();
            let one = |e: &Value| {
                let ready = e.at(&["conditions", "ready"]).is_true();
                format!("{}{}", e.get("addresses").items()[0].str(), if ready { "" } else { "-" })
            };
            let endpoints: Vec<String> = endpoints.iter().map(one).collect();
            format!("{family} {ports:?} {}", endpoints.join(" "))
        };
        (groups.iter().map(told).collect(), skipped)
    }

    #[test]
    fn subsets_are_packed_by_ports_and_family() {
        let subsets = r#"[
            {"addresses":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"ports":[{"port":80}]},
            {"addresses":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"ports":[{"port":81}]},
            {"addresses":[{"ip":"10.0.0.2"},{"ip":"10.0.0.3"}],
             "notReadyAddresses":[{"ip":"10.0.0.2"}],"ports":[{"port":90}]}]"#;
        let (groups, skipped) = mirrored(subsets);
        assert_eq!(
            groups,
            ["IPv4 [80, 81] 10.0.0.1", "IPv4 [90] 10.0.0.3 10.0.0.2-", "IPv6 [80, 81] fd00::1"]
        );
        assert_eq!(skipped, 0);
        assert_eq!(mirrored(r#"[{"addresses":[{"ip":"10.0.0.1"}]}]"#).0, ["IPv4 [] 10.0.0.1"]);
    }

    #[test]
    fn a_subset_is_mirrored_as_far_as_one_slice_goes() {
        let addresses: Vec<String> =
            (0..1003).map(|i| format!(r#"{{"ip":"10.0.{}.{}"}}"#, i / 250, i % 250)).collect();
        let subsets = format!(r#"[{{"addresses":[{}]}}]"#, addresses.join(","));
        let (groups, skipped) = mirrored(&subsets);
        assert_eq!((groups.len(), groups[0].split(' ').count(), skipped), (1, 2 + 1000, 3));
    }
}
