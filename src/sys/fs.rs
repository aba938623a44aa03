//! Files reached through directory descriptors, so that no name can lead out of a chosen root.
//!
//! Contract: every name given to [`Dir`]'s methods is one path component (or `.`); only
//! [`Dir::beneath`] and [`Dir::open_file_beneath`] take paths, and these are resolved by the
//! kernel with the directory as root (`openat2`, Linux 5.6), symlinks and `..` included.
//! Must not know what the files are for: images, volumes and layers are the callers' business.

/// Mounting and unmounting of overlay file systems.
pub mod overlay;

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
    /// Anything else (sockets).
    Other,
}

/// The attributes of one file, symlinks not followed.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, of devices only.
    pub rdev: u64,
    /// Seconds and nanoseconds since 1970 of the last change of content.
    pub mtime: (i64, i64),
}

impl Meta {
    fn of(stat: &FileStat) -> Meta {
        let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Dir,
            SFlag::S_IFLNK => Kind::Symlink,
            SFlag::S_IFCHR => Kind::Char,
            SFlag::S_IFBLK => Kind::Block,
            SFlag::S_IFIFO => Kind::Fifo,
            _ => Kind::Other,
        };
        Meta {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: stat.st_rdev,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
        }
    }

    /// Is it overlayfs's mark for "nothing here, whatever the layers below say"?
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::Char && self.rdev == 0
    }
}

/// An open directory; good for naming its entries, not for listing them.
#[derive(Debug)]
pub struct Dir(OwnedFd);

const PATH_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

impl Dir {
    /// Opens a directory by an ordinary path, which is trusted.
    pub fn open(path: &Path) -> io::Result<Dir> {
        Ok(Dir(nix::fcntl::open(path, PATH_ONLY | OFlag::O_DIRECTORY, Mode::empty())?))
    }

    /// A second handle on the same directory.
    pub fn try_clone(&self) -> io::Result<Dir> {
        Ok(Dir(self.0.try_clone()?))
    }

    /// The directory at `path` with this directory as root: `..` and absolute links stay inside.
    pub fn beneath(&self, path: &Path) -> io::Result<Dir> {
        self.resolve(path, PATH_ONLY | OFlag::O_DIRECTORY).map(Dir)
    }

    /// The regular file at `path` with this directory as root, for reading.
    ///
    /// Never blocks on a FIFO and refuses anything but a regular file.
    pub fn open_file_beneath(&self, path: &Path) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(self.resolve(path, flags)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// What `path` leads to with this directory as root, held but not opened: a pipe or device does
    /// nothing. It can be looked at and bound.
    pub fn hold_beneath(&self, path: &Path) -> io::Result<File> {
        self.resolve(path, PATH_ONLY).map(File::from)
    }

    fn resolve(&self, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(openat2(&self.0, path, how)?)
    }

    /// The entry `name` as a directory; fails if it is anything else, symlinks included.
    pub fn child(&self, name: &OsStr) -> io::Result<Dir> {
        let flags = PATH_ONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(Dir(openat(&self.0, name, flags, Mode::empty())?))
    }

    /// The attributes of `name`, or nothing if there is no such entry.
    pub fn meta(&self, name: &OsStr) -> io::Result<Option<Meta>> {
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Meta::of(&stat))),
            Err(nix::Error::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Where the symlink `name` points.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(readlinkat(&self.0, name)?)
    }

    /// Makes a directory.
    pub fn mkdir(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        Ok(mkdirat(&self.0, name, Mode::from_bits_truncate(mode))?)
    }

