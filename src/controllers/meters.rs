//! What work queues count, under the names of upstream's `workqueue` metrics.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The name of a queue, as a label.
type Name = [(&'static str, &'static str); 1];

/// The metrics of all queues.
#[derive(Debug, Clone)]
pub struct Meters {
    adds: Family<Name, Counter>,
    retries: Family<Name, Counter>,
    depth: Family<Name, Gauge>,
    waited: Family<Name, Histogram>,
    worked: Family<Name, Histogram>,
}

/// The metrics of one queue.
#[derive(Debug)]
pub(super) struct Meter {
    /// Keys that came in.
    pub(super) adds: Counter,
    /// Keys that come back after a while.
    pub(super) retries: Counter,
    /// Keys that wait.
    pub(super) depth: Gauge,
    waited: Histogram,
    worked: Histogram,
}

/// Ten decades from ten nanoseconds on, as upstream has them.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(10e-9, 10.0, 10))
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            adds: Family::default(),
            retries: Family::default(),
            depth: Family::default(),
            waited: Family::new_with_constructor(durations),
            worked: Family::new_with_constructor(durations),
        }
    }
}

impl Meters {
    /// Has them shown.
    pub fn register(&self, r: &mut Registry) {
        let help = "Total number of adds handled by workqueue";
        r.register("workqueue_adds", help, self.adds.clone());
        let help = "Total number of retries handled by workqueue";
        r.register("workqueue_retries", help, self.retries.clone());
        r.register("workqueue_depth", "Current depth of workqueue", self.depth.clone());
        let help = "How long in seconds an item stays in workqueue before being requested";
        r.register("workqueue_queue_duration_seconds", help, self.waited.clone());
        let help = "How long in seconds processing an item from workqueue takes";
        r.register("workqueue_work_duration_seconds", help, self.worked.clone());
    }

    /// Those of a queue that begins anew.
    pub(super) fn of(&self, name: &'static str) -> Meter {
        let label = [("name", name)];
        let depth = self.depth.get_or_create_owned(&label);
        depth.set(0);
        Meter {
            adds: self.adds.get_or_create_owned(&label),
            retries: self.retries.get_or_create_owned(&label),
            depth,
            waited: self.waited.get_or_create_owned(&label),
            worked: self.worked.get_or_create_owned(&label),
        }
    }
}

impl Default for Meter {
    /// Metrics that nobody sees.
    fn default() -> Self {
        Meters::default().of("")
    }
}

impl Meter {
    /// A key has waited so long.
    pub(super) fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }

    /// A key was worked on for so long.
    pub(super) fn worked(&self, time: Duration) {
        self.worked.observe(time.as_secs_f64());
    }
}
