//! Behaviour as a client sees it: one binary, a folder per area.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and drives programs by the clock"
)]

mod agent;
mod api;
mod auth;
mod bench;
mod cli;
mod client;
mod clients;
mod conformance;
mod durability;
mod go;
mod guestbook;
mod harness;
mod http;
mod idle;
mod images;
mod kubectl;
mod load;
mod net;
mod node;
mod oci;
mod product;
mod readme;
mod registry;
mod rolling;
mod runtime;
mod tests;
mod tidy;
mod traps;
mod watch;
mod wire;
mod workloads;
mod wrong;
