//! What the server counts, under upstream's names.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::documents;
use super::process::Process;
use crate::api::meta::GroupResource;
use crate::api::registry::Resource;
use crate::history::History;
use crate::util::clock::{self, Wall};

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

/// A resource in a version, as events on a watch are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    group: String,
    version: String,
    resource: String,
}

/// A resource as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    group: String,
    resource: String,
}

/// A resource as it is stored, in one word: `deployments.apps`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    resource: String,
}

/// The server's metrics.
pub struct Metrics {
    started: Wall,
    registry: Registry,
    requests: Family<Coded, Counter>,
    seconds: Family<Labels, Histogram>,
    long: Family<Labels, Gauge>,
    inflight: Family<Kind, Gauge>,
    panics: Counter<u64, AtomicU64>,
    terminations: Family<Coded, Counter>,
    watched: Family<Watched, Counter>,
    initial: Family<Stored, Counter>,
    objects: Family<Stored, Gauge>,
    objects_by_name: Family<Named, Gauge>,
    process: ProcessGauges,
}

/// What is read off the kernel for each answer.
#[derive(Default)]
struct ProcessGauges {
    cpu: Counter<f64, AtomicU64>,
    started: Gauge<i64, AtomicI64>,
    resident: Gauge<i64, AtomicI64>,
    virtual_memory: Gauge<i64, AtomicI64>,
    files: Gauge<i64, AtomicI64>,
    files_max: Gauge<i64, AtomicI64>,
}

impl ProcessGauges {
    fn register(&self, r: &mut Registry) {
        let help = "Total user and system CPU time spent in seconds";
        r.register("process_cpu_seconds", help, self.cpu.clone());
        let help = "Start time of the process since unix epoch in seconds";
        r.register("process_start_time_seconds", help, self.started.clone());
        let help = "Resident memory size in bytes";
        r.register("process_resident_memory_bytes", help, self.resident.clone());
        let help = "Virtual memory size in bytes";
        r.register("process_virtual_memory_bytes", help, self.virtual_memory.clone());
        r.register("process_open_fds", "Number of open file descriptors", self.files.clone());
        let help = "Maximum number of open file descriptors";
        r.register("process_max_fds", help, self.files_max.clone());
    }

    fn set(&self, started: Wall, process: Process) {
        self.cpu.inc_by((process.cpu_s - self.cpu.get()).max(0.0));
        self.started.set(started.seconds());
        self.resident.set(process.resident_bytes);
        self.virtual_memory.set(process.virtual_bytes);
        self.files.set(process.files);
        self.files_max.set(process.files_max);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            started: clock::now(),
            registry: Registry::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            long: Family::default(),
            inflight: Family::default(),
            panics: Counter::default(),
            terminations: Family::default(),
            watched: Family::default(),
            initial: Family::default(),
            objects: Family::default(),
            objects_by_name: Family::default(),
            process: ProcessGauges::default(),
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
        metrics.register_more();
        metrics
    }
}

impl Metrics {
    fn register_more(&mut self) {
        let r = &mut self.registry;
        let help = "Number of requests which apiserver terminated in self-defense";
        r.register("apiserver_request_terminations", help, self.terminations.clone());
        let help = "Number of events sent in watch clients";
        r.register("apiserver_watch_events", help, self.watched.clone());
        let help = "Counter of init events processed, by resource";
        r.register("apiserver_init_events", help, self.initial.clone());
        let help = "Number of stored objects by kind";
        r.register("apiserver_resource_objects", help, self.objects.clone());
        let help = "Number of stored objects by kind, deprecated: apiserver_resource_objects";
        r.register("apiserver_storage_objects", help, self.objects_by_name.clone());
        self.process.register(r);
        let help = "Constant 1, labelled by what was built";
        r.register("kubernetes_build", help, build());
    }

    /// When the server began.
    pub const fn started(&self) -> Wall {
        self.started
    }

    /// Counts a request that was cut off: for want of room or of time.
    pub fn terminated(&self, labels: &Labels, code: u16) {
        self.terminations.get_or_create(&labels.coded(code)).inc();
    }

