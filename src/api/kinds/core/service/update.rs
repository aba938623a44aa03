//! What may change in a service, and what stays when its writer leaves it out.

use super::{
    is_external, is_headless, kind, needs_cluster_ip, needs_health_check, needs_node_port,
};
use crate::api::kinds::check::At;
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// Carries over what was allocated, and drops what a change of type leaves without meaning.
pub(super) fn prepare(object: &mut Value, old: &Value) {
    let before = old.get("spec");
    let spec = object.entry("spec");
    keep_allocated(spec, before);
    cluster_ips(spec, before);
    drop_unneeded(spec, before);
    if kind(spec) != "LoadBalancer" {
        object.set("status", without_balancer(object.get("status")));
    }
}

fn without_balancer(status: &Value) -> Value {
    let mut status = status.clone();
    status.set("loadBalancer", Value::object());
    status
}

fn keep_allocated(spec: &mut Value, old: &Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(spec) {
        for field in ["clusterIP", "clusterIPs"] {
            if spec.get(field).is_empty() && !old.get(field).is_empty() {
                spec.set(field, old.get(field).clone());
            }
        }
    }
    if needs_node_port(old) && needs_node_port(spec) {
        node_ports(spec, old);
    }
    let health = "healthCheckNodePort";
    let both = needs_health_check(old) && needs_health_check(spec);
    if both && spec.get(health).is_empty() && !old.get(health).is_null() {
        spec.set(health, old.get(health).clone());
    }
}

/// Ports without a node port get the one that the port of their name had, unless it is taken.
fn node_ports(spec: &mut Value, old: &Value) {
    let used = |spec: &Value| -> Vec<i64> {
        let ports = spec.get("ports").items().iter();
        ports.filter_map(|port| port.get("nodePort").as_int()).filter(|port| *port != 0).collect()
    };
    let mine = used(spec);
    let taken: Vec<i64> = used(old).into_iter().filter(|port| mine.contains(port)).collect();
    for port in spec.get_mut("ports").map(Value::items_mut).unwrap_or_default() {
        let same =
            old.get("ports").items().iter().rev().find(|o| o.get("name") == port.get("name"));
        let before = same.and_then(|same| same.get("nodePort").as_int()).unwrap_or(0);
        if port.get("nodePort").is_empty() && before != 0 && !taken.contains(&before) {
            port.set("nodePort", before);
        }
    }
}

/// Keeps the one address and the list of addresses in step when a client changes only one.
fn cluster_ips(spec: &mut Value, old: &Value) {
    let (one, before) = (spec.get("clusterIP").clone(), old.get("clusterIP"));
    let kept = spec.get("clusterIPs") == old.get("clusterIPs");
    if one.str() == before.str() {
        if spec.get("clusterIPs").is_empty() && !old.get("clusterIPs").is_empty() {
            spec.set("clusterIPs", old.get("clusterIPs").clone());
        }
    } else if kept && one.is_empty() {
        spec.remove("clusterIPs");
    } else if kept {
        spec.set("clusterIPs", vec![one]);
    }
}

/// A field that was given for the old type, and that the new type does not know, goes.
fn drop_unneeded(spec: &mut Value, old: &Value) {
    let lost = |need: fn(&Value) -> bool| need(old) && !need(spec);
    let (ip, node, health) =
        (lost(needs_cluster_ip), lost(needs_node_port), lost(needs_health_check));
    let (external, balancer) = (lost(is_external), lost(|s| kind(s) == "LoadBalancer"));
    if ip && spec.get("clusterIPs") == old.get("clusterIPs") {
        drop_same(spec, old, &["clusterIP"]);
        spec.remove("clusterIPs");
    }
    if ip {
        drop_same(spec, old, &["ipFamilies", "ipFamilyPolicy"]);
    }
    if node {
        drop_node_ports(spec, old);
    }
    if health {
        drop_same(spec, old, &["healthCheckNodePort"]);
    }
    if balancer {
        drop_same(spec, old, &["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if external {
        drop_same(spec, old, &["externalTrafficPolicy"]);
    }
}

fn drop_same(spec: &mut Value, old: &Value, fields: &[&str]) {
    for field in fields {
        if spec.get(field) == old.get(field) {
            spec.remove(field);
        }
    }
}

fn drop_node_ports(spec: &mut Value, old: &Value) {
    let before: Vec<&Value> = old.get("ports").items().iter().map(|p| p.get("nodePort")).collect();
    let known =
        |port: &Value| port.get("nodePort").is_null() || before.contains(&port.get("nodePort"));
    if spec.get("ports").items().iter().all(known) {
        for port in spec.get_mut("ports").map(Value::items_mut).unwrap_or_default() {
            port.remove("nodePort");
        }
    }
}

const FIXED: &str = "may not change once set";

/// What an update may not change.
pub(super) fn validate(object: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(object);
    let (spec, before) = (root.field("spec"), old.get("spec"));
    if needs_cluster_ip(&spec) && needs_cluster_ip(before) {
        let headless = (is_headless(&spec), is_headless(before));
        if headless != (true, true) {
            first_of(spec, before, "clusterIPs", "clusterIP", errors);
        }
        if headless == (false, false) {
            first_of(spec, before, "ipFamilies", "ipFamily", errors);
        }
    }
    let class = spec.field("loadBalancerClass");
    let balancers = kind(&spec) == "LoadBalancer" && kind(before) == "LoadBalancer";
    if balancers && class.value() != before.get("loadBalancerClass") {
        errors.invalid(class, &class, FIXED);
    }
    let port = spec.field("healthCheckNodePort");
    let checked = needs_health_check(before) && needs_health_check(&spec);
    if checked && port.value() != before.get("healthCheckNodePort") {
        errors.forbidden(port, "field is immutable");
    }
}

/// The first address and family stay; a second may come, and go with the policy.
fn first_of(spec: At<'_>, old: &Value, field: &str, one: &str, errors: &mut Errors) {
    let list = spec.field(field);
    let (new, before) = (list.value().items(), old.get(field).items());
    let path = |index: usize| format!("{list}[{index}]");
    let shown = match list.value() {
        Value::Null => &Value::Null,
        given => given,
    };
    if before.len() > new.len() && spec.get("clusterIPs").items().is_empty() {
        errors.invalid(path(0), shown, &format!("primary {one} can not be unset"));
    }
    for (index, (mine, theirs)) in new.iter().zip(before).enumerate() {
        let counts = index == 0 || new.len() == before.len();
        if mine != theirs && counts {
            errors.invalid(path(if field == "clusterIPs" { index } else { 0 }), shown, FIXED);
        }
    }
    let policy = spec.field("ipFamilyPolicy");
    if before.len() > new.len() && new.len() == 1 && policy.str() != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.invalid(policy, &policy, &why);
    }
}
