//! Cluster addresses as objects: an `IPAddress` for each address that a Service holds, and the
//! status and the end of `ServiceCIDR`s.
//!
//! Who has which address is decided by the allocator, with the write of the Service; what is kept
//! here says so to those who look.

use std::net::IpAddr;

use ipnet::IpNet;

use super::runner::{Controller, Moment, Plan, Views};
use super::{calls, conditions, runner};
use crate::api::kinds::core::service::SECOND_IP;
use crate::api::meta::{Key, Meta};
use crate::api::tree::Value;
use crate::client::{Call, IPADDRESSES, SERVICECIDRS, SERVICES};
use crate::history::{Event, Object};

/// The label of addresses that are kept here, and its value.
const MANAGER: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// What holds a ServiceCIDR until its addresses are given back.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

/// The row of the controller of IPAddresses.
pub fn addresses() -> Controller {
    Controller {
        name: "ipaddress-controller",
        watches: vec![(SERVICES, of_service), (IPADDRESSES, runner::itself)],
        reconcile: Box::new(reconcile),
    }
}

/// The row of the controller of ServiceCIDRs.
pub fn ranges() -> Controller {
    Controller {
        name: "service-cidr-controller",
        watches: vec![(SERVICECIDRS, all_ranges), (IPADDRESSES, of_address)],
        reconcile: Box::new(reconcile_range),
    }
}

/// The addresses that a Service holds, as they are written there.
fn held(service: &Object) -> impl Iterator<Item = IpAddr> {
    let fields = ["spec.clusterIP", SECOND_IP];
    fields.into_iter().filter_map(|field| service.header.field(field)?.parse().ok())
}

/// The keys are the names of addresses.
fn of_service(event: &Event, _: &Views) -> Vec<Key> {
    let states = [Some(&event.object), event.previous.as_ref()].into_iter().flatten();
    let mut held: Vec<IpAddr> = states.flat_map(|service| held(service)).collect();
    held.dedup();
    let key = |address: &IpAddr| Key::new(&IPADDRESSES.group_resource(), "", &address.to_string());
    held.iter().map(key).collect()
}

fn reconcile(views: &Views, key: &Key, _: Moment<'_>) -> Plan {
    let Ok(address) = key.name.parse::<IpAddr>() else { return Plan::default() };
    let services = views.of(&SERVICES).snapshot();
    let holder = services.iter().find(|service| held(service).any(|its| its == address));
    let holder = holder.map(|service| &service.header.key);
    let stored = views.of(&IPADDRESSES).get("", &key.name).and_then(|stored| stored.tree().ok());
    let call = match (holder, stored) {
        (Some(holder), None) => Some(calls::create(&IPADDRESSES, "", made(address, holder))),
        (holder, Some(stored)) => outdated(key, holder, &stored),
        (None, None) => None,
    };
    Plan { calls: call.into_iter().map(Into::into).collect(), ..Plan::default() }
}

/// The removal of an address that is kept here and that this Service no longer holds. Addresses
/// that users made are theirs.
fn outdated(key: &Key, holder: Option<&Key>, stored: &Value) -> Option<Call> {
    let parent = stored.at(&["spec", "parentRef"]);
    let of_holder = holder.is_some_and(|holder| {
        (&*holder.namespace, &*holder.name)
            == (parent.get("namespace").str(), parent.get("name").str())
    });
    let kept_here = stored.metadata().get("labels").get(MANAGER.0).str() == MANAGER.1;
    let goes = kept_here && !of_holder && !stored.is_deleting();
    goes.then(|| calls::delete(&IPADDRESSES, key, stored.uid()))
}

