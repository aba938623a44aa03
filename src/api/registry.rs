//! The table of resources: everything that makes one resource different from another.
//!
//! Routes, discovery, OpenAPI, Table output, RBAC names and storage keys all come from here. A
//! built-in resource is an entry in one of the files below, one per API group; a
//! CustomResourceDefinition makes the same entry at run time. There is no second path.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kinds::text::{self, Format};
use super::meta::{self, GroupResource};
use super::schema::Schema;
use super::status::Cause;
use super::tree::Value;
use crate::history::Fields;
use crate::util::clock::Wall;

mod admissionregistration;
mod apiextensions;
mod apiregistration;
mod apps;
mod authentication;
mod authorization;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod discovery;
mod events;
mod flowcontrol;
mod networking;
mod node;
mod policy;
mod rbac;
mod resource;
pub mod row;
mod scheduling;
mod storage;
mod storagemigration;

/// All resources that rk serves of itself.
pub fn builtin() -> Registry {
    let mut registry = Registry::default();
    let groups = [
        core::GROUP,
        apiextensions::GROUP,
        admissionregistration::GROUP,
        apiregistration::GROUP,
        autoscaling::GROUP,
        certificates::GROUP,
        flowcontrol::GROUP,
        resource::GROUP,
        storagemigration::GROUP,
        apps::GROUP,
        authentication::GROUP,
        authorization::GROUP,
        batch::GROUP,
        coordination::GROUP,
        discovery::GROUP,
        events::GROUP,
        node::GROUP,
        networking::GROUP,
        policy::GROUP,
        rbac::GROUP,
        scheduling::GROUP,
        storage::GROUP,
    ];
    for (group, rows) in groups {
        rows.iter().for_each(|row| registry.add(row.resource(group)));
    }
    registry
}

/// Whether objects live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Each object belongs to a namespace.
    Namespaced,
    /// Objects belong to the cluster.
    Cluster,
}

/// A column of Table output (`meta/v1.TableColumnDefinition`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: String,
    /// `name` for the first column, else mostly empty.
    pub format: String,
    /// What `kubectl explain`-like tools show.
    pub description: String,
    /// 0 is always shown; more only in wide output.
    pub priority: i32,
}

/// A path below an object, such as `status`, with the kind that it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `log`, ...
    pub name: &'static str,
    /// Group, version and kind of its body, where that is not the resource's own.
    pub body: Option<(&'static str, &'static str, &'static str)>,
    /// Verbs that discovery lists.
    pub verbs: &'static [&'static str],
}

/// The fields that a `scale` subresource stands for, as paths of field names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted number of replicas.
    pub spec: Vec<String>,
    /// The present number of replicas.
    pub status: Vec<String>,
    /// What chooses the replicas.
    pub selector: ScaleSelector,
}

/// What chooses the replicas that a scale counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScaleSelector {
    /// A `LabelSelector` at a path.
    Object(Vec<String>),
    /// Labels at a path, all of which must be there.
    Pairs(Vec<String>),
    /// A selector's text at a path.
    Text(Vec<String>),
    /// Nothing that the server knows of.
    None,
}

/// What a rule may know besides the object. Given to rules, since `api` has no clock.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The time of the request.
    pub now: Wall,
}

/// The rules of a kind: what is done to an object, and what it must satisfy, when it is written.
///
/// The order on a write: the name is generated where it must be, then `default` (on the decoded
/// object), `kinds::metadata::prepare_update` (on an update), `prepare_*`,
/// `kinds::metadata::validate_*` and `validate_*`; then `warnings`, and `to_storage`. All are pure.
/// `old` is the stored object. An implementation need only give what differs from a plain object
/// with nothing but metadata.
pub trait Rules: Send + Sync {
    /// What a name of this kind must look like; also the base of a generated one.
    fn name_format(&self) -> Format {
        text::dns_subdomain
    }

    /// Fills in what the API documents as defaults. Also run on objects read from clients' patches.
    fn default(&self, _object: &mut Value) {}

