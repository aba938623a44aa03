//! What one tar entry says about a file, headers and extensions taken together.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::{Entry, EntryType};

use super::tree::{Fault, Step, clean};

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::runtime::image) enum Node {
    File,
    Dir,
    /// Any text.
    Symlink(OsString),
    /// A cleaned path of the same layer.
    Link(PathBuf),
    /// Major and minor number.
    Char((u32, u32)),
    Block((u32, u32)),
    Fifo,
}

/// One entry, its content aside.
#[derive(Debug, Clone)]
pub(in crate::runtime::image) struct Facts {
    /// Relative to the layer's root; empty for the root itself.
    pub path: PathBuf,
    pub node: Node,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub xattrs: Vec<(OsString, Vec<u8>)>,
    /// Runs of zeros are to become holes.
    pub sparse: bool,
}

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
const NANOS: i64 = 1_000_000_000;
/// Latest time that every file system can hold (year 2486): beyond it some refuse.
const MTIME_SECONDS_MAX: i64 = (1 << 34) - 1;

impl Facts {
    /// Reads an entry; none for one that describes no file.
    pub(in crate::runtime::image) fn read<R: Read>(
        entry: &mut Entry<'_, R>,
    ) -> Step<Option<Facts>> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(None);
        }
        let raw = entry.path_bytes().into_owned();
        let path = clean(&raw)?;
        // Before POSIX a directory was a file with a slash at its end.
        let is_old_dir = kind.is_file() && raw.ends_with(b"/");
        let node = if is_old_dir { Node::Dir } else { node_of(entry, kind)? };
        let header = entry.header();
        let mut facts = Facts {
            path,
            node,
            mode: number(&header.as_old().mode, || header.mode())? & 0o7777,
            uid: id_of(number(&header.as_old().uid, || header.uid())?)?,
            gid: id_of(number(&header.as_old().gid, || header.gid())?)?,
            mtime: (seconds_of(number(&header.as_old().mtime, || header.mtime())?), 0),
            xattrs: Vec::new(),
            sparse: kind.is_gnu_sparse(),
        };
        facts.read_extensions(entry)?;
        facts.mtime.0 = facts.mtime.0.clamp(0, MTIME_SECONDS_MAX);
        Ok(Some(facts))
    }

    fn read_extensions<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Step<()> {
        let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
        for extension in extensions {
            let extension = extension?;
            let (key, value) = (extension.key_bytes(), extension.value_bytes());
            if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                self.xattrs.push((OsString::from_vec(name.to_vec()), value.to_vec()));
            } else if key == b"mtime" {
                self.mtime = parse_time(value).unwrap_or(self.mtime);
            } else if key.starts_with(b"GNU.sparse.") {
                return Err(Fault::Malformed(
                    "sparse files in PAX format are not supported".into(),
                ));
            }
        }
        Ok(())
    }
}

fn node_of<R: Read>(entry: &Entry<'_, R>, kind: EntryType) -> Step<Node> {
    Ok(match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Node::File,
        EntryType::Directory => Node::Dir,
        EntryType::Symlink => Node::Symlink(OsString::from_vec(link_name(entry)?)),
        EntryType::Link => Node::Link(clean(&link_name(entry)?)?),
        EntryType::Char => Node::Char(device_of(entry)?),
        EntryType::Block => Node::Block(device_of(entry)?),
        EntryType::Fifo => Node::Fifo,
        other => {
            let text = format!("unknown type {:?}", char::from(other.as_byte()));
            return Err(Fault::Malformed(text));
        }
    })
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> Step<Vec<u8>> {
    match entry.link_name_bytes() {
        Some(name) if !name.is_empty() => Ok(name.into_owned()),
        _ => Err(Fault::Malformed("a link without a target".into())),
    }
}

fn device_of<R: Read>(entry: &Entry<'_, R>) -> Step<(u32, u32)> {
    let header = entry.header();
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (ustar.dev_major, ustar.dev_minor),
        (_, Some(gnu)) => (gnu.dev_major, gnu.dev_minor),
        _ => return Ok((0, 0)),
    };
    let major = number(&major, || header.device_major().map(Option::unwrap_or_default))?;
    Ok((major, number(&minor, || header.device_minor().map(Option::unwrap_or_default))?))
}

/// A field of the header; a blank one is zero, as for other readers of tars.
fn number<N: Default>(field: &[u8], parse: impl FnOnce() -> std::io::Result<N>) -> Step<N> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) { Ok(N::default()) } else { Ok(parse()?) }
}

fn seconds_of(mtime: u64) -> i64 {
    i64::try_from(mtime).unwrap_or(i64::MAX)
}

fn id_of(id: u64) -> Step<u32> {
    u32::try_from(id).map_err(|_| Fault::Malformed(format!("the owner {id} is out of range")))
}

/// `seconds[.fraction]`, possibly negative.
fn parse_time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let whole: i64 = seconds.parse().ok()?;
    match (text.starts_with('-'), nanos) {
        (true, 1..) => Some((whole - 1, NANOS - nanos)),
        _ => Some((whole, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        for (text, time) in [
            ("1500000000", Some((1_500_000_000, 0))),
            ("1500000000.5", Some((1_500_000_000, 500_000_000))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-3", Some((-3, 0))),
            ("", None),
            ("x", None),
            ("1.x", None),
        ] {
            assert_eq!(parse_time(text.as_bytes()), time, "{text}");
        }
    }
}
