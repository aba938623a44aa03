//! Questions and answers of the specification, as `kind name -> answers`.

use super::*;
use crate::net::Protocol::{Tcp, Udp};

fn port(name: &str, protocol: crate::net::Protocol, port: u16) -> NamedPort {
    NamedPort { name: name.into(), protocol, port }
}

fn name(namespace: &str, name: &str) -> Name {
    Name { namespace: namespace.into(), name: name.into() }
}

fn endpoint(address: &str, hostname: Option<&str>) -> Endpoint {
    let ports = [port("db", Tcp, 5432)].into();
    Endpoint { address: address.parse().unwrap(), hostname: hostname.map(Into::into), ports }
}

fn zone() -> Zone {
    let domain = Domain {
        name: "cluster.local".into(),
        servers: vec!["10.43.0.10".parse().unwrap()],
        reverse: vec!["10.42.0.0/16".parse().unwrap(), "10.43.0.0/16".parse().unwrap()],
    };
    let zone = Zone::new(domain).unwrap();
    let service = |target, ports| Some(Arc::new(Service { target, ports }));
    let ips = vec!["10.43.0.9".parse().unwrap()];
    let ports = vec![port("http", Tcp, 80), port("dns", Udp, 53), port("", Tcp, 9)];
    zone.set(name("ns", "web"), service(Target::ClusterIps(ips), ports));
    let all = vec![endpoint("10.42.0.5", Some("db-0")), endpoint("10.42.1.6", None)];
    zone.set(name("ns", "db"), service(Target::Headless(all), Vec::new()));
    zone.set(name("ns", "empty"), service(Target::Headless(Vec::new()), Vec::new()));
    let outside = Target::ExternalName("www.example.com".into());
    zone.set(name("other", "out"), service(outside, Vec::new()));
    zone
}

