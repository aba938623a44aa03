//! Ports that somebody else has.

use std::net::TcpListener;

use crate::harness::{Cluster, SERVER};

#[test]
fn a_port_of_the_node_in_use_is_named() {
    let cluster = Cluster::stopped(&[]);
    let _taken = cluster.machine.run(|| TcpListener::bind((SERVER, 10250)).unwrap());
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    assert!(said.contains("10250") && said.contains("in use"), "{said}");
}