fn made(address: IpAddr, holder: &Key) -> Value {
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let labels = Value::from([(FAMILY, family.into()), (MANAGER.0, MANAGER.1.into())]);
    let metadata = Value::from([("name", address.to_string().into()), ("labels", labels)]);
    let parent = Value::from([
        ("resource", "services".into()),
        ("namespace", holder.namespace.to_string().into()),
        ("name", holder.name.to_string().into()),
    ]);
    Value::from([
        ("apiVersion", "networking.k8s.io/v1".into()),
        ("kind", "IPAddress".into()),
        ("metadata", metadata),
        ("spec", Value::from([("parentRef", parent)])),
    ])
}

/// Any range may take over the addresses of another; there are few.
fn all_ranges(_: &Event, views: &Views) -> Vec<Key> {
    views.of(&SERVICECIDRS).snapshot().iter().map(|range| range.header.key.clone()).collect()
}

/// An address that goes may be the last that held a range.
fn of_address(event: &Event, views: &Views) -> Vec<Key> {
    if !event.deleted {
        return Vec::new();
    }
    let ranges = views.of(&SERVICECIDRS).snapshot();
    let ending = ranges.iter().filter(|range| range.header.deleting);
    ending.map(|range| range.header.key.clone()).collect()
}

fn reconcile_range(views: &Views, key: &Key, moment: Moment<'_>) -> Plan {
    let stored = views.of(&SERVICECIDRS).get("", &key.name).and_then(|range| range.tree().ok());
    let Some(mut range) = stored else { return Plan::default() };
    let finalizers = range.metadata().get("finalizers").items().to_vec();
    let held = finalizers.iter().any(|finalizer| finalizer.str() == FINALIZER);
    let call = match (range.is_deleting(), held) {
        (true, false) => None,
        (true, true) if in_use(views, &range) => {
            let words = (
                "Terminating",
                "There are still IPAddresses referencing the ServiceCIDR, please remove them or \
                 create a new ServiceCIDR",
            );
            let told = conditions::put(&mut range, moment.now, "Ready", false, words);
            told.then(|| calls::update_status(&SERVICECIDRS, key, range))
        }
        (true, true) => {
            let rest = finalizers.into_iter().filter(|finalizer| finalizer.str() != FINALIZER);
            range.entry("metadata").set("finalizers", rest.collect::<Vec<_>>());
            Some(calls::update(&SERVICECIDRS, key, range))
        }
        (false, false) => {
            let mut with = finalizers;
            with.push(FINALIZER.into());
            range.entry("metadata").set("finalizers", with);
            Some(calls::update(&SERVICECIDRS, key, range))
        }
        (false, true) => {
            let words = ("", "Kubernetes Service CIDR is ready");
            let told = conditions::put(&mut range, moment.now, "Ready", true, words);
            told.then(|| calls::update_status(&SERVICECIDRS, key, range))
        }
    };
    Plan { calls: call.into_iter().map(Into::into).collect(), ..Plan::default() }
}

fn nets(range: &Value) -> Vec<IpNet> {
    let texts = range.at(&["spec", "cidrs"]).items().iter();
    texts.filter_map(|text| text.str().parse().ok()).collect()
}

