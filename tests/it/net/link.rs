//! Pod links: pod to pod, node to pod, and what is left behind.

use crate::net::world::{MTU, NODE, PATIENCE, Space, on_a_node};
use rk::net::link;
use rk::sys::{netns, rtnl, sysctl};
use std::net::Ipv4Addr;
use tokio::time::timeout;

const A: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 2);
const B: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 3);

#[test]
fn pods_reach_each_other_and_the_node_reaches_them() {
    on_a_node(|w| async move {
        assert_eq!(sysctl::read("net/ipv4/ip_forward").unwrap(), "0");
        link::prepare("10.43.0.0/16".parse().unwrap()).await.unwrap();
        let (a, b, node) = (w.pod("a", A).await, w.pod("b", B).await, Space::node());
        b.serve_tcp((B, 80));
        node.serve_tcp((NODE, 81));
        assert_eq!(a.ask((B, 80)).await.unwrap(), ("b".into(), A));
        assert_eq!(node.ask((B, 80)).await.unwrap(), ("b".into(), NODE));
        assert_eq!(a.ask((NODE, 81)).await.unwrap(), ("node".into(), A));
        b.serve_tcp((Ipv4Addr::LOCALHOST, 82));
        assert_eq!(b.ask((Ipv4Addr::LOCALHOST, 82)).await.unwrap().0, "b");
    });
}

#[test]
fn adding_twice_changes_nothing_and_repairs_what_is_missing() {
    on_a_node(|w| async move {
        let a = w.pod("a", A).await;
        let first = index(&link::host_name("a"));
        a.connect(A).await;
        assert_eq!(index(&link::host_name("a")), first);
        // Another address, or another namespace, is another link.
        a.connect(B).await;
        assert_ne!(index(&link::host_name("a")), first);
        assert_eq!(link::list().await.unwrap()[0].address, Some(B));
        let again = Space::new("a");
        again.connect(B).await;
        again.run(|| {
            let mut s = rtnl::socket().unwrap();
            assert_eq!(rtnl::link(&mut s, "eth0").unwrap().unwrap().mtu, MTU);
        });
    });
}

fn index(name: &str) -> u32 {
    rtnl::link(&mut rtnl::socket().unwrap(), name).unwrap().unwrap().index
}

#[test]
fn links_are_found_again_and_leave_nothing_behind() {
    on_a_node(|w| async move {
        let (a, _b) = (w.pod("a", A).await, w.pod("b", B).await);
        let mut live = link::list().await.unwrap();
        live.sort_by(|x, y| x.pod.cmp(&y.pod));
        let seen: Vec<_> = live.iter().map(|l| (&*l.pod, l.address)).collect();
        assert_eq!(seen, [("a", Some(A)), ("b", Some(B))]);
        link::remove("a".into()).await.unwrap();
        link::remove("a".into()).await.unwrap();
        assert_eq!(link::list().await.unwrap().len(), 1);
        a.run(|| {
            assert_eq!(rtnl::link(&mut rtnl::socket().unwrap(), "eth0").unwrap(), None);
        });
        let uplink = link::uplink().await.unwrap().unwrap();
        assert_eq!((uplink.name.as_str(), uplink.mtu, uplink.address), ("uplink", MTU, Some(NODE)));
    });
}

#[test]
fn a_pod_sends_from_its_own_address_only() {
    on_a_node(|w| async move {
        link::prepare("10.43.0.0/16".parse().unwrap()).await.unwrap();
        let (a, b) = (w.pod("a", A).await, w.pod("b", B).await);
        let forged = Ipv4Addr::new(10, 42, 0, 9);
        a.run(|| {
            let mut s = rtnl::socket().unwrap();
            let index = rtnl::link(&mut s, "eth0").unwrap().unwrap().index;
            let address = forged.into();
            let address = rtnl::Address { index, address, prefix: 32, global: true };
            rtnl::add_address(&mut s, address).unwrap();
        });
        let receiver = b.udp((B, 53));
        a.udp((forged, 5000)).send_to(b"forged", (B, 53)).await.unwrap();
        a.udp((A, 5000)).send_to(b"honest", (B, 53)).await.unwrap();
        let mut buf = [0; 6];
        timeout(PATIENCE, receiver.recv_from(&mut buf)).await.unwrap().unwrap();
        assert_eq!(&buf, b"honest");
    });
}

#[test]
fn port_forward_reaches_the_pods_loopback() {
    on_a_node(|w| async move {
        let a = w.pod("a", A).await;
        a.serve_tcp((Ipv4Addr::LOCALHOST, 8080));
        let mut stream = rk::net::forward::dial(a.path(), 8080).await.unwrap();
        assert_eq!(crate::net::world::read_answer(&mut stream).await.unwrap().0, "a");
        let refused = rk::net::forward::dial(a.path(), 8081).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        a.serve_tcp((std::net::Ipv6Addr::LOCALHOST, 8081));
        rk::net::forward::dial(a.path(), 8081).await.unwrap();
        assert!(netns::same(netns::current().unwrap(), Space::node().netns).unwrap());
    });
}
