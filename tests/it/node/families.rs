//! A cluster of IPv4 and IPv6: pods with both addresses, and services by each.

use serde_json::json;

use super::world::World;
use crate::guestbook::eventually;
use crate::harness::{Cluster, SERVER};

const FLAGS: [&str; 2] = [
    "--cluster-cidr=10.42.0.0/16,2001:cafe:42::/56",
    "--service-cidr=10.43.0.0/16,2001:cafe:43::/112",
];

/// A page by both families.
const SERVE: &str = "mkdir /w; hostname > /w/f; httpd -f -p 8080 -h /w";

fn service(world: &World, name: &str, mut spec: serde_json::Value) {
    spec["ports"] = json!([{"port": 80, "targetPort": 8080, "nodePort": spec["nodePort"].take()}]);
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": spec,
        "metadata": {"name": name}});
    world.cluster.apply(&service.to_string()).ok();
}

/// What `client` reads at an address, from inside.
fn page(world: &World, host: &str) -> Result<String, String> {
    let ran = world.kubectl(&format!("exec client -- wget -qO- http://{host}/f"));
    if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
}

/// What processes of the server's machine read.
fn from_node(world: &World, host: &str) -> Result<String, String> {
    let mut curl = world.cluster.command("curl");
    curl.args(["-g", "-sSf", "--max-time", "2", &format!("http://{host}/f")]);
    let ran = world.cluster.machine.finish(&mut curl, "");
    if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
}

/// An address as it stands in a URL.
fn host(address: &str) -> String {
    if address.contains(':') { format!("[{address}]") } else { address.to_owned() }
}

#[test]
fn pods_and_services_have_both_families() {
    let cluster = cluster(&[]);
    assert_eq!(SERVER.to_string(), "192.168.77.1");
    let world = World::near_of(cluster);
    world.pod("client", "sleep 600");
    world.pod("web", SERVE);
    pods_have_both(&world);
    services_have_both(&world);
    names_have_both(&world);
    slices_follow_the_families(&world);
    pods_outlive_the_node(world);
}

/// A cluster of both families on machines that have an address of each.
fn cluster(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::stopped(&[&FLAGS, more].concat());
    for (machine, address) in [(&cluster.machine, "fd99::1/64"), (&cluster.other, "fd99::2/64")] {
        let mut ip = cluster.command("ip");
        ip.args(["-6", "address", "add", address, "dev", "eth0", "nodad"]);
        machine.finish(&mut ip, "").ok();
    }
    cluster.go();
    cluster
}

/// What runs is adopted with both of its addresses.
fn pods_outlive_the_node(mut world: World) {
    let ips = world.get("pod/web", "{.status.podIPs[*].ip}");
    world.cluster.kill();
    world.cluster.go();
    for ip in ips.split(' ') {
        let at = format!("{}:8080", host(ip));
        assert_eq!(eventually(&at, || from_node(&world, &at)), "web\n");
    }
    world.pod("later", SERVE);
    assert_eq!(world.get("pod/web", "{.status.podIPs[*].ip}"), ips);
    let later = world.get("pod/later", "{.status.podIPs[*].ip}");
    assert_eq!(later.split(' ').count(), 2, "{later}");
    assert!(later.split(' ').all(|ip| !ips.contains(ip)), "{later} and {ips}");
}

