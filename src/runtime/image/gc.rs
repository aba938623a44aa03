//! What may go: one sweep that keeps what is referred to and removes everything else.
//!
//! Contract: runs under the store's lock. Content is live if the index, a container, a lease or
//! a pull that is to be resumed speaks of it; no other state decides, so that a sweep may run at
//! any time and any number of times.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::catalog::{self, Index};
use super::container;
use super::digest::Digest;
use super::error::{Result, io_error};
use super::layer::LayerInfo;
use super::layout::{Layout, Locked};
use super::lease::{self, Lease};
use crate::limits;
use crate::util::clock::{self, Wall};

/// Removes all content that nothing refers to.
///
/// The operation `own` is about to end and protects nothing any more; layers are moved into its
/// directory, so that they are removed when it ends and not while the lock is held.
pub(super) fn sweep(layout: &Layout, locked: &Locked, own: &Lease) -> Result<()> {
    let mut live = lease::sweep(layout, locked, own.dir())?;
    live.extend(sweep_partial(layout)?);
    live.extend(container::pinned_layers(layout)?);
    for (id, record) in Index::load(layout)?.images {
        // An image whose configuration is gone cannot be run; nothing of it is worth keeping.
        if let Ok((_, layers)) = catalog::load_config(layout, &id) {
            live.extend(layers);
            live.extend([id, record.manifest, record.target]);
        }
    }
    sweep_blobs(layout, &live)?;
    sweep_layers(layout, &live, own.dir())
}

fn sweep_blobs(layout: &Layout, live: &HashSet<Digest>) -> Result<()> {
    for algorithm in ["sha256", "sha512"] {
        for (name, path) in entries(&layout.blobs().join(algorithm))? {
            let digest = format!("{algorithm}:{name}").parse::<Digest>();
            if !digest.is_ok_and(|digest| live.contains(&digest)) {
                std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
        }
    }
    Ok(())
}

fn sweep_layers(layout: &Layout, live: &HashSet<Digest>, trash: &Path) -> Result<()> {
    for (name, path) in entries(&layout.layers())? {
        if LayerInfo::load_dir(&path).is_some_and(|info| live.contains(&info.chain)) {
            continue;
        }
        std::fs::rename(&path, trash.join(format!("layer-{name}")))
            .map_err(io_error("remove", &path))?;
    }
    Ok(())
}

/// Removes what broken-off pulls left for their next attempt once it is too old, and collects what
/// the rest protects.
fn sweep_partial(layout: &Layout) -> Result<HashSet<Digest>> {
    let mut pinned = HashSet::new();
    for (name, path) in entries(&layout.partial())? {
        let touched = std::fs::metadata(&path)
            .map(|meta| Wall::from_seconds(std::os::unix::fs::MetadataExt::mtime(&meta)));
        let age = touched.map_or(Duration::MAX, |touched| clock::now().since(touched));
        if age > limits::IMAGE_PARTIAL_AGE_MAX {
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        } else if name.ends_with(".pins") {
            pinned.extend(lease::read_pins(&path));
        }
    }
    Ok(pinned)
}

/// Gives up what broken-off pulls left.
pub(super) fn forget_partial(layout: &Layout, _locked: &Locked) -> Result<()> {
    for (_, path) in entries(&layout.partial())? {
        std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
    }
    Ok(())
}

/// Names and paths of what is in a directory; names that are not UTF-8 are none of ours.
pub(super) fn entries(dir: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(found)
}
