//! What rk costs and how fast it is: one run, one table. `tests/bench.sh` builds and runs it.
//!
//! It measures the executable named by `BENCH_EXE`, which is the one that ships, not the one that
//! was built for the tests. `BENCH_PEER` names a program to be measured beside it ([`peer`]),
//! `BENCH_ONLY` one part (`node`, `api`, `crowd`). With `BENCH_README` set, the table goes into the
//! README.

use std::time::Duration;

use rk::util::clock;

use crate::guestbook::IMAGES;
use crate::harness::Cluster;
use crate::readme;

mod allocations;
mod crowd;
mod figures;
mod idle;
mod peer;
mod pods;
pub mod process;
pub mod wire;
mod writes;

use figures::{Figure, Report};
use wire::{Connection, JSON, Target};

/// Cold starts; the median counts.
const STARTS: usize = 5;
/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);
/// How long an idle server with its node is looked at: a minute has all that it does at times.
const IDLE: Duration = Duration::from_secs(60);
/// The same with pods.
const PODS_IDLE: Duration = Duration::from_secs(30);
/// The same of an API server alone.
const API_IDLE: Duration = Duration::from_secs(30);

/// What measures a part of the program.
type Part = fn(&mut Report, &str);

#[test]
#[ignore = "measures for minutes and judges nothing"]
fn bench() {
    let exe = std::env::var("BENCH_EXE").expect("BENCH_EXE names the executable");
    let machine = process::machine();
    println!("{machine}");
    let mut report = Report::default();
    let size = std::fs::metadata(&exe).unwrap().len();
    report.add([Figure::mb("executable, static", size)]);
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let parts: [(&str, Part); 3] = [("node", node), ("api", api), ("crowd", crowd)];
    for (_, part) in parts.iter().filter(|(name, _)| only.is_empty() || only == *name) {
        part(&mut report, &exe);
    }
    if let Ok(program) = std::env::var("BENCH_PEER") {
        report.set_beside(peer::measure(&program));
    }
    if std::env::var_os("BENCH_README").is_some() {
        readme::put("bench", &report.markdown(&machine));
    }
}

fn stopped(exe: &str, flags: &[&str]) -> Cluster {
    let mut cluster = Cluster::stopped(flags);
    cluster.exe = exe.into();
    cluster
}

/// A server with its node.
fn node(report: &mut Report, exe: &str) {
    let mut times: Vec<Duration> = (1..STARTS).map(|_| cold_start(exe).1).collect();
    let (cluster, time) = cold_start(exe);
    times.push(time);
    let what = "cold start to Ready node, empty data directory, median / worst";
    report.add([Figure::spread(what, times)]);
    let (pids, database) = ([cluster.pid()], cluster.path("data/server/db"));
    report.add(idle::measure("server and node, idle", &pids, &database, IDLE));
    let archive = IMAGES.join("guestbook-web.tar");
    let mut import = cluster.rk("images", &["import", archive.to_str().unwrap()]);
    cluster.machine.finish(&mut import, "").ok();
    let target = Target::of_cluster(&cluster);
    report.add([cluster.machine.run(|| pods::measure(&target))]);
    let when = format!("the same, {} pods", pods::STAYING);
    report.add(idle::measure(&when, &pids, &database, PODS_IDLE));
    report.add(pods::shims(cluster.path("run").to_str().unwrap()));
    cluster.kubectl("delete pods --all").ok();
}

/// From the start of the process to the node's condition Ready, seen by a client.
fn cold_start(exe: &str) -> (Cluster, Duration) {
    let mut cluster = stopped(exe, &[]);
    let start = clock::instant();
    cluster.go();
    let target = Target::of_cluster(&cluster);
    let ready = cluster.machine.run(|| {
        let mut connection = target.connect();
        while !is_ready(&mut connection) {
            assert!(clock::instant() < start + START_MAX, "the node is not Ready");
        }
        clock::instant()
    });
    (cluster, ready - start)
}

fn is_ready(connection: &mut Connection) -> bool {
    let nodes = connection.call("GET", "/api/v1/nodes", JSON, "");
    let nodes: serde_json::Value = serde_json::from_slice(&nodes).unwrap();
    let conditions = nodes["items"][0]["status"]["conditions"].as_array().cloned();
    let ready = |c: &serde_json::Value| c["type"] == "Ready" && c["status"] == "True";
    conditions.unwrap_or_default().iter().any(ready)
}

/// The API server, with controllers and scheduler, but no node.
fn api(report: &mut Report, exe: &str) {
    let mut cluster = stopped(exe, &["--disable-agent"]);
    cluster.go();
    let (pids, database) = ([cluster.pid()], cluster.path("data/server/db"));
    report.add(idle::measure("API server alone, idle", &pids, &database, API_IDLE));
    let target = Target::of_cluster(&cluster);
    report.add(cluster.machine.run(|| writes::measure(&target)));
    report.add(idle::memory("after all that", &pids));
}

/// An API server with much in it and many at it.
fn crowd(report: &mut Report, exe: &str) {
    let mut cluster = stopped(exe, &["--disable-agent"]);
    cluster.go();
    let (pid, target) = (cluster.pid(), Target::of_cluster(&cluster));
    cluster.kubectl("wait --for=create sa/default --timeout=60s").ok();
    report.add([cluster.machine.run(|| crowd::pods(&target, pid))]);
    report.add([cluster.machine.run(|| crowd::patches(&target))]);
    report.add(allocations::measure());
    report.add(cluster.machine.run(|| crowd::lists(&target, pid)));
}
