//! Services of a cluster with both families, as clients of the API meet them.

use rk::api::tree::Value;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::{Reply, Wire};

const FLAGS: [&str; 3] = [
    "--disable-agent",
    "--cluster-cidr=10.42.0.0/16,2001:cafe:42::/56",
    "--service-cidr=10.43.0.0/16,2001:cafe:43::/112",
];
const SPACE: &str = "/api/v1/namespaces/default/services";
const NETWORKING: &str = "/apis/networking.k8s.io/v1";

fn create(wire: &Wire<'_>, name: &str, spec: &str) -> Reply {
    let body = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{spec}}}"#);
    wire.post(SPACE, &body)
}

fn list(service: &Value, field: &str) -> Vec<String> {
    let items = service.at(&["spec", field]).items().iter();
    items.map(|item| item.str().to_owned()).collect()
}

/// The families of a Service's addresses, which are those that it names.
#[track_caller]
fn families(service: &Value) -> String {
    let of = |ip: &String| if ip.contains(':') { "IPv6" } else { "IPv4" };
    let (ips, named) = (list(service, "clusterIPs"), list(service, "ipFamilies"));
    let held: Vec<&str> = ips.iter().map(of).collect();
    assert_eq!(held, named, "{service}");
    assert_eq!(ips[0], service.at(&["spec", "clusterIP"]).str());
    named.join(",")
}

