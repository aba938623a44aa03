//! What many large objects, many watchers and many pods cost a server.

use std::time::Duration;

use rk::util::clock;

use super::figures::{Figure, real, timed};
use super::process::Memory;
use super::wire::{Connection, JSON, Target};

/// Objects that are listed, and the size of each.
const OBJECTS: usize = 10_000;
const OBJECT_BYTES: usize = 10_000;
/// Who watches while others list.
const WATCHERS: usize = 1000;
/// Who lists, and for how long.
const LISTERS: usize = 8;
const LISTING: Duration = Duration::from_secs(10);
/// Clients that make objects.
const MAKERS: usize = 16;
/// Patches that are timed.
const PATCHES: usize = 2000;
/// The variables of a pod of some 10 kB with its managed fields.
pub const LARGE: usize = 60;
/// Pods that are held.
const PODS: usize = 5000;

const SPACE: &str = "/api/v1/namespaces/default";

/// Lists of all of a hundred megabytes again and again, with watchers connected.
pub fn lists(target: &Target, pid: i32) -> Vec<Figure> {
    let path = format!("{SPACE}/configmaps");
    let text = "x".repeat(OBJECT_BYTES);
    make(target, &path, OBJECTS, &|number| {
        format!(r#"{{"metadata":{{"name":"c{number}"}},"data":{{"text":"{text}"}}}}"#)
    });
    let held = Memory::of(pid).resident;
    let mut watchers: Vec<Connection> = (0..WATCHERS).map(|_| target.connect()).collect();
    for watcher in &mut watchers {
        watcher.watch(&format!("{path}?watch=1&labelSelector=none"));
    }
    let watched = Memory::of(pid).resident;
    let end = clock::instant() + LISTING;
    Memory::forget_highest(pid);
    let lists: u64 = std::thread::scope(|scope| {
        let list = |mut connection: Connection| {
            let mut count = 0;
            while clock::instant() < end {
                connection.skim("GET", &path, JSON);
                count += 1;
            }
            count
        };
        let listers = (0..LISTERS).map(|_| target.connect());
        let listers: Vec<_> = listers.map(|one| scope.spawn(move || list(one))).collect();
        listers.into_iter().map(|lister| lister.join().unwrap()).sum()
    });
    let highest = Memory::highest(pid);
    let speed = real(lists * (OBJECTS * OBJECT_BYTES) as u64) / 1e6 / LISTING.as_secs_f64();
    let what = format!("{OBJECTS} ConfigMaps of 10 kB");
    vec![
        Figure::mb(format!("{what}: resident"), held),
        Figure::new(
            format!("a watcher connected (of {WATCHERS}): resident"),
            real(watched.saturating_sub(held)) / real(WATCHERS as u64) / 1e3,
            " kB",
        ),
        Figure::new(format!("{what}: listed by {LISTERS} clients at once"), speed, " MB/s"),
        Figure::mb(
            format!("{what}: highest resident meanwhile, with {WATCHERS} watchers"),
            highest,
        ),
    ]
}

/// Small changes of a large pod whose fields have owners.
pub fn patches(target: &Target) -> Figure {
    let path = format!("{SPACE}/pods");
    let mut connection = target.connect();
    connection.create(&path, &pod("large", LARGE));
    let one = format!("{path}/large");
    let times = (0..PATCHES).map(|number| timed(|| connection.merge(&one, &patch(number))).1);
    let times = times.collect();
    let size = connection.call("GET", &one, JSON, "").len();
    let what = format!("small PATCH of a pod of {} kB, median / p99", size / 1000);
    Figure::spread(what, times)
}

/// A small patch, which differs by its number.
pub fn patch(number: usize) -> String {
    format!(r#"{{"metadata":{{"annotations":{{"number":"{number}"}}}}}}"#)
}

/// Pods in memory.
pub fn pods(target: &Target, pid: i32) -> Figure {
    let before = Memory::of(pid).anonymous;
    make(target, &format!("{SPACE}/pods"), PODS, &|number| pod(&format!("p{number}"), 3));
    let more = Memory::of(pid).anonymous.saturating_sub(before);
    let each = real(more) / real(PODS as u64) / 1e3;
    Figure::new(format!("a pod of ordinary size in memory (of {PODS})"), each, " kB")
}

/// A pod that nothing places, with so many variables.
pub fn pod(name: &str, variables: usize) -> String {
    let variable = |number| {
        format!(
            r#"{{"name":"VARIABLE_{number}","value":"some value of ordinary length {number}"}}"#
        )
    };
    let variables: Vec<String> = (0..variables).map(variable).collect();
    format!(
        r#"{{"metadata":{{"name":"{name}","labels":{{"app":"bench","tier":"one"}}}},
        "spec":{{"schedulerName":"none","containers":[{{"name":"main","image":"registry.k8s.io/e2e:1",
        "ports":[{{"containerPort":80}}],"env":[{}],
        "resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}}}}}}]}}}}"#,
        variables.join(",")
    )
}

/// Makes many objects by some clients.
fn make(target: &Target, path: &str, count: usize, object: &(dyn Fn(usize) -> String + Sync)) {
    std::thread::scope(|scope| {
        for maker in 0..MAKERS {
            let mut connection = target.connect();
            scope.spawn(move || {
                for number in (maker..count).step_by(MAKERS) {
                    connection.create(path, &object(number));
                }
            });
        }
    });
}
