//! Tests of decoding that need nothing but this crate.

use super::*;
use crate::limits;

fn deployment() -> Schema {
    Schema::of("apps", "v1", "Deployment").unwrap()
}

fn findings(text: &str) -> Vec<String> {
    json::decode(text.as_bytes(), &deployment()).unwrap().findings
}

fn error(text: &str) -> String {
    json::decode(text.as_bytes(), &deployment()).unwrap_err().to_string()
}

#[test]
fn unknown_and_duplicate_fields_are_found_with_their_paths() {
    let text = r#"{"metadata":{"labels":{"a":"1","a":"2"},"name":"x"},"spec":{"foo":1,
        "template":{"spec":{"containers":[{"name":"c","bar":[1,{"z":2}]}]}}},"Spec":{}}"#;
    assert_eq!(
        findings(text),
        [
            r#"duplicate field "metadata.labels.a""#,
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.template.spec.containers[0].bar""#,
            r#"unknown field "Spec""#,
        ]
    );
}

#[test]
fn findings_are_warnings_or_refusals() {
    let decoded = || json::decode(br#"{"kind":"Deployment","foo":1}"#, &deployment()).unwrap();
    let (value, warnings) = decoded().accept(FieldValidation::Warn).unwrap();
    assert_eq!(warnings, [r#"unknown field "foo""#]);
    assert!(value.get("foo").is_null());
    assert!(decoded().accept(FieldValidation::Ignore).unwrap().1.is_empty());
    assert_eq!(
        decoded().accept(FieldValidation::Strict).unwrap_err().to_string(),
        r#"strict decoding error: unknown field "foo""#
    );
}

#[test]
fn what_is_dropped_as_empty_is_noted() {
    let text = r#"{"metadata":{"labels":{},"name":"x"},"spec":{"template":{"spec":{"containers":[],
        "nodeSelector":{"a":"b"}}},"strategy":{}}}"#;
    let decoded = json::decode(text.as_bytes(), &deployment()).unwrap();
    let wanted = [("metadata.labels", "{}"), ("spec.template.spec.containers", "[]")];
    let noted: Vec<(&str, &str)> =
        decoded.empties.iter().map(|(path, form)| (path.as_str(), *form)).collect();
    assert_eq!(noted, wanted);
    assert!(decoded.value.get("metadata").get("labels").is_null());
}

#[test]
fn wrong_types_are_told_as_go_tells_them() {
    assert_eq!(
        error(r#"{"spec":{"replicas":"3"}}"#),
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type \
         int32"
    );
    assert_eq!(error("[]"), "json: cannot unmarshal array into Go value of type v1.Deployment");
}

#[test]
fn broken_text_is_told_as_go_tells_it() {
    let cases = [
        ("{", "unexpected end of JSON input"),
        ("", "unexpected end of JSON input"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"spec":{"replicas":1]}"#, "invalid character ']' after object key:value pair"),
        (r#"{"a":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
        (r#"{"a":1}x"#, "invalid character 'x' after top-level value"),
        (r#"{"a":01}"#, "invalid character '1' after object key:value pair"),
        (r#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
        ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        (r#"{"a":[1,]}"#, "invalid character ']' looking for beginning of value"),
        ("{\"a\":\"\n\"}", r"invalid character '\n' in string literal"),
    ];
    for (text, expected) in cases {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn strings_are_read_in_full() {
    let text = br#"{"metadata":{"name":"a\u00e9\ud83d\ude00\ud800\n\/\xff"}}"#;
    let mut text = text.to_vec();
    let at = text.windows(4).position(|w| w == b"\\xff").unwrap();
    text.splice(at..at + 4, [0xff]);
    let value = json::decode(&text, &deployment()).unwrap().value;
    assert_eq!(value.at(&["metadata", "name"]).str(), "aé😀\u{fffd}\n/\u{fffd}");
}

#[test]
fn the_shape_is_the_one_that_go_writes() {
    let text = br#"{"metadata":{"name":"x","labels":{},"annotations":null},"spec":{
        "template":{"spec":{"containers":[{"name":"c","args":[],"tty":false,
            "resources":{"requests":{"cpu":0.5,"memory":"1024Mi"}}}]}}}}"#;
    let value = json::decode(text, &deployment()).unwrap().value;
    let expected = r#"{"metadata":{"name":"x"},"spec":{"selector":null,"strategy":{},"template":{
        "metadata":{},"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"500m",
        "memory":"1Gi"}}}]}}},"status":{}}"#;
    assert_eq!(value, Value::parse(expected.as_bytes()).unwrap());
    let again = conform(value.clone(), &deployment()).unwrap();
    assert_eq!(again.value, value);
}

