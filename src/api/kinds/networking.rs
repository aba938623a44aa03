//! The networking group: stored, served, and acted on by nothing in rk yet.

use super::check::{At, Rule};
use super::fallback::Fallback;
use super::table::{AGE, NAME, labels, or_none};
use super::tabled::{Cell, Tabled};
use super::{address, batch, selector, text};
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// Ingresses.
pub const INGRESS: Tabled = Tabled {
    rules: &[
        ("spec.ingressClassName", Rule::Text(text::dns_subdomain)),
        ("spec.rules[].http.paths", Rule::Each(paths)),
        ("spec.rules[].http.paths[].pathType", Rule::RequiredOneOf(PATH_TYPES)),
        ("spec.rules[].http.paths[].backend", Rule::Each(backend)),
        ("spec.defaultBackend", Rule::Each(backend)),
        ("spec.tls[].secretName", Rule::Text(text::dns_subdomain)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        if spec.get("rules").is_empty() && spec.get("defaultBackend").is_null() {
            let why = "either `defaultBackend` or `rules` must be specified";
            errors.invalid(spec, &Value::Null, why);
        }
    },
    complete: |object| {
        let status = object.entry("status");
        if status.get("loadBalancer").is_null() {
            status.set("loadBalancer", Value::object());
        }
    },
    status: true,
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (
            ("Class", "string", 0, "The class that implements it."),
            Cell::Or("spec.ingressClassName", "<none>"),
        ),
        (("Hosts", "string", 0, "The hosts of its rules."), Cell::Made(hosts)),
        (("Address", "string", 0, "Where it is reached."), Cell::Made(addresses)),
        (("Ports", "string", 0, "The ports it listens on."), Cell::Made(ports)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores Ingresses, but has no ingress controller of its own yet",
    ..Tabled::PLAIN
};

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

fn paths(list: At<'_>, errors: &mut Errors) {
    for path in list.items() {
        let text = path.field("path");
        let bound = matches!(path.get("pathType").str(), "Exact" | "Prefix");
        if bound && !text.str().starts_with('/') {
            errors.invalid(text, &text.str().into(), "must be an absolute path");
        }
    }
}

/// A backend is a service with one port, or a resource.
fn backend(at: At<'_>, errors: &mut Errors) {
    let (service, resource) = (at.field("service"), at.field("resource"));
    match (service.is_null(), resource.is_null()) {
        (false, false) => {
            errors.invalid(at, &"".into(), "cannot set both resource and service backends");
        }
        (true, true) => {
            errors.invalid(at, &"".into(), "resource or service backend is required");
        }
        (true, false) => {}
        (false, true) => {
            Rule::RequiredText(text::dns_label).check(service.field("name"), errors);
            let port = service.field("port");
            let given = ["name", "number"].iter().filter(|field| !port.get(field).is_empty());
            match given.count() {
                0 => errors.required(at, "port name or number is required"),
                1 => port_number(port.field("number"), errors),
                _ => errors.invalid(port, &port, "cannot set both port name & port number"),
            }
        }
    }
}

/// A policy is for what comes in, and for what goes out where it says something of that.
fn policy_types(object: &mut Value) {
    let spec = object.entry("spec");
    if !spec.get("policyTypes").is_empty() {
        return;
    }
    let mut types = vec!["Ingress".into()];
    if !spec.get("egress").items().is_empty() {
        types.push("Egress".into());
    }
    spec.set("policyTypes", types);
}

fn port_number(at: At<'_>, errors: &mut Errors) {
    if at.as_int().is_some_and(|number| number != 0) {
        Rule::Between(1, 65_535).check(at, errors);
    }
}

fn hosts(object: &Value) -> Value {
    let rules = object.at(&["spec", "rules"]).items().iter();
    let hosts: Vec<&str> =
        rules.map(|rule| rule.get("host").str()).filter(|h| !h.is_empty()).collect();
    match hosts.as_slice() {
        [] => "*".into(),
        hosts if hosts.len() > 3 => {
            format!("{} + {} more...", hosts[..3].join(","), hosts.len() - 3).into()
        }
        hosts => hosts.join(",").into(),
    }
}

fn addresses(object: &Value) -> Value {
    let list = object.at(&["status", "loadBalancer", "ingress"]).items().iter();
    let shown = list.map(|entry| match entry.get("ip").str() {
        "" => entry.get("hostname").str(),
        ip => ip,
    });
    shown.collect::<Vec<_>>().join(",").into()
}

fn ports(object: &Value) -> Value {
    if object.at(&["spec", "tls"]).is_empty() { "80".into() } else { "80, 443".into() }
}

/// IngressClasses.
pub const INGRESS_CLASS: Tabled = Tabled {
    rules: &[
        ("spec.controller", Rule::Required("")),
        ("spec.controller", Rule::Each(batch::domain_prefixed)),
    ],
    immutable: &["spec.controller"],
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (("Controller", "string", 0, "What implements the class."), Cell::At("spec.controller")),
        (("Parameters", "string", 0, "Where its settings are."), Cell::Made(parameters)),
        (AGE, Cell::Age),
    ],
    ..Tabled::PLAIN
};

fn parameters(object: &Value) -> Value {
    let given = object.at(&["spec", "parameters"]);
    if given.is_null() {
        return "<none>".into();
    }
    let (group, kind) = (given.get("apiGroup").str(), given.get("kind").str());
    let name = given.get("name").str();
    let dot = if group.is_empty() { "" } else { "." };
    format!("{kind}{dot}{group}/{name}").into()
}

/// NetworkPolicies.
pub const NETWORK_POLICY: Tabled = Tabled {
    rules: &[
        ("spec.policyTypes[]", Rule::OneOf(&["Egress", "Ingress"])),
        ("spec.podSelector", Rule::Each(selector::check)),
        ("spec.ingress[].from[]", Rule::Each(peer)),
        ("spec.egress[].to[]", Rule::Each(peer)),
        ("spec.ingress[].ports[]", Rule::Each(policy_port)),
        ("spec.egress[].ports[]", Rule::Each(policy_port)),
    ],
    check: |root, errors| {
        let spec = root.field("spec");
        let types = spec.field("policyTypes");
        if types.value().items().len() > 2 {
            let why = "may not specify more than two policyTypes";
            errors.invalid(types, &types, why);
        }
    },
    complete: policy_types,
    defaults: &[
        ("spec.ingress[].ports[].protocol", Fallback::Text("TCP")),
        ("spec.egress[].ports[].protocol", Fallback::Text("TCP")),
    ],
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (("Pod-Selector", "string", 0, "The pods that it is for."), Cell::Made(pod_selector)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores NetworkPolicies, but does not enforce them yet",
    ..Tabled::PLAIN
};

fn pod_selector(object: &Value) -> Value {
    or_none(match object.at(&["spec", "podSelector", "matchLabels"]) {
        Value::Null => String::new(),
        map => labels(map),
    })
    .into()
}

/// A peer is pods, namespaces or both, or a block of addresses.
fn peer(at: At<'_>, errors: &mut Errors) {
    let block = at.field("ipBlock");
    let selectors = ["podSelector", "namespaceSelector"];
    let chosen = selectors.iter().filter(|field| !at.get(field).is_null()).count();
    for field in selectors {
        selector::validate(at.field(field), errors);
    }
    if chosen == 0 && block.is_null() {
        errors.required(at, "must specify a peer");
    }
    if block.is_null() {
        return;
    }
    if chosen > 0 {
        let why = "may not specify both ipBlock and another peer";
        errors.forbidden(at, why);
    }
    Rule::RequiredText(cidr).check(block.field("cidr"), errors);
    let except = block.field("except");
    except.items().for_each(|item| Rule::RequiredText(cidr).check(item, errors));
}

fn policy_port(at: At<'_>, errors: &mut Errors) {
    Rule::OneOf(&["SCTP", "TCP", "UDP"]).check(at.field("protocol"), errors);
    let (port, end) = (at.field("port"), at.field("endPort"));
    if port.as_int().is_some() {
        Rule::Between(1, 65535).check(port, errors);
    } else if !port.is_null() {
        Rule::Text(text::port_name).check(port, errors);
    }
    match (port.as_int(), end.as_int()) {
        (_, None) => {}
        (Some(first), Some(last)) if last < first => {
            errors.invalid(end, &end, "must be greater than or equal to `port`");
        }
        (Some(_), Some(_)) => Rule::Between(1, 65535).check(end, errors),
        (None, Some(_)) if port.is_null() => {
            errors.required(port, "must be specified when `endPort` is specified");
        }
        (None, Some(_)) => {
            errors.invalid(end, &end, "may not be specified when `port` is non-numeric");
        }
    }
}

fn cidr(text: &str) -> Vec<String> {
    let fits = text.parse::<ipnet::IpNet>().is_ok();
    if fits {
        Vec::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()]
    }
}

/// IPAddresses.
pub const IP_ADDRESS: Tabled = Tabled {
    name: canonical,
    rules: &[
        ("spec.parentRef", Rule::Required("")),
        ("spec.parentRef?.resource", Rule::Required("")),
        ("spec.parentRef?.name", Rule::Required("")),
    ],
    immutable: &["spec.parentRef"],
    columns: &[
        (NAME, Cell::Name),
        (("ParentRef", "string", 0, "Who has the address."), Cell::Made(parent)),
    ],
    unheaded: &[Cell::Age],
    ..Tabled::PLAIN
};

/// One address has one name.
fn canonical(name: &str) -> Vec<String> {
    let faults = text::ip(name);
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) if faults.is_empty() && ip.to_string() != name => {
            vec!["must be a canonical format IP address".into()]
        }
        _ => faults,
    }
}

