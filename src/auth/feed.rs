//! Keeps an index in step with one resource of the history.

use std::sync::Arc;

use crate::api::meta::GroupResource;
use crate::history::{Cursor, History, Object};
use crate::limits;

/// What an index is told.
pub enum Change<'a> {
    /// Forget everything: what follows is the whole state.
    Reset,
    /// The object as it is now.
    Put(&'a Arc<Object>),
    /// The object is gone.
    Delete(&'a Arc<Object>),
}

/// A place in the history of one resource, started on first use.
pub struct Feed {
    resource: GroupResource,
    cursor: Option<Cursor>,
}

impl Feed {
    /// A feed that has told nothing yet.
    pub const fn new(resource: GroupResource) -> Self {
        Self { resource, cursor: None }
    }

    /// Tells what has changed since the last call; everything on the first, and again after the
    /// feed has fallen off the ring.
    pub fn drain(&mut self, history: &Arc<History>, mut tell: impl FnMut(Change<'_>)) {
        loop {
            let Some(cursor) = &mut self.cursor else {
                let snapshot = history.snapshot(&self.resource);
                tell(Change::Reset);
                snapshot.iter().for_each(|object| tell(Change::Put(object)));
                self.cursor = history.cursor(&self.resource, snapshot.revision).ok();
                continue;
            };
            match cursor.poll(limits::INDEX_EVENTS_MAX) {
                Ok(events) if events.is_empty() => return,
                Ok(events) => events.iter().for_each(|event| {
                    tell(match event.deleted {
                        true => Change::Delete(&event.object),
                        false => Change::Put(&event.object),
                    });
                }),
                Err(_) => self.cursor = None,
            }
        }
    }
}
