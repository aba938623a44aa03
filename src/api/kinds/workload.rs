//! What kinds share that make pods of a template: its defaults, columns and warnings.

use super::check::At;
use super::core::pod::{defaults, warnings};
use super::table::Heading;
use super::text;
use crate::api::meta::Meta;
use crate::api::tree::Value;

/// The column of the template's containers.
pub const CONTAINERS: Heading =
    ("Containers", "string", 1, "Names of each container in the template.");
/// The column of their images.
pub const IMAGES: Heading =
    ("Images", "string", 1, "Images referenced by each container in the template.");

/// An object's spec with its template filled in, made where absent.
pub fn spec_with_template(object: &mut Value) -> &mut Value {
    let spec = object.entry("spec");
    defaults::spec(spec.entry_at(&["template", "spec"]));
    spec
}

/// Names and images of a template's containers.
pub fn layout(template: &Value) -> [Value; 2] {
    let containers = template.at(&["spec", "containers"]).items();
    ["name", "image"].map(|field| {
        let texts: Vec<&str> = containers.iter().map(|c| c.get(field).str()).collect();
        texts.join(",").into()
    })
}

/// Why the name of a new object is no DNS label; empty where it is, or the object is not new.
pub fn name_faults(object: &Value, old: &Value) -> Vec<String> {
    if !old.is_null() {
        return Vec::new();
    }
    match object.name() {
        // A name that is still to be generated ends in letters and digits.
        "" => text::dns_label(&format!("{}x", object.metadata().get("generateName").str())),
        name => text::dns_label(name),
    }
}

/// What a new object is told whose name makes a bad name for a pod.
pub fn name_warning(object: &Value, old: &Value) -> Vec<String> {
    let faults = name_faults(object, old);
    if faults.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising \
         behavior; a DNS label is recommended: [{}]",
        faults.join(" ")
    )]
}

/// What clients should know of the template at a path, when it is new or its surroundings change.
pub fn template_warnings(object: &Value, old: &Value, path: &[&str]) -> Vec<String> {
    let same = |field: &&str| !old.is_null() && object.get(field) == old.get(field);
    if path.first().is_some_and(same) {
        return Vec::new();
    }
    warnings::of(At::path(&path.join("."), object.at(path)), true)
}

/// The same for a kind whose pods bear its name.
pub fn named_template_warnings(object: &Value, old: &Value) -> Vec<String> {
    let mut told = name_warning(object, old);
    told.extend(template_warnings(object, old, &["spec", "template"]));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_at_as_they_will_be() {
        let warned = |metadata: &str| {
            let object = Value::parse(format!(r#"{{"metadata":{metadata}}}"#).as_bytes()).unwrap();
            !name_warning(&object, &Value::Null).is_empty()
        };
        assert!(!warned(r#"{"name":"a"}"#) && warned(r#"{"name":"a.b"}"#));
        assert!(!warned(r#"{"generateName":"a-"}"#) && warned(r#"{"generateName":"a.b-"}"#));
        let old = Value::object();
        assert!(name_warning(&Value::object(), &old).is_empty(), "an update is not warned");
    }
}
