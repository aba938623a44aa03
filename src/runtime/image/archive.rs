//! Images from files: what `docker save` writes, and OCI layouts, in a tar that may be packed.
//!
//! Contract: nothing of an archive is believed: documents are verified by their digests, layers
//! while they are unpacked. Layers are read straight from the archive, not copied first.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tar::EntryType;

use super::blob;
use super::catalog::Image;
use super::config::{ConfigFile, chain_ids};
use super::digest::Digest;
use super::error::{Error, Result, io_error};
use super::layer::{Compression, Source, clean, decompress};
use super::lease::Lease;
use super::manifest::{self, Descriptor, Document, Manifest};
use super::reference::Reference;
use super::store::{Arrival, Store};
use crate::limits;

/// Indexes within indexes: one level is usual, more are a game.
const INDEX_DEPTH_MAX: u32 = 4;

const CONTAINERD_NAME: &str = "io.containerd.image.name";
const OCI_NAME: &str = "org.opencontainers.image.ref.name";

/// Takes in every image of the archive at `path` that is for this machine; pruning spares those
/// that are `pinned`.
pub(super) fn import(store: &Store, path: &Path, pinned: bool) -> Result<Vec<Arc<Image>>> {
    let lease = Lease::begin(&store.layout)?;
    import_under(store, &lease, path, pinned).inspect_err(|_| store.abandon(&lease))
}

fn import_under(
    store: &Store,
    lease: &Lease,
    path: &Path,
    pinned: bool,
) -> Result<Vec<Arc<Image>>> {
    let archive = Archive::open(path, lease.dir())?;
    let found = if archive.has("index.json") { archive.find_oci(store)? } else { Vec::new() };
    let named = found.iter().any(|image| !image.names.is_empty());
    // Docker's archives have been both since version 25; its own list has all the names.
    let found = match (named, archive.has("manifest.json")) {
        (false, true) => archive.find_docker(store)?,
        _ => found,
    };
    if found.is_empty() {
        let reason = "it holds neither docker's manifest.json nor OCI's index.json with images";
        return Err(Error::malformed(archive.shown(), reason));
    }
    let arrivals: Result<Vec<Arrival>> =
        found.into_iter().map(|image| archive.take_in(store, lease, image)).collect();
    let mut arrivals = arrivals?;
    arrivals.iter_mut().for_each(|arrival| arrival.pinned = pinned);
    store.admit(lease, arrivals)
}

/// An image found in an archive.
struct Found {
    names: Vec<String>,
    id: Digest,
    config: Vec<u8>,
    diff_ids: Vec<Digest>,
    manifest: Vec<u8>,
    target: Digest,
    /// Archive member and digest of each layer as it is packed there.
    layers: Vec<(PathBuf, Option<Digest>)>,
}

/// An unpacked tar whose members can be read in any order.
struct Archive {
    path: PathBuf,
    file: File,
    members: HashMap<PathBuf, Member>,
}

enum Member {
    At { offset: u64, bytes: u64 },
    Link(PathBuf),
}

impl Archive {
    /// Opens an archive; a packed one is unpacked into `scratch` first, since its members are
    /// read in another order than they come.
    fn open(path: &Path, scratch: &Path) -> Result<Archive> {
        let mut file = File::open(path).map_err(io_error("open", path))?;
        let shown = path.display().to_string();
        let mut magic = Vec::new();
        let peek = file.by_ref().take(6).read_to_end(&mut magic).and_then(|_| file.rewind());
        peek.map_err(io_error("read", path))?;
        let kind = Compression::of(&magic).map_err(|e| Error::Unsupported {
            what: format!("archive {shown}"),
            reason: e.to_string(),
        })?;
        if kind != Compression::None {
            let plain = scratch.join("archive.tar");
            let mut out = File::create_new(&plain).map_err(io_error("create", &plain))?;
            decompress(file).and_then(|mut packed| io::copy(&mut packed, &mut out)).map_err(
                |e| match e.raw_os_error() {
                    Some(_) => io_error("write", &plain)(e),
                    None => Error::malformed(format!("archive {shown}"), e),
                },
            )?;
            file = File::open(&plain).map_err(io_error("open", &plain))?;
        }
        let members = list(&file).map_err(|e| Error::malformed(format!("archive {shown}"), e))?;
        Ok(Archive { path: path.to_path_buf(), file, members })
    }