    /// Before a create: drops what clients may not set (status, where there is the subresource).
    fn prepare_create(&self, _object: &mut Value, _context: Context) {}

    /// Whether a new object without any name gets a random one.
    fn names_the_nameless(&self) -> bool {
        false
    }

    /// Before a create, once the object has its name and UID: what is made of them. Says whether
    /// anything was, so that defaults may follow from it.
    fn identify(&self, _object: &mut Value) -> bool {
        false
    }

    /// Before an update of the main resource: restores what it may not change (status).
    fn prepare_update(&self, _object: &mut Value, _old: &Value, _context: Context) {}

    /// Before an update of a subresource (`status`, `ephemeralcontainers`, ...): restores all that
    /// this subresource may not change. The default takes `status` and the metadata that status
    /// writers may change.
    fn prepare_subresource(&self, subresource: &str, object: &mut Value, old: &Value) {
        default_subresource(subresource, object, old);
    }

    /// After that: what the time of the write is put into.
    fn stamp_subresource(&self, _object: &mut Value, _old: &Value, _context: Context) {}

    /// What an object must satisfy on create. Metadata has been checked already.
    fn validate(&self, _object: &Value, _errors: &mut Errors) {}

    /// What an update must satisfy besides `validate`: immutable fields, allowed transitions.
    fn validate_update(&self, object: &Value, _old: &Value, errors: &mut Errors) {
        self.validate(object, errors);
    }

    /// What an update of a subresource must satisfy.
    fn validate_subresource(
        &self,
        _subresource: &str,
        _object: &Value,
        _old: &Value,
        _errors: &mut Errors,
    ) {
    }

    /// The warning that goes with every answer about a resource that is on its way out.
    fn deprecation(&self) -> Option<&'static str> {
        None
    }

    /// Warnings for the client (`Warning: 299`), as for deprecated fields. `old` is null on create.
    fn warnings(&self, _object: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Whether objects count generations: by default those that have a spec. Kinds whose upstream
    /// strategy does not (namespaces, nodes, services, leases, ...) say so.
    fn counts_generations(&self, object: &Value) -> bool {
        !object.get("spec").is_null()
    }

    /// Whether new objects have a generation. Of a few kinds the first change brings it.
    fn begins_generations(&self, object: &Value) -> bool {
        self.counts_generations(object)
    }

    /// Whether a change between two objects raises `metadata.generation`. The default: anything
    /// outside metadata and status.
    fn raises_generation(&self, object: &Value, old: &Value) -> bool {
        fn outside(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
            value.fields().filter(|(key, _)| !matches!(*key, "metadata" | "status"))
        }
        outside(object).ne(outside(old))
    }

    /// The grace period of a deletion in seconds, given what the client asked for. `None` deletes
    /// at once, as for all kinds but pods.
    fn grace_period_s(&self, _object: &Value, _asked_s: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether dependents outlive an object whose deletion does not say what becomes of them. Only
    /// for kinds that are older than garbage collection.
    fn orphans_dependents(&self) -> bool {
        false
    }

    /// Whether something besides `metadata.finalizers` holds up the deletion of an object, such as
    /// a namespace's `spec.finalizers`.
    fn holds_deletion(&self, _object: &Value) -> bool {
        false
    }

    /// When an object's deletion begins and does not end at once: what its status must show.
    fn begin_deletion(&self, _object: &mut Value) {}

    /// The fields that the `scale` subresource stands for.
    fn scale(&self) -> ScalePaths {
        let path = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        ScalePaths {
            spec: path(&["spec", "replicas"]),
            status: path(&["status", "replicas"]),
            selector: ScaleSelector::Object(path(&["spec", "selector"])),
        }
    }

    /// Turns an object of this version into the one in which it is stored, for kinds whose versions
    /// differ in more than their name (events). `apiVersion` is the caller's.
    fn to_storage(&self, _object: &mut Value) {}

    /// Turns a stored object into one of this version. `apiVersion` is the caller's.
    fn of_storage(&self, _object: &mut Value) {}

    /// Whether `to_storage` and `of_storage` do anything: if not, stored bytes are served as they
    /// are.
    fn converts(&self) -> bool {
        false
    }

    /// The fields by which objects can be selected besides name and namespace.
    fn fields(&self, _object: &Value) -> Fields {
        Vec::new()
    }

    /// What a field selector may name; `indexed` of it are the paths that `fields` yields.
    fn selectable(&self) -> &[&'static str] {
        &[]
    }

    /// The path in `fields` of what a selector names, where objects are stored in another shape.
    fn indexed<'p>(&self, named: &'p str) -> &'p str {
        named
    }

    /// Further such paths, for kinds that come at run time; [`Rules::selected`] reads them.
    fn selectable_paths(&self) -> &[String] {
        &[]
    }

    /// The value of an object at one of the `selectable_paths`; absent fields read as empty.
    fn selected(&self, _object: &Value, _path: &str) -> String {
        String::new()
    }

    /// The columns of Table output.
    fn columns(&self) -> Vec<Column> {
        name_and_age()
    }

    /// Takes from the metadata that goes with a row of a Table what only versions outside add.
    fn row_metadata(&self, _metadata: &mut Value) {}

    /// The cells of one row, as many as there are columns.
    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        use meta::Meta;
        vec![object.name().into(), age(object, context)]
    }
}

