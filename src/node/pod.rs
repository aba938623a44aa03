//! A pod's life as a pure function: what is seen of it, to what must be done and reported.
//!
//! Contract: [`step`] takes the pod, everything that is known of its containers and the time; it
//! returns the actions to start now, the status to report and when to look again at the latest. It
//! may be called at any moment and any number of times: an action is returned until the caller says
//! that it is in progress. It must not know the runtime, the client, files or the clock.

mod conditions;
mod end;
mod init;
mod phase;
mod plan;
pub mod resize;
mod restart;
mod status;
mod step;

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};

use crate::util::clock::Wall;
pub use plan::{Kind, Plan, plans};
pub use restart::Crash;
pub use status::api_time;
pub use step::{DEADLINE_EXCEEDED, past_deadline, step};

/// The waiting reason of a container that ended too often.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";

/// What is known of a pod besides its object.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// When this node took the pod up: `status.startTime`.
    pub since: Option<Wall>,
    /// Namespaces, network and shim.
    pub sandbox: Sandbox,
    /// Counts the sandboxes that the pod has had: attempts belong to one of them.
    pub epoch: u32,
    /// The pod's addresses while it has a network of its own.
    pub ips: Vec<IpAddr>,
    /// Why making the sandbox failed.
    pub sandbox_trouble: Option<Trouble>,
    /// The pod's volumes and directories.
    pub volumes: Volumes,
    /// Why mounting failed.
    pub volume_trouble: Option<Trouble>,
    /// By container name, init and ephemeral containers included.
    pub containers: BTreeMap<String, Seen>,
    /// How far it has the amounts that it is to have.
    pub resize: resize::Resizing,
    /// The node decided that the pod must end, or may not start.
    pub verdict: Option<Verdict>,
    /// The object is gone from the API while the pod still ran.
    pub orphaned: bool,
    /// Since when the pod is being ended, once it is.
    pub ending: Option<Wall>,
}

/// Why the node ends a pod of its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `status.reason`.
    pub reason: String,
    /// `status.message`.
    pub message: String,
    /// The pod was never let in: no container of it has run.
    pub rejected: bool,
}

/// Where a pod's sandbox stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// There is none.
    #[default]
    Absent,
    /// Being made.
    Making,
    /// Containers may start in it.
    Ready,
    /// Its shim died or the machine restarted: its remains must be taken down.
    Lost,
    /// Being taken down.
    Ending,
}

/// Where a pod's volumes stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Volumes {
    /// Nothing is mounted.
    #[default]
    Absent,
    /// Being set up.
    Mounting,
    /// All are there.
    Ready,
    /// Being taken down.
    Unmounting,
}

/// What is known of one container.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The newest attempt.
    pub current: Option<Attempt>,
    /// The end of the one before it.
    pub last: Option<Attempt>,
    /// What is being done to it.
    pub busy: Option<Busy>,
    /// Why the last try to start it failed.
    pub trouble: Option<Trouble>,
    /// How long it must wait after its next exit.
    pub crash: Option<Crash>,
    /// What its probes say.
    pub probes: Probes,
}

/// One run of a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempt {
    /// The runtime's name for it.
    pub id: String,
    /// How many there were before it: the restart count.
    pub number: i32,
    /// Which of the pod's sandboxes it belongs to.
    pub epoch: u32,
    /// The image as the pod named it.
    pub image_asked: String,
    /// The image's full name.
    pub image: String,
    /// The image's digest.
    pub image_id: String,
    /// The amounts that it has; unknown where an earlier version of rk has started it.
    pub resources: Option<ResourceRequirements>,
    /// When it began to run.
    pub started: Option<Wall>,
    /// How it ended, once it has.
    pub end: Option<End>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Exit code.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, ...
    pub reason: String,
    /// The termination message.
    pub message: String,
    /// When.
    pub finished: Wall,
    /// It was only ended to begin anew with other amounts.
    pub resized: bool,
}

/// What is being done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Image, set-up and start of a new attempt.
    Starting,
    /// It runs, and its postStart hook does.
    Hook,
    /// Hook, signal, grace, kill.
    Stopping {
        /// When it will be killed.
        deadline: Wall,
    },
}

/// What the probes of a container say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probes {
    /// The startup probe: undecided until its first verdict; passed where there is none.
    pub startup: Option<bool>,
    /// The liveness probe; true where there is none.
    pub live: bool,
    /// The readiness probe; true where there is none.
    pub ready: bool,
}

impl Default for Probes {
    fn default() -> Self {
        Self { startup: Some(true), live: true, ready: true }
    }
}

/// Why something could not be done, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The waiting reason, as `ErrImagePull`.
    pub reason: String,
    /// What went wrong.
    pub message: String,
    /// What to show from some time on, as `ImagePullBackOff`.
    pub later: Option<Box<(Wall, String, String)>>,
    /// When to try again.
    pub retry: Wall,
}

impl Trouble {
    /// The reason and message to show at `now`.
    pub fn shown(&self, now: Wall) -> (&str, &str) {
        match &self.later {
            Some(later) if now >= later.0 => (&later.1, &later.2),
            _ => (&self.reason, &self.message),
        }
    }

    /// The next time after `now` at which this changes what is shown or done.
    fn next(&self, now: Wall) -> Option<Wall> {
        let later = self.later.as_ref().map(|later| later.0);
        later.into_iter().chain([self.retry]).filter(|at| *at > now).min()
    }
}

/// Something that the worker must do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make directories and mount volumes.
    Mount,
    /// Make the sandbox that has this number.
    MakeSandbox {
        /// The new [`Observed::epoch`].
        epoch: u32,
    },
    /// Pull the image, make and start a container.
    Start {
        /// Which.
        container: String,
        /// Its restart count.
        number: i32,
        /// The back-off that its next exit meets.
        crash: Option<Crash>,
    },
    /// preStop hook, stop signal, grace, kill.
    Stop {
        /// Which.
        container: String,
        /// When it is killed at the latest.
        deadline: Wall,
        /// Why: the text of the event.
        why: String,
    },
    /// Stop a container only to start it with other amounts.
    Restart {
        /// Which.
        container: String,
        /// When it is killed at the latest.
        deadline: Wall,
        /// Why: the text of the event.
        why: String,
    },
    /// Give pod and containers the amounts that they are to have.
    Resize,
    /// Take namespaces, network and shim down.
    EndSandbox,
    /// Unmount volumes; nothing runs any more.
    Unmount,
    /// Nothing is left: remove the object from the API.
    Remove,
}

/// What follows from what is seen.
#[derive(Debug, Clone)]
pub struct Step {
    /// To start now.
    pub actions: Vec<Action>,
    /// To report.
    pub status: PodStatus,
    /// Whether nothing is reported yet: a container is being replaced, and until that takes long
    /// nobody need know that it is not there.
    pub quiet: bool,
    /// When to look again if nothing happens.
    pub wake: Option<Wall>,
    /// The pod is being ended, by deletion or because its work is done.
    pub ending: bool,
    /// Nothing of the pod is left on the node but logs and dead containers.
    pub done: bool,
}

/// The service account as which a pod runs.
pub fn account(pod: &Pod) -> &str {
    let of_spec = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    of_spec.filter(|name| !name.is_empty()).unwrap_or("default")
}

/// `name_namespace(uid)`: a pod in messages.
pub fn title(pod: &Pod) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let meta = &pod.metadata;
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

#[cfg(test)]
mod tests;
