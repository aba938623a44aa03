//! Desired state to writes: one file or folder each, one shared runner.
//!
//! A controller is data: what it watches, and a pure function from views to what is to be done. The
//! runner does all I/O, so every controller can be tested without a server and stopped between any
//! two calls.

mod backends;
mod calls;
mod deployment;
mod endpoints;
mod endpointslice;
mod pods;
mod queue;
mod replicaset;
mod runner;

pub use runner::{Controller, Moment, Plan, Views};
