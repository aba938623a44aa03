//! The one writer: a thread that takes commits off the queue in batches.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::age::Mark;
use super::expiry::Expiries;
use super::sqlite::{Row, Sqlite, failure};
use super::{Commit, CommitError, Expect, Next, Write};
use crate::api::meta::Key;
use crate::history::{Change, Draft, History, Object};
use crate::limits;
use crate::util::clock;

type Reply = oneshot::Sender<Result<Vec<Arc<Object>>, CommitError>>;

/// What the writer is asked to do.
pub(super) enum Request {
    /// Commit writes.
    Commit { commit: Commit, reply: Reply },
    /// Copy the database to a new file.
    Backup { path: PathBuf, reply: oneshot::Sender<Result<(), CommitError>> },
    /// Stop cleanly.
    Close { reply: oneshot::Sender<()> },
}

/// A commit that is decided but not yet published.
struct Decided {
    changes: Vec<Change>,
    reply: Option<Reply>,
}

/// A write whose conditions hold.
enum Step {
    Put { draft: Draft, ttl: Option<Duration> },
    Delete { key: Key },
}

/// What one batch does, as seen by the commits that come later in it.
#[derive(Default)]
struct Batch {
    decided: Vec<Decided>,
    /// What the batch leaves under the keys it writes; `None` where it removes.
    state: HashMap<Key, Option<Arc<Object>>>,
    rows: HashMap<Key, Row>,
    expiries: Vec<(Key, Option<i64>)>,
    /// Whether anyone waits for the disk.
    durable: bool,
}

pub(super) struct Writer {
    sqlite: Sqlite,
    history: Arc<History>,
    /// The newest revision given out; may run ahead of the history when a batch failed.
    revision: u64,
    /// Published but not yet on disk.
    lazy: HashMap<Key, Row>,
    /// When the lazy rows must be on disk.
    lazy_deadline: Option<Instant>,
    expiries: Expiries,
    mark: Mark,
}

impl Writer {
    pub(super) fn new(
        sqlite: Sqlite,
        history: Arc<History>,
        revision: u64,
        expiries: Vec<(Key, i64)>,
    ) -> Self {
        let mut times = Expiries::default();
        expiries.iter().for_each(|(key, time)| times.set(key, Some(*time)));
        let lazy = HashMap::new();
        let mark = Mark::new(clock::instant(), revision);
        Self { sqlite, history, revision, lazy, lazy_deadline: None, expiries: times, mark }
    }

    /// Starts the thread. It ends after [`Request::Close`], or when every [`super::Store`] is gone.
    pub(super) fn spawn(mut self, mut queue: mpsc::Receiver<Request>) -> std::io::Result<()> {
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("store".into());
        thread.spawn(move || {
            let mut told = None;
            while told.is_none()
                && let Some(requests) = self.receive(&runtime, &mut queue)
            {
                told = self.serve(requests);
            }
            self.stop();
            // Whoever waits for the end may open the store again: the lock must be gone.
            drop(self);
            if let Some(reply) = told {
                let _ = reply.send(());
            }
        })?;
        Ok(())
    }

    /// Waits for requests, lazy rows that are due, or expiries; `None` when nobody can ask more.
    fn receive(
        &mut self,
        runtime: &Handle,
        queue: &mut mpsc::Receiver<Request>,
    ) -> Option<Vec<Request>> {
        let mut requests = Vec::new();
        let wait = queue.recv_many(&mut requests, limits::COMMIT_BATCH_MAX);
        match self.next_duty() {
            None => runtime.block_on(wait),
            // An elapsed deadline leaves the batch empty, and the duties are looked at.
            Some(duty) => {
                match runtime.block_on(async { tokio::time::timeout(duty, wait).await }) {
                    Ok(received) => received,
                    Err(_) => return Some(Vec::new()),
                }
            }
        };
        if requests.is_empty() { None } else { Some(requests) }
    }

