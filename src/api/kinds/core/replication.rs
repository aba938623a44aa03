//! ReplicationControllers and PodTemplates: what there was before ReplicaSets.

use crate::api::kinds::apps::{
    lasting_template, replica_columns, replica_counts, replica_fields, replica_row, selected,
};
use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::core::pod::{defaults, spec};
use crate::api::kinds::fallback::{self, Fallback};
use crate::api::kinds::not_yet;
use crate::api::kinds::table::{self, Heading, NAME, columns};
use crate::api::kinds::workload::{layout, named_template_warnings, template_warnings};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, ScalePaths, ScaleSelector};
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;
use crate::history::Fields;

/// The rules of replication controllers.
pub struct ReplicationController;

/// The rules of pod templates.
pub struct PodTemplate;

impl Rules for ReplicationController {
    fn default(&self, object: &mut Value) {
        let spec = object.entry("spec");
        fallback::apply(spec, &[("replicas", Fallback::NumberIfAbsent(1))]);
        if let Some(template) = spec.get_mut("template").filter(|t| t.as_object().is_some()) {
            defaults::spec(template.entry("spec"));
        }
        let labels = spec.at(&["template", "metadata", "labels"]).clone();
        if labels.is_empty() {
            return;
        }
        if spec.get("selector").is_empty() {
            spec.set("selector", labels.clone());
        }
        if object.metadata().get("labels").is_empty() {
            object.entry("metadata").set("labels", labels);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", [("replicas", 0.into())]);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        const NUMBERS: &[(&str, Rule)] =
            &[("replicas", Rule::NotNegative), ("minReadySeconds", Rule::NotNegative)];
        let root = At::root(object);
        let spec = root.field("spec");
        check::apply(NUMBERS, spec, errors);
        let (selector, template) = (spec.field("selector"), spec.field("template"));
        if selector.is_empty() {
            errors.required(selector, "");
        }
        if template.is_null() {
            return errors.required(template, "");
        }
        selected(template, &selector_of(object), errors);
        lasting_template(template, "ReplicationController", errors);
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        replica_counts(object, errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        named_template_warnings(object, old)
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn scale(&self) -> ScalePaths {
        let path = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        ScalePaths {
            spec: path(["spec", "replicas"]),
            status: path(["status", "replicas"]),
            selector: ScaleSelector::Pairs(path(["spec", "selector"])),
        }
    }

    fn fields(&self, object: &Value) -> Fields {
        replica_fields(object)
    }

    fn selectable(&self) -> &[&'static str] {
        &["status.replicas"]
    }

    fn columns(&self) -> Vec<Column> {
        replica_columns()
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        replica_row(object, table::labels(object.at(&["spec", "selector"])), context)
    }
}

/// The labels of the pods that a controller counts.
pub fn selector_of(controller: &Value) -> LabelSelector {
    let pairs = controller.at(&["spec", "selector"]).fields();
    LabelSelector::from_pairs(pairs.map(|(key, value)| (key, value.str())))
}

impl Rules for PodTemplate {
    fn default(&self, object: &mut Value) {
        defaults::spec(object.entry_at(&["template", "spec"]));
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let template = root.field("template");
        spec::template(template, errors);
        not_yet::refuse(not_yet::POD, template.field("spec"), errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        template_warnings(object, old, &["template"])
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn raises_generation(&self, object: &Value, old: &Value) -> bool {
        object.get("template") != old.get("template")
    }

    fn columns(&self) -> Vec<Column> {
        const HEADINGS: &[Heading] = &[
            NAME,
            ("Containers", "string", 0, "Names of each container in the template."),
            ("Images", "string", 0, "Images referenced by each container in the template."),
            ("Pod Labels", "string", 0, "The labels for the pod template."),
        ];
        columns(HEADINGS)
    }

    fn row(&self, object: &Value, _context: Context) -> Vec<Value> {
        let template = object.get("template");
        let [names, images] = layout(template);
        let labels = table::labels(template.at(&["metadata", "labels"]));
        vec![object.name().into(), names, images, labels.into()]
    }
}
