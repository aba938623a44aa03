//! OpenAPI documents as Kubernetes' own clients read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rk::api::registry::{self, Called, Resource};
use rk::api::schema::Schema;
use rk::api::schema::openapi;
use rk::api::tree::Value;

use super::oracle::Oracle;

const WIDGET: &str = r#"{"type":"object","description":"A widget.","required":["spec"],"properties":{
    "spec":{"type":"object","properties":{
        "size":{"type":"integer","format":"int32","minimum":1,"maximum":10,"default":3},
        "name":{"type":"string","pattern":"^[a-z]+$","nullable":true},
        "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
        "either":{"x-kubernetes-int-or-string":true,
            "anyOf":[{"type":"integer"},{"type":"string"}]},
        "list":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],
            "items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"}}}}}}}}"#;

fn widget(schema: &Value) -> Resource {
    let pods = registry::builtin();
    let pods = pods.get("", "v1", "pods").expect("pods");
    Resource {
        called: Called::new("things.example.com", "v1alpha1", "widgets"),
        group: "things.example.com".into(),
        version: "v1alpha1".into(),
        kind: "Widget".into(),
        list_kind: "WidgetList".into(),
        plural: "widgets".into(),
        singular: "widget".into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: pods.scope,
        verbs: pods.verbs.clone(),
        subresources: Vec::new(),
        storage: pods.storage.clone(),
        stored_as: "things.example.com/v1alpha1".into(),
        unconditional_update: true,
        create_on_update: false,
        schema: Schema::custom(schema, false).expect("a schema"),
        rules: pods.rules.clone(),
        custom: true,
    }
}

#[test]
fn version_2_is_the_same_in_json_and_protobuf() {
    let schema = Value::parse(WIDGET.as_bytes()).expect("a schema");
    let widget = widget(&schema);
    let registry = registry::builtin();
    let mut served: Vec<&Resource> = registry.iter().map(|resource| &**resource).collect();
    served.push(&widget);
    let json = String::from_utf8(openapi::v2(&served)).expect("UTF-8");
    let packed = STANDARD.encode(openapi::v2_protobuf(&served));
    let Some(mut oracle) = Oracle::start() else { return };
    let answer = oracle.ask("openapi-v2", [("text", json.into()), ("bytes", packed.into())]);
    assert_eq!(answer.error(), None);
    for model in ["io.k8s.api.core.v1.Pod", "com.example.things.v1alpha1.Widget"] {
        assert!(answer.strict().contains(&model), "{model}");
    }
}

#[test]
fn version_3_is_read_whole() {
    let schema = Value::parse(WIDGET.as_bytes()).expect("a schema");
    let widget = widget(&schema);
    let registry = registry::builtin();
    let mut served: Vec<&Resource> = registry.iter().map(|resource| &**resource).collect();
    served.push(&widget);
    let mut groups: Vec<(&str, &str)> = served.iter().map(|r| (&*r.group, &*r.version)).collect();
    groups.dedup();
    let Some(mut oracle) = Oracle::start() else { return };
    for (group, version) in groups {
        let of_group = |r: &&&Resource| r.group == group && r.version == version;
        let served: Vec<&Resource> = served.iter().filter(of_group).copied().collect();
        let json = openapi::v3(group, version, &served);
        let text = String::from_utf8(json.clone()).expect("UTF-8");
        let answer = oracle.ask("openapi-v3", [("text", text.into())]);
        let ours = Value::parse(&json).expect("JSON");
        assert_eq!(
            answer.object().map(Value::to_string),
            Ok(ours.to_string()),
            "{group}/{version}"
        );
    }
}
