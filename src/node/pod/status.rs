//! What is reported of a pod.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, PodCondition, PodIP, PodStatus,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{self, Condition, Pair};
use super::init::is_started;
use super::phase::{Item, phase};
use super::resize;
use super::restart::{Crash, go_duration};
use super::step::{DEADLINE_EXCEEDED, Planner};
use super::{Attempt, Busy, CRASH_LOOP, End, Kind, Plan, Sandbox, Seen, title};
use crate::node::qos;
use crate::util::clock::Wall;

/// A decision, seen by who reports on it.
pub(super) struct View<'p, 'a> {
    pub(super) planner: &'p Planner<'a>,
    pub(super) host_ips: &'p [String],
    /// The pod is being ended.
    pub(super) ending: bool,
}

/// A time as the API has it: whole seconds.
pub fn api_time(time: Wall) -> Option<Time> {
    jiff::Timestamp::from_second(time.seconds()).ok().map(Time)
}

impl View<'_, '_> {
    pub(super) fn status(&self) -> PodStatus {
        let seen = self.planner.seen;
        if let Some(verdict) = seen.verdict.as_ref().filter(|verdict| verdict.rejected) {
            let (reason, message) = (verdict.reason.clone(), verdict.message.clone());
            return PodStatus {
                phase: Some("Failed".to_owned()),
                reason: Some(reason),
                message: Some(message),
                observed_generation: self.planner.pod.metadata.generation,
                qos_class: Some(qos::class(self.planner.pod).to_owned()),
                start_time: seen.since.and_then(api_time),
                ..PodStatus::default()
            };
        }
        let statuses: Vec<ContainerStatus> =
            self.planner.plans.iter().map(|plan| self.container(plan)).collect();
        let pairs: Vec<Pair<'_>> =
            self.planner.plans.iter().zip(&statuses).map(|(plan, s)| (plan, Some(s))).collect();
        let phase = self.phase(&pairs);
        let conditions = self.conditions(&pairs, phase);
        let (reason, message) = self.why(phase);
        PodStatus {
            phase: Some(phase.to_owned()),
            conditions: Some(conditions),
            reason,
            message,
            observed_generation: self.planner.pod.metadata.generation,
            qos_class: Some(qos::class(self.planner.pod).to_owned()),
            start_time: seen.since.and_then(api_time),
            host_ip: self.host_ips.first().cloned(),
            host_ips: Some(self.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
            container_statuses: of_kind(&pairs, &[Kind::App]),
            init_container_statuses: of_kind(&pairs, &[Kind::Init, Kind::Sidecar]),
            ephemeral_container_statuses: of_kind(&pairs, &[Kind::Ephemeral]),
            ..self.addresses()
        }
    }

    fn begun(&self) -> bool {
        let ran = |seen: &Seen| seen.current.as_ref().is_some_and(|a| a.started.is_some());
        let apps = self.planner.each(&[Kind::App]);
        self.planner.apps_have_begun() && apps.iter().any(|(_, seen)| ran(seen))
    }

    fn phase(&self, pairs: &[Pair<'_>]) -> &'static str {
        let reported = self.planner.reported().and_then(|status| status.phase.as_deref());
        match reported {
            Some("Failed") => return "Failed",
            Some("Succeeded") => return "Succeeded",
            _ => {}
        }
        // An end is reported only when nothing runs any more: others may then let go of what the
        // pod holds.
        let over = self.ending && !self.planner.anything_runs();
        if over && (self.planner.seen.verdict.is_some() || self.planner.past_deadline()) {
            return "Failed";
        }
        let items: Vec<Item<'_>> =
            pairs.iter().map(|(plan, status)| self.item(plan, *status)).collect();
        match phase(&items, self.begun(), over) {
            "Failed" | "Succeeded" if !over => "Running",
            phase => phase,
        }
    }

    fn item<'i>(&self, plan: &'i Plan<'i>, status: Option<&'i ContainerStatus>) -> Item<'i> {
        let current = self.planner.of(plan.name()).current.as_ref();
        let end = current.and_then(|attempt| attempt.end.as_ref());
        Item { plan, status, restarts: end.is_none_or(|end| self.planner.restarts(plan, end)) }
    }

    /// `status.reason` and `.message`.
    fn why(&self, phase: &str) -> (Option<String>, Option<String>) {
        if phase != "Failed" {
            return (None, None);
        }
        if let Some(verdict) = &self.planner.seen.verdict {
            return (Some(verdict.reason.clone()), Some(verdict.message.clone()));
        }
        let reported = self.planner.reported();
        match reported.filter(|status| status.reason.is_some()) {
            Some(status) => (status.reason.clone(), status.message.clone()),
            None if self.planner.past_deadline() => {
                let (reason, message) = DEADLINE_EXCEEDED;
                (Some(reason.to_owned()), Some(message.to_owned()))
            }
            None => (None, None),
        }
    }

    /// The pod's addresses; those of a pod that is over stay as they were.
    fn addresses(&self) -> PodStatus {
        let spec = self.planner.pod.spec.as_ref();
        let seen = self.planner.seen;
        let ips: Vec<String> = if spec.is_some_and(|spec| spec.host_network == Some(true)) {
            self.host_ips.to_vec()
        } else {
            seen.ips.iter().map(ToString::to_string).collect()
        };
        let reported = self.planner.reported();
        if ips.is_empty() && self.ending {
            return PodStatus {
                pod_ip: reported.and_then(|status| status.pod_ip.clone()),
                pod_ips: reported.and_then(|status| status.pod_ips.clone()),
                ..PodStatus::default()
            };
        }
        let pod_ips: Vec<PodIP> = ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect();
        PodStatus {
            pod_ip: ips.first().cloned(),
            pod_ips: (!pod_ips.is_empty()).then_some(pod_ips),
            ..PodStatus::default()
        }
    }

    fn conditions(&self, pairs: &[Pair<'_>], phase: &str) -> Vec<PodCondition> {
        let sandbox = self.planner.seen.sandbox == Sandbox::Ready;
        let containers = conditions::containers_ready(pairs, phase);
        let list = [
            Condition::new("PodReadyToStartContainers", sandbox),
            conditions::initialized(pairs, phase, self.begun()),
            conditions::ready(self.planner.pod, &containers),
            containers,
            Condition::new("PodScheduled", true),
        ];
        let mut list: Vec<_> = list.into_iter().map(|condition| self.timed(condition)).collect();
        if !matches!(phase, "Failed" | "Succeeded") {
            let old = self.planner.reported().and_then(|reported| reported.conditions.as_deref());
            let resize = &self.planner.seen.resize;
            list.extend(resize::conditions(resize, old.unwrap_or_default(), self.planner.now));
        }
        list
    }

    /// Gives a condition its times: the transition's stays where the status has not changed.
    fn timed(&self, condition: Condition) -> PodCondition {
        let status = if condition.holds { "True" } else { "False" };
        let old = self.planner.reported().and_then(|reported| {
            reported.conditions.iter().flatten().find(|old| old.type_ == condition.kind)
        });
        let since = match old.filter(|old| old.status == status) {
            Some(old) => old.last_transition_time.clone(),
            None => api_time(self.planner.now),
        };
        PodCondition {
            type_: condition.kind.to_owned(),
            status: status.to_owned(),
            reason: some(condition.reason.to_owned()),
            message: some(condition.message),
            last_transition_time: since,
            last_probe_time: None,
            observed_generation: self.planner.pod.metadata.generation,
        }
    }
}

impl View<'_, '_> {
    fn container(&self, plan: &Plan<'_>) -> ContainerStatus {
        let seen = self.planner.of(plan.name());
        let (state, last) = self.states(plan, seen);
        let current = seen.current.as_ref();
        let running = state.running.is_some();
        let started = current.is_some_and(|attempt| is_started(attempt, seen));
        ContainerStatus {
            name: plan.name().to_owned(),
            ready: match plan.kind {
                Kind::Init => state.terminated.as_ref().is_some_and(|t| t.exit_code == 0),
                Kind::Ephemeral => false,
                Kind::Sidecar | Kind::App => running && started && seen.probes.ready,
            },
            started: Some(started),
            restart_count: current.map_or(0, |attempt| attempt.number),
            image: current
                .map(|attempt| attempt.image.clone())
                .filter(|image| !image.is_empty())
                .unwrap_or_else(|| plan.spec.image.clone().unwrap_or_default()),
            image_id: current.map_or_else(String::new, |attempt| attempt.image_id.clone()),
            container_id: current.and_then(container_id),
            resources: current.and_then(|attempt| {
                let own = attempt.resources.as_ref().filter(|_| running);
                own.or(plan.spec.resources.as_ref()).cloned()
            }),
            allocated_resources: current
                .and(plan.spec.resources.as_ref())
                .and_then(|resources| resources.requests.clone()),
            volume_mounts: current.and_then(|_| volume_mounts(&plan.spec)),
            state: Some(state),
            last_state: Some(last.unwrap_or_default()),
            ..ContainerStatus::default()
        }
    }

    /// The state of a container, and that before it.
    fn states(&self, plan: &Plan<'_>, seen: &Seen) -> (ContainerState, Option<ContainerState>) {
        let last = seen.last.as_ref().and_then(terminated);
        let Some(attempt) = &seen.current else {
            return (self.waiting(plan, seen), last);
        };
        let Some(end) = &attempt.end else {
            return (running(attempt), last);
        };
        let ended = terminated(attempt);
        if self.ending || !self.planner.restarts(plan, end) {
            return (ended.unwrap_or_default(), last);
        }
        // An end that is only a beginning is not shown as an end: the API lets no container that
        // ended for good run again.
        if seen.trouble.is_some() || end.resized {
            return (self.waiting(plan, seen), ended);
        }
        match self.crash_loop(plan, seen, end) {
            Some(waiting) => (waiting, ended),
            None => (ended.unwrap_or_default(), last),
        }
    }

    fn crash_loop(&self, plan: &Plan<'_>, seen: &Seen, end: &End) -> Option<ContainerState> {
        let waits = Crash::ready_at(seen.crash, end.finished) > self.planner.now;
        // While it starts again it is shown as before, to spare a report.
        let starts = seen.busy == Some(Busy::Starting) && seen.crash.is_some();
        let crash = seen.crash.filter(|_| waits || starts)?;
        Some(waiting(CRASH_LOOP, &self.back_off(plan, crash)))
    }

    fn back_off(&self, plan: &Plan<'_>, crash: Crash) -> String {
        let (delay, name) = (go_duration(crash.delay), plan.name());
        let pod = title(self.planner.pod);
        format!("back-off {delay} restarting failed container={name} pod={pod}")
    }

    /// What a container that has not begun waits for.
    fn waiting(&self, plan: &Plan<'_>, seen: &Seen) -> ContainerState {
        if let Some(trouble) = &seen.trouble {
            return match (trouble.shown(self.planner.now), seen.crash) {
                ((CRASH_LOOP, _), Some(crash)) => waiting(CRASH_LOOP, &self.back_off(plan, crash)),
                ((reason, message), _) => waiting(reason, message),
            };
        }
        let init = self.planner.plans.iter().any(|p| matches!(p.kind, Kind::Init | Kind::Sidecar));
        let reason = match plan.kind {
            Kind::Ephemeral => "ContainerCreating",
            _ if init => "PodInitializing",
            _ => "ContainerCreating",
        };
        waiting(reason, "")
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let (reason, message) = (some(reason.to_owned()), some(message.to_owned()));
    let waiting = Some(ContainerStateWaiting { reason, message });
    ContainerState { waiting, ..ContainerState::default() }
}

fn running(attempt: &Attempt) -> ContainerState {
    let started_at = attempt.started.and_then(api_time);
    let running = Some(ContainerStateRunning { started_at });
    ContainerState { running, ..ContainerState::default() }
}

fn terminated(attempt: &Attempt) -> Option<ContainerState> {
    let end = attempt.end.as_ref()?;
    let terminated = Some(ContainerStateTerminated {
        container_id: container_id(attempt),
        exit_code: end.code,
        signal: end.signal,
        reason: some(end.reason.clone()),
        message: some(end.message.clone()),
        // Where it never ran Kubernetes shows the epoch.
        started_at: api_time(attempt.started.unwrap_or(Wall(0))),
        finished_at: api_time(end.finished),
    });
    Some(ContainerState { terminated, ..ContainerState::default() })
}

/// `rk://<id>`.
fn container_id(attempt: &Attempt) -> Option<String> {
    (!attempt.id.is_empty()).then(|| format!("rk://{}", attempt.id))
}

/// The statuses of some kinds: ordinary containers by name, as clients expect, others in order.
fn of_kind(pairs: &[Pair<'_>], kinds: &[Kind]) -> Option<Vec<ContainerStatus>> {
    let chosen = pairs.iter().filter(|(plan, _)| kinds.contains(&plan.kind));
    let mut list: Vec<ContainerStatus> = chosen.filter_map(|(_, status)| status.cloned()).collect();
    if kinds.contains(&Kind::App) {
        list.sort_by(|a, b| a.name.cmp(&b.name));
    }
    (!list.is_empty()).then_some(list)
}

fn volume_mounts(spec: &Container) -> Option<Vec<VolumeMountStatus>> {
    let status = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
        let read_only = mount.read_only.filter(|read_only| *read_only);
        let recursive = mount.recursive_read_only.as_deref();
        let shown = if matches!(recursive, Some("Enabled" | "IfPossible")) {
            "Enabled"
        } else {
            "Disabled"
        };
        VolumeMountStatus {
            mount_path: mount.mount_path.clone(),
            name: mount.name.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| shown.to_owned()),
            volume_status: None,
        }
    };
    let list: Vec<_> = spec.volume_mounts.iter().flatten().map(status).collect();
    (!list.is_empty()).then_some(list)
}
