//! The same with a node: containers run on, logs have no gap, rollouts complete, and visitors do
//! not notice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::random_moment;
use super::writers::Writers;
use crate::guestbook::{self, eventually};
use crate::harness::{Cluster, SERVER};
use crate::load::Load;
use crate::rolling;

/// How often rk is killed, unless `RK_KILLS` says; the writers alone meet a hundred more.
const KILLS: usize = 40;
/// A rollout begins each so many kills, whether or not the last one is complete.
const KILLS_PER_ROLL: usize = 4;

/// Two pods that nobody touches and that count in their logs, in lines so long that the logs are
/// rotated.
const STEADY: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: steady}
spec:
  replicas: 2
  selector: {matchLabels: {app: steady}}
  template:
    metadata: {labels: {app: steady}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: counter
        image: guestbook/web:1
        command: [sh, -c]
        args:
        - |
          pad=$(printf %06000d 0) i=0
          while :; do i=$((i + 1)); echo "$i $pad"; sleep 0.01; done
"#;

/// Web servers that are replaced all the time.
const MOVING: usize = 6;

/// A cluster with these pods.
pub fn populate(cluster: &Cluster) {
    guestbook::import(cluster, "guestbook-web.tar");
    cluster.apply(&format!("{STEADY}---{}", rolling::web(MOVING))).ok();
    for name in ["steady", "web"] {
        cluster.kubectl(&format!("rollout status deployment/{name} --timeout=90s")).ok();
    }
}

/// A visitor who comes often, from another machine.
pub fn visitor(cluster: &Cluster) -> Load {
    let to = SocketAddr::new(SERVER.into(), rolling::NODE_PORT);
    eventually("the page", || cluster.other.run(|| rolling::is_reached(to)));
    Load::start("a visitor", &cluster.other, to, 25, rolling::is_page)
}

/// Begins to replace the pods that move.
pub fn roll(cluster: &Cluster, version: usize) {
    cluster.kubectl(&format!("set env deployment/web VERSION={version}")).ok();
}

/// Waits until all pods that move are of this version, and none of them has ever restarted.
pub fn has_rolled(cluster: &Cluster, version: usize) {
    cluster.kubectl("rollout status deployment/web --timeout=90s").ok();
    let pods = eventually("only new pods", || {
        let pods = pods(cluster, "app=web");
        if pods.len() == MOVING { Ok(pods) } else { Err(format!("{} pods", pods.len())) }
    });
    for pod in pods {
        assert_eq!(pod["spec"]["containers"][0]["env"][0]["value"], version.to_string());
        assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod:#}");
    }
}

fn pods(cluster: &Cluster, selector: &str) -> Vec<Value> {
    let list = cluster.kubectl(&format!("get pods -l {selector} -o json")).ok();
    let mut list: Value = serde_json::from_str(&list).unwrap();
    serde_json::from_value(list["items"].take()).unwrap()
}

/// A running container: who it is, and what of it would change if it did not simply run on.
#[derive(Debug, PartialEq, Eq)]
pub struct Resident {
    uid: String,
    address: String,
    container: String,
    restarts: Value,
    started: Value,
    /// Process id and the time at which the kernel started it.
    process: (i64, String),
}

impl Resident {
    /// The pod's.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

/// The pods that nobody touches, by name.
pub fn census(cluster: &Cluster) -> BTreeMap<String, Resident> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resident = |pod: Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let uid = text(&pod["metadata"]["uid"]);
        let container = text(&status["containerID"]).replace("rk://", "");
        let resident = Resident {
            process: process(cluster, &uid, &container),
            uid,
            address: text(&pod["status"]["podIP"]),
            container,
            restarts: status["restartCount"].clone(),
            started: status["state"]["running"]["startedAt"].clone(),
        };
        (text(&pod["metadata"]["name"]), resident)
    };
    pods(cluster, "app=steady").into_iter().map(resident).collect()
}

fn process(cluster: &Cluster, uid: &str, container: &str) -> (i64, String) {
    let status = format!("data/agent/runtime/pods/{uid}/c/{container}/status.json");
    let status: Value = serde_json::from_slice(&read(&cluster.path(&status))).unwrap();
    let pid = status["pid"].as_i64().unwrap();
    let stat = String::from_utf8(read(Path::new(&format!("/proc/{pid}/stat")))).unwrap();
    // After the name in brackets, the start is the twentieth field.
    let start = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap();
    (pid, start.to_owned())
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every log that nobody touches counts without a gap, over all rotations; returns how far.
pub fn logs_are_whole(cluster: &Cluster) -> usize {
    let counts = census(cluster).into_iter().map(|(name, resident)| {
        let folder = format!("data/agent/logs/default_{name}_{}/counter", resident.uid);
        let text = log(&cluster.path(&folder));
        // What is being written has no end yet.
        let whole = &text[..text.rfind('\n').unwrap()];
        let from_file = whole.lines().map(|line| line.split(' ').nth(3).unwrap());
        let counted = is_consecutive(&name, from_file);
        let shown = cluster.kubectl(&format!("logs {name}")).ok();
        is_consecutive(&name, shown.lines().map(|line| line.split(' ').next().unwrap()));
        counted
    });
    counts.min().unwrap()
}

/// All files of a log, as they were between two rotations.
fn log(folder: &Path) -> String {
    loop {
        let files = files(folder);
        let texts: Vec<_> = files.iter().map(std::fs::read_to_string).collect();
        if self::files(folder) == files {
            return texts.into_iter().map(Result::unwrap).collect();
        }
    }
}

/// The files of a log, oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    // The current file has the shortest name, and comes last.
    files.sort_by_key(|file| (file.extension().is_some_and(|e| e == "log"), file.clone()));
    files
}

fn is_consecutive<'a>(name: &str, numbers: impl Iterator<Item = &'a str>) -> usize {
    let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "a gap in the log of {name}");
    }
    numbers.len()
}

#[test]
fn containers_logs_and_rollouts_survive_kills() {
    let mut cluster = Cluster::start(&[]);
    populate(&cluster);
    let before = census(&cluster);
    let visitor = visitor(&cluster);
    let writers = Writers::new();
    let kills = std::env::var("RK_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut version = 0;
    for kill in 0..kills {
        if kill.is_multiple_of(KILLS_PER_ROLL) {
            version += 1;
            roll(&cluster, version);
        }
        let working = writers.start(&cluster.machine, cluster.kubeconfig());
        random_moment(Duration::from_millis(1200));
        cluster.kill();
        working.end();
        cluster.go();
        writers.compare(&cluster.machine, &cluster.kubeconfig());
    }
    has_rolled(&cluster, version);
    let visits = visitor.end();
    assert_eq!(census(&cluster), before, "containers that nobody touched");
    let lines = logs_are_whole(&cluster);
    let writes = writers.count();
    println!("{lines} lines, {writes} writes, {version} rollouts, {visits} visits, {kills} kills");
    assert!(writes > 5 * kills && lines > 10 * kills, "the kills came too early");
}
