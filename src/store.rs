//! Makes the history durable and is its only writer.
//!
//! Commits queue up; one writer checks them against the history, writes them to the backend, one
//! transaction per batch, and publishes them in order. A commit is answered after it is on disk;
//! the one exception is the lazy lane. Knows keys and bytes, no kinds.

use std::sync::Arc;

use crate::api::meta::Key;
use crate::history::{Draft, Object};

/// What must hold of a key for a commit to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing is stored there.
    Absent,
    /// The object there has this revision.
    Revision(u64),
}

/// One write of a commit.
#[derive(Debug, Clone)]
pub enum Write {
    /// Stores an object.
    Put {
        /// The object.
        draft: Draft,
        /// What must be there before.
        expect: Expect,
    },
    /// Removes an object.
    Delete {
        /// Its key.
        key: Key,
        /// The revision that it must have.
        revision: u64,
    },
}

/// Writes that happen together or not at all.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The writes, each key at most once. A key with [`Expect`] alone is not needed so far.
    pub writes: Vec<Write>,
    /// Answer before it is on disk: for node and identity Leases and for Events only.
    pub lazy: bool,
}

/// Why a commit did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A key is not as expected. Read again and decide anew.
    #[error("{key} has changed")]
    Conflict {
        /// The key.
        key: Key,
        /// What is stored there now.
        current: Option<Arc<Object>>,
    },
    /// The backend could not write, as on a full disk. Nothing was changed; may be tried again.
    #[error("cannot write to the store: {0}")]
    Backend(String),
    /// The store is stopping.
    #[error("the store is stopping")]
    Stopped,
}
