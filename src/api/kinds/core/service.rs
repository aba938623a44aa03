//! Services: names for sets of endpoints.
//!
//! What is allocated (cluster addresses, node ports, the families) is filled in by the API server
//! between `prepare_*` and `validate_*`: a service that needs a health check's node port and has
//! none is refused.

use std::net::IpAddr;

use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::table::{AGE, NAME, columns, labels, or_none};
use crate::api::kinds::text::{self, Format};
use crate::api::kinds::{address, not_yet};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;
use crate::history::Fields;

mod defaults;
mod ports;
mod update;

/// The rules of services.
pub struct Service;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
/// The field by which those who look at headers find the second address; not for clients.
pub const SECOND_IP: &str = "spec.clusterIPs[1]";
/// Seconds in a day: the longest that a client is remembered.
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

/// Whether a service has addresses of the cluster (or is headless).
pub fn needs_cluster_ip(spec: &Value) -> bool {
    kind(spec) != "ExternalName"
}

/// Whether a service's ports are also ports of each node.
pub fn needs_node_port(spec: &Value) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
}

/// Whether load balancers ask nodes if they have endpoints.
pub fn needs_health_check(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer" && spec.get("externalTrafficPolicy").str() == "Local"
}

/// Whether a service has no address but its endpoints'.
pub fn is_headless(spec: &Value) -> bool {
    matches!(spec.get("clusterIPs").items(), [only] if only.str() == "None")
}

/// Whether what a service says of its addresses and their families makes sense in itself.
pub fn has_sound_addresses(service: &Value) -> bool {
    let mut errors = Errors::default();
    addresses(At::root(service).field("spec"), &mut errors);
    errors.is_empty()
}

/// Whether a service is reached from outside the cluster.
fn is_external(spec: &Value) -> bool {
    let external = !spec.get("externalIPs").items().is_empty();
    needs_node_port(spec) || (kind(spec) == "ClusterIP" && external)
}

fn kind(spec: &Value) -> &str {
    spec.get("type").str()
}

impl Rules for Service {
    fn name_format(&self) -> Format {
        text::dns_label
    }

    fn default(&self, object: &mut Value) {
        defaults::apply(object);
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", [("loadBalancer", Value::object())]);
        defaults::cluster_ips(object.entry("spec"));
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
        update::prepare(object, old);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        validate(object, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        update::validate(object, old, errors);
        validate(object, errors);
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        let root = At::root(object);
        let status = root.field("status");
        let balancer = status.field("loadBalancer");
        load_balancer(balancer.field("ingress"), object.get("spec"), errors);
    }

    fn warnings(&self, object: &Value, _old: &Value) -> Vec<String> {
        warnings(object)
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn fields(&self, object: &Value) -> Fields {
        let spec = object.get("spec");
        let mut fields: Fields = vec![
            ("spec.clusterIP", spec.get("clusterIP").str().into()),
            ("spec.type", kind(spec).into()),
        ];
        if let [_, second] = spec.get("clusterIPs").items() {
            fields.push((SECOND_IP, second.str().into()));
        }
        fields
    }

    fn selectable(&self) -> &[&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Type", "string", 0, "How the service is exposed"),
            ("Cluster-IP", "string", 0, "The service's address in the cluster"),
            ("External-IP", "string", 0, "Addresses by which the service is reached from outside"),
            ("Port(s)", "string", 0, "The service's ports and their node ports"),
            AGE,
            ("Selector", "string", 1, "The labels of the pods behind the service"),
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let spec = object.get("spec");
        let first = spec.get("clusterIPs").items().first().map_or("", Value::str);
        vec![
            object.name().into(),
            kind(spec).into(),
            or_none(first.to_owned()).into(),
            external_ip(object).into(),
            or_none(ports::text(spec.get("ports"))).into(),
            age(object, context),
            labels(spec.get("selector")).into(),
        ]
    }
}

const SPEC: &[(&str, Rule)] = &[
    ("selector", Rule::Each(crate::api::kinds::metadata::labels)),
    ("sessionAffinity", Rule::RequiredOneOf(&["ClientIP", "None"])),
    ("type", Rule::RequiredOneOf(TYPES)),
    ("externalIPs[]", Rule::Each(external_address)),
    ("internalTrafficPolicy", Rule::OneOf(&["Cluster", "Local"])),
];

fn validate(object: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let spec = root.field("spec");
    topology(object, errors);
    exposure(spec, errors);
    ports::validate(spec, errors);
    check::apply(SPEC, spec, errors);
    affinity(spec, errors);
    if needs_cluster_ip(&spec) {
        addresses(spec, errors);
    }
    balancer_fields(spec, errors);
    external_traffic(spec, errors);
    let policy = spec.field("internalTrafficPolicy");
    if policy.is_null() && matches!(kind(&spec), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.required(policy, "");
    }
    not_yet::refuse(not_yet::SERVICE, spec, errors);
}

fn topology(object: &Value, errors: &mut Errors) {
    if let (Some(mode), Some(hints)) = (object.annotation(MODE), object.annotation(HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        errors.invalid(format!("metadata.annotations[{MODE}]"), &mode.into(), &why);
    }
}

/// What a service's type demands.
fn exposure(spec: At<'_>, errors: &mut Errors) {
    let headless = is_headless(&spec);
    let ports = spec.field("ports");
    if ports.value().items().is_empty() && !headless && kind(&spec) != "ExternalName" {
        errors.required(ports, "");
    }
    match kind(&spec) {
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.invalid(format!("{spec}.clusterIPs[0]"), &"None".into(), &why);
        }
        "ExternalName" => external_name(spec, errors),
        _ => {}
    }
}

fn external_name(spec: At<'_>, errors: &mut Errors) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec.get(field).is_empty() {
            errors.forbidden(spec.field(field), "may not be set for ExternalName services");
        }
    }
    let name = spec.field("externalName");
    match name.str().strip_suffix('.').unwrap_or(name.str()) {
        "" => errors.required(name, ""),
        bare => {
            for fault in text::dns_subdomain(bare) {
                errors.invalid(name, &bare.into(), &fault);
            }
        }
    }
}

