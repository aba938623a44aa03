//! Init containers: one after the other, sidecars staying.

use super::step::Planner;
use super::{Attempt, Busy, Kind, Plan, Seen};

impl Planner<'_> {
    /// Brings the init containers forward; returns whether the ordinary ones may run.
    pub(super) fn init(&mut self) -> bool {
        let inits = self.each(&[Kind::Init, Kind::Sidecar]);
        if self.apps_have_begun() {
            // Ordinary init containers are not run again; sidecars are kept running.
            for (plan, seen) in inits.iter().filter(|(plan, _)| plan.kind == Kind::Sidecar) {
                self.keep(plan, seen);
            }
            return true;
        }
        let mut ready = true;
        for (plan, seen) in &inits {
            // Sidecars before the one that is waited for are kept running as well.
            if ready || (plan.kind == Kind::Sidecar && seen.current.is_some()) {
                self.advance(plan, seen);
            }
            ready = ready && self.is_passed(plan, seen);
        }
        ready
    }

    fn advance(&mut self, plan: &Plan<'_>, seen: &Seen) {
        let stale = seen.current.as_ref().is_some_and(|a| a.end.is_some() && !self.fresh(a));
        match (&seen.current, plan.kind) {
            (Some(_), Kind::Init) if self.is_passed(plan, seen) => {}
            // What an earlier sandbox saw end must run again in this one.
            (Some(_), _) if stale => self.start(plan, seen),
            _ => self.keep(plan, seen),
        }
    }

    /// Whether the next container need not wait for this one any more.
    pub(super) fn is_passed(&self, plan: &Plan<'_>, seen: &Seen) -> bool {
        let Some(attempt) = &seen.current else { return false };
        match (plan.kind, &attempt.end) {
            (Kind::Init, Some(end)) => end.code == 0 && self.fresh(attempt),
            (Kind::Sidecar, None) => is_started(attempt, seen),
            _ => false,
        }
    }

    /// Whether an ordinary container has been started in this sandbox.
    pub(super) fn apps_have_begun(&self) -> bool {
        self.each(&[Kind::App]).iter().any(|(_, seen)| {
            seen.busy.is_some() || seen.current.as_ref().is_some_and(|a| self.fresh(a))
        })
    }

    /// An init container has failed and is not run again.
    pub(super) fn init_failed(&self) -> bool {
        self.each(&[Kind::Init]).iter().any(|(plan, seen)| {
            let end = seen.current.as_ref().and_then(|attempt| attempt.end.as_ref());
            seen.busy.is_none() && end.is_some_and(|end| end.code != 0 && !self.restarts(plan, end))
        })
    }
}

/// Whether a container runs, its postStart hook is through and its startup probe has passed.
pub(super) fn is_started(attempt: &Attempt, seen: &Seen) -> bool {
    let hook = seen.busy == Some(Busy::Hook);
    attempt.started.is_some() && attempt.end.is_none() && !hook && seen.probes.startup == Some(true)
}
