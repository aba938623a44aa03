//! Images to running containers. OCI only: knows no Kubernetes kinds.
//!
//! A pod is one shim process and a set of namespaces; its containers are children of the shim,
//! which outlives this process. [`spec`] says what shall run, [`container`] what does.
//!
//! Invariant: nothing here starts a thread or a runtime before `main` has asked whether this
//! process is a shim.

/// What a container is and was: phase, exit.
pub mod container;
/// Images: pulled, imported, unpacked, and made into root file systems.
pub mod image;
mod layout;
/// Container logs in the CRI format.
pub mod logs;
/// rk's side: start, adopt, ask and remove pods.
pub mod pod;
/// Which system calls a container may make.
pub mod seccomp;
/// The process that stands between rk and a pod's containers.
pub mod shim;
/// What a pod and its containers shall be.
pub mod spec;
/// What the machine offers to containers.
pub mod stats;

pub use container::{ContainerStatus, Exit, ExitCause, Phase};
pub use pod::{
    AttachSession, Config, Error, ExecSession, Input, Output, PodHandle, PodStats, Runtime,
};
pub use shim::protocol::{Fault, FaultKind};
pub use spec::{
    Capabilities, ContainerSpec, Device, ExecSpec, LogTarget, Mount, MountSource, PidShare,
    PodSandbox, Propagation, Resources, Rootfs, Seccomp, Share, TerminalSize, User,
};
