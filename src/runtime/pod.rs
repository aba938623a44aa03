//! rk's side of the pods: start, adopt, ask and remove them.
//!
//! Contract: every operation may be repeated; what is already so is a success. State comes from the
//! shims, pushed over one connection each; nothing is polled. [`Runtime::next_change`] names pods
//! whose state has changed, each once however often it did, so that a slow consumer costs nothing.

mod adopt;
mod cleanup;
mod handle;
mod link;
mod session;

pub use handle::{PodHandle, PodStats};
pub use session::{AttachSession, ExecSession, Input, Output};

use super::container::{ContainerStatus, Exit, ExitCause, Phase};
use super::layout::{Layout, PodRecord, is_id, make_private, store};
use super::shim::protocol::{Fault, FaultKind};
use super::shim::{COMMAND, worker::limits};
use super::spec::PodSandbox;
use crate::limits::SHIM_START_MAX;
use crate::sys::cgroup::Cgroups;
use crate::sys::channel::Channel;
use crate::sys::{fd, mount, process};
use link::Link;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// Why something about a pod or container could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It would become part of paths.
    #[error("{0:?} is not a valid id: letters, digits, '-', '_' and '.', at most 64")]
    BadId(String),
    /// There is none, or none any more.
    #[error("there is no pod {0}")]
    NoPod(String),
    /// One with this id and another definition exists; remove it first.
    #[error("{0} exists already, with another definition")]
    Differs(String),
    /// Another call is starting or removing it; try again when that is over.
    #[error("pod {0} is being started or removed")]
    Busy(String),
    /// Its containers are gone; remove the pod and run it anew.
    #[error("the shim of pod {0} is dead")]
    ShimDead(String),
    /// The shim ended before it was ready. Retry may help.
    #[error("cannot start the shim of pod {pod}: {reason}")]
    Start {
        /// Which pod.
        pod: String,
        /// What the shim said last.
        reason: String,
    },
    /// The shim, or what it started, says why. [`FaultKind`] tells whether to try again.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A file, mount or group. Retry may help.
    #[error("{what}: {error}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        error: io::Error,
    },
}

impl Error {
    /// Whether the program, as named, cannot be executed in that container.
    pub fn is_program(&self) -> bool {
        matches!(self, Self::Fault(fault) if fault.kind == FaultKind::Program)
    }

    /// Whether what was asked about does not exist (any more).
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NoPod(_) => true,
            Self::Fault(fault) => fault.kind == FaultKind::NotFound,
            _ => false,
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::System { what, error }
}

/// Where the runtime lives.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is started as a shim.
    pub exe: PathBuf,
    /// Sockets, namespaces, bundles: a tmpfs.
    pub run_dir: PathBuf,
    /// What outlives a reboot: which containers there were.
    pub state_dir: PathBuf,
    /// The control group, from the roots of the hierarchies, below which all of rk's are.
    pub cgroup_root: String,
}

impl Config {
    /// This executable as the shim, and `rk` as the root of the groups.
    pub fn new(run_dir: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            exe: "/proc/self/exe".into(),
            run_dir: run_dir.into(),
            state_dir: state_dir.into(),
            cgroup_root: "rk".into(),
        }
    }
}

/// The pods of this node. Cheap to clone; all clones are the same. Dropping the last leaves the
/// pods running.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
    pods: Arc<Mutex<BTreeMap<String, PodHandle>>>,
    busy: Arc<Mutex<BTreeSet<String>>>,
}

/// What every pod needs of its runtime.
struct Shared {
    config: Config,
    layout: Layout,
    cgroups: Cgroups,
    boot_id: String,
    changed: Mutex<BTreeSet<String>>,
    notify: Notify,
}

impl Shared {
    fn tell(&self, pod: &str) {
        self.changed.lock().insert(pod.to_owned());
        self.notify.notify_one();
    }
}

/// One pod as rk knows it.
struct Pod {
    record: PodRecord,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Counts changes of `state`.
    version: watch::Sender<u64>,
    link: Mutex<Option<Arc<Link>>>,
    /// The shim, when this process has started it and must reap it.
    child: Mutex<Option<Child>>,
    listener: Mutex<Option<tokio::task::AbortHandle>>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, ContainerStatus>,
    /// Execs of this process: how they ended, once they have.
    execs: BTreeMap<u64, Option<Exit>>,
    dead: bool,
}