fn affinity(spec: At<'_>, errors: &mut Errors) {
    let config = spec.field("sessionAffinityConfig");
    match spec.get("sessionAffinity").str() {
        "None" if !config.is_null() => {
            errors.forbidden(config, "must not be set when session affinity is None");
        }
        "ClientIP" => {
            let client = config.field("clientIP");
            let seconds = client.field("timeoutSeconds");
            match [config, client, seconds].into_iter().find(|at| at.is_null()) {
                Some(absent) => {
                    errors.required(absent, "when session affinity type is ClientIP");
                }
                None if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds.as_int().unwrap_or(0)) => {
                    let why =
                        format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    errors.invalid(seconds, &seconds, &why);
                }
                None => {}
            }
        }
        _ => {}
    }
}

/// The cluster's addresses and their families agree.
fn addresses(spec: At<'_>, errors: &mut Errors) {
    let (one, many) = (spec.field("clusterIP"), spec.field("clusterIPs"));
    let ips: Vec<&str> = many.value().items().iter().map(Value::str).collect();
    match (one.str(), ips.first()) {
        ("", Some(_)) => {
            errors.invalid(many, &many, "must be empty when `clusterIP` is not specified");
        }
        (given, None) if !given.is_empty() => errors.required(many, ""),
        (given, Some(first)) if given != *first => {
            errors.invalid(many, &many, "first value must match `clusterIP`");
        }
        _ => {}
    }
    families(spec, errors);
    let before = errors.len();
    if ips.first() == Some(&"None") && ips.len() > 1 {
        errors.invalid(many, &many, "'None' must be the first and only value");
    }
    for (index, ip) in many.items().enumerate() {
        if index > 0 || ip.str() != "None" {
            check::formatted(ip, text::ip, errors);
        }
    }
    let sound = errors.len() == before;
    if ips.len() > 2 {
        errors.invalid(many, &many, "may only hold up to 2 values");
    }
    if !sound {
        return;
    }
    if ips.len() > 1 && !(ips.len() == 2 && address::is_one_of_each_family(&ips)) {
        errors.invalid(many, &many, "may specify no more than one IP for each IP family");
    }
    if !is_headless(&spec) {
        families_of(spec, many, errors);
    }
}

fn families(spec: At<'_>, errors: &mut Errors) {
    let list = spec.field("ipFamilies");
    for (index, family) in list.items().enumerate() {
        check::one_of(family, FAMILIES, errors);
        if list.value().items()[..index].contains(family.value()) {
            errors.duplicate(family, &family);
        }
    }
    Rule::OneOf(&["PreferDualStack", "RequireDualStack", "SingleStack"])
        .check(spec.field("ipFamilyPolicy"), errors);
}

/// Each address is of the family at its place.
fn families_of(spec: At<'_>, ips: At<'_>, errors: &mut Errors) {
    let families = spec.value().get("ipFamilies").items();
    for (index, (ip, family)) in ips.items().zip(families).enumerate() {
        let six = ip.str().contains(':');
        if matches!((family.str(), six), ("IPv4", true) | ("IPv6", false)) {
            let family = family.str();
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(ip, &ip, &why);
        }
    }
}

fn external_address(at: At<'_>, errors: &mut Errors) {
    let before = errors.len();
    check::formatted(at, text::ip, errors);
    if let Ok(ip) = at.str().parse::<IpAddr>()
        && errors.len() == before
    {
        address::unicast(at, ip, errors);
    }
}

/// Fields that only a load balancer may have.
fn balancer_fields(spec: At<'_>, errors: &mut Errors) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let balancer = kind(&spec) == "LoadBalancer";
    let (allocate, class) =
        (spec.field("allocateLoadBalancerNodePorts"), spec.field("loadBalancerClass"));
    if balancer {
        if allocate.is_null() {
            errors.required("allocateLoadBalancerNodePorts", "");
        }
        if !class.is_null() {
            check::formatted(class, text::label_key, errors);
        }
        return;
    }
    let ranges = spec.field("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        errors.forbidden(format!("{spec}.LoadBalancerSourceRanges"), ONLY);
    }
    for field in [allocate, class].into_iter().filter(|field| !field.is_null()) {
        errors.forbidden(field, ONLY);
    }
}

