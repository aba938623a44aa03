//! The program's only source of time, which tests can hold and move.
//!
//! Wall time is seconds and nanoseconds since the Unix epoch; boards without a clock battery get a
//! floor, the newest time that the data directory has seen, so that time never goes back over a
//! reboot. Monotonic time is for deadlines and back-off.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub i64);

impl Wall {
    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The time `duration` later; saturates at the end of the range (year 2262).
    pub fn after(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// The time `duration` earlier; saturates at the start of the range (year 1677).
    pub fn before(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// How long ago `earlier` was, zero when it lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// From whole seconds since the Unix epoch; saturates.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }
}

static FLOOR_NS: AtomicI64 = AtomicI64::new(i64::MIN);

/// The present wall time, never below the floor.
#[allow(clippy::disallowed_methods, reason = "this module is where time comes from")]
pub fn now() -> Wall {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
    Wall(nanos.max(FLOOR_NS.load(Ordering::Relaxed)))
}

/// Raises the floor to the newest time that the data directory has seen.
pub fn raise_floor(seen: Wall) {
    FLOOR_NS.fetch_max(seen.0, Ordering::Relaxed);
}

/// Monotonic time, for deadlines.
#[allow(clippy::disallowed_methods, reason = "this module is where time comes from")]
pub fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_falls_below_the_floor() {
        let future = now().after(Duration::from_secs(1));
        raise_floor(future);
        assert!(now() >= future);
    }

    #[test]
    fn since_is_zero_for_the_future() {
        assert_eq!(Wall(5).since(Wall(9)), Duration::ZERO);
        assert_eq!(Wall(9).since(Wall(5)), Duration::from_nanos(4));
    }
}
