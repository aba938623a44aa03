//! Makes the history durable and is its only writer.
//!
//! Commits queue up; one writer thread checks them against the history, writes them to SQLite, one
//! transaction per batch, and publishes them in order. A commit is answered after it is on disk;
//! the one exception is the lazy lane: a batch of lazy commits alone is published without a
//! transaction, and reaches the disk with the next real commit or within a minute.
//!
//! A write expects a revision, or says what follows from the object as it is at the time of the
//! commit: what many writers change at once, such as a quota, costs them no turns.
//!
//! Revisions are reserved on disk in blocks. After an unclean stop the history starts empty at the
//! next block: no revision is ever used twice, and every older one is answered with 410.
//!
//! Invariant: what is published is on disk, but for lazy commits. Knows keys and bytes, no kinds.

mod age;
mod expiry;
#[cfg(test)]
mod model;
mod sqlite;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::api::meta::{GroupResource, Key};
use crate::api::tree::Value;
use crate::history::{Draft, Fields, History, Object};
use crate::limits;
use sqlite::Sqlite;
use writer::{Request, Writer};

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
        /// After how long the object removes itself; never where `None`. Counted from the commit.
        ttl: Option<Duration>,
    },
    /// Removes an object.
    Delete {
        /// Its key.
        key: Key,
        /// The revision that it must have.
        revision: u64,
    },
    /// Replaces an object by what follows from its state at the time of the commit.
    Change {
        /// Its key.
        key: Key,
        /// What follows.
        transition: Transition,
    },
}

/// What an object becomes by a [`Write::Change`].
#[derive(Debug)]
pub enum Next {
    /// This, under the same key.
    Becomes(Draft),
    /// Nothing: it is not what the commit was made for, which fails as by a conflict.
    Stale,
    /// Nothing: it does not allow the commit, and this is why.
    Refuses(String),
}

/// Makes the next state of an object from the present one. Runs on the writer's thread, where
/// everybody waits for it.
#[derive(Clone)]
pub struct Transition(Arc<dyn Fn(&Object) -> Next + Send + Sync>);

impl Transition {
    /// A transition by a function, which must be quick and must not wait for anything.
    pub fn new(next: impl Fn(&Object) -> Next + Send + Sync + 'static) -> Self {
        Self(Arc::new(next))
    }

    fn next(&self, object: &Object) -> Next {
        (self.0)(object)
    }
}

impl std::fmt::Debug for Transition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transition")
    }
}

impl Write {
    /// The key that is written.
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { draft, .. } => draft.key(),
            Self::Delete { key, .. } | Self::Change { key, .. } => key,
        }
    }
}

/// Writes that happen together or not at all.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The writes, each key at most once.
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
    /// An object does not allow the commit.
    #[error("{key}: {why}")]
    Refused {
        /// The object's key.
        key: Key,
        /// In its own words.
        why: String,
    },
    /// The backend could not write, as on a full disk. Nothing was changed; may be tried again.
    #[error("cannot write to the store: {0}")]
    Backend(String),
    /// The store is stopping.
    #[error("the store is stopping")]
    Stopped,
}

/// Why a store could not be opened. The texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{} is in use by another rk server; stop that one first, or give this one its own --data-dir",
        .0.display()
    )]
    InUse(PathBuf),
    /// The directory cannot be made or written.
    #[error("cannot use {}: {error}", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// SQLite cannot read the file.
    #[error(
        "cannot open the database {}: {error}; {}", .path.display(), sqlite::advice(.error)
    )]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
    /// The file has lost its contents.
    #[error(
        "the database {} is empty, which it was not before; restore it from a backup, or move the \
         file away to start with an empty cluster", .0.display()
    )]
    Emptied(PathBuf),
    /// Another program's database.
    #[error(
        "{} is a database of another program; put the right file in its place, or give rk its own \
         --data-dir", .0.display()
    )]
    Foreign(PathBuf),
    /// A stored object is not what was written.
    #[error(
        "the database {} is damaged: {key} cannot be read ({error}); restore it from a backup",
        .path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which object.
        key: Key,
        /// What is wrong with it.
        error: String,
    },
    /// A newer rk made the database.
    #[error(
        "the database {} has format {found}, and this rk knows formats up to {known}; use the rk \
         that wrote it, or a newer one", .path.display()
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this build reads.
        known: i64,
    },
}

/// Reads the indexed fields off an object when it is loaded; given by who knows kinds.
pub type Indexer = dyn Fn(&GroupResource, &Value) -> Fields + Send + Sync;

/// The store. Cheap to clone; the last clone does not stop it, [`Store::close`] does.
#[derive(Clone)]
pub struct Store {
    requests: mpsc::Sender<Request>,
    history: Arc<History>,
}

impl Store {
    /// Opens the store in `directory`, made where absent, and loads it into a history.
    ///
    /// Must be called within a tokio runtime; reads the whole database and blocks while it does.
    ///
    /// # Errors
    /// [`OpenError`]; the database is left as it was.
    pub fn open(directory: &Path, indexer: &Indexer) -> Result<Self, OpenError> {
        let (sqlite, loaded) = Sqlite::open(directory, indexer)?;
        let history = History::new(loaded.revision, limits::WATCH_RING_BYTES_MAX);
        for object in loaded.objects {
            history.load(object);
        }
        let (requests, queue) = mpsc::channel(limits::COMMIT_QUEUE_MAX);
        let writer = Writer::new(sqlite, Arc::clone(&history), loaded.revision, loaded.expiries);
        writer
            .spawn(queue)
            .map_err(|error| OpenError::Directory { path: directory.to_owned(), error })?;
        Ok(Self { requests, history })
    }

    /// The history that this store keeps.
    pub const fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Commits writes, all or none, and returns the objects as they are now stored; for a deletion
    /// its last state. When this returns, the writes are on disk (unless lazy) and visible.
    ///
    /// # Errors
    /// [`CommitError`]; nothing was changed then.
    pub async fn commit(&self, commit: Commit) -> Result<Vec<Arc<Object>>, CommitError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Commit { commit, reply };
        self.requests.send(request).await.map_err(|_| CommitError::Stopped)?;
        answer.await.map_err(|_| CommitError::Stopped)?
    }

    /// Writes a consistent copy of the database to `path`, which must not exist.
    ///
    /// # Errors
    /// [`CommitError::Backend`] when the copy cannot be written.
    pub async fn backup(&self, path: &Path) -> Result<(), CommitError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Backup { path: path.to_owned(), reply };
        self.requests.send(request).await.map_err(|_| CommitError::Stopped)?;
        answer.await.map_err(|_| CommitError::Stopped)?
    }

    /// Writes what is still lazy, notes that the stop was clean, and stops. Later commits fail.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Close { reply }).await.is_ok() {
            // An error means that the writer has already gone.
            let _ = answer.await;
        }
    }
}
