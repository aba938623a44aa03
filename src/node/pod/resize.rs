//! Resizing in place: from the amounts that containers have to those that they are to have.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, ResourceRequirements};

use super::status::api_time;
use super::step::Planner;
use super::{Action, Attempt, Busy, Kind, Observed, Plan, Sandbox, Trouble, plans};
use crate::node::qos;
use crate::runtime::Resources;
use crate::util::clock::Wall;

/// The condition of a pod whose wish cannot be met yet, or never.
pub const PENDING: &str = "PodResizePending";
/// The condition of a pod whose containers do not have all yet that was set aside for them.
pub const IN_PROGRESS: &str = "PodResizeInProgress";

/// What is resized.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// Where the resizing of a pod stands.
#[derive(Debug, Clone, Default)]
pub struct Resizing {
    /// The limits that the pod as a whole has; none where there is no sandbox.
    pub pod: Option<Resources>,
    /// Limits are being changed.
    pub busy: bool,
    /// Why changing them failed.
    pub trouble: Option<Trouble>,
    /// Why the wish is not met.
    pub pending: Option<Pending>,
    /// The generation whose wish is being met.
    pub started: Option<i64>,
    /// Attempts that are ended only to begin anew with other amounts, by id.
    pub restarting: BTreeSet<String>,
}

/// Why a wish is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred`, or `Infeasible` where it never can be.
    pub reason: String,
    /// What is missing.
    pub message: String,
    /// The generation that wishes it.
    pub generation: i64,
}

/// Whether two lists ask for the same of what is resized.
pub fn same(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    RESOURCES.iter().all(|name| amounts(a, name) == amounts(b, name))
}

/// Request and limit; none is nothing.
fn amounts(list: &ResourceRequirements, name: &str) -> [crate::api::quantity::Quantity; 2] {
    [&list.requests, &list.limits].map(|l| qos::amount(l.as_ref(), name).unwrap_or_default())
}

/// Whether a container must begin anew to have what it is to have.
fn must_restart(container: &Container, has: &ResourceRequirements) -> bool {
    let wanted = wanted(container);
    let restarts = |name: &str| {
        let policies = container.resize_policy.iter().flatten();
        let mut own = policies.filter(|policy| policy.resource_name == name);
        own.next().is_some_and(|policy| policy.restart_policy == "RestartContainer")
    };
    RESOURCES.iter().any(|name| amounts(&wanted, name) != amounts(has, name) && restarts(name))
}

fn wanted(container: &Container) -> ResourceRequirements {
    container.resources.clone().unwrap_or_default()
}

/// What is to be changed, in this order.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// First the pod gets what it has too little of.
    pub grow: Option<Resources>,
    /// Then its containers, those that give something up before the others.
    pub containers: Vec<Change>,
    /// When all have what they are to have, the pod gives up what it has too much of.
    pub settle: Option<Resources>,
}

/// A running container that is to have other amounts.
#[derive(Debug, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// The runtime's name for it.
    pub id: String,
    /// What it is to have.
    pub wanted: ResourceRequirements,
    /// The same for the kernel.
    pub resources: Resources,
    /// Its memory will be bound more tightly.
    pub shrinks: bool,
}

impl Changes {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The running containers that can be resized, each with what it has.
fn running<'a>(
    plans: &'a [Plan<'a>],
    seen: &'a Observed,
) -> impl Iterator<Item = (&'a Plan<'a>, &'a Attempt, &'a ResourceRequirements)> {
    plans.iter().filter(|plan| plan.kind != Kind::Ephemeral).filter_map(|plan| {
        let own = seen.containers.get(plan.name())?;
        let attempt = own.current.as_ref().filter(|a| a.end.is_none() && a.started.is_some())?;
        Some((plan, attempt, attempt.resources.as_ref()?))
    })
}

