//! Watch: a cursor on the history, filtered, with bookmarks and an end.
//!
//! A watch owns a place and a filter, never a queue: a client that does not read holds nothing but
//! these, and when its place has left the ring it is told so (410). Initial objects are cut from
//! the history in portions for the same reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::options::{Start, WatchOptions};
use super::read::{Filter, check_fields};
use super::version::as_served;
use super::{Ask, Engine};
use crate::api::registry::{Registry, Resource};
use crate::api::status::Status;
use crate::history::{Cursor, Event, Gone, Header, History, Object};
use crate::limits;
use crate::util::{clock, id};

/// One thing that a watch tells.
#[derive(Debug, Clone)]
pub enum Frame {
    /// The object is new, or newly selected.
    Added(Arc<Object>),
    /// The object has changed.
    Modified(Arc<Object>),
    /// The object is gone, or no longer selected: its last state with the revision of that.
    Deleted(Arc<Object>),
    /// Everything up to a revision has been told.
    Bookmark {
        /// The revision.
        revision: u64,
        /// Whether this ends the initial objects.
        initial_end: bool,
    },
    /// The watch has failed and ends.
    Error(Status),
}

/// A running watch.
pub struct Watch {
    resource: Arc<Resource>,
    history: Arc<History>,
    filter: Filter,
    /// Initial objects that are still to be told.
    initial: Option<Initial>,
    cursor: Result<Cursor, Gone>,
    bookmarks: bool,
    deadline: Instant,
    /// When the next bookmark is due.
    bell: Instant,
    ended: bool,
    /// Where it is seen that a custom resource is no longer served.
    registry: Option<watch::Receiver<Arc<Registry>>>,
}

/// The place in the initial state.
struct Initial {
    revision: u64,
    /// The last object told.
    last: Option<Arc<Object>>,
    marked: bool,
}

impl Engine {
    /// Begins a watch.
    ///
    /// # Errors
    /// 400 for selectors that make no sense, 504 for a state that has not been reached. A revision
    /// that is too old is told in the watch itself, as upstream does.
    pub fn watch(&self, ask: &Ask, options: &WatchOptions) -> Result<Watch, Status> {
        check_fields(&ask.resource, &options.fields)?;
        if let Start::Initial { not_older_than, .. } = options.start {
            self.check_reached(not_older_than)?;
        }
        let revision = self.history.revision();
        let after = match options.start {
            Start::After(after) => after,
            Start::Now | Start::Initial { .. } => revision,
        };
        let initial = match options.start {
            Start::Initial { marked, .. } => Some(Initial { revision, last: None, marked }),
            _ => None,
        };
        let now = clock::instant();
        Ok(Watch {
            filter: Filter::new(ask, &options.labels, &options.fields),
            cursor: self.history.cursor(&ask.resource.storage, after),
            history: Arc::clone(&self.history),
            resource: Arc::clone(&ask.resource),
            initial,
            bookmarks: options.bookmarks,
            deadline: now + options.timeout.unwrap_or_else(lifetime),
            bell: next_bell(now),
            ended: false,
            registry: ask.resource.custom.then(|| self.registry.subscribe()),
        })
    }
}

impl Watch {
    /// The resource that is watched, in the version of the request.
    pub const fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// Whether what was there at first is still to be told.
    pub const fn is_initial(&self) -> bool {
        self.initial.is_some()
    }

    /// What there is to tell next, waiting for it where need be; `None` at the end. Safe to drop at
    /// any await.
    pub async fn next(&mut self) -> Option<Vec<Frame>> {
        loop {
            if self.ended {
                return None;
            }
            let frames = if self.initial.is_some() { self.portion() } else { self.live().await };
            let frames = frames.unwrap_or_else(|gone| self.fail(gone));
            if !frames.is_empty() || self.ended {
                return Some(frames);
            }
        }
    }

