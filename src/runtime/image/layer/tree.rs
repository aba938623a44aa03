//! The directory that one layer becomes: tar entries in, an overlayfs layer out.
//!
//! Contract: nothing is created, changed or read outside the root, whatever an entry is called and
//! whatever links earlier entries made. Every name is cleaned first (`..` above the root is
//! refused), then its parent is resolved by the kernel with the layer as root. Whiteouts and
//! opaque directories become overlayfs's own.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::facts::{Facts, Node};
use crate::sys::fs::{self as files, Dir, Kind, Meta};

/// Why an entry cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(in crate::runtime::image) enum Fault {
    /// The layer is at fault.
    #[error("{0}")]
    Malformed(String),
    /// The disk, or the stream that the layer comes from.
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub(in crate::runtime::image) type Step<T> = Result<T, Fault>;

/// Space that a tree takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, in whole blocks.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that old aufs tools left behind; they mean nothing to anybody else.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// The kernel's own limit on the links in one path.
const LINKS_MAX: u32 = 40;
const BLOCK_BYTES: u64 = 4096;
const BUFFER_BYTES: usize = 256 << 10;

/// A layer in the making.
pub(in crate::runtime::image) struct Tree {
    root: Dir,
    /// The layers below, the nearest first.
    lower: Vec<Dir>,
    /// The parent of the last entry: most entries come directory by directory.
    here: Option<(PathBuf, Rc<Dir>)>,
    /// Times of directories, set last since every entry inside changes them.
    times: Vec<(PathBuf, (i64, i64))>,
    usage: Usage,
    opaque_root: bool,
    buffer: Vec<u8>,
}

impl Tree {
    /// A tree in the existing, empty directory `root`, on top of `lower` (the nearest first).
    pub(in crate::runtime::image) fn new(root: &Path, lower: &[PathBuf]) -> Step<Tree> {
        let lower: Vec<Dir> = lower.iter().map(|dir| Dir::open(dir)).collect::<io::Result<_>>()?;
        let mut tree = Tree {
            root: Dir::open(root)?,
            lower,
            here: None,
            times: Vec::new(),
            usage: Usage { bytes: BLOCK_BYTES, inodes: 1 },
            opaque_root: false,
            buffer: vec![0; BUFFER_BYTES],
        };
        let root = tree.root.try_clone()?;
        tree.inherit(&root, OsStr::new("."), Path::new(""))?;
        Ok(tree)
    }

