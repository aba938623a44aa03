//! Discovery and OpenAPI, and how they follow what is served.

use rk::api::tree::Value;

use crate::harness::Cluster;
use crate::wire::Wire;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const OPENAPI_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

const GADGETS: &str = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
    "metadata":{"name":"gadgets.example.com"},"spec":{"group":"example.com","scope":"Cluster",
    "names":{"plural":"gadgets","kind":"Gadget","shortNames":["gd"],"categories":["all"]},
    "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{
        "type":"object","description":"A gadget.","properties":{"size":{"type":"integer"}}}}},
      {"name":"v1beta1","served":true,"storage":false,"schema":{"openAPIV3Schema":{
        "type":"object"}}}]}}"#;

#[test]
fn documents_describe_what_is_served() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    plain_discovery(&wire);
    let before = wire.get("/openapi/v3").ok();
    let tag = tag_of(&wire, "/apis");
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    wire.post(definitions, GADGETS).ok();
    cluster.kubectl("wait --for=condition=Established crd/gadgets.example.com --timeout=30s").ok();
    assert_ne!(tag_of(&wire, "/apis"), tag, "discovery has changed");
    aggregated_discovery(&wire);
    version_3(&wire, &before);
    version_2(&wire);
    cluster.kubectl("delete crd gadgets.example.com --timeout=30s").ok();
    assert_eq!(tag_of(&wire, "/apis"), tag, "and is as it was again");
    assert_eq!(wire.get("/openapi/v3").ok().to_string(), before.to_string());
}

#[test]
fn the_server_tells_of_itself() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let wire = Wire::new(&cluster);
    let page = wire.get("/statusz");
    assert_eq!(page.header("content-type"), "text/plain; charset=utf-8");
    let text = page.text();
    assert!(text.starts_with("\napiserver statusz\n"), "{text}");
    assert!(text.contains("\nBinary version: 1.37."), "{text}");
    assert!(
        text.contains("\nPaths: /healthz /livez /metrics /readyz /statusz /version\n"),
        "{text}"
    );
    let json = "application/json;as=Statusz;g=config.k8s.io;v=v1beta1";
    let object = wire.get_as("/statusz", json).ok();
    assert_eq!(object.get("emulationVersion").str(), "1.37");
    wire.get_as("/statusz", "application/yaml").refused(406, "NotAcceptable");
    cluster.kubectl("get --raw /statusz --as eye --as-group system:monitoring").ok();
    cluster.kubectl("get --raw /statusz --as jane").fails();
    wire.call("/api/v1/namespaces?watch=true&timeoutSeconds=1", &[]);
    let metrics = wire.get("/metrics").text();
    for line in [
        r#"apiserver_watch_events_total{group="",version="v1",resource="namespaces"} "#,
        r#"apiserver_init_events_total{group="",resource="namespaces"} "#,
        r#"apiserver_storage_objects{resource="clusterroles.rbac.authorization.k8s.io"} "#,
        r#"apiserver_request_sli_duration_seconds_bucket{le="1.0",verb="GET","#,
        r#"apiserver_admission_controller_admission_duration_seconds_count{name="NamespaceLifecycle","#,
        r#"apiserver_authorization_decisions_total{type="RBAC",name="rbac",decision="allowed"} "#,
        r#"authentication_attempts{result="success"} "#,
        r#"scheduler_pending_pods{queue="active"} 0"#,
        "apiserver_client_certificate_expiration_seconds_count ",
        r#"workqueue_adds_total{name="serviceaccount"} "#,
        "process_resident_memory_bytes ",
        r#"git_version="v1.37."#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

fn tag_of(wire: &Wire<'_>, path: &str) -> String {
    wire.get_as(path, AGGREGATED).header("etag")
}

fn texts<'v>(list: &'v Value, key: &str) -> Vec<&'v str> {
    list.items().iter().map(|item| item.get(key).str()).collect()
}

