//! Certificates by request: asked for, approved, signed, and good for signing in.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::guestbook::eventually;
use crate::harness::{Cluster, PORT, Ran, SERVER};

#[test]
fn what_is_approved_is_signed_and_names_a_user() {
    let cluster = Cluster::start(&["--disable-agent"]);
    a_user(&cluster);
    a_refused_one(&cluster);
    no_request(&cluster);
    a_node(&cluster);
    the_server_s_own_bundle(&cluster);
}

/// A new key of the cluster's folder, and a request for its certificate in PEM.
fn request(cluster: &Cluster, name: &str, subject: &str) -> String {
    let key = key(cluster, name);
    let mut openssl: Command = cluster.command("openssl");
    openssl.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-nodes", "-subj", subject, "-keyout"]).arg(key);
    cluster.machine.finish(&mut openssl, "").ok()
}

fn key(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.path(&format!("{name}.key"))
}

fn manifest(name: &str, pem: &str, signer: &str, usages: &str) -> String {
    let request = STANDARD.encode(pem);
    format!(
        r#"{{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest",
        "metadata":{{"name":"{name}"}},"spec":{{"request":"{request}","usages":[{usages}],
        "signerName":"kubernetes.io/{signer}","expirationSeconds":3600}}}}"#
    )
}

/// Waits until a request's last column says so.
fn becomes(cluster: &Cluster, name: &str, condition: &str) {
    eventually(&format!("{name} is {condition}"), || {
        let row = cluster.kubectl(&format!("get csr {name} --no-headers")).ok();
        if row.trim().ends_with(&format!(" {condition}")) { Ok(()) } else { Err(row) }
    });
}

/// kubectl with the certificate that a request brought.
fn with(cluster: &Cluster, name: &str, words: &str) -> Ran {
    let issued = cluster.kubectl(&format!("get csr {name} -o jsonpath={{.status.certificate}}"));
    let path = cluster.path(&format!("{name}.crt"));
    std::fs::write(&path, STANDARD.decode(issued.ok()).unwrap()).unwrap();
    let mut kubectl: Command = cluster.command("kubectl");
    let authority = cluster.path("data/server/tls/server-ca.crt");
    kubectl.args(["--kubeconfig=/dev/null", &format!("--server=https://{SERVER}:{PORT}")]);
    kubectl.arg(format!("--certificate-authority={}", authority.display()));
    kubectl.arg(format!("--client-certificate={}", path.display()));
    kubectl.arg(format!("--client-key={}", key(cluster, name).display()));
    kubectl.args(words.split_whitespace());
    cluster.machine.finish(&mut kubectl, "")
}

fn a_user(cluster: &Cluster) {
    let pem = request(cluster, "jane", "/O=dev/O=ops/CN=jane");
    let manifest = manifest("jane", &pem, "kube-apiserver-client", r#""client auth""#);
    let said = cluster.apply(&manifest);
    assert_eq!(said.err, "", "no warning");
    said.ok();
    let row = cluster.kubectl("get csr jane --no-headers").ok();
    let cells: Vec<&str> = row.split_whitespace().collect();
    let wanted = ["kubernetes.io/kube-apiserver-client", "system:admin", "60m", "Pending"];
    assert_eq!(cells[2..], wanted, "{row}");
    let said = cluster.kubectl("certificate approve jane").ok();
    assert!(said.contains("certificatesigningrequest.certificates.k8s.io/jane approved"), "{said}");
    becomes(cluster, "jane", "Approved,Issued");
    let me = with(cluster, "jane", "auth whoami -o jsonpath={.status.userInfo}").ok();
    assert!(me.contains(r#""username":"jane""#), "{me}");
    assert!(me.contains(r#""groups":["dev","ops","system:authenticated"]"#), "{me}");
    let time = "-o jsonpath={.status.conditions[0].lastUpdateTime}";
    assert!(cluster.kubectl(&format!("get csr jane {time}")).ok().ends_with('Z'));
    let patch = r#"{"spec":{"signerName":"a.b/c"}}"#;
    cluster.kubectl_with(&["patch", "csr", "jane", "--type=merge", "-p", patch], "").ok();
    let signer = cluster.kubectl("get csr jane -o jsonpath={.spec.signerName}").ok();
    assert_eq!(signer, "kubernetes.io/kube-apiserver-client", "a spec does not change");
}

fn a_refused_one(cluster: &Cluster) {
    let pem = request(cluster, "joe", "/CN=joe");
    cluster.apply(&manifest("joe", &pem, "kube-apiserver-client", r#""client auth""#)).ok();
    cluster.kubectl("certificate deny joe").ok();
    becomes(cluster, "joe", "Denied");
    let both = r#""client auth","server auth""#;
    cluster.apply(&manifest("server", &pem, "kube-apiserver-client", both)).ok();
    cluster.kubectl("certificate approve server").ok();
    becomes(cluster, "server", "Approved,Failed");
    let why = "get csr server -o jsonpath={.status.conditions[?(@.type==\"Failed\")].message}";
    let why = cluster.kubectl(why).ok();
    assert_eq!(why, "invalid usage for client certificate: server auth");
}

fn no_request(cluster: &Cluster) {
    let of = |pem: &str, signer: &str| {
        cluster.apply(&manifest("none", pem, signer, r#""client auth""#)).fails()
    };
    let said = of("none", "kubelet-serving");
    assert!(said.contains("PEM block type must be CERTIFICATE REQUEST"), "{said}");
    let said = of(&request(cluster, "none", "/CN=x"), "legacy-unknown");
    assert!(said.contains("the legacy signerName is not allowed via this API version"), "{said}");
    let said = of(&request(cluster, "none", "/O=system:masters/CN=x"), "kube-apiserver-client");
    assert!(said.contains("signer with system:masters group is not allowed"), "{said}");
}

/// A node gets its own certificate where a role lets it, also by a role that comes later.
fn a_node(cluster: &Cluster) {
    let pem = request(cluster, "n1", "/O=system:nodes/CN=system:node:n1");
    let usages = r#""client auth","digital signature""#;
    let own = manifest("n1", &pem, "kube-apiserver-client-kubelet", usages);
    let as_node = ["create", "-f-", "--as=system:node:n1", "--as-group=system:nodes"];
    cluster.kubectl_with(&as_node, &own).ok();
    let user = cluster.kubectl("get csr n1 -o jsonpath={.spec.username}{.spec.groups}").ok();
    assert_eq!(user, r#"system:node:n1["system:nodes","system:authenticated"]"#);
    becomes(cluster, "n1", "Pending");
    let role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
    let bind = format!("create clusterrolebinding n --clusterrole={role} --group=system:nodes");
    cluster.kubectl(&bind).ok();
    becomes(cluster, "n1", "Approved,Issued");
    let me = with(cluster, "n1", "auth whoami -o jsonpath={.status.userInfo.username}").ok();
    assert_eq!(me, "system:node:n1");
}

fn the_server_s_own_bundle(cluster: &Cluster) {
    let of_signer = "--field-selector=spec.signerName=kubernetes.io/kube-apiserver-serving";
    let bundle = "-o jsonpath={.items[*].spec.trustBundle}";
    let bundle = cluster.kubectl(&format!("get clustertrustbundles {of_signer} {bundle}")).ok();
    let authority = cluster.path("data/server/tls/server-ca.crt");
    assert_eq!(bundle, std::fs::read_to_string(authority).unwrap());
}
