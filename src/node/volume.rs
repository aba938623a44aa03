//! A pod's volumes: what is in them and where they are.
//!
//! Contract: [`payload`] is pure; [`atomic`], [`mount`] and [`subpath`] make the host match and may
//! be called again at any point. None of them knows the API or the runtime.

pub mod atomic;
pub mod host_path;
pub mod mount;
pub mod payload;
pub mod subpath;
