//! What the node tells about its pods and itself.

use std::sync::Arc;

use http::Response;

use super::{Answer, Body, json, with_type};
use crate::client::PODS;
use crate::node::shared::Shared;
use crate::runtime::Phase;

/// `GET /pods`: the pods of this node as the API has them.
pub(super) fn pods(shared: &Arc<Shared>) -> Answer {
    let selector = format!("spec.nodeName={}", shared.config.name);
    let snapshot = shared.client.view(&PODS, &selector).snapshot();
    let mut out = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#.to_vec();
    let mut first = true;
    for pod in snapshot.iter() {
        if pod.header.field("spec.nodeName") != Some(&*shared.config.name) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(&pod.body);
    }
    out.extend_from_slice(b"]}");
    Ok(json(out))
}

/// `GET /metrics`, in the text form that Prometheus reads.
pub(super) fn metrics(shared: &Arc<Shared>) -> Response<Body> {
    let pods = shared.runtime.pods();
    let containers = pods.iter().flat_map(|pod| pod.containers());
    let running = containers.filter(|container| container.phase == Phase::Running).count();
    let mut out = String::new();
    gauge(
        &mut out,
        "kubelet_running_pods",
        "Number of pods that have a running pod sandbox",
        "",
        pods.len(),
    );
    let help = "Number of containers currently running";
    gauge(&mut out, "kubelet_running_containers", help, r#"{container_state="running"}"#, running);
    let name = format!(r#"{{node="{}"}}"#, shared.config.name);
    gauge(&mut out, "kubelet_node_name", "The node's name. The count is always 1.", &name, 1);
    with_type("text/plain; version=0.0.4; charset=utf-8", out)
}

/// Appends one gauge.
fn gauge(out: &mut String, name: &str, help: &str, labels: &str, value: usize) {
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}\n"));
}