impl Pod {
    fn new(record: PodRecord, shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            record,
            shared,
            state: Mutex::default(),
            version: watch::Sender::new(0),
            link: Mutex::default(),
            child: Mutex::default(),
            listener: Mutex::default(),
        })
    }

    fn id(&self) -> &str {
        &self.record.sandbox.id
    }

    /// Changes the state and tells whoever waits.
    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.version.send_modify(|version| *version += 1);
        self.shared.tell(self.id());
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.lock().take() {
            listener.abort();
        }
    }
}

impl Runtime {
    /// Finds the pods of earlier processes: connects to living shims; kills what dead ones left and
    /// reports their containers as ended.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let layout = Layout { run: config.run_dir.clone(), state: config.state_dir.clone() };
        let prepared = {
            let layout = layout.clone();
            blocking(move || prepare(&layout)).await
        };
        prepared.map_err(system("cannot prepare the runtime's directories"))?;
        let cgroups = Cgroups::detect().map_err(system("cannot use control groups"))?;
        let shared = Arc::new(Shared {
            config,
            layout,
            cgroups,
            boot_id: boot_id().map_err(system("cannot read the boot id"))?,
            changed: Mutex::default(),
            notify: Notify::new(),
        });
        let found = adopt::all(&shared).await.map_err(system("cannot list pods"))?;
        let pods = found.into_iter().map(|pod| (pod.id().to_owned(), PodHandle(pod))).collect();
        Ok(Self { shared, pods: Arc::new(Mutex::new(pods)), busy: Arc::default() })
    }

    /// All pods, also those whose shim is dead.
    pub fn pods(&self) -> Vec<PodHandle> {
        self.pods.lock().values().cloned().collect()
    }

    /// The pod with this id.
    pub fn pod(&self, id: &str) -> Option<PodHandle> {
        self.pods.lock().get(id).cloned()
    }

    /// The id of a pod whose state has changed since it was last named here. For one consumer.
    pub async fn next_change(&self) -> String {
        loop {
            if let Some(id) = self.shared.changed.lock().pop_first() {
                return id;
            }
            self.shared.notify.notified().await;
        }
    }

    /// What this machine's kernel offers.
    pub fn facts(&self) -> super::stats::Facts {
        super::stats::Facts::of(&self.shared.cgroups)
    }

    /// Makes the pod's group and namespaces and starts its shim. One that exists with the same
    /// definition is returned; of one that is dead the remains must be removed first.
    pub async fn run_pod(&self, sandbox: PodSandbox) -> Result<PodHandle, Error> {
        let id = sandbox.id.clone();
        if !is_id(&id) {
            return Err(Error::BadId(id));
        }
        let _busy = self.claim(&id)?;
        if let Some(present) = self.pod(&id) {
            return match (present.is_dead(), *present.sandbox() == sandbox) {
                (true, _) => Err(Error::ShimDead(id)),
                (false, true) => Ok(present),
                (false, false) => Err(Error::Differs(format!("pod {id}"))),
            };
        }
        let pod = Pod::new(
            PodRecord {
                sandbox,
                layout: self.shared.layout.clone(),
                cgroup_root: self.shared.config.cgroup_root.clone(),
                boot_id: self.shared.boot_id.clone(),
            },
            self.shared.clone(),
        );
        match start(&pod).await {
            Ok(()) => {
                let handle = PodHandle(pod);
                self.pods.lock().insert(id, handle.clone());
                Ok(handle)
            }
            Err(error) => {
                cleanup::pod(pod).await?;
                Err(error)
            }
        }
    }

    /// Kills the pod's containers, ends its shim and removes all that is left of it. None there is
    /// no error.
    pub async fn remove_pod(&self, id: &str) -> Result<(), Error> {
        let _busy = self.claim(id)?;
        let Some(handle) = self.pod(id) else { return Ok(()) };
        cleanup::end(&handle.0).await;
        cleanup::pod(handle.0.clone()).await?;
        self.pods.lock().remove(id);
        Ok(())
    }

    /// Removes what the runtime has mounted and made that belongs to no pod. The pods must be gone.
    pub async fn close(self) -> Result<(), Error> {
        if let Some(id) = self.pods.lock().keys().next() {
            return Err(Error::Busy(id.clone()));
        }
        blocking(move || {
            let layout = &self.shared.layout;
            mount::detach_below(&layout.roots())?;
            for directory in ["rootfs", "ns", "shim", "pods"] {
                super::layout::remove_all(&layout.run.join(directory))?;
            }
            super::layout::remove_all(&layout.state.join("pods"))?;
            self.shared.cgroups.remove(&self.shared.config.cgroup_root)
        })
        .await
        .map_err(system("cannot remove the runtime's directories"))
    }

    fn claim(&self, id: &str) -> Result<Claim, Error> {
        if !self.busy.lock().insert(id.to_owned()) {
            return Err(Error::Busy(id.to_owned()));
        }
        Ok(Claim { busy: self.busy.clone(), id: id.to_owned() })
    }
}

