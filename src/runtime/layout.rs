//! Where the runtime keeps its files.
//!
//! What must not survive a reboot, or holds a container's environment, is below the run directory;
//! below the state directory is what tells, after a reboot too, which containers there were and how
//! they ended.

use super::spec::PodSandbox;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The two directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Gone after a reboot.
    pub run: PathBuf,
    /// Kept over a reboot.
    pub state: PathBuf,
}

/// What a shim reads when it starts, and rk when it adopts: `pod.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// The pod.
    pub sandbox: PodSandbox,
    /// Where everything is.
    pub layout: Layout,
    /// The group below which rk's groups are, e.g. `rk`.
    pub cgroup_root: String,
    /// The boot in which the shim was started.
    pub boot_id: String,
}

impl PodRecord {
    /// The pod's group.
    pub fn cgroup(&self) -> String {
        format!("{}/{}", self.cgroup_root, self.sandbox.cgroup)
    }

    /// The group of one of its containers.
    pub fn container_cgroup(&self, container: &str) -> String {
        format!("{}/{container}", self.cgroup())
    }

    /// The group of the reaper of a shared PID namespace.
    pub fn sandbox_cgroup(&self) -> String {
        format!("{}/sandbox", self.cgroup())
    }

    /// The group of all shims.
    pub fn shims_cgroup(&self) -> String {
        format!("{}/shims", self.cgroup_root)
    }
}

impl Layout {
    /// The shim's socket.
    pub fn socket(&self, pod: &str) -> PathBuf {
        self.run.join("shim").join(format!("{pod}.sock"))
    }

    /// The pod's run-time files.
    pub fn pod(&self, pod: &str) -> PathBuf {
        self.run.join("pods").join(pod)
    }

    /// The files that outlive a reboot.
    pub fn pod_state(&self, pod: &str) -> PathBuf {
        self.state.join("pods").join(pod)
    }

    /// The pod's pinned namespaces.
    pub fn pins(&self, pod: &str) -> PathBuf {
        self.run.join("ns").join(pod)
    }

    /// A private mount in which containers mount their roots, each in its own mount namespace.
    pub fn roots(&self) -> PathBuf {
        self.run.join("rootfs")
    }

    /// The shim's own few words, for when it died.
    pub fn shim_log(&self, pod: &str) -> PathBuf {
        self.pod(pod).join("shim.log")
    }

    /// The shim's process id, for when it does not answer.
    pub fn shim_pid(&self, pod: &str) -> PathBuf {
        self.pod(pod).join("shim.pid")
    }

    /// Libcontainer's state root.
    pub fn oci(&self, pod: &str) -> PathBuf {
        self.pod(pod).join("oci")
    }

    /// A container's run-time files: its spec and its bundle.
    pub fn container(&self, pod: &str, container: &str) -> PathBuf {
        self.pod(pod).join("c").join(container)
    }

    /// A container's spec.
    pub fn container_spec(&self, pod: &str, container: &str) -> PathBuf {
        self.container(pod, container).join("container.json")
    }

    /// Where a container stands, written at each change.
    pub fn status(&self, pod: &str, container: &str) -> PathBuf {
        self.pod_state(pod).join("c").join(container).join("status.json")
    }
}

/// Whether `id` may name a pod or container: it becomes part of paths.
pub fn is_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&id.len()) && id.bytes().all(allowed) && !id.starts_with('.')
}

/// Makes a directory, with its parents, that only root may look into.
pub fn make_private(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Writes `value` to `path` in one step: a reader sees the old or the new, also after a crash.
pub fn store(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file =
        fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    io::Write::write_all(&mut file, &bytes)?;
    fs::rename(fresh, path)
}

/// Reads what [`store`] wrote; `None` when it is not there.
pub fn load<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
    }
}

/// The names in a directory; none when it is not there.
pub fn entries(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Removes a directory and all in it; none there is no error.
pub fn remove_all(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_directory() {
        for good in ["a", "0b9c-41", "x_y.z", &"a".repeat(64)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", ".", "..", ".x", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn values_are_stored_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/x.json");
        assert_eq!(load::<u32>(&path).unwrap(), None);
        make_private(path.parent().unwrap()).unwrap();
        store(&path, &7u32).unwrap();
        assert_eq!(load(&path).unwrap(), Some(7u32));
        assert_eq!(entries(path.parent().unwrap()).unwrap(), ["x.json"]);
        fs::write(&path, "{").unwrap();
        assert!(load::<u32>(&path).is_err());
        remove_all(directory.path()).unwrap();
        remove_all(directory.path()).unwrap();
        assert!(entries(directory.path()).unwrap().is_empty());
    }
}
