//! Resizing a pod while it runs: what it is given, and the limits that follow.
//!
//! What was given to a pod, and what its containers have of it, is kept in a file among the pod's
//! own: another process goes on where this one stopped. An attempt's first amounts are among the
//! runtime's labels. Pods without requests and limits cannot be resized, and have no file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::{fs, io};

use k8s_openapi::api::core::v1::{Pod, PodCondition, ResourceRequirements};
use serde::{Deserialize, Serialize};

use super::{Context, Note, RETRY_FIRST, RETRY_MAX, Worker};
use crate::history::Object;
use crate::node::dirs::PodDirs;
use crate::node::pod::resize::{self, Changes, IN_PROGRESS, PENDING, Pending};
use crate::node::pod::{Attempt, Busy, Sandbox, Seen, Trouble};
use crate::node::qos;
use crate::node::shared::Shared;
use crate::runtime::{PodHandle, Resources};
use crate::util::backoff::Backoff;
use crate::util::clock::{self, Wall};

type Amounts = BTreeMap<String, ResourceRequirements>;

/// What is kept of a pod's amounts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// What was set aside, by container.
    given: Amounts,
    /// What running containers have, where it is not what they began with; by id.
    applied: Amounts,
    /// The limits of the pod as a whole, and of which of its sandboxes.
    pod: Option<(u32, Resources)>,
    /// What is ended only to begin anew, by id.
    restarting: BTreeSet<String>,
}

impl Record {
    fn read(dirs: &PodDirs) -> Option<Self> {
        serde_json::from_slice(&fs::read(dirs.amounts()).ok()?).ok()
    }

    /// Writes into a pod what its containers were given.
    fn give(&self, pod: &mut Pod) {
        let Some(spec) = &mut pod.spec else { return };
        for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
            if let Some(given) = self.given.get(&container.name) {
                container.resources = Some(given.clone());
            }
        }
    }
}

