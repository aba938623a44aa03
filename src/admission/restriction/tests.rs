//! What a node may write, and in which words it is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::admission::tests::{Ask, World, world};
use crate::auth::UserInfo;

/// A request of the node `n1`.
fn ask<'a>(operation: Operation, what: (&'a str, &'a str, &'a str)) -> Ask<'a> {
    Ask { operation, what, user: UserInfo::node("n1"), ..Ask::create("", "a") }
}

/// Why a creation by the node is refused; empty where it is not.
fn made(world: &World, what: (&str, &str, &str), json: &str) -> String {
    let made = world.mutate(&ask(Operation::Create, what), json);
    made.err().map(|status| status.message).unwrap_or_default()
}

/// The same of an update.
fn updated(world: &World, what: (&str, &str, &str), old: &str, new: &str) -> String {
    let old = Value::parse(old.as_bytes()).unwrap();
    let name = old.name().to_owned();
    let ask = Ask { old: Some(&old), name: &name, ..ask(Operation::Update, what) };
    world.mutate(&ask, new).err().map(|status| status.message).unwrap_or_default()
}

#[test]
fn a_node_writes_its_own_node_only() {
    let world = world();
    let nodes = ("", "nodes", "");
    let user = UserInfo::node("n1");
    let as_node = |plural, namespace| Ask { user: user.clone(), ..Ask::create(plural, namespace) };
    assert!(world.mutate(&as_node("nodes", ""), r#"{"metadata":{"name":"n1"}}"#).is_ok());
    assert_eq!(
        world.refusal(&as_node("nodes", ""), r#"{"metadata":{"name":"n2"}}"#),
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\""
    );
    let role = r#"{"metadata":{"name":"n1","labels":{"node-role.kubernetes.io/x":""}}}"#;
    let said = made(&world, nodes, role);
    assert!(said.contains("is not allowed to set the following labels: node-role"), "{said}");
    let label = r#"{"metadata":{"name":"n1","labels":{"kubernetes.io/os":"linux","mine":"x"}}}"#;
    assert_eq!(made(&world, nodes, label), "");
    let plain = r#"{"metadata":{"name":"n1"}}"#;
    let said = updated(&world, nodes, plain, role);
    assert!(said.ends_with("is not allowed to modify labels: node-role.kubernetes.io/x"), "{said}");
    let taints = r#"{"metadata":{"name":"n1"},"spec":{"taints":[{"key":"x"}]}}"#;
    assert!(updated(&world, nodes, plain, taints).contains("is not allowed to modify taints"));
    let owned = r#"{"metadata":{"name":"n1","ownerReferences":[{"name":"x"}]}}"#;
    let said = updated(&world, nodes, plain, owned);
    assert!(said.contains("is not allowed to modify ownerReferences"), "{said}");
    let config = r#"{"metadata":{"name":"n1"},"spec":{"configSource":{"configMap":{}}}}"#;
    assert!(made(&world, nodes, config).contains("with a non-nil configSource"));
    assert!(updated(&world, nodes, plain, config).contains("to a new non-nil configSource"));
}

#[test]
fn a_node_makes_mirrors_that_need_nothing() {
    let world = world();
    world.put("nodes", r#"{"metadata":{"name":"n1","uid":"u1"}}"#);
    let pod = |metadata: &str, spec: &str| {
        let mirror = r#""annotations":{"kubernetes.io/config.mirror":"x"}"#;
        let json = format!(
            r#"{{"metadata":{{"name":"p","namespace":"a",{mirror}{metadata}}},
            "spec":{{"nodeName":"n1"{spec}}}}}"#
        );
        made(&world, ("", "pods", ""), &json)
    };
    let owner = |rest: &str| {
        format!(r#","ownerReferences":[{{"apiVersion":"v1","kind":"Node","name":"n1"{rest}}}]"#)
    };
    let own = owner(r#","uid":"u1","controller":true"#);
    assert_eq!(pod(&own, ""), "");
    assert_eq!(pod(&own, r#","volumes":[{"name":"v","hostPath":{"path":"/"}}]"#), "");
    assert!(pod("", "").contains("can only create pods with an owner reference set to itself"));
    assert!(pod(&owner(r#","uid":"u1""#), "").contains("with a controller owner reference"));
    let said = pod(&owner(r#","uid":"u2","controller":true"#), "");
    assert!(said.ends_with("node n1 UID mismatch: expected u2 got u1"), "{said}");
    let blocks = owner(r#","uid":"u1","controller":true,"blockOwnerDeletion":true"#);
    assert!(pod(&blocks, "").contains("must not set blockOwnerDeletion"));
    for (spec, what) in [
        (r#","imagePullSecrets":[{"name":"s"}]"#, "secrets"),
        (r#","resourceClaims":[{"name":"c"}]"#, "resourceclaims"),
        (r#","volumes":[{"persistentVolumeClaim":{"claimName":"c"}}]"#, "persistentvolumeclaims"),
        (r#","volumes":[{"csi":{"driver":"d"}}]"#, "csidrivers (via CSI volumes)"),
        (r#","volumes":[{"projected":{"sources":[{"podCertificate":{}}]}}]"#, "podcertificates"),
    ] {
        let said = pod(&own, spec);
        let wanted = format!("node \"n1\" can not create pods that reference {what}");
        assert!(said.ends_with(&wanted), "{said}");
    }
    let other = r#"{"metadata":{"name":"p","namespace":"a"},"spec":{"nodeName":"n1"}}"#;
    assert!(made(&world, ("", "pods", ""), other).contains("can only create mirror pods"));
    let binding = made(&world, ("", "pods", "binding"), other);
    assert!(binding.contains("unexpected pod subresource \"binding\""), "{binding}");
}

#[test]
fn a_node_reports_on_its_own_pods() {
    let world = world();
    let of = |node: &str, rest: &str| {
        format!(
            r#"{{"metadata":{{"name":"p","namespace":"a"}},"spec":{{"nodeName":"{node}"}}{rest}}}"#
        )
    };
    let status = ("", "pods", "status");
    assert_eq!(updated(&world, status, &of("n1", ""), &of("n1", "")), "");
    let said = updated(&world, status, &of("n2", ""), &of("n2", ""));
    assert!(said.contains("for pods with spec.nodeName set to itself"), "{said}");
    let labelled = r#"{"metadata":{"name":"p","labels":{"x":"y"}},"spec":{"nodeName":"n1"}}"#;
    assert!(updated(&world, status, &of("n1", ""), labelled).contains("cannot update labels"));
    let claims = r#","status":{"resourceClaimStatuses":[{"name":"c","resourceClaimName":"x"}]}"#;
    let said = updated(&world, status, &of("n1", ""), &of("n1", claims));
    assert!(said.ends_with("node \"n1\" cannot update resource claim statues"), "{said}");
}

#[test]
fn a_node_s_tokens_are_for_what_its_own_pods_want() {
    let world = world();
    let pod = r#"{"metadata":{"name":"p","namespace":"a","uid":"u"},"spec":{"nodeName":"n1",
        "volumes":[{"projected":{"sources":[{"serviceAccountToken":{"path":"t"}},
                                            {"serviceAccountToken":{"audience":"vault"}}]}},
                   {"csi":{"driver":"d"}}]}}"#;
    world.put("pods", pod);
    let driver = r#"{"metadata":{"name":"d"},"spec":{"tokenRequests":[{"audience":"csi"}]}}"#;
    world.put("csidrivers.storage.k8s.io", driver);
    let ask = |node: &str, bound: &str, audiences: &str| {
        let ask = Ask {
            user: UserInfo::node(node),
            what: ("", "serviceaccounts", "token"),
            name: "default",
            ..Ask::create("serviceaccounts", "a")
        };
        let spec = format!(r#"{{"boundObjectRef":{bound},"audiences":[{audiences}]}}"#);
        let asked = world.mutate(&ask, &format!(r#"{{"spec":{spec}}}"#));
        asked.err().map(|status| status.message).unwrap_or_default()
    };
    let bound = r#"{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}"#;
    for audience in ["", r#""vault""#, r#""csi""#] {
        assert_eq!(ask("n1", bound, audience), "", "{audience}");
    }
    let said = ask("n1", bound, r#""other""#);
    let wanted = "system:node:n1 is not authorized to request tokens for audience \"other\"";
    assert!(said.ends_with(wanted), "{said}");
    assert!(ask("n1", bound, r#""a","b""#).ends_with("may only request 0 or 1 audiences"));
    assert!(ask("n2", bound, "").contains("scheduled on a different node"));
    assert!(ask("n1", "null", "").contains("not bound to a pod"));
    let without_uid = r#"{"apiVersion":"v1","kind":"Pod","name":"p"}"#;
    assert!(ask("n1", without_uid, "").contains("without a uid"));
}

#[test]
fn a_node_tells_the_size_of_a_claim_and_no_more() {
    let world = world();
    let claim = |status: &str, labels: &str| {
        format!(r#"{{"metadata":{{"name":"c","namespace":"a"{labels}}},"status":{{{status}}}}}"#)
    };
    let status = ("", "persistentvolumeclaims", "status");
    let old = claim(r#""phase":"Bound""#, "");
    let grown = claim(r#""phase":"Bound","capacity":{"storage":"2Gi"}"#, "");
    assert_eq!(updated(&world, status, &old, &grown), "");
    let lost = claim(r#""phase":"Lost""#, "");
    let said = updated(&world, status, &old, &lost);
    assert!(said.contains("other than status.quantity and status.conditions"), "{said}");
    let labelled = claim(r#""phase":"Bound""#, r#","labels":{"x":"y"}"#);
    assert!(!updated(&world, status, &old, &labelled).is_empty());
    let said = updated(&world, ("", "persistentvolumeclaims", ""), &old, &old);
    assert!(said.ends_with("may only update PVC status"), "{said}");
}

#[test]
fn a_node_s_devices_and_certificates_are_its_own() {
    let world = world();
    let slices = ("resource.k8s.io", "resourceslices", "");
    let slice =
        |node: &str| format!(r#"{{"metadata":{{"name":"s"}},"spec":{{"nodeName":"{node}"}}}}"#);
    assert_eq!(made(&world, slices, &slice("n1")), "");
    assert!(made(&world, slices, &slice("n2")).contains("can only create ResourceSlice with the"));
    let request = |name: &str, signer: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = STANDARD.encode(pem);
        let json = format!(
            r#"{{"metadata":{{"name":"r"}},"spec":{{"signerName":"{signer}",
            "request":"{request}"}}}}"#
        );
        made(&world, ("certificates.k8s.io", "certificatesigningrequests", ""), &json)
    };
    let signer = "kubernetes.io/kubelet-serving";
    assert_eq!(request("system:node:n1", signer), "");
    assert_eq!(request("jane", "example.com/x"), "");
    let said = request("system:node:n2", signer);
    assert!(said.ends_with("can only create a node CSR with CN=system:node:n1"), "{said}");
}

#[test]
fn a_node_asks_for_its_pods_certificates() {
    let world = world();
    world.put("nodes", r#"{"metadata":{"name":"n1","uid":"u1"}}"#);
    world.put("serviceaccounts", r#"{"metadata":{"name":"s","namespace":"a","uid":"u3"}}"#);
    let pod = r#"{"metadata":{"name":"p","namespace":"a","uid":"u2"},"spec":{"nodeName":"n1",
        "serviceAccountName":"s","volumes":[{"projected":{"sources":[
        {"podCertificate":{"signerName":"a.b/c"}}]}}]}}"#;
    world.put("pods", pod);
    let good = r#"{"metadata":{"name":"r"},"spec":{"signerName":"a.b/c","nodeName":"n1",
        "nodeUID":"u1","podName":"p","podUID":"u2","serviceAccountName":"s",
        "serviceAccountUID":"u3"}}"#;
    let what = ("certificates.k8s.io", "podcertificaterequests", "");
    assert_eq!(made(&world, what, good), "");
    for (from, to, wanted) in [
        ("\"n1\"", "\"n2\"", "which is not the requesting node \"n1\""),
        ("u1", "u9", "inconsistent with the running node (\"u1\")"),
        ("\"p\"", "\"q\"", "while retrieving pod \"a/q\" named in the PodCertificateRequest"),
        ("u2", "u9", "which differs from running pod \"u2\""),
        ("\"s\"", "\"t\"", "that differs from running pod (\"s\")"),
        ("u3", "u9", "which differs from the running service account (\"u3\")"),
        ("a.b/c", "a.b/d", "does not mount a podCertificate projected volume for signer"),
    ] {
        let said = made(&world, what, &good.replace(from, to));
        assert!(said.contains(wanted), "{wanted}\n{said}");
    }
    let status = ("certificates.k8s.io", "podcertificaterequests", "status");
    assert!(updated(&world, status, good, good).contains("unexpected subresource status"));
}
