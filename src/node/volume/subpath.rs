//! Sub-paths of volumes: a file or folder in a volume, whatever links its contents make.
//!
//! A container may change the volume while another is started with a sub-path of it. So the path is
//! resolved once, as if the volume were the root, and what it led to is held by a bind mount: no
//! later link can lead elsewhere. Blocking.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Component, Path, PathBuf};

use crate::sys::mount;

/// Binds `volume/subpath` to a place of its own below `places`; returns that. Where the path does
/// not exist, a folder is made if `make` says so.
///
/// # Errors
/// When the path leaves the volume, or the kernel refuses.
pub fn bind(
    volume: &Path,
    subpath: &str,
    places: &Path,
    index: usize,
    make: bool,
) -> io::Result<PathBuf> {
    let relative = checked(subpath)?;
    if !volume.is_dir() {
        return Err(io::Error::new(ErrorKind::NotADirectory, "the volume is not a directory"));
    }
    let target = places.join(index.to_string());
    // Left by an attempt that was cut short.
    mount::detach(&target)?;
    let found = open(volume, &relative, make)?;
    fs::create_dir_all(places)?;
    make_target(&target, found.metadata()?.is_dir())?;
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()));
    mount::bind(&by_descriptor, &target, true)?;
    Ok(target)
}

/// A sub-path without detours; one that would leave the volume is refused.
fn checked(subpath: &str) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in Path::new(subpath).components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            _ => {
                let why = format!("subPath {subpath:?} must be relative and without \"..\"");
                return Err(io::Error::new(ErrorKind::InvalidInput, why));
            }
        }
    }
    Ok(clean)
}

fn open(volume: &Path, relative: &Path, make: bool) -> io::Result<fs::File> {
    match mount::hold_in_root(volume, relative) {
        Err(error) if error.kind() == ErrorKind::NotFound && make => {
            make_folders(volume, relative)?;
            mount::hold_in_root(volume, relative)
        }
        other => other,
    }
}

/// Makes what is missing of a path, one folder at a time, each below what the last one led to.
fn make_folders(volume: &Path, relative: &Path) -> io::Result<()> {
    let mut so_far = PathBuf::new();
    for part in relative.components() {
        let parent = mount::hold_in_root(volume, &so_far)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(part);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => so_far.push(part),
        }
    }
    Ok(())
}

fn make_target(target: &Path, directory: bool) -> io::Result<()> {
    if directory {
        return fs::create_dir_all(target);
    }
    OpenOptions::new().write(true).create(true).truncate(false).open(target).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_leaves_the_volume_is_refused() {
        for bad in ["/etc", "../x", "a/../../b"] {
            assert!(checked(bad).is_err(), "{bad}");
        }
        assert_eq!(checked("./a//b/.").unwrap(), Path::new("a/b"));
    }

    #[test]
    fn links_stay_inside_and_what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, places) = (dir.path().join("v"), dir.path().join("p"));
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("file"), "in").unwrap();
        fs::write(dir.path().join("secret"), "out").unwrap();
        symlink("../secret", volume.join("escape")).unwrap();
        symlink("file", volume.join("link")).unwrap();
        let bound = |subpath, index| bind(&volume, subpath, &places, index, true);
        match bound("link", 0) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return,
            path => assert_eq!(fs::read_to_string(path.unwrap()).unwrap(), "in"),
        }
        assert!(bound("new/folder", 1).unwrap().is_dir());
        assert!(volume.join("new/folder").is_dir());
        // Seen from the volume's root the link leads to a file that is not there, so a folder
        // would have to take its place, which it cannot.
        assert!(bound("escape", 2).is_err());
        let absent = bind(&volume, "absent", &places, 3, false).unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::NotFound);
        assert!(!volume.join("absent").exists());
        assert_eq!(fs::read_to_string(bound("link", 0).unwrap()).unwrap(), "in", "again");
        mount::detach_below(&places).unwrap();
    }
}
