//! Joining, and life without the server.

use crate::harness::{AGENT, Cluster, PORT, SERVER};

const ADDRESS: &str = "jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";

#[test]
fn an_agent_joins_and_survives_its_server() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    let token = cluster.token();
    let agent = cluster.join(&token);
    registers(&cluster);
    let address = cluster.kubectl_with(&["get", "node", "node-2", "-o", ADDRESS], "").ok();
    assert_eq!(address, AGENT.to_string());

    // The name is taken for every other machine.
    let url = format!("https://{SERVER}:{PORT}");
    let mut other = cluster.agent_of(&url, &token, "other-data");
    let said = cluster.other.finish(&mut other, "").fails();
    assert!(said.contains("another machine is the node \"node-2\""), "{said}");
    // And so is the data directory.
    let said = cluster.other.finish(&mut cluster.agent(&token), "").fails();
    assert!(said.contains("is in use by another rk agent"), "{said}");

    cluster.kill();
    cluster.go();
    // Only an agent that watches its node again sees that it is gone.
    cluster.kubectl("delete node node-2").ok();
    registers(&cluster);
    assert!(agent.stop().success());

    // It comes up without the server as well, and finds it when it is back.
    cluster.kill();
    let agent = cluster.join(&token);
    assert!(agent.log().contains("starting with what was known last time"), "{}", agent.log());
    cluster.go();
    cluster.kubectl("delete node node-2").ok();
    registers(&cluster);
    assert!(agent.stop().success());
}

/// Waits until the node is there and has said where.
fn registers(cluster: &Cluster) {
    cluster.kubectl("wait --for=create node/node-2 --timeout=60s").ok();
    cluster.kubectl("wait --for=jsonpath={.status.addresses} node/node-2 --timeout=60s").ok();
}

#[test]
fn who_may_not_join_is_told_why() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let token = cluster.token();
    let refused = |token: &str| cluster.other.finish(&mut cluster.agent(token), "").fails();
    let (authority, _) = token.split_once("::").unwrap();
    let said = refused(&format!("{authority}::server:wrong"));
    assert!(said.contains("refuses the token"), "{said}");
    let other = format!("K10{}", "0".repeat(64));
    let said = refused(&token.replace(authority, &other));
    assert!(said.contains("the token is for another cluster"), "{said}");
    let mut plain = cluster.agent_of("http://192.168.77.1:6443", &token, "agent-data");
    let said = cluster.other.finish(&mut plain, "").fails();
    assert!(said.contains("must begin with https://"), "{said}");
    assert!(!cluster.kubectl("get nodes -o name").ok().contains("node-2"));
}
