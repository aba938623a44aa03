//! What a pod and its containers shall be, as plain structs.
//!
//! Contract: the caller (the node) fills these in; the shim's worker turns them into an OCI bundle.
//! They are stored as JSON beside the pod, so a field may be added (with a default) but never
//! change its meaning. They know no Kubernetes kinds: labels are opaque and handed back on
//! adoption.

/// The OCI specification of a container.
pub mod oci;
/// Capabilities and devices.
pub mod privileges;
/// Users and groups.
pub mod user;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One pod: the namespaces, the cgroup and the shim that its containers share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodSandbox {
    /// Unique on this node; letters, digits, `-`, `_` and `.`, at most 64 bytes (a pod's uid).
    pub id: String,
    /// Host name in the pod's UTS namespace; empty keeps the kernel's default.
    pub hostname: String,
    /// Network namespace: the pod's own, or the host's.
    pub net: Share,
    /// System V and POSIX IPC, with `/dev/shm`.
    pub ipc: Share,
    /// Host and domain name.
    pub uts: Share,
    /// Process ids.
    pub pid: PidShare,
    /// Kernel parameters (`net.ipv4.ip_forward`), set in the pod's own namespaces only.
    pub sysctls: BTreeMap<String, String>,
    /// The pod's cgroup below the runtime's root, e.g. `kubepods/burstable/podUID`.
    pub cgroup: String,
    /// Limits of the pod as a whole.
    pub resources: Resources,
    /// Size of the pod's `/dev/shm`; 64 MiB when absent.
    pub shm_bytes: Option<u64>,
    /// Opaque to the runtime; returned by [`crate::runtime::PodHandle::sandbox`] after adoption.
    pub labels: BTreeMap<String, String>,
}

/// Whether a namespace is the pod's own or the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// Created for this pod and shared by its containers.
    #[default]
    Pod,
    /// Not created: the containers see the host's.
    Host,
}

/// Who shares a PID namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PidShare {
    /// Each container has its own.
    #[default]
    Container,
    /// All containers of the pod share one, with rk's reaper as PID 1.
    Pod,
    /// The host's.
    Host,
}

/// One container of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Unique on this node; letters, digits, `-`, `_` and `.`, at most 64 bytes.
    pub id: String,
    /// The root file system.
    pub rootfs: Rootfs,
    /// Mounts the root read-only.
    pub read_only_root: bool,
    /// Program and arguments; the program is looked up in the container's `PATH`.
    pub args: Vec<String>,
    /// Environment in order; `PATH` and `HOME` are added when missing.
    pub env: Vec<(String, String)>,
    /// Working directory; created when missing. Empty means `/`.
    pub cwd: String,
    /// Who runs it.
    pub user: User,
    /// Mounts over the defaults (`/proc`, `/dev`, `/dev/pts`, `/dev/shm`, `/dev/mqueue`, `/sys`,
    /// `/sys/fs/cgroup`), in order; one with the same destination replaces a default.
    pub mounts: Vec<Mount>,
    /// Devices of the host to show in the container.
    pub devices: Vec<Device>,
    /// Changes to the default capabilities.
    pub capabilities: Capabilities,
    /// Everything that rk itself holds: all capabilities and devices, nothing masked, no seccomp.
    pub privileged: bool,
    /// Set-user-id programs gain nothing.
    pub no_new_privileges: bool,
    /// `/proc` without masked and read-only paths (procMount: Unmasked).
    pub unmasked_proc: bool,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// AppArmor profile; ignored where the kernel has no AppArmor.
    pub apparmor: Option<String>,
    /// Limits of this container.
    pub resources: Resources,
    /// -1000 to 1000; raised to what rk may set when it may not go so low.
    pub oom_score_adj: i32,
    /// Allocates a terminal; stdout and stderr are then one stream.
    pub tty: bool,
    /// Keeps stdin open for [`crate::runtime::PodHandle::attach`]; otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Closes stdin when the first attachment that has it ends.
    pub stdin_once: bool,
    /// Sent first by [`crate::runtime::PodHandle::stop`]: a name (`SIGQUIT`, `QUIT`) or a number;
    /// SIGTERM when absent.
    pub stop_signal: Option<String>,
    /// Joins the PID namespace of this container of the same pod instead of its own.
    pub pid_of: Option<String>,
    /// Where its output goes; discarded when absent.
    pub log: Option<LogTarget>,
    /// Opaque to the runtime; returned with the status after adoption.
    pub labels: BTreeMap<String, String>,
}

