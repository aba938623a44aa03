//! Keys made once, handshakes in memory, and files that went wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::ServerName;

use super::token::Token;
use super::*;
use crate::util::clock;

fn hosts() -> Vec<String> {
    vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
}

#[test]
fn keys_are_made_once_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(dir.path(), true).unwrap();
    let again = Pki::open(dir.path(), false).unwrap();
    assert_eq!(first.server.certificate_pem(), again.server.certificate_pem());
    assert_eq!(first.signer.jwks(), again.signer.jwks());
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let secret = entry.file_name().to_string_lossy().ends_with(".key");
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if secret { 0o600 } else { 0o644 }, "{:?}", entry.path());
    }
}

#[test]
fn a_cluster_s_missing_or_damaged_file_is_an_error_and_is_not_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    drop(Pki::open(dir.path(), true).unwrap());
    let key = dir.path().join("client-ca.key");
    let saved = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = Pki::open(dir.path(), false).err().unwrap().to_string();
    assert!(error.contains("client-ca.key is missing"), "{error}");
    assert!(!key.exists());

    fs::write(&key, &saved[..saved.len() / 2]).unwrap();
    let error = Pki::open(dir.path(), true).err().unwrap().to_string();
    assert!(error.contains("client-ca.key is damaged"), "{error}");

    fs::copy(dir.path().join("server-ca.key"), &key).unwrap();
    let error = Pki::open(dir.path(), true).err().unwrap().to_string();
    assert!(error.contains("client-ca.crt is damaged"), "{error}");
    assert!(error.contains("key is that of another"), "{error}");
}

#[test]
fn a_crash_between_key_and_certificate_is_made_good() {
    let dir = tempfile::tempdir().unwrap();
    drop(Pki::open(dir.path(), true).unwrap());
    fs::remove_file(dir.path().join("server-ca.crt")).unwrap();
    assert!(Pki::open(dir.path(), false).is_err());
    assert!(Pki::open(dir.path(), true).is_ok());
}

/// A whole TLS handshake in memory; returns what the server saw of the client.
fn handshake(
    server: rustls::ServerConfig,
    client: rustls::ClientConfig,
    name: &str,
) -> Result<Option<Vec<rustls::pki_types::CertificateDer<'static>>>, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = rustls::ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().map(<[_]>::to_vec))
}

#[test]
fn server_and_client_know_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), true).unwrap();
    let hosts = hosts();
    let serving = pki.server.issue(&Profile::server("rk", &hosts)).unwrap();
    let admin = pki.client.issue(&Profile::client("admin", "system:masters")).unwrap();
    let stranger = pki.request_header.issue(&Profile::client("proxy", "")).unwrap();
    let server = || {
        let serving = Arc::new(Rotating::new(&serving).unwrap());
        tls::server(
            serving,
            &[pki.client.certificate_pem(), pki.request_header.certificate_pem()],
            &[b"h2"],
        )
        .unwrap()
    };
    let client = |identity: Option<&Identity>| {
        let roots = tls::roots([pki.server.certificate_pem()]).unwrap();
        let identity = identity.map(|identity| Arc::new(Rotating::new(identity).unwrap()));
        tls::client(roots, identity, &[b"h2"]).unwrap()
    };
    assert!(handshake(server(), client(None), "localhost").unwrap().is_none());
    let seen = handshake(server(), client(Some(&admin)), "127.0.0.1").unwrap().unwrap();
    let verifier = tls::ClientVerifier::new(&pki.client).unwrap();
    assert!(verifier.accepts(&seen));
    let seen = handshake(server(), client(Some(&stranger)), "localhost").unwrap().unwrap();
    assert!(!verifier.accepts(&seen), "the proxies' authority does not name users");
    assert!(handshake(server(), client(None), "example.org").is_err());
    let wrong = pki.server.issue(&Profile::client("admin", "system:masters")).unwrap();
    assert!(handshake(server(), client(Some(&wrong)), "localhost").is_err());
}

#[test]
fn leaves_end_no_later_than_their_authority() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), true).unwrap();
    let (from, to) = pki.client.issue(&Profile::client("a", "")).unwrap().validity().unwrap();
    assert!(from < clock::now() && clock::now() < to);
    let days = to.since(clock::now()).as_secs() / 86_400;
    assert!((364..=365).contains(&days), "{days}");
}

