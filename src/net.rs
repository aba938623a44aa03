//! Packets between pods, services and the world: makes the kernel match plain structs.
//!
//! Contract: every part takes desired state as plain structs and makes the kernel match it; the
//! kernel is the only memory, so that a restarted process reads what is there and converges by
//! difference, without touching flows that exist. Must not know Kubernetes kinds, the API or disk.
//!
//! Everything acts on the network namespace of the runtime's threads. What blocks for more than
//! microseconds runs on the blocking pool.
//!
//! Desired state carries [`std::net::IpAddr`]. What is of IPv6 is made where the networks have a
//! range of it, beside what is of IPv4, and is left out elsewhere.

/// Authoritative DNS for the cluster domain, and forwarding of the rest.
pub mod dns;
/// Firewalls of others that stop pods.
pub mod foreign;
/// Connections into a pod's network namespace.
pub mod forward;
/// Addresses of this node's pods.
pub mod ipam;
/// One routed veth per pod.
pub mod link;
/// Services, host ports and masquerading as one nftables table.
pub mod service;

use crate::sys::netlink;
use std::io;

/// Why the kernel could not be made to match.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("cannot {operation}: {source}")]
    Kernel {
        /// What was to be done.
        operation: String,
        /// What the kernel said.
        source: netlink::Error,
    },
    /// A file, a setting or a thread could not be had.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was to be done.
        operation: String,
        /// Why not.
        source: io::Error,
    },
    /// The name of an interface is taken by something that is not rk's.
    #[error("interface {0} exists and is not of this pod")]
    NameTaken(String),
    /// An identity does not fit into an interface's alias.
    #[error("pod identity of {0} bytes is empty or too long")]
    BadIdentity(usize),
}

/// What came of it.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when a call failed.
trait Doing<T> {
    fn doing(self, operation: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for netlink::Result<T> {
    fn doing(self, operation: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Kernel { operation: operation.into(), source })
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, operation: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::System { operation: operation.into(), source })
    }
}

/// Runs what waits for the kernel where it delays no task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|e| Err(io::Error::other(e)).doing("finish a change of the network"))
}

/// A transport protocol that services and host ports know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IANA protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The label in SRV names, without its underscore.
    pub const fn label(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// What rk made in this namespace, in words: its table, links, addresses and routes.
pub async fn traces() -> Result<Vec<String>> {
    blocking(|| {
        let mut found = link::traces(&mut link::socket()?)?;
        if service::has_table(service::TABLE)? {
            found.push(format!("nftables table {}", service::TABLE));
        }
        Ok(found)
    })
    .await
}

/// Removes every link, route and table that rk made in this namespace. Settings such as forwarding
/// stay: what they were before is not known.
pub async fn remove_all() -> Result<()> {
    blocking(|| {
        service::remove_table(service::TABLE)?;
        link::remove_all(&mut link::socket()?)
    })
    .await
}
