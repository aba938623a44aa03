//! Assigned pods to containers, and their truth back: the kubelet's and kube-proxy's duties.
//!
//! Decisions are pure functions ([`pod`], [`qos`], ...); around them stand workers that watch the
//! cluster through a [`crate::client::Client`] and act through `runtime` and `net`. Everything is
//! level-triggered: a worker may be stopped at any point and finds its way from what runs.

/// What pods take of the node, and who may have more.
pub mod accounts;
/// Whether a pod may run on this node at all.
pub mod admit;
mod archives;
/// Certificates for pods.
pub mod certificates;
/// One command in a running container.
pub mod command;
/// What a node is told when it starts.
pub mod config;
/// What a container shall be.
pub mod container;
/// Where a node keeps what belongs to a pod.
pub mod dirs;
/// What is left of pods that are no more, and unused images.
pub mod gc;
/// Registers the node and keeps its object and Lease up to date.
pub mod heartbeat;
/// Lifecycle hooks.
pub mod hook;
/// Brings the images that containers need.
pub mod images;
/// Addresses, links and node ports of this node's pods.
pub mod network;
/// The ConfigMaps and Secrets that pods refer to.
pub mod objects;
/// A pod's life as a pure function.
pub mod pod;
/// One worker for each pod of this node.
pub mod pods;
/// Asking containers how they are.
pub mod probe;
/// kube-proxy's and the cluster DNS's duties.
pub mod proxy;
/// Quality of service.
pub mod qos;
/// The Node object.
pub mod report;
/// The node's HTTPS server.
pub mod server;
/// What all workers of a node share.
pub mod shared;
/// ConfigMaps and Secrets as their readers need them.
pub mod source;
/// SPDY/3.1 for older streaming clients.
pub mod spdy;
/// Starts a node.
pub mod start;
/// Streams between clients and the processes and ports of pods.
pub mod stream;
#[cfg(test)]
mod testing;
/// Service account tokens for pods.
pub mod tokens;
/// What a pod's users are told.
pub mod voice;
/// A pod's volumes.
pub mod volume;
/// One pod's worker.
pub mod worker;

pub use config::Config;
pub use start::{Running, StartError, start};
