//! The only place that talks to the kernel by raw calls, and the only unsafe code.
//!
//! Everything here is a thin, safe face over one kernel facility; policy lives with the callers.
#![allow(unsafe_code, reason = "the one module where raw system calls are allowed")]

pub mod capability;
pub mod cgroup;
pub mod channel;
/// The kernel's table of flows.
pub mod conntrack;
pub mod fd;
/// Files beneath a root directory, and overlay mounts.
pub mod fs;
pub mod mount;
pub mod namespace;
/// Netlink messages and sockets.
pub mod netlink;
/// Work inside another network namespace.
pub mod netns;
/// nf_tables transactions and dumps.
pub mod nft;
pub mod process;
pub mod reactor;
/// Links, addresses, routes, neighbours.
pub mod rtnl;
pub mod seccomp;
/// Whether the machine labels its processes.
pub mod selinux;
/// Settings below `/proc/sys`.
pub mod sysctl;
pub mod terminal;
pub mod watch;
/// Policies of legacy iptables.
pub mod xtables;