#[test]
fn a_node_that_joins_has_both_families() {
    let world = World::far_of(cluster(&["--disable-agent"]));
    let cidrs = world.get("node/node-2", "{.spec.podCIDRs}");
    assert_eq!(cidrs, r#"["10.42.0.0/24","2001:cafe:42::/64"]"#);
    let internal = r#"{.status.addresses[?(@.type=="InternalIP")].address}"#;
    assert_eq!(world.get("node/node-2", internal), "192.168.77.2 fd99::2");
    world.pod("web", SERVE);
    for (name, policy, port) in [("wide", "Cluster", 30621), ("local", "Local", 30622)] {
        service(
            &world,
            name,
            json!({"selector": {"app": "web"}, "type": "NodePort", "nodePort": port,
                "ipFamilyPolicy": "RequireDualStack", "externalTrafficPolicy": policy}),
        );
        // From a machine that is none of the nodes.
        for address in ["192.168.77.2", "[fd99::2]"] {
            let at = format!("{address}:{port}");
            assert_eq!(eventually(&at, || from_node(&world, &at)), "web\n");
        }
    }
}

fn pods_have_both(world: &World) {
    let cidrs = world.get("node/node-1", "{.spec.podCIDRs}");
    assert_eq!(cidrs, r#"["10.42.0.0/24","2001:cafe:42::/64"]"#);
    let internal = r#"{.status.addresses[?(@.type=="InternalIP")].address}"#;
    assert_eq!(world.get("node/node-1", internal), "192.168.77.1 fd99::1");
    let ips = world.get("pod/web", "{.status.podIPs[*].ip}");
    let (four, six) = ips.split_once(' ').unwrap();
    assert!(four.starts_with("10.42.0.") && six.starts_with("2001:cafe:42::"), "{ips}");
    assert_eq!(world.get("pod/web", "{.status.hostIPs[*].ip}"), "192.168.77.1 fd99::1");
    for address in [four, six] {
        let at = format!("{}:8080", host(address));
        assert_eq!(eventually(&at, || page(world, &at)), "web\n");
        assert_eq!(from_node(world, &at).unwrap(), "web\n");
    }
    let hosts = world.kubectl("exec web -- cat /etc/hosts").ok();
    assert!(hosts.contains(&format!("{four}\tweb\n")) && hosts.contains(six), "{hosts}");
    world.run(
        "told",
        json!({"containers": [{"name": "main", "image": "test/busybox:1",
            "command": ["sh", "-c", "echo $PODS $HOSTS; sleep 600"], "env": [
                {"name": "PODS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
                {"name": "HOSTS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIPs"}}}]}]}),
    );
    let told = eventually("what the pod was told", || match world.kubectl("logs told").ok() {
        told if told.contains("192.168.77.1,fd99::1") => Ok(told),
        told => Err(told),
    });
    assert!(told.starts_with("10.42.0.") && told.contains(",2001:cafe:42::"), "{told}");
    world.run(
        "host",
        json!({"hostNetwork": true, "containers": [{"name": "main", "image": "test/busybox:1",
            "command": ["sleep", "600"]}]}),
    );
    assert_eq!(world.get("pod/host", "{.status.podIPs[*].ip}"), "192.168.77.1 fd99::1");
}

/// Each policy, reached by each address from a pod, and by node port from the node.
fn services_have_both(world: &World) {
    for (name, spec, families) in [
        ("single", json!({}), vec!["IPv4"]),
        ("prefer", json!({"ipFamilyPolicy": "PreferDualStack"}), vec!["IPv4", "IPv6"]),
        ("require", json!({"ipFamilyPolicy": "RequireDualStack"}), vec!["IPv4", "IPv6"]),
        ("six", json!({"ipFamilies": ["IPv6"]}), vec!["IPv6"]),
        (
            "turned",
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6", "IPv4"],
                "type": "NodePort", "nodePort": 30611}),
            vec!["IPv6", "IPv4"],
        ),
    ] {
        let mut spec = spec;
        spec["selector"] = json!({"app": "web"});
        service(world, name, spec);
        let ips = world.get(&format!("service/{name}"), "{.spec.clusterIPs[*]}");
        let ips: Vec<&str> = ips.split(' ').collect();
        let of = |ip: &&str| if ip.contains(':') { "IPv6" } else { "IPv4" };
        assert_eq!(ips.iter().map(of).collect::<Vec<_>>(), families, "{name}: {ips:?}");
        for ip in ips {
            let at = host(ip);
            assert_eq!(eventually(&format!("{name} {at}"), || page(world, &at)), "web\n");
            assert_eq!(from_node(world, &at).unwrap(), "web\n", "{name} {at}");
        }
    }
    for at in ["192.168.77.1:30611", "[fd99::1]:30611"] {
        assert_eq!(eventually(at, || page(world, at)), "web\n");
        assert_eq!(from_node(world, at).unwrap(), "web\n", "{at}");
    }
    // Refused at once where nobody answers, by both.
    service(
        world,
        "nobody",
        json!({"selector": {"app": "x"}, "ipFamilyPolicy": "PreferDualStack"}),
    );
    for ip in world.get("service/nobody", "{.spec.clusterIPs[*]}").split(' ') {
        eventually(ip, || match page(world, &host(ip)) {
            Err(why) if why.contains("refused") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn names_have_both(world: &World) {
    let resolv = world.kubectl("exec client -- cat /etc/resolv.conf").ok();
    assert!(resolv.contains("nameserver 2001:cafe:43::a"), "{resolv}");
    let ips = world.get("service/require", "{.spec.clusterIPs[*]}");
    let asks = |words: &str| {
        let words = format!("exec client -- nslookup {words}");
        eventually(&words, || {
            let ran = world.kubectl(&words);
            if ran.status.success() { Ok(ran.out) } else { Err(ran.out + &ran.err) }
        })
    };
    for server in ["10.43.0.10", "2001:cafe:43::a"] {
        let said = asks(&format!("require.default.svc.cluster.local {server}"));
        assert!(ips.split(' ').all(|ip| said.contains(ip)), "{ips}: {said}");
    }
    let six = ips.split(' ').nth(1).unwrap();
    let said = asks(six);
    assert!(said.contains("require.default.svc.cluster.local"), "{said}");
    service(
        world,
        "headless",
        json!({"clusterIP": "None", "selector": {"app": "web"}, "ipFamilyPolicy": "PreferDualStack"}),
    );
    let pod = world.get("pod/web", "{.status.podIPs[*].ip}");
    eventually("the addresses of a headless service", || {
        let said = asks("headless.default.svc.cluster.local");
        if pod.split(' ').all(|ip| said.contains(ip)) { Ok(()) } else { Err(said) }
    });
}

fn slices_follow_the_families(world: &World) {
    let slices = |name: &str| {
        let path = "{range .items[*]}{.addressType}={.endpoints[*].addresses[*]} {end}";
        let what = format!("endpointslices -l kubernetes.io/service-name={name}");
        let mut all: Vec<String> =
            world.get(&what, path).split_whitespace().map(str::to_owned).collect();
        all.sort();
        all
    };
    let pod = world.get("pod/web", "{.status.podIPs[*].ip}");
    let (four, six) = pod.split_once(' ').unwrap();
    let (four, six) = (format!("IPv4={four}"), format!("IPv6={six}"));
    assert_eq!(slices("single").join(" "), four);
    assert_eq!(slices("six").join(" "), six);
    assert_eq!(slices("turned").join(" "), format!("{four} {six}"));
    let endpoints = world.get("endpoints/turned", "{.subsets[*].addresses[*].ip}");
    assert_eq!(endpoints, pod.split_once(' ').unwrap().1, "of the first family");
    // The second address goes with its slice, and is free again.
    let second = world.get("service/require", "{.spec.clusterIPs[1]}");
    world.kubectl(r#"patch service require -p {"spec":{"ipFamilyPolicy":"SingleStack"}}"#).ok();
    eventually("the slices of one family", || match slices("require") {
        left if left.join(" ") == four => Ok(()),
        more => Err(format!("{more:?}")),
    });
    eventually("the released address", || {
        let ran = world.kubectl(&format!("get ipaddress {second}"));
        if ran.status.success() { Err(ran.out) } else { Ok(()) }
    });
    eventually("a refusal", || match page(world, &host(&second)) {
        Err(why) if why.contains("refused") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
