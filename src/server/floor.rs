//! The newest time that the data directory has seen: boards without a clock battery start there.

use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::util::clock::{self, Wall};

/// Raises the clock's floor to the newest change of a file in `folder`. Files from the future (a
/// clock that was once set wrong) raise it by no more than they must: time stands still until then,
/// but never goes back.
pub(crate) fn raise(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let changed = entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok());
    let newest = changed.filter_map(|time| time.duration_since(UNIX_EPOCH).ok()).max();
    let Some(newest) = newest else { return };
    let seen = Wall(i64::try_from(newest.as_nanos()).unwrap_or(0));
    if clock::now() < seen {
        tracing::warn!("the clock is behind the data directory: waiting for it to catch up");
        clock::raise_floor(seen);
    }
}
