//! The database: one table of objects, one of facts about the store itself.
//!
//! Each value is stored once, without its revision, which stands in a column of its own.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::{Arc, mpsc};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::{Indexer, OpenError};
use crate::api::meta::{GroupResource, Key};
use crate::api::tree::Value;
use crate::history::Object;
use crate::limits;
use crate::util::clock::{self, Wall};

/// The format that this build writes and the newest that it reads.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS objects (
    id INTEGER PRIMARY KEY,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    expires INTEGER,
    value BLOB NOT NULL,
    UNIQUE (resource, namespace, name)
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
";

const PUT: &str = "
INSERT INTO objects (resource, namespace, name, revision, expires, value)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (resource, namespace, name)
DO UPDATE SET revision = excluded.revision, expires = excluded.expires, value = excluded.value";

const DELETE: &str = "DELETE FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3";

/// What one row becomes.
pub(super) enum Row {
    /// The object's JSON without its revision.
    Put { revision: u64, expires: Option<i64>, json: bytes::Bytes },
    /// Removed.
    Gone,
}

/// What was in the database.
pub(super) struct Loaded {
    pub(super) objects: Vec<Arc<Object>>,
    pub(super) expiries: Vec<(Key, i64)>,
    /// Where the history starts.
    pub(super) revision: u64,
}

/// Objects, and the keys that expire with their times.
type Contents = (Vec<Arc<Object>>, Vec<(Key, i64)>);

/// An open database, locked against other processes.
pub(super) struct Sqlite {
    connection: Connection,
    /// Revisions below this are reserved on disk.
    reserved: u64,
    /// Held open: its lock tells a second server that the store is in use.
    _lock: Lock,
}

/// A locked file. The lock goes with it even if a process that was just started still holds a copy
/// of its descriptor, between fork and exec.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // An error leaves it to the last copy of the descriptor.
        let _ = self.0.unlock();
    }
}

/// SQLite's integers are signed; revisions stay far below.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}

impl Sqlite {
    /// Opens or makes the database in `directory` and reads all of it.
    pub(super) fn open(directory: &Path, indexer: &Indexer) -> Result<(Self, Loaded), OpenError> {
        let mut lock = lock(directory)?;
        let path = directory.join("state.db");
        let failed = |error| OpenError::Database { path: path.clone(), error };
        check_not_emptied(&path, &mut lock.0)?;
        let connection = Connection::open(&path).map_err(failed)?;
        check_format(&connection, &path)?;
        prepare(&connection).map_err(failed)?;
        let (revision, reserved) = begin(&connection).map_err(failed)?;
        mark(directory, &mut lock.0)?;
        let sqlite = Self { connection, reserved, _lock: lock };
        let (objects, expiries) = sqlite.read_all(&path, indexer)?;
        Ok((sqlite, Loaded { objects, expiries, revision }))
    }

    fn read_all(&self, path: &Path, indexer: &Indexer) -> Result<Contents, OpenError> {
        let failed = |error| OpenError::Database { path: path.to_owned(), error };
        let (mut objects, mut expiries) = (Vec::new(), Vec::new());
        let mut statement = self
            .connection
            .prepare("SELECT resource, namespace, name, revision, expires, value FROM objects")
            .map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let (key, revision, expires, json) = stored(row).map_err(failed)?;
            if let Some(expires) = expires {
                expiries.push((key.clone(), expires));
            }
            objects.push(Arc::new(load(path, key, revision, &json, indexer)?));
        }
        Ok((objects, expiries))
    }

    /// Whether revisions up to and including `revision` may be used without a transaction.
    pub(super) const fn covers(&self, revision: u64) -> bool {
        revision < self.reserved
    }

    /// Writes rows in one durable transaction; `revision` is the newest one in use.
    ///
    /// # Errors
    /// Nothing is written then, and the database stays usable.
    pub(super) fn write<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a Key, &'a Row)>,
        revision: u64,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        for (key, row) in rows {
            write_row(&self.connection, key, row)?;
        }
        let reserved = if self.covers(revision) {
            self.reserved
        } else {
            reserve(&self.connection, revision)?
        };
        transaction.commit()?;
        self.reserved = reserved;
        Ok(())
    }

    /// Copies the database to a new file.
    pub(super) fn backup(&self, to: &Path) -> rusqlite::Result<()> {
        self.connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map(drop)
    }

    /// Notes that nothing is missing on disk, so that the next start may go on from `revision`.
    pub(super) fn close(&self, revision: u64) -> rusqlite::Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        set_fact(&self.connection, "revision_last", signed(revision))?;
        set_fact(&self.connection, "time_seen", clock::now().seconds())?;
        set_fact(&self.connection, "clean", 1)?;
        transaction.commit()?;
        self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
    }
}

fn lock(directory: &Path) -> Result<Lock, OpenError> {
    let unusable = |error| OpenError::Directory { path: directory.to_owned(), error };
    std::fs::create_dir_all(directory).map_err(unusable)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(directory.join("lock")).map_err(unusable)?;
    match patiently(&file) {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(unusable(error)),
    }
}

/// Locks a file. A server that was killed may have been starting a process: that holds a copy of
/// the lock until it runs its own program, so a lock that is taken is waited for, if not for long.
fn patiently(file: &File) -> Result<(), TryLockError> {
    let (Err(TryLockError::WouldBlock), Ok(copy)) = (file.try_lock(), file.try_clone()) else {
        return file.try_lock();
    };
    let (tell, locked) = mpsc::sync_channel(0);
    let waiter = move || {
        let waited = copy.lock();
        // Nobody waits any more: it is not for us.
        if tell.send(()).is_err() && waited.is_ok() {
            let _ = copy.unlock();
        }
    };
    std::thread::Builder::new().spawn(waiter).map_err(TryLockError::Error)?;
    match locked.recv_timeout(limits::LOCK_PATIENCE) {
        Ok(()) => file.try_lock(),
        Err(_) => Err(TryLockError::WouldBlock),
    }
}

