//! An application on a machine that has joined: seen through the API server, and while either side
//! is away.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::world::World;
use crate::guestbook::{IMAGES, eventually, example};
use crate::harness::{AGENT, Cluster, Machine, PORT, SERVER};

/// Every container of the namespace and how often it was restarted.
const CONTAINERS: &str =
    r#"{range .items[*].status.containerStatuses[*]}{.containerID} {.restartCount}{"\n"}{end}"#;

/// The guestbook on the agent's machine.
fn guestbook() -> World {
    let world = World::far();
    for name in ["guestbook-web.tar", "guestbook-redis.tar"] {
        world.import(IMAGES.join(name).to_str().unwrap());
    }
    let manifest = example("guestbook/guestbook.yaml");
    world.kubectl(&format!("apply -f {}", manifest.display())).ok();
    for deployment in ["guestbook-redis", "guestbook"] {
        world.kubectl(&format!("rollout status deployment/{deployment} --timeout=60s")).ok();
    }
    world
}

fn curl(cluster: &Cluster, machine: &Machine, url: &str) -> Result<String, String> {
    let mut curl = cluster.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "5", url]);
    let ran = machine.finish(&mut curl, "");
    if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
}

/// The page, by cluster address from the node and by node port from elsewhere.
#[track_caller]
fn answers(world: &World, title: &str) {
    let cluster = &world.cluster;
    let service = world.get("service/guestbook", "{.spec.clusterIP}");
    let ways = [
        (&cluster.other, format!("http://{service}")),
        (&cluster.other, format!("http://{AGENT}:30080")),
        (&cluster.machine, format!("http://{AGENT}:30080")),
    ];
    for (machine, url) in ways {
        let title = format!("<h1>{title}</h1>");
        eventually(&url, || match curl(cluster, machine, &url)? {
            page if page.contains(&title) => Ok(()),
            page => Err(page),
        });
    }
}

/// What Redis says to who does not know the password.
fn ping(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((address, 6379))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"PING\r\n")?;
    let mut said = String::new();
    BufReader::new(stream).read_line(&mut said)?;
    Ok(said)
}

#[test]
fn an_application_runs_where_an_agent_has_joined() {
    let world = guestbook();
    answers(&world, "The guestbook");
    let name = "exec deployment/guestbook -- wget -qO- http://guestbook.default.svc.cluster.local";
    let page = eventually("the page by name", || {
        let ran = world.kubectl(name);
        if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
    });
    assert!(page.contains("<h1>The guestbook</h1>"), "{page}");

    let log = world.kubectl("logs deployment/guestbook-redis").ok();
    assert!(log.contains("Ready to accept connections"), "{log}");
    let file = world.cluster.path("carried");
    fs::write(&file, "there and back").unwrap();
    let pod = world.get("pod -l tier=backend", "{.items[0].metadata.name}");
    world.kubectl(&format!("cp {} {pod}:/tmp/carried", file.display())).ok();
    let back = world.cluster.path("back");
    world.kubectl(&format!("cp {pod}:/tmp/carried {}", back.display())).ok();
    assert_eq!(fs::read_to_string(back).unwrap(), "there and back");

    world.kubectl("set env deployment/guestbook TITLE=Another").ok();
    world.kubectl("rollout status deployment/guestbook --timeout=60s").ok();
    answers(&world, "Another");
    world.kubectl("rollout undo deployment/guestbook").ok();
    world.kubectl("rollout status deployment/guestbook --timeout=60s").ok();
    answers(&world, "The guestbook");
}

#[test]
fn an_application_outlives_its_server_and_its_agent() {
    let mut world = guestbook();
    let containers = |world: &World| world.get("pods", CONTAINERS);
    let before = containers(&world);
    assert_eq!(before.lines().count(), 3, "{before}");

    world.cluster.kill();
    let url = format!("http://{AGENT}:30080");
    let page = curl(&world.cluster, &world.cluster.other, &url).unwrap();
    assert!(page.contains("<h1>The guestbook</h1>"), "{page}");
    world.cluster.go();
    // What is asked for from now on is done: the agent has found the server again.
    world.pod("late", "echo here; sleep 600");
    assert_eq!(world.kubectl("logs late").ok(), "here\n");
    world.kubectl("delete pod late").ok();
    answers(&world, "The guestbook");
    assert_eq!(containers(&world), before);

    let redis = world.get("service/guestbook-redis", "{.spec.clusterIP}");
    world.agent.as_mut().unwrap().kill();
    // Names are the agent's to answer, but addresses lead on.
    let said = world.cluster.other.run(|| ping(&redis)).unwrap();
    assert!(said.starts_with("-NOAUTH"), "{said}");
    world.agent = Some(world.cluster.join(&world.cluster.token()));
    world.pod("later", "echo here; sleep 600");
    let in_an_old_one = "exec deployment/guestbook -- echo adopted";
    assert_eq!(world.kubectl(in_an_old_one).ok(), "adopted\n");
    world.kubectl("delete pod later").ok();
    assert_eq!(containers(&world), before);
    answers(&world, "The guestbook");
    // Containers are adopted in earnest: one that ends is seen to, and comes again.
    world.kubectl("exec deployment/guestbook-redis -- kill 1").ok();
    let restarted = || match containers(&world) {
        now if now.contains(" 1\n") => Ok(()),
        now => Err(now),
    };
    eventually("a restart", restarted);
}