    /// Unpacks one entry.
    pub(in crate::runtime::image) fn apply(
        &mut self,
        facts: &Facts,
        content: &mut impl Read,
    ) -> Step<()> {
        let Some(name) = facts.path.file_name() else {
            return self.apply_root(facts);
        };
        let parent = facts.path.parent().unwrap_or(Path::new(""));
        let dir = self.parent(parent)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            return self.whiteout(&dir, parent, name, OsStr::from_bytes(hidden));
        }
        match &facts.node {
            Node::Dir => self.place_dir(&dir, name, facts),
            node => {
                self.clear(&dir, name)?;
                self.usage.inodes += 1;
                match node {
                    Node::File => self.place_file(&dir, name, facts, content),
                    Node::Link(target) => self.place_link(&dir, name, target),
                    node => place_node(&dir, name, node, facts),
                }
            }
        }
    }

    /// Sets what could only be set at the end.
    pub(in crate::runtime::image) fn finish(self) -> Step<Finished> {
        for (path, time) in self.times.iter().rev() {
            let parent = self.root.beneath(path.parent().unwrap_or(Path::new("")));
            let name = path.file_name().unwrap_or(OsStr::new("."));
            // A later entry may have put something else in the directory's place.
            if let Ok(dir) = parent
                && dir.meta(name)?.is_some_and(|meta| meta.kind == Kind::Dir)
            {
                dir.set_mtime(name, *time)?;
            }
        }
        Ok(Finished { usage: self.usage, opaque_root: self.opaque_root })
    }

    fn apply_root(&mut self, facts: &Facts) -> Step<()> {
        if facts.node != Node::Dir {
            return Err(Fault::Malformed("the root is not a directory".into()));
        }
        self.times.push((PathBuf::new(), facts.mtime));
        dress(&self.root, OsStr::new("."), facts)
    }

    /// The directory at `path`; what is missing of it is made.
    fn parent(&mut self, path: &Path) -> Step<Rc<Dir>> {
        if let Some((known, dir)) = &self.here
            && known == path
        {
            return Ok(Rc::clone(dir));
        }
        let dir = match self.root.beneath(path) {
            Ok(dir) => dir,
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                self.walk(path)?
            }
            Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Err(too_many_links(path)),
            Err(e) => return Err(e.into()),
        };
        let dir = Rc::new(dir);
        self.here = Some((path.to_path_buf(), Rc::clone(&dir)));
        Ok(dir)
    }

    /// Goes down `path` step by step, following links inside the root, and makes what is missing.
    fn walk(&mut self, path: &Path) -> Step<Dir> {
        let mut todo: Vec<OsString> = names_reversed(path);
        let (mut real, mut links) = (PathBuf::new(), 0);
        while let Some(name) = todo.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            let dir = self.root.beneath(&real)?;
            match dir.meta(&name)? {
                None => self.make_parent(&dir, &name, &real.join(&name))?,
                Some(meta) if meta.is_whiteout() => {
                    dir.remove(&name)?;
                    self.make_parent(&dir, &name, &real.join(&name))?;
                    set_opaque(&dir, &name)?;
                }
                Some(Meta { kind: Kind::Dir, .. }) => {}
                Some(Meta { kind: Kind::Symlink, .. }) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(too_many_links(path));
                    }
                    let target = PathBuf::from(dir.read_link(&name)?);
                    if target.is_absolute() {
                        real = PathBuf::new();
                    }
                    todo.extend(names_reversed(&target));
                    continue;
                }
                Some(_) => {
                    let text = format!("{} is not a directory", real.join(&name).display());
                    return Err(Fault::Malformed(text));
                }
            }
            real.push(&name);
        }
        Ok(self.root.beneath(&real)?)
    }

    /// Makes a directory that the layer did not mention: it looks as it does in the layers below.
    fn make_parent(&mut self, dir: &Dir, name: &OsStr, path: &Path) -> Step<()> {
        dir.mkdir(name, 0o755)?;
        // The process's umask must not show in images.
        dir.chmod(name, 0o755)?;
        self.count_dir();
        self.inherit(dir, name, path)
    }

    /// Copies the attributes of the directory `path` from the nearest layer that has it.
    fn inherit(&mut self, dir: &Dir, name: &OsStr, path: &Path) -> Step<()> {
        for layer in &self.lower {
            let (parent, last) = match path.file_name() {
                Some(last) => (path.parent().unwrap_or(Path::new("")), last),
                None => (Path::new(""), OsStr::new(".")),
            };
            let below = match layer.beneath(parent) {
                Ok(below) => below,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => return Ok(()),
            };
            match below.meta(last)? {
                None => {}
                Some(meta) if meta.kind == Kind::Dir => {
                    dir.chown(name, meta.uid, meta.gid)?;
                    dir.chmod(name, meta.mode)?;
                    copy_xattrs(&below, last, dir, name)?;
                    self.times.push((path.to_path_buf(), meta.mtime));
                    return Ok(());
                }
                // Something else stood there: then this is a new directory.
                Some(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, dir: &Dir, parent: &Path, full: &OsStr, hidden: &OsStr) -> Step<()> {
        if full.as_bytes() == WHITEOUT_OPAQUE {
            if parent.as_os_str().is_empty() {
                // The kernel does not look for the mark on a layer's own root.
                self.opaque_root = true;
            }
            return set_opaque(dir, OsStr::new("."));
        }
        if full.as_bytes().starts_with(WHITEOUT_META) {
            return Ok(());
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." {
            return Err(Fault::Malformed("a whiteout without a name".into()));
        }
        match dir.meta(hidden)? {
            None => {
                self.usage.inodes += 1;
                Ok(dir.mknod(hidden, Kind::Char, 0, (0, 0))?)
            }
            // Whiteouts speak of the layers below only; what this layer brought stays.
            Some(meta) if meta.kind == Kind::Dir => set_opaque(dir, hidden),
            Some(_) => Ok(()),
        }
    }

    /// Removes what earlier entries of this layer put there; says whether there was something.
    fn clear(&mut self, dir: &Dir, name: &OsStr) -> Step<bool> {
        let there = dir.meta(name)?.is_some();
        if there {
            dir.remove(name)?;
            self.here = None;
        }
        Ok(there)
    }

    fn place_dir(&mut self, dir: &Dir, name: &OsStr, facts: &Facts) -> Step<()> {
        let exists = dir.meta(name)?.is_some_and(|meta| meta.kind == Kind::Dir);
        if !exists {
            let replaced = self.clear(dir, name)?;
            dir.mkdir(name, 0o700)?;
            self.count_dir();
            if replaced {
                // What stood here hid the layers below; a plain directory would show them again.
                set_opaque(dir, name)?;
            }
        }
        self.times.push((facts.path.clone(), facts.mtime));
        dress(dir, name, facts)
    }

    fn place_file(
        &mut self,
        dir: &Dir,
        name: &OsStr,
        facts: &Facts,
        content: &mut impl Read,
    ) -> Step<()> {
        let mut file = dir.create(name)?;
        let written = super::copy(content, &mut file, &mut self.buffer, facts.sparse)?;
        self.usage.bytes += written.next_multiple_of(BLOCK_BYTES);
        // The owner first: a change of owner takes set-id bits and capabilities away.
        files::chown_file(&file, facts.uid, facts.gid)?;
        files::chmod_file(&file, facts.mode)?;
        set_xattrs(dir, name, facts)?;
        Ok(files::set_file_mtime(&file, facts.mtime)?)
    }

    fn place_link(&mut self, dir: &Dir, name: &OsStr, target: &Path) -> Step<()> {
        let missing = || Fault::Malformed(format!("no {} to link to", target.display()));
        let last = target.file_name().ok_or_else(missing)?;
        let parent = self.root.beneath(target.parent().unwrap_or(Path::new("")));
        let parent = parent.map_err(|_| missing())?;
        match parent.meta(last)? {
            Some(meta) if meta.kind != Kind::Dir => Ok(dir.link((&parent, last), name)?),
            _ => Err(missing()),
        }
    }

    fn count_dir(&mut self) {
        self.usage.bytes += BLOCK_BYTES;
        self.usage.inodes += 1;
    }
}

/// What is known of a layer once it is unpacked.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime::image) struct Finished {
    pub usage: Usage,
    /// Nothing of the layers below shows.
    pub opaque_root: bool,
}

fn place_node(dir: &Dir, name: &OsStr, node: &Node, facts: &Facts) -> Step<()> {
    match node {
        Node::Symlink(target) => dir.symlink(target, name)?,
        Node::Char(device) => dir.mknod(name, Kind::Char, 0o600, *device)?,
        Node::Block(device) => dir.mknod(name, Kind::Block, 0o600, *device)?,
        _ => dir.mknod(name, Kind::Fifo, 0o600, (0, 0))?,
    }
    dress(dir, name, facts)?;
    Ok(dir.set_mtime(name, facts.mtime)?)
}

/// Owner, permissions and extended attributes, in the order in which they do not undo each other.
fn dress(dir: &Dir, name: &OsStr, facts: &Facts) -> Step<()> {
    dir.chown(name, facts.uid, facts.gid)?;
    if !matches!(facts.node, Node::Symlink(_)) {
        dir.chmod(name, facts.mode)?;
    }
    set_xattrs(dir, name, facts)
}

fn set_xattrs(dir: &Dir, name: &OsStr, facts: &Facts) -> Step<()> {
    for (key, value) in &facts.xattrs {
        set_xattr(dir, name, key, value)?;
    }
    Ok(())
}

/// Sets an attribute, except those that steer overlayfs and those that the file system lacks.
fn set_xattr(dir: &Dir, name: &OsStr, key: &OsStr, value: &[u8]) -> Step<()> {
    let bytes = key.as_bytes();
    if bytes.starts_with(b"trusted.overlay.") || bytes.starts_with(b"user.overlay.") {
        return Ok(());
    }
    match dir.set_xattr(name, key, value) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EPERM)) => {
            tracing::debug!(?key, file = ?name, error = %e, "extended attribute left out");
            Ok(())
        }
        result => Ok(result?),
    }
}

