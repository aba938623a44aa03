//! From answers to a verdict: only so many in a row change it. Pure.

use super::{Purpose, Timing};

/// The answers of one probe so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    purpose: Purpose,
    last: Option<bool>,
    run: u32,
    verdict: Option<bool>,
}

impl Tally {
    /// Before the first answer: not ready, not started, but alive.
    pub const fn new(purpose: Purpose) -> Self {
        let verdict = match purpose {
            Purpose::Startup => None,
            Purpose::Liveness => Some(true),
            Purpose::Readiness => Some(false),
        };
        Self { purpose, last: None, run: 0, verdict }
    }

    /// Goes on after a restart of the node: who was ready is, until a probe says otherwise.
    pub const fn resumed(purpose: Purpose, ready: bool) -> Self {
        let mut tally = Self::new(purpose);
        if matches!(purpose, Purpose::Readiness) {
            tally.verdict = Some(ready);
        }
        tally
    }

    /// What holds now; none while a startup probe is undecided.
    pub const fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Counts an answer; returns the verdict if that changed it.
    pub fn count(&mut self, success: bool, timing: &Timing) -> Option<bool> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let needed = if success { timing.successes } else { timing.failures };
        if self.run < needed || self.verdict == Some(success) {
            return None;
        }
        self.verdict = Some(success);
        Some(success)
    }

    /// Whether nothing is left to ask: the container has started, or is being restarted.
    pub const fn is_settled(&self) -> bool {
        match self.purpose {
            Purpose::Startup => self.verdict.is_some(),
            Purpose::Liveness => matches!(self.verdict, Some(false)),
            Purpose::Readiness => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn verdicts(purpose: Purpose, answers: &str) -> String {
        let timing = Timing {
            initial: Duration::ZERO,
            period: Duration::ZERO,
            timeout: Duration::ZERO,
            successes: 2,
            failures: 3,
        };
        let mut tally = Tally::new(purpose);
        let verdict = |answer| match tally.count(answer == '+', &timing) {
            Some(true) => 'Y',
            Some(false) => 'N',
            None => '.',
        };
        answers.chars().map(verdict).collect()
    }

    #[test]
    fn only_runs_of_answers_change_the_verdict() {
        assert_eq!(verdicts(Purpose::Readiness, "+++--+---++"), ".Y......N.Y");
        assert_eq!(verdicts(Purpose::Liveness, "--+---"), ".....N");
        assert_eq!(verdicts(Purpose::Startup, "-+-++"), "....Y");
        assert_eq!(verdicts(Purpose::Startup, "---"), "..N");
    }

    #[test]
    fn settles_where_nothing_is_left_to_ask() {
        let timing = Timing::of(&k8s_openapi::api::core::v1::Probe::default());
        let mut startup = Tally::new(Purpose::Startup);
        assert!(!startup.is_settled());
        startup.count(true, &timing);
        assert!(startup.is_settled());
        assert!(!Tally::new(Purpose::Liveness).is_settled());
    }
}