/// Counts what a pod takes that an earlier process let in.
pub fn count(shared: &Shared, object: &Object) {
    let Ok(mut pod) = object.to::<Pod>() else { return };
    let status = pod.status.clone().unwrap_or_default();
    if status.start_time.is_none() || is_over(&pod) {
        return;
    }
    if let Some(record) = Record::read(&PodDirs::of(&shared.config, &pod)) {
        record.give(&mut pod);
    }
    shared.readmit(&object.header.uid, &pod);
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A worker's part in resizing.
pub(super) struct Book {
    record: Record,
    /// Since when the present wish is not met.
    since: Option<Wall>,
    retry: Backoff,
}

impl Default for Book {
    fn default() -> Self {
        let retry = Backoff::new(RETRY_FIRST, RETRY_MAX);
        Self { record: Record::default(), since: None, retry }
    }
}

/// What a change of limits came to.
#[derive(Default)]
pub(super) struct Resized {
    /// What containers have now, by id.
    applied: Amounts,
    /// What the pod has now.
    pod: Option<Resources>,
    error: Option<String>,
}

impl Book {
    /// What a container has, which may be something else than it began with.
    pub(super) fn complete(&self, name: &str, attempt: &mut Attempt) {
        if let Some(has) = self.record.applied.get(&attempt.id) {
            attempt.resources = Some(has.clone());
        } else if attempt.resources.is_none() {
            attempt.resources = self.record.given.get(name).cloned();
        }
        if let Some(end) = &mut attempt.end {
            end.resized = self.record.restarting.contains(&attempt.id);
        }
    }
}

impl Worker {
    /// Takes over what an earlier process left; what a pod without a file says it was given.
    pub(super) fn restore_book(&mut self, pod: &Pod) {
        let kept = Record::read(&self.context.dirs);
        self.book.record = kept.unwrap_or_else(|| Record { given: amounts(pod), ..<_>::default() });
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        for condition in conditions {
            self.restore_condition(condition);
        }
    }

    fn restore_condition(&mut self, condition: &PodCondition) {
        let generation = condition.observed_generation.unwrap_or(0);
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        match &*condition.type_ {
            IN_PROGRESS => self.seen.resize.started = Some(generation),
            PENDING => {
                let (reason, message) = (text(&condition.reason), text(&condition.message));
                self.seen.resize.pending = Some(Pending { reason, message, generation });
                let at = condition.last_transition_time.as_ref();
                self.book.since = at.map(super::restore::wall);
            }
            _ => {}
        }
    }

    /// Keeps what a pod was given that was just let in.
    pub(super) fn open_book(&mut self) {
        if !self.book.record.given.is_empty() {
            self.keep_book();
        }
    }

    fn keep_book(&self) {
        let dirs = &self.context.dirs;
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec(&self.book.record)?;
            let (file, fresh) = (dirs.amounts(), dirs.amounts().with_extension("new"));
            fs::create_dir_all(&dirs.root)?;
            fs::write(&fresh, text)?;
            fs::rename(&fresh, &file)
        };
        if let Err(error) = write() {
            tracing::warn!(pod = %self.context.uid, %error, "cannot keep what a pod was given");
        }
    }

    /// The pod as it was given what it has: its wish where that can be met, else what it was given
    /// before.
    pub(super) fn allot(&mut self, mut pod: Pod, now: Wall) -> Pod {
        let (wish, given) = (amounts(&pod), &self.book.record.given);
        let idle = self.seen.verdict.is_some()
            || self.seen.ending.is_some()
            || self.seen.orphaned
            || pod.metadata.deletion_timestamp.is_some()
            || is_over(&pod);
        let changed = |(name, wish): (&String, &ResourceRequirements)| {
            given.get(name).is_some_and(|given| !resize::same(given, wish))
        };
        if idle || !wish.iter().any(changed) {
            self.be_content();
        } else {
            self.ask_for(&pod, wish, now);
        }
        self.book.record.give(&mut pod);
        pod
    }

    /// The pod with what it was given.
    pub(super) fn given(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        self.book.record.give(&mut pod);
        pod
    }

    fn be_content(&mut self) {
        self.book.since = None;
        if self.seen.resize.pending.take().is_some() {
            self.context.shared.content(&self.context.uid);
        }
    }

    /// Asks the node to meet the pod's wish.
    fn ask_for(&mut self, pod: &Pod, wish: Amounts, now: Wall) {
        let generation = pod.metadata.generation.unwrap_or(0);
        let since = *self.book.since.get_or_insert(now);
        let voice = &self.context.voice;
        match self.context.shared.resize(&self.context.uid, pod, since) {
            Ok(()) => {
                self.book.record.given = wish;
                self.keep_book();
                voice.normal(
                    "ResizeStarted",
                    resize::summary("Pod resize started", pod, generation, ""),
                );
                (self.seen.resize.started, self.seen.resize.trouble) = (Some(generation), None);
                (self.seen.resize.pending, self.book.since) = (None, None);
                self.book.retry.reset();
            }
            Err(refusal) => {
                let (reason, message) = (refusal.reason.to_owned(), refusal.message);
                let known = self.seen.resize.pending.as_ref();
                if known.is_none_or(|k| k.reason != reason || k.generation != generation) {
                    let what = format!("Pod resize {reason}");
                    let told = resize::summary(&what, pod, generation, &message);
                    voice.warn(&format!("Resize{reason}"), told);
                }
                self.seen.resize.pending = Some(Pending { reason, message, generation });
            }
        }
    }

    /// Looks at what pod and containers have, and whether that is what they are to have.
    pub(super) fn tend_resize(&mut self, pod: &Pod) {
        let handle = self.context.handle().filter(|_| self.seen.sandbox == Sandbox::Ready);
        let kept = self.book.record.pod.as_ref().filter(|(epoch, _)| *epoch == self.seen.epoch);
        let own = |handle: PodHandle| handle.sandbox().resources.clone();
        self.seen.resize.pod = match kept {
            Some((_, kept)) => handle.map(|_| kept.clone()),
            None => handle.map(own),
        };
        let settled = resize::is_settled(pod, &self.seen);
        match self.seen.resize.started {
            Some(generation) if settled => {
                self.seen.resize.started = None;
                self.seen.resize.trouble = None;
                if self.seen.ending.is_none() {
                    let told = resize::summary("Pod resize completed", pod, generation, "");
                    self.context.voice.normal("ResizeCompleted", told);
                    self.context.shared.settle(&self.context.uid, pod);
                }
            }
            None if !settled && self.seen.ending.is_none() => {
                self.seen.resize.started = pod.metadata.generation;
            }
            _ => {}
        }
        let stopping = |seen: &Seen| matches!(seen.busy, Some(Busy::Stopping { .. }));
        let restarting = &mut self.book.record.restarting;
        if settled && !restarting.is_empty() && !self.seen.containers.values().any(stopping) {
            restarting.clear();
            self.keep_book();
        }
    }

    /// Notes that an attempt is ended only to begin anew.
    pub(super) fn note_restart(&mut self, name: &str) {
        let seen = self.seen.containers.get(name);
        if let Some(attempt) = seen.and_then(|seen| seen.current.as_ref()) {
            self.book.record.restarting.insert(attempt.id.clone());
            self.keep_book();
        }
    }

    /// Begins to change limits.
    pub(super) fn resize(&mut self, pod: &Arc<Pod>) {
        let changes = resize::changes(pod, &self.seen);
        self.seen.resize.busy = true;
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(pod));
        let had = self.seen.resize.pod.clone().unwrap_or_default();
        self.tasks.spawn(async move {
            let mut resized = Resized::default();
            resized.error = apply(&context, &pod, &had, changes, &mut resized).await.err();
            context.note(Note::Resized(resized)).await;
        });
    }

    pub(super) fn resized(&mut self, resized: Resized) {
        let resize = &mut self.seen.resize;
        resize.busy = false;
        let alive: BTreeSet<&String> =
            self.seen.containers.values().flat_map(|seen| &seen.current).map(|a| &a.id).collect();
        let record = &mut self.book.record;
        record.applied.extend(resized.applied);
        record.applied.retain(|id, _| alive.contains(id));
        record.restarting.retain(|id| alive.contains(id));
        if let Some(pod) = resized.pod {
            record.pod = Some((self.seen.epoch, pod));
        }
        for seen in self.seen.containers.values_mut() {
            if let Some(attempt) = &mut seen.current
                && let Some(has) = record.applied.get(&attempt.id)
            {
                attempt.resources = Some(has.clone());
            }
        }
        self.keep_book();
        match resized.error {
            None => {
                self.seen.resize.trouble = None;
                self.book.retry.reset();
            }
            Some(error) => self.fail_to_resize(error),
        }
    }

    fn fail_to_resize(&mut self, message: String) {
        let known = self.seen.resize.trouble.as_ref().map(|trouble| &trouble.message);
        if known != Some(&message)
            && let Some(pod) = self.pod()
        {
            let generation = self.seen.resize.started.or(pod.metadata.generation).unwrap_or(0);
            let told = resize::summary("Pod resize error", &pod, generation, &message);
            self.context.voice.warn("ResizeError", told);
        }
        let retry = clock::now().after(self.book.retry.fail());
        let reason = "Error".to_owned();
        self.seen.resize.trouble = Some(Trouble { reason, message, later: None, retry });
    }
}