    /// What counts the events of a watch.
    pub fn watch(&self, resource: &Resource) -> WatchCounters {
        let Resource { group, version, plural, storage, .. } = resource;
        let (group, version, resource) = (group.clone(), version.clone(), plural.clone());
        WatchCounters {
            events: self.watched.get_or_create(&Watched { group, version, resource }).clone(),
            initial: self.initial.get_or_create(&stored(storage)).clone(),
        }
    }

    /// Counts a request that was answered.
    pub fn answered(&self, labels: &Labels, code: u16, took: Duration, long: bool) {
        self.requests.get_or_create(&labels.coded(code)).inc();
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

    /// Counts what there is now.
    fn look(&self, history: &History) {
        self.objects.clear();
        self.objects_by_name.clear();
        for resource in history.resources() {
            let objects = i64::try_from(history.snapshot(&resource).len()).unwrap_or(i64::MAX);
            self.objects.get_or_create(&stored(&resource)).set(objects);
            let named = Named { resource: resource.as_str().to_owned() };
            self.objects_by_name.get_or_create(&named).set(objects);
        }
        self.process.set(self.started, Process::read());
    }

    /// All metrics as text.
    pub fn text(&self, history: &History) -> String {
        self.look(history);
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

impl Labels {
    fn coded(&self, code: u16) -> Coded {
        let Self { verb, group, version, resource, subresource } = self.clone();
        Coded { verb, group, version, resource, subresource, code }
    }
}

fn stored(resource: &GroupResource) -> Stored {
    Stored { group: resource.group().to_owned(), resource: resource.resource().to_owned() }
}

/// The release, as `/version` tells it.
fn build() -> Info<Vec<(String, String)>> {
    let version = documents::version();
    let label = |(from, to): &(&str, &str)| ((*to).to_owned(), version.get(from).str().to_owned());
    let labels = [
        ("buildDate", "build_date"),
        ("compiler", "compiler"),
        ("gitCommit", "git_commit"),
        ("gitTreeState", "git_tree_state"),
        ("gitVersion", "git_version"),
        ("goVersion", "go_version"),
        ("major", "major"),
        ("minor", "minor"),
        ("platform", "platform"),
    ];
    Info::new(labels.iter().map(label).collect())
}

/// What one watch counts.
pub struct WatchCounters {
    events: Counter,
    initial: Counter,
}

impl WatchCounters {
    /// Counts events, of what there was at first or of what happened since.
    pub fn told(&self, events: usize, initial: bool) {
        let events = u64::try_from(events).unwrap_or(u64::MAX);
        self.events.inc_by(events);
        if initial {
            self.initial.inc_by(events);
        }
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
    use std::sync::Arc;

    use super::*;
    use crate::api::meta::Key;
    use crate::api::registry::builtin;
    use crate::api::tree::Value;
    use crate::history::Object;

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
        metrics.terminated(&labels, 429);
        let pods = builtin().get("", "v1", "pods").unwrap().clone();
        metrics.watch(&pods).told(3, true);
        let history = History::new(1, 1 << 20);
        let key = Key::new(&GroupResource::new("apps", "deployments"), "n", "d");
        history.load(Arc::new(Object::new(key, Value::object(), 1, Vec::new())));
        let text = metrics.text(&history);
        for line in [
            "apiserver_watch_events_total{group=\"\",version=\"v1\",resource=\"pods\"} 3",
            "apiserver_init_events_total{group=\"\",resource=\"pods\"} 3",
            "apiserver_resource_objects{group=\"apps\",resource=\"deployments\"} 1",
            "apiserver_storage_objects{resource=\"deployments.apps\"} 1",
            "process_open_fds ",
            "kubernetes_build_info{build_date=",
            "apiserver_request_terminations_total{verb=\"LIST\"",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(text.contains("apiserver_request_total{verb=\"LIST\""), "{text}");
        assert!(text.contains("apiserver_request_duration_seconds_bucket{le=\"0.05\""), "{text}");
        drop(held);
        assert!(metrics.text(&history).contains("} 0"));
    }
}
