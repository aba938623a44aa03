//! The decision: what to do for a pod now.

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::restart::{Crash, restarts};
use super::{
    Action, Attempt, Busy, End, Kind, Observed, Plan, Sandbox, Seen, Step, Volumes, plans, status,
};
use crate::limits;
use crate::util::clock::Wall;

/// What to do for `pod` at `now`, given what is seen of it. `pod.status` is what was last reported.
pub fn step(pod: &Pod, seen: &Observed, host_ips: &[String], now: Wall) -> Step {
    let mut planner = Planner::new(pod, seen, now);
    let ending = planner.must_end();
    if ending {
        planner.end();
    } else {
        planner.run();
    }
    let done = ending && planner.nothing_left();
    let view = status::View { planner: &planner, host_ips, ending };
    let status = view.status();
    let deleted = pod.metadata.deletion_timestamp.is_some();
    if done && deleted && !seen.orphaned {
        planner.actions.push(Action::Remove);
    }
    let quiet = !ending && planner.is_replacing();
    let Planner { actions, wake, .. } = planner;
    Step { actions, status, quiet, wake, ending, done }
}

/// Reason and message of a pod that ran too long.
pub const DEADLINE_EXCEEDED: (&str, &str) =
    ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");

/// Whether the time that a pod may run is over.
pub fn past_deadline(pod: &Pod, seen: &Observed, now: Wall) -> bool {
    deadline(pod, seen).is_some_and(|deadline| deadline <= now)
}

fn deadline(pod: &Pod, seen: &Observed) -> Option<Wall> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let since = seen.since?;
    Some(Wall(since.0.saturating_add(seconds.saturating_mul(1_000_000_000))))
}

/// Whether another image is asked for than the one that an attempt was made of.
fn is_outdated(plan: &Plan<'_>, attempt: &Attempt) -> bool {
    attempt.image_asked != plan.spec.image.as_deref().unwrap_or_default()
}

/// The working state of one decision.
pub(super) struct Planner<'a> {
    pub(super) pod: &'a Pod,
    pub(super) seen: &'a Observed,
    pub(super) plans: Vec<Plan<'a>>,
    pub(super) now: Wall,
    pub(super) actions: Vec<Action>,
    pub(super) wake: Option<Wall>,
}

/// What is known of a container that nothing is known of.
static UNSEEN: Seen = Seen {
    current: None,
    last: None,
    busy: None,
    trouble: None,
    crash: None,
    probes: super::Probes { startup: Some(true), live: true, ready: true },
};

impl<'a> Planner<'a> {
    fn new(pod: &'a Pod, seen: &'a Observed, now: Wall) -> Self {
        Self { pod, seen, plans: plans(pod), now, actions: Vec::new(), wake: None }
    }

