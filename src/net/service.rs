//! Services, host ports and masquerading as one nftables table of each family.
//!
//! Contract: [`Desired`] is all that shall be in force; the table is changed by one atomic
//! transaction proportional to the difference, never flushed, and belongs to this module alone.
//! Removing an endpoint affects new connections only. Must not know Kubernetes kinds: which
//! endpoints are ready, terminating or preferred is the caller's decision.

mod claims;
mod desired;
mod element;
mod family;
mod flows;
mod proxy;
mod render;
mod skeleton;

pub use desired::{Config, Desired, Endpoint, HostPort, Port, Service};
pub use proxy::{Loss, Proxy};
pub(super) use proxy::{has_table, remove_table};

/// The name of rk's table on a node.
pub const TABLE: &str = "rk";
