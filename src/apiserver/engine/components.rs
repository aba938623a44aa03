//! `ComponentStatus`: the parts of the control plane as objects that nothing stores.
//!
//! In rk they are one process, and what answers here is that process: where the scheduler, the
//! controllers or the store are not well, it has ended, and nothing answers.

use std::sync::Arc;

use super::Ask;
use crate::api::meta::Key;
use crate::api::registry::Resource;
use crate::api::tree::Value;
use crate::history::Object;

/// What upstream calls its parts, in the order of names.
const NAMES: [&str; 3] = ["controller-manager", "etcd-0", "scheduler"];

/// Whether objects of this resource are made here.
pub(super) fn make(resource: &Resource) -> bool {
    resource.group.is_empty() && resource.plural == "componentstatuses"
}

/// The object of the name that is asked for.
pub(super) fn one(ask: &Ask) -> Option<Arc<Object>> {
    NAMES.contains(&&*ask.name).then(|| component(&ask.resource, &ask.name))
}

/// All of them.
pub(super) fn all(resource: &Resource) -> Vec<Arc<Object>> {
    NAMES.iter().map(|name| component(resource, name)).collect()
}

fn component(resource: &Resource, name: &str) -> Arc<Object> {
    let healthy = Value::from([
        ("type", "Healthy".into()),
        ("status", "True".into()),
        ("message", "ok".into()),
    ]);
    let object = Value::from([
        ("apiVersion", "v1".into()),
        ("kind", resource.kind.as_str().into()),
        ("metadata", Value::from([("name", name.into())])),
        ("conditions", vec![healthy].into()),
    ]);
    Arc::new(Object::new(Key::new(&resource.storage, "", name), object, 0, Vec::new()))
}
