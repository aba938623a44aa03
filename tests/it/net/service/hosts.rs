//! Host ports.

use super::*;

const POD_PORT: u16 = 8080;

async fn with_ports(ports: Vec<HostPort>) -> Proxy {
    let proxy = proxy(web(&[])).await;
    let mut desired = Desired::clone(&desired(web(&[])));
    desired.host_ports.insert("a".into(), Arc::new(ports));
    proxy.apply(Arc::new(desired)).await.unwrap();
    proxy
}

fn host_port(
    protocol: Protocol,
    host_ip: Option<Ipv4Addr>,
    host_port: u16,
    pod: Ipv4Addr,
) -> HostPort {
    let pod = SocketAddr::from((pod, POD_PORT));
    HostPort { protocol, host_ip: host_ip.map(IpAddr::V4), host_port, pod }
}

/// A pod that processes of the node reach through loopback addresses too.
async fn reachable_pod(name: &str, address: Ipv4Addr) -> Space {
    let pod = Space::new(name);
    let link = link::PodLink { loopback: true, ..pod.link(address) };
    link::add(link).await.unwrap();
    pod.serve_tcp((address, POD_PORT));
    pod.serve_udp((address, POD_PORT));
    pod
}

#[test]
fn a_host_port_answers_everybody() {
    on_a_node(|w| async move {
        let a = reachable_pod("a", A).await;
        let b = w.pod("b", B).await;
        let node = Space::node();
        let _proxy =
            with_ports(vec![host_port(Tcp, None, 80, A), host_port(Udp, None, 53, A)]).await;
        assert_eq!(w.outside.ask((NODE, 80)).await.unwrap(), ("a".into(), OUTSIDE));
        assert_eq!(b.ask((NODE, 80)).await.unwrap(), ("a".into(), B));
        assert_eq!(a.ask((NODE, 80)).await.unwrap().0, "a");
        assert_eq!(node.ask((NODE, 80)).await.unwrap(), ("a".into(), NODE));
        let (name, seen) = node.ask((Ipv4Addr::LOCALHOST, 80)).await.unwrap();
        assert_eq!(name, "a");
        assert!(!seen.is_loopback());
        for (space, to) in [(&w.outside, NODE), (&b, NODE), (&node, Ipv4Addr::LOCALHOST)] {
            let socket = space.udp((Ipv4Addr::UNSPECIFIED, 0));
            assert_eq!(space.ask_udp(&socket, (to, 53)).await.unwrap().0, "a");
        }
    });
}

#[test]
fn addresses_and_protocols_share_a_port() {
    on_a_node(|w| async move {
        let (_a, _b) = (reachable_pod("a", A).await, reachable_pod("b", B).await);
        let node = Space::node();
        let _proxy = with_ports(vec![
            host_port(Tcp, Some(Ipv4Addr::LOCALHOST), 80, A),
            host_port(Tcp, Some(NODE), 80, B),
            host_port(Udp, Some(NODE), 80, A),
        ])
        .await;
        assert_eq!(node.ask((Ipv4Addr::LOCALHOST, 80)).await.unwrap().0, "a");
        assert_eq!(node.ask((NODE, 80)).await.unwrap().0, "b");
        assert_eq!(w.outside.ask((NODE, 80)).await.unwrap().0, "b");
        let socket = w.outside.udp((Ipv4Addr::UNSPECIFIED, 0));
        assert_eq!(w.outside.ask_udp(&socket, (NODE, 80)).await.unwrap().0, "a");
    });
}

#[test]
fn a_pod_cannot_reach_the_nodes_loopback() {
    on_a_node(|_w| async move {
        let a = reachable_pod("a", A).await;
        let node = Space::node();
        let _proxy = with_ports(vec![host_port(Tcp, None, 80, A)]).await;
        let secret = node.udp((Ipv4Addr::LOCALHOST, 10_000));
        // A pod that may change its own routes sends loopback addresses to the node.
        a.run(|| {
            sysctl::write("net/ipv4/conf/all/route_localnet", "1").unwrap();
            for args in [
                &["address", "del", "127.0.0.1/8", "dev", "lo"][..],
                &["route", "add", "127.0.0.1", "via", "169.254.1.1", "dev", "eth0", "onlink"],
            ] {
                let done = std::process::Command::new("ip").args(args).status().unwrap();
                assert!(done.success(), "{args:?}");
            }
        });
        a.udp((A, 0)).send_to(b"smuggled", (Ipv4Addr::LOCALHOST, 10_000)).await.unwrap();
        node.udp((Ipv4Addr::LOCALHOST, 0))
            .send_to(b"own", (Ipv4Addr::LOCALHOST, 10_000))
            .await
            .unwrap();
        let mut buf = [0; 16];
        let (len, _) = timeout(PATIENCE, secret.recv_from(&mut buf)).await.unwrap().unwrap();
        assert_eq!(&buf[..len], b"own");
    });
}
