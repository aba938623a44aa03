//! Another build takes the place of the one that runs: it adopts what the other has started.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use super::containers::{census, has_rolled, logs_are_whole, populate, roll};
use crate::guestbook::eventually;
use crate::harness::{Cluster, RK};

/// This version, and one of the same length that there is not.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const OTHER: &str = "9.9.9";

/// Another build under another version: of this profile, unless `RK_OTHER_BUILD` names one of
/// another.
fn other_build() -> Vec<u8> {
    assert_eq!(VERSION.len(), OTHER.len(), "a version of the same length is needed");
    let build = std::env::var_os("RK_OTHER_BUILD").unwrap_or_else(|| RK.into());
    let script = format!("s/{}/{OTHER}/g", VERSION.replace('.', "[.]"));
    let edited = Command::new("sed").env("LC_ALL", "C").arg(&script).arg(&build).output().unwrap();
    assert!(edited.status.success(), "{build:?}");
    edited.stdout
}

/// Puts a program in the place of the one that is there, as an upgrade does: what runs keeps its
/// own.
fn replace(cluster: &Cluster, program: &[u8]) -> io::Result<()> {
    let fresh = cluster.path("rk.new");
    fs::write(&fresh, program)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(fresh, &cluster.exe)
}

fn kubelet_version(cluster: &Cluster) -> String {
    cluster.kubectl("get node node-1 -o jsonpath={.status.nodeInfo.kubeletVersion}").ok()
}

/// Whether the shim of a pod runs a program that has been replaced since.
fn is_of_another_build(cluster: &Cluster, uid: &str) -> bool {
    let pid = cluster.path("run/runtime/pods").join(uid).join("shim.pid");
    let pid = fs::read_to_string(pid).unwrap();
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    inode(Path::new(&format!("/proc/{}/exe", pid.trim()))) != inode(&cluster.exe)
}

#[test]
fn another_build_adopts_the_shims_of_the_one_before() {
    let mut cluster = Cluster::stopped(&[]);
    cluster.exe = cluster.path("rk");
    let (one, other) = (fs::read(RK).unwrap(), other_build());
    assert!(one != other, "the other build is the same");
    replace(&cluster, &one).unwrap();
    cluster.go();
    populate(&cluster);
    let before = census(&cluster);
    let first_version = kubelet_version(&cluster);

    // Up and, since upgrades go wrong, down again; a rollout is on its way each time.
    for (turn, program) in [&other, &one].into_iter().enumerate() {
        roll(&cluster, 2 * turn + 1);
        replace(&cluster, program).unwrap();
        cluster.kill();
        cluster.go();
        let version = eventually("the node tells its version", || {
            let version = kubelet_version(&cluster);
            let is_first = version == first_version;
            if is_first == (turn == 1) { Ok(version) } else { Err(version) }
        });
        println!("{version} runs");
        roll(&cluster, 2 * turn + 2);
        has_rolled(&cluster, 2 * turn + 2);
        assert_eq!(census(&cluster), before, "containers that nobody touched");
        for (name, resident) in &before {
            assert!(is_of_another_build(&cluster, resident.uid()));
            let said = cluster.kubectl(&format!("exec {name} -- echo still here")).ok();
            assert_eq!(said, "still here\n");
        }
    }
    assert!(logs_are_whole(&cluster) > 100);
    // What one build has started, another can end.
    cluster.kubectl("delete deployment steady web").ok();
    cluster.kubectl("wait --for=delete pod -l app=steady --timeout=60s").ok();
}
