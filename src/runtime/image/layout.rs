//! Where everything of the store is on the disk.
//!
//! ```text
//! lock                     held for every change of what is listed here; never for long
//! index.json               images and their names
//! blobs/<algorithm>/<hex>  manifests, configurations, and layers that wait to be unpacked
//! layers/<12 hex>/         one per chain id: fs/ is the tree, layer.json says which it is
//! containers/<id>/         upper/, work/, rootfs/ of one container; container.json: its layers
//! ingest/<operation>/      work in progress; its file `pins` is locked while the operation lives
//! partial/<hex>            downloads that broke off, for their next attempt
//! empty/                   the lowest layer of an image that has none
//! ```
//! Everything but `index.json` can be judged by itself, so that a crash at any point leaves
//! nothing that could be mistaken for something whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::error::{Result, io_error};

/// The paths of one store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    dir: PathBuf,
}

/// Hex digits in the name of a layer's directory: short, since all of an image's must fit in one
/// mount call; the full id stands inside and is compared.
const SHORT_DIGITS: usize = 12;

impl Layout {
    /// Makes what is missing of a store's directories.
    pub(super) fn create(dir: &Path) -> Result<Layout> {
        let dir = std::path::absolute(dir).map_err(io_error("resolve", dir))?;
        let layout = Layout { dir };
        for dir in [
            layout.dir.join("blobs/sha256"),
            layout.dir.join("blobs/sha512"),
            layout.layers(),
            layout.containers(),
            layout.ingest(),
            layout.partial(),
            layout.empty(),
        ] {
            std::fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        }
        // Layers hold set-id programs of strangers: no other user of the machine may reach them.
        for dir in [layout.layers(), layout.containers(), layout.ingest()] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            std::fs::set_permissions(&dir, mode).map_err(io_error("protect", &dir))?;
        }
        Ok(layout)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn index(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.dir.join("blobs")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.algorithm()).join(digest.hex())
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.dir.join("layers")
    }

    pub(super) fn layer(&self, chain: &Digest) -> PathBuf {
        self.layers().join(Self::short(chain))
    }

    pub(super) fn short(chain: &Digest) -> &str {
        chain.hex().get(..SHORT_DIGITS).unwrap_or_default()
    }

    pub(super) fn containers(&self) -> PathBuf {
        self.dir.join("containers")
    }

    pub(super) fn ingest(&self) -> PathBuf {
        self.dir.join("ingest")
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.dir.join("partial")
    }

    pub(super) fn empty(&self) -> PathBuf {
        self.dir.join("empty")
    }

    /// Waits for the store's lock, which every process that works on the store shares.
    pub(super) fn lock(&self) -> Result<Locked> {
        let path = self.dir.join("lock");
        let file = File::create(&path).map_err(io_error("open", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(Locked(file))
    }
}

/// The store's lock, held until dropped.
#[derive(Debug)]
pub(super) struct Locked(#[allow(dead_code, reason = "closing the file is what unlocks")] File);
