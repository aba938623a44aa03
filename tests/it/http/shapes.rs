//! Forms of answers: tables, bare metadata, YAML, protobuf; and bodies in protobuf.

use rk::api::tree::Value;

use crate::api::objects;
use crate::api::oracle::Oracle;
use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::{Reply, Wire};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const PARTIALS: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What protobuf documents begin with.
const MAGIC: &[u8] = b"k8s\0";

#[test]
fn objects_are_told_in_the_form_that_is_asked_for() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("wait --for=create configmap/kube-root-ca.crt --timeout=30s").ok();
    cluster.apply(objects::OWN).ok();
    let wire = Wire::new(&cluster);
    wire.post(MAPS, r#"{"metadata":{"name":"a","labels":{"x":"1"}},"data":{"k":"v"}}"#).ok();
    tables(&wire);
    bare_metadata(&wire);
    yaml(&wire);
    protobuf_bodies(&wire);
    protobuf_watch(&wire);
    every_kind_in_protobuf(&wire);
}

fn tables(wire: &Wire<'_>) {
    let one = wire.get_as(&format!("{MAPS}/a"), TABLE).ok();
    assert_eq!((one.get("kind").str(), one.get("apiVersion").str()), ("Table", "meta.k8s.io/v1"));
    let columns = one.get("columnDefinitions").items();
    let headings: Vec<&str> = columns.iter().map(|column| column.get("name").str()).collect();
    assert_eq!(headings, ["Name", "Data", "Age"]);
    let row = &one.get("rows").items()[0];
    assert_eq!(row.get("cells").items()[..2], ["a".into(), Value::Int(1)]);
    assert_eq!(row.at(&["object", "kind"]).str(), "PartialObjectMetadata");
    let list = wire.get_as(&format!("{MAPS}?labelSelector=x"), TABLE).ok();
    assert_eq!(list.get("rows").items().len(), 1);
    assert_ne!(list.at(&["metadata", "resourceVersion"]).str(), "");
    for (include, kind) in
        [("None", ""), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")]
    {
        let path = format!("{MAPS}?labelSelector=x&includeObject={include}");
        let table = wire.get_as(&path, TABLE).ok();
        let object = table.get("rows").items()[0].get("object").clone();
        assert_eq!(object.get("kind").str(), kind, "{include}");
    }
    wire.get_as(&format!("{MAPS}?includeObject=Some"), TABLE).refused(400, "BadRequest");
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let events = wire.get_as(&path, TABLE).lines();
    let headed = |event: &Value| !event.at(&["object", "columnDefinitions"]).items().is_empty();
    assert!(headed(&events[0]) && !headed(&events[1]), "columns are named once");
    assert!(events.iter().all(|event| event.at(&["object", "rows"]).items().len() == 1));
    // Who does not know tables of that version takes the next form.
    let other = "application/json;as=Table;v=v9;g=meta.k8s.io,application/json";
    assert_eq!(wire.get_as(&format!("{MAPS}/a"), other).ok().get("kind").str(), "ConfigMap");
}

fn bare_metadata(wire: &Wire<'_>) {
    let is_bare = |object: &Value| {
        let (kind, version) = (object.get("kind").str(), object.get("apiVersion").str());
        (kind, version) == ("PartialObjectMetadata", "meta.k8s.io/v1")
            && object.get("data").is_null()
    };
    assert!(is_bare(&wire.get_as(&format!("{MAPS}/a"), PARTIAL).ok()));
    let list = wire.get_as(MAPS, PARTIALS).ok();
    assert_eq!(list.get("kind").str(), "PartialObjectMetadataList");
    assert!(list.get("items").items().iter().all(is_bare));
    let events = wire.get_as(&format!("{MAPS}?watch=1&timeoutSeconds=1"), PARTIAL).lines();
    assert!(!events.is_empty() && events.iter().all(|event| is_bare(event.get("object"))));
    let packed = format!("{PROTOBUF};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    for path in [MAPS, "/apis/example.com/v1/things"] {
        let reply = wire.get_as(path, &packed);
        assert!(reply.code == 200 && reply.body.starts_with(MAGIC), "{path}: {}", reply.text());
    }
    let merged = r#"{"metadata":{"labels":{"y":"2"}}}"#;
    let media_type = "Content-Type: application/merge-patch+json";
    let accept = format!("Accept: {PARTIAL}");
    let words = ["-X", "PATCH", "-H", media_type, "-H", &accept, "--data", merged];
    assert!(is_bare(&wire.call(&format!("{MAPS}/a"), &words).ok()));
}

fn yaml(wire: &Wire<'_>) {
    let reply = wire.get_as(&format!("{MAPS}/a"), "application/yaml");
    assert_eq!(reply.header("content-type"), "application/yaml");
    let object: Value = serde_saphyr::from_str(&reply.text()).unwrap();
    assert_eq!(object.to_string(), wire.get(&format!("{MAPS}/a")).ok().to_string());
    let body = b"metadata:\n  name: from-yaml\ndata:\n  mode: \"0644\"\n";
    let made = wire.send("POST", MAPS, "application/yaml", body).ok();
    assert_eq!(made.at(&["data", "mode"]).str(), "0644");
    wire.get_as(&format!("{MAPS}?watch=1"), "application/yaml").refused(406, "NotAcceptable");
}

/// A field of a protobuf message that has bytes in it; all are short.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 128).unwrap();
    [&[(number << 3) | 2, length][..], bytes].concat()
}

