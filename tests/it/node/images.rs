//! Images that are volumes: they outlive rk, and go with their pods.

use serde_json::json;

use super::world::World;
use crate::guestbook::eventually;

/// What is mounted in the node's image store.
fn mounted(world: &World) -> Vec<String> {
    let pid = world.cluster.pid();
    let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let store = world.cluster.path("data");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(store.to_str().unwrap())).map(str::to_owned).collect()
}

#[test]
fn an_image_that_is_a_volume_goes_with_its_pod() {
    let mut world = World::near();
    assert_eq!(mounted(&world), [""; 0]);
    let mounts = json!([{"name": "image", "mountPath": "/i"},
        {"name": "image", "mountPath": "/part", "subPath": "etc"}]);
    let container = json!({"name": "main", "image": "test/busybox:1",
        "command": ["sh", "-c", "trap 'exit 1' TERM; while :; do sleep 0.1; done"],
        "volumeMounts": mounts});
    let volume = json!({"name": "image", "image": {"reference": "test/rich:1"}});
    world.run("sees", json!({"containers": [container], "volumes": [volume]}));
    assert_eq!(mounted(&world).len(), 1);
    world.cluster.kill();
    world.cluster.go();
    let seen = || {
        let ran = world.kubectl("exec sees -- cat /i/etc/group /part/group");
        if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
    };
    assert_eq!(eventually("what is in the image", seen).matches("web").count(), 4);
    // Each attempt has its own; the last one's stays beside it, as its root does.
    world.kubectl("exec sees -- kill 1").ok();
    let again = || match world.get("pod/sees", "{.status.containerStatuses[0].restartCount}") {
        count if count == "1" && mounted(&world).len() == 2 => Ok(()),
        count => Err(count),
    };
    eventually("another attempt", again);
    world.kubectl("delete pod sees").ok();
    let gone = || match mounted(&world) {
        left if left.is_empty() => Ok(()),
        left => Err(left.join(" ")),
    };
    eventually("nothing is mounted", gone);
}
