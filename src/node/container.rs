//! What a container shall be: a pod's spec, an image and the node together.

pub mod build;
pub mod env;
pub mod expand;
pub mod fields;
pub mod hosts;
pub mod links;
pub mod resolv;
pub mod security;
