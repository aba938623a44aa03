//! Versions of HTTP and TLS, methods, compression, and how refusals are worded.

use crate::harness::Cluster;
use crate::wire::Wire;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MISSING: &str = "/api/v1/namespaces/default/configmaps/missing";
const JSON: &str = "application/json";

#[test]
fn the_protocol_is_http() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    wire.post(MAPS, r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#).ok();
    versions(&wire);
    heads(&wire);
    compression(&wire);
    refusals(&wire);
    refusals_without_a_look_at_the_body(&wire);
    broken_patches(&wire);
}

fn versions(wire: &Wire<'_>) {
    for (word, version) in
        [("--http1.1", "1.1"), ("--http2", "2"), ("--tlsv1.3", "2"), ("--tls-max=1.2", "2")]
    {
        let words: Vec<&str> = word.split('=').collect();
        let reply = wire.call("/version", &words);
        assert_eq!((reply.code, &*reply.version), (200, version), "{word}");
    }
    let reply = wire.call("/version", &["--tls-max", "1.1"]);
    assert_eq!(reply.code, 0, "older than TLS 1.2 is refused: {}", reply.complaint);
}

/// A HEAD is answered as a GET, without the body.
fn heads(wire: &Wire<'_>) {
    for version in ["--http1.1", "--http2"] {
        for path in [MAPS, "/version", "/readyz", "/api", "/openapi/v3", &format!("{MAPS}/a")] {
            let get = wire.call(path, &[version]);
            let head = wire.call(path, &[version, "--head"]);
            // curl shows the head where the body would be.
            assert_eq!((head.code, head.text()), (200, head.head.clone()), "{path}");
            assert_eq!(head.complaint, "", "{path}");
            assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        }
        assert_eq!(wire.call(MISSING, &[version, "--head"]).code, 404);
    }
}

fn compression(wire: &Wire<'_>) {
    let large = "x".repeat(200_000);
    wire.post(MAPS, &format!(r#"{{"metadata":{{"name":"large"}},"data":{{"k":"{large}"}}}}"#)).ok();
    let path = format!("{MAPS}/large");
    let plain = wire.get(&path);
    assert_eq!((plain.header("content-encoding"), plain.body.len() > 200_000), ("".into(), true));
    let packed = wire.call(&path, &["-H", "Accept-Encoding: gzip"]);
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() < 20_000);
    for version in ["--http1.1", "--http2"] {
        let unpacked = wire.call(&path, &[version, "--compressed"]);
        assert_eq!(unpacked.body, plain.body, "{version}");
        let list = wire.call(MAPS, &[version, "--compressed"]);
        assert_eq!(list.json().get("kind").str(), "ConfigMapList");
    }
    let small = wire.call(&format!("{MAPS}/a"), &["-H", "Accept-Encoding: gzip"]);
    assert_eq!(small.header("content-encoding"), "", "small answers are sent as they are");
    wire.delete(&path, "").ok();
}

/// Method, path, media type, body; code, reason, message.
type Refusal =
    (&'static str, &'static str, &'static str, &'static str, u16, &'static str, &'static str);

const NOT_THERE: &str = "the server could not find the requested resource";
const NOT_ALLOWED: &str = "the server does not allow this method on the requested resource";

const REFUSALS: &[Refusal] = &[
    ("GET", "/nothing", JSON, "", 404, "NotFound", NOT_THERE),
    ("GET", "/api/v1/nothing", JSON, "", 404, "NotFound", NOT_THERE),
    ("GET", "/api/v2/pods", JSON, "", 404, "NotFound", NOT_THERE),
    ("GET", "/apis/none.example.com/v1/things", JSON, "", 404, "NotFound", NOT_THERE),
    ("GET", "/api/v1/namespaces/default/nodes", JSON, "", 404, "NotFound", NOT_THERE),
    ("GET", "/api/v1/namespaces/default/configmaps/a/status", JSON, "", 404, "NotFound", NOT_THERE),
    ("GET", MISSING, JSON, "", 404, "NotFound", "configmaps \"missing\" not found"),
    (
        "GET",
        "/apis/apps/v1/namespaces/default/deployments/no",
        JSON,
        "",
        404,
        "NotFound",
        "deployments.apps \"no\" not found",
    ),
    ("PUT", MAPS, JSON, "{}", 405, "MethodNotAllowed", NOT_ALLOWED),
    ("POST", MISSING, JSON, "{}", 405, "MethodNotAllowed", NOT_ALLOWED),
    ("OPTIONS", MAPS, JSON, "", 405, "MethodNotAllowed", NOT_ALLOWED),
    ("TRACE", MAPS, JSON, "", 405, "MethodNotAllowed", NOT_ALLOWED),
    ("POST", "/healthz", JSON, "", 405, "MethodNotAllowed", NOT_ALLOWED),
    (
        "GET",
        "/apis/authentication.k8s.io/v1/tokenreviews",
        JSON,
        "",
        405,
        "MethodNotAllowed",
        NOT_ALLOWED,
    ),
    ("DELETE", "/api/v1/namespaces", JSON, "", 405, "MethodNotAllowed", NOT_ALLOWED),
    (
        "POST",
        MAPS,
        "text/plain",
        "{}",
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml, application/vnd.kubernetes.protobuf (got text/plain)",
    ),
    (
        "PATCH",
        "/api/v1/namespaces/default/configmaps/a",
        JSON,
        "{}",
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, \
         application/strategic-merge-patch+json, application/apply-patch+yaml (got \
         application/json)",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"metadata":{"name":"a"}}"#,
        409,
        "AlreadyExists",
        "configmaps \"a\" already exists",
    ),
    (
        "PUT",
        "/api/v1/namespaces/default/configmaps/a",
        JSON,
        r#"{"metadata":{"name":"a","resourceVersion":"1"}}"#,
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please \
         apply your changes to the latest version and try again",
    ),
    (
        "PUT",
        "/api/v1/namespaces/default/configmaps/a",
        JSON,
        r#"{"metadata":{"name":"b"}}"#,
        400,
        "BadRequest",
        "the name of the object (b) does not match the name on the URL (a)",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"metadata":{"name":"b","namespace":"other"}}"#,
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"kind":"Secret","metadata":{"name":"b"}}"#,
        400,
        "BadRequest",
        "the kind in the data (Secret) does not match the expected kind (ConfigMap)",
    ),
    (
        "POST",
        MAPS,
        JSON,
        r#"{"metadata":{}}"#,
        422,
        "Invalid",
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is \
         required",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps?dryRun=Some",
        JSON,
        r#"{"metadata":{"name":"b"}}"#,
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: \
         supported values: \"All\"",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps?fieldValidation=x",
        JSON,
        r#"{"metadata":{"name":"b"}}"#,
        422,
        "Invalid",
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": \
         supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
    ),
    (
        "POST",
        "/api/v1/namespaces/gone/configmaps",
        JSON,
        r#"{"metadata":{"name":"b"}}"#,
        404,
        "NotFound",
        "namespaces \"gone\" not found",
    ),
    (
        "DELETE",
        "/api/v1/namespaces/default/configmaps/a",
        JSON,
        r#"{"kind":"Pod"}"#,
        400,
        "BadRequest",
        "decoded object cannot be converted to DeleteOptions: it is a Pod",
    ),
];

