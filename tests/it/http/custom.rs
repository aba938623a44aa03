//! Custom resources, from the definition to the last object.

use std::process::Stdio;

use rk::api::tree::Value;

use crate::guestbook::eventually;
use crate::harness::Cluster;
use crate::wire::Wire;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.selector
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Note, type: string, jsonPath: .spec.note, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, minimum: 1, maximum: 10, default: 3}
              note: {type: string, pattern: '^[a-z]+$', description: What to say.}
              replicas: {type: integer}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              port: {x-kubernetes-int-or-string: true}
              mode: {type: string, enum: [a, b]}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
              conditions:
                type: array
                items:
                  type: object
                  properties: {type: {type: string}, status: {type: string}}
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

#[test]
fn a_kind_is_defined_used_and_taken_back() {
    let mut cluster = Cluster::start(&["--disable-agent"]);
    established(&cluster);
    let wire = Wire::new(&cluster);
    objects(&wire);
    wrong_objects(&wire);
    subresources(&wire);
    patches(&wire);
    with_kubectl(&cluster);
    other_versions(&wire);
    wrong_definitions(&wire);
    names_that_are_taken(&cluster, &wire);
    // All of it is there after a restart, at once.
    cluster.kill();
    cluster.go();
    let wire = Wire::new(&cluster);
    assert_eq!(wire.get(&format!("{WIDGETS}/w")).ok().at(&["spec", "size"]).as_int(), Some(5));
    taken_back(&cluster, &wire);
}

/// Who sees the definition established can use it in the same moment.
fn established(cluster: &Cluster) {
    cluster.apply(DEFINITION).ok();
    cluster.kubectl("wait --for=condition=Established crd/widgets.example.com --timeout=30s").ok();
    let wire = Wire::new(cluster);
    wire.get(WIDGETS).ok();
    let status = wire.get(&format!("{DEFINITIONS}/widgets.example.com")).ok().get("status").clone();
    assert_eq!(status.get("storedVersions").to_string(), r#"["v1"]"#);
    assert_eq!(status.at(&["acceptedNames", "singular"]).str(), "widget");
    let accepted = status
        .get("conditions")
        .items()
        .iter()
        .map(|c| (c.get("type").str().to_owned(), c.get("status").str().to_owned()));
    let accepted: Vec<_> = accepted.collect();
    assert!(accepted.contains(&("NamesAccepted".into(), "True".into())), "{accepted:?}");
}

fn widget(name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"{name}"}},
            "spec":{spec}}}"#
    )
}