fn ask(zone: &Zone, question: &str) -> String {
    let (kind, name) = question.split_once(' ').unwrap();
    let query = Query::query(DnsName::from_ascii(name).unwrap(), kind.parse().unwrap());
    let show = |records: Vec<Record>| {
        let mut shown: Vec<_> = records.iter().map(|r| r.data.to_string()).collect();
        shown.sort();
        shown.join(", ")
    };
    match zone.find(&query) {
        Found::Records(answers, further) if further.is_empty() => show(answers),
        Found::Records(answers, further) => format!("{} + {}", show(answers), show(further)),
        Found::Alias(_, target) => format!("-> {target}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn questions_are_answered_by_the_specification() {
    let zone = zone();
    for (question, answer) in [
        ("A web.ns.svc.cluster.local.", "10.43.0.9"),
        ("A WEB.Ns.svc.Cluster.LOCAL.", "10.43.0.9"),
        ("AAAA web.ns.svc.cluster.local.", "NoData"),
        ("MX web.ns.svc.cluster.local.", "NoData"),
        ("A web.other.svc.cluster.local.", "NoName"),
        (
            "SRV _http._tcp.web.ns.svc.cluster.local.",
            "0 100 80 web.ns.svc.cluster.local. + 10.43.0.9",
        ),
        ("A _http._tcp.web.ns.svc.cluster.local.", "NoData"),
        ("SRV _http._udp.web.ns.svc.cluster.local.", "NoName"),
        ("SRV _._tcp.web.ns.svc.cluster.local.", "NoName"),
        ("SRV _tcp.web.ns.svc.cluster.local.", "NoData"),
        ("A x.web.ns.svc.cluster.local.", "NoName"),
        ("A db.ns.svc.cluster.local.", "10.42.0.5, 10.42.1.6"),
        ("A db-0.db.ns.svc.cluster.local.", "10.42.0.5"),
        ("A 10-42-0-5.db.ns.svc.cluster.local.", "NoName"),
        ("A 10-42-1-6.db.ns.svc.cluster.local.", "10.42.1.6"),
        ("A empty.ns.svc.cluster.local.", "NoData"),
        (
            "SRV _db._tcp.db.ns.svc.cluster.local.",
            "0 50 5432 10-42-1-6.db.ns.svc.cluster.local., 0 50 5432 db-0.db.ns.svc.cluster.local. \
             + 10.42.0.5, 10.42.1.6",
        ),
        ("A out.other.svc.cluster.local.", "-> www.example.com."),
        ("CNAME out.other.svc.cluster.local.", "-> www.example.com."),
        ("A 10-42-7-7.ns.pod.cluster.local.", "10.42.7.7"),
        ("AAAA 10-42-7-7.ns.pod.cluster.local.", "NoData"),
        ("AAAA fd00--7.ns.pod.cluster.local.", "fd00::7"),
        ("A 10-42-7.ns.pod.cluster.local.", "NoName"),
        ("PTR 9.0.43.10.in-addr.arpa.", "web.ns.svc.cluster.local."),
        ("PTR 5.0.42.10.in-addr.arpa.", "db-0.db.ns.svc.cluster.local."),
        ("PTR 6.1.42.10.in-addr.arpa.", "10-42-1-6.db.ns.svc.cluster.local."),
        ("A 9.0.43.10.in-addr.arpa.", "NoData"),
        ("PTR 99.0.43.10.in-addr.arpa.", "NoName"),
        ("PTR 0.43.10.in-addr.arpa.", "NoName"),
        ("PTR 8.8.8.8.in-addr.arpa.", "NotOurs"),
        ("PTR arpa.", "NotOurs"),
        ("PTR x.y.in-addr.arpa.", "NotOurs"),
        ("TXT dns-version.cluster.local.", "1.1.0"),
        ("A dns-version.cluster.local.", "NoData"),
        ("NS cluster.local.", "ns.dns.cluster.local."),
        ("A ns.dns.cluster.local.", "10.43.0.10"),
        ("A cluster.local.", "NoData"),
        ("A svc.cluster.local.", "NoData"),
        ("A ns.svc.cluster.local.", "NoData"),
        ("A nowhere.svc.cluster.local.", "NoName"),
        ("A www.example.com.ns.svc.cluster.local.", "NoName"),
        ("A www.example.com.cluster.local.", "NoName"),
        ("A www.example.com.", "NotOurs"),
        ("A local.", "NotOurs"),
        ("A .", "NotOurs"),
    ] {
        assert_eq!(ask(&zone, question), answer, "{question}");
    }
}

#[test]
fn the_zone_says_how_long_nothing_is_nothing() {
    let RData::SOA(soa) = zone().authority().unwrap().data else { panic!("no SOA") };
    assert!((5..=30).contains(&soa.minimum));
    assert_eq!(soa.mname.to_ascii(), "ns.dns.cluster.local.");
}

#[test]
fn changes_take_their_pointers_along() {
    let zone = zone();
    let ptr = "PTR 5.0.42.10.in-addr.arpa.";
    let moved = Target::Headless(vec![endpoint("10.42.0.5", Some("db-1"))]);
    let moved = Arc::new(Service { target: moved, ports: Vec::new() });
    zone.set(name("ns", "db"), Some(moved.clone()));
    assert_eq!(ask(&zone, ptr), "db-1.db.ns.svc.cluster.local.");
    assert_eq!(ask(&zone, "PTR 6.1.42.10.in-addr.arpa."), "NoName");
    zone.set(name("ns", "again"), Some(moved));
    zone.set(name("ns", "db"), None);
    assert_eq!(ask(&zone, ptr), "db-1.again.ns.svc.cluster.local.");
    zone.replace(Records::new());
    assert_eq!(ask(&zone, ptr), "NoName");
    assert_eq!(ask(&zone, "A ns.svc.cluster.local."), "NoName");
    let state = zone.state.read();
    assert_eq!(state.pointers.len() + state.namespaces.len() + state.records.len(), 0);
}

#[test]
fn addresses_take_turns_at_being_first() {
    let zone = zone();
    let query =
        Query::query(DnsName::from_ascii("db.ns.svc.cluster.local.").unwrap(), RecordType::A);
    let first = || match zone.find(&query) {
        Found::Records(records, _) => records[0].data.to_string(),
        other => panic!("{other:?}"),
    };
    assert_ne!(first(), first());
}