/// Rules for a kind that needs none beyond its schema.
pub struct Plain;
impl Rules for Plain {}

/// What a resource is called where requests for it are counted: shared, so that counting copies
/// nothing.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Called {
    /// API group, empty for core.
    pub group: String,
    /// Version, `v1`.
    pub version: String,
    /// Plural name.
    pub plural: String,
}

impl Called {
    /// The name of a resource in a version.
    pub fn new(group: &str, version: &str, plural: &str) -> Arc<Self> {
        let (group, version, plural) = (group.into(), version.into(), plural.into());
        Arc::new(Self { group, version, plural })
    }
}

/// One resource in one version.
pub struct Resource {
    /// Group, version and plural name once more, to be shared.
    pub called: Arc<Called>,
    /// API group, empty for core.
    pub group: String,
    /// Version, `v1`.
    pub version: String,
    /// Kind of one object.
    pub kind: String,
    /// Kind of a list; `<kind>List` for all built-ins.
    pub list_kind: String,
    /// Plural name: the path segment.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Categories for kubectl, such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub scope: Scope,
    /// Verbs that the main resource serves, as discovery lists them.
    pub verbs: Vec<&'static str>,
    /// What lies below an object.
    pub subresources: Vec<Subresource>,
    /// Where objects are stored: two versions of a kind share it (events).
    pub storage: GroupResource,
    /// The `apiVersion` in which objects are stored; another version of a kind differs from it.
    pub stored_as: String,
    /// Whether updates without a resourceVersion are allowed.
    pub unconditional_update: bool,
    /// Whether an update of an absent object creates it (leases, endpoints, ...).
    pub create_on_update: bool,
    /// The kind's types.
    pub schema: Schema,
    /// The kind's rules.
    pub rules: Arc<dyn Rules>,
    /// Whether this came from a CustomResourceDefinition.
    pub custom: bool,
}

impl Resource {
    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        meta::api_version(&self.group, &self.version)
    }

    /// Group and plural as authorisation and errors name them.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.plural)
    }

    /// The subresource called `name`.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// Whether the main resource serves `verb`.
    pub fn serves(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

/// All verbs of an ordinary resource.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The resources that are served, an immutable value: the server swaps in a new one when a
/// CustomResourceDefinition comes or goes.
#[derive(Clone, Default)]
pub struct Registry {
    /// By group, version and plural.
    resources: BTreeMap<(String, String, String), Arc<Resource>>,
}

impl Registry {
    /// Adds a resource, or replaces the one of the same group, version and plural.
    pub fn add(&mut self, resource: Resource) {
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.resources.insert(key, Arc::new(resource));
    }

    /// Removes all versions of a custom resource.
    pub fn remove_custom(&mut self, group: &str, plural: &str) {
        self.resources.retain(|(g, _, p), r| !(r.custom && g == group && p == plural));
    }

    /// The resource at a path.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.resources.get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// The resource that holds objects of a kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.iter().find(|r| r.kind == kind && r.group == group && r.version == version)
    }

    /// The first served resource that is stored as `storage`.
    pub fn by_storage(&self, storage: &GroupResource) -> Option<&Arc<Resource>> {
        self.iter().find(|r| r.storage == *storage)
    }

    /// Group and version of everything that is built in, in order.
    pub fn versions(&self) -> Vec<(String, String)> {
        let built_in = self.iter().filter(|resource| !resource.custom);
        let mut found: Vec<_> = built_in.map(|r| (r.group.clone(), r.version.clone())).collect();
        found.dedup();
        found
    }

    /// All resources, in order of group, version and plural.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }
}

