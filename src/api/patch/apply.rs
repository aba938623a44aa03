//! Server-side apply, and who owns which field of an object (`metadata.managedFields`).
//!
//! Everything that is written has a manager, the writer's name. Who **applies** says what an object
//! is to have: [`apply`] lays that over the live object, removes what the same manager applied
//! before and does not name any more, and refuses to change what others own, unless by force. Who
//! **updates** in any other way takes over what it changed: [`update`].
//!
//! Objects come and go without `metadata.managedFields`; [`Managers`] is its decoded form. The
//! algebra of paths is structured-merge-diff's (`set`, `compare`, `merge`, `remove`, `updater`),
//! what is around it is that of `k8s.io/apimachinery`'s `managedfields`. Both are oracles of the
//! tests.

use super::super::codec::yaml;
use super::super::schema::Schema;
use super::super::status::{Details, Status};
use super::super::tree::{Map, Value};

mod check;
mod collect;
mod compare;
mod conflict;
mod element;
mod fields;
mod last_applied;
mod managers;
mod merge;
mod reconcile;
mod remove;
mod reset;
mod scale;
mod set;
mod shape;
mod updater;

pub use conflict::Conflicts;
pub use managers::Managers;
pub use reset::Reset;
pub use scale::Replicas;
pub use set::Set;

use managers::Manager;
use shape::Type;

/// An object in another version, with the types of that version.
pub struct Versioned {
    /// The object.
    pub object: Value,
    /// Its types.
    pub schema: Schema,
}

/// What a write is about.
pub struct Context<'a> {
    /// The types of the object in the version of the request.
    pub schema: &'a Schema,
    /// That version, `apps/v1`.
    pub api_version: &'a str,
    /// The kind, `Deployment`.
    pub kind: &'a str,
    /// The subresource that is written to, or "".
    pub subresource: &'a str,
    /// What cannot be written through it.
    pub reset: Reset,
    /// The time of the request as `metadata` writes times.
    pub now: &'a str,
    /// What an object without any content looks like.
    pub empty: &'a Value,
    /// An object in another version; `None` if that is not served.
    pub convert: &'a (dyn Fn(&Value, &str) -> Option<Versioned> + Sync),
    /// The types of another version; `None` if that is not served.
    pub schema_of: &'a (dyn Fn(&str) -> Option<Schema> + Sync),
}

impl Context<'_> {
    fn manager(&self, name: &str, applies: bool) -> Manager {
        let name = if name.is_empty() { "unknown" } else { name };
        Manager {
            name: name.to_owned(),
            applies,
            api_version: if applies { String::new() } else { self.api_version.to_owned() },
            subresource: self.subresource.to_owned(),
        }
    }

    fn ty(&self) -> Type<'_> {
        Type::root(self.schema.root())
    }

    /// Group, version and kind in Go's words.
    fn gvk(&self, object: &Value) -> String {
        let version = object.get("apiVersion").str();
        let slash = if version.contains('/') { "" } else { "/" };
        format!("{slash}{version}, Kind={}", object.get("kind").str())
    }

    /// The object in messages.
    fn shown(&self, object: &Value) -> String {
        let of = |key| object.at(&["metadata", key]).str();
        format!("{}/{}; {}", of("namespace"), of("name"), self.gvk(object))
    }
}

/// Why a configuration is not applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The request is wrong: 400.
    #[error("{0}")]
    BadRequest(String),
    /// The configuration does not fit its type: 500, as upstream.
    #[error("{0}")]
    Mistyped(String),
    /// Others own what it would change: 409.
    #[error("{}", .0.message())]
    Conflict(Conflicts),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::BadRequest(message) => Status::bad_request(message),
            Error::Mistyped(message) => Status::new(500, "", message),
            Error::Conflict(conflicts) => {
                let mut status = Status::new(409, "Conflict", conflicts.message());
                let causes = conflicts.causes();
                status.details = Some(Box::new(Details { causes, ..Details::default() }));
                status
            }
        }
    }
}

/// What somebody wants an object to have, as it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The object, in no particular shape: what its values look like is for its type to say.
    pub object: Value,
    /// Fields that the text has twice.
    pub findings: Vec<String>,
}

impl Config {
    /// Reads a body of `application/apply-patch+yaml`.
    ///
    /// # Errors
    /// Text that is no YAML or JSON.
    pub fn read(text: &[u8]) -> Result<Self, Error> {
        let decoded = yaml::decode(text, &Schema::default())
            .map_err(|error| Error::BadRequest(format!("error decoding patch: {error}")))?;
        match decoded.value {
            object @ Value::Object(_) => Ok(Self { object, findings: decoded.findings }),
            Value::Null => Ok(Self { object: Value::object(), findings: decoded.findings }),
            other => Err(Error::BadRequest(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type \
                 map[string]interface {{}}",
                other.kind_name()
            ))),
        }
    }
}

