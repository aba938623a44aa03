//! What a node may read and write of what names it, as kubectl sees it in a node's name.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rk::api::time;
use rk::util::clock::{self, Wall};
use serde_json::json;

use crate::harness::{Cluster, Ran};

/// What there is for nodes to see.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: n1}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: a}
spec: {attacher: x, nodeName: n1, source: {persistentVolumeName: v}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  nodeName: n1
  serviceAccountName: web
  containers: [{name: c, image: none}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: signer}
rules:
- verbs: [request-serviceaccounts-podcertificate-signer]
  apiGroups: [certificates.k8s.io]
  resources: ["example.com:s"]
"#;

#[test]
fn nodes_have_what_names_them() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.apply(OBJECTS).ok();
    attachments(&cluster);
    slices(&cluster);
    certificates_of_pods(&cluster);
}

fn as_node(cluster: &Cluster, node: &str, words: &str, input: &str) -> Ran {
    let user = [format!("--as=system:node:{node}"), "--as-group=system:nodes".to_owned()];
    let words: Vec<&str> = words.split(' ').chain(user.iter().map(String::as_str)).collect();
    cluster.kubectl_with(&words, input)
}

fn attachments(cluster: &Cluster) {
    as_node(cluster, "n1", "get volumeattachment a", "").ok();
    let said = as_node(cluster, "n2", "get volumeattachment a", "").fails();
    assert!(said.contains("no relationship found between node 'n2' and this object"), "{said}");
    let said = as_node(cluster, "n1", "get volumeattachments", "").fails();
    assert!(said.contains("can only get individual resources of this type"), "{said}");
    as_node(cluster, "n1", "get serviceaccount web", "").ok();
    as_node(cluster, "n2", "get serviceaccount web", "").fails();
}

fn slices(cluster: &Cluster) {
    let slice = |node: &str| {
        let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
        json!({
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": "s"},
            "spec": {"driver": "x.com", "nodeName": node, "pool": pool},
        })
        .to_string()
    };
    let said = as_node(cluster, "n1", "create -f-", &slice("n2")).fails();
    let wanted = "can only create ResourceSlice with the same NodeName as the requesting node";
    assert!(said.contains(wanted), "{said}");
    as_node(cluster, "n1", "create -f-", &slice("n1")).ok();
    as_node(cluster, "n1", "get resourceslices --field-selector=spec.nodeName=n1", "").ok();
    let said = as_node(cluster, "n1", "get resourceslices", "").fails();
    assert!(said.contains("resourceslices with nodeName field selector"), "{said}");
    as_node(cluster, "n2", "delete resourceslice s", "").fails();
    as_node(cluster, "n1", "delete resourceslice s", "").ok();
}

fn uid(cluster: &Cluster, what: &str) -> String {
    cluster.kubectl(&format!("get {what} -o jsonpath={{.metadata.uid}}")).ok()
}

/// A node asks for a certificate of its pod, and a signer gives it.
fn certificates_of_pods(cluster: &Cluster) {
    let key = KeyPair::generate().unwrap();
    let stub = CertificateParams::default().serialize_request(&key).unwrap();
    let request = |node: &str| {
        json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "PodCertificateRequest",
            "metadata": {"name": "r"},
            "spec": {
                "signerName": "example.com/s",
                "podName": "p",
                "podUID": uid(cluster, "pod p"),
                "serviceAccountName": "web",
                "serviceAccountUID": uid(cluster, "serviceaccount web"),
                "nodeName": node,
                "nodeUID": uid(cluster, "node n1"),
                "stubPKCS10Request": STANDARD.encode(stub.der()),
            },
        })
        .to_string()
    };
    let said = as_node(cluster, "n2", "create -f-", &request("n1")).fails();
    assert!(said.contains("which is not the requesting node \"n2\""), "{said}");
    let said = as_node(cluster, "n1", "create -f-", &request("n1")).fails();
    assert!(said.contains("does not mount a podCertificate projected volume"), "{said}");
    cluster.kubectl("create clusterrolebinding s --clusterrole=signer --group=system:nodes").ok();
    as_node(cluster, "n1", "create -f-", &request("n1")).ok();
    let row = cluster.kubectl("get podcertificaterequest r --no-headers").ok();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["r", "p", "web", "n1", "example.com/s", "Pending", "<none>"], "{row}");
    as_node(cluster, "n1", "get podcertificaterequest r", "").ok();
    as_node(cluster, "n2", "get podcertificaterequest r", "").fails();
    let status = issued(&key);
    let patch = ["patch", "podcertificaterequest", "r", "--subresource=status", "--type=merge"];
    let patch = |who: &[&str]| {
        let words = [&patch[..], &["-p", &status], who].concat();
        cluster.kubectl_with(&words, "")
    };
    as_node(cluster, "n1", "get podcertificaterequest r --subresource=status", "").fails();
    cluster.kubectl("create clusterrolebinding jane --clusterrole=signing --user=jane").ok();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "signing"},
        "rules": [{
            "verbs": ["get", "patch"],
            "apiGroups": ["certificates.k8s.io"],
            "resources": ["podcertificaterequests", "podcertificaterequests/status"],
        }],
    });
    cluster.apply(&role.to_string()).ok();
    let said = patch(&["--as=jane"]).fails();
    assert!(said.contains("\"jane\" is not permitted to \"sign\" for signer"), "{said}");
    patch(&[]).ok();
    let row = cluster.kubectl("get podcertificaterequest r --no-headers").ok();
    assert!(row.contains(" Issued "), "{row}");
    let again = ["--subresource=status", "--type=merge", "-p", r#"{"status":{"notAfter":null}}"#];
    let words = [&["patch", "podcertificaterequest", "r"][..], &again].concat();
    let said = cluster.kubectl_with(&words, "").fails();
    assert!(said.contains("immutable after PodCertificateRequest is issued"), "{said}");
}

/// The status of a request that brought a certificate for an hour from now on.
fn issued(key: &KeyPair) -> String {
    let now = Wall::from_seconds(clock::now().seconds());
    let hour = Duration::from_secs(3600);
    let begin =
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.seconds().try_into().unwrap());
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (begin, begin + hour);
    json!({
        "status": {
            "certificateChain": params.self_signed(key).unwrap().pem(),
            "notBefore": time::format(now),
            "notAfter": time::format(now.after(hour)),
            "beginRefreshAt": time::format(now.after(hour / 2)),
            "conditions": [{
                "type": "Issued",
                "status": "True",
                "reason": "Test",
                "lastTransitionTime": time::format(now),
            }],
        },
    })
    .to_string()
}