#[test]
fn certificates_open_only_the_doors_that_they_are_for() {
    let world = World::far();
    world.kubectl("create secret generic used --from-literal=a=b").ok();
    world.kubectl("create secret generic other --from-literal=a=b").ok();
    let from = serde_json::json!({"secretRef": {"name": "used"}});
    let container = serde_json::json!({"name": "main", "image": "test/busybox:1",
        "command": ["sleep", "600"], "envFrom": [from]});
    world.run("user", serde_json::json!({"containers": [container]}));

    let membership = fs::read(world.cluster.path("agent-data/agent/membership.json")).unwrap();
    let membership: Value = serde_json::from_slice(&membership).unwrap();
    let (certificate, key) = (world.cluster.path("node.crt"), world.cluster.path("node.key"));
    let granted = membership["grant"]["clientCertificate"].as_str().unwrap();
    fs::write(&certificate, granted).unwrap();
    fs::write(&key, membership["key"].as_str().unwrap()).unwrap();
    let ask = |identity: bool, url: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--max-time", "5", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_code}", url]);
        if identity {
            curl.arg("--cert").arg(&certificate).arg("--key").arg(&key);
        }
        world.cluster.machine.finish(&mut curl, "").out
    };
    let of_api = |path: &str| ask(true, &format!("https://{SERVER}:{PORT}{path}"));
    let secrets = "/api/v1/namespaces/default/secrets";
    assert_eq!(of_api(&format!("{secrets}/used")), "200");
    assert_eq!(of_api(&format!("{secrets}/other")), "403");
    assert_eq!(of_api(secrets), "403");
    assert_eq!(of_api("/api/v1/pods"), "403");
    assert_eq!(of_api("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-2"), "200");

    // The node's own port is for the API server alone.
    for path in ["/pods", "/exec/default/user/main?command=id", "/containerLogs/default/user/main"]
    {
        let url = format!("https://{AGENT}:10250{path}");
        assert_eq!(ask(false, &url), "401", "{path}");
        assert_eq!(ask(true, &url), "403", "{path}");
    }
}

/// Takes as long as a node may be silent: some fifty seconds.
#[test]
fn pods_leave_a_node_that_stays_away() {
    let mut world = World::far();
    world.pod("stays", "sleep 600");
    let container = serde_json::json!({"name": "main", "image": "test/busybox:1",
        "command": ["sleep", "600"]});
    let tolerates = serde_json::json!({"key": "node.kubernetes.io/unreachable",
        "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    world.run("leaves", serde_json::json!({"containers": [container], "tolerations": [tolerates]}));
    world.agent.as_mut().unwrap().kill();
    world.kubectl("wait --for=condition=Ready=Unknown node/node-2 --timeout=90s").ok();
    let taints = r#"{range .spec.taints[*]}{.key}:{.effect}{"\n"}{end}"#;
    let tainted = || match world.get("node/node-2", taints) {
        taints if taints.contains("node.kubernetes.io/unreachable:NoExecute\n") => Ok(()),
        taints => Err(taints),
    };
    eventually("taints", tainted);
    let path = "{.metadata.deletionTimestamp}";
    let evicted = || match world.get("pod/leaves", path).is_empty() {
        true => Err("it is not being deleted".to_owned()),
        false => Ok(()),
    };
    eventually("the eviction", evicted);
    assert_eq!(world.get("pod/stays", path), "");
    let ready = "{.status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(world.get("pod/stays", ready), "False");
    let events = world.kubectl("get events --field-selector reason=TaintManagerEviction").ok();
    assert!(events.contains("Marking for deletion Pod default/leaves"), "{events}");

    world.agent = Some(world.cluster.join(&world.cluster.token()));
    world.kubectl("wait --for=condition=Ready node/node-2 --timeout=60s").ok();
    world.kubectl("wait --for=delete pod/leaves --timeout=60s").ok();
    world.kubectl("wait --for=condition=Ready pod/stays --timeout=60s").ok();
    assert_eq!(world.get("pod/stays", "{.status.containerStatuses[0].restartCount}"), "0");
    let free = || match world.get("node/node-2", taints) {
        taints if taints.is_empty() => Ok(()),
        taints => Err(taints),
    };
    eventually("no taints", free);
    for reason in ["NodeReady", "NodeNotReady"] {
        let events = world.kubectl(&format!("get events --field-selector reason={reason}")).ok();
        let said = format!("Node node-2 status is now: {reason}");
        assert!(events.contains(&said), "{events}");
    }
}
