//! Starts one attempt of a container: image, configuration, mounts, program, hook.

mod image_volume;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::{Context, Note, Worker, attempt};
use crate::api::tree::Value;
use crate::node::container::env::{self, environment};
use crate::node::container::fields::Addresses;
use crate::node::container::{build, hosts, links, security};
use crate::node::dirs;
use crate::node::hook;
use crate::node::images::{Found, keyring};
use crate::node::objects::Held;
use crate::node::pod::{Attempt, Busy, CRASH_LOOP, Crash, End, Kind, Plan, Trouble, plans};
use crate::node::source::Sources;
use crate::node::voice::Voice;
use crate::node::volume::{mount, subpath};
use crate::runtime::{ContainerSpec, PodHandle};
use crate::sys;
use crate::util::backoff::Backoff;
use crate::util::clock::{self, Wall};
use crate::util::id;
use image_volume::Brought;

/// The reason that goes away when what the pod refers to changes.
pub(super) const CONFIG_ERROR: &str = "CreateContainerConfigError";
const CREATE_ERROR: &str = "CreateContainerError";
const RUN_ERROR: &str = "RunContainerError";
const HOOK_ERROR: &str = "PostStartHookError";
/// How long an error's own reason is shown before its back-off is.
const ERROR_SHOWN: Duration = Duration::from_secs(5);
/// How soon a wrong configuration is looked at again where nothing tells of its change.
const CONFIG_RETRY: Duration = Duration::from_secs(30);
/// How long a postStart hook may take where nothing else bounds it.
const HOOK_MAX: Duration = Duration::from_secs(3600);

/// Why a container did not start.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StartError {
    /// The pod is being ended.
    GivenUp,
    /// It waits, for this reason and with this message.
    Waits(&'static str, String),
    /// Its program could not be run: that counts as an end.
    Ended(Box<Attempt>, Option<Crash>),
    /// It ran, but its postStart hook failed; it has been stopped.
    Hook(String),
}

/// One attempt to be.
struct Job {
    context: Arc<Context>,
    pod: Arc<Pod>,
    /// Which of the pod's containers.
    name: String,
    number: i32,
    epoch: u32,
    crash: Option<Crash>,
    held: Held,
    addresses: Addresses,
    /// The container whose PID namespace a debugging one joins.
    pid_of: Option<String>,
}

impl Worker {
    pub(super) fn start(&mut self, pod: &Arc<Pod>, name: &str, number: i32, crash: Option<Crash>) {
        self.seen.containers.entry(name.to_owned()).or_default().busy = Some(Busy::Starting);
        let job = Job {
            context: Arc::clone(&self.context),
            pod: Arc::clone(pod),
            name: name.to_owned(),
            number,
            epoch: self.seen.epoch,
            crash,
            held: self.hold(pod).again(),
            addresses: self.addresses(),
            pid_of: self.target_of(pod, name),
        };
        self.tasks.spawn(async move {
            let result = job.run().await;
            job.context.note(Note::StartOver(job.name.clone(), result)).await;
        });
    }

    /// The running container that an ephemeral one wants to look into.
    fn target_of(&self, pod: &Pod, name: &str) -> Option<String> {
        let ephemeral = pod.spec.as_ref()?.ephemeral_containers.as_ref()?;
        let own = ephemeral.iter().find(|container| container.name == name)?;
        let target = own.target_container_name.as_ref().filter(|name| !name.is_empty())?;
        let attempt = self.seen.containers.get(target)?.current.as_ref()?;
        attempt.end.is_none().then(|| attempt.id.clone())
    }

    /// A container runs; its hook may still.
    pub(super) fn started(&mut self, name: &str, attempt: Attempt) {
        self.pulls.remove(name);
        let seen = self.seen.containers.entry(name.to_owned()).or_default();
        seen.trouble = None;
        seen.busy = Some(Busy::Hook);
        // The runtime tells the rest; one that has ended already is told by it too.
        tracing::debug!(container = name, id = attempt.id, "a container runs");
    }

    pub(super) fn start_over(&mut self, name: &str, result: Result<(), StartError>) {
        let now = clock::now();
        let seen = self.seen.containers.entry(name.to_owned()).or_default();
        seen.busy = None;
        seen.trouble = match result {
            Ok(()) | Err(StartError::GivenUp) => return,
            Err(StartError::Waits("ErrImagePull", message)) => {
                let backoff = self.pulls.entry(name.to_owned()).or_insert_with(new_backoff);
                Some(pull_trouble(message, backoff.fail(), now))
            }
            Err(StartError::Waits(reason, message)) => {
                let backoff = self.pulls.entry(name.to_owned()).or_insert_with(new_backoff);
                let delay = backoff.fail().max(CONFIG_RETRY.min(Duration::from_secs(10)));
                Some(trouble(reason, message, now.after(delay)))
            }
            Err(StartError::Ended(ended, crash)) => {
                let message = ended.end.as_ref().map(|end| end.message.clone());
                seen.last = seen.current.take().filter(|before| before.end.is_some());
                seen.crash = crash;
                seen.current = Some(*ended);
                Some(run_trouble(RUN_ERROR, message.unwrap_or_default(), now))
            }
            Err(StartError::Hook(message)) => Some(run_trouble(HOOK_ERROR, message, now)),
        };
    }
}

