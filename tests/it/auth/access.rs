//! Certificates, tokens, roles and impersonation against a real server.

use std::process::Command;

use rk::pki::{Authority, Pki, Profile};

use crate::harness::{Cluster, PORT, Ran, SERVER};

/// kubectl without the administrator's certificate.
pub fn bare(cluster: &Cluster, words: &str) -> Ran {
    let mut kubectl: Command = cluster.command("kubectl");
    let authority = cluster.path("data/server/tls/server-ca.crt");
    kubectl.args(["--kubeconfig=/dev/null", &format!("--server=https://{SERVER}:{PORT}")]);
    kubectl.arg(format!("--certificate-authority={}", authority.display()));
    kubectl.args(words.split_whitespace());
    cluster.machine.finish(&mut kubectl, "")
}

#[test]
fn roles_tokens_and_impersonation() {
    let cluster = Cluster::start(&["--disable-agent"]);
    who_am_i(&cluster);
    without_credentials(&cluster);
    proxies(&cluster);
    roles(&cluster);
    service_accounts(&cluster);
    escalation(&cluster);
    namespaces(&cluster);
}

fn who_am_i(cluster: &Cluster) {
    let me = cluster.kubectl("auth whoami -o jsonpath={.status.userInfo}").ok();
    assert!(me.contains("\"system:admin\"") && me.contains("\"system:masters\""), "{me}");
    assert_eq!(cluster.kubectl("auth can-i delete nodes").ok().trim(), "yes");
}

/// What a request without any credentials is answered; kubectl would ask for a password.
fn anonymous(cluster: &Cluster, path: &str) -> String {
    let authority = cluster.path("data/server/tls/server-ca.crt");
    let mut curl = cluster.command("curl");
    curl.args(["-sS", "--cacert"]).arg(authority);
    curl.arg(format!("https://{SERVER}:{PORT}{path}"));
    cluster.machine.finish(&mut curl, "").ok()
}

fn without_credentials(cluster: &Cluster) {
    assert_eq!(anonymous(cluster, "/readyz"), "ok");
    assert!(anonymous(cluster, "/version").contains("gitVersion"));
    assert!(anonymous(cluster, "/cacerts").starts_with("-----BEGIN CERTIFICATE-----"));
    for path in ["/api", "/metrics", "/api/v1/namespaces/default/secrets"] {
        let said = anonymous(cluster, path);
        assert!(said.contains("\"reason\":\"Unauthorized\""), "{said}");
    }
    let said = bare(cluster, "--token=wrong get --raw /api").fails();
    assert!(said.contains("Unauthorized") || said.contains("must be logged in"), "{said}");
}

/// A proxy speaks for others: the one that is called so, with a certificate of its own authority.
fn proxies(cluster: &Cluster) {
    let pki = Pki::open(&cluster.path("data/server/tls"), false).unwrap();
    let asked = |authority: &Authority, name: &str| {
        let shown = authority.issue(&Profile::client(name, "")).unwrap();
        let path = cluster.path("proxy.pem");
        std::fs::write(&path, shown.certificate_pem + &shown.key_pem).unwrap();
        let mut curl = cluster.command("curl");
        curl.args(["-sS", "--cacert"]).arg(cluster.path("data/server/tls/server-ca.crt"));
        curl.arg("--cert").arg(path);
        curl.args(["-H", "X-Remote-User: jane", "-H", "X-Remote-Group: dev"]);
        curl.args(["-H", "X-Remote-Extra-Acme.com%2fproject: p", "--json", "{}"]);
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        curl.arg(format!("https://{SERVER}:{PORT}{path}"));
        cluster.machine.finish(&mut curl, "").ok()
    };
    let said = asked(&pki.request_header, "system:auth-proxy");
    assert!(
        said.contains(r#""groups":["dev","system:authenticated"],"username":"jane""#),
        "{said}"
    );
    assert!(said.contains(r#""extra":{"acme.com/project":["p"]}"#), "{said}");
    let said = asked(&pki.request_header, "somebody");
    assert!(said.contains("\"reason\":\"Unauthorized\""), "{said}");
    let said = asked(&pki.client, "system:auth-proxy");
    assert!(said.contains(r#""username":"system:auth-proxy""#), "{said}");
}

fn roles(cluster: &Cluster) {
    let said = cluster.kubectl("get pods --as jane").fails();
    assert_eq!(
        said.trim(),
        "Error from server (Forbidden): pods is forbidden: User \"jane\" cannot list resource \
         \"pods\" in API group \"\" in the namespace \"default\""
    );
    cluster.kubectl("create rolebinding jane --clusterrole=view --user=jane").ok();
    cluster.kubectl("get pods --as jane").ok();
    assert_eq!(cluster.kubectl("auth can-i list secrets --as jane").fails(), "");
    let rules = cluster.kubectl("auth can-i --list --as jane").ok();
    assert!(rules.contains("pods/log"), "{rules}");
    cluster.kubectl("delete rolebinding jane").ok();
    cluster.kubectl("get pods --as jane").fails();
    let said = cluster.kubectl("get nodes --as jane --as-group dev").fails();
    assert!(said.contains("at the cluster scope"), "{said}");
}

fn service_accounts(cluster: &Cluster) {
    cluster.kubectl("create serviceaccount robot").ok();
    let token = cluster.kubectl("create token robot --duration=10m").ok();
    let with = |words: &str| bare(cluster, &format!("--token={} {words}", token.trim()));
    let me = with("auth whoami -o jsonpath={.status.userInfo.username}").ok();
    assert_eq!(me, "system:serviceaccount:default:robot");
    let said = with("get configmaps").fails();
    assert!(said.contains("User \"system:serviceaccount:default:robot\" cannot list"), "{said}");
    let bind = "create rolebinding robot --clusterrole=edit --serviceaccount=default:robot";
    cluster.kubectl(bind).ok();
    with("create configmap made-by-robot").ok();
    let said = cluster.kubectl("create token robot --duration=9m").fails();
    assert!(said.contains("may not specify a duration less than 10 minutes"), "{said}");
    let elsewhere = cluster.kubectl("create token robot --audience=elsewhere").ok();
    bare(cluster, &format!("--token={} get configmaps", elsewhere.trim())).fails();
    cluster.kubectl("delete serviceaccount robot").ok();
    with("get configmaps").fails();
}

fn escalation(cluster: &Cluster) {
    let granter = "create clusterrole granter --verb=get,create --resource=roles,rolebindings";
    cluster.kubectl(granter).ok();
    cluster.kubectl("create clusterrolebinding joe --clusterrole=granter --user=joe").ok();
    let said = cluster.kubectl("create role r --verb=get --resource=secrets --as joe").fails();
    assert!(said.contains("is attempting to grant RBAC permissions not currently held"), "{said}");
    assert!(said.contains(r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#), "{said}");
    let bind = "create rolebinding r --clusterrole=cluster-admin --user=joe --as joe";
    cluster.kubectl(bind).fails();
}

fn namespaces(cluster: &Cluster) {
    let said = cluster.kubectl("create configmap x -n nowhere").fails();
    assert!(said.contains("namespaces \"nowhere\" not found"), "{said}");
    let said = cluster.kubectl("delete namespace kube-system").fails();
    assert!(said.contains("this namespace may not be deleted"), "{said}");
}
