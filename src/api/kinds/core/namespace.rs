//! Namespaces: a phase, and finalizers of their own that only `/finalize` takes away.

use crate::api::kinds::check::At;
use crate::api::kinds::table::{AGE, NAME, columns};
use crate::api::kinds::text::{self, Format};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age, default_subresource};
use crate::api::tree::Value;
use crate::history::Fields;

/// The rules of namespaces.
pub struct Namespace;

/// The label that every namespace has, with its name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer in `spec.finalizers` that waits for the namespace to be empty.
pub const FINALIZER: &str = "kubernetes";

impl Rules for Namespace {
    fn name_format(&self) -> Format {
        text::dns_label
    }

    fn default(&self, object: &mut Value) {
        let name = object.name().to_owned();
        if !name.is_empty() {
            object.entry_at(&["metadata", "labels"]).set(NAME_LABEL, name);
        }
        let phase = object.entry_at(&["status", "phase"]);
        if phase.is_empty() {
            *phase = "Active".into();
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", [("phase", "Active".into())]);
        let finalizers = object.entry_at(&["spec", "finalizers"]);
        if finalizers.items().iter().any(|f| f.str() == FINALIZER) {
            return;
        }
        match finalizers.as_array_mut() {
            Some(list) => list.push(FINALIZER.into()),
            None => *finalizers = vec![FINALIZER.into()].into(),
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        let kept = old.at(&["spec", "finalizers"]).clone();
        object.entry("spec").set("finalizers", kept);
        object.set("status", old.get("status").clone());
    }

    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        match subresource {
            "finalize" => object.set("status", old.get("status").clone()),
            _ => default_subresource(subresource, object, old),
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let spec = root.field("spec");
        let finalizers = spec.field("finalizers");
        for finalizer in finalizers.value().items() {
            finalizer_name(finalizers, finalizer, errors);
        }
    }

    fn validate_subresource(
        &self,
        subresource: &str,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        if subresource == "finalize" {
            let root = At::root(object);
            let spec = root.field("spec");
            let finalizers = spec.field("finalizers");
            finalizers.items().for_each(|item| finalizer_name(item, item.value(), errors));
        } else {
            phase(object, errors);
        }
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn holds_deletion(&self, object: &Value) -> bool {
        !object.at(&["spec", "finalizers"]).items().is_empty()
    }

    fn begin_deletion(&self, object: &mut Value) {
        object.entry("status").set("phase", "Terminating");
    }

    fn fields(&self, object: &Value) -> Fields {
        vec![("status.phase", object.at(&["status", "phase"]).str().into())]
    }

    fn selectable(&self) -> &[&'static str] {
        &["status.phase"]
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[NAME, ("Status", "string", 0, "The status of the namespace"), AGE])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let phase = object.at(&["status", "phase"]).str();
        vec![object.name().into(), phase.into(), age(object, context)]
    }
}

/// A finalizer of a namespace: a qualified name, or one that Kubernetes knows without a prefix.
fn finalizer_name(at: At<'_>, finalizer: &Value, errors: &mut Errors) {
    let name = finalizer.str();
    for fault in text::label_key(name) {
        errors.invalid(at, finalizer, &fault);
    }
    if !name.contains('/') && !matches!(name, FINALIZER | "orphan" | "foregroundDeletion") {
        errors.invalid(
            at,
            finalizer,
            "name is neither a standard finalizer name nor is it fully qualified",
        );
    }
}

fn phase(object: &Value, errors: &mut Errors) {
    let phase = object.at(&["status", "phase"]);
    let (wanted, when) =
        if object.is_deleting() { ("Terminating", "is not empty") } else { ("Active", "is empty") };
    if phase.str() != wanted {
        let why = format!("may only be '{wanted}' if `deletionTimestamp` {when}");
        errors.invalid("status.Phase", phase, &why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::clock::Wall;

    const NOW: Context = Context { now: Wall::from_seconds(1_795_168_080) };

    #[test]
    fn a_new_namespace_is_active_and_finalized() {
        let mut object =
            Value::parse(br#"{"metadata":{"name":"a"},"spec":{"finalizers":["x/y"]}}"#).unwrap();
        Namespace.default(&mut object);
        Namespace.prepare_create(&mut object, NOW);
        assert_eq!(
            object.to_string(),
            r#"{"metadata":{"labels":{"kubernetes.io/metadata.name":"a"},"name":"a"},"spec":{"finalizers":["x/y","kubernetes"]},"status":{"phase":"Active"}}"#
        );
        assert_eq!(Namespace.fields(&object), [("status.phase", "Active".into())]);
    }

    #[test]
    fn only_finalize_takes_finalizers_away() {
        let old = Value::parse(br#"{"metadata":{"name":"a"},"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}"#).unwrap();
        let mut new = Value::parse(br#"{"metadata":{"name":"a"}}"#).unwrap();
        Namespace.prepare_update(&mut new, &old, NOW);
        assert_eq!(new, old);
        let mut new = Value::parse(br#"{"metadata":{"name":"a"},"spec":{}}"#).unwrap();
        Namespace.prepare_subresource("finalize", &mut new, &old);
        assert!(new.at(&["spec", "finalizers"]).is_null());
    }

    #[test]
    fn a_bad_finalizer_or_phase_is_refused() {
        let object =
            Value::parse(br#"{"spec":{"finalizers":["mine"]},"status":{"phase":"Terminating"}}"#)
                .unwrap();
        let mut errors = Errors::default();
        Namespace.validate(&object, &mut errors);
        Namespace.validate_subresource("status", &object, &object, &mut errors);
        let causes = errors.into_causes();
        assert_eq!(causes.len(), 2);
        assert_eq!(
            causes[1].message,
            "Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        );
    }
}
