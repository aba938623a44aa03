//! Tokens bound to a pod, reviews of tokens and of access, and acting as somebody else, over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rk::api::tree::Value;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::{Reply, Wire};

const DEFAULT: &str = "/api/v1/namespaces/default";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";
const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

#[test]
fn tokens_reviews_and_other_names() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    eventually("the account is there", || {
        let reply = wire.get(&format!("{DEFAULT}/serviceaccounts/default"));
        if reply.code == 200 { Ok(()) } else { Err(reply.text()) }
    });
    bound_tokens(&wire);
    token_requests(&wire);
    tokens_in_secrets(&wire);
    bootstrap_tokens(&wire);
    access_reviews(&wire);
    just_that(&cluster, &wire);
    impersonation(&wire);
}

fn pod(wire: &Wire<'_>) -> Value {
    let pod = r#"{"metadata":{"name":"p"},"spec":{
        "containers":[{"name":"c","image":"none"}]}}"#;
    wire.post(&format!("{DEFAULT}/pods"), pod).ok()
}

fn issue(wire: &Wire<'_>, request: &str) -> Reply {
    wire.post(&format!("{DEFAULT}/serviceaccounts/default/token"), request)
}

fn reviewed(wire: &Wire<'_>, token: &str, audience: &str) -> Value {
    let audiences = if audience.is_empty() { String::new() } else { format!("{audience:?}") };
    let review = format!(r#"{{"spec":{{"token":"{token}","audiences":[{audiences}]}}}}"#);
    let review = wire.post(TOKEN_REVIEWS, &review).ok();
    assert_eq!(review.get("kind").str(), "TokenReview", "its type, though it was not sent");
    review.get("status").clone()
}

/// A token lives as long as the pod that it is for.
fn bound_tokens(wire: &Wire<'_>) {
    let uid = pod(wire).at(&["metadata", "uid"]).str().to_owned();
    let request = format!(
        r#"{{"spec":{{"expirationSeconds":3600,"audiences":[],"boundObjectRef":{{"kind":"Pod",
            "apiVersion":"v1","name":"p","uid":"{uid}"}}}}}}"#
    );
    let issued = issue(wire, &request).ok();
    assert_eq!(issued.get("kind").str(), "TokenRequest");
    let token = issued.at(&["status", "token"]).str().to_owned();
    let status = reviewed(wire, &token, "");
    assert!(status.get("authenticated").is_true(), "{status}");
    let user = status.get("user");
    assert_eq!(user.get("username").str(), "system:serviceaccount:default:default");
    let name = user.at(&["extra", "authentication.kubernetes.io/pod-name"]);
    assert_eq!(name.to_string(), r#"["p"]"#);
    let holder = wire.bearer(&token);
    assert_eq!(holder.get("/version").code, 200);
    holder.get(&format!("{DEFAULT}/secrets")).refused(403, "Forbidden");
    let other = reviewed(wire, &token, "elsewhere");
    assert!(!other.get("authenticated").is_true() && !other.get("error").is_empty(), "{other}");
    let wrong = request.replace(&uid, "another");
    issue(wire, &wrong).refused(409, "Conflict");
    wire.delete(&format!("{DEFAULT}/pods/p"), r#"{"gracePeriodSeconds":0}"#).ok();
    assert!(!reviewed(wire, &token, "").get("authenticated").is_true());
    holder.get("/api").refused(401, "Unauthorized");
}

fn token_requests(wire: &Wire<'_>) {
    for (request, code, reason) in [
        (r#"{"spec":{"expirationSeconds":1}}"#, 422, "Invalid"),
        (r#"{"spec":{"boundObjectRef":{"kind":"Pod","name":"none"}}}"#, 404, "NotFound"),
        (r#"{"spec":{"boundObjectRef":{"kind":"ConfigMap","name":"x"}}}"#, 400, "BadRequest"),
    ] {
        issue(wire, request).refused(code, reason);
    }
    let nobody = format!("{DEFAULT}/serviceaccounts/nobody/token");
    wire.post(&nobody, r#"{"spec":{}}"#).refused(404, "NotFound");
    let garbage = reviewed(wire, "garbage", "");
    assert!(!garbage.get("authenticated").is_true() && !garbage.get("error").is_empty());
    wire.post(TOKEN_REVIEWS, r#"{"spec":{}}"#).refused(400, "BadRequest");
    let keys = wire.get("/openid/v1/jwks").ok();
    assert!(!keys.get("keys").items().is_empty());
}

/// A Secret may hold an account's token: it is filled, holds as long as the account, and goes with
/// it.
fn tokens_in_secrets(wire: &Wire<'_>) {
    let secret = r#"{"type":"kubernetes.io/service-account-token","metadata":{"name":"robot-token",
        "annotations":{"kubernetes.io/service-account.name":"robot"}}}"#;
    wire.post(&format!("{DEFAULT}/secrets"), secret).ok();
    wire.post(&format!("{DEFAULT}/serviceaccounts"), r#"{"metadata":{"name":"robot"}}"#).ok();
    let path = format!("{DEFAULT}/secrets/robot-token");
    let token = eventually("the secret is filled", || {
        let secret = wire.get(&path).ok();
        match secret.at(&["data", "token"]).str() {
            "" => Err(secret.to_string()),
            token => Ok(token.to_owned()),
        }
    });
    let token = String::from_utf8(STANDARD.decode(token).unwrap()).unwrap();
    let status = reviewed(wire, &token, "");
    let name = status.at(&["user", "username"]).str();
    assert_eq!(name, "system:serviceaccount:default:robot", "{status}");
    wire.delete(&format!("{DEFAULT}/serviceaccounts/robot"), "").ok();
    eventually("the secret goes with its account", || match wire.get(&path) {
        reply if reply.code == 404 => Ok(()),
        reply => Err(reply.text()),
    });
    assert!(!reviewed(wire, &token, "").get("authenticated").is_true());
}

/// A bootstrap token lets in until its time is over, and is then removed.
fn bootstrap_tokens(wire: &Wire<'_>) {
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let secret = r#"{"type":"bootstrap.kubernetes.io/token","metadata":{
        "name":"bootstrap-token-abcdef"},"stringData":{"token-id":"abcdef",
        "token-secret":"0123456789abcdef","usage-bootstrap-authentication":"true",
        "auth-extra-groups":"system:bootstrappers:edge"}}"#;
    wire.post(secrets, secret).ok();
    let holder = wire.bearer("abcdef.0123456789abcdef");
    let me = holder.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}").ok();
    let user = me.at(&["status", "userInfo"]);
    assert_eq!(user.get("username").str(), "system:bootstrap:abcdef");
    assert!(user.get("groups").to_string().contains("\"system:bootstrappers:edge\""), "{user}");
    holder.get(secrets).refused(403, "Forbidden");
    let over = r#"{"stringData":{"expiration":"2020-01-01T00:00:00Z"}}"#;
    let path = format!("{secrets}/bootstrap-token-abcdef");
    wire.merge(&path, over).ok();
    holder.get("/api").refused(401, "Unauthorized");
    eventually("the token is removed", || match wire.get(&path) {
        reply if reply.code == 404 => Ok(()),
        reply => Err(reply.text()),
    });
}

fn access_reviews(wire: &Wire<'_>) {
    let ask = |who: &str, spec: &str| {
        let review = wire.post(&format!("{REVIEWS}/{who}"), &format!(r#"{{"spec":{spec}}}"#)).ok();
        assert!(review.get("kind").str().ends_with("Review"), "{review}");
        review.get("status").get("allowed").is_true()
    };
    let pods = r#""resourceAttributes":{"verb":"list","resource":"pods","namespace":"default"}"#;
    assert!(ask("selfsubjectaccessreviews", &format!("{{{pods}}}")));
    assert!(!ask("subjectaccessreviews", &format!(r#"{{"user":"jane",{pods}}}"#)));
    let masters = format!(r#"{{"user":"jane","groups":["system:masters"],{pods}}}"#);
    assert!(ask("subjectaccessreviews", &masters));
    let path = r#"{"user":"jane","groups":["system:authenticated"],
        "nonResourceAttributes":{"verb":"get","path":"/version"}}"#;
    assert!(ask("subjectaccessreviews", path));
    assert!(!ask(
        "namespaces/default/localsubjectaccessreviews",
        &format!(r#"{{"user":"jane",{pods}}}"#)
    ));
    let said = wire.post(&format!("{REVIEWS}/subjectaccessreviews"), "{}").refused(422, "Invalid");
    assert!(said.contains("exactly one of nonResourceAttributes or resourceAttributes"), "{said}");
    let rules = format!("{REVIEWS}/selfsubjectrulesreviews");
    let rules = wire.post(&rules, r#"{"spec":{"namespace":"default"}}"#).ok();
    assert!(!rules.at(&["status", "resourceRules"]).items().is_empty());
    let me = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let me = wire.post(me, "{}").ok();
    assert_eq!(me.at(&["status", "userInfo", "username"]).str(), "system:admin");
}

/// A role lets its holder do what it says, and nothing beside.
fn just_that(cluster: &Cluster, wire: &Wire<'_>) {
    cluster.kubectl("create role reader --verb=get,list --resource=configmaps").ok();
    cluster.kubectl("create role named --verb=update --resource=secrets --resource-name=one").ok();
    for role in ["reader", "named"] {
        cluster.kubectl(&format!("create rolebinding {role} --role={role} --user=ann")).ok();
    }
    for name in ["one", "two"] {
        cluster.kubectl(&format!("create secret generic {name} --from-literal=a=b")).ok();
    }
    let secret =
        |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"a":"Yw=="}}}}"#);
    let as_ann = |method: &str, path: &str, body: &str| {
        let words = [
            "-X",
            method,
            "-H",
            "Impersonate-User: ann",
            "-H",
            "Content-Type: application/json",
            "--data",
            body,
        ];
        let words = if body.is_empty() { &words[..4] } else { &words[..] };
        wire.call(path, words).code
    };
    for (method, path, body, code) in [
        ("GET", "configmaps", String::new(), 200),
        ("GET", "configmaps/kube-root-ca.crt", String::new(), 200),
        ("GET", "configmaps?watch=1&timeoutSeconds=1", String::new(), 403),
        ("DELETE", "configmaps/kube-root-ca.crt", String::new(), 403),
        ("POST", "configmaps", r#"{"metadata":{"name":"x"}}"#.to_owned(), 403),
        ("PUT", "secrets/one", secret("one"), 200),
        ("PUT", "secrets/two", secret("two"), 403),
        ("GET", "secrets/one", String::new(), 403),
    ] {
        assert_eq!(as_ann(method, &format!("{DEFAULT}/{path}"), &body), code, "{method} {path}");
    }
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    assert_eq!(as_ann("GET", elsewhere, ""), 403);
    assert_eq!(as_ann("GET", "/api/v1/configmaps", ""), 403);
}

fn impersonation(wire: &Wire<'_>) {
    let me = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let words = [
        "-H",
        "Impersonate-User: eve",
        "-H",
        "Impersonate-Group: devs",
        "-H",
        "Impersonate-Extra-Example.com%2fscope: all",
        "-H",
        "Content-Type: application/json",
        "--data",
        "{}",
    ];
    let user = wire.call(me, &words).ok().at(&["status", "userInfo"]).clone();
    assert_eq!(user.get("username").str(), "eve");
    assert_eq!(user.get("groups").to_string(), r#"["devs","system:authenticated"]"#);
    assert_eq!(user.at(&["extra", "example.com/scope"]).to_string(), r#"["all"]"#);
    let nobody = wire.call(DEFAULT, &["-H", "Impersonate-Group: devs"]);
    nobody.refused(400, "BadRequest");
    // Who is impersonated may not go on to be somebody else: headers are read once.
    let issued = issue(wire, r#"{"spec":{}}"#).ok();
    let holder = wire.bearer(issued.at(&["status", "token"]).str());
    let said = holder.call(DEFAULT, &["-H", "Impersonate-User: eve"]).refused(403, "Forbidden");
    let what = "cannot impersonate-on:user-info:get resource \"namespaces\"";
    assert!(said.contains(what), "{said}");
}
