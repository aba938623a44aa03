//! The store: one directory with images, layers and containers' file systems.
//!
//! Contract: any number of processes may open the same directory; what one does the others see at
//! their next call. Async methods leave disk work to the blocking threads.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::archive;
use super::catalog::{Catalog, Image, Index, Record};
use super::container::{self, Prepared};
use super::digest::Digest;
use super::error::{Error, Result, blocking, io_error};
use super::gc;
use super::import_dir::{self, Imported};
use super::layer::{self, LayerInfo, Source, Usage};
use super::layout::{Layout, Locked};
use super::lease::Lease;
use super::platform::Platform;
use super::reference::Reference;
use crate::sys::fs::{self as files, FsRoom};
use crate::util::clock::{self, Wall};

/// Images, their layers, and the file systems of containers made from them.
#[derive(Debug)]
pub struct Store {
    pub(super) layout: Layout,
    pub(super) host: Platform,
    catalog: RwLock<Arc<Catalog>>,
    unpacking: Keyed<Mutex<()>>,
    pub(super) downloading: Keyed<tokio::sync::Mutex<()>>,
    used: Mutex<HashMap<Digest, Wall>>,
}

/// Locks by name, each there only while somebody has it.
#[derive(Debug)]
pub(super) struct Keyed<L>(Mutex<HashMap<Digest, Weak<L>>>);

impl<L: Default> Keyed<L> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(super) fn get(&self, key: &Digest) -> Arc<L> {
        let mut locks = self.0.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(L::default());
        locks.insert(key.clone(), Arc::downgrade(&lock));
        lock
    }
}

/// An image whose layers are all there, about to enter the index.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Complete references, with a tag or a digest.
    pub names: Vec<String>,
    pub id: Digest,
    pub manifest: Digest,
    pub target: Digest,
    pub size_bytes: u64,
    /// Pruning spares it.
    pub pinned: bool,
}

/// Which images may go.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Ids of images that stay whatever else is said. Those of containers here, and those from
    /// the import directory, stay anyway.
    pub keep: HashSet<Digest>,
    /// Images that were used, or came, less than this ago stay.
    pub unused_for: Duration,
    /// Stop when so many bytes are free; none removes all that may go.
    pub free_bytes: Option<u64>,
}

/// What a pruning has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of the removed images, the longest unused first.
    pub images: Vec<Digest>,
    /// Bytes that their layers took on the disk.
    pub freed_bytes: u64,
}

impl Store {
    /// Opens the store in `dir`, making it if need be, and clears what a crash left behind.
    pub fn open(dir: &Path) -> Result<Arc<Store>> {
        Store::open_for(dir, Platform::host())
    }

    /// [`Store::open`] for images of another platform than this machine's.
    pub fn open_for(dir: &Path, host: Platform) -> Result<Arc<Store>> {
        let layout = Layout::create(dir)?;
        let catalog = RwLock::new(Arc::new(Catalog::load(&layout, &Catalog::default())?));
        let (unpacking, downloading) = (Keyed::new(), Keyed::new());
        let used = Mutex::new(HashMap::new());
        let lease = Lease::begin(&layout)?;
        gc::sweep(&layout, &layout.lock()?, &lease)?;
        Ok(Arc::new(Store { layout, host, catalog, unpacking, downloading, used }))
    }

    /// The image that a reference or an id (`sha256:…`) means, if all of it is here.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for what is neither.
    pub async fn resolve(self: &Arc<Self>, reference: &str) -> Result<Option<Arc<Image>>> {
        let (store, reference) = (Arc::clone(self), reference.to_string());
        blocking(move || store.find(&reference)).await
    }

    /// All images, by id.
    pub async fn list(self: &Arc<Self>) -> Result<Vec<Arc<Image>>> {
        let store = Arc::clone(self);
        blocking(move || Ok(store.catalog()?.images().cloned().collect())).await
    }

    /// Takes in all images for this machine of an archive: `docker save`'s or an OCI layout, as
    /// tar, tar.gz or tar.zst. What is here already is not unpacked again.
    pub async fn import(self: &Arc<Self>, path: PathBuf) -> Result<Vec<Arc<Image>>> {
        let store = Arc::clone(self);
        blocking(move || archive::import(&store, &path, false)).await
    }

