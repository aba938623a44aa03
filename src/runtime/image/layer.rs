//! Layers: compressed tar streams in, verified directories out, shared by chain id.
//!
//! Contract: a layer directory under `layers/` is complete, written through to the disk and
//! exactly what its diff id promises, or it is not there. Two processes may unpack the same layer;
//! one of them wins.

mod facts;
mod tree;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::digest::{Digest, Hasher, HashingReader};
use super::error::{Error, Result, io_error};
use super::layout::Layout;
use crate::limits;
use crate::sys::fs as files;
pub use tree::Usage;
pub(super) use tree::clean;
use tree::{Fault, Finished, Step, Tree};

const BUFFER_BYTES: usize = 128 << 10;

/// Where the bytes of a layer come from, compressed or not.
pub(super) struct Source {
    /// The stream.
    pub reader: Box<dyn Read>,
    /// What the stream as it is must digest to, if that is known.
    pub digest: Option<Digest>,
}

/// What is kept beside an unpacked layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LayerInfo {
    pub chain: Digest,
    pub bytes: u64,
    pub inodes: u64,
    /// Nothing of the layers below shows.
    #[serde(default)]
    pub opaque_root: bool,
}

impl LayerInfo {
    /// The description of the layer `chain`, or nothing if it is not (wholly) there.
    pub(super) fn load(layout: &Layout, chain: &Digest) -> Option<LayerInfo> {
        let info = LayerInfo::load_dir(&layout.layer(chain))?;
        (info.chain == *chain).then_some(info)
    }

    /// The description in a layer's directory.
    pub(super) fn load_dir(dir: &Path) -> Option<LayerInfo> {
        serde_json::from_slice(&std::fs::read(dir.join("layer.json")).ok()?).ok()
    }
}

/// Unpacks a layer below `scratch` and publishes it as `chain`, on top of `below` (nearest first).
pub(super) fn unpack(
    layout: &Layout,
    scratch: &Path,
    chain: &Digest,
    below: &[Digest],
    diff_id: &Digest,
    source: Source,
) -> Result<()> {
    let dir = scratch.join(Layout::short(chain));
    let root = dir.join("fs");
    // A leftover of an earlier attempt in the same scratch directory.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&root).map_err(io_error("create", &root))?;
    let below: Vec<PathBuf> = below.iter().map(|chain| layout.layer(chain).join("fs")).collect();
    let done = extract(&root, &below, diff_id, source);
    let done = done.inspect_err(|_| {
        let _ = std::fs::remove_dir_all(&dir);
    })?;
    publish(layout, &dir, chain, done)
}

fn publish(layout: &Layout, dir: &Path, chain: &Digest, done: Finished) -> Result<()> {
    let Finished { usage, opaque_root } = done;
    let info =
        LayerInfo { chain: chain.clone(), bytes: usage.bytes, inodes: usage.inodes, opaque_root };
    let path = dir.join("layer.json");
    let text = serde_json::to_vec(&info).map_err(|e| Error::malformed("layer.json", e))?;
    std::fs::write(&path, text).map_err(io_error("write", &path))?;
    // One flush for the thousands of files of a layer; the name must not outlive its content.
    files::sync_filesystem(dir).map_err(io_error("flush", dir))?;
    let target = layout.layer(chain);
    match std::fs::rename(dir, &target) {
        Ok(()) => {}
        // Another process was faster.
        Err(_) if LayerInfo::load(layout, chain).is_some() => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let shown = target.display().to_string();
            return Err(Error::malformed(shown, "it is not the layer of its name"));
        }
        Err(e) => return Err(io_error("publish", &target)(e)),
    }
    files::sync_dir(&layout.layers()).map_err(io_error("flush", &target))
}

/// Unpacks into `root` and verifies; on failure what was unpacked so far stays there.
fn extract(root: &Path, below: &[PathBuf], diff_id: &Digest, source: Source) -> Result<Finished> {
    let what = format!("layer {diff_id}");
    let hasher = source.digest.as_ref().map_or_else(Hasher::sha256, Digest::hasher);
    let mut packed = HashingReader::new(source.reader, hasher);
    let result = (|| -> Step<(Finished, Digest)> {
        let mut plain = HashingReader::new(decompress(&mut packed)?, diff_id.hasher());
        let finished = apply_all(root, below, &mut plain)?;
        Ok((finished, plain.finish().0))
    })();
    let result = result.map_err(|fault| refusal(&what, root, fault));
    // A transfer that was damaged shows as nonsense in the tar first; name the true cause. What
    // cannot be read further cannot be digested.
    if let Some(expected) = source.digest
        && drain(&mut packed).is_ok()
    {
        let actual = packed.finish().0;
        if actual != expected && !matches!(result, Err(Error::DiskFull { .. } | Error::Io { .. })) {
            return Err(Error::DigestMismatch { what, expected, actual });
        }
    }
    let (finished, actual) = result?;
    if actual == *diff_id {
        Ok(finished)
    } else {
        Err(Error::DigestMismatch { what, expected: diff_id.clone(), actual })
    }
}

