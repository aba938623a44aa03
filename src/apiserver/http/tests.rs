//! The server over real connections: TLS, client certificates, HTTP/1.1.

use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Full};

use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::api::tree::Value;
use crate::apiserver::engine::tests::World;
use crate::auth::Authentication;
use crate::pki::token::Token;
use crate::pki::{Pki, Profile, Rotating, tls};

/// A server with a store of its own, and a client that is its administrator.
struct Site {
    address: SocketAddr,
    client: Arc<ClientConfig>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    _keys: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let keys = tempfile::tempdir().unwrap();
        let pki = Pki::open(keys.path(), true).unwrap();
        let engine = Arc::new(World::new().engine);
        let names = vec!["api.test".to_owned()];
        let own = pki.server.issue(&Profile::server("api", &names)).unwrap();
        let own = Arc::new(Rotating::new(&own).unwrap());
        let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
        let server = tls::server(
            own,
            &[pki.client.certificate_pem(), pki.request_header.certificate_pem()],
            alpn,
        )
        .unwrap();
        let admin = pki.client.issue(&Profile::client("admin", "system:masters")).unwrap();
        let admin = Arc::new(Rotating::new(&admin).unwrap());
        let roots = tls::roots([pki.server.certificate_pem()]).unwrap();
        let client = tls::client(roots, Some(admin), &[b"http/1.1"]).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = watch::Sender::new(false);
        let front = Front::new(parts(&pki, engine, &stop));
        let serving = tokio::spawn(serve(front, listener, Arc::new(server), stop.subscribe()));
        Self { address, client: Arc::new(client), stop, serving, _keys: keys }
    }

    /// A connection of its own.
    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("api.test").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.client));
        let stream = connector.connect(name, stream).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn send(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Incoming> {
        let (method, uri) = head.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri).header("host", "api.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        self.connect().await.send_request(request).await.unwrap()
    }

    /// Status code and body of an answer.
    async fn bytes(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Bytes) {
        let response = self.send(head, headers, body).await;
        let code = response.status().as_u16();
        let mut whole = response.into_body().collect().await.unwrap().aggregate();
        (code, whole.copy_to_bytes(whole.remaining()))
    }

    /// The same as JSON.
    async fn json(&self, head: &str, body: &str) -> (u16, Value) {
        let (code, bytes) = self.bytes(head, &[], body.as_bytes()).await;
        (code, Value::parse(&bytes).unwrap_or_else(|e| panic!("{e}: {bytes:?}")))
    }
}

/// A front over an engine with real authentication.
fn parts(pki: &Pki, engine: Arc<Engine>, stop: &watch::Sender<bool>) -> FrontParts {
    let history = Arc::clone(engine.history());
    let signer = Arc::clone(&pki.signer);
    let issuer = "https://kubernetes.default.svc";
    let tokens = Arc::new(Tokens::new(signer, history, issuer, vec![issuer.to_owned()]));
    let join = Token::new(pki.server.certificate_pem(), "secret");
    let authenticator = Authentication::new(pki, Arc::clone(&tokens), join).unwrap();
    FrontParts {
        engine,
        authenticator: Arc::new(authenticator),
        dialer: None,
        door: None,
        tokens: Some(tokens),
        address: "api.test:6443".into(),
        health: Health::new(Vec::new()),
        pages: Vec::new(),
        stop: stop.subscribe(),
        meters: Vec::new(),
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(site: &Site, name: &str) -> Value {
    let object = format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"v"}}}}"#);
    let (code, made) = site.json(&format!("POST {MAPS}"), &object).await;
    assert_eq!(code, 201, "{made}");
    made
}