/// The amounts of a pod's containers; none where there are none at all.
fn amounts(pod: &Pod) -> Amounts {
    if qos::class(pod) == "BestEffort" {
        return Amounts::new();
    }
    let amounts = |c: &k8s_openapi::api::core::v1::Container| {
        (c.name.clone(), c.resources.clone().unwrap_or_default())
    };
    qos::counted(pod).map(amounts).collect()
}

/// Changes limits, in an order in which no container ever has more than its pod.
async fn apply(
    context: &Context,
    pod: &Pod,
    had: &Resources,
    changes: Changes,
    done: &mut Resized,
) -> Result<(), String> {
    let Some(handle) = context.handle() else { return Ok(()) };
    let told = |error: crate::runtime::Error| error.to_string();
    check_memory(&handle, had, pod, &changes).await?;
    if let Some(grow) = changes.grow {
        handle.update_pod(grow.clone()).await.map_err(told)?;
        done.pod = Some(grow);
    }
    for change in changes.containers {
        match handle.update(&change.id, change.resources).await {
            Ok(()) => drop(done.applied.insert(change.id, change.wanted)),
            // It has ended meanwhile.
            Err(_) if handle.container(&change.id).is_none_or(|c| c.exit.is_some()) => {}
            Err(error) => return Err(told(error)),
        }
    }
    if let Some(settle) = changes.settle {
        handle.update_pod(settle.clone()).await.map_err(told)?;
        done.pod = Some(settle);
    }
    Ok(())
}

/// Nothing is bound to less memory than it uses: the kernel would kill it.
async fn check_memory(
    handle: &PodHandle,
    had: &Resources,
    pod: &Pod,
    changes: &Changes,
) -> Result<(), String> {
    let wanted = qos::pod_resources(pod).memory_bytes;
    let limit = wanted.filter(|n| had.memory_bytes.is_none_or(|had| *n < had));
    if limit.is_none() && !changes.containers.iter().any(|change| change.shrinks) {
        return Ok(());
    }
    let stats = handle.stats().await.map_err(|error| error.to_string())?;
    let below = |what: &str, limit: i64, usage: u64| {
        let told = || {
            format!("attempting to set {what} memory limit ({limit}) below current usage ({usage})")
        };
        u64::try_from(limit).is_ok_and(|limit| usage >= limit).then(told)
    };
    let of_pod = limit.and_then(|limit| below("pod", limit, stats.pod.memory_bytes));
    let of_containers = changes.containers.iter().filter(|change| change.shrinks);
    let of_containers = of_containers.filter_map(|change| {
        let usage = stats.containers.get(&change.id)?.memory_bytes;
        below(&format!("container {:?}", change.name), change.resources.memory_bytes?, usage)
    });
    let all: Vec<String> = of_pod.into_iter().chain(of_containers).collect();
    match all.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("cannot decrease memory limits: {one}")),
        all => Err(format!("cannot decrease memory limits: [{}]", all.join(", "))),
    }
}
