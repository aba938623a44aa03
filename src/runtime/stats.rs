//! What the machine offers to containers, for `doctor` and for refusing early.

use crate::sys::cgroup::{Cgroups, Mode};
use crate::sys::seccomp;

/// Facts about this machine's kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which control groups carry limits.
    pub cgroups: Mode,
    /// Controllers that can be used, sorted.
    pub controllers: Vec<String>,
    /// Controllers without which requests and limits mean nothing, and that are missing.
    pub missing: Vec<&'static str>,
    /// System call filters can be loaded.
    pub seccomp: bool,
    /// AppArmor profiles can be applied.
    pub apparmor: bool,
    /// Layers can be stacked by the kernel.
    pub overlayfs: bool,
}

impl Facts {
    pub(super) fn of(cgroups: &Cgroups) -> Self {
        let controllers = cgroups.controllers();
        let lacks = |name: &&str| !controllers.iter().any(|known| known == name);
        let missing = ["cpu", "cpuset", "memory", "pids"].into_iter().filter(lacks).collect();
        let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        Self {
            cgroups: cgroups.mode(),
            missing,
            controllers,
            seccomp: seccomp::available(),
            apparmor: super::shim::worker::has_apparmor(),
            overlayfs: filesystems.lines().any(|line| line.ends_with("\toverlay")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_controllers_are_named() {
        let hierarchy = crate::sys::cgroup::Hierarchy {
            mount: "/nowhere".into(),
            version: crate::sys::cgroup::Version::V2,
            controllers: vec!["memory".into(), "cpu".into()],
        };
        let facts = Facts::of(&Cgroups::of(Mode::V2, vec![hierarchy]));
        assert_eq!(facts.missing, ["cpuset", "pids"]);
        assert_eq!((facts.cgroups, facts.controllers.len()), (Mode::V2, 2));
    }
}
