//! What DNS answers from, as plain structs.

use crate::net::Protocol;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Namespace and name of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// All services that have names.
pub type Records = HashMap<Name, Arc<Service>>;

/// One service as DNS sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What the service's own name leads to.
    pub target: Target,
    /// Named ports, for SRV; of a headless service the endpoints' own are used.
    pub ports: Vec<NamedPort>,
}

/// What a service's name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A service with virtual addresses.
    ClusterIps(Vec<IpAddr>),
    /// A headless service: the addresses of all published endpoints.
    Headless(Vec<Endpoint>),
    /// An ExternalName service: a CNAME.
    ExternalName(String),
}

/// A named port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPort {
    /// Name of the port; an unnamed port has no SRV record of its own.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number: the service's, or of a headless service the endpoint's.
    pub port: u16,
}

/// A published endpoint of a headless service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its host name below the service's name; without one, its address with dashes.
    pub hostname: Option<String>,
    /// The ports it has.
    pub ports: Arc<[NamedPort]>,
}
