//! Folders and mounts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::mount;

/// What is mounted below `folder`, deepest first. A mount at the folder itself is somebody else's:
/// a disk for it.
pub fn mounts_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(folder) = real(folder)? else { return Ok(Vec::new()) };
    let points = mount::mount_points()?.into_iter().rev();
    Ok(points.filter(|point| point.starts_with(&folder) && *point != folder).collect())
}

/// Where `path` really is; `None` where nothing is.
fn real(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Whether anything is at `path` that can be removed: also a link that leads nowhere, but no mount
/// that is empty.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok() && !(is_empty(path) && is_mount(path))
}

/// Whether `path` is a folder with nothing in it that can be removed.
pub fn is_empty_folder(path: &Path) -> bool {
    is_empty(path) && !is_mount(path)
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn is_mount(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| mount::is_mounted(&path).unwrap_or(false))
}

/// Removes a file, or a folder with all in it: never what is mounted in it, and where the folder is
/// a mount of its own, only what is in it. Nothing there is no error.
pub fn remove(path: &Path) -> io::Result<()> {
    if let Some(point) = mounts_below(path)?.first() {
        return Err(io::Error::other(format!("{} is mounted", point.display())));
    }
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.is_dir() {
        if let Some(target) = real(path)?.filter(|target| meta.is_symlink() && target.is_dir()) {
            remove(&target)?;
        }
        return unless_gone(fs::remove_file(path));
    }
    if !mount::is_mounted(&fs::canonicalize(path)?)? {
        return unless_gone(fs::remove_dir_all(path));
    }
    fs::read_dir(path)?.try_for_each(|entry| remove(&entry?.path()))
}

fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        fs::create_dir_all(folder.join("b")).unwrap();
        mount::tmpfs(&folder.join("b"), "size=1m").unwrap();
        fs::write(folder.join("b/kept"), "").unwrap();
        assert_eq!(mounts_below(&folder).unwrap().len(), 1);
        let error = remove(&folder).unwrap_err().to_string();
        assert!(error.ends_with("is mounted") && folder.join("b/kept").exists(), "{error}");
        // As the disk for a folder it keeps its place and loses what is in it.
        remove(&folder.join("b")).unwrap();
        assert!(is_empty(&folder.join("b")) && !exists(&folder.join("b")));
        mount::detach(&folder.join("b")).unwrap();
        remove(&folder).unwrap();
        assert!(!exists(&folder));
        remove(&folder).unwrap();
    }

    #[test]
    fn a_folder_elsewhere_goes_with_the_link_to_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("disk/x")).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("disk"), &link).unwrap();
        remove(&link).unwrap();
        assert!(!exists(&link) && !exists(&dir.path().join("disk")));
    }
}
