//! What the server counts, under upstream's names.

mod access;
mod labels;

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
use crate::api::registry::{Called, Resource};
use crate::api::status::Status;
use crate::auth::UserInfo;
use crate::history::History;
use crate::util::clock::{self, Wall};
use access::Access;
pub use labels::Labels;
use labels::Series;

/// Upper ends of the latency buckets in seconds: the ones of upstream that its alerts use.
const SECONDS: [f64; 14] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];
/// The same of what upstream's objectives are about, which are not below a twentieth of a second.
const OBJECTIVES: [f64; 11] = [0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Has what another part of the server counts shown.
pub type Register = Box<dyn FnOnce(&mut Registry) + Send>;

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
    requests: Family<Series<true>, Counter>,
    seconds: Family<Series<true>, Histogram>,
    objectives: Family<Series<false>, Histogram>,
    long: Family<Series<false>, Gauge>,
    inflight: Family<Kind, Gauge>,
    panics: Counter<u64, AtomicU64>,
    handshakes: Counter<u64, AtomicU64>,
    terminations: Family<Series<false>, Counter>,
    watched: Family<Watched, Counter>,
    initial: Family<Stored, Counter>,
    objects: Family<Stored, Gauge>,
    objects_by_name: Family<Named, Gauge>,
    process: ProcessGauges,
    access: Access,
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

impl Metrics {
    /// Metrics that are all zero, and those of other parts.
    pub fn new(others: Vec<Register>) -> Self {
        let mut registry = Registry::default();
        others.into_iter().for_each(|register| register(&mut registry));
        let access = Access::register(&mut registry);
        let mut metrics = Self {
            started: clock::now(),
            registry,
            access,
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            objectives: Family::new_with_constructor(|| Histogram::new(OBJECTIVES)),
            long: Family::default(),
            inflight: Family::default(),
            panics: Counter::default(),
            handshakes: Counter::default(),
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
        let help = "Response latency distribution (not counting webhook duration) in seconds";
        r.register("apiserver_request_sli_duration_seconds", help, metrics.objectives.clone());
        let help = "Gauge of all active long-running apiserver requests by verb and resource";
        r.register("apiserver_longrunning_requests", help, metrics.long.clone());
        let help = "Requests under way, by kind";
        r.register("apiserver_current_inflight_requests", help, metrics.inflight.clone());
        let help = "Handlers that panicked";
        r.register("apiserver_panics", help, metrics.panics.clone());
        let help = "Number of requests dropped with 'TLS handshake error from' error";
        r.register("apiserver_tls_handshake_errors", help, metrics.handshakes.clone());
        metrics.register_more();
        metrics
    }

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
        self.terminations.get_or_create(&Series::new(labels, Some(code))).inc();
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
        self.requests.get_or_create(&Series::new(labels, Some(code))).inc();
        if !long {
            let seconds = took.as_secs_f64();
            self.seconds.get_or_create(&Series::new(labels, None)).observe(seconds);
            self.objectives.get_or_create(&Series::new(labels, None)).observe(seconds);
        }
    }

    /// Counts a stream for as long as the result lives.
    pub fn stream(&self, labels: &Labels) -> Held {
        Held::new(self.long.get_or_create_owned(&Series::new(labels, None)))
    }

    /// Counts a request under way for as long as the result lives.
    pub fn inflight(&self, read: bool) -> Held {
        let request_kind = if read { "readOnly" } else { "mutating" };
        Held::new(self.inflight.get_or_create(&Kind { request_kind }).clone())
    }

    /// Counts what became of the credentials of a request.
    pub fn authenticated(&self, user: Result<Option<&UserInfo>, &Status>) {
        self.access.authenticated(user);
    }

    /// A certificate said who asked, and will do so for so long.
    pub fn certified(&self, left: Duration) {
        self.access.certified(left);
    }

    /// Counts whether a request was allowed.
    pub fn decided(&self, allowed: bool) {
        self.access.decided(allowed);
    }

    /// Notes that somebody asked for what is on its way out.
    pub fn deprecated(&self, called: &Called, subresource: &str) {
        self.access.deprecated(called, subresource);
    }

    /// Counts a connection that did not come about.
    pub fn handshake_failed(&self) {
        self.handshakes.inc();
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
    use crate::apiserver::http::request::{RequestInfo, Target};
    use crate::history::Object;

    fn labels(method: &http::Method, uri: &str, applies: bool) -> Labels {
        let info = RequestInfo::of(method, &uri.parse().unwrap());
        let Target::Resource(path) = &info.target else { return Labels::of(&info, None, applies) };
        let registry = builtin();
        let resource = registry.get(&path.group, &path.version, &path.plural);
        Labels::of(&info, resource.map(|resource| &**resource), applies)
    }

    #[test]
    fn requests_are_counted_under_upstreams_names() {
        let metrics = Metrics::new(Vec::new());
        let list = labels(&http::Method::GET, "/api/v1/namespaces/a/pods", false);
        metrics.answered(&list, 200, Duration::from_millis(30), false);
        let held = metrics.stream(&list);
        metrics.terminated(&list, 429);
        let pods = builtin().get("", "v1", "pods").unwrap().clone();
        metrics.watch(&pods).told(3, true);
        metrics.deprecated(&Called::new("", "v1", "endpoints"), "");
        metrics.handshake_failed();
        metrics.certified(Duration::from_secs(90_000));
        metrics.decided(true);
        metrics.authenticated(Ok(Some(&UserInfo::system("a@b", &[]))));
        metrics.authenticated(Err(&Status::unauthorized()));
        let history = History::new(1, 1 << 20);
        let key = Key::new(&GroupResource::new("apps", "deployments"), "n", "d");
        history.load(Arc::new(Object::new(key, Value::object(), 1, Vec::new())));
        let text = metrics.text(&history);
        let of = r#"group="",version="v1",resource="pods",subresource="",scope="namespace",component="apiserver""#;
        for line in [
            &format!(r#"apiserver_request_total{{verb="LIST",dry_run="",{of},code="200"}} 1"#),
            &format!(r#"apiserver_request_terminations_total{{verb="LIST",{of},code="429"}} 1"#),
            &format!(r#"apiserver_request_sli_duration_seconds_count{{verb="LIST",{of}}} 1"#),
            &format!(r#"apiserver_longrunning_requests{{verb="LIST",{of}}} 1"#),
            r#"apiserver_request_duration_seconds_bucket{le="0.05","#,
            r#"apiserver_watch_events_total{group="",version="v1",resource="pods"} 3"#,
            r#"apiserver_init_events_total{group="",resource="pods"} 3"#,
            r#"apiserver_resource_objects{group="apps",resource="deployments"} 1"#,
            r#"apiserver_storage_objects{resource="deployments.apps"} 1"#,
            r#"apiserver_requested_deprecated_apis{group="",version="v1",resource="endpoints","#,
            "apiserver_tls_handshake_errors_total 1",
            r#"apiserver_client_certificate_expiration_seconds_bucket{le="86400.0"} 0"#,
            r#"apiserver_client_certificate_expiration_seconds_bucket{le="172800.0"} 1"#,
            r#"authorization_attempts_total{result="allowed"} 1"#,
            r#"authentication_attempts{result="error"} 1"#,
            r#"authenticated_user_requests{username="email_id"} 1"#,
            "process_open_fds ",
            "kubernetes_build_info{build_date=",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        drop(held);
        assert!(metrics.text(&history).contains("} 0"));
    }

    #[test]
    fn labels_say_what_is_done_to_what() {
        for (method, uri, applies, wanted) in [
            ("GET", "/api/v1/pods", false, ("LIST", "pods", "", "cluster", false)),
            (
                "GET",
                "/api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dp",
                false,
                ("LIST", "pods", "", "resource", false),
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods?watch=1",
                false,
                ("WATCH", "pods", "", "namespace", false),
            ),
            (
                "POST",
                "/api/v1/namespaces/a/pods?dryRun=All",
                false,
                ("POST", "pods", "", "resource", true),
            ),
            (
                "PATCH",
                "/api/v1/namespaces/a/pods/p/status",
                true,
                ("APPLY", "pods", "status", "resource", false),
            ),
            (
                "GET",
                "/api/v1/namespaces/a/pods/p/log",
                false,
                ("CONNECT", "pods", "log", "resource", false),
            ),
            ("GET", "/api/v1/namespaces/a/nonsense/p", false, ("GET", "", "", "resource", false)),
            ("GET", "/metrics", false, ("GET", "", "", "", false)),
        ] {
            let found = labels(&method.parse().unwrap(), uri, applies);
            let [_, _, resource] = found.named();
            let told = (found.verb, resource, found.subresource, found.scope, found.dry_run);
            assert_eq!(told, wanted, "{method} {uri}");
        }
    }
}
