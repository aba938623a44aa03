//! Images on this machine: names, content, layers, and the file systems of containers.
//!
//! [`Store`] is all of it: it pulls and imports images, tells what is there, and makes root file
//! systems of them. An image is here as a whole or not at all; content is what its digest says or
//! is not used. Everything is re-read from the disk, so that a restart has nothing to repair.
//!
//! Must not know: pods, pull policies and when to collect; the node decides those.

mod archive;
mod blob;
mod catalog;
mod config;
mod container;
mod digest;
mod error;
mod gc;
mod import_dir;
mod layer;
mod layout;
mod lease;
mod manifest;
mod platform;
mod reference;
mod registry;
mod store;

#[cfg(test)]
mod testing;

pub use catalog::Image;
pub use config::ImageConfig;
pub use container::Prepared;
pub use digest::{Digest, DigestError};
pub use error::{Class, Error, Result};
pub use import_dir::Imported;
pub use layer::Usage;
pub use platform::Platform;
pub use reference::Reference;
pub use registry::{Credentials, Deadlines, Keyring, Registries};
pub use store::{PruneRequest, Pruned, Store};
