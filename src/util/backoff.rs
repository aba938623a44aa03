//! Exponential back-off with a ceiling: pure arithmetic, no clock, no sleep.

use std::time::Duration;

/// Delays that double from `first` to `ceiling`.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    ceiling: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off that has seen no failure yet.
    pub const fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling, failures: 0 }
    }

    /// Counts a failure and returns how long to wait before the next try.
    pub fn fail(&mut self) -> Duration {
        let delay = self.first.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1).min(31);
        delay.min(self.ceiling)
    }

    /// Forgets all failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last reset.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_ceiling_and_forgets() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        let delays: Vec<u64> = (0..7).map(|_| backoff.fail().as_secs()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.fail().as_secs(), 10);
    }
}
