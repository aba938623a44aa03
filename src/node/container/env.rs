//! The environment of a container, from every source that the API knows.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::expand::expand;
use super::fields::{self, Addresses, FieldError};
use crate::node::source::{Kind, Missing, Sources};

/// What the environment is made from.
pub struct Context<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its and the node's addresses.
    pub addresses: &'a Addresses,
    /// What the node can give.
    pub allocatable: &'a BTreeMap<String, Text>,
    /// ConfigMaps and Secrets.
    pub sources: &'a Sources,
    /// What is told of services.
    pub links: &'a [(String, String)],
}

/// Why an environment cannot be made: the message of `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A ConfigMap or Secret is missing.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A key is missing in it.
    #[error("couldn't find key {key} in {} {namespace}/{name}", kind.as_str())]
    NoKey {
        /// What was searched.
        kind: Kind,
        /// Where it is.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A field cannot be had.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// The variables of a container, in order: of whole objects, its own, those of services.
///
/// # Errors
/// When something that a variable refers to is missing and not optional.
pub fn environment(
    container: &Container,
    context: &Context<'_>,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut vars = Vars { list: Vec::new(), links: context.links };
    for from in container.env_from.iter().flatten() {
        of_object(from, context, &mut vars)?;
    }
    for env in container.env.iter().flatten() {
        if let Some(value) = of_variable(env, container, context, &vars)? {
            vars.set(env.name.clone(), value);
        }
    }
    Ok(vars.with_links())
}

/// The variables so far; a later one of the same name takes the place of the earlier.
struct Vars<'a> {
    list: Vec<(String, String)>,
    links: &'a [(String, String)],
}

impl Vars<'_> {
    fn set(&mut self, name: String, value: String) {
        match self.list.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.list.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        lookup(&self.list, name).or_else(|| lookup(self.links, name))
    }

    fn with_links(mut self) -> Vec<(String, String)> {
        for (name, value) in self.links {
            if lookup(&self.list, name).is_none() {
                self.list.push((name.clone(), value.clone()));
            }
        }
        self.list
    }
}

/// The value of a variable in a list.
pub fn lookup<'v>(list: &'v [(String, String)], name: &str) -> Option<&'v str> {
    list.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn of_object(
    from: &EnvFromSource,
    context: &Context<'_>,
    vars: &mut Vars<'_>,
) -> Result<(), EnvError> {
    let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
        (Some(map), _) => (Kind::ConfigMap, &map.name, map.optional),
        (None, Some(secret)) => (Kind::Secret, &secret.name, secret.optional),
        (None, None) => return Ok(()),
    };
    let optional = optional.unwrap_or(false);
    let Some(content) = context.sources.find(kind, name, optional)? else { return Ok(()) };
    let prefix = from.prefix.as_deref().unwrap_or_default();
    for (key, value) in &content.data {
        vars.set(format!("{prefix}{key}"), text(value));
    }
    Ok(())
}

/// The value of one variable; none where an optional source is missing.
fn of_variable(
    env: &EnvVar,
    container: &Container,
    context: &Context<'_>,
    vars: &Vars<'_>,
) -> Result<Option<String>, EnvError> {
    let value = env.value.as_deref().unwrap_or_default();
    match &env.value_from {
        Some(from) if value.is_empty() => of_source(from, container, context),
        _ => Ok(Some(expand(value, |name| vars.get(name)))),
    }
}

fn of_source(
    from: &EnvVarSource,
    container: &Container,
    context: &Context<'_>,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &from.field_ref {
        return Ok(Some(fields::field(context.pod, context.addresses, &field.field_path)?));
    }
    if let Some(selector) = &from.resource_field_ref {
        let value = fields::resource(context.pod, container, selector, context.allocatable)?;
        return Ok(Some(value));
    }
    if let Some(key) = &from.config_map_key_ref {
        let optional = key.optional.unwrap_or(false);
        return of_key(Kind::ConfigMap, &key.name, &key.key, optional, context);
    }
    if let Some(key) = &from.secret_key_ref {
        let optional = key.optional.unwrap_or(false);
        return of_key(Kind::Secret, &key.name, &key.key, optional, context);
    }
    Ok(Some(String::new()))
}

