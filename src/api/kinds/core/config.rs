//! ConfigMaps and Secrets: small bags of data that may be sealed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::kinds::check::{self, At};
use crate::api::kinds::table::{AGE, NAME, columns};
use crate::api::kinds::text;
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;
use crate::history::Fields;

/// All values of one object together: they are mounted into pods and kept in memory.
const DATA_BYTES_MAX: usize = 1024 * 1024;

/// The rules of ConfigMaps.
pub struct ConfigMap;

/// The rules of Secrets.
pub struct Secret;

impl Rules for ConfigMap {
    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let mut bytes = 0;
        for (key, value) in root.field("data").keys() {
            key_format(key, value, errors);
            if !object.get("binaryData").get(key).is_null() {
                errors.invalid(value, &key.into(), "duplicate of key present in binaryData");
            }
            bytes += value.str().len();
        }
        for (key, value) in root.field("binaryData").keys() {
            key_format(key, value, errors);
            bytes += decoded(&value).len();
        }
        if bytes > DATA_BYTES_MAX {
            errors.too_long("[]", DATA_BYTES_MAX);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        sealed(object, old, &["data", "binaryData"], errors);
        self.validate(object, errors);
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[NAME, ("Data", "string", 0, "How many keys there are"), AGE])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let keys = object.get("data").fields().count() + object.get("binaryData").fields().count();
        vec![object.name().into(), count(keys), age(object, context)]
    }
}

impl Rules for Secret {
    fn default(&self, object: &mut Value) {
        let texts = object.remove("stringData");
        for (key, text) in texts.fields() {
            object.entry("data").set(key, STANDARD.encode(text.str()));
        }
        if object.get("type").is_empty() {
            object.set("type", "Opaque");
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let data = root.field("data");
        let mut bytes = 0;
        for (key, value) in data.keys() {
            key_format(key, value, errors);
            bytes += decoded(&value).len();
        }
        if bytes > DATA_BYTES_MAX {
            errors.too_long(data, DATA_BYTES_MAX);
        }
        typed(object, data, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        check::immutable(At::root(object).field("type"), old.get("type"), errors);
        sealed(object, old, &["data"], errors);
        self.validate(object, errors);
    }

    fn fields(&self, object: &Value) -> Fields {
        vec![("type", object.get("type").str().into())]
    }

    fn selectable(&self) -> &[&'static str] {
        &["type"]
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Type", "string", 0, "What the data is used for"),
            ("Data", "string", 0, "How many keys there are"),
            AGE,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let keys = object.get("data").fields().count();
        vec![object.name().into(), object.get("type").clone(), count(keys), age(object, context)]
    }
}

fn count(keys: usize) -> Value {
    i64::try_from(keys).unwrap_or(i64::MAX).into()
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.str()).unwrap_or_default()
}

fn key_format(key: &str, at: At<'_>, errors: &mut Errors) {
    for fault in text::config_key(key) {
        errors.invalid(at, &key.into(), &fault);
    }
}

/// What an object with `immutable` set may not change.
fn sealed(object: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if !old.get("immutable").is_true() {
        return;
    }
    if !object.get("immutable").is_true() {
        errors.forbidden("immutable", WHY);
    }
    for field in fields {
        if object.get(field) != old.get(field) {
            errors.forbidden(*field, WHY);
        }
    }
}

/// What a secret's type demands of its data.
fn typed(object: &Value, data: At<'_>, errors: &mut Errors) {
    const ACCOUNT: &str = "kubernetes.io/service-account.name";
    let missing = |key: &str| data.get(key).is_null();
    let mut demand = |keys: &[&str]| {
        let absent = keys.iter().filter(|key| missing(key));
        absent.for_each(|key| errors.required(data.key(key), ""));
    };
    match object.get("type").str() {
        "kubernetes.io/tls" => demand(&["tls.crt", "tls.key"]),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
            demand(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" if data.get("ssh-privatekey").is_empty() => {
            errors.required(data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/dockercfg" => json(data.key(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => json(data.key(".dockerconfigjson"), errors),
        "kubernetes.io/service-account-token"
            if object.annotation(ACCOUNT).unwrap_or("").is_empty() =>
        {
            errors.required(format!("metadata.annotations[{ACCOUNT}]"), "");
        }
        _ => {}
    }
}

/// Registry credentials are a JSON object; their content is never shown.
fn json(at: At<'_>, errors: &mut Errors) {
    if at.is_null() {
        errors.required(at, "");
    } else if !Value::parse(&decoded(&at)).is_ok_and(|value| value.as_object().is_some()) {
        errors.invalid(at, &"<secret contents redacted>".into(), "must be a JSON object");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Value {
        Value::parse(json.as_bytes()).unwrap()
    }

    fn faults(rules: &dyn Rules, object: &str, old: Option<&str>) -> Vec<String> {
        let mut errors = Errors::default();
        match old {
            None => rules.validate(&parse(object), &mut errors),
            Some(old) => rules.validate_update(&parse(object), &parse(old), &mut errors),
        }
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn string_data_becomes_data() {
        let mut secret = parse(r#"{"data":{"a":"YQ=="},"stringData":{"a":"new","b":"x"}}"#);
        Secret.default(&mut secret);
        assert_eq!(secret.to_string(), r#"{"data":{"a":"bmV3","b":"eA=="},"type":"Opaque"}"#);
    }

    #[test]
    fn keys_and_sizes_are_checked() {
        assert_eq!(
            faults(&ConfigMap, r#"{"data":{"a":"","..":""},"binaryData":{"a":""}}"#, None),
            [
                "data[..]: Invalid value: \"..\": must not be '..'",
                "data[a]: Invalid value: \"a\": duplicate of key present in binaryData",
            ]
        );
        let big = format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat(DATA_BYTES_MAX + 1));
        assert_eq!(
            faults(&ConfigMap, &big, None),
            ["[]: Too long: may not be more than 1048576 bytes"]
        );
    }

    #[test]
    fn sealed_objects_stay() {
        let old = r#"{"immutable":true,"data":{"a":"1"}}"#;
        assert_eq!(
            faults(&ConfigMap, r#"{"data":{"a":"2"}}"#, Some(old)),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert!(faults(&ConfigMap, old, Some(old)).is_empty());
    }

    #[test]
    fn types_demand_keys_and_stay() {
        let tls = r#"{"type":"kubernetes.io/tls","data":{"tls.crt":""}}"#;
        assert_eq!(faults(&Secret, tls, None), ["data[tls.key]: Required value"]);
        assert_eq!(
            faults(&Secret, r#"{"type":"b"}"#, Some(r#"{"type":"a"}"#)),
            [r#"type: Invalid value: "b": field is immutable"#]
        );
        let docker =
            r#"{"type":"kubernetes.io/dockerconfigjson","data":{".dockerconfigjson":"eA=="}}"#;
        assert_eq!(
            faults(&Secret, docker, None),
            ["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": must be a \
              JSON object"]
        );
        assert_eq!(faults(&Secret, r#"{"type":"kubernetes.io/basic-auth"}"#, None).len(), 2);
    }
}