    fn shown(&self) -> String {
        format!("archive {}", self.path.display())
    }

    fn has(&self, name: &str) -> bool {
        self.members.contains_key(Path::new(name))
    }

    /// The place of a member, links followed: old versions of docker link equal layers.
    fn locate(&self, name: &Path) -> Result<(u64, u64)> {
        let mut name = name;
        for _ in 0..8 {
            match self.members.get(name) {
                Some(Member::At { offset, bytes }) => return Ok((*offset, *bytes)),
                Some(Member::Link(target)) => name = target,
                None => break,
            }
        }
        Err(Error::malformed(self.shown(), format!("{} is missing", name.display())))
    }

    fn reader(&self, name: &Path) -> Result<Box<dyn Read>> {
        let (offset, bytes) = self.locate(name)?;
        let open = self.file.try_clone().map_err(io_error("read", &self.path))?;
        Ok(Box::new(BufReader::with_capacity(256 << 10, Range { file: open, offset, left: bytes })))
    }

    /// A small document of the archive.
    fn document(&self, name: &Path, bytes_max: u64) -> Result<Vec<u8>> {
        let (_, bytes) = self.locate(name)?;
        if bytes > bytes_max {
            let reason = format!("{} has {bytes} bytes", name.display());
            return Err(Error::malformed(self.shown(), reason));
        }
        let mut content = Vec::new();
        let read = self.reader(name)?.read_to_end(&mut content);
        read.map_err(io_error("read", &self.path))?;
        Ok(content)
    }

    /// A document by its digest, in an OCI layout.
    fn blob(&self, digest: &Digest, bytes_max: u64) -> Result<Vec<u8>> {
        let content = self.document(&blob_path(digest), bytes_max)?;
        let mut hasher = digest.hasher();
        hasher.update(&content);
        let actual = hasher.finish();
        if actual != *digest {
            let (what, expected) = (self.shown(), digest.clone());
            return Err(Error::DigestMismatch { what, expected, actual });
        }
        Ok(content)
    }

    /// The images of an OCI layout, by their names; those for other machines are passed over.
    fn find_oci(&self, store: &Store) -> Result<Vec<Found>> {
        let text = self.document(Path::new("index.json"), limits::IMAGE_MANIFEST_BYTES_MAX)?;
        let Document::Index(index) = Document::parse(&self.shown(), &text)? else {
            return Err(Error::malformed(self.shown(), "index.json is not an index"));
        };
        // Entries of the same name are builds for several platforms.
        let mut groups: Vec<(Vec<String>, Vec<&Descriptor>)> = Vec::new();
        for descriptor in &index.manifests {
            let names = self.names_of(descriptor)?;
            match groups.iter_mut().find(|(known, _)| *known == names) {
                Some((_, group)) if !names.is_empty() || descriptor.platform.is_some() => {
                    group.push(descriptor);
                }
                _ => groups.push((names, vec![descriptor])),
            }
        }
        let (mut found, mut refused) = (Vec::new(), None);
        for (names, group) in groups {
            let chosen = manifest::choose(&self.shown(), group, &store.host);
            match chosen.and_then(|chosen| self.find_oci_image(store, chosen, names)) {
                Ok(image) => found.push(image),
                Err(e @ Error::NoMatchingPlatform { .. }) => refused = Some(e),
                Err(e) => return Err(e),
            }
        }
        match refused {
            Some(e) if found.is_empty() => Err(e),
            _ => Ok(found),
        }
    }

