//! Endpoints: a service's addresses in the old shape.

use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::fallback::{self, Fallback};
use crate::api::kinds::table::{AGE, NAME, columns};
use crate::api::kinds::{address, text};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of endpoints.
pub struct Endpoints;

/// How many addresses a row shows.
const SHOWN_MAX: usize = 3;
const MANAGER: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

impl Rules for Endpoints {
    fn default(&self, object: &mut Value) {
        fallback::apply(object, &[("subsets[].ports[].protocol", Fallback::Text("TCP"))]);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        root.field("subsets").items().for_each(|subset| validate(subset, errors));
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        if object.get("subsets") != old.get("subsets") {
            self.validate(object, errors);
        }
    }

    fn warnings(&self, object: &Value, _old: &Value) -> Vec<String> {
        if object.label(MANAGER.0) == Some(MANAGER.1) {
            return Vec::new();
        }
        let root = At::root(object);
        let mut found = Vec::new();
        for list in ["subsets[].addresses[].ip", "subsets[].notReadyAddresses[].ip"] {
            root.descend(list, &mut |ip| found.extend(address::warning(&ip.to_string(), ip.str())));
        }
        found
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[NAME, ("Endpoints", "string", 0, "The addresses that are ready"), AGE])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        vec![object.name().into(), shown(object.get("subsets")).into(), age(object, context)]
    }
}

fn validate(subset: At<'_>, errors: &mut Errors) {
    let empty = |list: &str| subset.get(list).items().is_empty();
    if empty("addresses") && empty("notReadyAddresses") {
        errors.required(subset, "must specify `addresses` or `notReadyAddresses`");
    }
    for list in ["addresses", "notReadyAddresses"] {
        for at in subset.field(list).items() {
            Rule::Text(text::dns_label).check(at.field("hostname"), errors);
            let node = at.field("nodeName");
            if !node.is_null() {
                check::formatted(node, text::dns_subdomain, errors);
            }
            address::endpoint(at.field("ip"), errors);
        }
    }
    let ports = subset.field("ports");
    let several = ports.value().items().len() > 1;
    ports.items().for_each(|port| validate_port(port, several, errors));
}

fn validate_port(port: At<'_>, several: bool, errors: &mut Errors) {
    let (name, number, app) = (port.field("name"), port.field("port"), port.field("appProtocol"));
    if several && name.is_empty() {
        errors.required(name, "");
    }
    Rule::Text(text::dns_label).check(name, errors);
    let given = number.as_int().unwrap_or(0);
    if !(1..=65535).contains(&given) {
        errors.invalid(number, &given.into(), &text::between(1, 65535));
    }
    Rule::RequiredOneOf(&["SCTP", "TCP", "UDP"]).check(port.field("protocol"), errors);
    if !app.is_null() {
        check::formatted(app, text::label_key, errors);
    }
}

/// `10.0.0.1:80,10.0.0.2:80 + 3 more...`.
fn shown(subsets: &Value) -> String {
    if subsets.items().is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for subset in subsets.items() {
        let addresses = subset.get("addresses").items().iter().map(|a| a.get("ip").str());
        let ports = subset.get("ports").items();
        if ports.is_empty() {
            all.extend(addresses.clone().map(str::to_owned));
        }
        for port in ports {
            let number = port.get("port").as_int().unwrap_or(0);
            all.extend(addresses.clone().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{number}"),
                false => format!("{ip}:{number}"),
            }));
        }
    }
    first_of(&all)
}

/// The first few of a list, and how many more there are.
pub fn first_of(all: &[String]) -> String {
    let list = all[..all.len().min(SHOWN_MAX)].join(",");
    match all.len().saturating_sub(SHOWN_MAX) {
        0 => list,
        more => format!("{list} + {more} more..."),
    }
}