    /// How long until something must be done without being asked.
    fn next_duty(&mut self) -> Option<Duration> {
        let lazy = self.lazy_deadline.map(|at| at.saturating_duration_since(clock::instant()));
        let expiry = self.expiries.next().map(|at| {
            let seconds = u64::try_from(at - clock::now().seconds()).unwrap_or(0);
            // Rounded up, so that objects of one minute go together.
            Duration::from_secs(seconds).max(limits::EXPIRY_INTERVAL)
        });
        [lazy, expiry].into_iter().flatten().min()
    }

    /// Serves a batch; returns whom to tell when it asked to stop.
    fn serve(&mut self, requests: Vec<Request>) -> Option<oneshot::Sender<()>> {
        let mut batch = Batch::default();
        for request in requests {
            match request {
                Request::Commit { commit, reply } => self.decide(&mut batch, commit, Some(reply)),
                Request::Backup { path, reply } => {
                    self.finish(std::mem::take(&mut batch));
                    let _ = reply.send(self.backup(&path));
                }
                Request::Close { reply } => {
                    self.finish(std::mem::take(&mut batch));
                    return Some(reply);
                }
            }
        }
        self.expire(&mut batch);
        self.finish(batch);
        None
    }

    /// Checks a commit against what is stored and gives it its revisions.
    fn decide(&mut self, batch: &mut Batch, commit: Commit, reply: Option<Reply>) {
        let steps = match self.check(batch, commit.writes) {
            Ok(steps) => steps,
            Err(error) => {
                if let Some(reply) = reply {
                    let _ = reply.send(Err(error));
                }
                return;
            }
        };
        batch.durable |= !commit.lazy;
        let now = clock::now().seconds();
        let changes = steps.into_iter().filter_map(|step| self.apply(batch, step, now)).collect();
        batch.decided.push(Decided { changes, reply });
    }

    fn current(&self, batch: &Batch, key: &Key) -> Option<Arc<Object>> {
        match batch.state.get(key) {
            Some(object) => object.clone(),
            None => self.history.get(key),
        }
    }

    /// What a commit comes to if all its conditions hold.
    fn check(&self, batch: &Batch, writes: Vec<Write>) -> Result<Vec<Step>, CommitError> {
        let step = |write: Write| {
            let current = self.current(batch, write.key());
            step(write, current)
        };
        writes.into_iter().map(step).collect()
    }

    fn apply(&mut self, batch: &mut Batch, step: Step, now: i64) -> Option<Change> {
        self.revision += 1;
        match step {
            Step::Put { draft, ttl } => {
                let expires = ttl.map(|ttl| now.saturating_add_unsigned(ttl.as_secs()));
                let (key, json) = (draft.key().clone(), draft.json().clone());
                let object = Arc::new(draft.at(self.revision));
                let row = Row::Put { revision: self.revision, expires, json };
                batch.write(key, Some(Arc::clone(&object)), row, expires);
                Some(Change::Put(object))
            }
            Step::Delete { key } => {
                let last = self.current(batch, &key)?;
                batch.write(key, None, Row::Gone, None);
                // A body that does not parse keeps its old revision in it: better than to keep it.
                let moved = last.moved_to(self.revision).unwrap_or_else(|_| {
                    let mut object = Object::clone(&last);
                    object.header.revision = self.revision;
                    object
                });
                Some(Change::Delete(Arc::new(moved)))
            }
        }
    }

    /// Removes what has expired, or is too much of its kind, without waiting for the disk.
    fn expire(&mut self, batch: &mut Batch) {
        let others = self.history.len().saturating_sub(self.expiries.len());
        let kept = others.max(limits::EXPIRING_MIN);
        let due = self.expiries.take(clock::now().seconds(), kept, limits::COMMIT_BATCH_MAX);
        for key in due {
            if let Some(object) = self.current(batch, &key) {
                let revision = object.header.revision;
                let writes = vec![Write::Delete { key, revision }];
                self.decide(batch, Commit { writes, lazy: true }, None);
            }
        }
    }

    /// Makes a batch durable, if anyone waits for that, and publishes it.
    fn finish(&mut self, batch: Batch) {
        let due = self.lazy_deadline.is_some_and(|deadline| deadline <= clock::instant());
        let uncovered = !batch.decided.is_empty() && !self.sqlite.covers(self.revision);
        if batch.durable || uncovered || due {
            if let Err(error) = self.flush(&batch.rows) {
                return self.fail(batch, &failure(&error));
            }
        } else {
            self.postpone(batch.rows);
        }
        self.publish(batch.decided, batch.expiries);
    }

