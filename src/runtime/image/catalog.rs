//! The index of images: which there are, how they are called, what they consist of.
//!
//! Contract: `index.json` is replaced as a whole under the store's lock, and read without it.
//! A record counts only while its configuration and all of its layers are there.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::{ConfigFile, ImageConfig, chain_ids};
use super::digest::Digest;
use super::error::{Error, Result, io_error};
use super::layer::LayerInfo;
use super::layout::{Layout, Locked};
use super::reference::Reference;
use crate::sys::fs as files;
use crate::util::clock::Wall;

/// An image that can be run: everything of it is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its configuration: docker's image id.
    pub id: Digest,
    /// Digest of its manifest for this platform.
    pub manifest: Digest,
    /// Digest of what its tag points to in the registry: an index, or the manifest itself.
    pub target: Digest,
    /// Names with a tag: `docker.io/library/nginx:1.14.2`.
    pub tags: Vec<String>,
    /// Names with a digest: `docker.io/library/nginx@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Chain ids of its layers, the lowest first.
    pub layers: Vec<Digest>,
    /// Bytes as transferred: manifest, configuration and packed layers.
    pub size_bytes: u64,
    /// Bytes on the disk, layers that it shares with others included.
    pub disk_bytes: u64,
    /// When it came.
    pub added_at: Wall,
    /// Came from the import directory: may be impossible to get again, so that pruning spares it.
    pub pinned: bool,
    /// How it wants to be run.
    pub config: ImageConfig,
}

impl Image {
    /// Its name for people: a tag if it has one.
    pub fn name(&self) -> String {
        let known = self.tags.first().or(self.repo_digests.first());
        known.cloned().unwrap_or_else(|| self.id.to_string())
    }

    /// The name that will mean this very image for ever: a repository with a digest if there is
    /// one, else the id. What a pod's status calls imageID.
    pub fn lasting_name(&self) -> String {
        self.repo_digests.first().cloned().unwrap_or_else(|| self.id.to_string())
    }
}

/// One image as it stands in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub manifest: Digest,
    pub target: Digest,
    pub size_bytes: u64,
    pub added_at_s: i64,
    #[serde(default)]
    pub pinned: bool,
}

/// The content of `index.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    /// By image id.
    pub images: BTreeMap<Digest, Record>,
    /// Complete references, with a tag or with a digest, to image ids.
    pub names: BTreeMap<String, Digest>,
}

impl Index {
    /// Reads the index; a damaged one is put aside, since every image can be had again.
    pub(super) fn load(layout: &Layout) -> Result<Index> {
        let path = layout.index();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(e) => return Err(io_error("read", &path)(e)),
        };
        serde_json::from_slice(&text).or_else(|e| {
            let aside = path.with_extension("json.damaged");
            tracing::error!(
                path = %path.display(), aside = %aside.display(), error = %e,
                "the index of images is damaged; put aside, images must be pulled again"
            );
            std::fs::write(&aside, &text).map_err(io_error("write", &aside))?;
            Ok(Index::default())
        })
    }

    /// Replaces the index on the disk.
    pub(super) fn save(&self, layout: &Layout, _locked: &Locked) -> Result<()> {
        let path = layout.index();
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::malformed("index", e))?;
        files::write_atomic(&path, &text).map_err(io_error("write", &path))
    }

    /// Takes an image out, with all of its names.
    pub(super) fn forget(&mut self, id: &Digest) -> bool {
        self.names.retain(|_, named| named != id);
        self.images.remove(id).is_some()
    }
}

/// One reading of the index with everything that belongs to it.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    stamp: Option<Stamp>,
    images: BTreeMap<Digest, Arc<Image>>,
    names: BTreeMap<String, Digest>,
}

/// What changes whenever the index is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(layout: &Layout) -> Option<Stamp> {
        let meta = std::fs::metadata(layout.index()).ok()?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        Some(Stamp { inode: meta.ino(), bytes: meta.len(), changed })
    }
}

