//! What an object is: its kinds, its encodings, its rules. Pure: no I/O, no async, no clock.
//!
//! Objects are trees ([`tree::Value`]); typed structs exist only where code reads a hot kind.
//! What makes one resource different from another stands in its [`registry`] entry, and nowhere
//! else: handlers, patches, discovery and encodings are generic over it.

pub mod amounts;
pub mod cel;
pub mod codec;
pub mod cron;
pub mod jsonpath;
pub mod kinds;
pub mod meta;
pub mod node_selector;
pub mod patch;
pub mod quantity;
pub mod quota;
pub mod registry;
pub mod schema;
pub mod selector;
pub mod status;
pub mod time;
pub mod tree;
