//! The conditions of a pod that its node owns.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use super::{Kind, Plan};

/// A condition without its times.
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Condition {
    pub(super) const fn new(kind: &'static str, holds: bool) -> Self {
        Self { kind, holds, reason: "", message: String::new() }
    }

    fn because(kind: &'static str, holds: bool, reason: &'static str, message: String) -> Self {
        Self { kind, holds, reason, message }
    }
}

/// A container and its status, if there is one.
pub(super) type Pair<'a> = (&'a Plan<'a>, Option<&'a ContainerStatus>);

/// Names in the form `[a b]` after what they are, where there are any.
fn listed(what: &str, names: &[&str]) -> Option<String> {
    (!names.is_empty()).then(|| format!("containers with {what} status: [{}]", names.join(" ")))
}

fn unmet(unknown: &[&str], what: &str, names: &[&str]) -> String {
    let parts = [listed("unknown", unknown), listed(what, names)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Names of containers without status, and of those whose status does not satisfy `good`.
fn sort<'a>(
    pairs: impl Iterator<Item = &'a Pair<'a>>,
    good: impl Fn(&Plan<'_>, &ContainerStatus) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut unknown, mut bad) = (Vec::new(), Vec::new());
    for (plan, status) in pairs {
        match status {
            None => unknown.push(plan.name()),
            Some(status) if !good(plan, status) => bad.push(plan.name()),
            Some(_) => {}
        }
    }
    (unknown, bad)
}

/// `Initialized`.
pub(super) fn initialized(pairs: &[Pair<'_>], phase: &str, begun: bool) -> Condition {
    let kind = "Initialized";
    let inits = pairs.iter().filter(|(plan, _)| matches!(plan.kind, Kind::Init | Kind::Sidecar));
    let (unknown, incomplete) = sort(inits, |plan, status| match plan.kind {
        Kind::Sidecar => status.started == Some(true),
        _ => status.ready,
    });
    if phase == "Succeeded" && unknown.is_empty() {
        return Condition::because(kind, true, "PodCompleted", String::new());
    }
    if begun || unknown.is_empty() && incomplete.is_empty() {
        return Condition::new(kind, true);
    }
    let message = unmet(&unknown, "incomplete", &incomplete);
    Condition::because(kind, false, "ContainersNotInitialized", message)
}

/// `ContainersReady`.
pub(super) fn containers_ready(pairs: &[Pair<'_>], phase: &str) -> Condition {
    let kind = "ContainersReady";
    let counted = pairs.iter().filter(|(plan, _)| matches!(plan.kind, Kind::App | Kind::Sidecar));
    let (unknown, unready) = sort(counted, |_, status| status.ready);
    let over = |reason| Condition::because(kind, false, reason, String::new());
    match phase {
        "Succeeded" if unknown.is_empty() => over("PodCompleted"),
        "Failed" if unknown.is_empty() => over("PodFailed"),
        _ if unknown.is_empty() && unready.is_empty() => Condition::new(kind, true),
        _ => {
            let message = unmet(&unknown, "unready", &unready);
            Condition::because(kind, false, "ContainersNotReady", message)
        }
    }
}

/// `Ready`: the containers are, and every readiness gate is open.
pub(super) fn ready(pod: &Pod, containers: &Condition) -> Condition {
    if !containers.holds {
        let message = containers.message.clone();
        return Condition::because("Ready", false, containers.reason, message);
    }
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
    let shut: Vec<String> = gates.filter_map(|gate| shut(pod, &gate.condition_type)).collect();
    match shut.is_empty() {
        true => Condition::new("Ready", true),
        false => Condition::because("Ready", false, "ReadinessGatesNotReady", shut.join(", ")),
    }
}

/// Why a readiness gate is shut, if it is.
fn shut(pod: &Pod, gate: &str) -> Option<String> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    match conditions.into_iter().find(|condition| condition.type_ == gate) {
        None => {
            Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist."))
        }
        Some(PodCondition { status, .. }) if status != "True" => {
            Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but {status}"))
        }
        Some(_) => None,
    }
}
