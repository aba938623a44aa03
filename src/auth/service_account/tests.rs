//! Tokens that hold, and every way in which they cease to.

use super::*;
use crate::auth::testing::World;
use crate::pki::Pki;

struct Setup {
    world: World,
    tokens: Tokens,
}

const US: &str = "https://kubernetes.default.svc.cluster.local";

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), true).unwrap();
    let world = World::default();
    world.put("", "serviceaccounts", r#"{"metadata":{"name":"sa","namespace":"a","uid":"u1"}}"#);
    world.put("", "nodes", r#"{"metadata":{"name":"n1","uid":"u3"}}"#);
    world.put(
        "",
        "pods",
        r#"{"metadata":{"name":"p","namespace":"a","uid":"u2"},
            "spec":{"serviceAccountName":"sa","nodeName":"n1"}}"#,
    );
    let signer = Arc::clone(&pki.signer);
    let tokens = Tokens::new(signer, Arc::clone(&world.history), US, vec![US.into(), "rk".into()]);
    Setup { world, tokens }
}

fn request(spec: &str) -> Value {
    Value::parse(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap()
}

impl Setup {
    fn token(&self, spec: &str) -> String {
        let answer = self.tokens.issue("a", "sa", &request(spec)).unwrap();
        answer.at(&["status", "token"]).str().to_owned()
    }

    fn verify(&self, token: &str) -> Result<Verified, Refused> {
        self.tokens.verify(token, self.tokens.audiences())
    }
}

const BOUND: &str = r#"{"expirationSeconds":3607,
    "boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u2"}}"#;

#[test]
fn a_token_names_its_account_pod_and_node() {
    let setup = setup();
    let user = setup.verify(&setup.token(BOUND)).unwrap().user;
    assert_eq!(user.name, "system:serviceaccount:a:sa");
    assert_eq!(user.uid, "u1");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
}

#[test]
fn a_token_ends_with_its_pod_its_account_or_its_node() {
    for (plural, namespace, name, again) in [
        ("pods", "a", "p", r#"{"metadata":{"name":"p","namespace":"a","uid":"other"}}"#),
        ("serviceaccounts", "a", "sa", r#"{"metadata":{"name":"sa","namespace":"a","uid":"x"}}"#),
        ("nodes", "", "n1", r#"{"metadata":{"name":"n1","uid":"other"}}"#),
    ] {
        let setup = setup();
        let token = setup.token(BOUND);
        assert!(setup.verify(&token).is_ok());
        setup.world.delete("", plural, namespace, name);
        assert!(setup.verify(&token).is_err(), "{plural}");
        setup.world.put("", plural, again);
        assert!(setup.verify(&token).is_err(), "another {plural} of the same name");
    }
}

#[test]
fn a_pod_that_is_going_keeps_its_token_for_its_grace_period() {
    let setup = setup();
    let token = setup.token(BOUND);
    let pod = |deletion: Wall| {
        let deletion = time::format(deletion);
        setup.world.put(
            "",
            "pods",
            &format!(
                r#"{{"metadata":{{"name":"p","namespace":"a","uid":"u2",
                "deletionTimestamp":"{deletion}"}}}}"#
            ),
        );
    };
    pod(clock::now().after(Duration::from_secs(30)));
    assert!(setup.verify(&token).is_ok());
    pod(clock::now().before(Duration::from_secs(90)));
    assert!(setup.verify(&token).is_err());
}

#[test]
fn audiences_are_kept_apart() {
    let setup = setup();
    let vault = setup.token(r#"{"audiences":["vault"]}"#);
    assert!(setup.verify(&vault).is_err());
    let both = setup.token(r#"{"audiences":["vault","rk"]}"#);
    assert_eq!(setup.verify(&both).unwrap().audiences, ["rk"]);
    let asked = setup.tokens.verify(&vault, &["vault".into(), "x".into()]).unwrap();
    assert_eq!(asked.audiences, ["vault"]);
}

#[test]
fn expired_and_foreign_tokens_are_refused() {
    let (setup, other) = (setup(), setup());
    let mut claims: Claims = setup.tokens.signer.verify(&setup.token("{}")).unwrap();
    claims.exp = clock::now().seconds();
    assert!(setup.verify(&setup.tokens.signer.sign(&claims).unwrap()).is_err());
    claims.exp += 1000;
    assert!(setup.verify(&setup.tokens.signer.sign(&claims).unwrap()).is_ok());
    claims.nbf = claims.exp;
    assert!(setup.verify(&setup.tokens.signer.sign(&claims).unwrap()).is_err());
    claims.nbf = 0;
    claims.iss = "https://other".into();
    assert!(setup.verify(&setup.tokens.signer.sign(&claims).unwrap()).is_err());
    claims.iss = US.into();
    claims.sub = "system:serviceaccount:kube-system:admin".into();
    assert!(setup.verify(&setup.tokens.signer.sign(&claims).unwrap()).is_err());
    assert!(setup.verify(&other.token("{}")).is_err(), "another cluster's key");
}

#[test]
fn pods_tokens_live_longer_than_they_say() {
    let setup = setup();
    let answer = setup.tokens.issue("a", "sa", &request(BOUND)).unwrap();
    let claims: Claims = setup.tokens.signer.verify(answer.at(&["status", "token"]).str()).unwrap();
    assert_eq!(claims.exp - claims.iat, EXPIRATION_S_EXTENDED);
    assert_eq!(claims.kubernetes.warnafter, Some(claims.iat + 3607));
    let says = time::parse(answer.at(&["status", "expirationTimestamp"]).str()).unwrap();
    assert!((says.seconds() - claims.iat - 3607).abs() <= 1);
}

#[test]
fn what_cannot_be_asked_for_is_refused_in_upstream_s_words() {
    let setup = setup();
    let refused = |spec: &str| setup.tokens.issue("a", "sa", &request(spec)).unwrap_err();
    assert_eq!(
        refused(r#"{"expirationSeconds":10}"#).message,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid \
         value: 10: may not specify a duration less than 10 minutes"
    );
    let wrong_uid = refused(r#"{"boundObjectRef":{"kind":"Pod","name":"p","uid":"zzz"}}"#);
    assert_eq!(wrong_uid.code, 409);
    assert_eq!(refused(r#"{"boundObjectRef":{"kind":"Pod","name":"q"}}"#).code, 404);
    let other_kind =
        r#"{"boundObjectRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"q"}}"#;
    assert_eq!(refused(other_kind).code, 400);
    setup.world.put("", "pods", r#"{"metadata":{"name":"q","namespace":"a","uid":"u"}}"#);
    let others = refused(r#"{"boundObjectRef":{"kind":"Pod","name":"q"}}"#);
    assert!(others.message.contains("different serviceaccount name"), "{}", others.message);
    assert_eq!(setup.tokens.issue("a", "nobody", &request("{}")).unwrap_err().code, 404);
}
