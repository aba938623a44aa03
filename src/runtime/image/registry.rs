//! Images from registries: the distribution protocol over HTTP/1.1.
//!
//! Contract: nothing of a registry is believed. Documents are bounded and verified by digest,
//! blobs are verified while they are written; every step on the network has a deadline; plain
//! HTTP is spoken only to loopback hosts and to endpoints that the settings give as `http://`.
//! Transfers that break off are resumed where they stopped.

mod auth;
mod credentials;
mod endpoint;
mod http;
mod keyring;
mod proxy;
mod pull;
mod remote;
mod settings;
mod tls;
mod transfer;
mod url;

pub use credentials::Credentials;
pub use keyring::Keyring;
pub use settings::{Deadlines, Registries};

#[cfg(test)]
mod tests;
