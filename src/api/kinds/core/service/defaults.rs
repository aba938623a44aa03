//! What a service says where its author said nothing.

use super::{is_external, kind};
use crate::api::kinds::fallback::{self, Fallback};
use crate::api::tree::Value;

/// Three hours: how long a client is remembered.
const AFFINITY_SECONDS: i64 = 10_800;

const TABLE: &[(&str, Fallback)] = &[
    ("spec.sessionAffinity", Fallback::Text("None")),
    ("spec.type", Fallback::Text("ClusterIP")),
    ("spec.ports[].protocol", Fallback::Text("TCP")),
];

/// Fills in a service.
pub(super) fn apply(object: &mut Value) {
    object.entry("spec");
    if object.get("spec").as_object().is_none() {
        object.set("spec", Value::object());
    }
    fallback::apply(object, TABLE);
    let spec = object.entry("spec");
    affinity(spec);
    for port in spec.get_mut("ports").map(Value::items_mut).unwrap_or_default() {
        if matches!(port.get("targetPort"), Value::Null | Value::Int(0))
            || port.get("targetPort").as_str() == Some("")
        {
            let same = port.get("port").clone();
            port.set("targetPort", same);
        }
    }
    if is_external(spec) && spec.get("externalTrafficPolicy").is_empty() {
        spec.set("externalTrafficPolicy", "Cluster");
    }
    let proxied = matches!(kind(spec), "NodePort" | "LoadBalancer" | "ClusterIP");
    if proxied && spec.get("internalTrafficPolicy").is_null() {
        spec.set("internalTrafficPolicy", "Cluster");
    }
    if kind(spec) == "LoadBalancer" {
        if spec.get("allocateLoadBalancerNodePorts").is_null() {
            spec.set("allocateLoadBalancerNodePorts", true);
        }
        fallback::at_each(object, "status.loadBalancer.ingress[].ipMode", &mut |ingress, mode| {
            if !ingress.get("ip").is_empty() && ingress.get(mode).is_null() {
                ingress.set(mode, "VIP");
            }
        });
    }
}

fn affinity(spec: &mut Value) {
    match spec.get("sessionAffinity").str() {
        "None" => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP"
            if spec.at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).is_null() =>
        {
            let client = Value::from([("timeoutSeconds", AFFINITY_SECONDS.into())]);
            spec.set("sessionAffinityConfig", [("clientIP", client)]);
        }
        _ => {}
    }
}

/// A new service may give its one address alone.
pub(super) fn cluster_ips(spec: &mut Value) {
    let one = spec.get("clusterIP").clone();
    if !one.is_empty() && spec.get("clusterIPs").items().is_empty() {
        spec.set("clusterIPs", vec![one]);
    }
}
