//! The core group's kinds.

pub mod account;
pub mod config;
pub mod event;
pub mod namespace;
pub mod pod;
