//! Authoritative DNS for the cluster domain, and forwarding of the rest.
//!
//! Contract: answers of the cluster domain come from one [`Records`] value that the caller updates
//! by service; which endpoints are ready or published is the caller's decision. Everything else goes
//! to the upstream resolvers. Must not know Kubernetes kinds; no packet can make it panic or grow.

mod records;

pub use records::{Endpoint, Name, NamedPort, Records, Service, Target};