    pub(super) fn of(&self, name: &str) -> &'a Seen {
        self.seen.containers.get(name).unwrap_or(&UNSEEN)
    }

    /// What was last reported.
    pub(super) fn reported(&self) -> Option<&'a PodStatus> {
        self.pod.status.as_ref()
    }

    /// Looks again at `at`, if not earlier.
    pub(super) fn wake_at(&mut self, at: Wall) {
        if at > self.now {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
    }

    /// Plans of some kinds, each with what is seen of it.
    pub(super) fn each(&self, kinds: &[Kind]) -> Vec<(Plan<'a>, &'a Seen)> {
        let of_kind = self.plans.iter().filter(|plan| kinds.contains(&plan.kind));
        of_kind.map(|plan| (plan.clone(), self.of(plan.name()))).collect()
    }

    /// Whether a container that ended so is started again.
    pub(super) fn restarts(&self, plan: &Plan<'_>, end: &End) -> bool {
        end.resized || restarts(self.pod, plan.kind, &plan.spec, end.code)
    }

    /// Whether an attempt belongs to the present sandbox.
    pub(super) fn fresh(&self, attempt: &Attempt) -> bool {
        attempt.epoch == self.seen.epoch
    }

    /// Whether the deadline of the pod has passed.
    pub(super) fn past_deadline(&self) -> bool {
        past_deadline(self.pod, self.seen, self.now)
    }

    /// Whether the pod shall run no longer.
    fn must_end(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
            || self.seen.orphaned
            || self.seen.verdict.is_some()
            || self.is_reported_over()
            || self.past_deadline()
            || self.init_failed()
            || self.work_is_done()
    }

    /// A pod that was reported as over stays over.
    pub(super) fn is_reported_over(&self) -> bool {
        let phase = self.reported().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// All ordinary containers have ended and none starts again.
    fn work_is_done(&self) -> bool {
        let over = |(plan, seen): &(Plan<'_>, &Seen)| {
            let end = seen.current.as_ref().and_then(|attempt| attempt.end.as_ref());
            seen.busy.is_none() && end.is_some_and(|end| !self.restarts(plan, end))
        };
        let apps = self.each(&[Kind::App]);
        !apps.is_empty() && apps.iter().all(over)
    }

    /// Brings the pod up, and keeps it up.
    fn run(&mut self) {
        if let Some(deadline) = deadline(self.pod, self.seen) {
            self.wake_at(deadline);
        }
        let mounted = self.mount();
        let sandbox = self.make_sandbox();
        if !(mounted && sandbox) || self.resize() {
            return;
        }
        for (plan, seen) in self.each(&[Kind::Ephemeral]) {
            if seen.current.is_none() {
                self.start(&plan, seen);
            }
        }
        if self.init() {
            self.apps();
        }
    }

    /// Ordinary containers start one after the other, each with its postStart hook: some rely on
    /// an earlier container's hook to hold the later ones back.
    fn apps(&mut self) {
        let mut starting = false;
        for (plan, seen) in self.each(&[Kind::App]) {
            let running = seen.current.as_ref().is_some_and(|attempt| attempt.end.is_none());
            let before = self.actions.len();
            if running || !starting {
                self.keep(&plan, seen);
            }
            let begun = self.actions[before..].iter().any(|a| matches!(a, Action::Start { .. }));
            starting |= begun || matches!(seen.busy, Some(Busy::Starting | Busy::Hook));
        }
    }

    fn mount(&mut self) -> bool {
        match (self.seen.volumes, &self.seen.volume_trouble) {
            (Volumes::Ready, _) => return true,
            (Volumes::Absent, Some(trouble)) if trouble.retry > self.now => {
                self.wake_at(trouble.retry);
            }
            (Volumes::Absent, _) => self.actions.push(Action::Mount),
            (Volumes::Mounting | Volumes::Unmounting, _) => {}
        }
        false
    }

    fn make_sandbox(&mut self) -> bool {
        match (self.seen.sandbox, &self.seen.sandbox_trouble) {
            (Sandbox::Ready, _) => return true,
            (Sandbox::Absent, Some(trouble)) if trouble.retry > self.now => {
                self.wake_at(trouble.retry);
            }
            (Sandbox::Absent, _) => {
                self.actions.push(Action::MakeSandbox { epoch: self.seen.epoch + 1 });
            }
            (Sandbox::Lost, _) => self.actions.push(Action::EndSandbox),
            (Sandbox::Making | Sandbox::Ending, _) => {}
        }
        false
    }

    /// Keeps one container in the state that it shall have.
    pub(super) fn keep(&mut self, plan: &Plan<'_>, seen: &Seen) {
        if matches!(seen.busy, Some(Busy::Starting | Busy::Stopping { .. })) {
            return;
        }
        match &seen.current {
            None => self.start(plan, seen),
            Some(Attempt { end: Some(end), .. }) if self.restarts(plan, end) => {
                self.start(plan, seen);
            }
            Some(Attempt { end: Some(_), .. }) => {}
            Some(attempt) => {
                if let Some(why) = self.fault(plan, attempt, seen) {
                    let (container, deadline) = (plan.name().to_owned(), self.deadline_of(plan));
                    self.actions.push(Action::Stop { container, deadline, why });
                } else if self.is_outgrown(plan, attempt) {
                    let (container, deadline) = (plan.name().to_owned(), self.deadline_of(plan));
                    let why = format!("Container {container} resize requires restart");
                    self.actions.push(Action::Restart { container, deadline, why });
                }
            }
        }
    }

    /// Whether a container has just ended because another image was asked for, and is about to run
    /// again.
    fn is_replacing(&mut self) -> bool {
        let until = |(plan, seen): (Plan<'_>, &Seen)| {
            let attempt = seen.current.as_ref().filter(|attempt| is_outdated(&plan, attempt))?;
            let end = attempt.end.as_ref().filter(|end| self.restarts(&plan, end))?;
            Some(end.finished.after(limits::REPLACEMENT_QUIET_MAX))
        };
        let all = self.each(&[Kind::Sidecar, Kind::App]).into_iter().filter_map(until);
        let until = all.filter(|until| *until > self.now).min();
        until.inspect(|until| self.wake_at(*until)).is_some()
    }

    /// Why a running container must be stopped and started anew.
    fn fault(&self, plan: &Plan<'_>, attempt: &Attempt, seen: &Seen) -> Option<String> {
        let name = plan.name();
        if is_outdated(plan, attempt) {
            Some(format!("Container {name} definition changed, will be restarted"))
        } else if !seen.probes.live {
            Some(format!("Container {name} failed liveness probe, will be restarted"))
        } else if seen.probes.startup == Some(false) {
            Some(format!("Container {name} failed startup probe, will be restarted"))
        } else {
            None
        }
    }

    /// Starts a container unless it must wait.
    pub(super) fn start(&mut self, plan: &Plan<'_>, seen: &Seen) {
        if seen.busy.is_some() {
            return;
        }
        if let Some(trouble) = &seen.trouble {
            if let Some(next) = trouble.next(self.now) {
                self.wake_at(next);
            }
            if trouble.retry > self.now {
                return;
            }
        }
        let end = seen.current.as_ref().and_then(|attempt| attempt.end.as_ref());
        let crash = match end {
            Some(end) if !end.resized => Some(Crash::next(seen.crash, end.finished, self.now)),
            Some(_) => seen.crash,
            None => None,
        };
        if let Some(end) = end.filter(|end| !end.resized) {
            let ready = Crash::ready_at(seen.crash, end.finished);
            if ready > self.now {
                return self.wake_at(ready);
            }
        }
        let number = seen.current.as_ref().map_or(0, |attempt| attempt.number + 1);
        self.actions.push(Action::Start { container: plan.name().to_owned(), number, crash });
    }

    /// Until when a container may take to stop that will be started again: the probe's own grace
    /// counts, then the pod's.
    fn deadline_of(&self, plan: &Plan<'_>) -> Wall {
        let seen = self.of(plan.name());
        let probe = match (&plan.spec.liveness_probe, &plan.spec.startup_probe) {
            (_, Some(startup)) if seen.probes.startup == Some(false) => Some(startup),
            (Some(liveness), _) if !seen.probes.live => Some(liveness),
            _ => None,
        };
        let of_probe = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let seconds = of_probe.unwrap_or_else(|| self.grace_s());
        Wall(self.now.0.saturating_add(seconds.saturating_mul(1_000_000_000)))
    }

    /// The pod's grace period in seconds; a deletion may have shortened it.
    pub(super) fn grace_s(&self) -> i64 {
        let of_spec = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let of_deletion = self
            .pod
            .metadata
            .deletion_timestamp
            .as_ref()
            .and(self.pod.metadata.deletion_grace_period_seconds);
        of_deletion.or(of_spec).unwrap_or(30).max(1)
    }
}