/// Whether an address of the range is in use that no other range has as well.
fn in_use(views: &Views, range: &Value) -> bool {
    let (own, ranges) = (nets(range), views.of(&SERVICECIDRS).snapshot());
    let others: Vec<IpNet> = ranges
        .iter()
        .filter(|other| *other.header.key.name != *range.name() && !other.header.deleting)
        .filter_map(|other| other.tree().ok())
        .flat_map(|other| nets(&other))
        .collect();
    let inside = |nets: &[IpNet], address: &IpAddr| nets.iter().any(|net| net.contains(address));
    let addresses = views.of(&IPADDRESSES).snapshot();
    let mut addresses = addresses.iter().filter_map(|stored| stored.header.key.name.parse().ok());
    addresses.any(|address| inside(&own, &address) && !inside(&others, &address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Gvr, Verb};
    use crate::controllers::runner::testing::views;

    const SERVICE: &str = r#"{"metadata":{"name":"s","namespace":"d"}}"#;
    const RANGE: &str = r#"{"metadata":{"name":"r","finalizers":
        ["networking.k8s.io/service-cidr-finalizer"]},"spec":{"cidrs":["10.1.0.0/24"]}}"#;

    fn planned(
        objects: &[(&Gvr, &str)],
        of: &Gvr,
        name: &str,
        with: fn(&Views, &Key, Moment<'_>) -> Plan,
    ) -> Option<(Verb, &'static str, Value)> {
        let objects = objects.iter().map(|(resource, text)| {
            let fields = match **resource == SERVICES {
                true => vec![("spec.clusterIP", "10.1.0.7".into())],
                false => Vec::new(),
            };
            (*resource, *text, fields)
        });
        let views = views(&[SERVICES, IPADDRESSES, SERVICECIDRS], objects);
        let key = Key::new(&of.group_resource(), "", name);
        let moment = Moment { now: crate::util::clock::now(), failure: None };
        let mut calls = with(&views, &key, moment).calls.into_iter();
        calls.next().map(|step| (step.call.verb, step.call.subresource, step.call.body))
    }

    #[test]
    fn an_address_is_there_as_long_as_its_service() {
        let of = |objects: &[(&Gvr, &str)]| planned(objects, &IPADDRESSES, "10.1.0.7", reconcile);
        let (verb, _, made) = of(&[(&SERVICES, SERVICE)]).unwrap();
        assert_eq!(verb, Verb::Create);
        let parent = made.at(&["spec", "parentRef"]);
        assert_eq!((parent.get("namespace").str(), parent.get("name").str()), ("d", "s"));
        let text = made.to_string();
        assert_eq!(of(&[(&SERVICES, SERVICE), (&IPADDRESSES, &text)]), None);
        assert_eq!(of(&[(&IPADDRESSES, &text)]).unwrap().0, Verb::Delete);
        let reserved = r#"{"metadata":{"name":"10.1.0.7"},"spec":{"parentRef":{"name":"x"}}}"#;
        assert_eq!(of(&[(&IPADDRESSES, reserved)]), None, "what users made is theirs");
    }

    #[test]
    fn a_range_is_ready_and_goes_when_its_addresses_are_gone() {
        let of = |objects: &[(&Gvr, &str)]| planned(objects, &SERVICECIDRS, "r", reconcile_range);
        let bare = r#"{"metadata":{"name":"r"},"spec":{"cidrs":["10.1.0.0/24"]}}"#;
        let (verb, _, held) = of(&[(&SERVICECIDRS, bare)]).unwrap();
        assert_eq!(verb, Verb::Update);
        assert_eq!(held.metadata().get("finalizers").items().len(), 1);
        let (_, part, told) = of(&[(&SERVICECIDRS, RANGE)]).unwrap();
        let ready =
            |told: &Value| told.at(&["status", "conditions"]).items()[0].get("status").clone();
        assert_eq!((part, ready(&told).str()), ("status", "True"));
        let mut going = Value::parse(RANGE.as_bytes()).unwrap();
        going.entry("metadata").set("deletionTimestamp", "2026-01-01T00:00:00Z");
        let going = going.to_string();
        let used = (&IPADDRESSES, r#"{"metadata":{"name":"10.1.0.7"}}"#);
        let (_, part, told) = of(&[(&SERVICECIDRS, &going), used]).unwrap();
        assert_eq!((part, ready(&told).str()), ("status", "False"));
        let wider =
            (&SERVICECIDRS, r#"{"metadata":{"name":"w"},"spec":{"cidrs":["10.1.0.0/16"]}}"#);
        for objects in [vec![(&SERVICECIDRS, &*going)], vec![(&SERVICECIDRS, &*going), used, wider]]
        {
            let (_, part, freed) = of(&objects).unwrap();
            assert_eq!((part, freed.metadata().get("finalizers").items().len()), ("", 0));
        }
    }
}