    /// Takes in all archives of a directory that are new or changed since the last time, and pins
    /// their images. Returns what was done about each of them; the rest is not touched.
    ///
    /// Archives are files named `*.tar`, `*.tar.gz`, `*.tgz`, `*.tar.zst`; all else is passed over.
    pub async fn import_dir(self: &Arc<Self>, dir: PathBuf) -> Result<Vec<Imported>> {
        let store = Arc::clone(self);
        blocking(move || import_dir::import_dir(&store, &dir)).await
    }

    /// Removes a name, and the image with its last name; an id removes the image with all names.
    /// False if there is no such image.
    ///
    /// # Errors
    /// [`Error::InUse`] while a container was made from it.
    pub async fn remove(self: &Arc<Self>, reference: &str) -> Result<bool> {
        let (store, reference) = (Arc::clone(self), reference.to_string());
        blocking(move || store.remove_now(&reference)).await
    }

    /// Removes unused images, those that were not used for longest first.
    pub async fn prune(self: &Arc<Self>, request: PruneRequest) -> Result<Pruned> {
        let store = Arc::clone(self);
        blocking(move || store.prune_now(&request)).await
    }

    /// What all layers take on the disk, shared ones once.
    pub async fn usage(self: &Arc<Self>) -> Result<Usage> {
        let store = Arc::clone(self);
        blocking(move || {
            let mut usage = Usage::default();
            for (_, dir) in gc::entries(&store.layout.layers())? {
                let info = LayerInfo::load_dir(&dir);
                usage.bytes += info.as_ref().map_or(0, |info| info.bytes);
                usage.inodes += info.as_ref().map_or(0, |info| info.inodes);
            }
            Ok(usage)
        })
        .await
    }

    /// The room on the file system that holds the store.
    pub fn room(&self) -> Result<FsRoom> {
        files::room(self.layout.dir()).map_err(io_error("measure", self.layout.dir()))
    }

    /// Makes the file system of a container from an image, or finds it as it was made before.
    ///
    /// `id` is unique on this machine: letters, digits, `-`, `_` and `.`, at most 64 bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the image, or a part of it, is not here (any more): pull it again.
    pub async fn prepare(self: &Arc<Self>, id: &str, image: &Digest) -> Result<Prepared> {
        let (store, id, image) = (Arc::clone(self), id.to_string(), image.clone());
        blocking(move || store.prepare_now(&id, &image)).await
    }

    /// What was prepared for a container, by this process or an earlier one.
    pub async fn prepared(self: &Arc<Self>, id: &str) -> Result<Option<Prepared>> {
        let (store, id) = (Arc::clone(self), id.to_string());
        blocking(move || container::find(&store.layout, &id)).await
    }

    /// All containers that have a file system here, with the ids of their images.
    pub async fn containers(self: &Arc<Self>) -> Result<Vec<(String, Digest)>> {
        let store = Arc::clone(self);
        blocking(move || container::list(&store.layout)).await
    }

    /// Removes a container's file system, unmounting it first; none is fine.
    pub async fn release(self: &Arc<Self>, id: &str) -> Result<()> {
        let (store, id) = (Arc::clone(self), id.to_string());
        blocking(move || container::remove(&store.layout, &id)).await
    }

    /// What a container has written beyond its image.
    pub async fn container_usage(self: &Arc<Self>, id: &str) -> Result<Usage> {
        let (store, id) = (Arc::clone(self), id.to_string());
        blocking(move || container::usage(&store.layout, &id)).await
    }

    /// Mounts a container's file system on its `rootfs`, visible to the whole machine.
    ///
    /// Not needed for containers of the shim, which mounts it in their own namespace.
    pub async fn mount(self: &Arc<Self>, id: &str) -> Result<PathBuf> {
        let (store, id) = (Arc::clone(self), id.to_string());
        blocking(move || {
            let prepared = container::find(&store.layout, &id)?;
            let prepared = prepared.ok_or_else(|| Error::NotFound {
                what: format!("file system of container {id}"),
                detail: String::new(),
            })?;
            container::mount(&prepared)?;
            Ok(prepared.rootfs)
        })
        .await
    }

