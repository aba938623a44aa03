//! What an API server does under load: durable creates, watch latency, lists.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rk::util::clock;

use super::figures::{Figure, ms, real, significant, timed};
use super::wire::{Connection, JSON, PROTOBUF, Target};

/// How long a single client creates objects.
const ALONE: Duration = Duration::from_secs(5);
/// Clients at once.
const CLIENTS: usize = 32;
/// Objects that they create, and that are then listed.
const OBJECTS: usize = 10_000;
/// Writes whose way to a watcher is timed.
const WATCHED: usize = 500;
/// Lists of each encoding; the fastest counts, the first warms up.
const LISTS: usize = 4;

/// A ConfigMap of about 1 kB, as most objects of a cluster are.
fn configmap(name: &str) -> String {
    let text = "durable ".repeat(75);
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","labels":{{"app":"bench","tier":"one"}}}},"data":{{"text":"{text}"}}}}"#
    )
}

/// Makes a namespace; returns the path of its ConfigMaps.
fn namespace(target: &Target, name: &str) -> String {
    let object =
        format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}"}}}}"#);
    target.connect().create("/api/v1/namespaces", &object);
    format!("/api/v1/namespaces/{name}/configmaps")
}

/// Runs everything against one server.
pub fn measure(target: &Target) -> Vec<Figure> {
    let mut figures = vec![alone(target)];
    let path = namespace(target, "together");
    figures.push(together(target, &path));
    figures.extend(watched(target));
    for (name, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
        figures.push(listed(target, &path, name, accept));
    }
    figures
}

/// How many in a second.
fn rate(count: usize, time: Duration) -> f64 {
    real(count as u64) / time.as_secs_f64()
}

fn alone(target: &Target) -> Figure {
    let path = namespace(target, "alone");
    let mut connection = target.connect();
    let (mut made, end) = (0, clock::instant() + ALONE);
    while clock::instant() < end {
        connection.create(&path, &configmap(&format!("c{made}")));
        made += 1;
    }
    Figure::new("durable creates of 1 kB, 1 client", rate(made, ALONE), "/s")
}

fn together(target: &Target, path: &str) -> Figure {
    let mut connections: Vec<Connection> = (0..CLIENTS).map(|_| target.connect()).collect();
    let create = |client: usize, connection: &mut Connection| {
        for number in (client..OBJECTS).step_by(CLIENTS) {
            connection.create(path, &configmap(&format!("c{number}")));
        }
    };
    let ((), time) = timed(|| {
        std::thread::scope(|scope| {
            for (client, connection) in connections.iter_mut().enumerate() {
                scope.spawn(move || create(client, connection));
            }
        });
    });
    let what = format!("durable creates of 1 kB, {CLIENTS} clients");
    Figure::new(what, rate(OBJECTS, time), "/s")
}

/// From the moment a write is sent, and from the moment its answer is here, to its event at a
/// watcher. The event may well be there before the answer.
fn watched(target: &Target) -> [Figure; 2] {
    let path = namespace(target, "watched");
    let (mut watcher, mut writer) = (target.connect(), target.connect());
    watcher.watch(&format!("{path}?watch=true"));
    let (tell, seen) = sync_channel(WATCHED);
    let write = |number: usize| {
        let sent = clock::instant();
        writer.create(&path, &configmap(&format!("watched-{number}")));
        (sent, clock::instant())
    };
    let (whole, after) = std::thread::scope(|scope| {
        scope.spawn(move || watch(&mut watcher, &tell));
        (0..WATCHED).map(write).map(|times| arrival(&seen, times)).unzip()
    });
    [
        Figure::spread("write sent to event at a watcher, median / p99", whole),
        Figure::spread("write acknowledged to event at a watcher, median / p99", after),
    ]
}

/// Tells when each written object's event came; what else is in the namespace does not count.
fn watch(watcher: &mut Connection, tell: &SyncSender<Instant>) {
    let mut left = WATCHED;
    while left > 0 {
        let text = watcher.event();
        let now = clock::instant();
        let count = String::from_utf8_lossy(&text).matches(r#""name":"watched-"#).count();
        (0..count).for_each(|_| tell.send(now).unwrap());
        left -= count;
    }
}

fn arrival(seen: &Receiver<Instant>, (sent, answered): (Instant, Instant)) -> (Duration, Duration) {
    let event = seen.recv().unwrap();
    (event - sent, event.saturating_duration_since(answered))
}

fn listed(target: &Target, path: &str, name: &str, accept: &str) -> Figure {
    let mut connection = target.connect();
    let mut list = || timed(|| connection.call("GET", path, accept, "").len());
    let (bytes, time) = (0..LISTS).map(|_| list()).min_by_key(|(_, time)| *time).unwrap();
    let value = rate(OBJECTS, time);
    let speed = significant(rate(bytes, time) / 1e6);
    let told = format!("{value:.0} objects/s, {speed} MB/s, {} ms", significant(ms(time)));
    Figure { what: format!("list of {OBJECTS} objects as {name}"), told, value }
}
