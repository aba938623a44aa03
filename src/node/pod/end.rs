//! The end of a pod: containers, then sidecars in reverse order, then sandbox and volumes.

use super::step::Planner;
use super::{Action, Busy, Kind, Sandbox, Seen, Volumes};
use crate::util::clock::Wall;

impl Planner<'_> {
    /// Takes the pod down, as far as it has come.
    pub(super) fn end(&mut self) {
        let begun = self.seen.ending.unwrap_or(self.now);
        let grace = self.grace_s().saturating_mul(1_000_000_000);
        let deadline = Wall(begun.0.saturating_add(grace));
        if self.stop_all(deadline) {
            return;
        }
        match self.seen.sandbox {
            Sandbox::Ready | Sandbox::Lost => self.actions.push(Action::EndSandbox),
            Sandbox::Making | Sandbox::Ending => {}
            Sandbox::Absent if self.seen.volumes == Volumes::Ready => {
                self.actions.push(Action::Unmount);
            }
            Sandbox::Absent => {}
        }
    }

    /// Stops what runs; returns whether anything still does. Sidecars stay until all others are
    /// gone, then go one by one, the last first.
    fn stop_all(&mut self, deadline: Wall) -> bool {
        let names = |kinds: &[Kind]| -> Vec<String> {
            let of_kind = self.plans.iter().filter(|plan| kinds.contains(&plan.kind));
            let alive = of_kind.filter(|plan| is_alive(self.of(plan.name())));
            alive.map(|plan| plan.name().to_owned()).collect()
        };
        let ordinary = names(&[Kind::Init, Kind::App, Kind::Ephemeral]);
        let sidecars = names(&[Kind::Sidecar]);
        // A container that is no longer in the spec cannot be there; if one is, it goes first.
        let known = |name: &str| self.plans.iter().any(|plan| plan.name() == name);
        let strays =
            self.seen.containers.iter().filter(|(name, seen)| !known(name) && is_alive(seen));
        let first: Vec<String> = strays.map(|(name, _)| name.clone()).chain(ordinary).collect();
        let now: Vec<String> = match first.is_empty() {
            true => sidecars.into_iter().next_back().into_iter().collect(),
            false => first,
        };
        for name in &now {
            self.stop_for_good(name, deadline);
        }
        !now.is_empty()
    }

    fn stop_for_good(&mut self, name: &str, deadline: Wall) {
        let sooner = match self.of(name).busy {
            // Its start cannot be interrupted; it is stopped once that is through.
            Some(Busy::Starting) => return,
            Some(Busy::Stopping { deadline: planned }) => deadline < planned,
            Some(Busy::Hook) | None => true,
        };
        if sooner {
            let why = format!("Stopping container {name}");
            self.actions.push(Action::Stop { container: name.to_owned(), deadline, why });
        }
    }

    /// Whether nothing of the pod is left but logs and dead containers.
    pub(super) fn nothing_left(&self) -> bool {
        self.seen.sandbox == Sandbox::Absent
            && self.seen.volumes == Volumes::Absent
            && !self.anything_runs()
    }

    /// Whether a container runs or is about to.
    pub(super) fn anything_runs(&self) -> bool {
        self.seen.containers.values().any(is_alive)
    }
}

/// Whether a container runs or something is being done to it.
fn is_alive(seen: &Seen) -> bool {
    seen.busy.is_some() || seen.current.as_ref().is_some_and(|attempt| attempt.end.is_none())
}
