//! Images that cannot be had: the pod says why, others go on, and it recovers by itself.

use std::fs;
use std::process::Command;

use rk::sys::mount;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::oci::{Crooked, Dialect, Image, Packing};

const REASON: &str = "jsonpath={.status.containerStatuses[0].state.waiting.reason}: \
                      {.status.containerStatuses[0].state.waiting.message}";

/// A pod that ends when it has said what its image says.
pub fn pod(name: &str, image: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 1\n{more}  containers:\n  - {{name: c, image: {image:?}}}\n"
    )
}

/// Waits until pods can be made and run.
pub fn ready(cluster: &Cluster) {
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=60s").ok();
    cluster.kubectl("wait --for=create serviceaccount/default --timeout=60s").ok();
}

/// Waits until a pod has ended well, and gives what it said.
#[track_caller]
pub fn said(cluster: &Cluster, name: &str) -> String {
    let done = "jsonpath={.status.phase}=Succeeded";
    let ran = cluster.kubectl(&format!("wait --for={done} pod/{name} --timeout=90s"));
    if !ran.status.success() {
        panic!("{name}: {}{}", ran.err, cluster.kubectl(&format!("describe pod {name}")).out);
    }
    cluster.kubectl(&format!("logs {name}")).ok().trim().to_owned()
}

/// Waits until a pod waits for such reasons, and gives reason and message.
#[track_caller]
pub fn waits(cluster: &Cluster, name: &str, reasons: &[&str]) -> String {
    eventually(&format!("{name} waits for {reasons:?}"), || {
        let text = cluster.kubectl_with(&["get", "pod", name, "-o", REASON], "").ok();
        let fits = reasons.iter().any(|reason| text.starts_with(&format!("{reason}: ")));
        if fits { Ok(text) } else { Err(text) }
    })
}

fn events(cluster: &Cluster, name: &str) -> String {
    cluster.kubectl(&format!("events --for pod/{name}")).ok()
}

const PULL: &[&str] = &["ErrImagePull", "ImagePullBackOff"];

/// A pod, its image, the reasons that it waits for, and a part of what is said.
const CASES: &[(&str, &str, &[&str], &str)] = &[
    ("gone", "gone", PULL, "not found"),
    ("locked", "locked", PULL, "may require authorization"),
    ("reset", "reset", PULL, "127.0.0.1"),
    ("lie", "lie", PULL, "digest mismatch"),
];

#[test]
fn images_that_cannot_be_had_are_explained() {
    let cluster = Cluster::start(&[]);
    ready(&cluster);
    let image = Image::saying("hello", Packing::Gzip, Dialect::Oci);
    let registry = Crooked::start(&cluster.machine, image);
    cluster.apply(&pod("hang", &registry.image("hang"), "")).ok();
    for (name, repository, ..) in CASES {
        cluster.apply(&pod(name, &registry.image(repository), "")).ok();
    }
    cluster.apply(&pod("unnamed", "Not A/Name:!", "")).ok();
    cluster.apply(&pod("nobody", "127.0.0.1:9/nobody:1", "")).ok();
    cluster.apply(&pod("good", &registry.image("good"), "")).ok();
    assert_eq!(said(&cluster, "good"), "hello", "who waits for an image holds nobody up");

    for (name, _, reasons, part) in CASES {
        let text = waits(&cluster, name, reasons);
        assert!(text.contains(part), "{name}: {text}");
        let told = events(&cluster, name);
        assert!(told.contains("Failed to pull image") && told.contains(part), "{name}: {told}");
        assert!(told.contains("Back-off pulling image"), "{name}: {told}");
    }
    let text = waits(&cluster, "unnamed", &["InvalidImageName"]);
    assert!(text.contains("couldn't parse image reference \"Not A/Name:!\""), "{text}");
    assert!(
        events(&cluster, "unnamed").contains("InspectFailed"),
        "{}",
        events(&cluster, "unnamed")
    );
    let text = waits(&cluster, "nobody", PULL);
    assert!(text.contains("refused"), "{text}");
    assert!(events(&cluster, "hang").contains("Pulling image"));
    // A pod whose registry hangs can be deleted as any other.
    cluster.kubectl("delete pod hang unnamed nobody --timeout=20s").ok();
    // Who gets his image at last runs.
    registry.reform();
    for (name, ..) in CASES {
        assert_eq!(said(&cluster, name), "hello", "{name}");
    }
    cluster.kubectl("delete pod --all --timeout=30s").ok();
}

/// A small disk for a node's images; unmounted at the end.
struct Disk(std::path::PathBuf);

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = mount::detach_below(&self.0);
        let _ = mount::detach(&self.0);
    }
}

#[test]
fn a_full_image_disk_is_told_and_recovers() {
    let mut cluster = Cluster::stopped(&[]);
    let path = rk::node::config::image_store(&cluster.path("data/agent"));
    fs::create_dir_all(&path).unwrap();
    mount::tmpfs(&path, "size=16m").unwrap();
    let disk = Disk(path);
    cluster.go();
    ready(&cluster);
    // Noise, which nothing makes smaller.
    let noise: Vec<u8> = (0..12_u64 << 20).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect();
    let large = Image::with("large", &noise, Packing::Plain, Dialect::Oci);
    let registry = Crooked::start(&cluster.machine, large);
    let small = Image::saying("small", Packing::Gzip, Dialect::Oci);
    let other = Crooked::start(&cluster.machine, small);
    cluster.apply(&pod("large", &registry.image("good"), "")).ok();
    let text = waits(&cluster, "large", PULL);
    assert!(text.contains("no space left on device while writing below"), "{text}");
    cluster.apply(&pod("small", &other.image("good"), "")).ok();
    assert_eq!(said(&cluster, "small"), "small", "nothing half-written takes the room of others");
    let mut remount = Command::new("mount");
    remount.args(["-o", "remount,size=200m"]).arg(&disk.0);
    cluster.machine.finish(&mut remount, "").ok();
    assert_eq!(said(&cluster, "large"), "large");
    cluster.kubectl("delete pod --all --timeout=30s").ok();
    assert!(cluster.stop().success());
}
