//! A server's start, stop and second start.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rk::util::clock;

use crate::harness::{Cluster, PORT, SERVER, STOP};

#[test]
fn starts_says_where_and_stops_in_order() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    let log = cluster.log();
    assert!(log.contains(&format!("https://127.0.0.1:{PORT}")), "{log}");
    assert_eq!(cluster.kubectl("get --raw /readyz").ok(), "ok");
    let namespaces = cluster.kubectl("get ns -o name").ok();
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        assert!(namespaces.contains(&format!("namespace/{name}\n")), "{namespaces}");
    }
    let mode = fs::metadata(cluster.kubeconfig()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = cluster.machine.finish(&mut cluster.rk("token", &[]), "").ok();
    assert!(token.starts_with("K10") && token.contains("::server:"), "{token}");

    cluster.kubectl("create configmap kept --from-literal=a=b").ok();
    // A watch is open while the server stops.
    let mut watch = cluster.command("kubectl");
    watch.args(["get", "configmaps", "-w"]).stdout(std::process::Stdio::null());
    let mut watch = cluster.machine.spawn(&mut watch);
    let begun = clock::instant();
    assert!(cluster.stop().success());
    assert!(clock::instant() - begun < STOP);
    drop(watch.kill());
    watch.wait().unwrap();

    cluster.go();
    assert_eq!(cluster.kubectl("get configmap kept -o jsonpath={.data.a}").ok(), "b");
    let again = cluster.machine.finish(&mut cluster.rk("token", &[]), "").ok();
    assert_eq!(again, token);
}

#[test]
fn a_second_server_on_one_data_directory_refuses() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let mut second = cluster.server();
    second.args(["--https-listen-port", "7443"]);
    let said = cluster.machine.finish(&mut second, "").fails();
    assert!(said.contains("is in use by another rk server"), "{said}");
    assert_eq!(cluster.kubectl("get --raw /readyz").ok(), "ok");
}

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::stopped(&["--disable-agent"]);
    let listen = || std::net::TcpListener::bind((SERVER, PORT)).unwrap();
    let _taken = cluster.machine.run(listen);
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    assert!(said.contains(&format!("cannot listen on 0.0.0.0:{PORT}: Address")), "{said}");
}

#[test]
fn lost_keys_of_a_cluster_are_not_made_anew() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    cluster.stop();
    let key = cluster.path("data/server/tls/service.key");
    let saved = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    assert!(said.contains("service.key is missing") && said.contains("backup"), "{said}");
    fs::write(&key, "nonsense").unwrap();
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    assert!(said.contains("service.key is damaged"), "{said}");
    fs::write(&key, saved).unwrap();
    cluster.go();
}
