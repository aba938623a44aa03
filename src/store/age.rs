//! How old a state may be that lists are still read from.
//!
//! A client that pages through a list holds on to the state in which it began; without an end to
//! that, whoever pages slowly would never learn that what it reads is long past. Every so often the
//! states from before the last such time are given up, as etcd does when it is compacted. Nothing
//! wakes for it: without writes there are no older states.

use std::time::Instant;

use crate::limits::STATE_AGE_MIN;

/// The newest revision at a time.
pub(super) struct Mark {
    at: Instant,
    revision: u64,
}

impl Mark {
    pub(super) const fn new(at: Instant, revision: u64) -> Self {
        Self { at, revision }
    }

    /// The oldest state to keep from now on, if it is time to give some up.
    pub(super) fn pass(&mut self, now: Instant, revision: u64) -> Option<u64> {
        if now.saturating_duration_since(self.at) < STATE_AGE_MIN {
            return None;
        }
        let last = std::mem::replace(self, Self::new(now, revision));
        Some(last.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::clock;

    #[test]
    fn a_state_is_kept_for_one_interval_and_given_up_after_two() {
        let begin = clock::instant();
        let mut mark = Mark::new(begin, 1);
        let after = |intervals: f64| begin + STATE_AGE_MIN.mul_f64(intervals);
        assert_eq!(mark.pass(after(0.9), 5), None);
        assert_eq!(mark.pass(after(1.1), 7), Some(1), "5 is younger than an interval");
        assert_eq!(mark.pass(after(1.9), 8), None);
        assert_eq!(mark.pass(after(2.2), 9), Some(7));
    }
}
