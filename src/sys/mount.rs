//! Mounts: bind, tmpfs, propagation, and what is mounted where.

use super::fd::check;
use super::fs::Dir;
use nix::mount::{MntFlags, MsFlags};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How mounts made later pass between this mount and its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Not at all.
    Private,
    /// From the peers only.
    Slave,
    /// Both ways.
    Shared,
}

/// Shows `source` at `target` as well. With `recursive`, what is mounted below it too.
pub fn bind(source: &Path, target: &Path, recursive: bool) -> io::Result<()> {
    let deep = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
    Ok(nix::mount::mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | deep,
        None::<&str>,
    )?)
}

/// A fresh tmpfs with no set-user-id programs and no devices.
pub fn tmpfs(target: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(nix::mount::mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))?)
}

/// Changes how mounts pass at the mount `target`, and below it with `recursive`.
pub fn set_passing(target: &Path, passing: Passing, recursive: bool) -> io::Result<()> {
    let kind = match passing {
        Passing::Private => MsFlags::MS_PRIVATE,
        Passing::Slave => MsFlags::MS_SLAVE,
        Passing::Shared => MsFlags::MS_SHARED,
    };
    let deep = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
    Ok(nix::mount::mount(None::<&str>, target, None::<&str>, kind | deep, None::<&str>)?)
}

/// Takes away the topmost mount at `target` and everything below it, now from view and for good as
/// soon as nobody uses it. No mount there is no error.
pub fn detach(target: &Path) -> io::Result<()> {
    let flags = MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW;
    match nix::mount::umount2(target, flags) {
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Takes away every mount at and below `root`, deepest first.
pub fn detach_below(root: &Path) -> io::Result<()> {
    for point in mount_points()?.into_iter().rev().filter(|point| point.starts_with(root)) {
        detach(&point)?;
    }
    Ok(())
}

/// Whether something is mounted exactly at `path`.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(mount_points()?.iter().any(|point| point == path))
}

/// Every mount point of this process's mount namespace, in the order of mounting.
pub fn mount_points() -> io::Result<Vec<PathBuf>> {
    let table = io::BufReader::new(File::open("/proc/self/mountinfo")?);
    table.lines().map(|line| Ok(mount_point(&line?))).collect()
}

fn mount_point(line: &str) -> PathBuf {
    PathBuf::from(unescape(line.split(' ').nth(4).unwrap_or_default()))
}

/// Undoes the kernel's `\040` notation.
pub fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes.get(i + 1..i + 4).and_then(|d| std::str::from_utf8(d).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (bytes[i], code) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                i += 4;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `path` through a mount of its own that is read-only and belongs to no namespace: nobody can
/// write through it or make it writable.
pub fn read_only_view(path: &Path) -> io::Result<OwnedFd> {
    let tree = detached(path, false)?;
    make_read_only(&tree, false)?;
    Ok(tree)
}

/// A copy of the mount at `path` (and of those below it) that stands nowhere yet.
pub fn detached(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let deep = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | (libc::O_CLOEXEC | deep).cast_unsigned();
    let (call, here) = (libc::SYS_open_tree, libc::AT_FDCWD);
    // SAFETY: the path is a C string that outlives the call.
    owned(unsafe { libc::syscall(call, here, path.as_ptr(), flags) })
}

/// Makes a detached mount read-only, and those below it with `recursive`.
pub fn make_read_only(tree: &OwnedFd, recursive: bool) -> io::Result<()> {
    let attributes = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    let size = size_of::<MountAttributes>();
    let deep = if recursive { libc::AT_RECURSIVE } else { 0 };
    let (call, fd, flags) = (libc::SYS_mount_setattr, tree.as_raw_fd(), libc::AT_EMPTY_PATH | deep);
    let pointer = &raw const attributes;
    // SAFETY: the structure has the kernel's layout and the given size, and outlives the call.
    let set = unsafe { libc::syscall(call, fd, c"".as_ptr(), flags, pointer, size) };
    check(i32::try_from(set).unwrap_or(-1)).map(drop)
}

/// Puts a detached mount at `target`.
pub fn attach(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let path = CString::new(target.as_os_str().as_encoded_bytes())?;
    let from = c"".as_ptr();
    let empty_path = 4u32; // MOVE_MOUNT_F_EMPTY_PATH
    let (call, fd, here) = (libc::SYS_move_mount, tree.as_raw_fd(), libc::AT_FDCWD);
    // SAFETY: both paths are C strings that outlive the call.
    let moved = unsafe { libc::syscall(call, fd, from, here, path.as_ptr(), empty_path) };
    check(i32::try_from(moved).unwrap_or(-1)).map(drop)
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let raw = check(i32::try_from(result).unwrap_or(-1))?;
    // SAFETY: the calls this is used for return a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Makes an empty directory the root of this process's own mount namespace (which must be private)
/// and drops the old root: nothing of the host can be reached through `/proc/PID/root`.
pub fn hide_root(empty: &Path) -> io::Result<()> {
    tmpfs(empty, "size=4k,mode=555")?;
    nix::unistd::chdir(empty)?;
    nix::unistd::pivot_root(".", ".")?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH)?;
    Ok(nix::unistd::chdir("/")?)
}

/// Holds what `path` below the directory `root` leads to, without opening it: a pipe or device does
/// nothing. It can be looked at and bound. Links and `..` never leave the root.
pub fn hold_in_root(root: &Path, path: &Path) -> io::Result<File> {
    Dir::open(root)?.hold_beneath(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoes_the_kernels_escapes() {
        let line = r"31 1 0:27 / /mnt/a\040b\134c rw,nosuid shared:9 - tmpfs tmpfs rw";
        assert_eq!(mount_point(line), Path::new("/mnt/a b\\c"));
        assert_eq!(unescape(r"\04"), r"\04");
    }

    #[test]
    fn a_read_only_view_cannot_be_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let view = read_only_view(file.path()).unwrap();
        let through = format!("/proc/self/fd/{}", view.as_raw_fd());
        let error = File::options().write(true).open(through).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    }
}