impl Catalog {
    /// Is this still what the disk says?
    pub(super) fn is_current(&self, layout: &Layout) -> bool {
        self.stamp.is_some() && self.stamp == Stamp::of(layout)
    }

    /// The same images, to be read again at the next occasion.
    ///
    /// For one's own changes: two in a row may look alike by their files' attributes.
    pub(super) fn outdated(&self) -> Catalog {
        Catalog { stamp: None, images: self.images.clone(), names: self.names.clone() }
    }

    /// Reads the index; images that `known` has read before are not read again.
    pub(super) fn load(layout: &Layout, known: &Catalog) -> Result<Catalog> {
        // Before the content: a replacement in between then shows as a difference next time.
        let stamp = Stamp::of(layout);
        let index = Index::load(layout)?;
        let mut catalog = Catalog { stamp, names: index.names, ..Catalog::default() };
        for (id, record) in index.images {
            match load_image(layout, &id, &record, &catalog.names, known) {
                Ok(image) => drop(catalog.images.insert(id, Arc::new(image))),
                Err(e) => {
                    tracing::warn!(image = %id, error = %e, "image is incomplete, ignoring it");
                }
            }
        }
        Ok(catalog)
    }

    /// All images, by id.
    pub(super) fn images(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values()
    }

    /// The image with an id.
    pub(super) fn by_id(&self, id: &Digest) -> Option<&Arc<Image>> {
        self.images.get(id)
    }

    /// The image that a reference means: its digest wins over its tag.
    pub(super) fn by_reference(&self, reference: &Reference) -> Option<&Arc<Image>> {
        let Some(digest) = reference.digest() else {
            return self.by_id(self.names.get(&reference.to_string())?);
        };
        if let Some(id) = self.names.get(&reference.at(digest).to_string()) {
            return self.by_id(id);
        }
        // By the platform's own manifest, where the index's digest is the registered one.
        let repository = format!("{}@", reference.name());
        self.images().find(|image| {
            image.manifest == *digest
                && image.repo_digests.iter().any(|name| name.starts_with(&repository))
        })
    }
}

fn load_image(
    layout: &Layout,
    id: &Digest,
    record: &Record,
    names: &BTreeMap<String, Digest>,
    known: &Catalog,
) -> Result<Image> {
    let (config, layers) = match known.images.get(id) {
        Some(image) => (image.config.clone(), image.layers.clone()),
        None => load_config(layout, id)?,
    };
    let mut disk_bytes = 0;
    for chain in &layers {
        let info = LayerInfo::load(layout, chain).ok_or_else(|| Error::NotFound {
            what: format!("layer {chain}"),
            detail: "the image must be pulled again".to_string(),
        })?;
        disk_bytes += info.bytes;
    }
    let own = names.iter().filter(|(_, named)| *named == id).map(|(name, _)| name.clone());
    let (repo_digests, tags) = own.partition(|name| name.contains('@'));
    Ok(Image {
        id: id.clone(),
        manifest: record.manifest.clone(),
        target: record.target.clone(),
        tags,
        repo_digests,
        layers,
        size_bytes: record.size_bytes,
        disk_bytes,
        added_at: Wall::from_seconds(record.added_at_s),
        pinned: record.pinned,
        config,
    })
}

/// The configuration of an image and its chain ids.
pub(super) fn load_config(layout: &Layout, id: &Digest) -> Result<(ImageConfig, Vec<Digest>)> {
    let path = layout.blob(id);
    let text = std::fs::read(&path).map_err(io_error("read", &path))?;
    let actual = Digest::of(&text);
    if actual != *id && id.algorithm() == actual.algorithm() {
        let what = path.display().to_string();
        return Err(Error::DigestMismatch { what, expected: id.clone(), actual });
    }
    let file = ConfigFile::parse(id.as_str(), &text)?;
    Ok((file.config, chain_ids(&file.diff_ids)))
}
