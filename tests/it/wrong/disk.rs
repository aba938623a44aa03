//! A full disk: writes are refused, reads go on, nothing is lost, and writes come back.

use std::fs;

use rk::sys::mount;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::Wire;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A data directory of its own size; unmounted at the end.
struct Disk<'c>(&'c Cluster);

impl<'c> Disk<'c> {
    fn mount(cluster: &'c Cluster) -> Self {
        let data = cluster.path("data");
        fs::create_dir_all(&data).unwrap();
        mount::tmpfs(&data, "size=24m,mode=0755").unwrap();
        Self(cluster)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = mount::detach(&self.0.path("data"));
    }
}

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let mut cluster = Cluster::stopped(&["--disable-agent"]);
    let outer = Cluster::stopped(&[]);
    // The disk outlives the server, which the cluster stops when it goes.
    std::os::unix::fs::symlink(outer.path("data"), cluster.path("data")).unwrap();
    let _disk = Disk::mount(&outer);
    cluster.go();
    let wire = Wire::new(&cluster);
    wire.post(MAPS, r#"{"metadata":{"name":"kept"},"data":{"k":"v"}}"#).ok();
    let ballast = cluster.path("data/ballast");
    fill(&ballast);
    let said = refused(&wire);
    assert!(said.contains("the disk under the server's data directory is full"), "{said}");
    assert!(said.contains("writes work again once there is free space"), "{said}");

    // Reads, watches and everything that is kept in memory go on.
    wire.get(&format!("{MAPS}/kept")).ok();
    assert_eq!(wire.get("/livez").text(), "ok");
    wire.get(&format!("{MAPS}?watch=1&timeoutSeconds=1")).lines();
    wire.delete(&format!("{MAPS}/none"), "").refused(404, "NotFound");
    let acknowledged = cluster.kubectl("get configmaps -o name").ok();

    // A start on the full disk says so, and does not advise to throw the data away.
    cluster.kill();
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    assert!(said.contains("nothing is lost: free some space on its disk"), "{said}");
    assert!(!said.contains("move the file away"), "{said}");
    fs::remove_file(&ballast).unwrap();
    cluster.go();
    let wire = Wire::new(&cluster);
    assert_eq!(cluster.kubectl("get configmaps -o name").ok(), acknowledged);

    // The same without a restart.
    fill(&ballast);
    refused(&wire);
    fs::remove_file(&ballast).unwrap();
    eventually("writes work again", || {
        let reply = wire.merge(&format!("{MAPS}/kept"), r#"{"data":{"k":"w"}}"#);
        if reply.code == 200 { Ok(()) } else { Err(reply.text()) }
    });
    assert_eq!(cluster.kubectl("get configmaps -o name").ok(), acknowledged);
    assert!(cluster.stop().success());
}

/// Takes all the space that is left.
fn fill(ballast: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(ballast).unwrap();
    let block = [0_u8; 4096];
    while file.write_all(&block).is_ok() {}
}

/// Writes until one is refused: the database may have some room of its own.
fn refused(wire: &Wire<'_>) -> String {
    let large = "x".repeat(500_000);
    let mut number = 0;
    eventually("a write is refused", || {
        number += 1;
        let map = format!(
            r#"{{"metadata":{{"generateName":"fill-"}},"data":{{"n":"{number}","k":"{large}"}}}}"#
        );
        let reply = wire.post(MAPS, &map);
        match reply.code {
            201 => Err("it still fits".to_owned()),
            _ => Ok(reply.refused(500, "InternalError")),
        }
    })
}
