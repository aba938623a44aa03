//! A pod's volumes, as its worker sets them up, keeps them fresh and takes them down.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Volume};

use super::{Context, Note, RETRY_FIRST, RETRY_MAX, Worker};
use crate::node::certificates::Fetched;
use crate::node::container::fields::Addresses;
use crate::node::objects::Held;
use crate::node::pod::{Trouble, Volumes};
use crate::node::source::Sources;
use crate::node::volume::mount::{set_up, take_down};
use crate::node::volume::payload::{self, TokenWish, certificate_wishes, token_wishes};
use crate::util::backoff::Backoff;
use crate::util::clock::{self, Wall};

/// Whether volumes' files must be written anew.
pub(super) struct Refresh {
    wanted: bool,
    running: bool,
    backoff: Backoff,
    retry: Option<Wall>,
    /// Labels and annotations of the last time: volumes may tell of them.
    metadata: Option<Metadata>,
}

type Metadata = (
    Option<std::collections::BTreeMap<String, String>>,
    Option<std::collections::BTreeMap<String, String>>,
);

impl Default for Refresh {
    fn default() -> Self {
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        Self { wanted: false, running: false, backoff, retry: None, metadata: None }
    }
}

impl Refresh {
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn retry(&self) -> Option<Wall> {
        self.retry
    }
}

impl Worker {
    pub(super) fn mount(&mut self, pod: &Arc<Pod>) {
        self.seen.volumes = Volumes::Mounting;
        self.refresh.wanted = false;
        let held = self.hold(pod).again();
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(pod));
        let addresses = self.addresses();
        self.tasks.spawn(async move {
            let result = set_up_all(&context, &pod, &held, addresses).await;
            context.note(Note::Mounted(result)).await;
        });
    }

    pub(super) fn mounted(&mut self, result: Result<(), Vec<String>>) {
        match result {
            Ok(()) => {
                self.seen.volumes = Volumes::Ready;
                self.seen.volume_trouble = None;
                self.mount_retry.reset();
            }
            Err(why) => {
                for message in &why {
                    self.context.voice.warn("FailedMount", message.clone());
                }
                self.seen.volumes = Volumes::Absent;
                // What has changed meanwhile may be what was missing.
                let delay = self.mount_retry.fail();
                let delay = if self.refresh.wanted { Duration::ZERO } else { delay };
                let retry = clock::now().after(delay);
                let (reason, message) = ("FailedMount".to_owned(), why.join("; "));
                self.seen.volume_trouble = Some(Trouble { reason, message, later: None, retry });
            }
        }
    }

    /// Writes files anew that come from the API, if there is a reason to.
    pub(super) fn tend_volumes(&mut self, pod: &Arc<Pod>, now: Wall) {
        let metadata = (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
        let known = self.refresh.metadata.replace(metadata.clone());
        let retold = known.is_some_and(|known| known != metadata);
        let due = self.context.due().is_some_and(|due| due <= now);
        let again = self.refresh.retry.is_some_and(|at| at <= now);
        self.refresh.wanted |= retold || due || again;
        let waits = self.refresh.retry.is_some_and(|at| at > now);
        let ready = self.seen.volumes == Volumes::Ready && self.seen.ending.is_none();
        if !self.refresh.wanted || self.refresh.running || !ready || waits {
            return;
        }
        (self.refresh.wanted, self.refresh.running, self.refresh.retry) = (false, true, None);
        let held = self.hold(pod).again();
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(pod));
        let addresses = self.addresses();
        self.tasks.spawn(async move {
            let result = set_up_all(&context, &pod, &held, addresses).await;
            context.note(Note::Refreshed(result.map_err(|why| why.join("; ")))).await;
        });
    }

    pub(super) fn refreshed(&mut self, result: Result<(), String>) {
        self.refresh.running = false;
        match result {
            Ok(()) => self.refresh.backoff.reset(),
            // What is mounted stays as it is, as with kubelet.
            Err(error) => {
                tracing::info!(pod = %self.context.uid, error, "cannot refresh volumes");
                self.refresh.retry = Some(clock::now().after(self.refresh.backoff.fail()));
            }
        }
    }

    pub(super) fn unmount(&mut self) {
        self.seen.volumes = Volumes::Unmounting;
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let dirs = context.dirs.clone();
            let done = tokio::task::spawn_blocking(move || take_down(&dirs)).await;
            let result = match done {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if result.is_err() {
                tokio::time::sleep(super::sandbox::AGAIN).await;
            }
            context.note(Note::Unmounted(result)).await;
        });
    }

    pub(super) fn unmounted(&mut self, result: Result<(), String>) {
        self.seen.volumes = match result {
            Ok(()) => Volumes::Absent,
            Err(error) => {
                tracing::warn!(pod = %self.context.uid, error, "cannot unmount volumes");
                Volumes::Ready
            }
        };
        self.held = None;
    }

    /// The addresses that the pod may be told.
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            host: self.context.shared.host_ips(),
            pod: self.seen.ips.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a pod's files are made from, besides the pod.
struct Given {
    addresses: Addresses,
    sources: Sources,
    tokens: HashMap<TokenWish, String>,
    certificates: Fetched,
}

/// All volumes of a pod.
fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// Sets all volumes of a pod up; returns what is wrong with which.
async fn set_up_all(
    context: &Arc<Context>,
    pod: &Arc<Pod>,
    held: &Held,
    addresses: Addresses,
) -> Result<(), Vec<String>> {
    let sources = held.sources().await;
    let wishes: Vec<TokenWish> = volumes(pod).flat_map(token_wishes).collect();
    let now = clock::now();
    let tokens = context.tokens.fetch(pod, &wishes, now).await;
    // Without a token the volumes that hold none can be set up all the same.
    let (tokens, refused) = match tokens {
        Ok(tokens) => (tokens, None),
        Err(error) => (HashMap::new(), Some(error.to_string())),
    };
    let wishes: Vec<_> = volumes(pod).flat_map(certificate_wishes).collect();
    let certificates = context.certificates.fetch(pod, &wishes, now).await;
    for (reason, message) in &certificates.told {
        context.voice.warn(reason, message.clone());
    }
    let given = Given { addresses, sources, tokens, certificates };
    let (context, pod) = (Arc::clone(context), Arc::clone(pod));
    let work = move || set_up_now(&context, &pod, &given, now);
    let mut wrong = match tokio::task::spawn_blocking(work).await {
        Ok(wrong) => wrong,
        Err(error) => vec![error.to_string()],
    };
    if let Some(refused) = refused.filter(|_| !wrong.is_empty()) {
        wrong.push(format!("failed to fetch token: {refused}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn set_up_now(context: &Context, pod: &Pod, given: &Given, now: Wall) -> Vec<String> {
    let with = payload::Context {
        pod,
        addresses: &given.addresses,
        allocatable: &context.shared.allocatable(),
        sources: &given.sources,
        tokens: &given.tokens,
        certificates: &given.certificates.credentials,
    };
    let failure = |volume: &Volume| {
        let error = set_up(&context.dirs, volume, &with, now).err()?;
        Some(format!("MountVolume.SetUp failed for volume {:?} : {error}", volume.name))
    };
    volumes(pod).filter_map(failure).collect()
}