fn of_key(
    kind: Kind,
    name: &str,
    key: &str,
    optional: bool,
    context: &Context<'_>,
) -> Result<Option<String>, EnvError> {
    let Some(content) = context.sources.find(kind, name, optional)? else { return Ok(None) };
    match content.data.get(key) {
        Some(value) => Ok(Some(text(value))),
        None if optional => Ok(None),
        None => Err(EnvError::NoKey {
            kind,
            namespace: context.pod.metadata.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
            key: key.to_owned(),
        }),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::tree::Value;
    use crate::node::source::Content;

    fn sources() -> Sources {
        let mut sources = Sources::default();
        let map = Value::parse(br#"{"data":{"a":"1","b.c":"2"}}"#).unwrap();
        let secret = Value::parse(br#"{"data":{"pw":"c2VjcmV0"}}"#).unwrap();
        let map = Content::of(Kind::ConfigMap, &map);
        let secret = Content::of(Kind::Secret, &secret);
        sources.add((Kind::ConfigMap, "m".into()), Arc::new(map));
        sources.add((Kind::Secret, "s".into()), Arc::new(secret));
        sources
    }

    fn env(container: &str) -> Result<Vec<String>, String> {
        let container: Container = serde_json::from_str(container).unwrap();
        let pod = serde_json::from_str(
            r#"{"metadata":{"name":"p","namespace":"n"},
            "spec":{"containers":[]}}"#,
        );
        let links = [("WEB_HOST".to_owned(), "10.0.0.1".to_owned()), ("A".into(), "link".into())];
        let context = Context {
            pod: &pod.unwrap(),
            addresses: &Addresses::default(),
            allocatable: &BTreeMap::new(),
            sources: &sources(),
            links: &links,
        };
        let vars = environment(&container, &context).map_err(|e| e.to_string())?;
        Ok(vars.into_iter().map(|(k, v)| format!("{k}={v}")).collect())
    }

    #[test]
    fn comes_from_every_source_in_order() {
        let container = r#"{"name":"c",
          "envFrom":[{"prefix":"P_","configMapRef":{"name":"m"}},{"secretRef":{"name":"s"}},
            {"configMapRef":{"name":"none","optional":true}}],
          "env":[{"name":"A","value":"own"},{"name":"B","value":"$(A) $(WEB_HOST) $(P_a) $(LATER)"},
            {"name":"P_a","value":"over"},{"name":"LATER","value":"x"},
            {"name":"N","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},
            {"name":"K","valueFrom":{"configMapKeyRef":{"name":"m","key":"b.c"}}},
            {"name":"S","valueFrom":{"secretKeyRef":{"name":"s","key":"pw"}}},
            {"name":"NO","valueFrom":{"secretKeyRef":{"name":"s","key":"x","optional":true}}},
            {"name":"EMPTY"}]}"#;
        let expected = [
            "P_a=over",
            "P_b.c=2",
            "pw=secret",
            "A=own",
            "B=own 10.0.0.1 1 $(LATER)",
            "LATER=x",
            "N=p",
            "K=2",
            "S=secret",
            "EMPTY=",
            "WEB_HOST=10.0.0.1",
        ];
        assert_eq!(env(container).unwrap(), expected);
    }

    #[test]
    fn says_what_is_missing() {
        let cases = [
            (r#""envFrom":[{"configMapRef":{"name":"x"}}]"#, "configmap \"x\" not found"),
            (
                r#""env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]"#,
                "couldn't find key k in Secret n/s",
            ),
            (
                r#""env":[{"name":"A","valueFrom":{"configMapKeyRef":{"name":"m","key":"k"}}}]"#,
                "couldn't find key k in ConfigMap n/m",
            ),
        ];
        for (fields, error) in cases {
            assert_eq!(env(&format!(r#"{{"name":"c",{fields}}}"#)), Err(error.to_owned()));
        }
    }
}