/// What an apply comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object, in no particular shape.
    pub object: Value,
    /// Whether it differs from the live one.
    pub changed: bool,
    /// Who owns what now.
    pub managers: Managers,
}

/// The owners after `writer` changed an object from `live` (the empty one before a create) to
/// `object` in any way but apply. `managers` are the owners before. An object without managers is
/// not tracked, unless it is new.
pub fn update(
    live: &Value,
    object: &Value,
    managers: Managers,
    writer: &str,
    context: &Context<'_>,
) -> Managers {
    let is_new = live.at(&["metadata", "uid"]).str().is_empty();
    if managers.is_empty() && !is_new {
        return managers;
    }
    let mut managers = owners_of_change(live, object, managers, writer, context);
    managers.cap();
    managers
}

fn owners_of_change(
    live: &Value,
    object: &Value,
    managers: Managers,
    writer: &str,
    context: &Context<'_>,
) -> Managers {
    let (mut managers, own) = updater::update(live, object, managers, context);
    let own = own.difference(&never_owned());
    if !own.is_empty() {
        let entry = managers.entries.entry(context.manager(writer, false)).or_default();
        entry.set = entry.set.union(&own);
        context.api_version.clone_into(&mut entry.api_version);
        entry.time = Some(context.now.to_owned());
    }
    managers
}

/// The owners that a write other than apply starts from: those that the client sends, since it may
/// mean to change them, else the live object's. One empty entry means that there are none; through
/// a subresource they cannot be changed.
pub fn owners_before(live: &Value, object: &Value, subresource: &str) -> Managers {
    let sent = object.at(&["metadata", "managedFields"]);
    let is_reset = match sent.items() {
        [] => matches!(sent, Value::Array(_)),
        [only] => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    };
    match Managers::decode(sent) {
        _ if !subresource.is_empty() => Managers::of(live),
        _ if is_reset => Managers::default(),
        Ok(managers) if !managers.is_empty() => managers,
        _ => Managers::of(live),
    }
}

/// Applies a configuration to a live object (the empty one where there is none).
///
/// # Errors
/// A configuration that does not fit its type, and conflicts.
pub fn apply(
    live: &Value,
    config: &Value,
    managers: Managers,
    manager: &str,
    force: bool,
    context: &Context<'_>,
) -> Result<Applied, Error> {
    let gvk = context.gvk(config);
    if config.get("apiVersion").str() != context.api_version
        || config.get("kind").str() != context.kind
    {
        return Err(Error::BadRequest(format!("invalid object type: {gvk}")));
    }
    let managers = if managers.is_empty() {
        owners_of_change(context.empty, live, managers, "before-first-apply", context)
    } else {
        managers
    };
    if matches!(config.at(&["metadata", "managedFields"]), Value::Array(_)) {
        return Err(Error::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    let mistyped = |what: &str, object: &Value, why: String| {
        let shown = context.shown(object);
        Error::Mistyped(format!("failed to create typed {what} object ({shown}): {why}"))
    };
    check::check(config, context.ty(), false).map_err(|why| mistyped("patch", config, why))?;
    check::check(live, context.ty(), true).map_err(|why| mistyped("live", live, why))?;
    let mut applied = apply_as(live, config, managers, manager, force, context)?;
    if manager == last_applied::KUBECTL {
        last_applied::update(&mut applied.object, config);
    }
    Ok(applied)
}

/// Applies; from `kubectl`, what it applied on the client's side before is no conflict.
fn apply_as(
    live: &Value,
    config: &Value,
    managers: Managers,
    name: &str,
    force: bool,
    context: &Context<'_>,
) -> Result<Applied, Error> {
    let manager = context.manager(name, true);
    let mut result = updater::apply(live, config, managers.clone(), &manager, force, context);
    if let Err(conflicts) = &result
        && name == last_applied::KUBECTL
        && let Some(allowed) = last_applied::allowed(live, context)
    {
        let left = conflicts.without(&allowed);
        result = if left.is_empty() {
            updater::apply(live, config, managers, &manager, true, context)
        } else {
            Err(left)
        };
    }
    let (object, mut managers) = result.map_err(Error::Conflict)?;
    if let Some(owned) = managers.entries.get_mut(&manager) {
        owned.set = owned.set.difference(&never_owned());
        if owned.set.is_empty() {
            managers.entries.remove(&manager);
        } else if object.is_some() {
            owned.time = Some(context.now.to_owned());
        }
    }
    let changed = object.is_some();
    Ok(Applied { object: object.unwrap_or_else(|| live.clone()), changed, managers })
}

/// The fields that belong to nobody.
fn never_owned() -> Set {
    const PATHS: [&[&str]; 12] = [
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "clusterName"],
        &["metadata", "creationTimestamp"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "resourceVersion"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
    ];
    PATHS.iter().fold(Set::default(), |all, path| all.union(&Set::of_fields(path)))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
