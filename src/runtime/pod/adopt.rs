//! Finding the pods that an earlier process has left.

use super::{Pod, Shared, blocking, cleanup, link};
use crate::limits::SHIM_HELLO_MAX;
use crate::runtime::container::{ContainerStatus, ExitCause};
use crate::runtime::layout::{PodRecord, entries, is_id, load, remove_all};
use crate::sys::channel::Channel;
use crate::sys::watch::DirectoryWatch;
use crate::sys::{fd, reactor};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Every pod of which there are files, connected or buried.
pub(super) async fn all(shared: &Arc<Shared>) -> io::Result<Vec<Arc<Pod>>> {
    let found = {
        let shared = shared.clone();
        blocking(move || {
            let layout = &shared.layout;
            let mut ids: BTreeSet<String> = BTreeSet::new();
            for root in [layout.run.join("pods"), layout.state.join("pods")] {
                ids.extend(entries(&root)?.into_iter().filter(|id| is_id(id)));
            }
            ids.iter()
                .filter_map(|id| read(&shared, id).transpose())
                .collect::<io::Result<Vec<_>>>()
        })
        .await?
    };
    futures_util::future::try_join_all(found.into_iter().map(one)).await
}

fn read(shared: &Arc<Shared>, id: &str) -> io::Result<Option<Arc<Pod>>> {
    let layout = &shared.layout;
    for directory in [layout.pod(id), layout.pod_state(id)] {
        match load::<PodRecord>(&directory.join("pod.json")) {
            Ok(Some(mut record)) if record.sandbox.id == id => {
                // Where things are now counts, should the directories have been moved.
                record.layout = layout.clone();
                return Ok(Some(Pod::new(record, shared.clone())));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(pod = id, %error, "record of a pod is unreadable"),
        }
    }
    // A start that got no further than its directory.
    remove_all(&layout.pod(id))?;
    remove_all(&layout.pod_state(id))?;
    Ok(None)
}

async fn one(pod: Arc<Pod>) -> io::Result<Arc<Pod>> {
    let connected = match connect(&pod).await {
        Ok(channel) => {
            let hello = tokio::time::timeout(SHIM_HELLO_MAX, link::open(&pod, channel)).await;
            hello.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
        Err(error) => Err(error),
    };
    let Err(error) = connected else { return Ok(pod) };
    let restarted = pod.record.boot_id != pod.shared.boot_id;
    let cause = if restarted { ExitCause::Restarted } else { ExitCause::ShimDied };
    tracing::warn!(pod = pod.id(), %error, ?cause, "shim is dead");
    cleanup::end(&pod).await;
    let layout = &pod.record.layout;
    let directory = layout.pod_state(pod.id()).join("c");
    for container in entries(&directory)? {
        if let Ok(Some(status)) = load::<ContainerStatus>(&layout.status(pod.id(), &container)) {
            pod.state.lock().containers.insert(container, status);
        }
    }
    cleanup::bury(&pod, cause).await?;
    Ok(pod)
}

/// A connection to the shim, also to one that was started just before its rk died and is not ready
/// yet: it holds a lock from its first moment, and its socket will appear or the lock be released.
async fn connect(pod: &Pod) -> io::Result<Channel> {
    let path = pod.record.layout.socket(pod.id());
    let directory = path.parent().map_or_else(PathBuf::new, std::path::Path::to_owned);
    let watch = reactor::register(DirectoryWatch::new(&directory)?)?;
    let patience = tokio::time::sleep(SHIM_HELLO_MAX);
    tokio::pin!(patience);
    loop {
        match Channel::connect(&path) {
            Err(error) if !is_held(pod)? => return Err(error),
            Ok(channel) => return Ok(channel),
            Err(_) => {}
        }
        tokio::select! {
            ready = watch.readable() => {
                ready?.clear_ready();
                // What changed does not matter: the socket is tried again.
                let _ = watch.get_ref().changes();
            }
            () = &mut patience => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Whether a shim of the pod lives, ready or not.
pub(super) fn is_held(pod: &Pod) -> io::Result<bool> {
    match fs::File::open(pod.record.layout.shim_log(pod.id())) {
        Ok(log) => Ok(!fd::lock(&log, false)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
