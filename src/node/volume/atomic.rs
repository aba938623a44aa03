//! Files that change all at once: what a reader opens is of one version.
//!
//! The files of a version lie in a directory of their own, `..data` links to it, and every visible
//! name links through `..data`. A new version is written beside the old one and comes into force by
//! renaming one link. This layout is what Kubernetes documents and programs watch.
//!
//! It must not know where the contents come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink,
};
use std::path::{Component, Path, PathBuf};

use crate::util::clock::Wall;

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its contents.
    pub bytes: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, where not root.
    pub owner: Option<u32>,
}

/// The files of a version by their path, such as `a` or `d/b`.
pub type Payload = BTreeMap<String, File>;

/// Why a version could not be written. The one before it is still in force.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A path leaves the directory or would hide the writer's own names.
    #[error("invalid path {0:?}: it must be relative, without \"..\" and not start with \"..\"")]
    Path(String),
    /// The file system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// `write`, `link`, ...
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Puts a version of files in force in `dir`, which exists. Files and directories get the group
/// `group`, where there is one, and it can read them. Returns whether anything changed.
///
/// # Errors
/// When a path is not allowed, or the file system refuses.
pub fn write(
    dir: &Path,
    payload: &Payload,
    group: Option<u32>,
    now: Wall,
) -> Result<bool, WriteError> {
    for path in payload.keys() {
        check_path(path)?;
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && is_current(&dir.join(old), payload, group)
    {
        // An earlier call may have been cut short after the switch.
        link_names(dir, payload)?;
        return Ok(false);
    }
    let version = make_version(dir, old.as_deref(), now)?;
    write_files(&dir.join(&version), payload, group)?;
    switch(dir, &version)?;
    link_names(dir, payload)?;
    remove_others(dir, &version, payload)?;
    Ok(true)
}

fn at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    move |source| WriteError::Io { what, path: path.to_owned(), source }
}

fn check_path(path: &str) -> Result<(), WriteError> {
    let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if !normal || path.is_empty() || path.starts_with("..") {
        return Err(WriteError::Path(path.to_owned()));
    }
    Ok(())
}

/// A file's permission bits once its group may read it.
fn mode_for(file: &File, group: Option<u32>) -> u32 {
    if group.is_some() { file.mode | 0o440 } else { file.mode }
}

/// Whether a version has exactly these files.
fn is_current(version: &Path, payload: &Payload, group: Option<u32>) -> bool {
    let mut found = BTreeSet::new();
    if list_files(version, Path::new(""), &mut found).is_err()
        || !found.iter().map(String::as_str).eq(payload.keys().map(String::as_str))
    {
        return false;
    }
    payload.iter().all(|(path, file)| {
        let path = version.join(path);
        let same = |meta: fs::Metadata| {
            meta.permissions().mode() & 0o7777 == mode_for(file, group)
                && meta.uid() == file.owner.unwrap_or(0)
                && group.is_none_or(|group| meta.gid() == group)
        };
        fs::metadata(&path).is_ok_and(same) && fs::read(&path).is_ok_and(|b| b == file.bytes)
    })
}

fn list_files(root: &Path, below: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list_files(root, &path, found)?;
        } else {
            found.insert(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Makes the directory of a new version, named after the time as Kubernetes does.
fn make_version(dir: &Path, old: Option<&Path>, now: Wall) -> Result<String, WriteError> {
    let time = jiff::Timestamp::from_nanosecond(now.0.into()).unwrap_or_default();
    let stamp = time.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let nanos = now.0.rem_euclid(1_000_000_000);
    for attempt in 0..u32::MAX {
        let name = format!("{stamp}.{}", nanos + i64::from(attempt));
        let path = dir.join(&name);
        if old == Some(Path::new(&name)) {
            continue;
        }
        match fs::DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => {
                let made = fs::set_permissions(&path, Permissions::from_mode(0o755));
                return made.map(|()| name).map_err(at("make", &path));
            }
            // Left by a call that was cut short; it is removed after the switch.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(at("make", &path)(error)),
        }
    }
    Err(at("make", dir)(ErrorKind::AlreadyExists.into()))
}

fn write_files(version: &Path, payload: &Payload, group: Option<u32>) -> Result<(), WriteError> {
    own_directory(version, group)?;
    for (name, file) in payload {
        let path = version.join(name);
        make_parents(version, Path::new(name), group)?;
        write_file(&path, file, group).map_err(at("write", &path))?;
    }
    Ok(())
}

fn make_parents(version: &Path, name: &Path, group: Option<u32>) -> Result<(), WriteError> {
    let mut path = version.to_owned();
    for part in name.parent().into_iter().flat_map(Path::components) {
        path.push(part);
        match fs::DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(at("make", &path)(error)),
        }
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(at("change", &path))?;
        own_directory(&path, group)?;
    }
    Ok(())
}