#[tokio::test]
async fn objects_come_and_go() {
    let site = Site::new().await;
    let made = make(&site, "a").await;
    assert_eq!(made.get("kind").str(), "ConfigMap");
    assert_eq!(site.json(&format!("GET {MAPS}/a"), "").await, (200, made.clone()));
    let patch = [("content-type", "application/merge-patch+json")];
    let (code, _) = site.bytes(&format!("PATCH {MAPS}/a"), &patch, br#"{"data":{"k":"w"}}"#).await;
    assert_eq!(code, 200);
    let (_, list) = site.json(&format!("GET {MAPS}"), "").await;
    assert_eq!(list.get("kind").str(), "ConfigMapList");
    let item = &list.get("items").items()[0];
    assert_eq!(item.at(&["data", "k"]).str(), "w");
    assert!(item.get("kind").is_null(), "items of built-in kinds carry no type");
    assert_eq!(site.json(&format!("DELETE {MAPS}/a"), "").await.0, 200);
    let (code, status) = site.json(&format!("GET {MAPS}/a"), "").await;
    assert_eq!((code, status.get("message").str()), (404, r#"configmaps "a" not found"#));
    assert_eq!(site.json("GET /apis/none/v1/things", "").await.0, 404);
    assert_eq!(site.json(&format!("PUT {MAPS}"), "{}").await.0, 405);
}

#[tokio::test]
async fn bodies_and_answers_take_three_forms() {
    let site = Site::new().await;
    let yaml = b"metadata:\n  name: a\ndata:\n  mode: \"0644\"\n";
    let headers = [("content-type", "application/yaml"), ("accept", "application/yaml")];
    let (code, text) = site.bytes(&format!("POST {MAPS}"), &headers, yaml).await;
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(code == 201 && text.contains("kind: ConfigMap"), "{text}");

    let protobuf = "application/vnd.kubernetes.protobuf";
    let accept = [("accept", protobuf)];
    let (_, bytes) = site.bytes(&format!("GET {MAPS}/a"), &accept, b"").await;
    assert!(bytes.starts_with(b"k8s\0"));
    assert_eq!(site.json(&format!("DELETE {MAPS}/a"), "").await.0, 200);
    // Sent back as it came, but for what a create may not carry.
    let (_, whole) = site.json(&format!("POST {MAPS}"), r#"{"metadata":{"name":"b"}}"#).await;
    assert_eq!(whole.at(&["metadata", "name"]).str(), "b");
    let headers = [("content-type", protobuf), ("accept", "application/json")];
    let (code, _) = site.bytes(&format!("PUT {MAPS}/a"), &headers, &bytes).await;
    assert_eq!(code, 404, "read as an object, of which there is none");
    let (_, list) = site.bytes(&format!("GET {MAPS}"), &accept, b"").await;
    assert!(list.starts_with(b"k8s\0"));
    let (code, _) = site.bytes(&format!("GET {MAPS}"), &[("accept", "text/html")], b"").await;
    assert_eq!(code, 406);
    let (code, _) = site.bytes(&format!("POST {MAPS}"), &[("content-type", "text/x")], b"").await;
    assert_eq!(code, 415);
    let apply = [("content-type", "application/apply-patch+yaml")];
    let (code, refusal) = site.bytes(&format!("PATCH {MAPS}/b"), &apply, b"{}").await;
    assert!(code == 422 && refusal.starts_with(br#"{"kind":"Status""#), "{refusal:?}");
    let apply = [("content-type", "application/apply-patch+cbor")];
    let (code, _) = site.bytes(&format!("PATCH {MAPS}/b?fieldManager=me"), &apply, b"").await;
    assert_eq!(code, 415);
}

#[tokio::test]
async fn unknown_fields_are_warned_of_or_refused() {
    let site = Site::new().await;
    let object = br#"{"metadata":{"name":"a"},"dta":{}}"#;
    let response = site.send(&format!("POST {MAPS}"), &[], object).await;
    assert_eq!(response.headers()["warning"], r#"299 - "unknown field \"dta\"""#);
    let strict = format!("POST {MAPS}?fieldValidation=Strict");
    let (code, status) = site.json(&strict, r#"{"metadata":{"name":"b"},"dta":{}}"#).await;
    assert_eq!(code, 400);
    assert_eq!(
        status.get("message").str(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         unknown field \"dta\""
    );
    let large = vec![b' '; limits::REQUEST_BYTES_MAX + 1];
    let (code, _) = site.bytes(&format!("POST {MAPS}"), &[], &large).await;
    assert_eq!(code, 413);
}

#[tokio::test]
async fn tables_and_metadata_are_shown_on_demand() {
    let site = Site::new().await;
    make(&site, "a").await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    for path in [MAPS.to_owned(), format!("{MAPS}/a")] {
        let (_, bytes) = site.bytes(&format!("GET {path}"), &table, b"").await;
        let table = Value::parse(&bytes).unwrap();
        assert_eq!(table.get("kind").str(), "Table");
        assert_eq!(table.get("columnDefinitions").items()[0].get("name").str(), "Name");
        let row = &table.get("rows").items()[0];
        assert_eq!(row.get("cells").items()[0].str(), "a");
        assert_eq!(row.at(&["object", "kind"]).str(), "PartialObjectMetadata");
    }
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let (_, bytes) = site.bytes(&format!("GET {MAPS}"), &partial, b"").await;
    let list = Value::parse(&bytes).unwrap();
    let item = &list.get("items").items()[0];
    assert_eq!((item.at(&["metadata", "name"]).str(), item.get("data")), ("a", &Value::Null));
    let partial = [(
        "accept",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    )];
    assert_eq!(site.bytes(&format!("GET {MAPS}/a"), &partial, b"").await.0, 200);
}

/// The next line of a watch.
async fn line(body: &mut Incoming, buffer: &mut Vec<u8>) -> Value {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            return Value::parse(&line).unwrap();
        }
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
        let frame = frame.expect("an event in time").unwrap().unwrap();
        buffer.extend_from_slice(frame.data_ref().unwrap());
    }
}

#[tokio::test]
async fn watches_tell_events_line_by_line_and_end_with_the_server() {
    let site = Site::new().await;
    make(&site, "a").await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                 &allowWatchBookmarks=true";
    let response = site.send(&format!("GET {MAPS}?{query}"), &[], b"").await;
    let (mut body, mut buffer) = (response.into_body(), Vec::new());
    let added = line(&mut body, &mut buffer).await;
    assert_eq!(
        (added.get("type").str(), added.at(&["object", "kind"]).str()),
        ("ADDED", "ConfigMap")
    );
    let end = line(&mut body, &mut buffer).await;
    assert_eq!(end.get("type").str(), "BOOKMARK");
    let annotation = ["object", "metadata", "annotations", "k8s.io/initial-events-end"];
    assert_eq!(end.at(&annotation).str(), "true");
    assert_eq!(site.json(&format!("DELETE {MAPS}/a"), "").await.0, 200);
    let gone = line(&mut body, &mut buffer).await;
    assert_eq!(
        (gone.get("type").str(), gone.at(&["object", "apiVersion"]).str()),
        ("DELETED", "v1")
    );
    site.stop.send_replace(true);
    assert!(body.frame().await.is_none(), "a watch ends in good order");
    site.serving.await.unwrap();
}

#[tokio::test]
async fn documents_describe_the_server() {
    let site = Site::new().await;
    let (_, version) = site.json("GET /version", "").await;
    assert_eq!((version.get("major").str(), version.get("minor").str()), ("1", "37"));
    let (_, groups) = site.json("GET /apis", "").await;
    assert_eq!(groups.get("kind").str(), "APIGroupList");
    assert_eq!(site.json("GET /api/v1", "").await.1.get("kind").str(), "APIResourceList");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let response = site.send("GET /apis", &[("accept", accept)], b"").await;
    assert_eq!(response.headers()["content-type"], accept);
    let etag = response.headers()["etag"].to_str().unwrap().to_owned();
    let known = [("accept", accept), ("if-none-match", &*etag)];
    assert_eq!(site.send("GET /apis", &known, b"").await.status(), 304);
    assert_eq!(site.bytes("GET /readyz", &[], b"").await, (200, Bytes::from("ok")));
    let (_, metrics) = site.bytes("GET /metrics", &[], b"").await;
    assert!(String::from_utf8_lossy(&metrics).contains("apiserver_request_total"));
    assert_eq!(site.json("GET /nowhere", "").await.0, 404);
    let (_, pretty) = site.bytes("GET /version?pretty=true", &[], b"").await;
    assert!(pretty.starts_with(b"{\n  \"buildDate\""), "{pretty:?}");
}

#[tokio::test]
async fn openapi_documents_are_found_by_their_hash() {
    let site = Site::new().await;
    let (_, index) = site.json("GET /openapi/v3", "").await;
    let url = index.at(&["paths", "api/v1", "serverRelativeURL"]).str().to_owned();
    let (code, document) = site.json(&format!("GET {url}"), "").await;
    assert_eq!((code, document.get("openapi").str()), (200, "3.0.0"));
    let answer = site.send(&format!("GET {url}"), &[("accept-encoding", "gzip")], b"").await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert!(answer.headers()["cache-control"].to_str().unwrap().contains("immutable"));
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(
        site.send(&format!("GET {url}"), &[("if-none-match", &etag)], b"").await.status(),
        304
    );
    let old = site.send("GET /openapi/v3/api/v1?hash=AB", &[], b"").await;
    assert_eq!((old.status().as_u16(), old.headers()["location"].to_str().unwrap()), (301, &*url));
    let (_, v2) = site.json("GET /openapi/v2", "").await;
    assert_eq!(v2.get("swagger").str(), "2.0");
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let packed = site.send("GET /openapi/v2", &[("accept", accept)], b"").await;
    assert_eq!(
        packed.headers()["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    assert_eq!(site.json("GET /openapi/v3/apis/no/v1", "").await.0, 404);
}
