//! Between the version in which objects are stored and the one in which they are asked for.
//!
//! Where the two are the same, as nearly always, stored bytes are served as they are.

use std::sync::Arc;

use crate::api::registry::Resource;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::history::Object;

/// Whether the stored bytes are what a client of `resource` may see, without a look inside: they
/// start with its kind and version.
pub fn is_identity(resource: &Resource, object: &Object) -> bool {
    !resource.rules.converts() && typed(resource, &object.body).is_some()
}

/// What follows the type of `resource` at the start of an encoded object, if that is its type.
fn typed<'b>(resource: &Resource, body: &'b [u8]) -> Option<&'b [u8]> {
    let rest = body.strip_prefix(br#"{"kind":""#)?.strip_prefix(resource.kind.as_bytes())?;
    let rest = rest.strip_prefix(br#"","apiVersion":""#)?;
    let rest = match resource.group.as_bytes() {
        b"" => rest,
        group => rest.strip_prefix(group)?.strip_prefix(b"/")?,
    };
    rest.strip_prefix(resource.version.as_bytes())?.strip_prefix(b"\"")
}

/// A stored object as a tree in the version of `resource`.
///
/// # Errors
/// 500 when the stored bytes do not decode: memory or disk is damaged.
pub fn as_served(resource: &Resource, object: &Arc<Object>) -> Result<Value, Status> {
    let mut tree = object.tree().map_err(|error| {
        tracing::error!(key = %object.header.key, %error, "a stored object does not decode");
        Status::internal(format!("{} does not decode: {error}", object.header.key))
    })?;
    resource.rules.of_storage(&mut tree);
    set_type(&mut tree, &resource.kind, &resource.api_version());
    Ok(tree)
}

/// Turns an object of the version of `resource` into the one that is stored.
pub(super) fn as_stored(resource: &Resource, mut tree: Value) -> Value {
    resource.rules.to_storage(&mut tree);
    set_type(&mut tree, &resource.kind, &resource.stored_as);
    tree
}

fn set_type(tree: &mut Value, kind: &str, api_version: &str) {
    for (key, text) in [("kind", kind), ("apiVersion", api_version)] {
        if tree.get(key).str() != text {
            tree.set(key, text);
        }
    }
}