fn parent(object: &Value) -> Value {
    let parent = object.at(&["spec", "parentRef"]);
    let part = |field: &str| parent.get(field).str().to_owned();
    let mut text = part("resource");
    for (sep, field) in [(".", "group"), ("/", "namespace"), ("/", "name")] {
        let value = part(field);
        if !value.is_empty() {
            text += &format!("{sep}{value}");
        }
    }
    text.into()
}

/// ServiceCIDRs.
pub const SERVICE_CIDR: Tabled = Tabled {
    rules: &[("spec.cidrs[]", Rule::RequiredText(cidr))],
    check: |root, errors| {
        let spec = root.field("spec");
        let cidrs = spec.field("cidrs");
        match cidrs.value().items().len() {
            0 => errors.required(cidrs, "at least one CIDR required"),
            1 => {}
            2 => one_of_each_family(cidrs, errors),
            _ => errors.invalid(cidrs, &cidrs, "may only hold up to 2 values"),
        }
    },
    check_update: |root, old, errors| grown(root.field("spec").field("cidrs"), old, errors),
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("CIDRs", "string", 0, "The addresses of services."), Cell::Made(cidrs)),
        (AGE, Cell::Age),
    ],
    ..Tabled::PLAIN
};

fn one_of_each_family(cidrs: At<'_>, errors: &mut Errors) {
    let texts: Vec<&str> = cidrs.value().items().iter().map(Value::str).collect();
    if !address::is_one_of_each_family(&texts) {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and \
                   2001:db8::/64";
        errors.invalid(cidrs, &cidrs, why);
    }
}

/// A range may get a second family, and change in no other way.
fn grown(cidrs: At<'_>, old: &Value, errors: &mut Errors) {
    const FIXED: &str = "field is immutable";
    let old = old.at(&["spec", "cidrs"]).items();
    match (old.len(), cidrs.value().items().len()) {
        (before, now) if before == now || (before, now) == (1, 2) => {
            for (cidr, _) in cidrs.items().zip(old).filter(|(cidr, old)| cidr.value() != *old) {
                errors.invalid(cidr, &cidr, FIXED);
            }
        }
        _ => errors.invalid(cidrs, &cidrs, FIXED),
    }
}

fn cidrs(object: &Value) -> Value {
    let list = object.at(&["spec", "cidrs"]).items().iter().map(Value::str);
    list.collect::<Vec<_>>().join(",").into()
}
