//! Endpoint slices: a service's addresses, in parts.

use super::check::{self, At, Rule, required};
use super::core::endpoints::first_of;
use super::fallback::{self, Fallback};
use super::table::{AGE, NAME, columns};
use super::{address, text};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of endpoint slices.
pub struct EndpointSlice;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;
const TOPOLOGY_MAX: usize = 16;
const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

impl Rules for EndpointSlice {
    fn default(&self, object: &mut Value) {
        const TABLE: &[(&str, Fallback)] = &[
            ("ports[].name", Fallback::TextIfAbsent("")),
            ("ports[].protocol", Fallback::TextIfAbsent("TCP")),
        ];
        fallback::apply(object, TABLE);
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        drop_topology(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        if object.get("endpoints") != old.get("endpoints") {
            drop_topology(object);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        basics(object, errors);
        endpoints(object, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        basics(object, errors);
        if object.get("endpoints") != old.get("endpoints") {
            endpoints(object, errors);
        }
        if object.get("addressType") != old.get("addressType") {
            errors.invalid("addressType", &Value::Null, "field is immutable");
        }
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let mut found = Vec::new();
        if old.is_null() && object.get("addressType").str() == "FQDN" {
            found.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        if !object.label(MANAGED_BY).is_some_and(|by| CONTROLLERS.contains(&by)) {
            At::root(object).descend("endpoints[].addresses[]", &mut |ip| {
                found.extend(address::warning(&ip.to_string(), ip.str()));
            });
        }
        found
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn raises_generation(&self, object: &Value, old: &Value) -> bool {
        let labels = |value: &Value| value.metadata().get("labels").clone();
        let same = |field: &str| object.get(field) == old.get(field);
        labels(object) != labels(old)
            || !["addressType", "endpoints", "ports"].into_iter().all(same)
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("AddressType", "string", 0, "The family of the addresses"),
            ("Ports", "string", 0, "The ports of every endpoint"),
            ("Endpoints", "string", 0, "The addresses"),
            AGE,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let port = |port: &Value| match (port.get("port").as_int(), port.get("name").as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        };
        let ports: Vec<String> = object.get("ports").items().iter().map(port).collect();
        let endpoints = object.get("endpoints").items().iter();
        let addresses: Vec<String> = endpoints
            .flat_map(|endpoint| endpoint.get("addresses").items())
            .map(|address| address.str().to_owned())
            .collect();
        vec![
            object.name().into(),
            object.get("addressType").str().into(),
            or_unset(&ports).into(),
            or_unset(&addresses).into(),
            age(object, context),
        ]
    }
}

fn or_unset(all: &[String]) -> String {
    if all.is_empty() { "<unset>".into() } else { first_of(all) }
}

/// The old map of labels is not part of v1.
fn drop_topology(object: &mut Value) {
    fallback::at_each(object, "endpoints[].deprecatedTopology", &mut |endpoint, field| {
        endpoint.remove(field);
    });
}

fn basics(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    Rule::RequiredOneOf(TYPES).check(root.field("addressType"), errors);
    ports(root.field("ports"), errors);
}

fn ports(list: At<'_>, errors: &mut Errors) {
    let count = list.value().items().len();
    if count > PORTS_MAX {
        return errors.too_many(list, count, PORTS_MAX);
    }
    for (index, port) in list.items().enumerate() {
        let (name, app) = (port.field("name"), port.field("appProtocol"));
        Rule::Text(text::dns_label).check(name, errors);
        let before = &list.value().items()[..index];
        if before.iter().any(|other| other.get("name") == name.value()) {
            errors.duplicate(name, &name);
        }
        Rule::RequiredOneOf(&["SCTP", "TCP", "UDP"]).check(port.field("protocol"), errors);
        if !app.is_null() {
            check::formatted(app, text::label_key, errors);
        }
    }
}

fn endpoints(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let list = root.field("endpoints");
    let count = list.value().items().len();
    if count > ENDPOINTS_MAX {
        return errors.too_many(list, count, ENDPOINTS_MAX);
    }
    let family = object.get("addressType").str();
    list.items().for_each(|endpoint| validate(endpoint, family, errors));
}

fn validate(endpoint: At<'_>, family: &str, errors: &mut Errors) {
    let addresses = endpoint.field("addresses");
    let count = addresses.value().items().len();
    if required(addresses, "", errors) && count > ADDRESSES_MAX {
        errors.too_many(addresses, count, ADDRESSES_MAX);
    }
    addresses.items().for_each(|at| validate_address(at, addresses, family, errors));
    let (node, host) = (endpoint.field("nodeName"), endpoint.field("hostname"));
    if !node.is_null() {
        check::formatted(node, text::dns_subdomain, errors);
    }
    let topology = endpoint.field("deprecatedTopology");
    let labels = topology.value().fields().count();
    if labels > TOPOLOGY_MAX {
        errors.too_many(topology, labels, TOPOLOGY_MAX);
    }
    super::metadata::labels(topology, errors);
    if !host.is_null() {
        check::formatted(host, text::dns_label, errors);
    }
    let hints = endpoint.field("hints");
    hint(hints.field("forZones"), text::label_value, errors);
    hint(hints.field("forNodes"), text::dns_subdomain, errors);
}

fn validate_address(at: At<'_>, list: At<'_>, family: &str, errors: &mut Errors) {
    if family == "FQDN" {
        return domain(at, errors);
    }
    if !matches!(family, "IPv4" | "IPv6") {
        return;
    }
    let before = errors.len();
    check::formatted(at, text::ip, errors);
    let Ok(ip) = at.str().parse::<std::net::IpAddr>() else { return };
    if family == "IPv6" && errors.len() == before && ip.to_string() != at.str() {
        errors.invalid(at, &at, &format!("must be in canonical form ({:?})", ip.to_string()));
    }
    if errors.len() > before {
        return;
    }
    if ip.is_ipv4() != (family == "IPv4") {
        errors.invalid(list, &at, &format!("must be an {family} address"));
    }
    address::unicast(at, ip, errors);
}

fn domain(at: At<'_>, errors: &mut Errors) {
    let name = at.str().strip_suffix('.').unwrap_or(at.str());
    let faults = text::dns_subdomain(name);
    if at.str().is_empty() {
        errors.required(at, "");
    } else if !faults.is_empty() {
        errors.invalid(at, &name.into(), &faults.join(","));
    } else if !name.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(at, &name.into(), why);
    }
}

fn hint(list: At<'_>, format: text::Format, errors: &mut Errors) {
    let count = list.value().items().len();
    if count > HINTS_MAX {
        return errors.too_many(list, count, HINTS_MAX);
    }
    check::unique(list, "name", errors);
    list.items().for_each(|target| check::formatted(target.field("name"), format, errors));
}