/// Gives a directory its group, which new files in it then have too.
fn own_directory(path: &Path, group: Option<u32>) -> Result<(), WriteError> {
    let Some(group) = group else { return Ok(()) };
    chown(path, None, Some(group)).map_err(at("change", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o2755)).map_err(at("change", path))
}

fn write_file(path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    out.write_all(&file.bytes)?;
    if file.owner.is_some() || group.is_some() {
        chown(path, file.owner, group)?;
    }
    // After the owner, since a change of owner may clear bits; and past the process's umask.
    fs::set_permissions(path, Permissions::from_mode(mode_for(file, group)))
}

fn switch(dir: &Path, version: &str) -> Result<(), WriteError> {
    replace_link(dir, Path::new(version), DATA, DATA_NEW)
}

/// Makes `name` a link to `target`, in one step if it was one before.
fn replace_link(dir: &Path, target: &Path, name: &str, scratch: &str) -> Result<(), WriteError> {
    let (scratch, name) = (dir.join(scratch), dir.join(name));
    match fs::remove_file(&scratch) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(at("remove", &scratch)(error));
        }
        _ => {}
    }
    symlink(target, &scratch).map_err(at("link", &scratch))?;
    fs::rename(&scratch, &name).map_err(at("rename", &name))
}

/// The names that stand in the directory itself.
fn top_names(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().filter_map(|path| path.split('/').next()).collect()
}

fn link_names(dir: &Path, payload: &Payload) -> Result<(), WriteError> {
    for name in top_names(payload) {
        let target = Path::new(DATA).join(name);
        if fs::read_link(dir.join(name)).ok().as_deref() != Some(&target) {
            replace_link(dir, &target, name, DATA_NEW)?;
        }
    }
    Ok(())
}

/// Removes names and versions that are no longer in force.
fn remove_others(dir: &Path, version: &str, payload: &Payload) -> Result<(), WriteError> {
    let names = top_names(payload);
    for entry in fs::read_dir(dir).map_err(at("list", dir))? {
        let entry = entry.map_err(at("list", dir))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let removed = match &*name {
            DATA => continue,
            name if name == version => continue,
            name if name.starts_with("..") && !is_link => fs::remove_dir_all(&path),
            name if is_link && !names.contains(name) => fs::remove_file(&path),
            _ => continue,
        };
        removed.map_err(at("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_795_168_080_123_456_789);

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.into(), mode: 0o644, owner: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_version_takes_the_place_of_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(
            write(dir, &payload(&[("a", "1"), ("d/b", "2"), ("gone", "x")]), None, NOW).unwrap()
        );
        assert_eq!(names(dir), ["..2026_11_20_09_48_00.123456789", "..data", "a", "d", "gone"]);
        assert_eq!(fs::read_to_string(dir.join("d/b")).unwrap(), "2");
        assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
        let held = fs::canonicalize(dir.join("..data")).unwrap();

        let next = payload(&[("a", "1"), ("d/b", "3")]);
        assert!(
            !write(dir, &payload(&[("a", "1"), ("d/b", "2"), ("gone", "x")]), None, NOW).unwrap()
        );
        assert!(write(dir, &next, None, NOW).unwrap(), "the same instant is no obstacle");
        assert_eq!(fs::read_to_string(dir.join("d/b")).unwrap(), "3");
        assert!(!held.exists(), "the old version is removed");
        assert_eq!(names(dir).len(), 4, "{:?}", names(dir));
    }

    #[test]
    fn modes_and_group_are_set_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = payload(&[("a", "1")]);
        files.get_mut("a").unwrap().mode = 0o400;
        write(dir.path(), &files, Some(2000), NOW).unwrap();
        let meta = fs::metadata(dir.path().join("a")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o440, 2000));
        assert!(!write(dir.path(), &files, Some(2000), NOW).unwrap());
        files.get_mut("a").unwrap().owner = Some(1000);
        assert!(write(dir.path(), &files, Some(2000), NOW).unwrap());
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().uid(), 1000);
    }

    #[test]
    fn what_was_cut_short_is_made_good() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let files = payload(&[("a", "1")]);
        write(dir, &files, None, NOW).unwrap();
        fs::remove_file(dir.join("a")).unwrap();
        symlink("nowhere", dir.join(DATA_NEW)).unwrap();
        fs::create_dir(dir.join("..2020_01_01")).unwrap();
        assert!(!write(dir, &files, None, NOW).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
        write(dir, &payload(&[("b", "2")]), None, NOW).unwrap();
        assert_eq!(names(dir).len(), 3, "{:?}", names(dir));
    }

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["", "/a", "../a", "a/../../b", "..data", "./a"] {
            let refused = write(dir.path(), &payload(&[(path, "x")]), None, NOW);
            assert!(matches!(refused, Err(WriteError::Path(_))), "{path}");
        }
        assert!(names(dir.path()).is_empty());
        write(dir.path(), &payload(&[]), None, NOW).unwrap();
    }
}
