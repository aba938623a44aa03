//! Control groups: v2, v1 and hybrid behind one face.
//!
//! A machine is a list of hierarchies, each with its version and controllers; v2 is the case of one
//! hierarchy. Every limit goes to the hierarchy that has its controller, and is reported back as
//! skipped when none has. Paths are relative to the roots of the hierarchies.
//!
//! Contract: everything may be called again after a crash at any point. What is gone is no error.

mod device;
mod settings;
mod usage;

pub use device::{DeviceKind, DeviceRule};
pub use settings::Limits;
pub use usage::Usage;

use super::fd::{Interest, wait};
use super::mount::unescape;
use super::process::PidFd;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long [`Cgroups::kill`] waits for killed processes to be gone: one that hangs in the kernel
/// (a dead network file system) must not hang its killer.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Which generation of control groups carries the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One hierarchy.
    V2,
    /// One hierarchy per controller, and an unused v2 one.
    Hybrid,
    /// One hierarchy per controller.
    V1,
}

/// Version of one hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One controller, or a few that are mounted together.
    V1,
    /// All controllers.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its version.
    pub version: Version,
    /// Its controllers.
    pub controllers: Vec<String>,
}

/// The control groups of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroups {
    mode: Mode,
    hierarchies: Vec<Hierarchy>,
}

