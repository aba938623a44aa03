//! Authoritative DNS for the cluster domain, and forwarding of the rest.
//!
//! Contract: answers of the cluster domain come from one [`Zone`] that the caller updates by
//! service; which endpoints are ready or published is the caller's decision. Everything else goes
//! to the upstream resolvers. A server binds addresses of the node, never the unspecified one, so
//! that it can be the endpoint of a service. Must not know Kubernetes kinds; no packet can make it
//! panic or grow.

mod cache;
mod records;
mod resolv;
mod server;
mod upstream;
mod wire;
mod zone;

pub use records::{Endpoint, Name, NamedPort, Records, Service, Target};
pub use resolv::Resolv;
pub use server::Server;
pub use upstream::Upstream;
pub use zone::{Domain, Zone};
