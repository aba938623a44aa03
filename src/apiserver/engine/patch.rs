//! Reading and changing objects through their subresources, and patches of either.
//!
//! `status` and its like are the object itself, of which a write may change a part; a scale is
//! another kind that stands for two fields of the object.

use super::options::{State, WriteOptions};
use super::owners::{self, Owners, ScaleOwners};
use super::update::check_name;
use super::version::as_served;
use super::{Answer, Ask, Engine, Written};
use crate::api::codec::{FieldValidation, conform};
use crate::api::meta::Meta;
use crate::api::patch::apply::{Config, Managers};
use crate::api::patch::{Patch, invalid_result};
use crate::api::registry::{Errors, ScaleSelector};
use crate::api::schema::Schema;
use crate::api::selector::LabelSelector;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::limits;

const SCALE: &str = "scale";
const SCALE_KIND: &str = "Scale";

impl Engine {
    /// Reads an object, or the part of it that the subresource names.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn read(&self, ask: &Ask, state: State) -> Result<Answer, Status> {
        let object = self.get(ask, state)?;
        match ask.subresource {
            SCALE => Ok(Answer::Made(to_scale(ask, &as_served(&ask.resource, &object)?))),
            _ => Ok(Answer::Stored(object)),
        }
    }

    /// Makes an object, or posts to a subresource.
    ///
    /// # Errors
    /// As [`Engine::create`]; 405 where the subresource takes no posts.
    pub async fn post(
        &self,
        ask: &Ask,
        body: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        if let Some(written) = self.act(ask, &body, options).await {
            return written;
        }
        if ask.subresource.is_empty() && ask.name.is_empty() {
            return self.create(ask, body, options).await;
        }
        Err(Status::method_not_allowed())
    }

    /// Replaces an object, or the part of it that the subresource names.
    ///
    /// # Errors
    /// As [`Engine::update`].
    pub async fn replace(
        &self,
        ask: &Ask,
        body: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        if ask.subresource != SCALE {
            return self.update(ask, body, options).await;
        }
        self.rescale(ask, options, &|_, _| Ok((body.clone(), None))).await
    }

    /// Patches an object, or the part of it that the subresource names.
    ///
    /// # Errors
    /// As [`Engine::update`], and what is wrong with the patch.
    pub async fn patch(
        &self,
        ask: &Ask,
        patch: &Patch,
        validation: FieldValidation,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let (_, schema) = body_type(ask);
        let patched = |old: &Value, warnings: &mut Vec<String>| {
            let made = || {
                let mut value = patch.apply(old.clone(), &schema)?;
                owners::mark_cleared(&mut value);
                Ok(value)
            };
            // What was made is made again where it must be shown: rarely, and it is large.
            let invalid = |error| match made() {
                Ok(value) => invalid_result(&value, &error),
                Err(status) => status,
            };
            let mut decoded = conform(made()?, &schema).map_err(invalid)?;
            let findings = patch.findings().iter().cloned();
            decoded.findings = findings.chain(decoded.findings).collect();
            let (value, found) = decoded.accept(validation).map_err(invalid)?;
            *warnings = found;
            Ok(value)
        };
        match ask.subresource {
            SCALE => {
                let patched =
                    |old: &Value, warnings: &mut Vec<String>| Ok((patched(old, warnings)?, None));
                self.rescale(ask, options, &patched).await
            }
            _ => self.change(ask, options, &patched).await,
        }
    }

    /// Makes an object, or the part of it that the subresource names, have what a configuration
    /// says; creates the object where there is none.
    ///
    /// # Errors
    /// As [`Engine::create`] and [`Engine::update`]; 409 where others own what would change.
    pub async fn apply(
        &self,
        ask: &Ask,
        config: &Config,
        validation: FieldValidation,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let mut warnings = Vec::new();
        owners::findings(config, validation, &mut warnings)?;
        let mut written = match ask.subresource {
            SCALE => {
                let paths = ask.resource.rules.scale();
                let owners = ScaleOwners { ask, options, path: &paths.spec };
                let applied = |old: &Value, _: &mut Vec<String>| {
                    let (scale, managers) = owners.apply(config, old)?;
                    Ok((scale, Some(managers)))
                };
                self.rescale(ask, options, &applied).await?
            }
            _ => self.apply_object(ask, config, options).await?,
        };
        warnings.append(&mut written.warnings);
        Ok(Written { warnings, ..written })
    }

    async fn apply_object(
        &self,
        ask: &Ask,
        config: &Config,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let applied =
            |old: &Value, _: &mut Vec<String>| self.applied(ask, options, config, Some(old));
        for _ in 0..limits::UPDATE_ATTEMPTS_MAX {
            if !ask.subresource.is_empty() || self.history.get(&ask.key()).is_some() {
                return self.change_owned(ask, options, &applied, Owners::Given).await;
            }
            self.authorize(&ask.attributes("create"))?;
            let object = self.applied(ask, options, config, None)?;
            if !object.uid().is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {}, and no existing object \
                     was found",
                    object.uid()
                );
                return Err(ask.conflict(&why));
            }
            check_name(ask, &object)?;
            match self.create_owned(&ask.named(""), object, options, Owners::Given).await {
                // Somebody was faster: what was to be made is there to be changed.
                Err(status) if status.is_already_exists() => {}
                result => return result,
            }
        }
        Err(ask.modified())
    }

    /// Changes an object through its scale.
    async fn rescale(
        &self,
        ask: &Ask,
        options: &WriteOptions,
        change: &ScaleChange<'_>,
    ) -> Result<Written, Status> {
        let paths = ask.resource.rules.scale();
        let owners = ScaleOwners { ask, options, path: &paths.spec };
        let transform = |old: &Value, warnings: &mut Vec<String>| {
            let mut before = to_scale(ask, old);
            owners.put(old, &mut before);
            let (mut scale, managers) = change(&before, warnings)?;
            let mut object = from_scale(ask, &scale, old)?;
            match managers {
                Some(managers) => owners.keep(managers, &mut object),
                None => owners.track(&before, &mut scale, &mut object),
            }
            Ok(object)
        };
        let mut written = self.change_owned(ask, options, &transform, Owners::Given).await?;
        let object = written.answer.into_value(&ask.resource)?;
        written.answer = Answer::Made(to_scale(ask, &object));
        Ok(written)
    }
}

