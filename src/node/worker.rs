//! One pod's worker: sees, decides, acts, reports.
//!
//! Contract: a task per pod that is woken by events only: the pod's object, its shim, the end of
//! what it began, a probe's verdict, what it refers to, or the time that its decision named. Each
//! turn looks at everything anew, so that a worker may be ended at any point and another takes
//! over from what runs. At most one of each operation is in progress; its end comes back as a
//! [`Note`].

mod attempt;
mod mount;
mod observe;
mod operate;
mod probes;
mod report;
mod resize;
mod restore;
mod sandbox;
mod start;
mod stop;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::certificates::Certificates;
use super::dirs::PodDirs;
use super::objects::Held;
use super::pod::{self, Observed, Step};
use super::probe::Purpose;
use super::shared::Shared;
use super::tokens::Tokens;
use super::voice::Voice;
use super::{source, volume};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::Object;
use crate::limits::POD_NOTES_MAX;
use crate::runtime::PodHandle;
use crate::util::backoff::Backoff;
use crate::util::clock::{self, Wall};
pub use resize::count;

/// What the API says of a pod.
#[derive(Clone)]
pub enum Latest {
    /// The object as it is now.
    Present(Arc<Object>),
    /// It is gone; this was its last state.
    Gone(Arc<Object>),
}

impl Latest {
    const fn object(&self) -> &Arc<Object> {
        match self {
            Self::Present(object) | Self::Gone(object) => object,
        }
    }
}

/// The end of something that a worker began.
enum Note {
    /// Volumes are mounted, or which are not and why.
    Mounted(Result<(), Vec<String>>),
    /// Volumes' files are up to date.
    Refreshed(Result<(), String>),
    /// Nothing is mounted any more.
    Unmounted(Result<(), String>),
    /// There is a sandbox.
    Sandbox(Result<Vec<IpAddr>, String>),
    /// There is none any more.
    SandboxEnded(Result<(), String>),
    /// A container runs; its postStart hook does, if it has one.
    Started(String, pod::Attempt),
    /// Its start is over.
    StartOver(String, Result<(), start::StartError>),
    /// A container was stopped.
    Stopped(String),
    /// A probe of the container with this id has a verdict.
    Probe(String, String, Purpose, bool),
    /// Limits were changed, as far as they could be.
    Resized(resize::Resized),
    /// A status was written.
    Reported(Result<Value, Status>),
    /// The object was removed.
    Removed(Result<(), Status>),
}

/// What operations on a pod need; a worker's tasks share it.
struct Context {
    shared: Arc<Shared>,
    uid: String,
    dirs: PodDirs,
    voice: Voice,
    tokens: Tokens,
    certificates: Certificates,
    notes: mpsc::Sender<Note>,
    /// True once the pod is being ended: pulls are given up.
    ending: watch::Sender<bool>,
}

impl Context {
    /// Tells the worker. An error means that it has ended, and its tasks with it.
    async fn note(&self, note: Note) {
        let _ = self.notes.send(note).await;
    }

    /// When the first of the pod's tokens and certificates is due.
    fn due(&self) -> Option<Wall> {
        self.tokens.due().into_iter().chain(self.certificates.due()).min()
    }

    fn handle(&self) -> Option<PodHandle> {
        self.shared.runtime.pod(&self.uid)
    }
}

/// First and longest wait after something failed that has no rhythm of its own.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(120);

/// One pod's worker.
pub struct Worker {
    context: Arc<Context>,
    latest: watch::Receiver<Latest>,
    /// The pod's shim has something to tell.
    stirred: Arc<Notify>,
    inbox: mpsc::Receiver<Note>,
    tasks: JoinSet<()>,
    seen: Observed,
    held: Option<Held>,
    probes: HashMap<(String, Purpose), AbortHandle>,
    /// Deadlines of the stops in progress, which may come nearer.
    deadlines: HashMap<String, watch::Sender<Wall>>,
    pulls: HashMap<String, Backoff>,
    mount_retry: Backoff,
    sandbox_retry: Backoff,
    report: report::Report,
    refresh: mount::Refresh,
    book: resize::Book,
    /// Something of the node was freed.
    freed: watch::Receiver<u64>,
    removal: Removal,
}

/// How far the removal of the object is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removal {
    Idle,
    Running,
    /// It failed; not before then again.
    Again(Wall),
    Done,
}

impl Worker {
    /// A worker for the pod that `latest` tells of; `stirred` is notified when its shim changes.
    pub fn new(
        shared: Arc<Shared>,
        latest: watch::Receiver<Latest>,
        stirred: Arc<Notify>,
    ) -> Result<Self, String> {
        let object = Arc::clone(latest.borrow().object());
        let pod: Pod = object.to().map_err(|error| error.to_string())?;
        let (notes, inbox) = mpsc::channel(POD_NOTES_MAX);
        let freed = shared.freed.subscribe();
        let context = Context {
            uid: object.header.uid.to_string(),
            dirs: PodDirs::of(&shared.config, &pod),
            voice: Voice::new(shared.recorder.clone(), &pod),
            tokens: Tokens::new(Arc::clone(&shared.client)),
            certificates: Certificates::new(
                Arc::clone(&shared.client),
                &shared.config.name,
                shared.nodes.clone(),
            ),
            notes,
            ending: watch::Sender::new(false),
            shared,
        };
        Ok(Self {
            context: Arc::new(context),
            latest,
            stirred,
            inbox,
            tasks: JoinSet::new(),
            seen: Observed::default(),
            held: None,
            probes: HashMap::new(),
            deadlines: HashMap::new(),
            pulls: HashMap::new(),
            mount_retry: Backoff::new(RETRY_FIRST, RETRY_MAX),
            sandbox_retry: Backoff::new(RETRY_FIRST, RETRY_MAX),
            report: report::Report::default(),
            refresh: mount::Refresh::default(),
            book: resize::Book::default(),
            freed,
            removal: Removal::Idle,
        })
    }