/// What is to be changed so that what runs has what `pod` says.
pub fn changes(pod: &Pod, seen: &Observed) -> Changes {
    let Some(has) = seen.resize.pod.as_ref().filter(|_| seen.sandbox == Sandbox::Ready) else {
        return Changes::default();
    };
    let (mut changes, mut restarts) = (Changes::default(), false);
    for (plan, attempt, own) in running(&plans(pod), seen) {
        let wanted = wanted(&plan.spec);
        let busy = seen.containers.get(plan.name()).and_then(|seen| seen.busy);
        if same(&wanted, own) {
            continue;
        }
        if must_restart(&plan.spec, own) || matches!(busy, Some(Busy::Stopping { .. })) {
            restarts = true;
            continue;
        }
        let resources = qos::container_resources(&plan.spec);
        let before = amounts(own, "memory")[1];
        let shrinks =
            resources.memory_bytes.is_some_and(|n| before.is_zero() || n < before.value());
        let (name, id) = (plan.name().to_owned(), attempt.id.clone());
        changes.containers.push(Change { name, id, wanted, resources, shrinks });
    }
    changes.containers.sort_by_key(|change| Reverse(change.shrinks));
    let wanted = qos::pod_resources(pod);
    changes.grow = Some(most(has, &wanted)).filter(|most| most != has);
    let there = changes.grow.as_ref().unwrap_or(has);
    changes.settle = (!restarts && *there != wanted).then_some(wanted);
    changes
}

/// The limits that leave room for both. One that only one side has is that side's.
fn most(has: &Resources, wanted: &Resources) -> Resources {
    let bound = |has: Option<i64>, wanted: Option<i64>| has.map(|h| wanted.map_or(h, |w| h.max(w)));
    Resources {
        cpu_shares: has.cpu_shares.max(wanted.cpu_shares),
        cpu_quota_us: bound(has.cpu_quota_us, wanted.cpu_quota_us),
        memory_bytes: bound(has.memory_bytes, wanted.memory_bytes),
        ..has.clone()
    }
}

/// Whether everything has what `pod` says.
pub fn is_settled(pod: &Pod, seen: &Observed) -> bool {
    let anew = |seen: &super::Seen| {
        let end = seen.current.as_ref().and_then(|attempt| attempt.end.as_ref());
        end.is_some_and(|end| end.resized)
    };
    let has = |plan: &Plan<'_>, own: &ResourceRequirements| same(&wanted(&plan.spec), own);
    !seen.resize.busy
        && changes(pod, seen).is_empty()
        && !seen.containers.values().any(anew)
        && running(&plans(pod), seen).all(|(plan, _, own)| has(plan, own))
}

/// The conditions that tell of it; `old` are those that were reported.
pub(super) fn conditions(resize: &Resizing, old: &[PodCondition], now: Wall) -> Vec<PodCondition> {
    let condition = |kind: &str, reason: &str, message: &str, generation: i64| {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let known = old.iter().find(|c| c.type_ == kind && c.reason == some(reason));
        PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: some(reason),
            message: some(message),
            last_transition_time: match known {
                Some(known) => known.last_transition_time.clone(),
                None => api_time(now),
            },
            last_probe_time: None,
            observed_generation: Some(generation),
        }
    };
    let pending = resize.pending.as_ref();
    let pending = pending.map(|p| condition(PENDING, &p.reason, &p.message, p.generation));
    let trouble = resize.trouble.as_ref().map(|t| (&*t.reason, &*t.message)).unwrap_or_default();
    let started = resize.started;
    let started = started.map(|at| condition(IN_PROGRESS, trouble.0, trouble.1, at));
    pending.into_iter().chain(started).collect()
}

impl Planner<'_> {
    /// Changes limits where they must be; returns whether nothing may be started before that.
    pub(super) fn resize(&mut self) -> bool {
        let resize = &self.seen.resize;
        if resize.busy {
            return true;
        }
        if changes(self.pod, self.seen).is_empty() {
            return false;
        }
        match &resize.trouble {
            Some(trouble) if trouble.retry > self.now => {
                self.wake_at(trouble.retry);
                false
            }
            _ => {
                self.actions.push(Action::Resize);
                true
            }
        }
    }

    /// Whether a running container must begin anew with other amounts.
    pub(super) fn is_outgrown(&self, plan: &Plan<'_>, attempt: &Attempt) -> bool {
        let resizable = plan.kind != Kind::Ephemeral && attempt.started.is_some();
        resizable && attempt.resources.as_ref().is_some_and(|own| must_restart(&plan.spec, own))
    }
}