    fn find_oci_image(&self, store: &Store, top: &Descriptor, names: Vec<String>) -> Result<Found> {
        let (text, manifest) = self.descend(store, top)?;
        let id = manifest.config.digest.clone();
        let config = self.blob(&id, limits::IMAGE_CONFIG_BYTES_MAX)?;
        let file = ConfigFile::parse(&self.shown(), &config)?;
        file.check_platform(&self.shown(), &store.host)?;
        let layer = |layer: &Descriptor| (blob_path(&layer.digest), Some(layer.digest.clone()));
        let mut all_names = names.clone();
        for name in names {
            all_names.push(Reference::parse(&name)?.at(&top.digest).to_string());
        }
        Ok(Found {
            names: all_names,
            id,
            config,
            diff_ids: file.diff_ids,
            manifest: text,
            target: top.digest.clone(),
            layers: manifest.layers.iter().map(layer).collect(),
        })
    }

    /// Follows indexes down to the manifest for this machine.
    fn descend(&self, store: &Store, top: &Descriptor) -> Result<(Vec<u8>, Manifest)> {
        let mut next = top.digest.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let text = self.blob(&next, limits::IMAGE_MANIFEST_BYTES_MAX)?;
            match Document::parse(&self.shown(), &text)? {
                Document::Manifest(manifest) => return Ok((text, manifest)),
                Document::Index(index) => {
                    next = index.choose(&self.shown(), &store.host)?.digest.clone();
                }
            }
        }
        Err(Error::malformed(self.shown(), "indexes within indexes"))
    }

    /// What an OCI layout's entry is called, complete.
    fn names_of(&self, descriptor: &Descriptor) -> Result<Vec<String>> {
        if let Some(name) = descriptor.annotation(CONTAINERD_NAME) {
            return Ok(vec![Reference::parse(name)?.to_string()]);
        }
        let Some(name) = descriptor.annotation(OCI_NAME) else { return Ok(Vec::new()) };
        // The annotation is a whole name for some tools and only a tag for others.
        if name.contains(['/', ':', '@']) {
            return Ok(vec![Reference::parse(name)?.to_string()]);
        }
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let stem = file.split(".tar").next().unwrap_or_default();
        Ok(vec![Reference::parse(&format!("{stem}:{name}"))?.to_string()])
    }

    /// The images of `docker save`.
    fn find_docker(&self, store: &Store) -> Result<Vec<Found>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Entry {
            config: String,
            repo_tags: Option<Vec<String>>,
            layers: Option<Vec<String>>,
        }
        let text = self.document(Path::new("manifest.json"), limits::IMAGE_MANIFEST_BYTES_MAX)?;
        let entries: Vec<Entry> =
            serde_json::from_slice(&text).map_err(|e| Error::malformed(self.shown(), e))?;
        let mut found = Vec::new();
        for entry in entries {
            let member =
                |name: &str| clean(name.as_bytes()).map_err(|e| Error::malformed(self.shown(), e));
            let config = self.document(&member(&entry.config)?, limits::IMAGE_CONFIG_BYTES_MAX)?;
            let file = ConfigFile::parse(&self.shown(), &config)?;
            file.check_platform(&self.shown(), &store.host)?;
            let names: Result<Vec<String>> = entry
                .repo_tags
                .unwrap_or_default()
                .iter()
                .map(|name| Ok(Reference::parse(name)?.to_string()))
                .collect();
            let layers: Result<Vec<(PathBuf, Option<Digest>)>> = entry
                .layers
                .unwrap_or_default()
                .iter()
                .map(|name| Ok((member(name)?, None)))
                .collect();
            let (id, layers) = (Digest::of(&config), layers?);
            let manifest = self.compose_manifest(&id, config.len(), &file.diff_ids, &layers)?;
            let target = Digest::of(&manifest);
            let (names, diff_ids) = (names?, file.diff_ids);
            found.push(Found { names, id, config, diff_ids, manifest, target, layers });
        }
        Ok(found)
    }

    /// Docker's archives have no manifest: the one that a push of it would make.
    fn compose_manifest(
        &self,
        id: &Digest,
        config_bytes: usize,
        diff_ids: &[Digest],
        layers: &[(PathBuf, Option<Digest>)],
    ) -> Result<Vec<u8>> {
        let mut descriptors = Vec::new();
        for (diff_id, (member, _)) in diff_ids.iter().zip(layers) {
            descriptors.push(serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": diff_id,
                "size": self.locate(member)?.1,
            }));
        }
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": id,
                "size": config_bytes,
            },
            "layers": descriptors,
        });
        Ok(manifest.to_string().into_bytes())
    }

    /// Unpacks an image's layers and stores its documents.
    fn take_in(&self, store: &Store, lease: &Lease, image: Found) -> Result<Arrival> {
        if image.layers.len() != image.diff_ids.len() {
            let (layers, ids) = (image.layers.len(), image.diff_ids.len());
            let reason = format!("{layers} layers, but {ids} in the configuration");
            return Err(Error::malformed(self.shown(), reason));
        }
        let chains = chain_ids(&image.diff_ids);
        let manifest = Digest::of(&image.manifest);
        lease.pin(&store.layout, chains.iter().chain([&manifest, &image.id]))?;
        let mut size_bytes = (image.manifest.len() + image.config.len()) as u64;
        for (n, ((member, digest), diff_id)) in image.layers.iter().zip(&image.diff_ids).enumerate()
        {
            size_bytes += self.locate(member)?.1;
            store.ensure_layer(lease, &chains, diff_id, n, || {
                Ok(Source { reader: self.reader(member)?, digest: digest.clone() })
            })?;
        }
        blob::put(&store.layout, lease.dir(), &image.id, &image.config)?;
        blob::put(&store.layout, lease.dir(), &manifest, &image.manifest)?;
        let Found { names, id, target, .. } = image;
        Ok(Arrival { names, id, manifest, target, size_bytes, pinned: false })
    }
}

fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs").join(digest.algorithm()).join(digest.hex())
}

/// Where every file of a tar begins and ends.
fn list(file: &File) -> io::Result<HashMap<PathBuf, Member>> {
    let mut members = HashMap::new();
    let headers = Headers { file, left: HEADERS_BYTES_MAX };
    let mut archive = tar::Archive::new(headers);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if members.len() >= limits::IMAGE_ARCHIVE_MEMBERS_MAX {
            return Err(io::Error::other("too many members"));
        }
        let path = clean(&entry.path_bytes()).map_err(io::Error::other)?;
        let target = || entry.link_name_bytes().unwrap_or_default().into_owned();
        let member = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                Member::At { offset: entry.raw_file_position(), bytes: entry.size() }
            }
            EntryType::Link => Member::Link(clean(&target()).map_err(io::Error::other)?),
            EntryType::Symlink => {
                let dir = path.parent().unwrap_or(Path::new(""));
                let mut name = std::os::unix::ffi::OsStrExt::as_bytes(dir.as_os_str()).to_vec();
                name.push(b'/');
                name.extend(target());
                Member::Link(clean(&name).map_err(io::Error::other)?)
            }
            _ => continue,
        };
        members.insert(path, member);
    }
    Ok(members)
}

/// All headers of an archive together: contents are skipped, so that this bounds the memory.
const HEADERS_BYTES_MAX: u64 = 256 << 20;

/// Reads the headers of an archive, only so much of them.
struct Headers<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Headers<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buf)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("the archive's headers are too large"))?;
        Ok(read)
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// A part of a file, read without moving the file's own position, which others share.
struct Range {
    file: File,
    offset: u64,
    left: u64,
}

impl Read for Range {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(buf.len() as u64) as usize;
        let read = std::os::unix::fs::FileExt::read_at(&self.file, &mut buf[..most], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        if read == 0 && most > 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
