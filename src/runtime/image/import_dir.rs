//! The directory whose archives become images by themselves.
//!
//! Contract: may be called at any time and any number of times. An archive is read again only if
//! it has changed or one of its images is gone; what was read stands in `imports.json` of the
//! store, which may be lost without harm.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::archive;
use super::catalog::Image;
use super::digest::Digest;
use super::error::{Error, Result, io_error};
use super::gc::entries;
use super::store::Store;
use crate::sys::fs as files;

/// What became of one archive that was new or changed.
#[derive(Debug)]
pub struct Imported {
    /// The archive.
    pub path: PathBuf,
    /// Its images, or why there are none.
    pub result: Result<Vec<Arc<Image>>>,
}

/// An archive as it was when it was read, and what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    bytes: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
    images: Vec<Digest>,
}

type Record = BTreeMap<PathBuf, Seen>;

const ENDINGS: [&str; 4] = [".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// [`Store::import_dir`].
pub(super) fn import_dir(store: &Store, dir: &Path) -> Result<Vec<Imported>> {
    let known = load(store);
    let (mut record, mut done) = (Record::new(), Vec::new());
    let mut archives = entries(dir)?;
    archives.retain(|(name, _)| ENDINGS.iter().any(|ending| name.ends_with(ending)));
    // In order of their names: where two have the same tag, the later one wins.
    archives.sort();
    for (_, path) in archives {
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        if !meta.is_file() {
            continue;
        }
        let mut seen = Seen {
            inode: meta.ino(),
            bytes: meta.len(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
            images: Vec::new(),
        };
        if let Some(before) = known.get(&path)
            && is_done(store, before, &seen)?
        {
            record.insert(path, before.clone());
            continue;
        }
        let result = archive::import(store, &path, true);
        if let Ok(images) = &result {
            seen.images = images.iter().map(|image| image.id.clone()).collect();
            record.insert(path.clone(), seen);
        }
        done.push(Imported { path, result });
    }
    if record != known {
        save(store, &record)?;
    }
    Ok(done)
}

/// The same file as before, and all of its images are here?
fn is_done(store: &Store, before: &Seen, now: &Seen) -> Result<bool> {
    let catalog = store.catalog()?;
    let same = Seen { images: Vec::new(), ..before.clone() } == *now;
    Ok(same && before.images.iter().all(|id| catalog.by_id(id).is_some()))
}

fn file(store: &Store) -> PathBuf {
    store.layout.dir().join("imports.json")
}

/// A record that cannot be read only costs another import.
fn load(store: &Store) -> Record {
    let text = std::fs::read(file(store)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn save(store: &Store, record: &Record) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|e| Error::malformed("imports.json", e))?;
    let _locked = store.layout.lock()?;
    files::write_atomic(&file(store), &text).map_err(io_error("write", &file(store)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::image::PruneRequest;
    use crate::runtime::image::testing::{Tar, TestImage, gzip};

    fn archive(content: &str, tag: &str) -> Vec<u8> {
        let layer = Tar::new().file("content", content).build();
        TestImage::new(&[layer], gzip).docker_archive(&[tag])
    }

    async fn run(store: &Arc<Store>, dir: &Path) -> Vec<(String, bool)> {
        let done = store.import_dir(dir.to_path_buf()).await.unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        done.iter().map(|one| (name(&one.path), one.result.is_ok())).collect()
    }

    #[tokio::test]
    async fn archives_are_read_once_and_again_when_needed() {
        let tmp = tempfile::tempdir().unwrap();
        // The store lives in the very directory where archives are put.
        let store = Store::open(tmp.path()).unwrap();
        std::fs::write(tmp.path().join("b.tar"), archive("b", "b:1")).unwrap();
        std::fs::write(tmp.path().join("a.tar.gz"), gzip(&archive("a", "a:1"))).unwrap();
        std::fs::write(tmp.path().join("broken.tgz"), "nonsense").unwrap();
        std::fs::write(tmp.path().join("notes.txt"), "nothing").unwrap();
        std::fs::create_dir(tmp.path().join("dir.tar")).unwrap();
        let both = ["a.tar.gz", "b.tar"].map(|name| (name.to_string(), true));
        let broken = ("broken.tgz".to_string(), false);
        let first = run(&store, tmp.path()).await;
        assert_eq!(first, [&both[..], std::slice::from_ref(&broken)].concat());
        let again = Store::open(tmp.path()).unwrap();
        assert_eq!(run(&again, tmp.path()).await, std::slice::from_ref(&broken));
        std::fs::write(tmp.path().join("b.tar"), archive("new", "b:1")).unwrap();
        store.remove("a:1").await.unwrap();
        let third = run(&again, tmp.path()).await;
        assert_eq!(third, [&both[..], std::slice::from_ref(&broken)].concat());
        assert!(store.resolve("a:1").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_came_by_itself_is_not_pruned() {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(tmp.path()).unwrap();
        std::fs::write(tmp.path().join("a.tar"), archive("a", "a:1")).unwrap();
        run(&store, tmp.path()).await;
        let image = store.resolve("a:1").await.unwrap().unwrap();
        assert!(image.pinned);
        assert_eq!(image.name(), "docker.io/library/a:1");
        assert_eq!(image.lasting_name(), image.id.to_string());
        assert!(store.prune(PruneRequest::default()).await.unwrap().images.is_empty());
        // A later pull or import of the same does not make it less.
        store.import(tmp.path().join("a.tar")).await.unwrap();
        assert!(store.resolve("a:1").await.unwrap().unwrap().pinned);
    }
}