fn plain_discovery(wire: &Wire<'_>) {
    let api = wire.get("/api").ok();
    assert_eq!(api.get("versions").to_string(), r#"["v1"]"#);
    let groups = wire.get("/apis").ok();
    let names = texts(groups.get("groups"), "name");
    // kubectl takes the first that fits.
    assert_eq!(names[..2], ["apiregistration.k8s.io", "apps"]);
    let apps = wire.get("/apis/apps").ok();
    assert_eq!(apps.at(&["preferredVersion", "groupVersion"]).str(), "apps/v1");
    let core = wire.get("/api/v1").ok();
    for name in ["pods", "pods/log", "pods/exec", "pods/eviction", "nodes/proxy", "bindings"] {
        assert!(texts(core.get("resources"), "name").contains(&name), "{name}");
    }
    let root = wire.get("/").ok();
    assert!(root.get("paths").items().contains(&"/apis/apps/v1".into()));
    let version = wire.get("/version").ok();
    assert_eq!((version.get("major").str(), version.get("minor").str()), ("1", "37"));
}

fn aggregated_discovery(wire: &Wire<'_>) {
    let reply = wire.get_as("/apis", AGGREGATED);
    assert_eq!(reply.header("content-type"), AGGREGATED);
    let tag = reply.header("etag");
    let words = ["-H", &format!("Accept: {AGGREGATED}"), "-H", &format!("If-None-Match: {tag}")];
    let same = wire.call("/apis", &words);
    assert_eq!((same.code, same.body.len()), (304, 0));
    let all = reply.ok();
    let groups = all.get("items").items();
    let example = groups.iter().find(|g| g.at(&["metadata", "name"]).str() == "example.com");
    let versions = example.unwrap().get("versions");
    assert_eq!(texts(versions, "version"), ["v1", "v1beta1"], "the preferred one first");
    let gadgets = &versions.items()[0].get("resources").items()[0];
    assert_eq!(gadgets.get("scope").str(), "Cluster");
    assert_eq!(gadgets.get("shortNames").to_string(), r#"["gd"]"#);
    assert_eq!(gadgets.at(&["responseKind", "kind"]).str(), "Gadget");
    // Older clients ask for more forms at once.
    let both = format!(
        "{AGGREGATED},application/json;g=apidiscovery.k8s.io;v=v2beta1;\
                        as=APIGroupDiscoveryList,application/json"
    );
    assert_eq!(wire.get_as("/api", &both).ok().get("kind").str(), "APIGroupDiscoveryList");
}

fn version_3(wire: &Wire<'_>, before: &Value) {
    let index = wire.get("/openapi/v3").ok();
    let place = |index: &Value, path: &str| {
        index.at(&["paths", path, "serverRelativeURL"]).str().to_owned()
    };
    assert_eq!(place(before, "apis/example.com/v1"), "");
    let url = place(&index, "apis/example.com/v1");
    let reply = wire.get(&url);
    assert!(reply.header("cache-control").contains("immutable"), "{}", reply.head);
    let tag = reply.header("etag");
    let same = wire.call(&url, &["-H", &format!("If-None-Match: {tag}")]);
    assert_eq!((same.code, same.body.len()), (304, 0));
    let document = reply.ok();
    let gadget = document.at(&["components", "schemas", "com.example.v1.Gadget"]);
    assert_eq!(gadget.get("description").str(), "A gadget.");
    let kind = &gadget.get("x-kubernetes-group-version-kind").items()[0];
    assert_eq!((kind.get("group").str(), kind.get("kind").str()), ("example.com", "Gadget"));
    let create = document.at(&["paths", "/apis/example.com/v1/gadgets", "post"]);
    assert!(texts(create.get("parameters"), "name").contains(&"fieldValidation"));
    let moved = wire.get("/openapi/v3/apis/example.com/v1?hash=other");
    assert_eq!((moved.code, &*moved.header("location")), (301, &*url));
    // What has not changed keeps its name, so that clients need not fetch it again.
    assert_eq!(place(&index, "apis/apps/v1"), place(before, "apis/apps/v1"));
    wire.get("/openapi/v3/apis/none/v1").refused(404, "NotFound");
}

fn version_2(wire: &Wire<'_>) {
    let plain = wire.get("/openapi/v2");
    let tag = plain.header("etag");
    let document = plain.ok();
    assert_eq!(document.get("swagger").str(), "2.0");
    let names = ["io.k8s.api.core.v1.Pod", "com.example.v1.Gadget"];
    assert!(names.iter().all(|name| !document.at(&["definitions", name]).is_null()));
    let same = wire.call("/openapi/v2", &["-H", &format!("If-None-Match: {tag}")]);
    assert_eq!((same.code, same.body.len()), (304, 0));
    let packed = wire.get_as("/openapi/v2", OPENAPI_PROTOBUF);
    assert!(packed.header("content-type").ends_with("+protobuf") && packed.body.len() > 100_000);
    let gzip = wire.call("/openapi/v2", &["-H", "Accept-Encoding: gzip"]);
    assert_eq!(gzip.header("content-encoding"), "gzip");
    assert!(gzip.body.starts_with(&[0x1f, 0x8b]));
}
