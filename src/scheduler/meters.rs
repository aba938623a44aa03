//! What the scheduler counts, under the names of kube-scheduler's metrics.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::NAME;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// How an attempt to schedule a pod ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Attempt {
    /// The pod is bound.
    Scheduled,
    /// It fits nowhere.
    Unschedulable,
    /// The binding failed.
    Error,
}

/// The metrics of the scheduler.
#[derive(Debug, Clone)]
pub struct Meters {
    attempts: Family<Labels<2>, Counter>,
    seconds: Family<Labels<2>, Histogram>,
    algorithm: Histogram,
    pending: Family<Labels<1>, Gauge>,
}

/// From a millisecond on, doubling, as upstream has them.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            attempts: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            algorithm: seconds(),
            pending: Family::default(),
        }
    }
}

impl Meters {
    /// Has them shown.
    pub fn register(&self, r: &mut Registry) {
        let help = "Number of attempts to schedule pods, by the result";
        r.register("scheduler_schedule_attempts", help, self.attempts.clone());
        let help = "Scheduling attempt latency in seconds (scheduling algorithm + binding)";
        r.register("scheduler_scheduling_attempt_duration_seconds", help, self.seconds.clone());
        let help = "Scheduling algorithm latency in seconds";
        r.register("scheduler_scheduling_algorithm_duration_seconds", help, self.algorithm.clone());
        let help = "Number of pending pods, by the queue type; those that back off are active";
        r.register("scheduler_pending_pods", help, self.pending.clone());
    }

    /// A node was looked for, for so long.
    pub(super) fn decided(&self, took: Duration) {
        self.algorithm.observe(took.as_secs_f64());
    }

    /// An attempt came to its end.
    pub(super) fn ended(&self, attempt: Attempt, took: Duration) {
        let result = match attempt {
            Attempt::Scheduled => "scheduled",
            Attempt::Unschedulable => "unschedulable",
            Attempt::Error => "error",
        };
        let labels = [("result", result), ("profile", NAME)];
        self.attempts.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// So many pods are to be tried, and so many wait for something to happen.
    pub(super) fn pending(&self, active: usize, unschedulable: usize) {
        for (queue, count) in [("active", active), ("unschedulable", unschedulable)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.pending.get_or_create(&[("queue", queue)]).set(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_and_what_waits_are_counted() {
        let meters = Meters::default();
        meters.decided(Duration::from_millis(1));
        meters.ended(Attempt::Scheduled, Duration::from_millis(3));
        meters.ended(Attempt::Unschedulable, Duration::from_millis(1));
        meters.pending(2, 1);
        let mut registry = Registry::default();
        meters.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"} 1"#,
            r#"scheduler_scheduling_attempt_duration_seconds_count{result="unschedulable","#,
            "scheduler_scheduling_algorithm_duration_seconds_count 1",
            r#"scheduler_pending_pods{queue="active"} 2"#,
            r#"scheduler_pending_pods{queue="unschedulable"} 1"#,
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