    /// Works until the pod's object is gone and nothing is left of the pod; returns false when it
    /// had to give up before that, so that another worker shall take over.
    pub async fn run(mut self) -> bool {
        self.restore().await;
        loop {
            let Some(pod) = self.pod() else { return false };
            self.observe(&pod);
            let now = clock::now();
            let pod = Arc::new(self.allot(pod, now));
            self.tend_resize(&pod);
            let step = pod::step(&pod, &self.seen, &self.context.shared.host_ips(), now);
            self.note_ending(&pod, &step, now);
            for action in &step.actions {
                self.perform(action, &pod, &step, now);
            }
            self.tend_volumes(&pod, now);
            self.tend_probes(&pod, &step);
            self.send_report(&pod, &step);
            if step.done {
                self.context.shared.let_go(&self.context.uid);
                if self.seen.orphaned {
                    self.clear_away().await;
                    return true;
                }
            }
            let wake = self.next_wake(&step, now);
            if !self.wait(wake).await {
                return false;
            }
        }
    }

    /// The pod as it is now, its status as last reported.
    fn pod(&mut self) -> Option<Pod> {
        let latest = self.latest.borrow_and_update().clone();
        self.seen.orphaned = matches!(latest, Latest::Gone(_));
        let object = latest.object();
        let tree = object.tree().ok()?;
        let tree = self.report.merged(tree, object.header.revision);
        match tree.to() {
            Ok(pod) => Some(pod),
            Err(error) => {
                tracing::error!(pod = %object.header.key, %error, "cannot read a pod");
                None
            }
        }
    }

    /// When the pod begins to be ended, what only serves its start is given up.
    fn note_ending(&mut self, pod: &Pod, step: &Step, now: Wall) {
        if !step.ending || self.seen.ending.is_some() {
            return;
        }
        let over = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(over, Some("Succeeded" | "Failed"));
        if !over
            && pod.metadata.deletion_timestamp.is_none()
            && pod::past_deadline(pod, &self.seen, now)
        {
            let (reason, message) = pod::DEADLINE_EXCEEDED;
            self.context.voice.normal(reason, message);
        }
        self.seen.ending = Some(now);
        self.context.ending.send_replace(true);
    }

    fn next_wake(&self, step: &Step, now: Wall) -> Option<Wall> {
        let due = self.context.due().filter(|_| !step.ending);
        let removal = match self.removal {
            Removal::Again(at) => Some(at),
            _ => None,
        };
        let all = [step.wake, due, removal, self.report.retry(), self.refresh.retry()];
        all.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Waits for whatever comes first, and takes it in. False when an operation has panicked: what
    /// it was about to tell is lost.
    async fn wait(&mut self, wake: Option<Wall>) -> bool {
        let timer = async {
            match wake {
                Some(at) => tokio::time::sleep(at.since(clock::now())).await,
                None => std::future::pending().await,
            }
        };
        let referred = async {
            match &mut self.held {
                Some(held) => held.changed().await,
                None => std::future::pending().await,
            }
        };
        let waits = self.seen.resize.pending.is_some();
        let mut woken_by_reference = false;
        tokio::select! {
            note = self.inbox.recv() => {
                if let Some(note) = note {
                    self.take(note);
                }
            }
            changed = self.latest.changed() => {
                if changed.is_err() {
                    // The node is stopping; what runs goes on.
                    std::future::pending::<()>().await;
                }
            }
            () = self.stirred.notified() => {}
            // The sender lives as long as the node.
            _ = self.freed.changed(), if waits => {}
            () = referred => woken_by_reference = true,
            () = timer => {}
            Some(ended) = self.tasks.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!(pod = %self.context.uid, %error, "an operation panicked");
                    return false;
                }
            }
        }
        if woken_by_reference {
            self.references_changed();
        }
        // All that has come meanwhile belongs to the same turn.
        while let Ok(note) = self.inbox.try_recv() {
            self.take(note);
        }
        true
    }

    /// What the pod refers to is different: files are written anew, and what waited for it goes on.
    fn references_changed(&mut self) {
        let now = clock::now();
        self.refresh.want();
        if let Some(trouble) = &mut self.seen.volume_trouble {
            trouble.retry = now;
        }
        for seen in self.seen.containers.values_mut() {
            if let Some(trouble) = &mut seen.trouble
                && trouble.reason == start::CONFIG_ERROR
            {
                trouble.retry = now;
            }
        }
    }

    /// Holds what the pod refers to, from now on.
    fn hold(&mut self, pod: &Pod) -> &Held {
        let references = source::references(pod);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let known = self.held.take().filter(|held| held.is_of(&references));
        let held =
            known.unwrap_or_else(|| self.context.shared.objects.hold(namespace, &references));
        self.held.insert(held)
    }

    /// Removes the last of the pod: logs and directories.
    async fn clear_away(self) {
        let context = Arc::clone(&self.context);
        let dirs = context.dirs.clone();
        let removed = tokio::task::spawn_blocking(move || clear_directories(&dirs)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(pod = %context.uid, %error, "cannot remove what a pod left");
        }
    }
}

/// Removes all directories of a pod.
pub(super) fn clear_directories(dirs: &PodDirs) -> Result<(), volume::mount::MountError> {
    volume::mount::take_down(dirs)?;
    volume::mount::remove(&dirs.root)?;
    volume::mount::remove(&dirs.logs)
}
