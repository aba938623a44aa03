//! Certificate authorities, leaf certificates, signing keys, tokens, kubeconfigs.
//!
//! What a cluster's identity rests on lies in one folder, `<data-dir>/server/tls`: three
//! authorities and the key that signs service-account tokens. They are made once, on a data
//! directory without a cluster, and never again: a missing or damaged file of an existing cluster
//! is an error that says what to do. Leaf certificates are made from them whenever one is needed
//! and are not stored, so that nothing expires on disk.
//!
//! It must not know requests, objects or the store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

mod authority;
pub mod files;
pub mod kubeconfig;
pub mod request;
mod rotating;
mod signer;
pub mod tls;
pub mod token;

pub use authority::{Authority, Identity, Profile, Usage};
pub use rotating::Rotating;
pub use signer::{Rejected, Signer};

/// Why keys or certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of an existing cluster is not there.
    #[error(
        "{path} is missing, but this data directory holds a cluster that depends on it: restore it \
         from a backup (starting with new keys would lock out every node, pod and user)"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{path} is damaged ({why}): restore it from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// `read`, `write`, ...
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or key could not be made.
    #[error("cannot make a certificate for {subject:?}: {why}")]
    Issue {
        /// Whom it was for.
        subject: String,
        /// Why.
        why: String,
    },
    /// A certificate, key or request that was handed in is not valid.
    #[error("{0}")]
    Invalid(String),
}

/// What a cluster's identity rests on.
pub struct Pki {
    /// Signs what servers show: the API server, nodes' port 10250.
    pub server: Arc<Authority>,
    /// Signs what clients show: the administrator, nodes, this program's own components.
    pub client: Arc<Authority>,
    /// Signs what the aggregation proxy shows to aggregated API servers.
    pub request_header: Arc<Authority>,
    /// Signs service-account tokens.
    pub signer: Arc<Signer>,
}

impl Pki {
    /// Reads the keys in `tls_dir`; where `may_create`, makes those that are missing. That is for
    /// a data directory without a cluster only.
    ///
    /// # Errors
    /// When a file is missing (and may not be made), damaged, or cannot be read or written.
    pub fn open(tls_dir: &Path, may_create: bool) -> Result<Self, Error> {
        files::make_dir(tls_dir, 0o700)?;
        let authority = |name: &str| Authority::open(tls_dir, name, may_create).map(Arc::new);
        Ok(Self {
            server: authority("server-ca")?,
            client: authority("client-ca")?,
            request_header: authority("request-header-ca")?,
            signer: Arc::new(Signer::open(&tls_dir.join("service.key"), may_create)?),
        })
    }
}

#[cfg(test)]
mod tests;