    /// Undoes [`Store::mount`]; what is not mounted is fine.
    pub async fn unmount(self: &Arc<Self>, id: &str) -> Result<()> {
        let (store, id) = (Arc::clone(self), id.to_string());
        blocking(move || container::unmount(&store.layout, &id)).await
    }
}

/// The same without async, for the blocking threads.
impl Store {
    /// The index as it is on the disk now.
    pub(super) fn catalog(&self) -> Result<Arc<Catalog>> {
        let known = Arc::clone(&self.catalog.read());
        if known.is_current(&self.layout) {
            return Ok(known);
        }
        let fresh = Arc::new(Catalog::load(&self.layout, &known)?);
        *self.catalog.write() = Arc::clone(&fresh);
        Ok(fresh)
    }

    fn save(&self, index: &Index, locked: &Locked) -> Result<()> {
        let saved = index.save(&self.layout, locked);
        let mut catalog = self.catalog.write();
        *catalog = Arc::new(catalog.outdated());
        saved
    }

    fn find(&self, reference: &str) -> Result<Option<Arc<Image>>> {
        let catalog = self.catalog()?;
        if let Some(id) = image_id(reference) {
            return Ok(catalog.by_id(&id).cloned());
        }
        Ok(catalog.by_reference(&Reference::parse(reference)?).cloned())
    }

    /// Unpacks layer `n` of a chain unless it is there; its lower layers are.
    pub(super) fn ensure_layer(
        &self,
        lease: &Lease,
        chains: &[Digest],
        diff_id: &Digest,
        n: usize,
        source: impl FnOnce() -> Result<Source>,
    ) -> Result<()> {
        let chain = &chains[n];
        if self.has_layer(chain) {
            return Ok(());
        }
        let lock = self.unpacking.get(chain);
        let _unpacking = lock.lock();
        if self.has_layer(chain) {
            return Ok(());
        }
        let below: Vec<Digest> = chains[..n].iter().rev().cloned().collect();
        layer::unpack(&self.layout, lease.dir(), chain, &below, diff_id, source()?)
    }

    /// Is this layer unpacked?
    pub(super) fn has_layer(&self, chain: &Digest) -> bool {
        LayerInfo::load(&self.layout, chain).is_some()
    }

    /// Enters images whose content is complete into the index; the operation is about to end.
    pub(super) fn admit(&self, lease: &Lease, arrivals: Vec<Arrival>) -> Result<Vec<Arc<Image>>> {
        let locked = self.layout.lock()?;
        let mut index = Index::load(&self.layout)?;
        let before = index.clone();
        for arrival in &arrivals {
            let record = Record {
                manifest: arrival.manifest.clone(),
                target: arrival.target.clone(),
                size_bytes: arrival.size_bytes,
                added_at_s: clock::now().seconds(),
                pinned: arrival.pinned,
            };
            // An image that comes again may have been packed anew, but is as old as before.
            let record = match index.images.get(&arrival.id) {
                Some(known) => Record {
                    added_at_s: known.added_at_s,
                    pinned: known.pinned || record.pinned,
                    ..record
                },
                None => record,
            };
            index.images.insert(arrival.id.clone(), record);
            for name in &arrival.names {
                index.names.insert(name.clone(), arrival.id.clone());
            }
        }
        if index != before {
            self.save(&index, &locked)?;
        }
        // Layers are unpacked now; their packed form goes.
        gc::sweep(&self.layout, &locked, lease)?;
        // Still under the lock: a pruning may be waiting for it.
        let catalog = self.catalog()?;
        drop(locked);
        let admitted = arrivals.iter().map(|arrival| catalog.by_id(&arrival.id).cloned());
        let admitted: Option<Vec<Arc<Image>>> = admitted.collect();
        admitted.ok_or_else(|| Error::NotFound {
            what: "an image that was just added".to_string(),
            detail: "something else removes files from the store".to_string(),
        })
    }

    /// Removes what an operation that failed has brought.
    pub(super) fn abandon(&self, lease: &Lease) {
        let locked = self.layout.lock();
        if let Err(e) = locked.and_then(|locked| gc::sweep(&self.layout, &locked, lease)) {
            tracing::warn!(error = %e, "cannot clean up after a failed operation on images");
        }
    }

