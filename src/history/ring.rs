//! The recent past: events per resource, bounded in bytes over all resources together.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Gone, Object};
use crate::api::meta::GroupResource;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    /// The revision of the write.
    pub revision: u64,
    /// The object as the write left it; for a deletion its last state with this revision.
    pub object: Arc<Object>,
    /// The object before the write.
    pub previous: Option<Arc<Object>>,
    /// Whether the write removed the object.
    pub deleted: bool,
}

impl Event {
    /// What holding the event costs, in bytes. The previous state counts with the event that made
    /// it, as long as that is in the ring.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.object.size()
    }
}

/// The recent events of one resource, in order of revision.
#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The revision of the newest event that was dropped: what came up to it is unknown.
    dropped: u64,
}

impl Ring {
    pub(super) fn push(&mut self, event: Arc<Event>) {
        debug_assert!(self.events.back().is_none_or(|last| last.revision < event.revision));
        self.events.push_back(event);
    }

    pub(super) fn pop(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.dropped = event.revision;
        }
    }

    /// Forgets all; cursors from before `revision` are gone.
    pub(super) fn reset(&mut self, revision: u64) {
        self.events.clear();
        self.dropped = revision;
    }

    /// Whether everything after `after` is still here.
    pub(super) fn check(&self, after: u64, floor: u64) -> Result<(), Gone> {
        let oldest = self.dropped.max(floor);
        if after < oldest { Err(Gone { asked: after, oldest }) } else { Ok(()) }
    }

    pub(super) fn after(&self, after: u64, max: usize) -> Vec<Arc<Event>> {
        let start = self.events.partition_point(|event| event.revision <= after);
        self.events.range(start..).take(max).cloned().collect()
    }
}

/// Who pays for the ring's bytes: events of all resources in the order in which they came.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    bytes_max: usize,
    queue: VecDeque<(GroupResource, usize)>,
}

impl Budget {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max, queue: VecDeque::new() }
    }

    pub(super) fn add(&mut self, resource: GroupResource, bytes: usize) {
        self.bytes += bytes;
        self.queue.push_back((resource, bytes));
    }

    /// The resource whose oldest event must go, if any must.
    pub(super) fn over(&mut self) -> Option<GroupResource> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        let (resource, bytes) = self.queue.pop_front()?;
        self.bytes -= bytes;
        Some(resource)
    }
}
