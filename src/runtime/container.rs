//! What a container is and was: its phase, its exit, its streams.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A container as the runtime knows it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// As in the [`crate::runtime::ContainerSpec`].
    pub id: String,
    /// Where it stands.
    pub phase: Phase,
    /// Process id on the host while it is created or running.
    pub pid: Option<i32>,
    /// Nanoseconds since the Unix epoch.
    pub created_ns: i64,
    /// Nanoseconds since the Unix epoch, once started.
    pub started_ns: Option<i64>,
    /// Once exited.
    pub exit: Option<Exit>,
    /// As in the spec.
    pub labels: BTreeMap<String, String>,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Set up, not yet executing the program.
    Created,
    /// Executing.
    Running,
    /// Over; only its exit, its log and its root file system are left.
    Exited,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 plus the signal when a signal ended it; 255 when nobody saw it end.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// Nanoseconds since the Unix epoch.
    pub finished_ns: i64,
    /// Why, when it was not the program itself.
    pub cause: ExitCause,
}

/// What ended a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitCause {
    /// The program exited or was signalled.
    #[default]
    Program,
    /// The pod's shim died, so the runtime killed what was left.
    ShimDied,
    /// The machine was restarted.
    Restarted,
}