    fn remove_now(&self, reference: &str) -> Result<bool> {
        let Some(image) = self.find(reference)? else { return Ok(false) };
        let lease = Lease::begin(&self.layout)?;
        let locked = self.layout.lock()?;
        let mut index = Index::load(&self.layout)?;
        if image_id(reference).is_none() {
            let reference = Reference::parse(reference)?;
            let name = reference.digest().map_or(reference.clone(), |digest| reference.at(digest));
            index.names.remove(&name.to_string());
        }
        let is_named = index.names.iter().any(|(name, id)| *id == image.id && !name.contains('@'));
        if image_id(reference).is_some() || !is_named {
            let user = container::list(&self.layout)?.into_iter().find(|(_, id)| *id == image.id);
            if let Some((container, _)) = user {
                return Err(Error::InUse { image: reference.to_string(), container });
            }
            index.forget(&image.id);
        }
        self.save(&index, &locked)?;
        gc::sweep(&self.layout, &locked, &lease)?;
        Ok(true)
    }

    fn prune_now(&self, request: &PruneRequest) -> Result<Pruned> {
        let lease = Lease::begin(&self.layout)?;
        let locked = self.layout.lock()?;
        gc::forget_partial(&self.layout, &locked)?;
        let catalog = self.catalog()?;
        let mut index = Index::load(&self.layout)?;
        let mut users: HashMap<Digest, u32> = HashMap::new();
        catalog.images().flat_map(|image| &image.layers).for_each(|chain| {
            *users.entry(chain.clone()).or_default() += 1;
        });
        let mut pruned = Pruned::default();
        for image in self.prunable(&catalog, request)? {
            if request.free_bytes.is_some_and(|wanted| pruned.freed_bytes >= wanted) {
                break;
            }
            for chain in &image.layers {
                let left = users.entry(chain.clone()).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    let info = LayerInfo::load(&self.layout, chain);
                    pruned.freed_bytes += info.map_or(0, |info| info.bytes);
                }
            }
            index.forget(&image.id);
            pruned.images.push(image.id.clone());
        }
        if !pruned.images.is_empty() {
            self.save(&index, &locked)?;
        }
        gc::sweep(&self.layout, &locked, &lease)?;
        self.used.lock().retain(|id, _| index.images.contains_key(id));
        Ok(pruned)
    }

    /// The images that a request lets go, the longest unused first.
    fn prunable(&self, catalog: &Catalog, request: &PruneRequest) -> Result<Vec<Arc<Image>>> {
        let busy: HashSet<Digest> =
            container::list(&self.layout)?.into_iter().map(|(_, image)| image).collect();
        let used = self.used.lock();
        let last_use = |image: &Image| used.get(&image.id).copied().unwrap_or(image.added_at);
        let now = clock::now();
        let mut found: Vec<Arc<Image>> = catalog
            .images()
            .filter(|image| !image.pinned && !request.keep.contains(&image.id))
            .filter(|image| !busy.contains(&image.id))
            .filter(|image| now.since(last_use(image)) >= request.unused_for)
            .cloned()
            .collect();
        found.sort_by_key(|image| last_use(image));
        Ok(found)
    }

    fn prepare_now(&self, id: &str, image: &Digest) -> Result<Prepared> {
        let locked = self.layout.lock()?;
        let catalog = self.catalog()?;
        let layers = match catalog.by_id(image) {
            Some(found) => found.layers.clone(),
            // A container that is there already stands on its own.
            None => match container::find(&self.layout, id)? {
                Some(prepared) if prepared.image == *image => return Ok(prepared),
                _ => {
                    let what = format!("image {image}");
                    return Err(Error::NotFound { what, detail: String::new() });
                }
            },
        };
        self.used.lock().insert(image.clone(), clock::now());
        let prepared = container::prepare(&self.layout, &locked, id, image, &layers);
        if let Err(Error::NotFound { .. }) = prepared {
            // A layer is gone: without the record the next pull brings it back.
            let mut index = Index::load(&self.layout)?;
            index.forget(image);
            self.save(&index, &locked)?;
        }
        prepared
    }
}

/// An image id as people write it: with or without `sha256:`.
fn image_id(text: &str) -> Option<Digest> {
    text.parse().ok().or_else(|| format!("sha256:{text}").parse().ok())
}

#[cfg(test)]
mod tests;
