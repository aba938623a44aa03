//! The core group's kinds.

pub mod account;
pub mod component;
pub mod config;
pub mod endpoints;
pub mod event;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod quota;
pub mod replication;
pub mod service;