fn refusals(wire: &Wire<'_>) {
    for (method, path, media_type, body, code, reason, message) in REFUSALS {
        let reply = match body.is_empty() {
            true => wire.call(path, &["-X", method]),
            false => wire.send(method, path, media_type, body.as_bytes()),
        };
        let said = reply.status();
        assert_eq!(said, (*code, (*reason).to_owned(), (*message).to_owned()), "{method} {path}");
    }
    let said = wire.get_as(&format!("{MAPS}/a"), "text/plain").refused(406, "NotAcceptable");
    assert_eq!(
        said,
        "only the following media types are accepted: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf"
    );
    wire.get(&format!("{MAPS}/a")).ok();
}

/// Whoever is still sending when the answer is ready gets to read it.
fn refusals_without_a_look_at_the_body(wire: &Wire<'_>) {
    let body = "x".repeat(1 << 20);
    for (path, code) in [("/healthz", 405), ("/nothing", 405), ("/api/v1/nothing", 404)].repeat(5) {
        let reply = wire.send("POST", path, JSON, body.as_bytes());
        assert_eq!((reply.code, &*reply.complaint), (code, ""), "{path}");
    }
}

/// A patch that does not fit says why, beside upstream's words.
fn broken_patches(wire: &Wire<'_>) {
    let path = format!("{MAPS}/a");
    let patch = br#"[{"op":"remove","path":"/data/none"}]"#;
    let reply = wire.send("PATCH", &path, "application/json-patch+json", patch);
    let cause = reply.json().at(&["details", "causes"]).items()[0].clone();
    assert!(cause.get("message").str().contains("/data/none"), "{cause}");
    let said = reply.refused(422, "Invalid");
    assert_eq!(said, "the server rejected our request due to an error in our request");
    let reply = wire.send("PATCH", &path, "application/json-patch+json", b"{}");
    let said = reply.refused(400, "BadRequest");
    assert!(said.starts_with("error decoding patch: json: cannot unmarshal object"), "{said}");
    let said = wire.merge(&path, "{").refused(400, "BadRequest");
    assert_eq!(said, "error decoding patch: unexpected end of JSON input");
}
