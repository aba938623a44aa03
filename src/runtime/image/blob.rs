//! Blobs: content by digest, verified while it is written and whole from the moment it is there.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::digest::{Digest, Hasher};
use super::error::{Error, Result, io_error};
use super::layout::Layout;
use crate::sys::fs as files;

/// A blob on its way in.
pub(super) struct BlobWriter {
    path: PathBuf,
    file: File,
    expected: Digest,
    hasher: Hasher,
    bytes: u64,
}

impl BlobWriter {
    /// Begins, or goes on with what `path` has already.
    pub(super) fn open(path: PathBuf, expected: &Digest) -> Result<BlobWriter> {
        let open = File::options().read(true).append(true).create(true).open(&path);
        let mut file = open.map_err(io_error("open", &path))?;
        let mut hasher = expected.hasher();
        let mut buffer = vec![0; 128 << 10];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut buffer).map_err(io_error("read", &path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
            bytes += read as u64;
        }
        Ok(BlobWriter { path, file, expected: expected.clone(), hasher, bytes })
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds bytes.
    pub(super) fn write(&mut self, part: &[u8]) -> Result<()> {
        self.file.write_all(part).map_err(io_error("write", &self.path))?;
        self.hasher.update(part);
        self.bytes += part.len() as u64;
        Ok(())
    }

    /// Forgets everything and starts again.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(io_error("truncate", &self.path))?;
        self.hasher = self.expected.hasher();
        self.bytes = 0;
        Ok(())
    }

    /// Verifies and publishes; on a mismatch what was written is removed.
    pub(super) fn finish(self, layout: &Layout, what: &str) -> Result<()> {
        let actual = self.hasher.finish();
        if actual != self.expected {
            let _ = std::fs::remove_file(&self.path);
            let (what, expected) = (what.to_string(), self.expected);
            return Err(Error::DigestMismatch { what, expected, actual });
        }
        self.file.sync_all().map_err(io_error("flush", &self.path))?;
        let target = layout.blob(&self.expected);
        std::fs::rename(&self.path, &target).map_err(io_error("publish", &target))?;
        let dir = target.parent().unwrap_or(Path::new("/"));
        files::sync_dir(dir).map_err(io_error("flush", dir))
    }
}

/// Stores a small document whose digest is known to be right.
pub(super) fn put(layout: &Layout, scratch: &Path, digest: &Digest, bytes: &[u8]) -> Result<()> {
    // Compared as a whole, so that a damaged one is replaced.
    if std::fs::read(layout.blob(digest)).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    let mut writer = BlobWriter::open(scratch.join(digest.hex()), digest)?;
    writer.restart()?;
    writer.write(bytes)?;
    writer.finish(layout, digest.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_there_only_when_it_is_right() {
        let tmp = tempfile::tempdir().unwrap();
        let layout = Layout::create(tmp.path()).unwrap();
        let part = layout.partial().join("x");
        let digest = Digest::of(b"hello");
        let mut writer = BlobWriter::open(part.clone(), &digest).unwrap();
        writer.write(b"hel").unwrap();
        drop(writer);
        assert!(!layout.blob(&digest).exists());
        let mut writer = BlobWriter::open(part.clone(), &digest).unwrap();
        assert_eq!(writer.bytes(), 3);
        writer.write(b"lo").unwrap();
        writer.finish(&layout, "x").unwrap();
        assert_eq!(std::fs::read(layout.blob(&digest)).unwrap(), b"hello");
        assert!(!part.exists());
    }

    #[test]
    fn a_lie_leaves_nothing() {
        let tmp = tempfile::tempdir().unwrap();
        let layout = Layout::create(tmp.path()).unwrap();
        let part = layout.partial().join("x");
        let mut writer = BlobWriter::open(part.clone(), &Digest::of(b"truth")).unwrap();
        writer.write(b"lies").unwrap();
        let error = writer.finish(&layout, "blob x").unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
        assert!(!part.exists() && !layout.blob(&Digest::of(b"truth")).exists());
    }
}
