//! Where a node keeps what belongs to a pod.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use super::config::Config;

/// The directories of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodDirs {
    /// What is kept: hosts file, termination messages, volumes on the disk.
    pub root: PathBuf,
    /// What a reboot takes away: volumes in memory, bind mounts.
    pub run: PathBuf,
    /// The containers' logs.
    pub logs: PathBuf,
}

impl PodDirs {
    /// The directories of a pod.
    pub fn of(config: &Config, pod: &Pod) -> Self {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let meta = &pod.metadata;
        let uid = text(&meta.uid);
        let logs = format!("{}_{}_{uid}", text(&meta.namespace), text(&meta.name));
        Self {
            root: roots(config).join(&uid),
            run: runs(config).join(&uid),
            logs: config.log_dir.join(logs),
        }
    }

    /// A volume on the disk.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    /// A volume in memory.
    pub fn memory_volume(&self, name: &str) -> PathBuf {
        self.run.join("volumes").join(name)
    }

    /// Where sub-paths of volumes are bound for a container.
    pub fn subpaths(&self, container: &str) -> PathBuf {
        self.run.join("subpaths").join(container)
    }

    /// What its containers were given.
    pub fn amounts(&self) -> PathBuf {
        self.root.join("amounts.json")
    }

    /// The hosts file.
    pub fn hosts(&self) -> PathBuf {
        self.root.join("etc-hosts")
    }

    /// The resolver's configuration.
    pub fn resolv(&self) -> PathBuf {
        self.root.join("resolv.conf")
    }

    /// The host name's file.
    pub fn hostname(&self) -> PathBuf {
        self.root.join("hostname")
    }

    /// A container's own files, one folder per attempt.
    pub fn container(&self, container: &str, number: i32) -> PathBuf {
        self.root.join("containers").join(container).join(number.to_string())
    }

    /// The termination message of an attempt.
    pub fn termination(&self, container: &str, number: i32) -> PathBuf {
        self.container(container, number).join("termination-log")
    }

    /// The log of an attempt.
    pub fn log(&self, container: &str, number: i32) -> PathBuf {
        self.logs.join(container).join(format!("{number}.log"))
    }
}

/// Above the kept directories of all pods.
pub fn roots(config: &Config) -> PathBuf {
    config.data_dir.join("pods")
}

/// Above the directories in memory of all pods.
pub fn runs(config: &Config) -> PathBuf {
    config.run_dir.join("volumes")
}

/// Profiles that pods may name.
pub fn seccomp_profiles(data_dir: &Path) -> PathBuf {
    data_dir.join("seccomp")
}
