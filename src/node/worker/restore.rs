//! What a worker knows of its pod when it begins: from what runs, and from what was reported.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Worker;
use crate::node::container::build::label;
use crate::node::network::host_ports;
use crate::node::pod::{Attempt, End, Sandbox, Volumes};
use crate::runtime::{self, Phase};
use crate::util::clock::{self, Wall};

impl Worker {
    /// Takes over from what an earlier process left, or begins with a new pod.
    pub(super) async fn restore(&mut self) {
        let Some(pod) = self.pod() else { return };
        let status = pod.status.clone().unwrap_or_default();
        let since = status.start_time.as_ref().map(wall);
        self.seen.since = Some(since.unwrap_or_else(clock::now));
        self.restore_book(&pod);
        self.adopt_sandbox(&pod).await;
        self.observe(&pod);
        let lists = [
            status.init_container_statuses,
            status.container_statuses,
            status.ephemeral_container_statuses,
        ];
        for reported in lists.into_iter().flatten().flatten() {
            self.restore_container(&reported);
        }
        self.admit(&pod, since.is_some());
    }

    async fn adopt_sandbox(&mut self, pod: &Pod) {
        let context = Arc::clone(&self.context);
        let handle = context.handle();
        let there = context.dirs.root.join("volumes").exists() || context.dirs.run.exists();
        // Before the first container of a sandbox, setting up may have been cut short anywhere:
        // between shim, link and files. Doing it again completes it.
        let begun = handle.as_ref().is_none_or(|handle| !handle.containers().is_empty());
        if there && begun {
            self.seen.volumes = Volumes::Ready;
            self.refresh.want();
        }
        let Some(handle) = handle else { return };
        let epoch = handle.sandbox().labels.get(label::EPOCH).and_then(|text| text.parse().ok());
        self.seen.epoch = epoch.unwrap_or(1);
        let whole = begun && !handle.is_dead();
        self.seen.sandbox = if whole { Sandbox::Ready } else { Sandbox::Lost };
        let network = &context.shared.network;
        if let Some(addresses) = network.addresses(&context.uid) {
            self.seen.ips = addresses.list();
            network.set_ports(&context.uid, host_ports(pod, &self.seen.ips));
        }
        for container in handle.containers().into_iter().filter(never_ran) {
            if let Err(error) = handle.remove(&container.id).await {
                tracing::warn!(pod = %context.uid, %error, "cannot remove an unstarted container");
            }
        }
    }

    /// Fills in from a reported status what the runtime does not know any more.
    fn restore_container(&mut self, reported: &ContainerStatus) {
        let gone = self.seen.sandbox != Sandbox::Ready;
        let seen = self.seen.containers.entry(reported.name.clone()).or_default();
        let last = reported.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let number = reported.restart_count;
        match &seen.current {
            Some(current) => {
                if format!("rk://{}", current.id)
                    == reported.container_id.clone().unwrap_or_default()
                {
                    if reported.started == Some(true) {
                        seen.probes.startup = Some(true);
                    }
                    seen.probes.ready |= reported.ready;
                }
                let number = current.number - 1;
                if seen.last.is_none() && number >= 0 {
                    seen.last = last.map(|last| attempt(reported, last, number));
                }
            }
            None => {
                let state = reported.state.clone().unwrap_or_default();
                seen.current = current(reported, &state, last, number, gone);
                if seen.last.is_none() && state.waiting.is_none() {
                    seen.last = last.map(|last| attempt(reported, last, number - 1));
                }
            }
        }
    }

    /// Lets a new pod in, or not.
    fn admit(&mut self, pod: &Pod, known: bool) {
        let shared = &self.context.shared;
        let over = matches!(
            pod.status.as_ref().and_then(|status| status.phase.as_deref()),
            Some("Succeeded" | "Failed")
        );
        if over {
            return;
        }
        if known || self.seen.sandbox != Sandbox::Absent {
            return shared.readmit(&self.context.uid, &self.given(pod));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            return;
        }
        if let Some(verdict) = shared.admit(&self.context.uid, pod) {
            self.context.voice.warn(&verdict.reason, verdict.message.clone());
            self.seen.verdict = Some(verdict);
        } else {
            self.open_book();
        }
    }
}

/// Whether a container was made and never started: whoever was about to has died, perhaps after one
/// that had begun to take it away. It counts as no attempt.
fn never_ran(container: &runtime::ContainerStatus) -> bool {
    container.phase == Phase::Created
        || container.phase == Phase::Exited && container.started_ns.is_none()
}

pub(super) fn wall(time: &Time) -> Wall {
    i64::try_from(time.0.as_nanosecond()).map_or(Wall(0), Wall)
}

/// The newest attempt as it was reported. Its sandbox is not there any more: epoch 0.
fn current(
    reported: &ContainerStatus,
    state: &ContainerState,
    last: Option<&ContainerStateTerminated>,
    number: i32,
    gone: bool,
) -> Option<Attempt> {
    if let Some(terminated) = &state.terminated {
        return Some(attempt(reported, terminated, number));
    }
    if state.waiting.is_some() {
        return last.map(|last| attempt(reported, last, number));
    }
    let running = state.running.as_ref().filter(|_| gone)?;
    let lost = ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
        started_at: running.started_at.clone(),
        finished_at: crate::node::pod::api_time(clock::now()),
        container_id: reported.container_id.clone(),
        signal: None,
    };
    Some(attempt(reported, &lost, number))
}

fn attempt(reported: &ContainerStatus, ended: &ContainerStateTerminated, number: i32) -> Attempt {
    let id = ended.container_id.as_deref().unwrap_or_default();
    Attempt {
        id: id.strip_prefix("rk://").unwrap_or(id).to_owned(),
        number: number.max(0),
        epoch: 0,
        image_asked: String::new(),
        image: reported.image.clone(),
        image_id: reported.image_id.clone(),
        resources: reported.resources.clone(),
        started: ended.started_at.as_ref().map(wall),
        end: Some(End {
            code: ended.exit_code,
            signal: ended.signal,
            reason: ended.reason.clone().unwrap_or_default(),
            message: ended.message.clone().unwrap_or_default(),
            finished: ended.finished_at.as_ref().map_or(Wall(0), wall),
            resized: false,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_was_made_and_never_started_is_no_attempt() {
        for (phase, started_ns, expected) in [
            (Phase::Created, None, true),
            (Phase::Exited, None, true),
            (Phase::Exited, Some(5), false),
            (Phase::Running, Some(5), false),
        ] {
            let container = runtime::ContainerStatus {
                id: "x".into(),
                phase,
                pid: None,
                created_ns: 1,
                started_ns,
                exit: None,
                labels: BTreeMap::new(),
            };
            assert_eq!(never_ran(&container), expected, "{phase:?} {started_ns:?}");
        }
    }
}