/// A pod that one call works on.
struct Claim {
    busy: Arc<Mutex<BTreeSet<String>>>,
    id: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.id);
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The directories, and the private mount below which each container mounts its own root: what is
/// mounted there in a container's namespace never shows in the host's.
fn prepare(layout: &Layout) -> io::Result<()> {
    for directory in ["shim", "pods", "ns", "rootfs"] {
        make_private(&layout.run.join(directory))?;
    }
    make_private(&layout.state.join("pods"))?;
    let roots = fs::canonicalize(layout.roots())?;
    if !mount::is_mounted(&roots)? {
        mount::tmpfs(&roots, "mode=700,size=1m")?;
        mount::set_passing(&roots, mount::Passing::Private, false)?;
    }
    Ok(())
}

/// Starts the shim of a new pod and waits until it is ready.
async fn start(pod: &Arc<Pod>) -> Result<(), Error> {
    let spawned = {
        let pod = pod.clone();
        blocking(move || spawn(&pod)).await
    };
    let channel = spawned.map_err(system("cannot start a shim"))?;
    let said = tokio::time::timeout(SHIM_START_MAX, link::open(pod, channel)).await;
    let reason = match said {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => last_words(pod).unwrap_or_else(|| error.to_string()),
        Err(_) => format!("it was not ready after {} s", SHIM_START_MAX.as_secs()),
    };
    cleanup::end(pod).await;
    Err(Error::Start { pod: pod.id().to_owned(), reason })
}

fn spawn(pod: &Pod) -> io::Result<Channel> {
    let (record, layout) = (&pod.record, &pod.record.layout);
    let (run, state) = (layout.pod(pod.id()), layout.pod_state(pod.id()));
    make_private(&run)?;
    make_private(&state)?;
    store(&state.join("pod.json"), record)?;
    store(&run.join("pod.json"), record)?;
    let cgroups = &pod.shared.cgroups;
    cgroups.create(&record.cgroup())?;
    let skipped = cgroups.apply(&record.cgroup(), &limits(&record.sandbox.resources))?;
    if !skipped.is_empty() {
        tracing::warn!(pod = pod.id(), controllers = ?skipped, "limits skipped: no controllers");
    }
    let log = fs::File::options().create(true).append(true).open(layout.shim_log(pod.id()))?;
    // Held by the shim from its first moment to its last: see `adopt`.
    fd::lock(&log, true)?;
    let (mine, theirs) = Channel::pair()?;
    let run_dir = layout.run.to_string_lossy();
    let args = ["rk", COMMAND, &run_dir, pod.id()];
    let theirs = theirs.into_fd();
    fd::set_nonblocking(&theirs, false)?;
    let child = process::spawn(&pod.shared.config.exe, &args, theirs, log)?;
    *pod.child.lock() = Some(child);
    Ok(mine)
}

/// The last line of the shim's log.
fn last_words(pod: &Pod) -> Option<String> {
    let text = fs::read_to_string(pod.record.layout.shim_log(pod.id())).ok()?;
    text.lines().next_back().map(str::to_owned)
}

/// Runs work that may wait for the disk or the kernel where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// What is left of a container whose shim died.
fn orphan(status: &ContainerStatus, cause: ExitCause) -> ContainerStatus {
    let exit = Exit {
        code: 255,
        signal: None,
        oom_killed: false,
        finished_ns: crate::util::clock::now().0,
        cause,
    };
    let exit = status.exit.clone().unwrap_or(exit);
    ContainerStatus { phase: Phase::Exited, pid: None, exit: Some(exit), ..status.clone() }
}
