//! Files of secrets: written whole or not at all, readable by root only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::Error;
use crate::util::id;

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

/// Makes a folder and those above it; an existing one keeps its mode.
///
/// # Errors
/// When the file system refuses.
pub fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed("make", path))
}

/// The file's bytes, or `None` where there is no file.
///
/// # Errors
/// When it is there but cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { what: "read", path: path.to_owned(), source }),
    }
}

/// The file's text, or `None` where there is no file.
///
/// # Errors
/// When it is there but cannot be read or is not text.
pub fn read_text(path: &Path) -> Result<Option<String>, Error> {
    let damaged =
        |_| Error::Damaged { path: path.to_owned(), why: "it is not a text file".to_owned() };
    read(path)?.map(|bytes| String::from_utf8(bytes).map_err(damaged)).transpose()
}

/// Writes a file whole: a reader, also one after a power cut, sees the old bytes or the new ones.
///
/// # Errors
/// When the file system refuses; the old file is then untouched.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}", id::suffix(8)));
    let written = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(dir)?.sync_all());
    if written.is_err() {
        // It may never have been made; either way the error below is what counts.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed("write", path))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    // The process's umask may have taken bits off that were asked for.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_sets_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(read(&path).unwrap(), None);
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o644).unwrap();
        assert_eq!(read_text(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn says_what_it_could_not_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/key");
        let error = write(&path, b"x", 0o600).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write {}", path.display())), "{error}");
    }
}
