//! The file systems of containers: an image's layers below, a directory of one's own above.
//!
//! Contract: everything is on the disk, so that a restarted process finds what is there. A
//! container's layers stay as long as its directory, even if the image is removed. Nothing is
//! mounted unless somebody asks: the runtime mounts the overlay in the container's own namespace.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{Error, Result, io_error};
use super::gc::entries;
use super::layer::{LayerInfo, Usage};
use super::layout::{Layout, Locked};
use crate::sys::fs::overlay::{self, Overlay};
use crate::sys::fs::{self as files, Dir};

/// What a container's root file system is made of; all paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Id of the image.
    pub image: Digest,
    /// Read-only layers, the topmost first; at least one.
    pub lower: Vec<PathBuf>,
    /// Takes all changes.
    pub upper: PathBuf,
    /// For the kernel.
    pub work: PathBuf,
    /// Where [`super::Store::mount`] mounts the whole.
    pub rootfs: PathBuf,
}

/// `container.json`.
#[derive(Debug, Serialize, Deserialize)]
struct ContainerFile {
    image: Digest,
    /// Chain ids, the lowest first.
    layers: Vec<Digest>,
}

const ID_BYTES_MAX: usize = 64;

/// Refuses ids that could be taken for something else in a path or in mount options.
fn checked(id: &str) -> Result<&str> {
    let is_good = !id.is_empty()
        && id.len() <= ID_BYTES_MAX
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_good { Ok(id) } else { Err(Error::malformed(format!("container id {id:?}"), "bad name")) }
}

/// Makes the directories of a container, or finds them as an earlier call left them.
pub(super) fn prepare(
    layout: &Layout,
    _locked: &Locked,
    id: &str,
    image: &Digest,
    layers: &[Digest],
) -> Result<Prepared> {
    let dir = layout.containers().join(checked(id)?);
    if let Some(prepared) = find(layout, id)? {
        if prepared.image == *image {
            return Ok(prepared);
        }
        let reason = format!("it was made from {}, not {image}", prepared.image);
        return Err(Error::malformed(format!("file system of container {id}"), reason));
    }
    // Names of containers do not start with a dot.
    let new = layout.containers().join(format!(".{id}"));
    remove_tree(&new)?;
    remove_tree(&dir)?;
    for name in ["upper", "work", "rootfs"] {
        let path = new.join(name);
        std::fs::create_dir_all(&path).map_err(io_error("create", &path))?;
    }
    let file = ContainerFile { image: image.clone(), layers: layers.to_vec() };
    let prepared = describe(layout, id, &file)?;
    copy_root(&prepared.lower[0], &new.join("upper"))?;
    let text = serde_json::to_vec(&file).map_err(|e| Error::malformed("container.json", e))?;
    let path = new.join("container.json");
    std::fs::write(&path, text).map_err(io_error("write", &path))?;
    std::fs::rename(&new, &dir).map_err(io_error("publish", &dir))?;
    Ok(prepared)
}

/// The root of an overlay looks as its upper directory does.
fn copy_root(from: &Path, to: &Path) -> Result<()> {
    let copy = || {
        let (from, to) = (Dir::open(from)?, Dir::open(to)?);
        let own = OsStr::new(".");
        if let Some(meta) = from.meta(own)? {
            to.chown(own, meta.uid, meta.gid)?;
            to.chmod(own, meta.mode)?;
        }
        Ok(())
    };
    copy().map_err(io_error("copy attributes to", to))
}

/// What was prepared for a container, if anything.
pub(super) fn find(layout: &Layout, id: &str) -> Result<Option<Prepared>> {
    let path = layout.containers().join(checked(id)?).join("container.json");
    match load(&path)? {
        Some(file) => describe(layout, id, &file).map(Some),
        None => Ok(None),
    }
}

/// A file that is not there, or was not written whole before a crash, is none.
fn load(path: &Path) -> Result<Option<ContainerFile>> {
    match std::fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error("read", path)(e)),
    }
}

fn describe(layout: &Layout, id: &str, file: &ContainerFile) -> Result<Prepared> {
    let mut lower = Vec::with_capacity(file.layers.len());
    for chain in file.layers.iter().rev() {
        let info = LayerInfo::load(layout, chain).ok_or_else(|| Error::NotFound {
            what: format!("layer {chain} of container {id}"),
            detail: String::new(),
        })?;
        lower.push(layout.layer(chain).join("fs"));
        if info.opaque_root {
            break;
        }
    }
    if lower.is_empty() {
        lower.push(layout.empty());
    }
    let dir = layout.containers().join(id);
    let [upper, work, rootfs] = ["upper", "work", "rootfs"].map(|name| dir.join(name));
    Ok(Prepared { image: file.image.clone(), lower, upper, work, rootfs })
}

/// The containers that have a file system, with the images they came from.
pub(super) fn list(layout: &Layout) -> Result<Vec<(String, Digest)>> {
    let mut found = Vec::new();
    for (id, path) in entries(&layout.containers())? {
        if let Some(file) = load(&path.join("container.json"))? {
            found.push((id, file.image));
        }
    }
    found.sort();
    Ok(found)
}

/// The layers that containers stand on.
pub(super) fn pinned_layers(layout: &Layout) -> Result<HashSet<Digest>> {
    let mut pinned = HashSet::new();
    for (_, path) in entries(&layout.containers())? {
        pinned.extend(load(&path.join("container.json"))?.into_iter().flat_map(|file| file.layers));
    }
    Ok(pinned)
}

/// Mounts the whole on [`Prepared::rootfs`]; again is fine.
pub(super) fn mount(prepared: &Prepared) -> Result<()> {
    let Prepared { lower, upper, work, rootfs, .. } = prepared;
    Overlay { lower, upper, work }.mount(rootfs).map_err(io_error("mount an overlay on", rootfs))
}

/// Undoes [`mount`]; again is fine.
pub(super) fn unmount(layout: &Layout, id: &str) -> Result<()> {
    let rootfs = layout.containers().join(checked(id)?).join("rootfs");
    overlay::unmount(&rootfs).map_err(io_error("unmount", &rootfs))
}

/// Removes a container's file system; one that is not there is fine.
pub(super) fn remove(layout: &Layout, id: &str) -> Result<()> {
    unmount(layout, id)?;
    remove_tree(&layout.containers().join(checked(id)?))
}

fn remove_tree(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// What a container has written beyond its image.
pub(super) fn usage(layout: &Layout, id: &str) -> Result<Usage> {
    let upper = layout.containers().join(checked(id)?).join("upper");
    let (bytes, inodes) = files::disk_usage(&upper).map_err(io_error("measure", &upper))?;
    Ok(Usage { bytes, inodes })
}
