//! Custom resources: the entries of the registry that a CustomResourceDefinition makes, and the
//! rules that its schema, columns and subresources stand for.

pub mod format;
pub mod rules;
pub mod validate;

use std::sync::Arc;

use super::{table, tabled};
use crate::api::codec::{self, FieldValidation};
use crate::api::jsonpath::Path;
use crate::api::meta::{GroupResource, Meta, api_version};
use crate::api::registry::{
    ALL_VERBS, Called, Column, Context, Errors, Resource, Rules, ScalePaths, ScaleSelector, Scope,
    Subresource, age, column, name_and_age, row,
};
use crate::api::schema::Schema;
use crate::api::tree::Value;
use validate::Validator;

/// The entries for a CustomResourceDefinition, one for each served version. One that is being
/// deleted takes no new objects.
pub fn resources(definition: &Value) -> Vec<Resource> {
    let spec = definition.get("spec");
    let versions = spec.get("versions").items();
    let stored = versions.iter().find(|version| version.get("storage").is_true());
    let stored = stored.map_or("", |version| version.get("name").str());
    let served = versions.iter().filter(|version| version.get("served").is_true());
    served.filter_map(|version| resource(definition, version, stored)).collect()
}

fn resource(definition: &Value, version: &Value, stored: &str) -> Option<Resource> {
    let spec = definition.get("spec");
    let (group, names) = (spec.get("group").str(), spec.get("names"));
    let text = |key: &str| names.get(key).str().to_owned();
    let texts = |key: &str| {
        names.get(key).items().iter().map(|item| item.str().to_owned()).collect::<Vec<_>>()
    };
    let open_api = version.at(&["schema", "openAPIV3Schema"]);
    let schema = Schema::custom(open_api, spec.get("preserveUnknownFields").is_true())?;
    let namespaced = spec.get("scope").str() == "Namespaced";
    let rules = Custom::new(spec, version, open_api, schema.clone());
    let verbs = ALL_VERBS.iter().filter(|verb| !definition.is_deleting() || **verb != "create");
    Some(Resource {
        called: Called::new(group, version.get("name").str(), names.get("plural").str()),
        group: group.to_owned(),
        version: version.get("name").str().to_owned(),
        kind: text("kind"),
        list_kind: text("listKind"),
        plural: text("plural"),
        singular: text("singular"),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        scope: if namespaced { Scope::Namespaced } else { Scope::Cluster },
        verbs: verbs.copied().collect(),
        subresources: rules.subresources(),
        storage: GroupResource::new(group, names.get("plural").str()),
        stored_as: api_version(group, stored),
        unconditional_update: false,
        create_on_update: false,
        schema,
        rules: Arc::new(rules),
        custom: true,
    })
}

/// The rules of one version of a custom resource.
struct Custom {
    schema: Schema,
    validator: Validator,
    cel: Option<rules::Rules>,
    columns: Vec<(Column, Path)>,
    has_status: bool,
    scale: Option<ScalePaths>,
    /// Reading fills in: the schema names defaults.
    has_defaults: bool,
    /// Paths by which objects can be selected, without the leading dot.
    selectable: Vec<String>,
    /// What users of the version are told.
    deprecation: Option<String>,
}

impl Custom {
    fn new(spec: &Value, version: &Value, open_api: &Value, schema: Schema) -> Self {
        let subresources = version.get("subresources");
        let scale = Some(subresources.get("scale")).filter(|scale| !scale.is_null());
        Self {
            has_defaults: open_api.to_string().contains("\"default\":"),
            validator: Validator::new(open_api.clone()),
            cel: rules::Rules::of(open_api),
            schema,
            columns: columns(version),
            has_status: !subresources.get("status").is_null(),
            scale: scale.map(scale_paths),
            selectable: selectable(version),
            deprecation: deprecation(spec, version),
        }
    }

    /// What holds of a whole object, written by anybody. Rules are asked only of what is otherwise
    /// as the schema says.
    fn check(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let before = errors.len();
        self.validator.check(object, old, errors);
        if let Some(rules) = self.cel.as_ref().filter(|_| errors.len() == before) {
            rules.check(object, old, errors);
        }
    }

    fn subresources(&self) -> Vec<Subresource> {
        let status = self.has_status.then_some(row::STATUS);
        status.into_iter().chain(self.scale.is_some().then_some(row::SCALE)).collect()
    }
}