fn new_backoff() -> Backoff {
    Backoff::new(crate::limits::CRASH_BACKOFF_FIRST, crate::limits::CRASH_BACKOFF_MAX)
}

fn trouble(reason: &str, message: String, retry: Wall) -> Trouble {
    Trouble { reason: reason.to_owned(), message, later: None, retry }
}

/// Why a container ended that was about to run. It holds nothing back, but the back-off may; that
/// is what is shown after a while.
fn run_trouble(reason: &str, message: String, now: Wall) -> Trouble {
    let later = (now.after(ERROR_SHOWN), CRASH_LOOP.to_owned(), String::new());
    Trouble { later: Some(Box::new(later)), ..trouble(reason, message, now) }
}

fn pull_trouble(message: String, delay: Duration, now: Wall) -> Trouble {
    let later = format!("Back-off pulling image: ErrImagePull: {message}");
    let at = now.after(ERROR_SHOWN.min(delay / 2));
    Trouble {
        reason: "ErrImagePull".to_owned(),
        message,
        later: Some(Box::new((at, "ImagePullBackOff".to_owned(), later))),
        retry: now.after(delay),
    }
}

impl Job {
    async fn run(&self) -> Result<(), StartError> {
        let plans = plans(&self.pod);
        let Some(plan) = plans.iter().find(|plan| plan.name() == self.name) else {
            return Err(StartError::GivenUp);
        };
        let voice = self.context.voice.of(plan.kind, plan.name());
        let sources = self.held.sources().await;
        let volumes = self.bring_volumes(plan, &sources, &voice).await?;
        let image = self.image(plan, &sources, &voice).await?;
        let Some(handle) = self.context.handle() else { return Err(StartError::GivenUp) };
        let id = id::uuid().replace('-', "");
        let specified = self.specify(plan, &id, &image, &volumes, &sources).await;
        let (spec, attempt) = match specified {
            Ok(made) => made,
            Err((reason, message)) => {
                release(&self.context, &id).await;
                voice.warn("Failed", format!("Error: {message}"));
                return Err(StartError::Waits(reason, message));
            }
        };
        self.launch(&handle, spec, &attempt, &voice).await?;
        self.context.note(Note::Started(self.name.clone(), attempt.clone())).await;
        self.forget_older(&handle).await;
        self.hook(&handle, plan, &attempt, &voice).await
    }

    async fn image(
        &self,
        plan: &Plan<'_>,
        sources: &Sources,
        voice: &Voice,
    ) -> Result<Found, StartError> {
        let asked = plan.spec.image.as_deref().unwrap_or_default();
        let policy = plan.spec.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        self.bring(asked, policy, sources, voice).await
    }

    /// An image; given up when the pod is being ended.
    async fn bring(
        &self,
        asked: &str,
        policy: &str,
        sources: &Sources,
        voice: &Voice,
    ) -> Result<Found, StartError> {
        let keyring = keyring(&self.pod, sources);
        let mut ending = self.context.ending.subscribe();
        let found = tokio::select! {
            found = self.context.shared.images.ensure(asked, policy, &keyring, voice) => found,
            _ = ending.wait_for(|ending| *ending) => return Err(StartError::GivenUp),
        };
        found.map_err(|refusal| {
            if refusal.reason == "ErrImagePull" {
                voice.normal("BackOff", format!("Back-off pulling image {asked:?}"));
                voice.warn("Failed", "Error: ImagePullBackOff");
            } else {
                voice.warn("Failed", format!("Error: {}", refusal.reason));
            }
            StartError::Waits(refusal.reason, refusal.message)
        })
    }