#[test]
fn a_node_s_request_gets_a_certificate_for_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path(), true).unwrap();
    let (key_pem, csr) = request::new().unwrap();
    let key = request::public_key(&csr).unwrap();
    let profile = Profile::client("system:node:n1", "system:nodes");
    let certificate_pem = pki.client.certify(&profile, &key).unwrap();
    assert!(Identity { certificate_pem, key_pem }.certified_key().is_ok());
    assert!(request::public_key("nonsense").is_err());
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Claims {
    sub: String,
}

#[test]
fn signs_and_knows_its_own_signature() {
    let dir = tempfile::tempdir().unwrap();
    let one = Signer::open(&dir.path().join("one"), true).unwrap();
    let two = Signer::open(&dir.path().join("two"), true).unwrap();
    let token = one.sign(&Claims { sub: "a".into() }).unwrap();
    assert_eq!(one.verify::<Claims>(&token).unwrap().sub, "a");
    assert!(two.verify::<Claims>(&token).is_err());
    let unsigned = token.rsplit_once('.').unwrap().0.to_owned() + ".";
    assert!(one.verify::<Claims>(&unsigned).is_err());
    let jwks: serde_json::Value = serde_json::from_str(one.jwks()).unwrap();
    let key = &jwks["keys"][0];
    assert_eq!(
        (&key["kty"], &key["alg"], &key["use"]),
        (&"EC".into(), &"ES256".into(), &"sig".into())
    );
    assert!(key["kid"].as_str().is_some_and(|kid| kid.len() == 43));
    assert!(key.get("d").is_none());
}

#[test]
fn an_rsa_key_of_the_user_s_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("service.key");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    fs::write(&path, pair.serialize_pem()).unwrap();
    let signer = Signer::open(&path, false).unwrap();
    assert_eq!(signer.algorithm(), "RS256");
    let token = signer.sign(&Claims { sub: "a".into() }).unwrap();
    assert_eq!(signer.verify::<Claims>(&token).unwrap().sub, "a");
}

#[test]
fn tokens_pin_the_authority() {
    let token = Token::new("PEM", "secret");
    let text = token.to_string();
    assert!(text.starts_with("K10") && text.ends_with("::server:secret"), "{text}");
    assert_eq!(Token::parse(&text).unwrap(), token);
    assert!(token.trusts("PEM") && !token.trusts("other"));
    let short = Token::parse("secret").unwrap();
    assert!(short.trusts("other") && short.matches("secret") && !short.matches("secre"));
    assert!(Token::parse("").is_err());
    assert!(Token::parse("K10abc::server:x").is_err());
    assert!(!format!("{token:?}").contains("secret"));
}

#[test]
fn the_token_file_follows_what_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    assert!(matches!(Token::open(&path, "PEM", None, false), Err(Error::Missing { .. })));
    let made = Token::open(&path, "PEM", None, true).unwrap();
    assert_eq!(Token::open(&path, "PEM", None, false).unwrap(), made);
    let given = Token::open(&path, "PEM", Some("mine"), false).unwrap();
    assert_eq!(given.password, "mine");
    assert_eq!(Token::open(&path, "PEM", None, false).unwrap(), given);
}

#[test]
fn a_kubeconfig_names_server_and_user() {
    let identity = Identity { certificate_pem: "C".into(), key_pem: "K".into() };
    let text = kubeconfig::render("https://127.0.0.1:6443", "CA", &identity, "default");
    let parsed: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(parsed["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
    assert_eq!(parsed["users"][0]["user"]["client-key-data"], "Sw==");
}

#[test]
fn bare_requests_prove_a_key_of_the_kind_that_was_asked_for() {
    use crate::util::x509::{KeyKind, Name, PublicKey, Unsigned};
    let kinds = [KeyKind::Ed25519, KeyKind::Curve(256), KeyKind::Curve(384), KeyKind::Curve(521)];
    for kind in kinds.into_iter().chain([KeyKind::Rsa(3072)]) {
        let (key, request) = request::bare(kind).unwrap();
        let request = Unsigned::of_der(&request).unwrap();
        assert_eq!(PublicKey::of_der(request.public_key()).unwrap().kind(), kind);
        let verified = request.verified().unwrap();
        assert_eq!(verified.subject, Name::default());
        assert!(verified.names.is_empty());
        let read = rcgen::KeyPair::from_pem(&key).unwrap();
        assert_eq!(rcgen::PublicKeyData::subject_public_key_info(&read), verified.public_key);
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{kind:?}");
    }
    assert!(request::bare(KeyKind::Rsa(2048)).is_err());
}
