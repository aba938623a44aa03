//! Users of an outside issuer, against a real one.

use serde_json::json;

use super::access::bare;
use super::issuer::Issuer;
use crate::guestbook::eventually;
use crate::harness::Cluster;

const USER: &str = "auth whoami -o jsonpath={.status.userInfo}";

/// A cluster that trusts an issuer, not started yet.
fn trusting() -> (Cluster, Issuer) {
    let mut cluster = Cluster::stopped(&["--disable-agent"]);
    let issuer = Issuer::start(&cluster.machine, cluster.dir.path());
    let authority = cluster.path("issuer.crt");
    std::fs::write(&authority, issuer.authority()).unwrap();
    let arguments = [
        format!("oidc-issuer-url={}", Issuer::url()),
        "oidc-client-id=rk".to_owned(),
        format!("oidc-ca-file={}", authority.display()),
        "oidc-username-claim=email".to_owned(),
        "oidc-username-prefix=o:".to_owned(),
        "oidc-groups-claim=groups".to_owned(),
        "oidc-groups-prefix=o:".to_owned(),
        "oidc-required-claim=team=a".to_owned(),
        "oidc-signing-algs=ES256".to_owned(),
    ];
    for argument in arguments {
        cluster.flags.push(format!("--kube-apiserver-arg={argument}"));
    }
    (cluster, issuer)
}

#[test]
fn an_issuer_vouches_for_users() {
    let (mut cluster, mut issuer) = trusting();
    cluster.go();
    assert_eq!(issuer.asked(), 0, "nobody has come yet");
    let jane = json!({"email": "j@x", "groups": ["dev"], "team": "a", "jti": "7"});
    let with = |token: &str, words: &str| bare(&cluster, &format!("--token={token} {words}"));
    let token = issuer.token(&jane);
    let me = with(&token, USER).ok();
    assert!(me.contains(r#""username":"o:j@x""#), "{me}");
    assert!(me.contains(r#""groups":["o:dev","system:authenticated"]"#), "{me}");
    assert!(me.contains(r#""authentication.kubernetes.io/credential-id":["JTI=7"]"#), "{me}");
    let said = with(&token, "get configmaps").fails();
    assert!(said.contains("User \"o:j@x\" cannot list resource"), "{said}");
    cluster.kubectl("create clusterrolebinding dev --clusterrole=view --group=o:dev").ok();
    with(&token, "get configmaps").ok();
    for wrong in [
        json!({"email": "j@x"}),
        json!({"email": "j@x", "team": "b"}),
        json!({"email": "j@x", "team": "a", "aud": "other"}),
        json!({"email": "j@x", "team": "a", "exp": 1}),
        json!({"email": "j@x", "team": "a", "email_verified": false}),
        json!({"email": "j@x", "team": "a", "iss": "https://other.example"}),
    ] {
        with(&issuer.token(&wrong), USER).fails();
    }
    assert_eq!(issuer.asked(), 1, "the keys are known");
    reviewed(&cluster, &token);
    let dir = cluster.dir.path().to_owned();
    issuer.change_key(&dir);
    let token = issuer.token(&jane);
    eventually("the new key is fetched", || {
        let ran = with(&token, USER);
        if ran.status.success() { Ok(()) } else { Err(ran.err) }
    });
    assert_eq!(issuer.asked(), 2, "many tries, one question");
}

/// A TokenReview knows the token as well.
fn reviewed(cluster: &Cluster, token: &str) {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    });
    let words = ["create", "-f-", "-o", "jsonpath={.status.authenticated} {.status.user.username}"];
    let said = cluster.kubectl_with(&words, &review.to_string()).ok();
    assert_eq!(said, "true o:j@x");
}

#[test]
fn what_rk_does_not_take_is_told() {
    let cluster = Cluster::stopped(&[
        "--kube-apiserver-arg=oidc-issuer-url=http://a",
        "--kube-apiserver-arg=audit-log-path=/x",
    ]);
    let said = cluster.machine.finish(&mut cluster.server(), "").fails();
    assert!(said.contains("oidc-issuer-url and oidc-client-id must be specified"), "{said}");
    assert!(said.contains("\"audit-log-path\" is none of the arguments that rk takes"), "{said}");
}