    /// What the runtime shall make. Errors are reason and message.
    async fn specify(
        &self,
        plan: &Plan<'_>,
        id: &str,
        image: &Found,
        volumes: &Brought,
        sources: &Sources,
    ) -> Result<(ContainerSpec, Attempt), (&'static str, String)> {
        let config = |message: String| (CONFIG_ERROR, message);
        let of_image = &image.image.config;
        let uid = security::image_uid(&of_image.user);
        security::check_non_root(&self.pod, &plan.spec, &of_image.user, uid).map_err(config)?;
        let env = self.environment(plan, sources).map_err(config)?;
        let mut subpaths = self.subpaths(plan, &env, id).await.map_err(config)?;
        let failed = |message: String| (CREATE_ERROR, message);
        subpaths.extend(self.mount_volumes(plan, &env, id, volumes).await.map_err(failed)?);
        self.make_files(plan).map_err(|error| failed(error.to_string()))?;
        let store = &self.context.shared.images.store;
        let prepared = store.prepare(id, &image.image.id).await;
        let rootfs = prepared.map_err(|error| failed(error.to_string()))?;
        let shared = &self.context.shared;
        let names = hosts::names(&self.pod, &shared.config.cluster_domain).map_err(config)?;
        let attempt = Attempt {
            id: id.to_owned(),
            number: self.number,
            epoch: self.epoch,
            image_asked: plan.spec.image.clone().unwrap_or_default(),
            image: image.name.clone(),
            image_id: image.id.clone(),
            resources: Some(plan.spec.resources.clone().unwrap_or_default()),
            started: None,
            end: None,
        };
        let profiles = dirs::seccomp_profiles(&shared.config.data_dir);
        let spec = build::container(build::Inputs {
            pod: &self.pod,
            plan,
            id: id.to_owned(),
            number: self.number,
            image: of_image,
            rootfs,
            env,
            hostname: &names.hostname,
            security: security::security(&self.pod, &plan.spec, &of_image.user, &profiles),
            dirs: &self.context.dirs,
            subpaths,
            capacity_bytes: shared.machine.memory_bytes,
            labels: attempt::labels(plan.name(), &attempt, self.crash),
            pid_of: self.pid_of.clone(),
        });
        Ok((spec.map_err(|error| failed(error.to_string()))?, attempt))
    }

    fn environment(
        &self,
        plan: &Plan<'_>,
        sources: &Sources,
    ) -> Result<Vec<(String, String)>, String> {
        let allocatable = self.context.shared.allocatable();
        let context = env::Context {
            pod: &self.pod,
            addresses: &self.addresses,
            allocatable: &allocatable,
            sources,
            links: &self.links(),
        };
        environment(&plan.spec, &context).map_err(|error| error.to_string())
    }

    fn links(&self) -> Vec<(String, String)> {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let services = self.context.shared.services.snapshot();
        let of_namespace = services.in_namespace(namespace);
        let mut trees: Vec<Value> =
            of_namespace.filter_map(|service| service.tree().ok()).collect();
        let kubernetes = services.get("default", "kubernetes").and_then(|s| s.tree().ok());
        trees.extend(kubernetes.filter(|_| namespace != "default"));
        let wanted = self.pod.spec.as_ref().and_then(|spec| spec.enable_service_links);
        links::variables(trees.iter(), namespace, wanted.unwrap_or(true))
    }

    /// Binds the sub-paths that a container mounts.
    async fn subpaths(
        &self,
        plan: &Plan<'_>,
        env: &[(String, String)],
        id: &str,
    ) -> Result<BTreeMap<usize, PathBuf>, String> {
        let volumes = self.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let volumes: Vec<_> = volumes.cloned().collect();
        let mut wishes = Vec::new();
        for (index, wish) in plan.spec.volume_mounts.iter().flatten().enumerate() {
            let Some(sub) = build::subpath(wish, env)? else { continue };
            let volume = volumes.iter().find(|volume| volume.name == wish.name);
            let Some(volume) = volume.filter(|volume| volume.image.is_none()) else { continue };
            wishes.push((index, mount::path(&self.context.dirs, volume), sub, wish.name.clone()));
        }
        self.bind(plan, id, wishes, true).await
    }

