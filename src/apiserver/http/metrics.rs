//! What the server counts, under upstream's names.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper ends of the latency buckets in seconds: the ones of upstream that its alerts use.
const SECONDS: [f64; 14] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// What a request was about. Names of resources come from the registry, so that clients cannot
/// make up new series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    /// The verb, as upstream writes it here: `LIST`.
    pub verb: &'static str,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural name.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Coded {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    request_kind: &'static str,
}

/// The server's metrics.
pub struct Metrics {
    registry: Registry,
    requests: Family<Coded, Counter>,
    seconds: Family<Labels, Histogram>,
    long: Family<Labels, Gauge>,
    inflight: Family<Kind, Gauge>,
    panics: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            long: Family::default(),
            inflight: Family::default(),
            panics: Counter::default(),
        };
        let r = &mut metrics.registry;
        let help = "Counter of apiserver requests by verb, resource and HTTP response code";
        r.register("apiserver_request", help, metrics.requests.clone());
        let help = "Response latency distribution in seconds by verb and resource";
        r.register("apiserver_request_duration_seconds", help, metrics.seconds.clone());
        let help = "Gauge of all active long-running apiserver requests by verb and resource";
        r.register("apiserver_longrunning_requests", help, metrics.long.clone());
        let help = "Requests under way, by kind";
        r.register("apiserver_current_inflight_requests", help, metrics.inflight.clone());
        let help = "Handlers that panicked";
        r.register("apiserver_panics", help, metrics.panics.clone());
        metrics
    }
}

impl Metrics {
    /// Counts a request that was answered.
    pub fn answered(&self, labels: &Labels, code: u16, took: Duration, long: bool) {
        let Labels { verb, group, version, resource, subresource } = labels.clone();
        let coded = Coded { verb, group, version, resource, subresource, code };
        self.requests.get_or_create(&coded).inc();
        if !long {
            self.seconds.get_or_create(labels).observe(took.as_secs_f64());
        }
    }

    /// Counts a stream for as long as the result lives.
    pub fn stream(&self, labels: &Labels) -> Held {
        Held::new(self.long.get_or_create(labels).clone())
    }

    /// Counts a request under way for as long as the result lives.
    pub fn inflight(&self, read: bool) -> Held {
        let request_kind = if read { "readOnly" } else { "mutating" };
        Held::new(self.inflight.get_or_create(&Kind { request_kind }).clone())
    }

    /// Counts a handler that panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// All metrics as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

/// One unit on a gauge.
pub struct Held(Gauge);

impl Held {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_under_upstreams_names() {
        let metrics = Metrics::default();
        let labels = Labels {
            verb: "LIST",
            group: String::new(),
            version: "v1".into(),
            resource: "pods".into(),
            subresource: String::new(),
        };
        metrics.answered(&labels, 200, Duration::from_millis(30), false);
        let held = metrics.stream(&labels);
        let text = metrics.text();
        assert!(text.contains("apiserver_request_total{verb=\"LIST\""), "{text}");
        assert!(text.contains("apiserver_request_duration_seconds_bucket{le=\"0.05\""), "{text}");
        drop(held);
        assert!(metrics.text().contains("} 0"));
    }
}
