//! The calls that controllers make, in one line each.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;

use crate::api::meta::Key;
use crate::api::tree::Value;
use crate::client::{Call, Gvr, PatchKind, Verb};

/// A call on an object that is there.
pub fn on(verb: Verb, resource: &Gvr, key: &Key, body: Value) -> Call {
    Call {
        verb,
        resource: resource.clone(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        subresource: "",
        body,
    }
}

/// Makes an object.
pub fn create(resource: &Gvr, namespace: &str, object: Value) -> Call {
    Call {
        verb: Verb::Create,
        resource: resource.clone(),
        namespace: namespace.to_owned(),
        name: String::new(),
        subresource: "",
        body: object,
    }
}

/// Replaces an object.
pub fn update(resource: &Gvr, key: &Key, object: Value) -> Call {
    on(Verb::Update, resource, key, object)
}

/// Replaces an object's status.
pub fn update_status(resource: &Gvr, key: &Key, object: Value) -> Call {
    Call { subresource: "status", ..update(resource, key, object) }
}

/// Merges into an object.
pub fn merge(resource: &Gvr, key: &Key, patch: Value) -> Call {
    on(Verb::Patch(PatchKind::Merge), resource, key, patch)
}

/// Changes an object by strategic merge.
pub fn strategic(resource: &Gvr, key: &Key, patch: Value) -> Call {
    on(Verb::Patch(PatchKind::Strategic), resource, key, patch)
}

/// Removes the object with this UID, and no later one of the same name.
pub fn delete(resource: &Gvr, key: &Key, uid: &str) -> Call {
    delete_with(resource, key, uid, Value::object())
}

/// Removes the object with this UID, with more delete options.
pub fn delete_with(resource: &Gvr, key: &Key, uid: &str, mut options: Value) -> Call {
    options.set("preconditions", Value::from([("uid", uid.into())]));
    on(Verb::Delete, resource, key, options)
}

/// A typed object as a tree. An object that the typed library cannot write reads as null, which
/// the server refuses: no k8s-openapi type is so.
pub fn tree<T: Serialize>(object: &T) -> Value {
    Value::of(object).unwrap_or_default()
}

/// The reference by which an object manages another.
pub fn controller_reference(api_version: &str, kind: &str, owner: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