fn external_traffic(spec: At<'_>, errors: &mut Errors) {
    let (policy, check_port) =
        (spec.field("externalTrafficPolicy"), spec.field("healthCheckNodePort"));
    if is_external(&spec) {
        Rule::RequiredOneOf(&["Cluster", "Local"]).check(policy, errors);
    } else if !policy.is_empty() {
        errors.invalid(policy, &policy, "may only be set for externally-accessible services");
    }
    let unset = check_port.as_int().unwrap_or(0) == 0;
    match (needs_health_check(&spec), unset) {
        (true, true) => errors.required(check_port, ""),
        (true, false) => check::between(check_port, 1, 65535, errors),
        (false, true) => {}
        (false, false) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` \
                       is 'Local'";
            errors.invalid(check_port, &check_port, why);
        }
    }
}

/// Checks the addresses that a load balancer reported.
fn load_balancer(list: At<'_>, spec: &Value, errors: &mut Errors) {
    if kind(spec) != "LoadBalancer" && !list.value().items().is_empty() {
        return errors.forbidden(list, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for ingress in list.items() {
        let (ip, mode, host) =
            (ingress.field("ip"), ingress.field("ipMode"), ingress.field("hostname"));
        Rule::Text(text::ip).check(ip, errors);
        match (ip.is_empty(), mode.is_null()) {
            (false, true) => errors.required(mode, "must be specified when `ip` is set"),
            (true, false) => errors.forbidden(mode, "may not be specified when `ip` is not set"),
            (false, false) => check::one_of(mode, &["Proxy", "VIP"], errors),
            (true, true) => {}
        }
        Rule::Text(text::dns_subdomain).check(host, errors);
        if host.str().parse::<IpAddr>().is_ok() {
            errors.invalid(host, &host, "must be a DNS name, not an IP address");
        }
    }
}

fn warnings(object: &Value) -> Vec<String> {
    let spec = object.get("spec");
    let external = !spec.get("externalIPs").items().is_empty();
    let named = kind(spec) == "ExternalName";
    let headless = kind(spec) == "ClusterIP" && spec.get("clusterIP").str() == "None";
    let say = |when: bool, text: String| when.then_some(text);
    let mut found: Vec<String> = [say(
        object.annotation(HINTS).is_some(),
        format!("annotation {HINTS} is deprecated, please use {MODE} instead"),
    )]
    .into_iter()
    .flatten()
    .collect();
    found.extend(odd_addresses(spec, "clusterIPs"));
    let ignored = |field: &str| format!("spec.{field} is ignored for headless services");
    found
        .extend(say(headless && !spec.get("loadBalancerIP").is_empty(), ignored("loadBalancerIP")));
    found.extend(say(headless && external, ignored("externalIPs")));
    let sticky = !matches!(spec.get("sessionAffinity").str(), "" | "None");
    found.extend(say(headless && sticky, ignored("SessionAffinity")));
    found.extend(odd_addresses(spec, "externalIPs"));
    let deprecated =
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
    found.extend(say(external && !headless && !named, deprecated.into()));
    found.extend(address::warning("spec.loadBalancerIP", spec.get("loadBalancerIP").str()));
    let only = |field: &str, not: &str| {
        format!("spec.{field} is ignored when spec.type is {not}\"ExternalName\"")
    };
    found.extend(say(named && external, only("externalIPs", "")));
    let name = !spec.get("externalName").is_empty();
    found.extend(say(!named && name, only("externalName", "not ")));
    found
}

fn odd_addresses(spec: &Value, field: &str) -> Vec<String> {
    let list = spec.get(field).items().iter().enumerate();
    list.filter_map(|(i, ip)| address::warning(&format!("spec.{field}[{i}]"), ip.str())).collect()
}

fn external_ip(object: &Value) -> String {
    let spec = object.get("spec");
    let texts = |list: &Value| -> Vec<String> {
        list.items().iter().map(|text| text.str().to_owned()).collect()
    };
    let external = texts(spec.get("externalIPs"));
    match kind(spec) {
        "ExternalName" => spec.get("externalName").str().to_owned(),
        "ClusterIP" | "NodePort" => or_none(external.join(",")),
        "LoadBalancer" => {
            let ingress = object.at(&["status", "loadBalancer", "ingress"]).items().iter();
            let mut all: Vec<String> = ingress
                .map(|entry| match entry.get("ip").str() {
                    "" => entry.get("hostname").str().to_owned(),
                    ip => ip.to_owned(),
                })
                .filter(|text| !text.is_empty())
                .collect();
            all.sort();
            all.dedup();
            all.extend(external);
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ => "<unknown>".into(),
    }
}
