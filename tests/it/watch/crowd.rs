//! Watchers that do not read, and many that do, while much is written.

use rk::api::tree::Value;

use crate::bench::wire::{Connection, JSON, Target};
use crate::harness::Cluster;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Watchers that never read.
const SILENT: usize = 24;
/// Writes, and the size of each: together twice what is kept for watchers.
const WRITES: usize = 320;
const WRITE_BYTES: usize = 100_000;
/// What one that does not read may cost beside the events that are kept once for all: a portion
/// of events that waits for the socket, twice, and TLS. The socket's own buffer is the kernel's.
const WATCHER_BYTES_MAX: u64 = 1 << 20;
/// What is kept for all of them, the objects themselves, and what a debug build makes of both.
const SHARED_BYTES_MAX: u64 = 64 << 20;
/// Writers and readers at once.
const CROWD: usize = 8;
const WRITES_OF_EACH: usize = 25;

fn map(name: &str, text: &str) -> String {
    format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"text":"{text}"}}}}"#)
}

fn revision(object: &Value) -> u64 {
    object.at(&["metadata", "resourceVersion"]).str().parse().unwrap()
}

/// The revision of now.
fn now(connection: &mut Connection) -> u64 {
    revision(&Value::parse(&connection.call("GET", MAPS, JSON, "")).unwrap())
}

fn watcher(target: &Target, after: u64, more: &str) -> Connection {
    let mut watcher = target.connect();
    watcher.watch(&format!("{MAPS}?watch=1&resourceVersion={after}{more}"));
    watcher
}

/// The events of a watch that ends.
fn events(watcher: &mut Connection) -> Vec<Value> {
    let text = watcher.rest();
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Value::parse(line).unwrap()).collect()
}

#[test]
fn a_watcher_that_never_reads_costs_little_and_is_told_what_it_missed() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let target = Target::of_cluster(&cluster);
    let pid = cluster.pid();
    let resident = || crate::bench::process::Memory::of(pid).resident;
    cluster.machine.run(|| {
        let mut writer = target.connect();
        let after = now(&mut writer);
        let mut silent: Vec<_> = (0..SILENT).map(|_| watcher(&target, after, "")).collect();
        let before = resident();
        let mut written = Vec::new();
        for number in 0..WRITES {
            // Names differ, so that the server keeps each write for itself.
            let text = format!("{}{number}", "x".repeat(WRITE_BYTES));
            let name = format!("m-{}", number % 8);
            let (verb, path) = match number < 8 {
                true => ("POST", MAPS.to_owned()),
                false => ("PUT", format!("{MAPS}/{name}")),
            };
            let answer = writer.call(verb, &path, JSON, &map(&name, &text));
            written.push(revision(&Value::parse(&answer).unwrap()));
        }
        let grown = resident().saturating_sub(before);
        println!("{SILENT} silent watchers and {WRITES} writes: {grown} bytes more");
        assert!(grown < SHARED_BYTES_MAX + SILENT as u64 * WATCHER_BYTES_MAX, "{grown}");
        for watcher in &mut silent {
            let mut events = events(watcher);
            let last = events.pop().unwrap();
            assert_eq!(last.get("type").str(), "ERROR", "it cannot have all of them");
            assert_eq!(last.at(&["object", "code"]).as_int(), Some(410));
            assert_eq!(last.at(&["object", "reason"]).str(), "Expired");
            // What it does get has no gap.
            let ours = |event: &&Value| event.at(&["object", "metadata", "name"]).str() != ROOT;
            let seen: Vec<u64> =
                events.iter().filter(ours).map(|event| revision(event.get("object"))).collect();
            assert_eq!(seen, written[..seen.len()]);
        }
    });
}

/// What a controller makes in every namespace.
const ROOT: &str = "kube-root-ca.crt";

#[test]
fn every_watcher_sees_the_same_order() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let target = Target::of_cluster(&cluster);
    cluster.machine.run(|| {
        let after = now(&mut target.connect());
        let more = "&timeoutSeconds=6&fieldSelector=metadata.name!=kube-root-ca.crt";
        let watchers: Vec<_> = (0..CROWD).map(|_| watcher(&target, after, more)).collect();
        let seen: Vec<Vec<(String, String, u64)>> = std::thread::scope(|scope| {
            let writers = (0..CROWD).map(|writer| {
                let mut connection = target.connect();
                scope.spawn(move || write(&mut connection, writer))
            });
            let writers: Vec<_> = writers.collect();
            let readers = watchers.into_iter().map(|mut watcher| {
                scope.spawn(move || events(&mut watcher).iter().map(told).collect())
            });
            let readers: Vec<_> = readers.collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            readers.into_iter().map(|reader| reader.join().unwrap()).collect()
        });
        assert_eq!(seen[0].len(), CROWD * (2 * WRITES_OF_EACH + 1));
        assert!(seen[0].is_sorted_by_key(|(.., revision)| *revision));
        assert!(seen.iter().all(|other| *other == seen[0]));
    });
}

/// An object that is made and changed, and others that come and go.
fn write(connection: &mut Connection, writer: usize) {
    connection.create(MAPS, &map(&format!("own-{writer}"), "0"));
    for number in 0..WRITES_OF_EACH {
        let own = map(&format!("own-{writer}"), &(number + 1).to_string());
        connection.call("PUT", &format!("{MAPS}/own-{writer}"), JSON, &own);
        connection.create(MAPS, &map(&format!("other-{writer}-{number}"), ""));
    }
}

fn told(event: &Value) -> (String, String, u64) {
    let object = event.get("object");
    let name = object.at(&["metadata", "name"]).str().to_owned();
    (event.get("type").str().to_owned(), name, revision(object))
}
