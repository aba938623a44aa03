//! One operation in progress: a scratch directory, and content that must not be collected.
//!
//! Contract: the directory and the pins live as long as the operation. If its process dies, the
//! lock on the pins file goes with it and the next sweep removes both.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use super::digest::Digest;
use super::error::{Result, io_error};
use super::layout::{Layout, Locked};

/// An operation's scratch directory and pins; dropping it removes both.
#[derive(Debug)]
pub(super) struct Lease {
    dir: PathBuf,
    pins: File,
}

impl Lease {
    /// Begins an operation.
    pub(super) fn begin(layout: &Layout) -> Result<Lease> {
        // Under the lock, so that no sweep sees the directory before its pins are locked.
        let _locked = layout.lock()?;
        let dir = layout.ingest().join(crate::util::id::suffix(12));
        std::fs::create_dir(&dir).map_err(io_error("create", &dir))?;
        let path = dir.join("pins");
        let pins = File::create_new(&path).map_err(io_error("create", &path))?;
        pins.lock().map_err(io_error("lock", &path))?;
        Ok(Lease { dir, pins })
    }

    /// Where the operation may leave files; gone when it ends.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps blobs and layers of these digests, there already or not, for the operation's life.
    pub(super) fn pin<'a>(
        &self,
        layout: &Layout,
        digests: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<()> {
        let _locked = layout.lock()?;
        let mut lines = String::new();
        for digest in digests {
            lines.push_str(digest.as_str());
            lines.push('\n');
        }
        let mut file = &self.pins;
        let write =
            file.seek(std::io::SeekFrom::End(0)).and_then(|_| file.write_all(lines.as_bytes()));
        write.map_err(io_error("write", &self.dir.join("pins")))
    }
}

/// Where the pins of a pull that broke off stand until its next attempt.
fn left_pins(layout: &Layout, name: &Digest) -> PathBuf {
    layout.partial().join(format!("{}.pins", name.hex()))
}

/// Forgets what [`Lease::leave`] left under a name.
pub(super) fn clear_left(layout: &Layout, name: &Digest) {
    // Not there, as a rule; and if it stays, it ends by its age.
    let _ = std::fs::remove_file(left_pins(layout, name));
}

impl Lease {
    /// Leaves the pins behind for a while, for another attempt at the same thing.
    pub(super) fn leave(&self, layout: &Layout, name: &Digest) -> Result<()> {
        let _locked = layout.lock()?;
        let (from, to) = (self.dir.join("pins"), left_pins(layout, name));
        if std::fs::metadata(&from).is_ok_and(|meta| meta.len() > 0) {
            std::fs::copy(&from, &to).map_err(io_error("write", &to))?;
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A sweep may be at it too; and what cannot be removed now is removed by the next one.
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(dir = %self.dir.display(), error = %e, "cannot remove a directory");
            }
            _ => {}
        }
    }
}

/// Removes what dead operations left, and collects what living ones but `own` have pinned.
pub(super) fn sweep(layout: &Layout, _locked: &Locked, own: &Path) -> Result<HashSet<Digest>> {
    let mut pinned = HashSet::new();
    let path = layout.ingest();
    for entry in std::fs::read_dir(&path).map_err(io_error("list", &path))? {
        let dir = entry.map_err(io_error("list", &path))?.path();
        if dir == own {
            continue;
        }
        match File::open(dir.join("pins")) {
            Ok(file) if file.try_lock().is_err() => {
                pinned.extend(read_pins(&dir.join("pins")));
            }
            // Dead, or ending just now and removing its directory itself.
            _ => match std::fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &dir)(e));
                }
                _ => {}
            },
        }
    }
    Ok(pinned)
}

/// The digests in a file of pins; a line that was not written whole is none.
pub(super) fn read_pins(path: &Path) -> Vec<Digest> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_protects_while_it_lives_and_no_longer() {
        let tmp = tempfile::tempdir().unwrap();
        let layout = Layout::create(tmp.path()).unwrap();
        let lease = Lease::begin(&layout).unwrap();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        lease.pin(&layout, [&a]).unwrap();
        lease.pin(&layout, [&b]).unwrap();
        let locked = layout.lock().unwrap();
        assert_eq!(sweep(&layout, &locked, Path::new("")).unwrap(), HashSet::from([a, b]));
        drop(lease);
        assert_eq!(sweep(&layout, &locked, Path::new("")).unwrap(), HashSet::new());
        assert_eq!(std::fs::read_dir(layout.ingest()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_removed() {
        let tmp = tempfile::tempdir().unwrap();
        let layout = Layout::create(tmp.path()).unwrap();
        let dir = layout.ingest().join("dead");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("pins"), Digest::of(b"a").as_str()).unwrap();
        std::fs::create_dir(layout.ingest().join("younger")).unwrap();
        let locked = layout.lock().unwrap();
        assert!(sweep(&layout, &locked, Path::new("")).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(layout.ingest()).unwrap().count(), 0);
    }
}
