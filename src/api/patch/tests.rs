//! Tests of patches that need nothing but this crate; `tests/it/api` compares with upstream.

use super::*;

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap()
}

fn patched(patch: Result<Patch, Error>, object: &str, kind: (&str, &str, &str)) -> String {
    let schema = Schema::of(kind.0, kind.1, kind.2).unwrap();
    match patch.and_then(|patch| patch.apply(value(object), &schema)) {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    }
}

fn json(object: &str, patch: &str) -> String {
    patched(Patch::json(patch.as_bytes()), object, ("", "v1", "ConfigMap"))
}

fn strategic(object: &str, patch: &str) -> String {
    patched(Patch::strategic(patch.as_bytes()), object, ("", "v1", "Pod"))
}

#[test]
fn json_patch_tests_an_absent_path_against_null() {
    let object = r#"{"data":{"a":"1"}}"#;
    assert_eq!(json(object, r#"[{"op":"test","path":"/data/b","value":null}]"#), object);
    assert_eq!(
        json(object, r#"[{"op":"test","path":"/data/a","value":null}]"#),
        "testing value /data/a failed: test failed"
    );
}

#[test]
fn json_patch_edits_lists_and_escaped_keys() {
    let object = r#"{"l":[1,2],"m":{"a/b":1}}"#;
    let patch = r#"[{"op":"add","path":"/l/-","value":3},{"op":"add","path":"/l/0","value":0},
        {"op":"remove","path":"/m/a~1b"},{"op":"copy","from":"/l","path":"/m/c"},
        {"op":"move","from":"/l/3","path":"/n"},{"op":"replace","path":"/l/-1","value":9}]"#;
    assert_eq!(json(object, patch), r#"{"l":[0,1,9],"m":{"c":[0,1,2,3]},"n":3}"#);
}

#[test]
fn json_patches_are_bounded() {
    let many = vec![r#"{"op":"test","path":"/a"}"#; 10_001].join(",");
    assert_eq!(
        Patch::json(format!("[{many}]").as_bytes()).unwrap_err(),
        Error::TooLarge(
            "The allowed maximum operations in a JSON patch is 10000, got 10001".into()
        )
    );
    let deeper = vec![r#"{"op":"copy","from":"/a","path":"/a/b"}"#; 200].join(",");
    assert_eq!(json(r#"{"a":{}}"#, &format!("[{deeper}]")), "exceeded max depth");
    let wide = vec![r#"{"op":"copy","from":"/a","path":"/b/-"}"#; 100].join(",");
    let object = format!(r#"{{"a":"{}","b":[]}}"#, "x".repeat(1 << 20));
    assert!(json(&object, &format!("[{wide}]")).starts_with("Unable to complete the copy"));
}

#[test]
fn broken_patches_are_refused() {
    let refused = |patch: Result<Patch, Error>| patch.unwrap_err().to_string();
    assert_eq!(
        refused(Patch::json(b"{}")),
        "error decoding patch: json: cannot unmarshal object into Go value of type \
         []handlers.jsonPatchOp"
    );
    assert_eq!(
        refused(Patch::merge(b"[]")),
        "error decoding patch: json: cannot unmarshal array into Go value of type \
         map[string]interface {}"
    );
    assert_eq!(refused(Patch::strategic(b"{")), "unexpected end of JSON input");
    let patch = Patch::json(br#"[{"op":"test","path":"/x","value":null,"y":1}]"#).unwrap();
    assert_eq!(patch.findings(), [r#"json patch unknown field "[0].y""#]);
    let patch = Patch::merge(br#"{"a":{"b":1,"b":2}}"#).unwrap();
    assert_eq!(patch.findings(), [r#"duplicate field "a.b""#]);
}

#[test]
fn lists_of_containers_merge_by_name() {
    let object = r#"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}]}}"#;
    let patch = r#"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],
        "containers":[{"name":"b","image":"2"}]}}"#;
    assert_eq!(
        strategic(object, patch),
        r#"{"spec":{"containers":[{"image":"2","name":"b"},{"image":"1","name":"a"}]}}"#
    );
    let patch = r#"{"spec":{"containers":[{"name":"a","$patch":"delete"},{"name":"c"}]}}"#;
    assert_eq!(
        strategic(object, patch),
        r#"{"spec":{"containers":[{"name":"c"},{"image":"1","name":"b"}]}}"#
    );
    let patch = r#"{"spec":{"containers":[{"image":"x"}]}}"#;
    assert_eq!(
        strategic(object, patch),
        "map: map[image:x] does not contain declared merge key: name"
    );
}

#[test]
fn directives_replace_retain_and_delete() {
    let object = r#"{"metadata":{"finalizers":["a","b"],"labels":{"x":"1","y":"2"}}}"#;
    let patch = r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],
        "finalizers":["c"],"labels":{"$patch":"replace","z":"3"}}}"#;
    assert_eq!(
        strategic(object, patch),
        r#"{"metadata":{"finalizers":["c","b"],"labels":{"z":"3"}}}"#
    );
    let patch = r#"{"metadata":{"labels":{"$retainKeys":["x"],"x":"2"}}}"#;
    assert_eq!(
        strategic(object, patch),
        r#"{"metadata":{"finalizers":["a","b"],"labels":{"x":"2"}}}"#
    );
    let patch = r#"{"metadata":{"labels":{"$retainKeys":["x"],"y":"2"}}}"#;
    assert_eq!(strategic(object, patch), "invalid patch format of retainKeys");
}

#[test]
fn errors_become_statuses() {
    let code = |error: Error| Status::from(error).code;
    assert_eq!(code(Error::BadRequest(String::new())), 400);
    assert_eq!(code(Error::TooLarge(String::new())), 413);
    assert_eq!(code(Error::Unprocessable(String::new())), 422);
    assert_eq!(code(Error::Merge(String::new())), 500);
    let error = codec::Error::Strict(vec!["unknown field \"x\"".into()]);
    assert_eq!(
        invalid_result(&value("{}"), &error).message,
        r#" "" is invalid: patch: Invalid value: "{}": strict decoding error: unknown field "x""#
    );
}
