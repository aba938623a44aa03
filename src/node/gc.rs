//! What is left of pods that are no more, and images that nobody needs.
//!
//! Contract: everything here may be done at any time and again. What belongs to a pod that the
//! cluster knows is never touched: that is its worker's.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::dirs;
use super::images::owner;
use super::shared::Shared;
use super::volume::mount;
use crate::limits::{IMAGE_AGE_MIN, IMAGE_DISK_HIGH_PERCENT, IMAGE_DISK_LOW_PERCENT};
use crate::runtime::image::PruneRequest;

/// The pods that have something here and are not known.
pub fn strays(shared: &Shared, known: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let running = shared.runtime.pods().into_iter().map(|pod| pod.sandbox().id.clone());
    let linked = shared.network.pods();
    let kept = names(&dirs::roots(&shared.config));
    let in_memory = names(&dirs::runs(&shared.config));
    let all = running.chain(linked).chain(kept).chain(in_memory);
    all.filter(|uid| !known(uid)).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Takes down all of a pod that has no worker.
///
/// # Errors
/// Why something is left.
pub async fn take_down(shared: &Shared, uid: &str) -> Result<(), String> {
    let containers = shared.runtime.pod(uid).map(|pod| pod.containers()).unwrap_or_default();
    shared.runtime.remove_pod(uid).await.map_err(|error| error.to_string())?;
    shared.network.detach(uid).await.map_err(|error| error.to_string())?;
    for container in containers {
        let released = shared.images.release(&container.id).await;
        released.map_err(|error| error.to_string())?;
    }
    let root = dirs::roots(&shared.config).join(uid);
    let run = dirs::runs(&shared.config).join(uid);
    let logs = log_directories(&shared.config.log_dir, uid);
    let work = move || -> Result<(), String> {
        crate::sys::mount::detach_below(&run).map_err(|error| error.to_string())?;
        for directory in [run, root].into_iter().chain(logs) {
            mount::remove(&directory).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// The log folders of a pod: named `namespace_name_uid`.
fn log_directories(log_dir: &Path, uid: &str) -> Vec<std::path::PathBuf> {
    let suffix = format!("_{uid}");
    let own = names(log_dir).into_iter().filter(|name| name.ends_with(&suffix));
    own.map(|name| log_dir.join(name)).collect()
}

/// Removes root file systems whose container is not there any more. Must not run while one may be
/// prepared for a container to be.
pub async fn sweep(shared: &Shared) {
    let alive: BTreeSet<String> = shared
        .runtime
        .pods()
        .iter()
        .flat_map(|pod| pod.containers())
        .map(|container| container.id)
        .collect();
    let prepared = match shared.images.store.containers().await {
        Ok(prepared) => prepared,
        Err(error) => {
            tracing::warn!(%error, "cannot list root file systems");
            return;
        }
    };
    for (id, _) in prepared.into_iter().filter(|(id, _)| !alive.contains(owner(id))) {
        if let Err(error) = shared.images.store.release(&id).await {
            tracing::warn!(container = id, %error, "cannot remove a root file system");
        }
    }
}

/// Removes images while the disk is fuller than it should be: kubelet's thresholds. Looked at when
/// images come, which is what fills the disk.
pub async fn collect_images(shared: Arc<Shared>) {
    let mut changes = shared.images.changes();
    while changes.changed().await.is_ok() {
        if let Err(error) = collect(&shared).await {
            tracing::warn!(%error, "cannot remove unused images");
        }
    }
}

async fn collect(shared: &Shared) -> crate::runtime::image::Result<()> {
    let room = shared.images.store.room()?;
    let used = room.capacity_bytes.saturating_sub(room.available_bytes);
    if used < room.capacity_bytes / 100 * IMAGE_DISK_HIGH_PERCENT {
        return Ok(());
    }
    let free = room.capacity_bytes / 100 * (100 - IMAGE_DISK_LOW_PERCENT);
    let request = PruneRequest {
        unused_for: Duration::from_secs(IMAGE_AGE_MIN),
        free_bytes: Some(free),
        ..PruneRequest::default()
    };
    let pruned = shared.images.store.prune(request).await?;
    if !pruned.images.is_empty() {
        tracing::info!(images = pruned.images.len(), bytes = pruned.freed_bytes, "removed images");
        shared.images.changed();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_found_by_their_pods_uid() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["n_p_u-1", "n_p_u-2", "n_other_xu-1"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(log_directories(dir.path(), "u-1"), [dir.path().join("n_p_u-1")]);
        assert!(log_directories(&dir.path().join("none"), "u-1").is_empty());
    }
}