/// What an event says: the amounts of all containers, as JSON.
pub fn summary(what: &str, pod: &Pod, generation: i64, error: &str) -> String {
    let spec = pod.spec.as_ref();
    let list = |key: &str, containers: &[Container]| {
        let one = |container: &Container| {
            let resources = serde_json::to_string(&wanted(container)).unwrap_or_default();
            format!(r#"{{"name":"{}","resources":{resources}}}"#, container.name)
        };
        let all: Vec<String> = containers.iter().map(one).collect();
        if all.is_empty() { String::new() } else { format!(r#""{key}":[{}],"#, all.join(",")) }
    };
    let inits = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let apps = spec.map(|spec| &*spec.containers).unwrap_or_default();
    let error = match serde_json::to_string(error) {
        Ok(text) if !error.is_empty() => format!(r#","error":{text}"#),
        _ => String::new(),
    };
    let (inits, apps) = (list("initContainers", inits), list("containers", apps));
    format!(r#"{what}: {{{inits}{apps}"generation":{generation}{error}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::pod::{Action, End, Seen, Volumes, step};

    const NOW: Wall = Wall::from_seconds(1000);

    fn pod(containers: &[(&str, &str)]) -> Pod {
        let one = |(name, more): &(&str, &str)| {
            format!(r#"{{"name":"{name}","image":"i","resources":{more}}}"#)
        };
        let list: Vec<String> = containers.iter().map(one).collect();
        let json = format!(
            r#"{{"metadata":{{"name":"p","generation":2}},"spec":{{"restartPolicy":"OnFailure",
            "terminationGracePeriodSeconds":5,"containers":[{}]}}}}"#,
            list.join(",")
        );
        serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    /// The pod as it runs, with what it has.
    fn seen(has: &[(&str, &str)]) -> Observed {
        let mut seen = Observed {
            sandbox: Sandbox::Ready,
            volumes: Volumes::Ready,
            epoch: 1,
            ..Observed::default()
        };
        seen.resize.pod = Some(qos::pod_resources(&pod(has)));
        for (name, has) in has {
            // What follows the amounts is not theirs.
            let has = has.split_once(",\"resizePolicy\"").map_or(*has, |(amounts, _)| amounts);
            let attempt = Attempt {
                id: format!("{name}-id"),
                epoch: 1,
                image_asked: "i".into(),
                started: Some(Wall::from_seconds(900)),
                resources: Some(serde_json::from_str(has).unwrap()),
                ..Attempt::default()
            };
            let own = Seen { current: Some(attempt), ..Seen::default() };
            seen.containers.insert((*name).to_owned(), own);
        }
        seen
    }

    const SMALL: &str = r#"{"limits":{"cpu":"100m","memory":"64Mi"}}"#;
    const LARGE: &str = r#"{"limits":{"cpu":"0.3","memory":"128Mi"}}"#;
    const LARGE_ANEW: &str = r#"{"limits":{"cpu":"0.3","memory":"128Mi"}},"resizePolicy":
        [{"resourceName":"memory","restartPolicy":"RestartContainer"}]"#;

    fn names(changes: &Changes) -> Vec<(&str, i64, bool)> {
        let one = |c: &'_ Change| (c.resources.memory_bytes.unwrap() >> 20, c.shrinks);
        let list = changes.containers.iter();
        list.map(|change| (&*change.name, one(change).0, one(change).1)).collect()
    }

    #[test]
    fn the_pod_grows_first_and_shrinks_last() {
        let wanted = pod(&[("a", LARGE), ("b", SMALL)]);
        let changes = changes(&wanted, &seen(&[("a", SMALL), ("b", LARGE)]));
        assert_eq!(names(&changes), [("b", 64, true), ("a", 128, false)]);
        assert_eq!((changes.grow, changes.settle), (None, None), "the sum is the same");
        let changes = super::changes(&wanted, &seen(&[("a", SMALL), ("b", SMALL)]));
        let grow = changes.grow.as_ref().unwrap();
        assert_eq!((grow.cpu_quota_us, grow.memory_bytes), (Some(40_000), Some(192 << 20)));
        assert_eq!((names(&changes), &changes.settle), (vec![("a", 128, false)], &None));
        let changes = super::changes(&wanted, &seen(&[("a", LARGE), ("b", LARGE)]));
        assert_eq!(changes.grow, None);
        let settle = changes.settle.as_ref().unwrap();
        assert_eq!((settle.cpu_quota_us, settle.memory_bytes), (Some(40_000), Some(192 << 20)));
        let there = seen(&[("a", LARGE), ("b", SMALL)]);
        assert!(super::changes(&wanted, &there).is_empty() && is_settled(&wanted, &there));
    }

    #[test]
    fn a_first_limit_of_all_binds_the_pod_last() {
        let asks = r#"{"requests":{"cpu":"100m"}}"#;
        let changes = changes(&pod(&[("a", SMALL)]), &seen(&[("a", asks)]));
        assert_eq!((changes.grow.as_ref(), names(&changes)), (None, vec![("a", 64, true)]));
        assert_eq!(changes.settle.unwrap().memory_bytes, Some(64 << 20));
    }

    fn acts(wanted: &Pod, seen: &Observed) -> Vec<Action> {
        step(wanted, seen, &[], NOW).actions
    }

    #[test]
    fn what_must_begin_anew_is_stopped_once_its_pod_has_room() {
        let wanted = pod(&[("a", LARGE_ANEW)]);
        let mut seen = seen(&[("a", SMALL)]);
        assert_eq!(acts(&wanted, &seen), [Action::Resize], "room first");
        seen.resize.pod = Some(qos::pod_resources(&wanted));
        let why = "Container a resize requires restart".to_owned();
        let (container, deadline) = ("a".to_owned(), Wall::from_seconds(1005));
        assert_eq!(acts(&wanted, &seen), [Action::Restart { container, deadline, why }]);
        assert!(!is_settled(&wanted, &seen));
        let own = seen.containers.get_mut("a").unwrap().current.as_mut().unwrap();
        own.end = Some(End {
            code: 0,
            signal: None,
            reason: "Completed".into(),
            message: String::new(),
            finished: Wall::from_seconds(999),
            resized: true,
        });
        let again = Action::Start { container: "a".into(), number: 1, crash: None };
        assert_eq!(acts(&wanted, &seen), [again], "though it ended well");
        assert!(!is_settled(&wanted, &seen));
    }

    #[test]
    fn what_fails_is_told_and_tried_again() {
        let wanted = pod(&[("a", SMALL)]);
        let mut seen = seen(&[("a", LARGE)]);
        (seen.resize.started, seen.resize.busy) = (Some(2), true);
        seen.resize.pending =
            Some(Pending { reason: "Deferred".into(), message: "m".into(), generation: 3 });
        let told = |seen: &Observed| {
            let conditions = step(&wanted, seen, &[], NOW).status.conditions.unwrap();
            let resize = conditions.iter().filter(|c| c.type_.starts_with("PodResize"));
            let text = |c: &PodCondition| {
                let reason = c.reason.as_deref().unwrap_or_default();
                format!("{} {reason} {}", c.type_, c.observed_generation.unwrap())
            };
            resize.map(text).collect::<Vec<_>>()
        };
        assert_eq!(told(&seen), ["PodResizePending Deferred 3", "PodResizeInProgress  2"]);
        assert!(acts(&wanted, &seen).is_empty());
        let (reason, message) = ("Error".to_owned(), "m".to_owned());
        let retry = Wall::from_seconds(1007);
        (seen.resize.busy, seen.resize.pending) = (false, None);
        seen.resize.trouble = Some(Trouble { reason, message, later: None, retry });
        assert_eq!(told(&seen), ["PodResizeInProgress Error 2"]);
        let waits = step(&wanted, &seen, &[], NOW);
        assert!(waits.actions.is_empty());
        assert_eq!(waits.wake, Some(retry));
        assert_eq!(step(&wanted, &seen, &[], retry).actions, [Action::Resize]);
    }

    #[test]
    fn events_name_what_all_containers_ask_for() {
        let pod = pod(&[("a", SMALL), ("b", "{}")]);
        assert_eq!(
            summary("Pod resize error", &pod, 2, "no \"room\""),
            "Pod resize error: {\"containers\":[{\"name\":\"a\",\"resources\":{\"limits\":{\"cpu\":\
             \"100m\",\"memory\":\"64Mi\"}}},{\"name\":\"b\",\"resources\":{}}],\"generation\":2,\
             \"error\":\"no \\\"room\\\"\"}"
        );
    }
}
