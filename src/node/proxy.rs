//! kube-proxy's and the cluster DNS's duties: Services and EndpointSlices to what the kernel and
//! the resolver shall answer.
//!
//! Contract: [`rules`] and [`names`] are pure functions of one service and its slices; [`table`]
//! keeps their results up to date by service, from events; [`run`] hands them to `net`.

mod run;

pub mod names;
pub mod rules;
pub mod table;

pub use run::{Dns, run};

use crate::api::tree::Value;
use crate::net::Protocol;

/// The label that ties a slice to its service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A protocol as the API names it; TCP where it names none.
fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// A port number.
fn port(value: &Value) -> Option<u16> {
    value.as_int().and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
}

/// The addresses in a list of texts.
fn addresses(list: &Value) -> Vec<std::net::IpAddr> {
    list.items().iter().filter_map(|item| item.str().parse().ok()).collect()
}

/// Whether a service has no virtual address.
fn is_headless(service: &Value) -> bool {
    service.at(&["spec", "clusterIP"]).str() == "None"
}

/// Whether a service is only a name for another host.
fn is_external_name(service: &Value) -> bool {
    service.at(&["spec", "type"]).str() == "ExternalName"
}
