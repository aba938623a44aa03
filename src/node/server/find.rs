//! Finds what a request is about.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::api::status::Status;
use crate::client::PODS;
use crate::history::Object;
use crate::node::container::build::label;
use crate::node::shared::Shared;
use crate::runtime::{ContainerStatus, Phase, PodHandle};

/// Namespace, pod and container of a request.
pub(super) type Place<'a> = (&'a str, &'a str, &'a str);

/// The running pod of a name.
pub(super) fn pod(shared: &Shared, namespace: &str, name: &str) -> Result<PodHandle, Status> {
    let is_it = |handle: &PodHandle| {
        let labels = &handle.sandbox().labels;
        labels.get(label::NAMESPACE).is_some_and(|text| text == namespace)
            && labels.get(label::NAME).is_some_and(|text| text == name)
            && !handle.is_dead()
    };
    let found = shared.runtime.pods().into_iter().find(is_it);
    found.ok_or_else(|| Status::not_found("", "pods", name))
}

/// The newest attempt of a container that runs.
pub(super) fn running(
    shared: &Shared,
    (namespace, name, container): Place<'_>,
) -> Result<(PodHandle, ContainerStatus), Status> {
    let handle = pod(shared, namespace, name)?;
    let own = |status: &ContainerStatus| {
        status.phase == Phase::Running
            && status.labels.get("container").is_some_and(|text| text == container)
    };
    let found = handle.containers().into_iter().find(own);
    let missing = || Status::internal(format!("container not found ({container:?})"));
    Ok((handle.clone(), found.ok_or_else(missing)?))
}

/// A pod's object, running or not.
pub(super) fn object(shared: &Shared, namespace: &str, name: &str) -> Result<Arc<Object>, Status> {
    let selector = format!("spec.nodeName={}", shared.config.name);
    let found = shared.client.view(&PODS, &selector).get(namespace, name);
    let ours = found.filter(|o| o.header.field("spec.nodeName") == Some(&*shared.config.name));
    ours.ok_or_else(|| Status::not_found("", "pods", name))
}

/// A pod's object, typed.
pub(super) fn typed(object: &Object) -> Result<Pod, Status> {
    object.to().map_err(|error| Status::internal(error.to_string()))
}
