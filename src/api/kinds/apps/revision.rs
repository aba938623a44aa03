//! ControllerRevisions: earlier states of DaemonSets and StatefulSets.

use crate::api::kinds::check::{self, At};
use crate::api::kinds::table::{AGE, NAME, columns, number};
use crate::api::meta::{Meta, split_api_version};
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of controller revisions.
pub struct ControllerRevision;

impl Rules for ControllerRevision {
    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let data = root.field("data");
        check::not_negative(root.field("revision"), errors);
        match data.value() {
            Value::Null => errors.required(data, "data is mandatory"),
            Value::Object(_) => {}
            _ => errors.required(data, "data must be a valid JSON object"),
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let root = At::root(object);
        check::not_negative(root.field("revision"), errors);
        if object.get("data") != old.get("data") {
            errors.invalid_unshown("data", "field is immutable");
        }
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Controller", "string", 0, "Controller of the object"),
            ("Revision", "string", 0, "The number of the state that this is"),
            AGE,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let controller = object.owners().into_iter().find(|owner| owner.controller);
        let shown = controller.map_or_else(
            || "<none>".to_owned(),
            |owner| {
                let (group, _) = split_api_version(&owner.api_version);
                let dot = if group.is_empty() { "" } else { "." };
                format!("{}{dot}{group}/{}", owner.kind.to_lowercase(), owner.name)
            },
        );
        vec![
            object.name().into(),
            shown.into(),
            number(object.get("revision")),
            age(object, context),
        ]
    }
}