    /// Makes a new, empty, private file for writing; fails if the name exists.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.0, name, flags, Mode::from_bits_truncate(0o600))?))
    }

    /// Makes a symlink with any text as its target.
    pub fn symlink(&self, target: &OsStr, name: &OsStr) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, name)?)
    }

    /// Gives the entry `from.1` of the directory `from.0` a second name here; links not followed.
    pub fn link(&self, from: (&Dir, &OsStr), name: &OsStr) -> io::Result<()> {
        Ok(linkat(&from.0.0, from.1, &self.0, name, LinkatFlags::empty())?)
    }

    /// Makes a device or FIFO.
    pub fn mknod(&self, name: &OsStr, kind: Kind, mode: u32, device: (u32, u32)) -> io::Result<()> {
        let kind = match kind {
            Kind::Char => SFlag::S_IFCHR,
            Kind::Block => SFlag::S_IFBLK,
            Kind::Fifo => SFlag::S_IFIFO,
            _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let device = nix::sys::stat::makedev(device.0.into(), device.1.into());
        Ok(mknodat(&self.0, name, kind, Mode::from_bits_truncate(mode), device)?)
    }

    /// Removes `name`, with everything in it if it is a directory; nothing is not an error.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            // std removes by descriptors and does not follow links on the way down.
            Err(nix::Error::EISDIR | nix::Error::EPERM) => {
                std::fs::remove_dir_all(self.path_of(name))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Sets the owner of `name` itself.
    pub fn chown(&self, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(fchownat(&self.0, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Sets the permission bits of `name`, which must not be a symlink: it would be followed.
    pub fn chmod(&self, name: &OsStr, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(mode);
        Ok(fchmodat(&self.0, name, mode, FchmodatFlags::FollowSymlink)?)
    }

    /// Sets the access and modification time of `name` itself.
    pub fn set_mtime(&self, name: &OsStr, mtime: (i64, i64)) -> io::Result<()> {
        let time = TimeSpec::new(mtime.0, mtime.1);
        Ok(utimensat(&self.0, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
    }

    /// Sets one extended attribute of `name` itself.
    pub fn set_xattr(&self, name: &OsStr, key: &OsStr, value: &[u8]) -> io::Result<()> {
        let (path, key) = (c_string(self.path_of(name).as_os_str())?, c_string(key)?);
        let value_ptr = value.as_ptr().cast();
        // SAFETY: both strings end in NUL and live over the call; the value is read for its length.
        let done =
            unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), value_ptr, value.len(), 0) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// One extended attribute of `name` itself, if it is set.
    pub fn xattr(&self, name: &OsStr, key: &OsStr) -> io::Result<Option<Vec<u8>>> {
        let (path, key) = (c_string(self.path_of(name).as_os_str())?, c_string(key)?);
        let got = read_sized(|buf| {
            // SAFETY: both strings end in NUL; the kernel writes at most `buf.len()` bytes.
            unsafe {
                libc::lgetxattr(path.as_ptr(), key.as_ptr(), buf.as_mut_ptr().cast(), buf.len())
            }
        });
        match got {
            Ok(value) => Ok(Some(value)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// The names of the extended attributes of `name` itself; none where they are unsupported.
    pub fn xattr_names(&self, name: &OsStr) -> io::Result<Vec<OsString>> {
        let path = c_string(self.path_of(name).as_os_str())?;
        let got = read_sized(|buf| {
            // SAFETY: the path ends in NUL; the kernel writes at most `buf.len()` bytes.
            unsafe { libc::llistxattr(path.as_ptr(), buf.as_mut_ptr().cast(), buf.len()) }
        });
        match got {
            Ok(list) => Ok(list
                .split(|b| *b == 0)
                .filter(|name| !name.is_empty())
                .map(|name| OsString::from_vec(name.to_vec()))
                .collect()),
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    /// A path for calls that have no form with a descriptor; only the last component is a name.
    fn path_of(&self, name: &OsStr) -> std::path::PathBuf {
        Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string()).join(name)
    }
}

/// Sets the owner of an open file.
pub fn chown_file(file: &File, uid: u32, gid: u32) -> io::Result<()> {
    Ok(nix::unistd::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

/// Sets the permission bits, set-id bits included, of an open file.
pub fn chmod_file(file: &File, mode: u32) -> io::Result<()> {
    Ok(nix::sys::stat::fchmod(file, Mode::from_bits_truncate(mode))?)
}

/// Sets the access and modification time of an open file.
pub fn set_file_mtime(file: &File, mtime: (i64, i64)) -> io::Result<()> {
    let time = TimeSpec::new(mtime.0, mtime.1);
    Ok(nix::sys::stat::futimens(file, &time, &time)?)
}

/// Writes out everything that is dirty in the file system that holds `path`.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(path)?.as_fd())?)
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces a file as a whole: after a crash it has the old or the new content, durably.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = parent.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_dir(parent)
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsRoom {
    /// Size of the whole file system in bytes.
    pub capacity_bytes: u64,
    /// Bytes that may still be written.
    pub available_bytes: u64,
    /// Number of inodes; 0 where the file system has no fixed number.
    pub inodes: u64,
    /// Inodes not in use.
    pub inodes_free: u64,
}

/// The room on the file system that holds `path`.
pub fn room(path: &Path) -> io::Result<FsRoom> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let block = stat.fragment_size() as u64;
    Ok(FsRoom {
        capacity_bytes: stat.blocks().saturating_mul(block),
        available_bytes: stat.blocks_available().saturating_mul(block),
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}

/// Bytes and files that a directory takes on the disk, itself included; mounts in it are not.
///
/// What vanishes meanwhile is not counted.
pub fn disk_usage(dir: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::symlink_metadata(dir)?;
    let (mut blocks, mut files) = (own.blocks(), 1);
    let mut todo = vec![dir.to_path_buf()];
    // A file with several names is counted once.
    let mut linked = std::collections::HashSet::new();
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != own.dev() || (meta.nlink() > 1 && !linked.insert(meta.ino())) {
                continue;
            }
            blocks += meta.blocks();
            files += 1;
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    Ok((blocks * 512, files))
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Runs a call that fills a buffer and says how much it needs when given an empty one.
fn read_sized(mut call: impl FnMut(&mut [u8]) -> isize) -> io::Result<Vec<u8>> {
    // The value may grow between the two calls; then the second one fails with ERANGE.
    for _ in 0..4 {
        let needed = call(&mut []);
        let Ok(needed) = usize::try_from(needed) else { return Err(io::Error::last_os_error()) };
        if needed == 0 {
            return Ok(Vec::new());
        }
        let mut buf = vec![0; needed];
        match usize::try_from(call(&mut buf)) {
            Ok(len) => {
                buf.truncate(len);
                return Ok(buf);
            }
            Err(_) if io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE) => {}
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ERANGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beneath_never_leaves_the_root() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir(tmp.path().join("etc")).unwrap();
        std::fs::write(tmp.path().join("etc/passwd"), "inside").unwrap();
        std::os::unix::fs::symlink("/etc", tmp.path().join("abs")).unwrap();
        std::os::unix::fs::symlink("../../../etc", tmp.path().join("up")).unwrap();
        let root = Dir::open(tmp.path()).unwrap();
        for path in ["abs/passwd", "up/passwd", "../../etc/passwd", "/etc/passwd"] {
            let file = root.open_file_beneath(Path::new(path)).unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), "inside", "{path}");
        }
    }

    #[test]
    fn only_regular_files_are_opened() {
        let tmp = tempfile::tempdir().unwrap();
        let root = Dir::open(tmp.path()).unwrap();
        root.mknod(OsStr::new("pipe"), Kind::Fifo, 0o644, (0, 0)).unwrap();
        assert!(root.open_file_beneath(Path::new("pipe")).is_err());
        assert!(root.hold_beneath(Path::new("/pipe")).is_ok());
        assert!(root.hold_beneath(Path::new("/proc/self/status")).is_err());
        assert!(root.open_file_beneath(Path::new(".")).is_err());
    }

    #[test]
    fn attributes_come_back_as_set() {
        let tmp = tempfile::tempdir().unwrap();
        let root = Dir::open(tmp.path()).unwrap();
        let name = OsStr::new("f");
        drop(root.create(name).unwrap());
        assert!(root.create(name).is_err(), "create must not open what exists");
        root.chown(name, 7, 8).unwrap();
        root.chmod(name, 0o4755).unwrap();
        root.set_mtime(name, (1_000_000, 5)).unwrap();
        let meta = root.meta(name).unwrap().unwrap();
        assert_eq!((meta.uid, meta.gid, meta.mode, meta.mtime), (7, 8, 0o4755, (1_000_000, 5)));
        root.remove(name).unwrap();
        assert!(root.meta(name).unwrap().is_none());
        root.remove(name).unwrap();
    }

    #[test]
    fn xattrs_are_of_the_entry_itself() {
        let tmp = tempfile::tempdir().unwrap();
        let root = Dir::open(tmp.path()).unwrap();
        root.symlink(OsStr::new("nowhere"), OsStr::new("l")).unwrap();
        let key = OsStr::new("trusted.test");
        root.set_xattr(OsStr::new("l"), key, b"x").unwrap();
        assert_eq!(root.xattr(OsStr::new("l"), key).unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(root.xattr_names(OsStr::new("l")).unwrap(), [key]);
        assert_eq!(root.xattr(OsStr::new("."), key).unwrap(), None);
    }
}