/// Field errors as they are found.
#[derive(Debug, Default)]
pub struct Errors {
    causes: Vec<Cause>,
}

impl Errors {
    /// What was found so far.
    pub fn into_causes(self) -> Vec<Cause> {
        self.causes
    }

    /// Adds what was found elsewhere.
    pub fn append(&mut self, other: Self) {
        self.causes.extend(other.causes);
    }

    /// How many errors were found so far.
    pub fn len(&self) -> usize {
        self.causes.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.causes.is_empty()
    }

    fn push(&mut self, reason: &'static str, field: impl Into<String>, message: String) {
        self.causes.push(Cause { reason, message, field: field.into() });
    }

    /// `Required value: why`.
    pub fn required(&mut self, field: impl Into<String>, why: &str) {
        let message =
            if why.is_empty() { "Required value".into() } else { format!("Required value: {why}") };
        self.push("FieldValueRequired", field, message);
    }

    /// `Invalid value: "x": why`.
    pub fn invalid(&mut self, field: impl Into<String>, value: &Value, why: &str) {
        let colon = if why.is_empty() { "" } else { ": " };
        let message = format!("Invalid value: {}{colon}{why}", shown(value));
        self.push("FieldValueInvalid", field, message);
    }

    /// `Invalid value: x: why`, where the value is shown in another form than its own.
    pub fn invalid_as(&mut self, field: impl Into<String>, shown: &str, why: &str) {
        self.push("FieldValueInvalid", field, format!("Invalid value: {shown}: {why}"));
    }

    /// `Invalid value: why`, where the value is too long to be shown.
    pub fn invalid_unshown(&mut self, field: impl Into<String>, why: &str) {
        self.push("FieldValueInvalid", field, format!("Invalid value: {why}"));
    }

    /// `Forbidden: why`.
    pub fn forbidden(&mut self, field: impl Into<String>, why: &str) {
        let colon = if why.is_empty() { "" } else { ": " };
        self.push("FieldValueForbidden", field, format!("Forbidden{colon}{why}"));
    }

    /// `Duplicate value: "x"`.
    pub fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.push("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(value)));
    }

    /// `Duplicate value`, of a value that is not shown.
    pub fn duplicate_unshown(&mut self, field: impl Into<String>) {
        self.push("FieldValueDuplicate", field, "Duplicate value".to_owned());
    }

    /// `Not found: "x"`.
    pub fn not_found(&mut self, field: impl Into<String>, value: &Value) {
        self.push("FieldValueNotFound", field, format!("Not found: {}", shown(value)));
    }

    /// `Unsupported value: "x": supported values: "a", "b"`.
    pub fn not_supported(&mut self, field: impl Into<String>, value: &Value, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let message =
            format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", "));
        self.push("FieldValueNotSupported", field, message);
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, field: impl Into<String>, max: usize) {
        let message = format!("Too long: may not be more than {max} bytes");
        self.push("FieldValueTooLong", field, message);
    }

    /// `Too long: may not be more than N characters`.
    pub fn too_long_characters(&mut self, field: impl Into<String>, max: usize) {
        let message = format!("Too long: may not be more than {max} characters");
        self.push("FieldValueTooLong", field, message);
    }

    /// `Invalid value: "x": why`, for a value of the wrong type.
    pub fn type_invalid(&mut self, field: impl Into<String>, value: &Value, why: &str) {
        let message = format!("Invalid value: {}: {why}", shown(value));
        self.push("FieldValueTypeInvalid", field, message);
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(&mut self, field: impl Into<String>, actual: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        let message = format!("Too many: {actual}: must have at most {max} {items}");
        self.push("FieldValueTooMany", field, message);
    }
}