fn columns(version: &Value) -> Vec<(Column, Path)> {
    let one = |given: &Value| {
        let priority = given.get("priority").as_int().and_then(|n| i32::try_from(n).ok());
        let text = |key: &str| given.get(key).str();
        let description = match text("description") {
            "" => {
                let path = text("jsonPath");
                format!("Custom resource definition column (in JSONPath format): {path}")
            }
            given => given.to_owned(),
        };
        let mut made = column(text("name"), text("type"), priority.unwrap_or(0), &description);
        text("format").clone_into(&mut made.format);
        Path::parse(text("jsonPath")).ok().map(|path| (made, path))
    };
    version.get("additionalPrinterColumns").items().iter().filter_map(one).collect()
}

fn selectable(version: &Value) -> Vec<String> {
    let fields = version.get("selectableFields").items().iter();
    fields.map(|field| field.get("jsonPath").str().trim_start_matches('.').to_owned()).collect()
}

fn deprecation(spec: &Value, version: &Value) -> Option<String> {
    if !version.get("deprecated").is_true() {
        return None;
    }
    let own = version.get("deprecationWarning").as_str();
    Some(own.map_or_else(
        || {
            let api = api_version(spec.get("group").str(), version.get("name").str());
            format!("{api} {} is deprecated", spec.at(&["names", "kind"]).str())
        },
        str::to_owned,
    ))
}

