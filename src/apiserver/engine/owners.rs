//! Who owns which fields of an object: `metadata.managedFields`, kept on every write, and apply.
//!
//! The rules are `api::patch::apply`'s. Here is when they are asked: after defaults and before
//! admission, so that what admission adds belongs to nobody, as upstream.

use super::options::WriteOptions;
use super::{Ask, Engine};
use crate::api::codec::{FieldValidation, conform};
use crate::api::meta::Meta;
use crate::api::patch::apply::{self, Config, Context, Managers, Replicas, Reset, Versioned};
use crate::api::registry::Resource;
use crate::api::schema::Schema;
use crate::api::status::Status;
use crate::api::time;
use crate::api::tree::Value;
use crate::util::clock;

const MANAGED: &str = "managedFields";
const SCALE_VERSION: &str = "autoscaling/v1";

/// Who keeps the owners of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owners {
    /// The engine, from what the write changed.
    Tracked,
    /// The new state brings them along.
    Given,
}

/// Whether writes to a subresource have owners. The others change what no client says field by
/// field: a binding, a deletion.
fn is_tracked(subresource: &str) -> bool {
    ["", "status", "ephemeralcontainers", "resize", "finalize", "approval"].contains(&subresource)
}

impl Engine {
    /// Notes in an object that is to take the place of `old` who owns its fields now.
    pub(super) fn track(
        &self,
        ask: &Ask,
        options: &WriteOptions,
        object: &mut Value,
        old: Option<&Value>,
    ) {
        if !is_tracked(ask.subresource) || old.is_some_and(|old| keeps_owners(object, old)) {
            return;
        }
        let empty = if old.is_some() { Value::Null } else { empty(ask) };
        let live = old.unwrap_or(&empty);
        let managers = apply::owners_before(live, object, ask.subresource);
        forget(object);
        let managers = self.with_context(ask, &empty, |context| {
            apply::update(live, object, managers, &options.manager, context)
        });
        managers.put(object);
    }

    /// The object that a configuration asks for, with its owners; `old` is `None` where there is
    /// no object yet.
    pub(super) fn applied(
        &self,
        ask: &Ask,
        options: &WriteOptions,
        config: &Config,
        old: Option<&Value>,
    ) -> Result<Value, Status> {
        let empty = empty(ask);
        let mut live = old.unwrap_or(&empty).clone();
        let managers = decoded(&live)?;
        forget(&mut live);
        let applied = self.with_context(ask, &empty, |context| {
            let (manager, force) = (&options.manager, options.force);
            apply::apply(&live, &config.object, managers, manager, force, context)
        })?;
        let mut object = shaped(applied.object, &ask.resource.schema)?;
        applied.managers.put(&mut object);
        Ok(object)
    }

    fn with_context<T>(&self, ask: &Ask, empty: &Value, then: impl FnOnce(&Context<'_>) -> T) -> T {
        let resource = &*ask.resource;
        let has_status = resource.subresource("status").is_some();
        let storage = resource.storage.as_str();
        let registry = self.registry();
        // Another version of the same objects.
        let served = |api_version: &str| {
            let same = |r: &&std::sync::Arc<Resource>| {
                r.storage == resource.storage && r.api_version() == api_version
            };
            registry.iter().find(same).cloned()
        };
        then(&Context {
            schema: &resource.schema,
            api_version: &resource.api_version(),
            kind: &resource.kind,
            subresource: ask.subresource,
            reset: Reset::of(storage, ask.subresource, has_status, resource.custom),
            now: &time::format(clock::now()),
            empty,
            convert: &|object, api_version| {
                let from = served(object.get("apiVersion").str())?;
                let to = served(api_version)?;
                let mut object = object.clone();
                from.rules.to_storage(&mut object);
                to.rules.of_storage(&mut object);
                object.set("apiVersion", api_version);
                Some(Versioned { object, schema: to.schema.clone() })
            },
            schema_of: &|api_version| Some(served(api_version)?.schema.clone()),
        })
    }
}

/// An object without content.
fn empty(ask: &Ask) -> Value {
    let typed = Value::from([
        ("apiVersion", ask.resource.api_version().into()),
        ("kind", ask.resource.kind.as_str().into()),
    ]);
    conform(typed.clone(), &ask.resource.schema).map_or(typed, |decoded| decoded.value)
}

fn decoded(live: &Value) -> Result<Managers, Status> {
    Managers::decode(live.metadata().get(MANAGED))
        .map_err(|error| Status::new(500, "", format!("failed to decode managed fields: {error}")))
}

/// What apply made, in the shape of its kind.
fn shaped(object: Value, schema: &Schema) -> Result<Value, Status> {
    let decoded = conform(object, schema).map_err(|error| {
        Status::new(500, "", format!("failed to convert new object to proper version: {error}"))
    })?;
    Ok(decoded.value)
}

fn forget(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata") {
        metadata.remove(MANAGED);
    }
}

/// Gives an object that changes nothing, its owners aside, the owners that there were. `false`
/// where something changes, or the client may mean to change the owners.
fn keeps_owners(object: &mut Value, old: &Value) -> bool {
    let (sent, had) = (object.metadata().get(MANAGED), old.metadata().get(MANAGED));
    if !sent.is_null() && sent != had || !same_but_owners(object, old) {
        return false;
    }
    if !had.is_null() {
        let had = had.clone();
        object.entry("metadata").set(MANAGED, had);
    }
    true
}