/// A value as field errors show it.
fn shown(value: &Value) -> String {
    match value {
        Value::Str(s) => format!("{s:?}"),
        other => other.to_string(),
    }
}

/// A column of Table output.
pub fn column(name: &str, kind: &str, priority: i32, description: &str) -> Column {
    let format = if name == "Name" { "name" } else { "" };
    Column {
        name: name.into(),
        kind: kind.into(),
        format: format.into(),
        description: description.into(),
        priority,
    }
}

/// What every kind shows that has no columns of its own.
pub fn name_and_age() -> Vec<Column> {
    vec![column("Name", "string", 0, NAME_DOC), column("Age", "string", 0, AGE_DOC)]
}

/// The description of every `Name` column.
pub const NAME_DOC: &str = "Name must be unique within a namespace.";
/// The description of every `Age` column.
pub const AGE_DOC: &str = "CreationTimestamp is when the server created the object.";

/// How long ago an object was created, as kubectl shows it: `5d3h`; `<unknown>` without a time.
pub fn age(object: &Value, context: Context) -> Value {
    use meta::Meta;
    object.created().map_or_else(|| "<unknown>".into(), |created| since(created, context).into())
}

/// How long ago a time was, as kubectl shows it.
pub fn since(time: Wall, context: Context) -> String {
    human_duration(context.now.since(time).as_secs())
}

/// A duration in kubectl's short form: `47s`, `2m5s`, `3h20m`, `2d4h`, `3y12d`.
pub fn human_duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |a: u64, au: &str, b: u64, bu: &str| match b {
        0 => format!("{a}{au}"),
        b => format!("{a}{au}{b}{bu}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// Takes `status` from the writer and everything else from the stored object, but for the metadata
/// that a status writer may change.
pub fn default_subresource(subresource: &str, object: &mut Value, old: &Value) {
    if subresource != "status" {
        return;
    }
    let status = object.remove("status");
    let metadata = object.remove("metadata");
    let mut merged = old.clone();
    merged.set("status", status);
    for key in ["resourceVersion", "uid", "labels", "annotations", "finalizers", "managedFields"] {
        match metadata.get(key) {
            Value::Null if matches!(key, "resourceVersion" | "uid") => {}
            Value::Null => drop(merged.entry("metadata").remove(key)),
            value => merged.entry("metadata").set(key, value.clone()),
        }
    }
    if merged.get("status").is_null() {
        merged.remove("status");
    }
    *object = merged;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_has_its_types() {
        for resource in builtin().iter() {
            let (version, kind) = (resource.api_version(), &resource.kind);
            assert!(resource.schema.fields().is_some(), "{version} {kind}");
        }
    }

    #[test]
    fn durations_read_as_in_kubectl() {
        let cases = [
            (5, "5s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3599, "59m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (90_000, "25h"),
            (187_200, "2d4h"),
            (800_000, "9d"),
            (64_000_000, "2y10d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text);
        }
    }

    #[test]
    fn a_status_write_changes_only_status() {
        let old = Value::parse(br#"{"metadata":{"name":"a","uid":"u"},"spec":{"x":1}}"#).unwrap();
        let mut new = Value::parse(
            br#"{"metadata":{"name":"b","labels":{"l":"1"}},"spec":{"x":2},"status":{"y":3}}"#,
        )
        .unwrap();
        default_subresource("status", &mut new, &old);
        assert_eq!(
            new.to_string(),
            r#"{"metadata":{"labels":{"l":"1"},"name":"a","uid":"u"},"spec":{"x":1},"status":{"y":3}}"#
        );
    }
}
