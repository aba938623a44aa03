//! What kinds share that make pods of a template: its defaults, columns and warnings.

use super::core::pod::defaults;
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

/// What a new object is told whose name makes a bad name for a pod.
pub fn name_warning(object: &Value, old: &Value) -> Vec<String> {
    let faults = text::dns_label(object.name());
    if !old.is_null() || faults.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising \
         behavior; a DNS label is recommended: [{}]",
        faults.join(" ")
    )]
}
