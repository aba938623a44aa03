//! Services as they look from outside of the cluster, and to whom they lead.

use serde_json::json;

use super::world::World;
use crate::guestbook::eventually;
use crate::harness::{AGENT, SERVER};

/// Serves a page, and logs who has asked for it.
const SERVER_SCRIPT: &str = "mkdir /w; hostname > /w/f; echo '<a href=\"/f\">f</a>' > /w/l.html; \
                             httpd -f -vv -p 8080 -h /w";

fn service(world: &World, name: &str, mut spec: serde_json::Value) {
    spec["ports"] = json!([{"port": 80, "targetPort": 8080, "nodePort": spec["nodePort"].take()}]);
    spec.as_object_mut().unwrap().remove("nodePort");
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": spec,
        "metadata": {"name": name}});
    world.cluster.apply(&service.to_string()).ok();
}

/// Asks from the server's machine, which is none of the nodes.
fn curl(world: &World, url: &str) -> Result<String, String> {
    let mut curl = world.cluster.command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "2", url]);
    let ran = world.cluster.machine.finish(&mut curl, "");
    if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
}

/// Waits until the pod has logged a request of this client.
#[track_caller]
fn saw(world: &World, pod: &str, client: &str) {
    let wanted = format!("[::ffff:{client}]:");
    eventually(&format!("{pod} sees {client}"), || {
        match world.kubectl(&format!("logs {pod}")).ok() {
            log if log.contains(&wanted) => Ok(()),
            log => Err(log),
        }
    });
}

#[test]
fn backends_see_who_asks() {
    let world = World::far();
    world.pod("web", SERVER_SCRIPT);
    world.pod("client", "sleep 600");
    let selector = json!({"app": "web"});
    service(&world, "inner", json!({"selector": selector}));
    let nodes = json!({"selector": selector, "type": "NodePort", "nodePort": 30601});
    service(&world, "nodes", nodes);
    let local = json!({"selector": selector, "type": "NodePort", "nodePort": 30602,
        "externalTrafficPolicy": "Local"});
    service(&world, "local", local);

    let page = eventually("the page by name", || {
        let ran = world.kubectl("exec client -- wget -qO- http://inner/f");
        if ran.status.success() { Ok(ran.out) } else { Err(ran.err) }
    });
    assert_eq!(page, "web\n");
    saw(&world, "web", &world.get("pod/client", "{.status.podIP}"));

    // Where the backend is on the node that was asked, it sees the client whatever the policy.
    for port in [30601, 30602] {
        let url = format!("http://{AGENT}:{port}/f");
        assert_eq!(eventually(&url, || curl(&world, &url)), "web\n");
    }
    let ours = format!("[::ffff:{SERVER}]:");
    let answered = |line: &&str| line.starts_with(&ours) && line.ends_with("response:200");
    eventually("both requests in the log", || match world.kubectl("logs web").ok() {
        log if log.lines().filter(answered).count() >= 2 => Ok(()),
        log => Err(log),
    });
    let log = world.kubectl("logs web").ok();
    assert!(!log.contains(&AGENT.to_string()), "{log}");

    // A pod reaches itself through its own service.
    let own = world.kubectl("exec web -- wget -qO- http://inner/f").ok();
    assert_eq!(own, "web\n");
}

#[test]
fn services_follow_their_pods() {
    let world = World::far();
    let pods = json!({"replicas": 2, "selector": {"matchLabels": {"app": "many"}},
        "template": {"metadata": {"labels": {"app": "many"}}, "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "test/busybox:1",
                "command": ["sh", "-c", SERVER_SCRIPT],
                "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]}}});
    let many = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": pods,
        "metadata": {"name": "many"}});
    world.cluster.apply(&many.to_string()).ok();
    let nodes = json!({"selector": {"app": "many"}, "type": "NodePort", "nodePort": 30603});
    service(&world, "many", nodes);
    let url = format!("http://{AGENT}:30603/f");
    // Both are found, and after a scale down only the one that is left.
    let answers = |count: usize| {
        let names: Result<std::collections::BTreeSet<String>, String> =
            (0..12).map(|_| curl(&world, &url)).collect();
        match names {
            Ok(names) if names.len() == count => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    eventually("two backends", || answers(2));
    world.kubectl("scale deployment many --replicas=1").ok();
    eventually("one backend", || answers(1));
    world.kubectl("scale deployment many --replicas=0").ok();
    // Refused at once, rather than left without an answer.
    eventually("a refusal", || match curl(&world, &url) {
        Err(why) if why.starts_with("curl: (7)") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    world.kubectl("delete service many").ok();
    world.kubectl("scale deployment many --replicas=1").ok();
    world.kubectl("rollout status deployment/many --timeout=60s").ok();
    curl(&world, &url).unwrap_err();
}

#[test]
fn pods_and_services_are_proxied() {
    let world = World::far();
    world.pod("web", SERVER_SCRIPT);
    service(&world, "web", json!({"selector": {"app": "web"}}));
    let space = "/api/v1/namespaces/default";
    let ask = |path: &str| world.kubectl(&format!("get --raw {space}/{path}"));
    for path in ["pods/web:8080/proxy/f", "pods/http:web:8080/proxy/f", "services/web:80/proxy/f"] {
        let page = eventually(path, || match ask(path) {
            ran if ran.status.success() => Ok(ran.out),
            ran => Err(ran.err),
        });
        assert_eq!(page, "web\n", "{path}");
    }
    let page = ask("services/web:80/proxy/l.html").ok();
    assert_eq!(page.trim(), format!(r#"<a href="{space}/services/web:80/proxy/f">f</a>"#));
    // kubectl follows to where the page is really.
    let said = world.kubectl(&format!("get --raw {space}/services/web:80/proxy -v 7"));
    assert!(said.err.contains("301 Moved Permanently"), "{}", said.err);
    let said = ask("pods/web:8080/proxy/none").fails();
    assert!(said.contains("the server could not find the requested resource"), "{said}");
    let said = ask("services/web:81/proxy/f").fails();
    assert!(said.contains("no service port \"81\" found for service \"web\""), "{said}");
    let said = ask("pods/none:8080/proxy/f").fails();
    assert!(said.contains("pods \"none\" not found"), "{said}");
}
