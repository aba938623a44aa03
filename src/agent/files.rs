//! What an agent keeps of its membership, in `<data-dir>/agent`.
//!
//! Key, certificates and what the node must know of the cluster are one file, so that they always
//! belong together. Beside it the secret by which the server knows the machine again.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::pki::{self, Identity, files};
use crate::server::join::Grant;
use crate::sys::fd;
use crate::util::{clock, id};

/// A node's place in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Membership {
    /// The node's name.
    pub(super) node: String,
    /// The node's private key, in PEM.
    pub(super) key: String,
    /// What the server gave.
    pub(super) grant: Grant,
}

impl Membership {
    /// What the node shows to the server.
    pub(super) fn client(&self) -> Identity {
        self.identity(&self.grant.client_certificate)
    }

    /// What the node shows to its own clients.
    pub(super) fn serving(&self) -> Identity {
        self.identity(&self.grant.serving_certificate)
    }

    fn identity(&self, certificate: &str) -> Identity {
        Identity { certificate_pem: certificate.to_owned(), key_pem: self.key.clone() }
    }

    /// Whether the server will still know the node by its certificate.
    pub(super) fn is_valid(&self) -> bool {
        self.client().validity().is_ok_and(|(_, until)| clock::now() < until)
    }
}

/// The folder.
pub(super) struct Files {
    dir: PathBuf,
    /// Held as long as this process is the agent of the folder.
    _lock: File,
}

impl Files {
    /// Opens the folder for this process alone.
    pub(super) fn open(data_dir: &Path) -> Result<Self, Error> {
        let dir = data_dir.join("agent");
        files::make_dir(&dir, 0o700)?;
        let path = dir.join("lock");
        let failed = |source| pki::Error::Io { what: "lock", path: path.clone(), source };
        let lock = File::options().create(true).append(true).open(&path).map_err(failed)?;
        if !fd::lock(&lock, false).map_err(failed)? {
            return Err(Error::InUse { path: dir });
        }
        Ok(Self { dir, _lock: lock })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The membership, if there is one. A damaged one is as good as none: the node joins again.
    pub(super) fn membership(&self) -> Result<Option<Membership>, Error> {
        let path = self.dir.join("membership.json");
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(membership) => Ok(Some(membership)),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "the membership does not parse; joining again");
                Ok(None)
            }
        }
    }

    /// Keeps a membership.
    pub(super) fn keep(&self, membership: &Membership) -> Result<(), Error> {
        let path = self.dir.join("membership.json");
        let text = serde_json::to_vec_pretty(membership)
            .map_err(|error| pki::Error::Invalid(error.to_string()))?;
        Ok(files::write(&path, &text, 0o600)?)
    }

    /// The machine's secret; a new one the first time.
    pub(super) fn secret(&self) -> Result<String, Error> {
        let path = self.dir.join("secret");
        if let Some(secret) = files::read_text(&path)? {
            return Ok(secret.trim().to_owned());
        }
        let secret: String = id::random::<16>().iter().map(|b| format!("{b:02x}")).collect();
        files::write(&path, secret.as_bytes(), 0o600)?;
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_one_agents_and_the_secret_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path()).unwrap();
        assert!(matches!(Files::open(dir.path()), Err(Error::InUse { .. })));
        let secret = files.secret().unwrap();
        assert_eq!(secret.len(), 32);
        assert!(files.membership().unwrap().is_none());
        std::fs::write(files.dir().join("membership.json"), "{").unwrap();
        assert!(files.membership().unwrap().is_none());
        drop(files);
        assert_eq!(Files::open(dir.path()).unwrap().secret().unwrap(), secret);
    }
}
