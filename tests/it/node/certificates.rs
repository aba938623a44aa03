//! Certificates in volumes: the node makes a key, asks the signer, and waits for the answer.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyPair, PublicKeyData,
};
use rk::api::time;
use rk::util::clock::{self, Wall};
use serde_json::{Value, json};

use super::world::World;
use crate::guestbook::eventually;

const HOUR: Duration = Duration::from_secs(3600);

/// A pod whose volume has the certificate in one file, and in two.
fn pod(name: &str, key_type: &str) -> String {
    let source = |paths: &[(&str, &str)]| {
        let mut source = json!({"signerName": "example.com/s", "keyType": key_type,
            "maxExpirationSeconds": 3600, "userAnnotations": {"example.com/told": name}});
        paths.iter().for_each(|(field, path)| source[*field] = (*path).into());
        json!({"podCertificate": source})
    };
    let sources = [
        source(&[("credentialBundlePath", "bundle")]),
        source(&[("keyPath", "key"), ("certificateChainPath", "chain")]),
    ];
    let container = json!({"name": "main", "image": "test/busybox:1", "command": ["sleep", "600"],
        "volumeMounts": [{"name": "own", "mountPath": "/own"}]});
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "own", "projected": {"sources": sources}}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

/// The requests of a pod that nobody has answered.
fn asked(world: &World, pod: &str) -> Vec<Value> {
    let words = format!("get podcertificaterequests --field-selector spec.podName={pod} -o json");
    let list: Value = serde_json::from_str(&world.kubectl(&words).ok()).unwrap();
    let all = list["items"].as_array().unwrap().iter();
    all.filter(|request| request["status"]["conditions"].is_null()).cloned().collect()
}

fn answer(world: &World, request: &Value, status: &Value) {
    let (name, status) = (request["metadata"]["name"].as_str().unwrap(), status.to_string());
    let words = [
        "patch",
        "podcertificaterequest",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    world.cluster.kubectl_with(&words, "").ok();
}

/// What a signer writes that begins a certificate at `begin`.
fn issue(request: &Value, issuer: &Issuer<'_, KeyPair>, begin: Wall) -> Value {
    let der = STANDARD.decode(request["spec"]["stubPKCS10Request"].as_str().unwrap()).unwrap();
    let mut asked = CertificateSigningRequestParams::from_der(&der.into()).unwrap();
    let date =
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(begin.seconds().try_into().unwrap());
    (asked.params.not_before, asked.params.not_after) = (date, date + HOUR);
    let leaf = asked.signed_by(issuer).unwrap().pem();
    let condition = condition("Issued", "");
    json!({"status": {
        "certificateChain": format!("told by the signer\n{leaf}"),
        "notBefore": time::format(begin),
        "notAfter": time::format(begin.after(HOUR)),
        "beginRefreshAt": time::format(begin.after(HOUR / 6)),
        "conditions": [condition],
    }})
}

fn condition(kind: &str, message: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Test", "message": message,
        "lastTransitionTime": time::format(clock::now())})
}

fn issuer() -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "signer");
    Issuer::new(params, KeyPair::generate().unwrap())
}

#[test]
fn a_signer_s_certificates_reach_pods() {
    let world = World::far();
    world.cluster.apply(&pod("certified", "ED25519")).ok();
    let requests = eventually("a request for each source", || match asked(&world, "certified") {
        two if two.len() == 2 => Ok(two),
        other => Err(format!("{other:?}")),
    });
    let spec = &requests[0]["spec"];
    assert_eq!(spec["unverifiedUserAnnotations"], json!({"example.com/told": "certified"}));
    assert_eq!(
        (&spec["nodeName"], &spec["maxExpirationSeconds"]),
        (&json!(world.node), &json!(3600))
    );
    let owner = &requests[0]["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("Pod"), &json!("certified")));
    let events = world.kubectl("events --for pod/certified").ok();
    assert!(events.contains("credential bundle is not issued yet"), "{events}");

    let (issuer, now) = (issuer(), Wall::from_seconds(clock::now().seconds()));
    requests.iter().for_each(|request| answer(&world, request, &issue(request, &issuer, now)));
    world.kubectl("wait --for=condition=Ready pod/certified --timeout=60s").ok();
    let shown = |file: &str| world.kubectl(&format!("exec certified -- cat /own/{file}")).ok();
    for (key, chain) in [(shown("bundle"), shown("bundle")), (shown("key"), shown("chain"))] {
        let (certificate, key) = (rk::util::x509::blocks(chain.as_bytes()), pem(&key));
        let last = certificate.last().unwrap();
        let read = rk::util::x509::Certificate::of_der(last.contents()).unwrap();
        assert_eq!(key.subject_public_key_info(), read.public_key);
        assert!(!chain.contains("told by the signer"), "{chain}");
    }
}

/// The first key of a text.
fn pem(text: &str) -> KeyPair {
    KeyPair::from_pem(text).unwrap()
}

#[test]
fn a_pod_waits_for_what_a_signer_denies() {
    let world = World::near();
    world.cluster.apply(&pod("denied", "ECDSAP384")).ok();
    let requests = eventually("a request for each source", || match asked(&world, "denied") {
        two if two.len() == 2 => Ok(two),
        other => Err(format!("{other:?}")),
    });
    let denied = json!({"status": {"conditions": [condition("Denied", "not you")]}});
    answer(&world, &requests[0], &denied);
    eventually("what the signer said", || match world.kubectl("events --for pod/denied").out {
        events
            if events.contains("was denied, reason=\"Test\", message=\"not you\"")
                && events.contains("PodCertificateRequest was permanently denied") =>
        {
            Ok(())
        }
        events => Err(events),
    });
    assert_eq!(world.get("pod denied", "{.status.phase}"), "Pending");
}