/// The fields of an object but one.
fn others<'v>(value: &'v Value, but: &'v str) -> impl Iterator<Item = (&'v str, &'v Value)> {
    value.fields().filter(move |(key, _)| *key != but)
}

/// Whether two objects are equal, their owners aside.
fn same_but_owners(a: &Value, b: &Value) -> bool {
    others(a.metadata(), MANAGED).eq(others(b.metadata(), MANAGED))
        && others(a, "metadata").eq(others(b, "metadata"))
}

/// Changes an object, but not its owners.
pub(super) fn kept(object: &mut Value, change: impl FnOnce(&mut Value)) {
    let metadata = object.get_mut("metadata");
    let owners = metadata.map(|metadata| metadata.remove(MANAGED)).unwrap_or_default();
    change(object);
    match owners {
        Value::Null => forget(object),
        owners => object.entry("metadata").set(MANAGED, owners),
    }
}

/// Keeps an empty list of owners through decoding, which drops what is empty: it says that there
/// are to be none, as does a list with one empty entry.
pub(super) fn mark_cleared(object: &mut Value) {
    if let Some(Value::Array(entries)) =
        object.get_mut("metadata").and_then(|metadata| metadata.get_mut(MANAGED))
        && entries.is_empty()
    {
        entries.push(Value::object());
    }
}

/// Takes back new times of owners where they are all that is new.
pub(super) fn revert_times(object: &mut Value, old: &Value) {
    let (now, had) = (object.metadata().get(MANAGED), old.metadata().get(MANAGED));
    let timeless = |(a, b): (&Value, &Value)| others(a, "time").eq(others(b, "time"));
    let same =
        now.items().len() == had.items().len() && now.items().iter().zip(had.items()).all(timeless);
    if now != had && same && same_but_owners(object, old) {
        let had = had.clone();
        object.entry("metadata").set(MANAGED, had);
    }
}

/// Turns findings in a configuration into warnings, or refuses it.
pub(super) fn findings(
    config: &Config,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<(), Status> {
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Strict if !config.findings.is_empty() => {
            let findings = config.findings.join(", ");
            return Err(Status::bad_request(format!("error strict decoding patch: {findings}")));
        }
        _ => warnings.extend(config.findings.iter().cloned()),
    }
    Ok(())
}

/// Who changes a scale, and where its replicas stand in the object.
pub(super) struct ScaleOwners<'a> {
    pub(super) ask: &'a Ask,
    pub(super) options: &'a WriteOptions,
    pub(super) path: &'a [String],
}

impl ScaleOwners<'_> {
    /// The scale with the owners of the replicas.
    pub(super) fn put(&self, object: &Value, scale: &mut Value) {
        self.replicas(|replicas| replicas.to_scale(&Managers::of(object))).put(scale);
    }

    /// The new scale, its owners kept in the object.
    pub(super) fn track(&self, old: &Value, scale: &mut Value, object: &mut Value) {
        let managers = apply::owners_before(old, scale, self.ask.subresource);
        forget(scale);
        let managers = self.with_context(|context| {
            apply::update(old, scale, managers, &self.options.manager, context)
        });
        self.keep(managers, object);
    }

    /// Applies a configuration to a scale.
    pub(super) fn apply(&self, config: &Config, old: &Value) -> Result<(Value, Managers), Status> {
        let mut live = old.clone();
        let managers = decoded(&live)?;
        forget(&mut live);
        let applied = self.with_context(|context| {
            let (manager, force) = (&self.options.manager, self.options.force);
            apply::apply(&live, &config.object, managers, manager, force, context)
        })?;
        let schema = Schema::of("autoscaling", "v1", "Scale").unwrap_or_default();
        Ok((shaped(applied.object, &schema)?, applied.managers))
    }

    /// Keeps the owners of a scale in its object.
    pub(super) fn keep(&self, managers: Managers, object: &mut Value) {
        let before = Managers::of(object);
        self.replicas(|replicas| replicas.of_scale(before, managers)).put(object);
    }

    fn replicas<T>(&self, then: impl FnOnce(Replicas<'_>) -> T) -> T {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let api_version = self.ask.resource.api_version();
        then(Replicas { api_version: &api_version, path: &path })
    }

    fn with_context<T>(&self, then: impl FnOnce(&Context<'_>) -> T) -> T {
        let schema = Schema::of("autoscaling", "v1", "Scale").unwrap_or_default();
        let empty = Value::from([
            ("apiVersion", SCALE_VERSION.into()),
            ("kind", "Scale".into()),
            ("metadata", Value::object()),
            ("spec", Value::object()),
            ("status", Value::from([("replicas", 0.into())])),
        ]);
        then(&Context {
            schema: &schema,
            api_version: SCALE_VERSION,
            kind: "Scale",
            subresource: self.ask.subresource,
            reset: Reset::NOTHING,
            now: &time::format(clock::now()),
            empty: &empty,
            convert: &|_, _| None,
            schema_of: &|_| None,
        })
    }
}
