//! A reader's place in the history.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Event, History};
use crate::api::meta::GroupResource;

/// The events that a cursor asked for have left the history: list again. HTTP's 410.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct Gone {
    /// The revision that was asked for.
    pub asked: u64,
    /// The oldest revision that can be asked for.
    pub oldest: u64,
}

/// Reads the events of one resource in order. Costs a few words, however far it lags.
pub struct Cursor {
    history: Arc<History>,
    resource: GroupResource,
    /// Everything up to here has been read.
    after: u64,
    wake: watch::Receiver<u64>,
}

impl Cursor {
    pub(super) const fn new(
        history: Arc<History>,
        resource: GroupResource,
        after: u64,
        wake: watch::Receiver<u64>,
    ) -> Self {
        Self { history, resource, after, wake }
    }

    /// The next events, at most `max`, without waiting: none when the cursor is up to date.
    ///
    /// # Errors
    /// [`Gone`] when the cursor lagged so far that events have left the ring.
    pub fn poll(&mut self, max: usize) -> Result<Vec<Arc<Event>>, Gone> {
        let (events, read) = self.history.read(&self.resource, self.after, max)?;
        self.after = self.after.max(read);
        Ok(events)
    }

    /// The next events, at most `max`; waits until there is one. Safe to drop at any await.
    ///
    /// # Errors
    /// [`Gone`] as for [`Cursor::poll`].
    pub async fn next(&mut self, max: usize) -> Result<Vec<Arc<Event>>, Gone> {
        loop {
            self.wake.borrow_and_update();
            let events = self.poll(max)?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.wake.changed().await.is_err() {
                // The history outlives its cursors, so its senders do; if ever not, list again.
                return Err(Gone { asked: self.after, oldest: u64::MAX });
            }
        }
    }

    /// The revision up to which everything of this resource has been read: what a bookmark says.
    pub const fn revision(&self) -> u64 {
        self.after
    }
}
