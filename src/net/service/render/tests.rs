//! Every element that a service or host port makes, by the semantics it stands for.

use super::super::desired::Config;
use super::*;
use crate::net::Protocol::{Sctp, Tcp, Udp};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

fn config() -> Config {
    Config {
        table: "rk".into(),
        pod_cidr: "10.42.0.0/24,fd42::/64".parse().unwrap(),
        cluster_cidr: "10.42.0.0/16,fd42::/56".parse().unwrap(),
        service_cidr: "10.43.0.0/16,fd43::/112".parse().unwrap(),
        unmasqueraded: Vec::new(),
    }
}

fn endpoint(addr: &str, local: bool) -> Endpoint {
    Endpoint { addr: addr.parse().unwrap(), local }
}

fn web(endpoints: Vec<Endpoint>) -> Service {
    let port = Port { protocol: Tcp, port: 80, node_port: Some(30080), endpoints };
    Service {
        cluster_ips: vec!["10.43.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
        ports: vec![port],
        ..Service::default()
    }
}

fn render(s: &Service) -> Vec<String> {
    let config = Local::of_four(&config());
    service(s, Node { config: &config, ips: &[NODE] }).into_iter().map(show).collect()
}

/// `set front [index] = value`.
fn show<A: Address>(((set, key), value): (Place<A>, Value<A>)) -> String {
    let front = Front::of(&key);
    let mut text = match set {
        SetId::Selves => format!("selves {}", front.address),
        set => format!("{} {}:{}/{}", set.name(), front.address, front.port, front.protocol),
    };
    if matches!(set, SetId::Endpoints | SetId::OuterEndpoints) {
        let index = &key.bytes(set)[A::LEN + 8..];
        text += &format!(" {}", u32::from_ne_bytes(index.try_into().unwrap()));
    }
    match value {
        Value::None => text,
        Value::To(to) => format!("{text} = {}", std::net::SocketAddr::from(to)),
        Value::Chain(chain) => format!("{text} = {}", chain.name()),
        Value::Drop => format!("{text} = drop"),
        Value::Unknown => unreachable!(),
    }
}

#[test]
fn a_service_leads_from_every_front_to_every_endpoint() {
    let s = web(vec![endpoint("10.42.0.5:8080", true), endpoint("10.42.1.6:8080", false)]);
    assert_eq!(
        render(&s),
        [
            "fronts 10.43.0.9:80/6 = to-2",
            "fronts 192.168.1.1:30080/6 = to-2",
            "endpoints 10.43.0.9:80/6 0 = 10.42.0.5:8080",
            "endpoints 10.43.0.9:80/6 1 = 10.42.1.6:8080",
            "endpoints 192.168.1.1:30080/6 0 = 10.42.0.5:8080",
            "endpoints 192.168.1.1:30080/6 1 = 10.42.1.6:8080",
            "selves 10.42.0.5",
        ]
    );
}

#[test]
fn without_endpoints_outer_fronts_are_refused() {
    // The cluster IP is inside the service CIDR, which is rejected as a whole.
    assert_eq!(render(&web(Vec::new())), ["refused 192.168.1.1:30080/6"]);
    let mut s = web(Vec::new());
    s.cluster_ips = vec!["172.30.0.9".parse().unwrap()];
    s.external_ips = vec!["203.0.113.7".parse().unwrap()];
    assert_eq!(
        render(&s),
        ["refused 172.30.0.9:80/6", "refused 192.168.1.1:30080/6", "refused 203.0.113.7:80/6"]
    );
}

#[test]
fn internal_local_keeps_to_this_node_or_drops() {
    let mut s = web(vec![endpoint("10.42.0.5:8080", true), endpoint("10.42.1.6:8080", false)]);
    s.internal_local = true;
    s.ports[0].node_port = None;
    assert_eq!(
        render(&s),
        [
            "fronts 10.43.0.9:80/6 = to-1",
            "endpoints 10.43.0.9:80/6 0 = 10.42.0.5:8080",
            "selves 10.42.0.5",
        ]
    );
    s.ports[0].endpoints.remove(0);
    assert_eq!(render(&s), ["fronts 10.43.0.9:80/6 = drop"]);
}

#[test]
fn external_local_has_a_second_view_for_clients_from_elsewhere() {
    let mut s = web(vec![endpoint("10.42.0.5:8080", true), endpoint("10.42.1.6:8080", false)]);
    s.external_local = true;
    s.cluster_ips.clear();
    assert_eq!(
        render(&s),
        [
            "fronts 192.168.1.1:30080/6 = to-2",
            "fronts-outer 192.168.1.1:30080/6 = to-1-outer",
            "endpoints 192.168.1.1:30080/6 0 = 10.42.0.5:8080",
            "endpoints 192.168.1.1:30080/6 1 = 10.42.1.6:8080",
            "endpoints-outer 192.168.1.1:30080/6 0 = 10.42.0.5:8080",
            "selves 10.42.0.5",
        ]
    );
    s.ports[0].endpoints.remove(0);
    assert!(render(&s).contains(&"fronts-outer 192.168.1.1:30080/6 = drop".to_owned()));
}

#[test]
fn affinity_and_protocols_are_in_the_chain_and_the_key() {
    let mut s = web(vec![endpoint("10.42.0.5:53", true)]);
    s.affinity = Some(Duration::from_secs(10800));
    s.ports[0] = Port { protocol: Udp, port: 53, node_port: None, ..s.ports[0].clone() };
    s.ports.push(Port { protocol: Sctp, port: 9, ..s.ports[0].clone() });
    let rendered = render(&s);
    assert_eq!(rendered[1], "fronts 10.43.0.9:9/132 = to-1-kept");
    assert_eq!(rendered[4], "keeps 10.43.0.9:53/17 = keep-10800");
    assert_eq!(rendered[0], "fronts 10.43.0.9:53/17 = to-1-kept");
}

#[test]
fn endpoints_outside_the_pod_network_must_answer_through_this_node() {
    let mut s = web(vec![
        endpoint("192.168.1.1:6443", true),
        endpoint("192.168.1.2:6443", false),
        endpoint("[fd00::7]:6443", false),
    ]);
    s.ports[0].node_port = None;
    assert_eq!(
        render(&s),
        [
            "fronts 10.43.0.9:80/6 = to-2",
            "endpoints 10.43.0.9:80/6 0 = 192.168.1.1:6443",
            "endpoints 10.43.0.9:80/6 1 = 192.168.1.2:6443",
            "far 192.168.1.2:6443/6",
        ]
    );
}

#[test]
fn host_ports_answer_where_they_were_told_to() {
    let config = Local::of_four(&config());
    let pod = "10.42.0.5:8080".parse().unwrap();
    let port = |host_ip: Option<&str>, protocol| {
        let host_ip = host_ip.map(|ip| ip.parse().unwrap());
        let port = HostPort { protocol, host_ip, host_port: 8080, pod };
        let rendered = host_ports(&[port], Node { config: &config, ips: &[NODE] });
        rendered.into_iter().map(show).collect::<Vec<_>>()
    };
    let everywhere = [
        "host-ports 127.0.0.1:8080/6 = 10.42.0.5:8080",
        "host-ports 192.168.1.1:8080/6 = 10.42.0.5:8080",
        "selves 10.42.0.5",
    ];
    assert_eq!(port(None, Tcp), everywhere);
    assert_eq!(port(Some("0.0.0.0"), Tcp), everywhere);
    let one = ["host-ports 127.0.0.1:8080/17 = 10.42.0.5:8080", "selves 10.42.0.5"];
    assert_eq!(port(Some("127.0.0.1"), Udp), one);
    assert_eq!(port(Some("fd00::1"), Udp), ["selves 10.42.0.5"]);
}

#[test]
fn endpoints_that_stay_keep_their_places() {
    let e = |n: u8| endpoint(&format!("10.42.0.{n}:80"), true);
    let before = [e(1), e(2), e(3), e(4)];
    assert_eq!(settle(&before, &[e(4), e(3), e(2), e(1)]), before);
    assert_eq!(settle(&before, &[e(4), e(3), e(1)]), [e(1), e(4), e(3)]);
    assert_eq!(settle(&before, &[e(1), e(3), e(4), e(9)]), [e(1), e(9), e(3), e(4)]);
    assert_eq!(settle(&before, &[e(4), e(9), e(8), e(9)]), [e(9), e(8), e(4)]);
    assert_eq!(settle(&before, &[]), []);
    assert_eq!(settle(&[], &[e(2), e(1), e(2)]), [e(2), e(1)]);
}

#[test]
fn each_family_has_its_own_addresses_and_endpoints() {
    let mut s = web(vec![endpoint("10.42.0.5:8080", true), endpoint("[fd42::5]:8080", true)]);
    let config = Local::of_six(&config()).unwrap();
    let node: Ipv6Addr = "fd00::1".parse().unwrap();
    let six = |s: &Service| -> Vec<String> {
        service(s, Node { config: &config, ips: &[node] }).into_iter().map(show).collect()
    };
    s.cluster_ips.push("fd43::9".parse().unwrap());
    assert_eq!(
        six(&s),
        [
            "fronts fd00::1:30080/6 = to-1",
            "fronts fd00::9:80/6 = to-1",
            "fronts fd43::9:80/6 = to-1",
            "endpoints fd00::1:30080/6 0 = [fd42::5]:8080",
            "endpoints fd00::9:80/6 0 = [fd42::5]:8080",
            "endpoints fd43::9:80/6 0 = [fd42::5]:8080",
            "selves fd42::5",
        ]
    );
    s.ports[0].endpoints.pop();
    let nothing = ["refused fd00::1:30080/6", "refused fd00::9:80/6"];
    assert_eq!(six(&s), nothing, "an endpoint of the other family is none");
    let port = |host_ip: Option<&str>| HostPort {
        protocol: Tcp,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port: 8080,
        pod: "[fd42::5]:80".parse().unwrap(),
    };
    let at = |host_ip| {
        let elements = host_ports(&[port(host_ip)], Node { config: &config, ips: &[node] });
        elements.keys().filter(|(set, _)| *set == SetId::HostPorts).count()
    };
    assert_eq!([None, Some("::"), Some("fd00::1"), Some("0.0.0.0"), Some("10.0.0.1")].map(at), {
        [1, 1, 1, 0, 0]
    });
}