    /// The next portion of the initial objects.
    fn portion(&mut self) -> Result<Vec<Frame>, Gone> {
        let Some(initial) = &mut self.initial else { return Ok(Vec::new()) };
        let snapshot = self.history.at(&self.resource.storage, initial.revision)?;
        let (namespace, name) = match &initial.last {
            Some(last) => (&*last.header.key.namespace, &*last.header.key.name),
            None => (self.filter.namespace(), ""),
        };
        let told = |object: &&Arc<Object>| {
            let last = initial.last.as_ref();
            last.is_some_and(|last| last.header.key == object.header.key)
        };
        let portion: Vec<Arc<Object>> = snapshot
            .range_from(namespace, name)
            .skip_while(told)
            .take_while(|object| self.filter.in_scope(&object.header))
            .take(limits::WATCH_PORTION)
            .cloned()
            .collect();
        let done = portion.len() < limits::WATCH_PORTION;
        initial.last = portion.last().cloned();
        let mut frames: Vec<Frame> = portion
            .into_iter()
            .filter(|object| self.filter.matches(object))
            .map(Frame::Added)
            .collect();
        if done {
            if initial.marked && self.bookmarks {
                frames.push(Frame::Bookmark { revision: initial.revision, initial_end: true });
            }
            self.initial = None;
        }
        Ok(frames)
    }

    /// The next events, a bookmark, or the end.
    async fn live(&mut self) -> Result<Vec<Frame>, Gone> {
        let cursor = match &mut self.cursor {
            Ok(cursor) => cursor,
            Err(gone) => return Err(*gone),
        };
        let alarm = if self.bookmarks { self.bell.min(self.deadline) } else { self.deadline };
        let withdrawn = withdrawn(self.registry.as_mut(), &self.resource);
        tokio::select! {
            biased;
            events = cursor.next(limits::WATCH_PORTION) => {
                let events = events?;
                Ok(events.iter().filter_map(|event| self.frame(event)).collect())
            }
            () = withdrawn => {
                self.ended = true;
                Ok(Vec::new())
            }
            () = tokio::time::sleep_until(alarm.into()) => {
                let now = clock::instant();
                self.ended = now >= self.deadline;
                self.bell = next_bell(now);
                let bookmark = Frame::Bookmark { revision: cursor.revision(), initial_end: false };
                Ok(if self.bookmarks { vec![bookmark] } else { Vec::new() })
            }
        }
    }

    /// What an event means to this watch: entering and leaving the selection are its own events.
    fn frame(&self, event: &Event) -> Option<Frame> {
        let is = !event.deleted && self.filter.matches(&event.object);
        let was = event.previous.as_ref().filter(|old| self.filter.matches(old));
        match (was, is) {
            (None, false) => None,
            (None, true) => Some(Frame::Added(Arc::clone(&event.object))),
            (Some(_), true) => Some(Frame::Modified(Arc::clone(&event.object))),
            (Some(_), false) if event.deleted => Some(Frame::Deleted(Arc::clone(&event.object))),
            (Some(old), false) => Some(self.left(old, event.revision)),
        }
    }

    /// An object that is no longer selected: as it was, at the revision that took it away.
    fn left(&self, old: &Arc<Object>, revision: u64) -> Frame {
        match as_served(&self.resource, old) {
            Ok(tree) => {
                let Header { key, fields, .. } = old.header.clone();
                Frame::Deleted(Arc::new(Object::new(key, tree, revision, fields)))
            }
            Err(status) => Frame::Error(status),
        }
    }

    fn fail(&mut self, gone: Gone) -> Vec<Frame> {
        self.ended = true;
        vec![Frame::Error(Status::expired(gone.to_string()))]
    }
}

/// Waits until a resource is no longer served, which only those do that come at run time.
async fn withdrawn(registry: Option<&mut watch::Receiver<Arc<Registry>>>, resource: &Resource) {
    let Some(registry) = registry else { return std::future::pending().await };
    let Resource { group, version, plural, .. } = resource;
    // An error means that the engine is gone: the process is stopping.
    let _ = registry.wait_for(|now| now.get(group, version, plural).is_none()).await;
}

/// How long a watch lasts whose client does not say: 30 to 60 minutes, so that clients which came
/// together do not come back together.
fn lifetime() -> Duration {
    let spread = u64::from(u16::from_le_bytes(id::random::<2>()));
    let range = limits::WATCH_LIFETIME_MAX - limits::WATCH_LIFETIME_MIN;
    limits::WATCH_LIFETIME_MIN + range.mul_f64(spread as f64 / f64::from(u16::MAX))
}

/// The next whole period since the program's first watch: all watches' bookmarks come at the same
/// moments, so that an idle server wakes once for them.
fn next_bell(now: Instant) -> Instant {
    use std::sync::OnceLock;
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let epoch = *EPOCH.get_or_init(clock::instant);
    let period = limits::BOOKMARK_INTERVAL.as_secs();
    let passed = now.saturating_duration_since(epoch).as_secs() / period;
    epoch + Duration::from_secs((passed + 1) * period)
}