fn scale_paths(scale: &Value) -> ScalePaths {
    let path = |key: &str| -> Vec<String> {
        let names = scale.get(key).str().trim_start_matches('.').split('.');
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let selector = path("labelSelectorPath");
    ScalePaths {
        spec: path("specReplicasPath"),
        status: path("statusReplicasPath"),
        selector: match selector.is_empty() {
            true => ScaleSelector::None,
            false => ScaleSelector::Text(selector),
        },
    }
}

impl Rules for Custom {
    fn default(&self, object: &mut Value) {
        self.schema.set_defaults(object);
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        if self.has_status {
            object.remove("status");
        }
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        if self.has_status {
            replace(object, "status", old.get("status"));
        }
    }

    /// A status writer changes nothing but the status.
    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        if subresource == "status" {
            let status = object.remove("status");
            let revision = object.resource_version().to_owned();
            object.clone_from(old);
            replace(object, "status", &status);
            object.entry("metadata").set("resourceVersion", revision);
        }
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        self.check(object, None, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        self.check(object, Some(old), errors);
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        self.check(object, Some(old), errors);
    }

    fn warnings(&self, _object: &Value, _old: &Value) -> Vec<String> {
        self.deprecation.iter().cloned().collect()
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn raises_generation(&self, object: &Value, old: &Value) -> bool {
        let counted = |value: &Value| -> Vec<(String, Value)> {
            let mine = |key: &str| key != "metadata" && !(self.has_status && key == "status");
            let fields = value.fields().filter(|(key, _)| mine(key));
            fields.map(|(key, value)| (key.to_owned(), value.clone())).collect()
        };
        counted(object) != counted(old)
    }

    fn scale(&self) -> ScalePaths {
        self.scale.clone().unwrap_or(ScalePaths {
            spec: Vec::new(),
            status: Vec::new(),
            selector: ScaleSelector::None,
        })
    }

    /// What was stored before the schema said so is pruned and completed when it is read.
    fn of_storage(&self, object: &mut Value) {
        let stored = object.take();
        *object = match codec::conform(stored.clone(), &self.schema) {
            Ok(decoded) => {
                decoded.accept(FieldValidation::Ignore).map_or(stored, |(value, _)| value)
            }
            Err(_) => stored,
        };
        self.schema.set_defaults(object);
    }

    fn converts(&self) -> bool {
        self.has_defaults
    }

    fn selectable_paths(&self) -> &[String] {
        &self.selectable
    }

    fn selected(&self, object: &Value, path: &str) -> String {
        let value = tabled::at(object, path);
        if value.is_null() { String::new() } else { shown(value) }
    }

    fn columns(&self) -> Vec<Column> {
        if self.columns.is_empty() {
            return name_and_age();
        }
        let name = table::columns(&[table::NAME]);
        name.into_iter().chain(self.columns.iter().map(|(column, _)| column.clone())).collect()
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let mut cells = vec![object.name().into()];
        if self.columns.is_empty() {
            cells.push(age(object, context));
        }
        for (column, path) in &self.columns {
            cells.push(cell(&column.kind, &path.find(object), context));
        }
        cells
    }
}

/// Sets a field, or removes it where the value is null.
fn replace(object: &mut Value, key: &str, value: &Value) {
    match value {
        Value::Null => drop(object.remove(key)),
        value => object.set(key, value.clone()),
    }
}

/// What a path found as a cell of a column's type; null where it does not fit.
fn cell(kind: &str, found: &[&Value], context: Context) -> Value {
    let Some(first) = found.first() else { return Value::Null };
    match (kind, first) {
        ("string", _) => {
            let texts: Vec<String> = found.iter().map(|value| shown(value)).collect();
            texts.join(" ").into()
        }
        ("integer", value) => value.as_int().map_or(Value::Null, Value::Int),
        ("number", value @ (Value::Int(_) | Value::Float(_))) => (*value).clone(),
        ("boolean", value @ Value::Bool(_)) => (*value).clone(),
        ("date", Value::Str(text)) => match crate::api::time::parse(text) {
            Some(_) => table::ago(first, context).into(),
            None => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::clock::Wall;

    const DEFINITION: &str = r#"{"metadata":{"name":"tabs.example.com"},"spec":{
        "group":"example.com","scope":"Namespaced",
        "names":{"plural":"tabs","singular":"tab","kind":"Tab","listKind":"TabList","shortNames":["t"]},
        "versions":[
          {"name":"v1","served":true,"storage":true,
           "subresources":{"status":{},"scale":{"specReplicasPath":".spec.n","statusReplicasPath":".status.n"}},
           "selectableFields":[{"jsonPath":".spec.n"},{"jsonPath":".spec.cron"}],
           "additionalPrinterColumns":[
             {"name":"Spec","type":"string","jsonPath":".spec.cron"},
             {"name":"N","type":"integer","jsonPath":".spec.n"},
             {"name":"Since","type":"date","jsonPath":".spec.since"}],
           "schema":{"openAPIV3Schema":{"type":"object","properties":{
             "spec":{"type":"object","properties":{"cron":{"type":"string"},
               "since":{"type":"string"},"n":{"type":"integer","default":1}}},
             "status":{"type":"object","properties":{"n":{"type":"integer"}}}}}}},
          {"name":"v2","served":false,"storage":false,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    fn tab() -> Resource {
        resources(&value(DEFINITION)).remove(0)
    }

    #[test]
    fn a_definition_makes_an_entry_for_each_served_version() {
        let all = resources(&value(DEFINITION));
        assert_eq!(all.len(), 1);
        let tab = &all[0];
        assert_eq!(
            (&*tab.version, &*tab.stored_as, &*tab.list_kind),
            ("v1", "example.com/v1", "TabList")
        );
        let below: Vec<&str> = tab.subresources.iter().map(|sub| sub.name).collect();
        assert_eq!(below, ["status", "scale"]);
        assert_eq!(tab.rules.scale().spec, ["spec", "n"]);
        let mut going = value(DEFINITION);
        going.entry("metadata").set("deletionTimestamp", "2026-01-01T00:00:00Z");
        assert!(!resources(&going)[0].serves("create"));
    }

    #[test]
    fn what_was_stored_earlier_is_pruned_and_completed() {
        let mut object = value(r#"{"spec":{"cron":"x","gone":1}}"#);
        tab().rules.of_storage(&mut object);
        assert_eq!(object, value(r#"{"spec":{"cron":"x","n":1}}"#));
    }

    #[test]
    fn status_and_spec_have_writers_of_their_own() {
        let rules = tab().rules;
        let old = value(r#"{"metadata":{"resourceVersion":"1"},"spec":{"n":1},"status":{"n":1}}"#);
        let mut new = value(r#"{"metadata":{},"spec":{"n":2},"status":{"n":2}}"#);
        let context = Context { now: Wall::from_seconds(0) };
        rules.prepare_update(&mut new, &old, context);
        assert_eq!(new.get("status"), old.get("status"));
        assert!(rules.raises_generation(&new, &old));
        let mut new =
            value(r#"{"metadata":{"resourceVersion":"1"},"spec":{"n":2},"status":{"n":2}}"#);
        rules.prepare_subresource("status", &mut new, &old);
        assert_eq!(new.at(&["spec", "n"]).as_int(), Some(1));
        assert!(!rules.raises_generation(&new, &old));
    }

    #[test]
    fn fields_are_selected_as_texts() {
        let rules = tab().rules;
        assert_eq!(rules.selectable_paths(), ["spec.n", "spec.cron"]);
        let object = value(r#"{"spec":{"n":3}}"#);
        assert_eq!(rules.selected(&object, "spec.n"), "3");
        assert_eq!(rules.selected(&object, "spec.cron"), "");
    }

    #[test]
    fn cells_follow_the_columns() {
        let object = value(
            r#"{"metadata":{"name":"a"},"spec":{"cron":"* *","n":3,"since":"1970-01-01T00:00:00Z"}}"#,
        );
        let row = tab().rules.row(&object, Context { now: Wall::from_seconds(90) });
        assert_eq!(row, ["a".into(), "* *".into(), Value::Int(3), "90s".into()]);
        let row = tab().rules.row(&value(r#"{"metadata":{"name":"a"}}"#), Context { now: Wall(0) });
        assert_eq!(row[1..], [Value::Null, Value::Null, Value::Null]);
    }
}
