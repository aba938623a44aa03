//! RuntimeClasses: what runs pods, and what that costs.

use super::check::{At, Rule};
use super::core::pod::warnings::DEPRECATED_LABELS;
use super::core::pod::{defaults, resources, tolerations};
use super::table::{AGE, NAME, columns};
use super::{metadata, text};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age};
use crate::api::tree::Value;

/// The rules of runtime classes.
pub struct RuntimeClass;

impl Rules for RuntimeClass {
    fn default(&self, object: &mut Value) {
        let overhead = object.get_mut("overhead").and_then(|overhead| overhead.get_mut("podFixed"));
        if let Some(amounts) = overhead {
            defaults::amounts(amounts);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        Rule::RequiredText(text::dns_label).check(root.field("handler"), errors);
        resources::overhead("overhead", object.at(&["overhead", "podFixed"]), errors);
        let scheduling = root.field("scheduling");
        metadata::labels(scheduling.field("nodeSelector"), errors);
        let list = scheduling.field("tolerations");
        tolerations(list, errors);
        distinct(list, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        self.validate(object, errors);
        // Upstream does not show the value.
        if object.get("handler") != old.get("handler") {
            errors.invalid("handler", &Value::Null, "field is immutable");
        }
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn warnings(&self, object: &Value, _old: &Value) -> Vec<String> {
        let selector = object.at(&["scheduling", "nodeSelector"]);
        let chosen = DEPRECATED_LABELS.iter().filter(|(label, _)| !selector.get(label).is_null());
        chosen.map(|(_, why)| format!("scheduling.nodeSelector: {why}")).collect()
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[NAME, ("Handler", "string", 0, "What on a node runs pods of this class."), AGE])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        vec![object.name().into(), object.get("handler").str().into(), age(object, context)]
    }
}

/// No toleration is there twice, whatever the seconds.
fn distinct(list: At<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for toleration in list.items() {
        let key =
            ["key", "operator", "value", "effect"].map(|field| toleration.value().get(field).str());
        if seen.contains(&key) {
            errors.duplicate(toleration, &toleration);
        }
        seen.push(key);
    }
}