/// What the lock file holds once there is a database.
const MARK: &[u8] = b"made\n";

/// Notes that there is a database, which from now on is never empty.
fn mark(directory: &Path, lock: &mut File) -> Result<(), OpenError> {
    if lock.metadata().is_ok_and(|file| file.len() == MARK.len() as u64) {
        return Ok(());
    }
    let marked = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(MARK));
    marked.map_err(|error| OpenError::Directory { path: directory.to_owned(), error })
}

/// Refuses an empty file where a database was: SQLite would take it for a new one.
fn check_not_emptied(path: &Path, lock: &mut File) -> Result<(), OpenError> {
    let mut noted = Vec::new();
    let unusable = |error| OpenError::Directory { path: path.to_owned(), error };
    lock.read_to_end(&mut noted).map_err(unusable)?;
    let is_empty = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0);
    if is_empty && noted == MARK {
        return Err(OpenError::Emptied(path.to_owned()));
    }
    Ok(())
}

/// Refuses a database of a newer format, and one that is not rk's. Changes nothing.
fn check_format(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |query: &str| connection.query_row(query, [], |row| row.get::<_, i64>(0));
    let failed = |error| OpenError::Database { path: path.to_owned(), error };
    let found = number("PRAGMA user_version").map_err(failed)?;
    if found > FORMAT {
        return Err(OpenError::Format { path: path.to_owned(), found, known: FORMAT });
    }
    let foreign = "SELECT count(*) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'
                   AND name NOT IN ('objects', 'facts')";
    if number(foreign).map_err(failed)? > 0 {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    Ok(())
}

/// Makes what a new database lacks, and sets how it is written.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA cache_size = -2048; PRAGMA journal_size_limit = 8388608;",
    )?;
    connection.execute_batch(SCHEMA)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found < FORMAT {
        connection.pragma_update(None, "user_version", FORMAT)?;
    }
    Ok(())
}

/// What can be done about a database that does not open.
pub(super) fn advice(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "nothing is lost: free some space on its disk",
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure,
        ) => "look after its permissions, and whether its disk is full or failing",
        _ => "restore it from a backup, or move the file away to start with an empty cluster",
    }
}

/// Why a write failed, in words that may go to clients.
pub(super) fn failure(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "the disk under the server's data directory is full; nothing that was stored is lost, \
             and writes work again once there is free space"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// Decides where the history starts, and notes that the store is in use. Returns that revision and
/// the end of the reserved block.
fn begin(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let clean = fact(connection, "clean")?.is_some_and(|clean| clean != 0);
    let last = unsigned(fact(connection, "revision_last")?.unwrap_or(1));
    let reserved = unsigned(fact(connection, "revision_reserved")?.unwrap_or(1));
    clock::raise_floor(Wall::from_seconds(fact(connection, "time_seen")?.unwrap_or(0)));
    let revision = if clean { last } else { reserved };
    let transaction = connection.unchecked_transaction()?;
    let reserved = reserve(connection, revision)?;
    set_fact(connection, "clean", 0)?;
    transaction.commit()?;
    Ok((revision, reserved))
}

/// Reserves a block of revisions after `revision` and returns its end. Within a transaction.
fn reserve(connection: &Connection, revision: u64) -> rusqlite::Result<u64> {
    let reserved = revision + limits::REVISION_BLOCK;
    set_fact(connection, "revision_reserved", signed(reserved))?;
    set_fact(connection, "time_seen", clock::now().seconds())?;
    Ok(reserved)
}

fn fact(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT value FROM facts WHERE name = ?1")?;
    statement.query_row([name], |row| row.get(0)).optional()
}

fn set_fact(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO facts (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])
        .map(drop)
}

fn write_row(connection: &Connection, key: &Key, row: &Row) -> rusqlite::Result<()> {
    let (resource, namespace, name) = (key.resource.as_str(), &*key.namespace, &*key.name);
    match row {
        Row::Put { revision, expires, json } => connection.prepare_cached(PUT)?.execute(params![
            resource,
            namespace,
            name,
            signed(*revision),
            expires,
            &json[..]
        ]),
        Row::Gone => connection.prepare_cached(DELETE)?.execute(params![resource, namespace, name]),
    }
    .map(drop)
}

type StoredRow = (Key, u64, Option<i64>, Vec<u8>);

fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredRow> {
    let text = |column| row.get::<_, String>(column);
    let resource: String = text(0)?;
    let (resource, group) = resource.split_once('.').unwrap_or((&resource, ""));
    let key = Key::new(&GroupResource::new(group, resource), &text(1)?, &text(2)?);
    Ok((key, unsigned(row.get(3)?), row.get(4)?, row.get(5)?))
}

fn load(
    path: &Path,
    key: Key,
    revision: u64,
    json: &[u8],
    indexer: &Indexer,
) -> Result<Object, OpenError> {
    match Value::parse(json) {
        Ok(tree) => {
            let fields = indexer(&key.resource, &tree);
            Ok(Object::new(key, tree, revision, fields))
        }
        Err(error) => {
            Err(OpenError::Damaged { path: path.to_owned(), key, error: error.to_string() })
        }
    }
}