    /// Writes a batch's rows and the lazy ones in one transaction.
    fn flush(&mut self, rows: &HashMap<Key, Row>) -> rusqlite::Result<()> {
        let older = self.lazy.iter().filter(|(key, _)| !rows.contains_key(key));
        self.sqlite.write(older.chain(rows), self.revision)?;
        self.lazy.clear();
        self.lazy_deadline = None;
        Ok(())
    }

    fn postpone(&mut self, rows: HashMap<Key, Row>) {
        if !rows.is_empty() && self.lazy_deadline.is_none() {
            self.lazy_deadline = Some(clock::instant() + limits::LAZY_DELAY_MAX);
        }
        self.lazy.extend(rows);
    }

    /// Tells everyone in a batch that it was not written. Lazy rows of earlier batches stay due.
    fn fail(&mut self, batch: Batch, error: &str) {
        tracing::error!(error, "cannot write to the database");
        if self.lazy_deadline.is_some() {
            self.lazy_deadline = Some(clock::instant() + limits::LAZY_DELAY_MAX);
        }
        for reply in batch.decided.into_iter().filter_map(|decided| decided.reply) {
            let _ = reply.send(Err(CommitError::Backend(error.to_owned())));
        }
    }

    fn publish(&mut self, decided: Vec<Decided>, expiries: Vec<(Key, Option<i64>)>) {
        for (key, time) in expiries {
            self.expiries.set(&key, time);
        }
        let changes: Vec<Change> = decided.iter().flat_map(|d| d.changes.iter().cloned()).collect();
        if !changes.is_empty() {
            self.history.publish(changes, self.revision);
            if let Some(oldest) = self.mark.pass(clock::instant(), self.revision) {
                self.history.give_up(oldest);
            }
        }
        for Decided { changes, reply } in decided {
            let objects = changes.iter().map(|change| Arc::clone(change.object())).collect();
            if let Some(reply) = reply {
                let _ = reply.send(Ok(objects));
            }
        }
    }

    fn backup(&mut self, path: &std::path::Path) -> Result<(), CommitError> {
        let failed = |error: rusqlite::Error| CommitError::Backend(failure(&error));
        self.flush(&HashMap::new()).map_err(failed)?;
        self.sqlite.backup(path).map_err(failed)
    }

    fn stop(&mut self) {
        let stopped =
            self.flush(&HashMap::new()).and_then(|()| self.sqlite.close(self.history.revision()));
        if let Err(error) = stopped {
            tracing::error!(%error, "cannot close the database cleanly");
        }
    }
}

/// What one write comes to, given what is stored under its key.
fn step(write: Write, current: Option<Arc<Object>>) -> Result<Step, CommitError> {
    let revision = current.as_ref().map(|object| object.header.revision);
    let (key, step) = match (write, &current) {
        (Write::Put { draft, expect, ttl }, _) => {
            let expected = match expect {
                Expect::Absent => None,
                Expect::Revision(revision) => Some(revision),
            };
            let fits = revision == expected;
            (draft.key().clone(), fits.then_some(Step::Put { draft, ttl }))
        }
        (Write::Delete { key, revision: expected }, _) => {
            (key.clone(), (revision == Some(expected)).then_some(Step::Delete { key }))
        }
        (Write::Change { key, .. }, None) => (key, None),
        (Write::Change { key, transition }, Some(object)) => match transition.next(object) {
            Next::Becomes(draft) => (key, Some(Step::Put { draft, ttl: None })),
            Next::Stale => (key, None),
            Next::Refuses(why) => return Err(CommitError::Refused { key, why }),
        },
    };
    step.ok_or(CommitError::Conflict { key, current })
}

impl Batch {
    fn write(&mut self, key: Key, object: Option<Arc<Object>>, row: Row, expires: Option<i64>) {
        self.state.insert(key.clone(), object);
        self.expiries.push((key.clone(), expires));
        self.rows.insert(key, row);
    }
}