/// A message in the envelope of Kubernetes. client-go may leave its type blank.
fn sealed(kind: &str, message: &[u8]) -> Vec<u8> {
    let types = match kind {
        "" => Vec::new(),
        kind => [field(1, b"v1"), field(2, kind.as_bytes())].concat(),
    };
    [MAGIC.to_vec(), field(1, &types), field(2, message)].concat()
}

fn protobuf_bodies(wire: &Wire<'_>) {
    let named = |name: &str| field(1, &field(1, name.as_bytes()));
    for (kind, name) in [("", "blank"), ("ConfigMap", "typed")] {
        let entry = field(2, &[field(1, b"k"), field(2, b"v")].concat());
        let map = sealed(kind, &[named(name), entry].concat());
        let reply = wire.send("POST", MAPS, PROTOBUF, &map);
        assert_eq!((reply.code, reply.ok().at(&["data", "k"]).str()), (201, "v"));
        let path = format!("{MAPS}/{name}");
        // Options of a deletion: only to be tried, then with a precondition, then in earnest.
        let options = if kind.is_empty() { "" } else { "DeleteOptions" };
        let dry = sealed(options, &field(5, b"All"));
        assert_eq!(wire.send("DELETE", &path, PROTOBUF, &dry).code, 200);
        let wrong = sealed("", &field(2, &field(1, b"other-uid")));
        wire.send("DELETE", &path, PROTOBUF, &wrong).refused(409, "Conflict");
        let policy = sealed("", &field(4, b"Background"));
        wire.send("DELETE", &path, PROTOBUF, &policy).ok();
        wire.get(&path).refused(404, "NotFound");
    }
    wire.send("POST", MAPS, PROTOBUF, b"k8s\0\xff\xff").refused(400, "BadRequest");
    wire.send("POST", MAPS, PROTOBUF, b"{}").refused(400, "BadRequest");
    let things = "/apis/example.com/v1/things";
    let said = wire.send("POST", things, PROTOBUF, &sealed("Thing", &named("t")));
    said.refused(415, "UnsupportedMediaType");
    let only = wire.get_as(things, PROTOBUF).refused(406, "NotAcceptable");
    assert!(only.contains("application/json"), "{only}");
    let either = format!("{PROTOBUF},application/json");
    assert_eq!(wire.get_as(things, &either).ok().get("kind").str(), "ThingList");
}

/// Frames of a length and a message each.
fn protobuf_watch(wire: &Wire<'_>) {
    let reply = wire.get_as(&format!("{MAPS}?watch=1&timeoutSeconds=1"), PROTOBUF);
    assert_eq!(reply.header("content-type"), format!("{PROTOBUF};stream=watch"));
    let mut rest = &reply.body[..];
    let mut frames = 0;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (frame, after) = after.split_at(length);
        assert!(frame.starts_with(b"\x0a\x05ADDED"), "{frame:?}");
        assert!(frame.windows(4).any(|bytes| bytes == MAGIC));
        (rest, frames) = (after, frames + 1);
    }
    assert!(rest.is_empty() && frames >= 2);
}

/// A resource that can be listed: its path and the kind of its objects.
fn listed(wire: &Wire<'_>, base: &str, group: &str) -> Vec<(String, [String; 3])> {
    let found = wire.get(base).ok();
    let is_listed = |resource: &&Value| resource.get("verbs").items().contains(&"list".into());
    let resources = found.get("resources").items().iter().filter(is_listed);
    let entry = |resource: &Value| {
        let kind = resource.get("kind").str().to_owned();
        let path = format!("{base}/{}", resource.get("name").str());
        (path, [group.to_owned(), "v1".to_owned(), kind])
    };
    resources.map(entry).collect()
}

/// What Kubernetes' own types make of an object in JSON is what comes in protobuf.
fn every_kind_in_protobuf(wire: &Wire<'_>) {
    let Some(mut oracle) = Oracle::start() else { return };
    let mut resources = listed(wire, "/api/v1", "");
    for group in wire.get("/apis").ok().get("groups").items() {
        let name = group.get("name").str();
        if name != "example.com" {
            resources.extend(listed(wire, &format!("/apis/{name}/v1"), name));
        }
    }
    assert!(resources.len() >= 19, "{resources:?}");
    for (path, [group, version, kind]) in resources {
        let packed = wire.get_as(&path, PROTOBUF);
        assert!(packed.code == 200 && packed.body.starts_with(MAGIC), "{path}");
        let one = eventually(&path, || {
            let list = wire.get(&path).ok();
            let first = list.get("items").items().first().map(|first| at_home(&path, first));
            first.ok_or_else(|| "there is no object".to_owned())
        });
        let (json, packed) = eventually(&one, || unchanged(wire, &one));
        let gvk = (group, version, kind);
        let theirs = oracle.ask_kind("decode", &gvk, [("text", json.text().into())]);
        assert_eq!(theirs.error(), None, "{one}");
        assert_eq!(packed.body, theirs.bytes(), "{one} {}", json.text());
    }
}

/// The path of one object of a list.
fn at_home(path: &str, object: &Value) -> String {
    let metadata = object.get("metadata");
    let (name, namespace) = (metadata.get("name").str(), metadata.get("namespace").str());
    let (base, plural) = path.rsplit_once('/').unwrap();
    match namespace {
        "" => format!("{path}/{name}"),
        namespace => format!("{base}/namespaces/{namespace}/{plural}/{name}"),
    }
}

/// An object in both forms, at one revision.
fn unchanged(wire: &Wire<'_>, path: &str) -> Result<(Reply, Reply), String> {
    let before = wire.get(path);
    let packed = wire.get_as(path, PROTOBUF);
    match before.body == wire.get(path).body {
        true => Ok((before, packed)),
        false => Err("it changes".to_owned()),
    }
}
