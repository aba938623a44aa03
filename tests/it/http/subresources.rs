//! Subresources that are neither a status nor a scale, and what is posted to be answered.

use rk::api::tree::Value;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::Wire;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[test]
fn what_is_posted_acts_on_what_it_names() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("wait --for=create sa/default --timeout=60s").ok();
    let wire = Wire::new(&cluster);
    bindings(&wire);
    ephemeral_containers(&wire);
    finalizing(&wire);
    local_reviews(&wire);
}

/// A pod that nothing places.
fn pod(wire: &Wire<'_>, name: &str) -> Value {
    let text = format!(
        r#"{{"metadata":{{"name":"{name}"}},"spec":{{"schedulerName":"none",
        "containers":[{{"name":"c","image":"x"}}]}}}}"#
    );
    wire.post(PODS, &text).ok()
}

/// Pods are placed by a binding, under their own path or that of all bindings, once.
fn bindings(wire: &Wire<'_>) {
    wire.post("/api/v1/nodes", r#"{"metadata":{"name":"n1"}}"#).ok();
    let to = |pod: &str, node: &str| {
        format!(
            r#"{{"metadata":{{"name":"{pod}","annotations":{{"by":"test"}}}},
            "target":{{"kind":"Node","name":"{node}"}}}}"#
        )
    };
    for (name, path) in
        [("one", format!("{PODS}/one/binding")), ("two", format!("{PODS}/../bindings"))]
    {
        pod(wire, name);
        let path = path.replace("pods/../", "");
        let answer = wire.post(&path, &to(name, "n1"));
        assert_eq!((answer.code, answer.ok().get("status").str()), (201, "Success"));
        let bound = wire.get(&format!("{PODS}/{name}")).ok();
        assert_eq!(bound.at(&["spec", "nodeName"]).str(), "n1");
        assert_eq!(bound.at(&["metadata", "annotations", "by"]).str(), "test");
        let said = wire.post(&path, &to(name, "n2")).refused(409, "Conflict");
        assert!(
            said.ends_with(&format!("pod {name} is already assigned to node \"n1\"")),
            "{said}"
        );
    }
    let said = wire.post(&format!("{PODS}/none/binding"), &to("none", "n1"));
    assert_eq!(said.refused(404, "NotFound"), "pods \"none\" not found");
    let nowhere = to("one", "");
    let said = wire.post(&format!("{PODS}/one/binding"), &nowhere).refused(422, "Invalid");
    assert!(said.ends_with("target.name: Required value"), "{said}");
}

/// Containers for looking into a pod are added, and nothing else is changed by their path.
fn ephemeral_containers(wire: &Wire<'_>) {
    pod(wire, "looked-at");
    let path = format!("{PODS}/looked-at/ephemeralcontainers");
    assert_eq!(wire.get(&path).ok().get("kind").str(), "Pod");
    let added = |name: &str, more: &str| {
        let body = format!(
            r#"{{"spec":{{"ephemeralContainers":[{{"name":"{name}","image":"x"{more}}}]}}}}"#
        );
        wire.send("PATCH", &path, "application/strategic-merge-patch+json", body.as_bytes())
    };
    let first = added("look", r#","targetContainerName":"c""#).ok();
    let list = first.at(&["spec", "ephemeralContainers"]).items();
    assert_eq!((list.len(), list[0].get("name").str()), (1, "look"));
    assert_eq!(list[0].get("terminationMessagePolicy").str(), "File", "defaults apply");
    assert_eq!(added("again", "").ok().at(&["spec", "ephemeralContainers"]).items().len(), 2);
    let said = added("look", r#","command":["other"]"#).refused(422, "Invalid");
    assert!(said.contains("existing ephemeral containers \"look\" may not be changed"), "{said}");
    let said = added("wrong", r#","ports":[{"containerPort":80}]"#).refused(422, "Invalid");
    assert!(said.contains("ephemeralContainers[0].ports: Forbidden"), "{said}");
    let said = added("c", "").refused(422, "Invalid");
    assert!(said.contains("Duplicate value: \"c\""), "{said}");
    let label = r#"{"metadata":{"labels":{"sneaked":"in"}}}"#;
    let told = wire.merge(&path, label).ok();
    assert!(told.at(&["metadata", "labels", "sneaked"]).is_null(), "{told}");
}

/// What holds a namespace is taken off by its own path only.
fn finalizing(wire: &Wire<'_>) {
    let spaces = "/api/v1/namespaces";
    let made = wire
        .post(spaces, r#"{"metadata":{"name":"held"},"spec":{"finalizers":["example.com/mine"]}}"#)
        .ok();
    let held = |of: &Value| of.at(&["spec", "finalizers"]).to_string();
    assert_eq!(held(&made), r#"["example.com/mine","kubernetes"]"#);
    let one = format!("{spaces}/held");
    wire.delete(&one, "{}").ok();
    // The controller may write in between, so each attempt is on what there is now.
    let emptied = |path: &str| {
        eventually(path, || {
            let mut now = wire.get(&one).ok();
            if held(&now) != r#"["example.com/mine"]"# {
                return Err(format!("not emptied yet: {now}"));
            }
            now.entry("spec").set("finalizers", Vec::<Value>::new());
            match wire.put(path, &now.to_string()) {
                reply if reply.code == 200 => Ok(reply.ok()),
                reply => Err(reply.text()),
            }
        })
    };
    assert_eq!(held(&emptied(&one)), r#"["example.com/mine"]"#, "by its own path only");
    emptied(&format!("{one}/finalize"));
    wire.get(&one).refused(404, "NotFound");
}

/// What somebody may do in one namespace.
fn local_reviews(wire: &Wire<'_>) {
    let path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    let of = |namespace: &str| {
        format!(
            r#"{{"spec":{{"user":"u","groups":["system:masters"],
            "resourceAttributes":{{"namespace":"{namespace}","verb":"get","resource":"pods"}}}}}}"#
        )
    };
    let answer = wire.post(path, &of("default")).ok();
    assert_eq!(answer.at(&["status", "allowed"]), &true.into());
    let said = wire.post(path, &of("other")).refused(422, "Invalid");
    assert!(said.contains("spec.resourceAttributes.namespace"), "{said}");
}