fn refusal(what: &str, root: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Malformed(reason) => Error::malformed(what, reason),
        // Only the kernel's errors have a number; all others come from decoding.
        Fault::Io(e) if e.raw_os_error().is_some() => io_error("unpack a layer into", root)(e),
        Fault::Io(e) => Error::malformed(what, e),
    }
}

fn apply_all(root: &Path, below: &[PathBuf], plain: &mut impl Read) -> Step<Finished> {
    let mut tree = Tree::new(root, below)?;
    let allowance = Rc::new(Cell::new(limits::LAYER_HEADER_BYTES_MAX));
    let mut metered =
        Metered { inner: plain, allowance: Rc::clone(&allowance), left: limits::LAYER_BYTES_MAX };
    let mut archive = tar::Archive::new(&mut metered);
    let mut count = 0;
    for entry in archive.entries()? {
        allowance.set(u64::MAX);
        let mut entry = entry?;
        count += 1;
        if count > limits::LAYER_ENTRIES_MAX {
            return Err(Fault::Malformed(format!("more than {count} entries")));
        }
        if entry.size() > limits::LAYER_BYTES_MAX {
            return Err(Fault::Malformed(format!("a file of {} bytes", entry.size())));
        }
        if let Some(facts) = facts::Facts::read(&mut entry)? {
            let shown = || facts.path.display().to_string();
            tree.apply(&facts, &mut entry).map_err(|fault| named(&shown(), fault))?;
        }
        drain(&mut entry)?;
        // What is read between entries goes into memory: only so much at a time.
        allowance.set(limits::LAYER_HEADER_BYTES_MAX);
    }
    allowance.set(u64::MAX);
    // Padding after the end is part of the digest.
    drain(&mut metered)?;
    tree.finish()
}

fn named(path: &str, fault: Fault) -> Fault {
    match fault {
        Fault::Malformed(reason) => Fault::Malformed(format!("entry {path:?}: {reason}")),
        // The kernel's refusal of a name is the layer's fault, not the disk's.
        Fault::Io(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::ENAMETOOLONG | libc::EINVAL | libc::ELOOP | libc::ENOTDIR)
            ) =>
        {
            Fault::Malformed(format!("entry {path:?}: {e}"))
        }
        fault => fault,
    }
}

fn drain(reader: &mut impl Read) -> io::Result<u64> {
    io::copy(reader, &mut io::sink())
}

/// Copies all of `from`; with `sparse`, zeros become holes. Returns how many bytes were written.
fn copy(from: &mut impl Read, to: &mut File, buffer: &mut [u8], sparse: bool) -> io::Result<u64> {
    let (mut length, mut written) = (0, 0);
    loop {
        let read = from.read(buffer)?;
        if read == 0 {
            break;
        }
        let part = &buffer[..read];
        length += read as u64;
        if sparse && part.iter().all(|b| *b == 0) {
            to.seek(SeekFrom::Current(read as i64))?;
        } else {
            to.write_all(part)?;
            written += read as u64;
        }
    }
    if sparse {
        to.set_len(length)?;
    }
    Ok(written)
}

/// A stream that gives only so much, in total and until the allowance is renewed.
struct Metered<R> {
    inner: R,
    allowance: Rc<Cell<u64>>,
    left: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.allowance.get() == 0 {
            return Err(io::Error::other("the headers of an entry are too large"));
        }
        if self.left == 0 {
            let limit = limits::LAYER_BYTES_MAX >> 30;
            return Err(io::Error::other(format!("larger than {limit} GiB")));
        }
        let most = self.allowance.get().min(self.left).min(buf.len() as u64) as usize;
        let read = self.inner.read(&mut buf[..most])?;
        self.left -= read as u64;
        self.allowance.set(self.allowance.get() - read as u64);
        Ok(read)
    }
}

/// Undoes gzip or zstd, told by the first bytes: media types are often wrong.
pub(super) fn decompress<'a>(packed: impl Read + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut packed = packed;
    let mut magic = Vec::with_capacity(8);
    packed.by_ref().take(6).read_to_end(&mut magic)?;
    let kind = Compression::of(&magic)?;
    let whole = BufReader::with_capacity(BUFFER_BYTES, io::Cursor::new(magic).chain(packed));
    Ok(match kind {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            flate2::bufread::MultiGzDecoder::new(whole),
        )),
        Compression::Zstd => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            zstd::stream::read::Decoder::with_buffer(whole)?,
        )),
    })
}

/// How a stream is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Tells it by the first six bytes.
    pub(super) fn of(magic: &[u8]) -> io::Result<Compression> {
        let unread = |name: &str| {
            let text = format!("{name} compression is not supported; use gzip or zstd");
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        };
        match magic {
            [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
            // A skippable frame first: zstd:chunked and pzstd write so.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => unread("bzip2"),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => unread("xz"),
            [0x04, 0x22, 0x4d, 0x18, ..] => unread("lz4"),
            _ => Ok(Compression::None),
        }
    }
}

#[cfg(test)]
mod tests;