#[test]
fn nesting_and_numbers_of_values_are_bounded() {
    let deep = format!(r#"{{"foo":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(error(&deep), "exceeded max depth");
    let many = format!(r#"{{"foo":[{}1]}}"#, "1,".repeat(limits::TREE_VALUES_MAX));
    assert_eq!(error(&many), "the object has too many values");
}

#[test]
fn the_type_of_an_object_is_read_alone() {
    let read = |text: &str| json::type_meta(text.as_bytes());
    assert_eq!(
        read(r#"{"kind":"Pod","apiVersion":"v1","x":[{}]}"#),
        Ok(("v1".into(), "Pod".into()))
    );
    assert_eq!(read("{}"), Ok((String::new(), String::new())));
    assert_eq!(
        read(r#"{"kind":1}"#).unwrap_err().to_string(),
        "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go \
         struct field .kind of type string"
    );
}

#[test]
fn yaml_is_read_as_kubernetes_reads_it() {
    let text = b"
a: 0644
b: [yes, off, 1_000, 0x10, 0b11, 0o17, 1e3, ~, null, '0644', 1.50]
<<: {c: d}
1: one
true: two
date: 2001-01-01
multi: |
  x
  y
";
    let (value, duplicate) = yaml::parse(text).unwrap();
    let expected = r#"{"a":420,"b":[true,false,1000,16,3,15,1000,null,null,"0644",1.5],"c":"d",
        "1":"one","true":"two","date":"2001-01-01","multi":"x\ny\n"}"#;
    assert_eq!(value, Value::parse(expected.as_bytes()).unwrap());
    assert_eq!(duplicate, None);
}

#[test]
fn duplicate_yaml_keys_are_findings() {
    let text = b"metadata:\n  name: a\n  name: b\n";
    let decoded = yaml::decode(text, &deployment()).unwrap();
    assert_eq!(decoded.value.at(&["metadata", "name"]).str(), "b");
    assert_eq!(
        decoded.findings,
        ["yaml: unmarshal errors:\n  line 3: key \"name\" already set in map"]
    );
}

#[test]
fn yaml_is_bounded_and_one_document() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for i in 1..9 {
        let before = format!("*a{},", i - 1).repeat(9);
        bomb.push_str(&format!("a{i}: &a{i} [{before}]\n"));
    }
    assert!(yaml::parse(bomb.as_bytes()).is_err());
    assert!(yaml::parse(b"a: 1\n---\nb: 2\n").is_err());
    assert!(yaml::parse(b"a: [\n").is_err());
    assert!(yaml::parse(b"a: .inf\n").is_err());
    assert!(yaml::parse(&[b'a', b':', 0xff]).is_err());
    assert_eq!(yaml::parse(b"").unwrap().0, Value::Null);
    let deep = "[".repeat(1000) + &"]".repeat(1000);
    assert!(yaml::parse(deep.as_bytes()).is_err());
}

#[test]
fn protobuf_goes_there_and_back() {
    let text = br#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{
        "replicas":0,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":
        {"maxSurge":"25%","maxUnavailable":1}},"template":{"spec":{"containers":[{"name":"c"}],
        "automountServiceAccountToken":false}}}}"#;
    let object = json::decode(text, &deployment()).unwrap().value;
    let sealed = protobuf::encode_sealed(&object, &deployment()).unwrap();
    let envelope = protobuf::open(&sealed).unwrap();
    assert_eq!((envelope.api_version.as_str(), envelope.kind.as_str()), ("apps/v1", "Deployment"));
    let mut read = protobuf::decode(envelope.message, &deployment()).unwrap();
    read.set("apiVersion", "apps/v1");
    read.set("kind", "Deployment");
    assert_eq!(read, object);
}

#[test]
fn protobuf_lists_are_made_of_their_items() {
    let schema = Schema::of("", "v1", "ConfigMap").unwrap();
    let item = |name: &str| {
        let object = format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"a":"b"}}}}"#);
        json::decode(object.as_bytes(), &schema).unwrap().value
    };
    let items = [item("x"), item("y")];
    let metadata = Value::from([("resourceVersion", "7".into())]);
    let list = Value::from([("metadata", metadata.clone()), ("items", items.to_vec().into())]);
    let whole = protobuf::encode(&list, &Schema::of("", "v1", "ConfigMapList").unwrap()).unwrap();
    let mut written = protobuf::List::with_room(0);
    items.iter().rev().for_each(|item| written.item(item, &schema).unwrap());
    let sealed = written.seal("v1", "ConfigMapList", &metadata).unwrap();
    assert_eq!(sealed, protobuf::seal("v1", "ConfigMapList", &whole));
}

