//! Quality of service: a pod's class and what the kernel is told of it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::api::quantity::Quantity;

/// The names and amounts of a resource list; what cannot be read counts as absent.
pub fn amounts(list: Option<&BTreeMap<String, Text>>) -> impl Iterator<Item = (&str, Quantity)> {
    list.into_iter()
        .flatten()
        .filter_map(|(name, text)| Some((name.as_str(), text.0.parse().ok()?)))
}

/// The amount of one resource.
pub fn amount(list: Option<&BTreeMap<String, Text>>, name: &str) -> Option<Quantity> {
    list?.get(name)?.0.parse().ok()
}

/// The requests of a container.
pub fn requests(container: &Container) -> Option<&BTreeMap<String, Text>> {
    container.resources.as_ref()?.requests.as_ref()
}

/// The limits of a container.
pub fn limits(container: &Container) -> Option<&BTreeMap<String, Text>> {
    container.resources.as_ref()?.limits.as_ref()
}

/// All containers that count: init and ordinary ones.
pub fn counted(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers))
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Pod) -> &'static str {
    const KINDS: [&str; 2] = ["cpu", "memory"];
    let positive = |list, kind| amount(list, kind).filter(|q| !q.is_zero());
    let (mut any, mut all) = (false, true);
    for container in counted(pod) {
        for kind in KINDS {
            let limit = positive(limits(container), kind);
            // Where only the limit is given, the request is the same.
            let request = positive(requests(container), kind).or(limit);
            any |= limit.is_some() || request.is_some();
            all &= limit.is_some() && limit == request;
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