/// Makes the wanted state of a scale, and says who owns it where that is known.
type ScaleChange<'t> = dyn Fn(&Value, &mut Vec<String>) -> Result<(Value, Option<Managers>), Status>
    + Send
    + Sync
    + 't;

/// What the body of a write is: its kind in words, and its types.
pub fn body_type(ask: &Ask) -> ((String, String, String), Schema) {
    let resource = &ask.resource;
    match resource.subresource(ask.subresource).and_then(|sub| sub.body) {
        Some((group, version, kind)) => {
            let schema = Schema::of(group, version, kind).unwrap_or_default();
            ((group.to_owned(), version.to_owned(), kind.to_owned()), schema)
        }
        None => {
            let names = (resource.group.clone(), resource.version.clone(), resource.kind.clone());
            (names, resource.schema.clone())
        }
    }
}

/// The scale of an object.
fn to_scale(ask: &Ask, object: &Value) -> Value {
    let paths = ask.resource.rules.scale();
    let at = |path: &[String]| path.iter().fold(object, |value, key| value.get(key));
    let mut metadata = Value::object();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        let value = object.metadata().get(key);
        if !value.is_null() {
            metadata.set(key, value.clone());
        }
    }
    let selector = match &paths.selector {
        ScaleSelector::Object(path) => LabelSelector::from_object(at(path))
            .map(|selector| selector.to_text())
            .unwrap_or_default(),
        ScaleSelector::Pairs(path) => {
            let pairs = at(path).fields().map(|(key, value)| (key, value.str()));
            LabelSelector::from_pairs(pairs).to_text()
        }
        ScaleSelector::Text(path) => at(path).str().to_owned(),
        ScaleSelector::None => String::new(),
    };
    let mut status = Value::from([("replicas", at(&paths.status).as_int().unwrap_or(0).into())]);
    if !selector.is_empty() {
        status.set("selector", selector);
    }
    let mut spec = Value::object();
    if let replicas @ 1.. = at(&paths.spec).as_int().unwrap_or(0) {
        spec.set("replicas", replicas);
    }
    Value::from([
        ("kind", SCALE_KIND.into()),
        ("apiVersion", "autoscaling/v1".into()),
        ("metadata", metadata),
        ("spec", spec),
        ("status", status),
    ])
}

/// The object with what its scale says.
fn from_scale(ask: &Ask, scale: &Value, old: &Value) -> Result<Value, Status> {
    if ![ask.name.as_str(), ""].contains(&scale.name()) {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            scale.name(),
            ask.name
        )));
    }
    let replicas = scale.at(&["spec", "replicas"]).as_int().unwrap_or(0);
    if replicas < 0 {
        let mut errors = Errors::default();
        let why = "must be greater than or equal to 0";
        errors.invalid("spec.replicas", &replicas.into(), why);
        let causes = errors.into_causes();
        return Err(Status::invalid("autoscaling", SCALE_KIND, &ask.name, causes));
    }
    let mut object = old.clone();
    let path = ask.resource.rules.scale().spec;
    let place = path.iter().fold(&mut object, |value, key| value.entry(key));
    *place = replicas.into();
    for key in ["resourceVersion", "uid"] {
        let given = scale.metadata().get(key).clone();
        object.entry("metadata").set(key, given);
    }
    Ok(object)
}
