//! Resizing of pods where the node has not enough, and while its agent is away.

use serde_json::{Value, json};

use super::world::World;
use crate::guestbook::eventually;

/// Runs a pod of one busybox container that asks for so much of the processor.
fn run(world: &World, name: &str, milli: i64) {
    let container = json!({"name": "main", "image": "test/busybox:1", "command": ["sleep", "600"],
        "resources": {"requests": {"cpu": format!("{milli}m")}}});
    world.run(name, json!({"containers": [container]}));
}

fn resize(world: &World, name: &str, milli: i64) -> crate::harness::Ran {
    let requests = json!({"cpu": format!("{milli}m")});
    let containers = json!([{"name": "main", "resources": {"requests": requests}}]);
    let patch = json!({"spec": {"containers": containers}}).to_string();
    let words = ["patch", "pod", name, "--subresource=resize", "--patch", &patch];
    world.cluster.kubectl_with(&words, "")
}

/// What the pod's status says of a resize: pending, in progress, and what it has.
#[track_caller]
fn becomes(world: &World, name: &str, wanted: &str) {
    let path = "{range .status.conditions[*]}{.type}:{.reason} {end}\
                {.status.containerStatuses[0].resources.requests.cpu} \
                {.status.containerStatuses[0].restartCount}";
    eventually(wanted, || {
        let said = world.get(&format!("pod/{name}"), path);
        let told: Vec<&str> = said
            .split(' ')
            .filter(|word| !word.contains(':') || word.starts_with("PodResize"))
            .collect();
        if told.join(" ") == wanted { Ok(()) } else { Err(said) }
    });
}

fn allocatable_milli(world: &World) -> i64 {
    let cpu = world.get(&format!("node/{}", world.node), "{.status.allocatable.cpu}");
    match cpu.strip_suffix('m') {
        Some(milli) => milli.parse().unwrap(),
        None => cpu.parse::<i64>().unwrap() * 1000,
    }
}

#[test]
fn a_pod_gets_more_when_there_is_room() {
    let world = World::near();
    let all = allocatable_milli(&world);
    run(&world, "filler", all / 2);
    run(&world, "wants", 100);
    let said = resize(&world, "wants", all + 1).fails();
    let why = format!(
        "pods \"wants\" is forbidden: node didn't have enough allocatable resources: cpu, \
         requested: {}, allocatable: {all}",
        all + 1
    );
    assert!(said.contains(&why), "{said}");
    resize(&world, "wants", all / 2 + 200).ok();
    becomes(&world, "wants", "PodResizePending:Deferred 100m 0");
    let pending = "{.status.conditions[?(@.type==\"PodResizePending\")].message}";
    let message = world.get("pod/wants", pending);
    assert!(message.starts_with("Node didn't have enough resource: cpu, requested: "), "{message}");
    // The scheduler keeps what is wished for.
    let container = json!({"name": "main", "image": "test/busybox:1",
        "resources": {"requests": {"cpu": format!("{}m", all / 2 - 150)}}});
    let late = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"},
        "spec": {"containers": [container]}});
    world.cluster.apply(&late.to_string()).ok();
    let unscheduled = || match world.get("pod/late", "{.status.conditions[0].reason}") {
        reason if reason == "Unschedulable" => Ok(()),
        reason => Err(reason),
    };
    eventually("a pod that is not scheduled", unscheduled);
    world.kubectl("delete pod filler late --wait=false").ok();
    becomes(&world, "wants", &format!("{}m 0", all / 2 + 200));
    let events = world.kubectl("events --for pod/wants").ok();
    for reason in ["ResizeDeferred", "ResizeStarted", "ResizeCompleted"] {
        assert!(events.contains(reason), "{reason} in {events}");
    }
}

#[test]
fn what_was_given_outlives_the_agent() {
    let mut world = World::far();
    let all = allocatable_milli(&world);
    run(&world, "filler", all / 2);
    run(&world, "one", 100);
    run(&world, "two", 100);
    resize(&world, "one", all / 2).ok();
    becomes(&world, "one", "PodResizePending:Deferred 100m 0");
    world.agent.as_mut().unwrap().kill();
    resize(&world, "two", 200).ok();
    world.agent = Some(world.cluster.join(&world.cluster.token()));
    becomes(&world, "two", "200m 0");
    becomes(&world, "one", "PodResizePending:Deferred 100m 0");
    resize(&world, "one", 150).ok();
    becomes(&world, "one", "150m 0");
    let shares = "exec one -- sh -c";
    let words: Vec<&str> = shares.split(' ').collect();
    let script = "cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || cat /sys/fs/cgroup/cpu.weight";
    let weight = world.cluster.kubectl_with(&[&*words, &[script]].concat(), "").ok();
    let weight: Value = weight.trim().parse::<i64>().unwrap().into();
    assert!([json!(153), json!(24)].contains(&weight), "{weight}");
}

#[test]
fn a_pod_gets_the_room_that_another_gives_up() {
    let world = World::near();
    let all = allocatable_milli(&world);
    run(&world, "gives", all / 2 + 200);
    let container = json!({"name": "main", "image": "test/busybox:1", "command": ["sleep", "600"],
        "resources": {"requests": {"cpu": format!("{}m", all / 2)}}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waits"},
        "spec": {"containers": [container]}});
    world.cluster.apply(&pod.to_string()).ok();
    let unscheduled = || match world.get("pod/waits", "{.status.conditions[0].reason}") {
        reason if reason == "Unschedulable" => Ok(()),
        reason => Err(reason),
    };
    eventually("a pod that is not scheduled", unscheduled);
    resize(&world, "gives", 100).ok();
    world.kubectl("wait --for=condition=Ready pod/waits --timeout=30s").ok();
}