impl Cgroups {
    /// Those that are mounted now.
    pub fn detect() -> io::Result<Self> {
        Self::from_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?)
    }

    fn from_mountinfo(table: &str) -> io::Result<Self> {
        let mut found: Vec<Hierarchy> = Vec::new();
        for hierarchy in table.lines().filter_map(hierarchy) {
            let same = |known: &Hierarchy| {
                known.version == hierarchy.version && known.controllers == hierarchy.controllers
            };
            if !found.iter().any(same) {
                found.push(hierarchy);
            }
        }
        let (mut v1, v2): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|hierarchy| hierarchy.version == Version::V1);
        v1.retain(|hierarchy| !hierarchy.controllers.is_empty());
        let (mode, mut hierarchies) = match (v1.is_empty(), v2.is_empty()) {
            (true, true) => {
                let message = "no cgroup file system is mounted";
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
            (true, false) => (Mode::V2, v2),
            (false, true) => (Mode::V1, v1),
            (false, false) => (Mode::Hybrid, v1),
        };
        if let (Mode::V2, [only, ..]) = (mode, &mut hierarchies[..]) {
            only.controllers = words(&only.mount.join("cgroup.controllers"))?;
            hierarchies.truncate(1);
        }
        Ok(Self { mode, hierarchies })
    }

    /// Given ones, for tests on a tree of ordinary files.
    pub fn of(mode: Mode, hierarchies: Vec<Hierarchy>) -> Self {
        Self { mode, hierarchies }
    }

    /// Which generation carries the limits.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All controllers, sorted.
    pub fn controllers(&self) -> Vec<String> {
        let all = self.hierarchies.iter().flat_map(|hierarchy| hierarchy.controllers.clone());
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The mounted hierarchies that carry limits.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Makes the group in every hierarchy, with its parents and with every controller handed down.
    pub fn create(&self, path: &str) -> io::Result<()> {
        for hierarchy in &self.hierarchies {
            let mut at = hierarchy.mount.clone();
            for part in parts(path)? {
                if hierarchy.version == Version::V2 {
                    hand_down(&at)?;
                }
                at.push(part);
                match fs::create_dir(&at) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(named(error, &at));
                    }
                    _ => {}
                }
                if hierarchy.has("cpuset") && hierarchy.version == Version::V1 {
                    inherit_cpuset(&at)?;
                }
            }
        }
        Ok(())
    }

    /// Sets limits; returns those for which this machine has no controller.
    pub fn apply(&self, path: &str, limits: &Limits) -> io::Result<Vec<&'static str>> {
        let mut skipped = Vec::new();
        for controller in settings::CONTROLLERS {
            let Some(hierarchy) = self.with_controller(controller) else {
                if !limits.settings(Version::V2, controller).is_empty() {
                    skipped.push(*controller);
                }
                continue;
            };
            let directory = hierarchy.mount.join(clean(path)?);
            let settings = limits.settings(hierarchy.version, controller);
            settings::write_all(&directory, &settings)?;
        }
        Ok(skipped)
    }

    /// Allows only these devices; the rule of last resort is to deny.
    pub fn allow_devices(&self, path: &str, rules: &[DeviceRule]) -> io::Result<()> {
        let path = clean(path)?;
        match (self.mode, self.with_controller("devices")) {
            (Mode::V2, _) => match self.hierarchies.first() {
                Some(only) => device::attach(&only.mount.join(path), rules),
                None => Ok(()),
            },
            (_, Some(hierarchy)) => device::write_lists(&hierarchy.mount.join(path), rules),
            (_, None) => Ok(()),
        }
    }

    /// Moves a process (0: the caller) into the group in every hierarchy.
    pub fn join(&self, path: &str, pid: i32) -> io::Result<()> {
        for directory in self.directories(path)? {
            let file = directory.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(|error| named(error, &file))?;
        }
        Ok(())
    }

    /// Processes of the group and of those below it.
    pub fn processes(&self, path: &str) -> io::Result<Vec<i32>> {
        let mut all = BTreeSet::new();
        for directory in self.directories(path)? {
            for group in tree(&directory)? {
                let listed = words(&group.join("cgroup.procs"))?;
                // 0 stands for a process of another PID namespace.
                all.extend(
                    listed.iter().filter_map(|pid| pid.parse::<i32>().ok()).filter(|p| *p > 0),
                );
            }
        }
        Ok(all.into_iter().collect())
    }

    /// Kills every process of the group and of those below it, and waits until they are gone.
    pub fn kill(&self, path: &str) -> io::Result<()> {
        let frozen = self.freeze(path, true)?;
        let result = self.kill_until_empty(path, frozen);
        if frozen {
            self.freeze(path, false)?;
        }
        result
    }

    fn kill_until_empty(&self, path: &str, mut frozen: bool) -> io::Result<()> {
        // Each round kills what the last one let fork; a frozen group cannot fork.
        for _ in 0..64 {
            let mut pidfds = Vec::new();
            self.kill_file(path)?;
            for pid in self.processes(path)? {
                pidfds.extend(PidFd::open(pid)?);
            }
            if pidfds.is_empty() {
                return Ok(());
            }
            pidfds.iter().try_for_each(|pidfd| pidfd.kill(libc::SIGKILL))?;
            if std::mem::take(&mut frozen) {
                self.freeze(path, false)?;
            }
            wait_for_all(pidfds)?;
        }
        Err(io::Error::other(format!("processes of cgroup {path} keep forking")))
    }

    /// v2's own way, where the kernel has it: also reaches what is being forked.
    fn kill_file(&self, path: &str) -> io::Result<()> {
        if self.mode == Mode::V2 {
            for directory in self.directories(path)? {
                match fs::write(directory.join("cgroup.kill"), "1") {
                    Err(error) if !is_gone(&error) => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// v1's way against forks while killing. Returns whether it applied.
    fn freeze(&self, path: &str, freeze: bool) -> io::Result<bool> {
        let Some(hierarchy) = self.with_controller("freezer") else { return Ok(false) };
        let state = if freeze { "FROZEN" } else { "THAWED" };
        match fs::write(hierarchy.mount.join(clean(path)?).join("freezer.state"), state) {
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(true),
        }
    }

    /// Removes the group and those below it. They must be empty of processes.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        for directory in self.directories(path)? {
            for group in tree(&directory)?.into_iter().rev() {
                remove_one(&group)?;
            }
        }
        Ok(())
    }

    /// What the group has used so far.
    pub fn usage(&self, path: &str) -> io::Result<Usage> {
        let path = clean(path)?;
        let read = |controller: &str, file: &str| -> Option<String> {
            let hierarchy = self.with_controller(controller)?;
            fs::read_to_string(hierarchy.mount.join(&path).join(file)).ok()
        };
        if self.directories(&path.to_string_lossy())?.iter().all(|group| !group.exists()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(match self.mode {
            Mode::V2 => usage::read_v2(read),
            Mode::Hybrid | Mode::V1 => usage::read_v1(read),
        })
    }

    /// How often the kernel has killed a process of the group for want of memory.
    pub fn oom_kills(&self, path: &str) -> u64 {
        let Some(hierarchy) = self.with_controller("memory") else { return 0 };
        let file = match hierarchy.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let Ok(path) = clean(path) else { return 0 };
        let text = fs::read_to_string(hierarchy.mount.join(path).join(file)).unwrap_or_default();
        usage::keyed(&text, "oom_kill").unwrap_or(0)
    }

    /// Where the hierarchy of `controller` shows the group.
    pub fn directory(&self, controller: &str, path: &str) -> Option<PathBuf> {
        Some(self.with_controller(controller)?.mount.join(clean(path).ok()?))
    }

    fn with_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.has(controller))
    }

    fn directories(&self, path: &str) -> io::Result<Vec<PathBuf>> {
        let path = clean(path)?;
        Ok(self.hierarchies.iter().map(|hierarchy| hierarchy.mount.join(&path)).collect())
    }
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// A hierarchy from a line of mountinfo; named v1 hierarchies have no controllers.
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let mount = PathBuf::from(unescape(left.split(' ').nth(4)?));
    let options = right.nth(1).unwrap_or_default();
    let controllers = match version {
        Version::V1 => options.split(',').filter(|name| is_controller(name)).map(str::to_owned),
        Version::V2 => return Some(Hierarchy { mount, version, controllers: Vec::new() }),
    };
    Some(Hierarchy { mount, version, controllers: controllers.collect() })
}