/// The root file system of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rootfs {
    /// A directory of the host, used as it is.
    Path(PathBuf),
    /// An overlay, mounted in a mount namespace of the container's own: the host sees no mount and
    /// the kernel drops it with the container's last process.
    Overlay {
        /// Read-only layers, uppermost first.
        lower: Vec<PathBuf>,
        /// Takes the container's writes.
        upper: PathBuf,
        /// Scratch directory of overlayfs, on the file system of `upper`.
        work: PathBuf,
    },
}

impl Default for Rootfs {
    fn default() -> Self {
        Self::Path(PathBuf::new())
    }
}

/// Who runs a process; resolved against the image's `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// The image's user: empty, `uid`, `name`, `uid:gid` or `name:group`.
    pub image: String,
    /// Overrides the user part of `image`.
    pub uid: Option<u32>,
    /// Overrides the group; without it the user's primary group, or 0.
    pub gid: Option<u32>,
    /// Supplementary groups to add.
    pub additional_gids: Vec<u32>,
    /// Leaves out the groups that the image's `/etc/group` gives the user
    /// (supplementalGroupsPolicy: Strict).
    pub strict_groups: bool,
}

/// Something to mount in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub destination: PathBuf,
    /// What is mounted.
    pub source: MountSource,
    /// Mounted read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Read-only for every mount below it as well.
    #[serde(default)]
    pub recursive_read_only: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// A file or directory of the host, with everything mounted below it.
    Bind {
        /// Absolute path on the host; must exist.
        path: PathBuf,
        /// How later mounts pass between host and container.
        propagation: Propagation,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Upper bound; half the memory when absent.
        size_bytes: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
}

/// How mounts made later below a bind mount pass between host and container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// From the host to the container.
    HostToContainer,
    /// Both ways; the host's mount must be shared.
    Bidirectional,
}

/// A device of the host in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path on the host.
    pub host_path: PathBuf,
    /// Absolute path in the container, below `/dev`.
    pub container_path: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// Changes to the default set of capabilities; `ALL` stands for every one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Names with or without `CAP_`; wins over `drop: ["ALL"]`.
    pub add: Vec<String>,
    /// Names with or without `CAP_`.
    pub drop: Vec<String>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// rk's default profile, which knows the container's capabilities.
    #[default]
    RuntimeDefault,
    /// No filter.
    Unconfined,
    /// A profile in docker's JSON format on the host.
    Localhost(PathBuf),
}

/// Limits; an absent one is not set. Those that the kernel's cgroups lack are skipped with a
/// warning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight in cgroup v1's terms, 2 to 262144; converted for v2.
    pub cpu_shares: Option<u64>,
    /// Time per period in microseconds; negative is no limit.
    pub cpu_quota_us: Option<i64>,
    /// Period in microseconds; 100000 when absent.
    pub cpu_period_us: Option<u64>,
    /// Which CPUs, as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes.
    pub cpuset_mems: Option<String>,
    /// Memory in bytes; negative is no limit. Swap is not granted on top.
    pub memory_bytes: Option<i64>,
    /// Number of processes and threads; negative is no limit.
    pub pids: Option<i64>,
    /// Bytes by page size as the kernel spells it (`2MB`, `1GB`).
    pub hugepages: BTreeMap<String, u64>,
    /// An out-of-memory kill takes the whole cgroup (v2 only).
    pub oom_group: bool,
}

/// Where a container's output goes, in the CRI format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTarget {
    /// The current file; rotated ones stand beside it with the time appended.
    pub path: PathBuf,
    /// Rotated when it has grown beyond this.
    pub max_bytes: u64,
    /// How many files are kept, the current one included; at least 2.
    pub max_files: u32,
}

/// A process to run in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Added to the container's environment.
    pub env: Vec<(String, String)>,
    /// Working directory; the container's when empty.
    pub cwd: String,
    /// Allocates a terminal; stdout and stderr are then one stream.
    pub tty: bool,
    /// Wants to write to it; otherwise stdin is `/dev/null`.
    pub stdin: bool,
    /// Wants its stdout; otherwise it is discarded.
    pub stdout: bool,
    /// Wants its stderr; otherwise it is discarded. Ignored with a terminal.
    pub stderr: bool,
    /// Initial size of the terminal.
    pub size: Option<TerminalSize>,
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}