#[test]
fn services_are_of_one_family_or_both() {
    let mut cluster = Cluster::start(&FLAGS);
    {
        let wire = Wire::new(&cluster);
        own_objects(&wire);
        created(&wire);
        changed(&wire);
        addresses(&wire);
    }
    // What was given out is still held after a restart, and nothing is told twice.
    cluster.stop();
    cluster.go();
    let wire = Wire::new(&cluster);
    let held = wire.get(&format!("{SPACE}/require")).ok();
    let second = list(&held, "clusterIPs")[1].clone();
    let spec = format!(r#"{{"clusterIP":"{second}","ports":[{{"port":80}}]}}"#);
    let said = create(&wire, "again", &spec).refused(422, "Invalid");
    assert!(said.contains("provided IP is already allocated"), "{said}");
}

fn own_objects(wire: &Wire<'_>) {
    let own = wire.get(&format!("{NETWORKING}/servicecidrs/kubernetes")).ok();
    assert_eq!(list(&own, "cidrs"), ["10.43.0.0/16", "2001:cafe:43::/112"]);
    let kubernetes = wire.get(&format!("{SPACE}/kubernetes")).ok();
    assert_eq!(families(&kubernetes), "IPv4");
    assert_eq!(kubernetes.at(&["spec", "ipFamilyPolicy"]).str(), "SingleStack");
    let dns = wire.get("/api/v1/namespaces/kube-system/services/kube-dns").ok();
    assert_eq!(list(&dns, "clusterIPs"), ["10.43.0.10", "2001:cafe:43::a"]);
}

fn created(wire: &Wire<'_>) {
    for (name, spec, want) in [
        ("plain", "{", "SingleStack IPv4"),
        ("prefer", r#"{"ipFamilyPolicy":"PreferDualStack","#, "PreferDualStack IPv4,IPv6"),
        ("require", r#"{"ipFamilyPolicy":"RequireDualStack","#, "RequireDualStack IPv4,IPv6"),
        ("six", r#"{"ipFamilies":["IPv6"],"#, "SingleStack IPv6"),
        (
            "turned",
            r#"{"ipFamilyPolicy":"PreferDualStack","ipFamilies":["IPv6","IPv4"],"#,
            "PreferDualStack IPv6,IPv4",
        ),
        (
            "named",
            r#"{"ipFamilyPolicy":"RequireDualStack","clusterIPs":["2001:cafe:43::77"],
                "clusterIP":"2001:cafe:43::77","#,
            "RequireDualStack IPv6,IPv4",
        ),
        (
            "balanced",
            r#"{"type":"LoadBalancer","ipFamilyPolicy":"RequireDualStack","#,
            "RequireDualStack IPv4,IPv6",
        ),
    ] {
        let made = create(wire, name, &format!(r#"{spec}"ports":[{{"port":80}}]}}"#)).ok();
        let policy = made.at(&["spec", "ipFamilyPolicy"]).str();
        assert_eq!(format!("{policy} {}", families(&made)), want, "{name}");
    }
    let made = create(wire, "headless", r#"{"clusterIP":"None"}"#).ok();
    assert_eq!(list(&made, "ipFamilies"), ["IPv4", "IPv6"]);
    for (spec, why) in [
        (
            r#"{"clusterIP":"10.43.0.77","clusterIPs":["10.43.0.77","2001:cafe:43::78"],"#,
            "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or \
             'PreferDualStack' when multiple cluster IPs are specified",
        ),
        (
            r#"{"ipFamilyPolicy":"RequireDualStack","clusterIP":"10.43.0.77",
                "clusterIPs":["10.43.0.77","10.43.0.78"],"#,
            "may specify no more than one IP for each IP family",
        ),
        (
            r#"{"ipFamilies":["IPv6"],"clusterIP":"10.43.0.77","clusterIPs":["10.43.0.77"],"#,
            "expected an IPv6 value as indicated by `ipFamilies[0]`",
        ),
        (
            r#"{"clusterIP":"2001:cafe:44::1","#,
            "spec.clusterIPs: Invalid value: [\"2001:cafe:44::1\"]: failed to allocate IP \
             2001:cafe:44::1: the provided IP (2001:cafe:44::1) is not in the valid range. The \
             range of valid IPs is 2001:cafe:43::/112",
        ),
    ] {
        let spec = format!(r#"{spec}"ports":[{{"port":80}}]}}"#);
        let said = create(wire, "wrong", &spec).refused(422, "Invalid");
        assert!(said.contains(why), "{spec}: {said}");
    }
}

fn patch(wire: &Wire<'_>, name: &str, spec: &str) -> Reply {
    wire.merge(&format!("{SPACE}/{name}"), &format!(r#"{{"spec":{spec}}}"#))
}

fn changed(wire: &Wire<'_>) {
    let first = |service: &Value| list(service, "clusterIPs")[0].clone();
    let plain = wire.get(&format!("{SPACE}/plain")).ok();
    let grown = patch(wire, "plain", r#"{"ipFamilyPolicy":"PreferDualStack"}"#).ok();
    assert_eq!((families(&grown), first(&grown)), ("IPv4,IPv6".into(), first(&plain)));
    let said = patch(wire, "plain", r#"{"ipFamilies":["IPv4"],"clusterIPs":null}"#);
    let said = said.refused(422, "Invalid");
    assert!(said.contains("must be 'SingleStack' to release the secondary IP family"), "{said}");
    let second = list(&grown, "clusterIPs")[1].clone();
    let single = patch(wire, "plain", r#"{"ipFamilyPolicy":"SingleStack"}"#).ok();
    assert_eq!((families(&single), first(&single)), ("IPv4".into(), first(&plain)));
    let spec = format!(
        r#"{{"ipFamilyPolicy":"RequireDualStack","clusterIPs":["{}","{second}"],
            "ipFamilies":["IPv4","IPv6"]}}"#,
        first(&plain)
    );
    let again = patch(wire, "plain", &spec).ok();
    assert_eq!(list(&again, "clusterIPs")[1], second, "it was free, and is asked for");
    let said = patch(wire, "plain", r#"{"ipFamilies":["IPv6","IPv4"]}"#).refused(422, "Invalid");
    assert!(said.contains("may not change once set"), "{said}");

    // A name for another host gives everything back, and may come again.
    let name = r#"{"type":"ExternalName","externalName":"a.example","clusterIP":"",
        "clusterIPs":null}"#;
    let external = patch(wire, "plain", name).ok();
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        assert!(external.at(&["spec", field]).is_empty(), "{field}: {external}");
    }
    let back = r#"{"type":"ClusterIP","externalName":null,"ipFamilyPolicy":"RequireDualStack"}"#;
    let back = patch(wire, "plain", back).ok();
    assert_eq!(families(&back), "IPv4,IPv6");
}

/// An address of IPv6 is an object under its canonical name, and ranges of users add more.
fn addresses(wire: &Wire<'_>) {
    let path = format!("{NETWORKING}/ipaddresses/2001:cafe:43::77");
    let told = eventually(&path, || match wire.get(&path) {
        reply if reply.code == 200 => Ok(reply.ok()),
        reply => Err(reply.text()),
    });
    assert_eq!(told.at(&["spec", "parentRef", "name"]).str(), "named");
    let family = told.at(&["metadata", "labels"]).get("ipaddress.kubernetes.io/ip-family");
    assert_eq!(family.str(), "IPv6");
    let other = r#"{"metadata":{"name":"2001:CAFE:43:0::77"},
        "spec":{"parentRef":{"resource":"services","name":"x","namespace":"default"}}}"#;
    let said = wire.post(&format!("{NETWORKING}/ipaddresses"), other).refused(422, "Invalid");
    assert!(said.contains("must be a canonical format IP address"), "{said}");
    let range = |cidrs: &str| {
        let body = format!(r#"{{"metadata":{{"name":"more"}},"spec":{{"cidrs":{cidrs}}}}}"#);
        wire.post(&format!("{NETWORKING}/servicecidrs"), &body)
    };
    let said = range(r#"["fd01::/120","fd02::/120"]"#).refused(422, "Invalid");
    assert!(said.contains("may specify no more than one IP for each IP family"), "{said}");
    range(r#"["10.99.0.0/24"]"#).ok();
    let more = format!("{NETWORKING}/servicecidrs/more");
    let grown = r#"{"spec":{"cidrs":["10.99.0.0/24","fd01::/120"]}}"#;
    wire.merge(&more, grown).ok();
    let said = wire.merge(&more, r#"{"spec":{"cidrs":["10.99.0.0/24"]}}"#);
    assert!(said.refused(422, "Invalid").contains("field is immutable"));
    eventually("an address of the new range", || {
        let spec = r#"{"clusterIP":"fd01::5","ports":[{"port":80}]}"#;
        match create(wire, "far", spec) {
            reply if reply.code == 201 => Ok(()),
            reply => Err(reply.text()),
        }
    });
}

/// A cluster that gets a second family keeps what it has, and gives from then on of both.
#[test]
fn a_cluster_gets_a_second_family() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    let made = |cluster: &Cluster, name: &str| {
        let spec = r#"{"ipFamilyPolicy":"PreferDualStack","ports":[{"port":80}]}"#;
        create(&Wire::new(cluster), name, spec).ok()
    };
    let before = made(&cluster, "before");
    assert_eq!(families(&before), "IPv4");
    cluster.stop();
    cluster.flags.extend(FLAGS[1..].iter().map(|&flag| flag.to_owned()));
    cluster.go();
    assert_eq!(families(&made(&cluster, "after")), "IPv4,IPv6");
    let wire = Wire::new(&cluster);
    own_objects(&wire);
    let path = format!("{SPACE}/before");
    let labelled = wire.merge(&path, r#"{"metadata":{"labels":{"a":"b"}}}"#).ok();
    assert_eq!(list(&labelled, "clusterIPs"), list(&before, "clusterIPs"), "nobody asked for more");
    let asked = wire.merge(&path, r#"{"spec":{"ipFamilyPolicy":"RequireDualStack"}}"#).ok();
    assert_eq!(families(&asked), "IPv4,IPv6");
}
