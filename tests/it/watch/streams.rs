//! Watches as they stand on the wire.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use rk::api::tree::Value;

use crate::harness::Cluster;

/// A raw watch by kubectl, line by line.
struct Stream {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Stream {
    fn open(cluster: &Cluster, path: &str) -> Self {
        let mut kubectl: Command = cluster.command("kubectl");
        kubectl.args(["get", "--raw", path]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = cluster.machine.spawn(&mut kubectl);
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Type of the next event, name and revision of its object; empty at the end.
    fn next(&mut self) -> (String, String, u64) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        if line.is_empty() {
            return Default::default();
        }
        let event = Value::parse(line.as_bytes()).unwrap_or_else(|e| panic!("{e}: {line}"));
        let object = event.get("object");
        let metadata = object.get("metadata");
        let name = match event.get("type").str() {
            "ERROR" => object.get("code").to_string(),
            _ => metadata.get("name").str().to_owned(),
        };
        let revision = metadata.get("resourceVersion").str().parse().unwrap_or(0);
        (event.get("type").str().to_owned(), name, revision)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Already gone when the stream has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn watches_say_what_happens_to_what_they_select() {
    let cluster = Cluster::start(&["--disable-agent"]);
    selections(&cluster);
    ends(&cluster);
    too_old(&cluster);
}

fn selections(cluster: &Cluster) {
    let revision = cluster.kubectl("get configmaps -o jsonpath={.metadata.resourceVersion}").ok();
    let path = format!("{MAPS}?watch=1&labelSelector=x&resourceVersion={}", revision.trim());
    let mut watch = Stream::open(cluster, &path);
    cluster.kubectl("create configmap a").ok();
    cluster.kubectl("label configmap a x=1").ok();
    cluster.kubectl("label configmap a x=2 --overwrite").ok();
    cluster.kubectl("label configmap a x-").ok();
    cluster.kubectl("label configmap a x=3").ok();
    cluster.kubectl("delete configmap a").ok();
    let mut last = 0;
    for wanted in ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"] {
        let (kind, name, revision) = watch.next();
        assert_eq!((&*kind, &*name), (wanted, "a"));
        assert!(revision > last, "revisions grow: {revision} after {last}");
        last = revision;
    }
}

fn ends(cluster: &Cluster) {
    let query = "watch=1&timeoutSeconds=1&sendInitialEvents=true\
                 &resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Stream::open(cluster, &format!("{MAPS}?{query}&fieldSelector=metadata.name=z"));
    let (kind, name, initial) = watch.next();
    assert_eq!((&*kind, &*name), ("BOOKMARK", ""), "the end of the initial objects, of which none");
    let (kind, _, last) = watch.next();
    assert!(kind == "BOOKMARK" && last >= initial, "where to go on from");
    assert_eq!(watch.next().0, "", "the end");
}

fn too_old(cluster: &Cluster) {
    // Revisions from before an unclean stop are not known any more.
    let said = cluster.kubectl(&format!("get --raw {MAPS}?resourceVersion=999999999999")).fails();
    assert!(said.contains("Too large resource version"), "{said}");
    let mut watch = Stream::open(cluster, &format!("{MAPS}?watch=1&resourceVersion=1"));
    let (kind, code, _) = watch.next();
    // The very first revisions may still be in the ring of a server that has just been made.
    assert!(kind == "ADDED" || (&*kind, &*code) == ("ERROR", "410"), "{kind} {code}");
}