fn objects(wire: &Wire<'_>) {
    let spec =
        r#"{"replicas":2,"free":{"x":{"y":1}},"gone":1,"port":"http"},"status":{"replicas":7}"#;
    let reply = wire.post(WIDGETS, &widget("w", spec));
    assert_eq!(reply.headers("warning"), [r#"299 - "unknown field \"spec.gone\"""#]);
    let made = reply.ok();
    assert_eq!(
        made.get("spec").to_string(),
        r#"{"free":{"x":{"y":1}},"port":"http","replicas":2,"size":3}"#,
        "pruned and defaulted"
    );
    assert!(
        made.get("status").is_null() && made.at(&["metadata", "generation"]).as_int() == Some(1)
    );
    let list = wire.get(WIDGETS).ok();
    assert_eq!(list.get("kind").str(), "WidgetList");
    assert_eq!(list.get("items").items()[0].get("kind").str(), "Widget", "items name their kind");
}

fn wrong_objects(wire: &Wire<'_>) {
    for (spec, fault) in [
        (
            r#"{"size":20}"#,
            "spec.size: Invalid value: 20: spec.size in body should be less than or equal to 10",
        ),
        (
            r#"{"size":"a"}"#,
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        ),
        (
            r#"{"note":"A"}"#,
            "spec.note: Invalid value: \"A\": spec.note in body should match '^[a-z]+$'",
        ),
        (r#"{"mode":"c"}"#, "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\""),
        (r#"{"port":1.5}"#, "spec.port: Invalid value: \"number\""),
    ] {
        let said = wire.post(WIDGETS, &widget("bad", spec)).refused(422, "Invalid");
        assert!(
            said.starts_with(&format!("Widget.example.com \"bad\" is invalid: {fault}")),
            "{said}"
        );
    }
    let none = r#"{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"bad"}}"#;
    let said = wire.post(WIDGETS, none).refused(422, "Invalid");
    assert!(said.ends_with("spec: Required value"), "{said}");
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let said = wire.post(&strict, &widget("bad", r#"{"gone":1}"#)).refused(400, "BadRequest");
    assert!(said.contains("strict decoding error: unknown field \"spec.gone\""), "{said}");
    let other = widget("bad", "{}").replace("Widget", "Gadget");
    wire.post(WIDGETS, &other).refused(400, "BadRequest");
    let body = r#"{"metadata":{"name":"bad"},"spec":{}}"#;
    let said = wire.post(WIDGETS, body).refused(400, "BadRequest");
    let wanted = "the object provided is unrecognized (must be of type Widget): Object 'Kind' is \
                  missing in '{\"metadata\":{\"name\":\"bad\"},\"spec\":{}}' \
                  ({\"metadata\":{\"name\":\"bad\"},\"sp ...)";
    assert_eq!(said, wanted);
    let unversioned = r#"{"kind":"Widget","metadata":{"name":"bad"},"spec":{}}"#;
    let said = wire.post(WIDGETS, unversioned).refused(400, "BadRequest");
    assert!(said.starts_with("the API version in the data () does not match"), "{said}");
    wire.get(&format!("{WIDGETS}/bad")).refused(404, "NotFound");
}

fn subresources(wire: &Wire<'_>) {
    let status = r#"{"spec":{"size":9},"status":{"replicas":2,"selector":"a=b","odd":1}}"#;
    let told = wire.merge(&format!("{WIDGETS}/w/status"), status).ok();
    assert_eq!(told.get("status").to_string(), r#"{"replicas":2,"selector":"a=b"}"#);
    assert_eq!(told.at(&["spec", "size"]).as_int(), Some(3), "a status write changes no spec");
    assert_eq!(told.at(&["metadata", "generation"]).as_int(), Some(1));
    let more =
        wire.merge(&format!("{WIDGETS}/w"), r#"{"spec":{"size":5},"status":{"replicas":9}}"#);
    let more = more.ok();
    assert_eq!(more.at(&["status", "replicas"]).as_int(), Some(2), "nor a spec write the status");
    assert_eq!(more.at(&["metadata", "generation"]).as_int(), Some(2));
    let scale = wire.get(&format!("{WIDGETS}/w/scale")).ok();
    assert_eq!(
        (scale.get("kind").str(), scale.get("apiVersion").str()),
        ("Scale", "autoscaling/v1")
    );
    assert_eq!(scale.get("status").to_string(), r#"{"replicas":2,"selector":"a=b"}"#);
    wire.merge(&format!("{WIDGETS}/w/scale"), r#"{"spec":{"replicas":4}}"#).ok();
    let now = wire.get(&format!("{WIDGETS}/w")).ok();
    assert_eq!(now.at(&["spec", "replicas"]).as_int(), Some(4));
}

fn patches(wire: &Wire<'_>) {
    let path = format!("{WIDGETS}/w");
    let strategic = "application/strategic-merge-patch+json";
    let said = wire.send("PATCH", &path, strategic, b"{}").refused(415, "UnsupportedMediaType");
    assert!(said.contains("application/json-patch+json, application/merge-patch+json"), "{said}");
    let said = wire.put(&path, &widget("w", "{}")).refused(422, "Invalid");
    assert!(said.contains("metadata.resourceVersion: Invalid value: 0"), "{said}");
    wire.merge(&path, r#"{"spec":{"size":99}}"#).refused(422, "Invalid");
}

fn with_kubectl(cluster: &Cluster) {
    let status = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    let words = ["patch", "widget", "w", "--subresource=status", "--type=merge", "-p", status];
    cluster.kubectl_with(&words, "").ok();
    let table = cluster.kubectl("get widgets").ok();
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows, [["NAME", "SIZE", "READY"], ["w", "5", "True"]]);
    let wide = cluster.kubectl("get wd -o wide").ok();
    assert!(wide.lines().next().unwrap().ends_with("NOTE"), "{wide}");
    let all = cluster.kubectl("get all").ok();
    assert!(all.contains("widget.example.com/w"), "{all}");
    let explained = cluster.kubectl("explain widget.spec.note").ok();
    assert!(explained.contains("What to say."), "{explained}");
    cluster.kubectl("scale widget w --replicas=6").ok();
    let applied = widget("applied", r#"{"size":4}"#);
    cluster.apply(&applied).ok();
    let again = cluster.apply(&applied.replace(":4", ":6")).ok();
    assert!(again.contains("widget.example.com/applied configured"), "{again}");
    let said = cluster.apply(&applied.replace("size", "sise")).fails();
    assert!(said.contains("unknown field \"spec.sise\""), "{said}");
    cluster.kubectl("auth can-i create widgets.example.com").ok();
    cluster.kubectl("delete widget applied").ok();
}

fn other_versions(wire: &Wire<'_>) {
    let beta = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let same = wire.get(&format!("{beta}/w")).ok();
    assert_eq!(same.get("apiVersion").str(), "example.com/v1beta1");
    assert_eq!(same.at(&["spec", "size"]).as_int(), Some(5));
    let reply = wire.merge(&format!("{beta}/w"), r#"{"metadata":{"labels":{"a":"b"}}}"#);
    assert_eq!(reply.headers("warning"), [r#"299 - "example.com/v1beta1 Widget is deprecated""#]);
    let stored = wire.get(&format!("{WIDGETS}/w")).ok();
    assert_eq!(stored.at(&["metadata", "labels", "a"]).str(), "b");
    wire.get(&format!("{beta}/w/status")).refused(404, "NotFound");
}

/// A merge into the definition, and what it is refused for.
const WRONG: &[(&str, &str)] = &[
    (
        r#"{"spec":{"names":{"plural":"gadgets"}}}"#,
        "spec.names.plural: Invalid value: \"gadgets\": field is immutable",
    ),
    (r#"{"spec":{"versions":[]}}"#, "spec.versions: Invalid value"),
    (
        r#"{"spec":{"scope":"Cluster"}}"#,
        "spec.scope: Invalid value: \"Cluster\": field is immutable",
    ),
    (r#"{"spec":{"group":"other.com"}}"#, "spec.group: Invalid value"),
    (
        r#"{"spec":{"versions":[{"name":"v1","served":true,"storage":true}]}}"#,
        "spec.versions[0].schema.openAPIV3Schema: Required value",
    ),
    (
        r#"{"spec":{"versions":[{"name":"v2","served":true,"storage":true,
            "schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#,
        "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions",
    ),
    (
        r#"{"spec":{"versions":[{"name":"v1","served":true,"storage":true,"schema":{
            "openAPIV3Schema":{"type":"object","properties":{"a":{"type":"array"}}}}}]}}"#,
        "spec.validation.openAPIV3Schema.properties[a].items: Required value",
    ),
    (
        r#"{"spec":{"versions":[{"name":"v1","served":true,"storage":true,"schema":{
            "openAPIV3Schema":{"type":"object","x-kubernetes-validations":[{"rule":"self.a"}]}}}]}}"#,
        "spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule: Invalid value",
    ),
    (
        r#"{"spec":{"conversion":{"strategy":"Webhook"}}}"#,
        "spec.conversion.strategy: Forbidden: not supported by this version of rk",
    ),
];

fn wrong_definitions(wire: &Wire<'_>) {
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let before = wire.get(&path).ok().to_string();
    for (patch, fault) in WRONG {
        let said = wire.merge(&path, patch).refused(422, "Invalid");
        assert!(said.contains(fault), "{patch}: {said}");
    }
    assert_eq!(wire.get(&path).ok().to_string(), before);
    wire.get(&format!("{WIDGETS}/w")).ok();
}

fn names_that_are_taken(cluster: &Cluster, wire: &Wire<'_>) {
    let other = DEFINITION.replace("widgets", "gizmos").replace("Widget", "Gizmo");
    cluster.apply(&other).ok();
    let path = format!("{DEFINITIONS}/gizmos.example.com");
    let refused =
        |c: &Value| c.get("type").str() == "NamesAccepted" && c.get("status").str() == "False";
    let condition = eventually("the short name is refused", || {
        let definition = wire.get(&path).ok();
        let conditions = definition.at(&["status", "conditions"]).items();
        conditions.iter().find(|c| refused(c)).cloned().ok_or_else(|| definition.to_string())
    });
    assert_eq!(condition.get("reason").str(), "ShortNamesConflict");
    assert_eq!(condition.get("message").str(), "\"wd\" is already in use");
    wire.get("/apis/example.com/v1/gizmos").refused(404, "NotFound");
    wire.delete(&path, "").ok();
}

/// A definition that goes takes its objects with it, and waits for them.
fn taken_back(cluster: &Cluster, wire: &Wire<'_>) {
    wire.merge(&format!("{WIDGETS}/w"), r#"{"metadata":{"finalizers":["example.com/hold"]}}"#).ok();
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut watch = wire.command(&format!("{WIDGETS}?watch=1"), &[]);
    let watch = cluster.machine.spawn(watch.stdout(Stdio::piped()));
    let marked = wire.delete(&path, "").ok();
    let finalizers = marked.at(&["metadata", "finalizers"]).to_string();
    assert_eq!(finalizers, r#"["customresourcecleanup.apiextensions.k8s.io"]"#);
    eventually("creates are refused", || match wire.post(WIDGETS, &widget("late", "{}")).code {
        403 => Ok(()),
        code => Err(code.to_string()),
    });
    eventually("the object is being deleted", || {
        let object = wire.get(&format!("{WIDGETS}/w")).ok();
        let marked = !object.at(&["metadata", "deletionTimestamp"]).is_null();
        if marked { Ok(()) } else { Err(object.to_string()) }
    });
    wire.merge(&format!("{WIDGETS}/w"), r#"{"metadata":{"finalizers":null}}"#).ok();
    cluster.kubectl("wait --for=delete crd/widgets.example.com --timeout=40s").ok();
    wire.get(WIDGETS).refused(404, "NotFound");
    let seen = watch.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success(), "the watch ends with what it watches: {text}");
    assert!(text.lines().last().unwrap().contains("\"DELETED\""), "{text}");
    assert!(!cluster.kubectl("api-resources").ok().contains("example.com"));
}
