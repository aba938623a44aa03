//! `status.phase` from the states of the containers.

use k8s_openapi::api::core::v1::ContainerStatus;

use super::{Kind, Plan};

/// One container as the phase sees it.
pub(super) struct Item<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) status: Option<&'a ContainerStatus>,
    /// Whether it would be started again if it ended as it did last.
    pub(super) restarts: bool,
}

impl Item<'_> {
    fn state(&self) -> State {
        let Some(status) = self.status else { return State::Unknown };
        let exit = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code)
        };
        let state = status.state.as_ref();
        if state.is_some_and(|s| s.running.is_some()) {
            return State::Running { started: status.started == Some(true) };
        }
        if let Some(code) = exit(&status.state) {
            return State::Ended(code);
        }
        match exit(&status.last_state) {
            Some(code) => State::BetweenRuns(code),
            None => State::Waiting,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Waiting,
    Running {
        started: bool,
    },
    /// Waiting to run again.
    BetweenRuns(i32),
    Ended(i32),
}

#[derive(Default)]
struct Counts {
    /// Init containers that must still get somewhere.
    pending_init: usize,
    /// Init containers that failed for good.
    failed_init: usize,
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
    /// Ordinary containers that start again.
    restarting: usize,
}

impl Counts {
    fn init(&mut self, item: &Item<'_>) {
        match item.state() {
            State::Ended(0) => {}
            State::Ended(_) if !item.restarts => self.failed_init += 1,
            _ => self.pending_init += 1,
        }
    }

    fn sidecar(&mut self, item: &Item<'_>) {
        match item.state() {
            State::Running { started: true } => self.running += 1,
            State::BetweenRuns(_) | State::Ended(_) => self.stopped += 1,
            State::Running { started: false } | State::Waiting | State::Unknown => {
                self.pending_init += 1;
            }
        }
    }

    fn app(&mut self, item: &Item<'_>) {
        match item.state() {
            State::Unknown => self.unknown += 1,
            State::Waiting => self.waiting += 1,
            State::Running { .. } => self.running += 1,
            State::BetweenRuns(_) => {
                self.stopped += 1;
                self.restarting += 1;
            }
            State::Ended(code) => {
                self.stopped += 1;
                self.succeeded += usize::from(code == 0);
                self.restarting += usize::from(item.restarts);
            }
        }
    }
}

/// The phase of a pod. `begun` says that an ordinary container has run: what init containers look
/// like is then of no account. `over` says that nothing runs and nothing will.
pub(super) fn phase(items: &[Item<'_>], begun: bool, over: bool) -> &'static str {
    let mut counts = Counts::default();
    let mut sidecars = Counts::default();
    for item in items {
        match item.plan.kind {
            Kind::Init => counts.init(item),
            Kind::Sidecar => sidecars.sidecar(item),
            Kind::App => counts.app(item),
            Kind::Ephemeral => {}
        }
    }
    if over {
        let apps = counts.unknown + counts.waiting + counts.running + counts.stopped;
        let well = counts.failed_init == 0 && counts.succeeded == apps;
        return if well { "Succeeded" } else { "Failed" };
    }
    if counts.failed_init > 0 && !begun {
        return "Failed";
    }
    let initialising = !begun && counts.pending_init + sidecars.pending_init > 0;
    if initialising || counts.waiting > 0 || counts.unknown > 0 {
        return "Pending";
    }
    match (counts.running, counts.restarting) {
        (0, 0) if counts.succeeded == counts.stopped => "Succeeded",
        (0, 0) => "Failed",
        _ => "Running",
    }
}