    /// Binds sub-paths, and makes folders where there are none if `make` says so.
    async fn bind(
        &self,
        plan: &Plan<'_>,
        id: &str,
        wishes: Vec<(usize, PathBuf, String, String)>,
        make: bool,
    ) -> Result<BTreeMap<usize, PathBuf>, String> {
        let places = self.context.dirs.subpaths(id);
        let container = plan.name().to_owned();
        let work = move || -> Result<BTreeMap<usize, PathBuf>, String> {
            let bind = |(index, volume, sub, name): &(usize, PathBuf, String, String)| {
                let bound = subpath::bind(volume, sub, &places, *index, make);
                let told = |error: io::Error| {
                    format!(
                        "failed to prepare subPath for volumeMount {name:?} of container \
                         {container:?}: {error}"
                    )
                };
                bound.map(|path| (*index, path)).map_err(told)
            };
            wishes.iter().map(bind).collect()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
    }

    /// Makes the log's folder and the file for the last words.
    fn make_files(&self, plan: &Plan<'_>) -> io::Result<()> {
        let dirs = &self.context.dirs;
        let log = dirs.log(plan.name(), self.number);
        log.parent().map_or(Ok(()), fs::create_dir_all)?;
        let words = dirs.termination(plan.name(), self.number);
        words.parent().map_or(Ok(()), fs::create_dir_all)?;
        OpenOptions::new().write(true).create(true).truncate(true).open(&words)?;
        // Whoever the container runs as may write to it.
        fs::set_permissions(&words, Permissions::from_mode(0o666))
    }

    async fn launch(
        &self,
        handle: &PodHandle,
        spec: ContainerSpec,
        attempt: &Attempt,
        voice: &Voice,
    ) -> Result<(), StartError> {
        if let Err(error) = handle.create(spec).await {
            self.discard(handle, &attempt.id).await;
            voice.warn("Failed", format!("Error: {error}"));
            return match error.is_program() {
                true => Err(self.no_program(attempt, &error.to_string())),
                false => Err(StartError::Waits(CREATE_ERROR, error.to_string())),
            };
        }
        voice.normal("Created", "Container created");
        if let Err(error) = handle.start(&attempt.id).await {
            self.discard(handle, &attempt.id).await;
            voice.warn("Failed", format!("Error: {error}"));
            return Err(self.no_program(attempt, &error.to_string()));
        }
        voice.normal("Started", "Container started");
        Ok(())
    }

    fn no_program(&self, attempt: &Attempt, message: &str) -> StartError {
        let end = End {
            code: 128,
            signal: None,
            reason: "StartError".to_owned(),
            message: message.to_owned(),
            finished: clock::now(),
            resized: false,
        };
        let ended = Attempt { end: Some(end), ..attempt.clone() };
        StartError::Ended(Box::new(ended), self.crash)
    }

    /// Removes what a failed start left.
    async fn discard(&self, handle: &PodHandle, id: &str) {
        if let Err(error) = handle.remove(id).await {
            tracing::warn!(pod = %self.context.uid, %error, "cannot remove a failed container");
        }
        release(&self.context, id).await;
    }

    /// Keeps the last attempt beside the new one, for its log and state, and removes older ones.
    async fn forget_older(&self, handle: &PodHandle) {
        for status in handle.containers() {
            let Some((name, old, _)) = attempt::read(&status) else { continue };
            if name != self.name || old.number >= self.number - 1 || old.end.is_none() {
                continue;
            }
            if let Err(error) = handle.remove(&status.id).await {
                tracing::warn!(pod = %self.context.uid, %error, "cannot remove an old container");
                continue;
            }
            release(&self.context, &status.id).await;
            self.forget_files(old.number);
        }
    }

    fn forget_files(&self, number: i32) {
        let dirs = &self.context.dirs;
        // They are gone when the pod is; until then they only take room.
        let _ = fs::remove_dir_all(dirs.container(&self.name, number));
        let log = dirs.log(&self.name, number);
        for file in crate::runtime::logs::files(&log).unwrap_or_default() {
            let _ = fs::remove_file(file);
        }
    }

    async fn hook(
        &self,
        handle: &PodHandle,
        plan: &Plan<'_>,
        attempt: &Attempt,
        voice: &Voice,
    ) -> Result<(), StartError> {
        let hook = plan.spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
        let Some(hook) = hook.filter(|_| plan.kind != Kind::Init) else { return Ok(()) };
        let ip = self.addresses.pod.first().or(self.addresses.host.first());
        let target = hook::Target {
            pod: handle,
            container: &plan.spec,
            id: &attempt.id,
            ip: ip.map_or("", String::as_str),
        };
        let mut ending = self.context.ending.subscribe();
        let result = tokio::select! {
            result = hook::run(hook, &target, HOOK_MAX) => result,
            _ = ending.wait_for(|ending| *ending) => return Ok(()),
            () = handle.over(&attempt.id) => return Ok(()),
        };
        let Err(error) = result else { return Ok(()) };
        voice.warn("FailedPostStartHook", "PostStartHook failed");
        voice.normal("Killing", "FailedPostStartHook");
        let grace = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let grace = Duration::from_secs(u64::try_from(grace.unwrap_or(30)).unwrap_or(30));
        if let Err(error) = handle.stop(&attempt.id, None, grace).await {
            tracing::warn!(pod = %self.context.uid, %error, "cannot stop a container");
        }
        Err(StartError::Hook(error))
    }
}

/// Removes a container's root file system and sub-paths.
pub(super) async fn release(context: &Context, id: &str) {
    if let Err(error) = context.shared.images.release(id).await {
        tracing::warn!(pod = %context.uid, %error, "cannot remove a root file system");
    }
    let places = context.dirs.subpaths(id);
    let unbind = move || {
        sys::mount::detach_below(&places).and_then(|()| match fs::remove_dir_all(&places) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    };
    if let Ok(Err(error)) = tokio::task::spawn_blocking(unbind).await {
        tracing::warn!(pod = %context.uid, %error, "cannot remove sub-paths");
    }
}