#[test]
fn watch_frames_are_lengths_and_events() {
    let schema = Schema::of("", "v1", "Namespace").unwrap();
    let text = br#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}"#;
    let object = json::decode(text, &schema).unwrap().value;
    let frame = protobuf::watch_frame("ADDED", &protobuf::encode_sealed(&object, &schema).unwrap());
    let (len, message) = frame.split_at(4);
    assert_eq!(u32::from_be_bytes(len.try_into().unwrap()) as usize, message.len());
    let event = Schema::of("meta.k8s.io", "v1", "WatchEvent").unwrap();
    let event = protobuf::decode(message, &event).unwrap();
    assert_eq!(event.get("type").str(), "ADDED");
    assert_eq!(*event.get("object"), object);
}

#[test]
fn broken_protobuf_is_refused() {
    let refused = |message: &[u8]| protobuf::decode(message, &deployment()).unwrap_err();
    assert!(protobuf::open(b"{}").unwrap_err().to_string().contains("[107 56 115 0]"));
    assert_eq!(refused(&[0x0a, 0x05, 0x01]).to_string(), "unexpected EOF");
    assert_eq!(refused(&[0x08, 0x01]).to_string(), "proto: wrong wireType = 0 for field 1");
    assert_eq!(refused(&[0x00]).to_string(), "proto: illegal tag 0 (wire type 0)");
    assert_eq!(refused(&[0xff; 11]).to_string(), "proto: integer overflow");
    assert_eq!(refused(&[0x0b; 10_000]).to_string(), "unexpected EOF");
    // An unknown field is passed.
    assert!(protobuf::decode(&[0xf8, 0x7f, 0x01], &deployment()).is_ok());
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_beyond_the_decoders(bytes in proptest::collection::vec(0_u8.., 0..200)) {
        let _ = protobuf::decode(&bytes, &deployment());
        let _ = protobuf::open(&bytes);
        let _ = json::decode(&bytes, &deployment());
        let _ = yaml::decode(&bytes, &deployment());
    }
}

fn widget() -> Schema {
    let schema = br#"{"type":"object","properties":{
        "metadata":{"type":"object","properties":{"name":{"type":"string","maxLength":9}}},
        "spec":{"type":"object","properties":{
            "size":{"type":"integer"},
            "tags":{"type":"object","additionalProperties":{"type":"string"}},
            "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true,
                "properties":{"known":{"type":"object"}}},
            "pod":{"type":"object","x-kubernetes-embedded-resource":true,
                "properties":{"spec":{"type":"object"}}},
            "any":{"x-kubernetes-preserve-unknown-fields":true},
            "list":{"type":"array","items":{"type":"object","properties":{
                "port":{"x-kubernetes-int-or-string":true}}}}}}}}"#;
    Schema::custom(&Value::parse(schema).unwrap(), false).unwrap()
}

#[test]
fn custom_resources_are_pruned_by_their_schema() {
    let text = br#"{"apiVersion":"e.x/v1","kind":"Widget","foo":1,
        "metadata":{"name":"w","labels":{"a":"b"},"bar":2},
        "spec":{"size":"not a number","tags":{"t":"1"},"more":{},
            "free":{"x":{"y":1},"known":{"z":1}},
            "pod":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"q":1},"r":1},
            "any":[{"s":null}],
            "list":[{"port":80},{"port":"http","no":1}]}}"#;
    let decoded = json::decode(text, &widget()).unwrap();
    assert_eq!(
        decoded.findings,
        [
            r#"unknown field "foo""#,
            r#"unknown field "metadata.bar""#,
            r#"unknown field "spec.more""#,
            r#"unknown field "spec.free.known.z""#,
            r#"unknown field "spec.pod.spec.q""#,
            r#"unknown field "spec.pod.r""#,
            r#"unknown field "spec.list[1].no""#,
        ]
    );
    let expected = br#"{"apiVersion":"e.x/v1","kind":"Widget",
        "metadata":{"name":"w","labels":{"a":"b"}},
        "spec":{"size":"not a number","tags":{"t":"1"},"free":{"x":{"y":1},"known":{}},
            "pod":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{}},
            "any":[{"s":null}],"list":[{"port":80},{"port":"http"}]}}"#;
    assert_eq!(decoded.value, Value::parse(expected).unwrap());
    assert_eq!(conform(decoded.value.clone(), &widget()).unwrap().value, decoded.value);
    assert_eq!(
        json::decode(br#"{"metadata":{"labels":[]}}"#, &widget()).unwrap_err().to_string(),
        "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type \
         map[string]string"
    );
}

#[test]
fn custom_resources_may_preserve_everything() {
    let schema = Value::parse(br#"{"type":"object","properties":{"spec":{"type":"object"}}}"#);
    let schema = Schema::custom(&schema.unwrap(), true).unwrap();
    let text = br#"{"spec":{"a":{"b":1}},"c":[2]}"#;
    let decoded = json::decode(text, &schema).unwrap();
    assert_eq!(decoded.findings, Vec::<String>::new());
    assert_eq!(decoded.value, Value::parse(text).unwrap());
}
