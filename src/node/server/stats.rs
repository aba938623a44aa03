//! What pods and containers use: `/metrics/resource` and `/stats/summary`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Answer, json, with_type};
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::node::container::build::label;
use crate::node::shared::Shared;
use crate::runtime::{PodHandle, PodStats};
use crate::sys::cgroup::Usage;
use crate::util::clock::{self, Wall};

/// CPU time at the last two questions, from which rates are worked out.
#[derive(Default)]
pub(super) struct Rates(Mutex<HashMap<String, (Wall, u64)>>);

impl Rates {
    /// Billionths of a processor since the last question about `id`; none for the first.
    fn rate(&self, id: &str, now: Wall, cpu_ns: u64) -> Option<u64> {
        let before = self.0.lock().insert(id.to_owned(), (now, cpu_ns))?;
        let elapsed = u64::try_from(now.since(before.0).as_nanos()).ok().filter(|ns| *ns > 0)?;
        let used = u128::from(cpu_ns.saturating_sub(before.1)) * 1_000_000_000;
        u64::try_from(used / u128::from(elapsed)).ok()
    }

    /// Forgets what is not asked about any more.
    fn keep(&self, ids: &[String]) {
        self.0.lock().retain(|id, _| ids.contains(id));
    }
}

/// One pod and what it uses.
struct Sample {
    namespace: String,
    name: String,
    uid: String,
    stats: PodStats,
    /// The names of the containers by the runtime's.
    names: HashMap<String, String>,
    started: HashMap<String, i64>,
}

async fn samples(shared: &Shared) -> Vec<Sample> {
    let mut samples = Vec::new();
    for pod in shared.runtime.pods() {
        // One that is just ending has nothing to tell.
        if let Ok(stats) = pod.stats().await {
            samples.push(sample(&pod, stats));
        }
    }
    samples
}

fn sample(pod: &PodHandle, stats: PodStats) -> Sample {
    let label = |name: &str| pod.sandbox().labels.get(name).cloned().unwrap_or_default();
    let containers = pod.containers();
    let name = |c: &crate::runtime::ContainerStatus| {
        Some((c.id.clone(), c.labels.get("container")?.clone()))
    };
    Sample {
        namespace: label(label::NAMESPACE),
        name: label(label::NAME),
        uid: pod.sandbox().id.clone(),
        stats,
        names: containers.iter().filter_map(name).collect(),
        started: containers.iter().filter_map(|c| Some((c.id.clone(), c.started_ns?))).collect(),
    }
}

/// CPU time and memory of the whole machine.
fn machine() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, then idle and waiting, which are no work, then interrupts and stolen
    // time.
    let busy: u64 =
        ticks.iter().take(8).enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, t)| t).sum();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.map(|line| line.trim().trim_end_matches("kB").trim());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let used = kib("MemTotal").saturating_sub(kib("MemAvailable")) << 10;
    (busy * TICK_NS, used)
}

/// Nanoseconds of a tick in `/proc/stat`: always a hundredth of a second on Linux.
const TICK_NS: u64 = 10_000_000;