fn copy_xattrs(from: &Dir, from_name: &OsStr, to: &Dir, to_name: &OsStr) -> Step<()> {
    for key in from.xattr_names(from_name)? {
        if let Some(value) = from.xattr(from_name, &key)? {
            set_xattr(to, to_name, &key, &value)?;
        }
    }
    Ok(())
}

fn set_opaque(dir: &Dir, name: &OsStr) -> Step<()> {
    Ok(dir.set_xattr(name, OsStr::new(OPAQUE_XATTR), b"y")?)
}

fn too_many_links(path: &Path) -> Fault {
    Fault::Malformed(format!("too many links in {}", path.display()))
}

fn names_reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|step| match step {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// A name from an archive as a path without `.`, `..` and leading `/`.
pub(in crate::runtime::image) fn clean(name: &[u8]) -> Step<PathBuf> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    if name.len() >= libc::PATH_MAX as usize {
        return Err(Fault::Malformed("a name of more than 4095 bytes".into()));
    }
    if name.contains(&0) {
        return Err(Fault::Malformed(format!("a NUL in the name {:?}", shown())));
    }
    let mut path = PathBuf::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if !path.pop() => {
                return Err(Fault::Malformed(format!("{:?} leads out of the layer", shown())));
            }
            b".." => {}
            part => path.push(OsString::from_vec(part.to_vec())),
        }
    }
    Ok(path)
}
