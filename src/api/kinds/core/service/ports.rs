//! The ports of a service.

use std::collections::BTreeSet;

use super::kind;
use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::core::pod::port_number_or_name;
use crate::api::kinds::text;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// Checks a service's ports: each for itself, and that none is there twice.
pub(super) fn validate(spec: At<'_>, errors: &mut Errors) {
    let list = spec.field("ports");
    let several = list.value().items().len() > 1;
    for port in list.items() {
        let (name, number, protocol) =
            (port.field("name"), port.field("port"), port.field("protocol"));
        if several && name.is_empty() {
            errors.required(name, "");
        }
        Rule::Text(text::dns_label).check(name, errors);
        let given = number.as_int().unwrap_or(0);
        if !(1..=65535).contains(&given) {
            errors.invalid(number, &given.into(), &text::between(1, 65535));
        }
        Rule::RequiredOneOf(&["SCTP", "TCP", "UDP"]).check(protocol, errors);
        port_number_or_name(port.field("targetPort"), errors);
        let app = port.field("appProtocol");
        if !app.is_null() {
            check::formatted(app, text::label_key, errors);
        }
        if kind(&spec) == "ClusterIP" && port.get("nodePort").as_int().unwrap_or(0) != 0 {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.forbidden(port.field("nodePort"), why);
        }
    }
    check::unique(list, "name", errors);
    twice(list, errors);
}

fn twice(list: At<'_>, errors: &mut Errors) {
    let (mut ports, mut node_ports) = (BTreeSet::new(), BTreeSet::new());
    for port in list.items() {
        let number = |field: &str| port.get(field).as_int().unwrap_or(0);
        let protocol = port.get("protocol").str().to_owned();
        if number("nodePort") != 0 && !node_ports.insert((protocol.clone(), number("nodePort"))) {
            errors.duplicate(port.field("nodePort"), &port.field("nodePort"));
        }
        if !ports.insert((protocol.clone(), number("port"))) {
            let key = Value::from([
                ("port", number("port").into()),
                ("protocol", protocol.as_str().into()),
            ]);
            errors.duplicate(port, &key);
        }
    }
}

/// `80/TCP,443:30443/TCP`.
pub(super) fn text(list: &Value) -> String {
    let piece = |port: &Value| {
        let number = |field: &str| port.get(field).as_int().unwrap_or(0);
        let protocol = port.get("protocol").str();
        match number("nodePort") {
            node if node > 0 => format!("{}:{node}/{protocol}", number("port")),
            _ => format!("{}/{protocol}", number("port")),
        }
    };
    list.items().iter().map(piece).collect::<Vec<_>>().join(",")
}