/// `GET /metrics/resource`: what metrics-server reads.
pub(super) async fn resource(shared: &Arc<Shared>) -> Answer {
    let samples = samples(shared).await;
    let (node_cpu, node_memory) = machine();
    let mut out = String::new();
    let seconds = |ns: u64| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, String)>| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let containers = |value: &dyn Fn(&Usage) -> String| -> Vec<(String, String)> {
        let of = |s: &Sample| -> Vec<(String, String)> {
            let one = |(id, usage): (&String, &Usage)| {
                let container = s.names.get(id)?;
                let (namespace, pod) = (&s.namespace, &s.name);
                let labels =
                    format!(r#"{{container="{container}",namespace="{namespace}",pod="{pod}"}}"#);
                Some((labels, value(usage)))
            };
            s.stats.containers.iter().filter_map(one).collect()
        };
        samples.iter().flat_map(of).collect()
    };
    let pods = |value: &dyn Fn(&Usage) -> String| -> Vec<(String, String)> {
        let one = |s: &Sample| {
            let labels = format!(r#"{{namespace="{}",pod="{}"}}"#, s.namespace, s.name);
            (labels, value(&s.stats.pod))
        };
        samples.iter().map(one).collect()
    };
    let cpu = |usage: &Usage| seconds(usage.cpu_ns);
    let memory = |usage: &Usage| usage.working_set_bytes.to_string();
    let (cpu_help, memory_help) =
        ("Cumulative cpu time consumed in core-seconds", "Current working set in bytes");
    family("container_cpu_usage_seconds_total", "counter", cpu_help, containers(&cpu));
    family("container_memory_working_set_bytes", "gauge", memory_help, containers(&memory));
    let whole = |value: String| vec![(String::new(), value)];
    family("node_cpu_usage_seconds_total", "counter", cpu_help, whole(seconds(node_cpu)));
    family("node_memory_working_set_bytes", "gauge", memory_help, whole(node_memory.to_string()));
    family("pod_cpu_usage_seconds_total", "counter", cpu_help, pods(&cpu));
    family("pod_memory_working_set_bytes", "gauge", memory_help, pods(&memory));
    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    family("resource_scrape_error", "gauge", help, whole("0".to_owned()));
    Ok(with_type("text/plain; version=0.0.4; charset=utf-8", out))
}

/// `GET /stats/summary`.
pub(super) async fn summary(shared: &Arc<Shared>, rates: &Rates) -> Answer {
    let samples = samples(shared).await;
    let now = clock::now();
    let (cpu_ns, memory) = machine();
    let machine =
        Usage { cpu_ns, memory_bytes: memory, working_set_bytes: memory, ..Usage::default() };
    let mut node = usage("node", &machine, rates, now);
    node.set("nodeName", shared.config.name.as_str());
    let room = shared.images.store.room().map_err(|e| Status::internal(e.to_string()))?;
    node.set("fs", disk(&room, now));
    let mut known = vec!["node".to_owned()];
    let mut pods = Vec::new();
    for sample in &samples {
        known.push(sample.uid.clone());
        known.extend(sample.stats.containers.keys().cloned());
        pods.push(pod(sample, rates, now));
    }
    rates.keep(&known);
    let summary = Value::from([("node", node), ("pods", pods.into())]);
    Ok(json(summary.encode()))
}

fn pod(sample: &Sample, rates: &Rates, now: Wall) -> Value {
    let container = |(id, used): (&String, &Usage)| {
        let mut value = usage(id, used, rates, now);
        value.set("name", sample.names.get(id)?.as_str());
        if let Some(started) = sample.started.get(id) {
            value.set("startTime", time::format(Wall(*started)));
        }
        Some(value)
    };
    let containers: Vec<Value> = sample.stats.containers.iter().filter_map(container).collect();
    let mut value = usage(&sample.uid, &sample.stats.pod, rates, now);
    let reference = Value::from([
        ("name", sample.name.as_str().into()),
        ("namespace", sample.namespace.as_str().into()),
        ("uid", sample.uid.as_str().into()),
    ]);
    value.set("podRef", reference);
    value.set("containers", containers);
    value.set("process_stats", Value::from([("process_count", number(sample.stats.pod.pids))]));
    value
}

fn number(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

fn usage(id: &str, usage: &Usage, rates: &Rates, now: Wall) -> Value {
    let at = Value::from(time::format(now));
    let mut cpu =
        Value::from([("time", at.clone()), ("usageCoreNanoSeconds", number(usage.cpu_ns))]);
    if let Some(rate) = rates.rate(id, now, usage.cpu_ns) {
        cpu.set("usageNanoCores", number(rate));
    }
    let memory = Value::from([
        ("time", at),
        ("usageBytes", number(usage.memory_bytes)),
        ("workingSetBytes", number(usage.working_set_bytes)),
        ("rssBytes", number(usage.rss_bytes)),
        ("pageFaults", number(usage.page_faults)),
        ("majorPageFaults", number(usage.major_page_faults)),
    ]);
    Value::from([("cpu", cpu), ("memory", memory)])
}

fn disk(room: &crate::sys::fs::FsRoom, now: Wall) -> Value {
    Value::from([
        ("time", time::format(now).into()),
        ("availableBytes", number(room.available_bytes)),
        ("capacityBytes", number(room.capacity_bytes)),
        ("usedBytes", number(room.capacity_bytes.saturating_sub(room.available_bytes))),
        ("inodes", number(room.inodes)),
        ("inodesFree", number(room.inodes_free)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_two_questions() {
        let rates = Rates::default();
        assert_eq!(rates.rate("a", Wall::from_seconds(10), 5_000_000_000), None);
        assert_eq!(rates.rate("a", Wall::from_seconds(20), 10_000_000_000), Some(500_000_000));
        rates.keep(&[]);
        assert_eq!(rates.rate("a", Wall::from_seconds(30), 1), None);
    }
}
