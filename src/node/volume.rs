//! A pod's volumes: what is in them and where they are.

pub mod atomic;
pub mod payload;
