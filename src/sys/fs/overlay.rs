//! Overlay mounts with many layers.
//!
//! Contract: mounting what is mounted and unmounting what is not are both fine, so that callers
//! can repeat themselves after a restart. The kernel takes at most one page of options; layers
//! are therefore named relative to the directory that holds them all.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// What to mount; all paths are absolute.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// Read-only layers, the topmost first; at least one.
    pub lower: &'a [PathBuf],
    /// Directory that takes all changes.
    pub upper: &'a Path,
    /// Empty directory of the kernel's on the file system of `upper`.
    pub work: &'a Path,
}

/// mount(2) copies one page and keeps its last byte for the NUL.
const OPTIONS_BYTES_MAX: usize = 4095;

impl Overlay<'_> {
    /// The working directory in which the mount must be made, and its options.
    pub fn options(&self) -> io::Result<(PathBuf, String)> {
        let base = common_parent(self.lower)?;
        let lower: Vec<String> =
            self.lower.iter().map(|dir| relative(&base, dir)).collect::<io::Result<_>>()?;
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            relative(&base, self.upper)?,
            relative(&base, self.work)?
        );
        // With an index the kernel refuses to reuse an upper directory over other layers.
        if Path::new("/sys/module/overlay/parameters/index").exists() {
            options.push_str(",index=off");
        }
        if options.len() > OPTIONS_BYTES_MAX {
            let text = format!("{} layers do not fit in the mount options", self.lower.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok((base, options))
    }

    /// Mounts the overlay on `target` unless something is mounted there already.
    pub fn mount(&self, target: &Path) -> io::Result<()> {
        if is_mounted(target)? {
            return Ok(());
        }
        // Relative names need a working directory, and that of the process belongs to everybody:
        // a thread of its own can have one of its own.
        std::thread::scope(|scope| {
            let mounter = scope.spawn(|| {
                unshare(CloneFlags::CLONE_FS)?;
                self.mount_alone(target)
            });
            mounter.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
        })
    }

    /// Mounts the overlay on `target`, for a process of one thread: while this runs, its working
    /// directory is another one.
    pub fn mount_alone(&self, target: &Path) -> io::Result<()> {
        let (base, options) = self.options()?;
        let target = std::path::absolute(target)?;
        let before = File::open(".")?;
        nix::unistd::chdir(&base)?;
        let kind = Some("overlay");
        let mounted = mount(kind, &target, kind, MsFlags::empty(), Some(options.as_str()));
        nix::unistd::fchdir(&before)?;
        Ok(mounted?)
    }
}

fn common_parent(dirs: &[PathBuf]) -> io::Result<PathBuf> {
    let first = dirs.first().and_then(|dir| dir.parent());
    let mut base = first.ok_or_else(|| invalid("an overlay needs a lower layer"))?;
    while !dirs.iter().all(|dir| dir.starts_with(base)) {
        base = base.parent().ok_or_else(|| invalid("layers must be absolute paths"))?;
    }
    Ok(base.to_path_buf())
}

/// `path` as seen from `base`, refused where the text would mean something else to the kernel.
fn relative(base: &Path, path: &Path) -> io::Result<String> {
    let shared = base.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let mut steps = PathBuf::new();
    base.components().skip(shared).for_each(|_| steps.push(Component::ParentDir));
    path.components().skip(shared).for_each(|step| steps.push(step));
    match steps.to_str() {
        Some(text) if !text.is_empty() && !text.contains([',', ':', '\\', '"']) => Ok(text.into()),
        _ => Err(invalid("a layer's path holds a character that mount options cannot carry")),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Is another file system mounted on `path`? Not meant for bind mounts of the same one.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    let Some(parent) = path.parent() else { return Ok(true) };
    Ok(std::fs::metadata(path)?.dev() != std::fs::metadata(parent)?.dev())
}

/// Unmounts everything on `path`; what is still in use vanishes when its last user does.
pub fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // EINVAL: nothing (more) is mounted there.
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(nix::Error::EBUSY) => {
                umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
            }
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_layers_mount_and_the_topmost_wins() {
        let tmp = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..230).map(|n| format!("{n:012x}")).collect();
        let lower: Vec<PathBuf> =
            names.iter().map(|name| tmp.path().join("layers").join(name).join("fs")).collect();
        for (name, dir) in names.iter().zip(&lower) {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join("who"), name).unwrap();
            std::fs::write(dir.join(name), "").unwrap();
        }
        let [upper, work, target] = ["upper", "work", "merged"].map(|name| tmp.path().join(name));
        for dir in [&upper, &work, &target] {
            std::fs::create_dir(dir).unwrap();
        }
        let overlay = Overlay { lower: &lower, upper: &upper, work: &work };
        let before = std::env::current_dir().unwrap();
        overlay.mount(&target).unwrap();
        overlay.mount(&target).unwrap();
        assert_eq!(std::env::current_dir().unwrap(), before);
        assert_eq!(std::fs::read_to_string(target.join("who")).unwrap(), names[0]);
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 231);
        unmount(&target).unwrap();
        unmount(&target).unwrap();
        assert!(!is_mounted(&target).unwrap());
    }

    #[test]
    fn what_the_kernel_would_misread_is_refused_in_words() {
        let many: Vec<PathBuf> = (0..300).map(|n| format!("/x/{n:012}/fs").into()).collect();
        let (upper, work) = (Path::new("/x/u"), Path::new("/x/w"));
        let refusal =
            |lower: &[PathBuf]| Overlay { lower, upper, work }.options().unwrap_err().to_string();
        assert!(refusal(&many).contains("300 layers"));
        assert!(refusal(&["/x/a,upperdir=b".into()]).contains("character"));
        assert!(refusal(&[]).contains("needs a lower layer"));
    }
}