fn is_controller(option: &str) -> bool {
    const OTHERS: [&str; 8] =
        ["rw", "ro", "xattr", "noprefix", "clone_children", "favordynmods", "none", "all"];
    !option.contains('=') && !OTHERS.contains(&option)
}

fn parts(path: &str) -> io::Result<Vec<&str>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // The root itself is never ours, and `..` would lead to it.
    if parts.is_empty() || parts.iter().any(|part| *part == ".." || *part == ".") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("bad cgroup path {path:?}"),
        ));
    }
    Ok(parts)
}

fn clean(path: &str) -> io::Result<PathBuf> {
    Ok(parts(path)?.into_iter().collect())
}

fn words(file: &Path) -> io::Result<Vec<String>> {
    match fs::read_to_string(file) {
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(named(error, file)),
        Ok(text) => Ok(text.split_whitespace().map(str::to_owned).collect()),
    }
}

/// Gives the groups below `directory` every controller that it has itself.
fn hand_down(directory: &Path) -> io::Result<()> {
    let enabled = words(&directory.join("cgroup.subtree_control"))?;
    for controller in words(&directory.join("cgroup.controllers"))? {
        if !enabled.contains(&controller) {
            let file = directory.join("cgroup.subtree_control");
            match fs::write(&file, format!("+{controller}")) {
                // Some controllers (cpu with real-time tasks) cannot be had; their limits will be
                // refused by name when they are set.
                Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                    return Err(named(error, &file));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A fresh v1 cpuset is empty and takes no process until it has CPUs and memory nodes.
fn inherit_cpuset(directory: &Path) -> io::Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let file = directory.join(name);
        let present = fs::read_to_string(&file).unwrap_or_default();
        if present.trim().is_empty()
            && let Some(parent) = directory.parent()
        {
            let inherited = fs::read_to_string(parent.join(name)).unwrap_or_default();
            fs::write(&file, inherited.trim()).map_err(|error| named(error, &file))?;
        }
    }
    Ok(())
}

/// `directory` and every group below it, parents first; nothing when it is gone.
fn tree(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(group) = all.get(next).cloned() {
        next += 1;
        match fs::read_dir(&group) {
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(named(error, &group)),
            Ok(entries) => {
                let directories = entries
                    .filter_map(Result::ok)
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
                all.extend(directories.map(|entry| entry.path()));
            }
        }
    }
    Ok(all)
}

fn remove_one(group: &Path) -> io::Result<()> {
    // A process that has just ended may hold its group for some microseconds more, and v1 has no
    // event for its release: a few short waits, then the error.
    let mut tries = 0;
    loop {
        match fs::remove_dir(group) {
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < 10 => {
                tries += 1;
                wait(&[], Some(Duration::from_millis(tries)))?;
            }
            Err(error) => return Err(named(error, group)),
            Ok(()) => return Ok(()),
        }
    }
}

fn wait_for_all(mut pidfds: Vec<PidFd>) -> io::Result<()> {
    let end = crate::util::clock::instant() + KILL_WAIT;
    while !pidfds.is_empty() {
        let left = end.saturating_duration_since(crate::util::clock::instant());
        if left.is_zero() {
            let message = format!("{} killed processes do not end", pidfds.len());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        let ask = |pidfd: &PidFd| Interest { fd: pidfd.as_raw_fd(), read: true, write: false };
        let asked: Vec<Interest> = pidfds.iter().map(ask).collect();
        let mut ready = wait(&asked, Some(left))?.into_iter();
        pidfds.retain(|_| !ready.next().is_some_and(|one| one.any()));
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
