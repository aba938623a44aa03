//! The containers of a pod in the order in which they start, of whatever kind.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

/// What kind of container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Must end well before the next may start.
    Init,
    /// An init container that keeps running beside the others.
    Sidecar,
    /// An ordinary one.
    App,
    /// Added to a running pod for debugging; never restarted.
    Ephemeral,
}

/// One container and its kind.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its spec.
    pub spec: Cow<'a, Container>,
}

impl Plan<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }
}

/// All containers of a pod: init containers in order, ordinary ones, ephemeral ones.
pub fn plans(pod: &Pod) -> Vec<Plan<'_>> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|spec| {
        let sidecar = spec.restart_policy.as_deref() == Some("Always");
        Plan { kind: if sidecar { Kind::Sidecar } else { Kind::Init }, spec: Cow::Borrowed(spec) }
    });
    let apps =
        spec.containers.iter().map(|spec| Plan { kind: Kind::App, spec: Cow::Borrowed(spec) });
    let ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|spec| Plan { kind: Kind::Ephemeral, spec: Cow::Owned(container_of(spec)) });
    init.chain(apps).chain(ephemeral).collect()
}

/// An ephemeral container has the fields of an ordinary one and its target besides.
fn container_of(spec: &EphemeralContainer) -> Container {
    let e = spec.clone();
    Container {
        args: e.args,
        command: e.command,
        env: e.env,
        env_from: e.env_from,
        image: e.image,
        image_pull_policy: e.image_pull_policy,
        name: e.name,
        resources: e.resources,
        security_context: e.security_context,
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path,
        termination_message_policy: e.termination_message_policy,
        tty: e.tty,
        volume_mounts: e.volume_mounts,
        working_dir: e.working_dir,
        ..Container::default()
    }
}
