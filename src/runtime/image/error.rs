//! What can go wrong with an image, in words that a user can act on.
//!
//! [`Error::class`] is what the node turns into a reason of its own; the text goes into events.

use std::io;
use std::path::{Path, PathBuf};

use super::digest::Digest;

/// The result of everything in this module.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reference is not one. Retrying is useless.
    #[error("couldn't parse image reference {reference:?}: {reason}")]
    InvalidName {
        /// The text as given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No registry, archive or store has it.
    #[error("{what}: not found{}", in_brackets(.detail))]
    NotFound {
        /// The image, blob or container.
        what: String,
        /// Who said so; may be empty.
        detail: String,
    },
    /// The registry wants other credentials.
    #[error(
        "pull access denied for {what}, repository does not exist or may require authorization: \
         {reason}"
    )]
    Unauthorized {
        /// The image.
        what: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry could not be reached, hung, broke off or answered nonsense. Retry later.
    #[error("{action} {url}: {reason}")]
    Transport {
        /// What was tried.
        action: &'static str,
        /// Where.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The registry wants to be left alone for a while. Retry much later.
    #[error("{url} limits its rate: {reason}")]
    RateLimited {
        /// What was asked for.
        url: String,
        /// What the registry said.
        reason: String,
    },
    /// Content is not what its name promises: a broken transfer or a lying registry.
    #[error("{what}: digest mismatch: expected {expected}, got {actual}")]
    DigestMismatch {
        /// Which content.
        what: String,
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The image exists, but not for this machine.
    #[error("{what}: no image for platform {wanted}, only for {found}")]
    NoMatchingPlatform {
        /// The image.
        what: String,
        /// This machine's platform.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// No room. Nothing half-written stays.
    #[error("no space left on device while writing below {}", .dir.display())]
    DiskFull {
        /// Where the write was.
        dir: PathBuf,
    },
    /// A manifest, configuration, layer or archive that breaks its format.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which document.
        what: String,
        /// How.
        reason: String,
    },
    /// A format that rk does not read.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// Which document.
        what: String,
        /// Why.
        reason: String,
    },
    /// A file with settings (registries, certificates) cannot be used.
    #[error("{}: {reason}", .path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// An image that a container was made from cannot be removed.
    #[error("image {image} is in use by container {container}")]
    InUse {
        /// As the caller named it.
        image: String,
        /// One of its containers.
        container: String,
    },
    /// The disk or the kernel refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A background thread of ours ended by a panic: a fault in rk.
    #[error("an image operation ended unexpectedly: {0}")]
    Crashed(String),
}

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Kubelet's InvalidImageName.
    InvalidName,
    /// No such image or tag.
    NotFound,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The network or the registry; worth retrying.
    Transport,
    /// Content and digest disagree.
    DigestMismatch,
    /// Not built for this machine.
    NoMatchingPlatform,
    /// No room on the disk.
    DiskFull,
    /// The content breaks or exceeds the format.
    Malformed,
    /// A setting on this machine is wrong.
    Config,
    /// A container needs it.
    InUse,
    /// Anything about this machine's kernel or disk.
    Internal,
}

impl Error {
    /// The kind of failure.
    pub fn class(&self) -> Class {
        match self {
            Error::InvalidName { .. } => Class::InvalidName,
            Error::NotFound { .. } => Class::NotFound,
            Error::Unauthorized { .. } => Class::Unauthorized,
            Error::Transport { .. } | Error::RateLimited { .. } => Class::Transport,
            Error::DigestMismatch { .. } => Class::DigestMismatch,
            Error::NoMatchingPlatform { .. } => Class::NoMatchingPlatform,
            Error::DiskFull { .. } => Class::DiskFull,
            Error::Malformed { .. } | Error::Unsupported { .. } => Class::Malformed,
            Error::Config { .. } => Class::Config,
            Error::InUse { .. } => Class::InUse,
            Error::Io { .. } | Error::Crashed(_) => Class::Internal,
        }
    }

    pub(super) fn malformed(what: impl Into<String>, reason: impl ToString) -> Error {
        Error::Malformed { what: what.into(), reason: reason.to_string() }
    }
}

/// Makes an [`io::Error`] an [`Error`] that says what was tried on which path.
pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            Error::DiskFull { dir: path.parent().unwrap_or(&path).to_path_buf() }
        }
        _ => Error::Io { action, path, source },
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// Runs blocking work on the threads that are meant for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Crashed(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_faults() {
        let path = Path::new("/data/blobs/x");
        let full = io_error("write", path)(io::Error::from_raw_os_error(libc::ENOSPC));
        assert_eq!(full.class(), Class::DiskFull);
        assert_eq!(full.to_string(), "no space left on device while writing below /data/blobs");
        let other = io_error("write", path)(io::Error::from_raw_os_error(libc::EACCES));
        assert_eq!(other.class(), Class::Internal);
        assert!(other.to_string().starts_with("cannot write /data/blobs/x: Permission denied"));
    }
}
