//! Pods with real containers: from create to Running, and what their shims cost.

use std::time::{Duration, Instant};

use rk::util::clock;
use serde_json::Value;

use super::figures::Figure;
use super::process::{Memory, found};
use super::wire::{Connection, JSON, Target};

/// Pods that are started one after the other.
const ONE_BY_ONE: usize = 100;
/// Pods that stay, to see what they cost.
pub const STAYING: usize = 20;
const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}},"spec":{{"terminationGracePeriodSeconds":0,"containers":[{{"name":"c","image":"guestbook/web:1","command":["/bin/sleep","1000000"]}}]}}}}"#
    )
}

/// Events of pods, as they come.
struct Pods {
    watch: Connection,
    rest: Vec<u8>,
}

impl Pods {
    fn watch(target: &Target) -> Self {
        let mut watch = target.connect();
        watch.watch(&format!("{PODS}?watch=true"));
        Self { watch, rest: Vec::new() }
    }

    fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            self.rest.extend(self.watch.event());
        }
    }

    /// When an event came that fits.
    fn until(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Instant {
        loop {
            let event = self.next();
            if event["object"]["metadata"]["name"] == name && fits(&event) {
                return clock::instant();
            }
        }
    }

    fn running(&mut self, name: &str) -> Instant {
        self.until(name, |event| event["object"]["status"]["phase"] == "Running")
    }
}

/// Starts and deletes pods one after the other, then leaves some running.
pub fn measure(target: &Target) -> Figure {
    let (mut client, mut pods) = (target.connect(), Pods::watch(target));
    let mut start = |name: &str, pods: &mut Pods| {
        let began = clock::instant();
        client.create(PODS, &pod(name));
        pods.running(name) - began
    };
    start("warm-up", &mut pods);
    let mut times: Vec<Duration> = Vec::new();
    let mut remover = target.connect();
    for number in 0..ONE_BY_ONE {
        let name = format!("p{number}");
        times.push(start(&name, &mut pods));
        remover.call("DELETE", &format!("{PODS}/{name}"), JSON, "");
        pods.until(&name, |event| event["type"] == "DELETED");
    }
    for number in 1..STAYING {
        start(&format!("s{number}"), &mut pods);
    }
    let what = format!("pod create to Running, image present, median / p99 of {ONE_BY_ONE}");
    Figure::spread(what, times)
}

/// The memory of the shims of a cluster.
pub fn shims(run_dir: &str) -> [Figure; 2] {
    let shims = found(&[" shim ", run_dir]);
    assert_eq!(shims.len(), STAYING, "a shim for each pod");
    let mut memory: Vec<Memory> = shims.into_iter().map(Memory::of).collect();
    memory.sort_unstable_by_key(|memory| memory.private);
    let Memory { private, resident, .. } = memory[memory.len() / 2];
    [
        Figure::mb("memory of a pod's shim, median: private", private),
        Figure::mb("memory of a pod's shim, median: RSS, mostly shared", resident),
    ]
}
