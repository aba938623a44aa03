//! What is served, as clients discover it: `/api`, `/apis`, each group and version, and all of it
//! in one document (KEP-3352). Pure functions of the registry.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::meta::api_version;
use crate::api::registry::{Registry, Resource, Subresource};
use crate::api::tree::Value;

/// The order in which kube-apiserver lists its own groups: clients that look a kind up in all
/// groups take the first. Groups of custom resources follow by name.
const GROUPS: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// A group and its versions, the preferred one first.
type Group<'a> = (&'a str, Vec<(&'a str, Vec<&'a Arc<Resource>>)>);

fn groups(registry: &Registry) -> Vec<Group<'_>> {
    let mut found: BTreeMap<&str, BTreeMap<&str, Vec<&Arc<Resource>>>> = BTreeMap::new();
    for resource in registry.iter() {
        let versions = found.entry(&resource.group).or_default();
        versions.entry(&resource.version).or_default().push(resource);
    }
    let mut groups: Vec<Group<'_>> = found
        .into_iter()
        .map(|(group, versions)| {
            let mut versions: Vec<_> = versions.into_iter().collect();
            versions.sort_by(|a, b| compare_versions(a.0, b.0));
            (group, versions)
        })
        .collect();
    let place = |group: &str| GROUPS.iter().position(|known| *known == group);
    groups.sort_by_key(|(group, _)| (place(group).unwrap_or(usize::MAX), (*group).to_owned()));
    groups
}

/// Orders versions by preference: stable before beta before alpha, then the newer first, then
/// whatever does not look like a version, by name.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// `v2beta3` as stability, major, minor.
fn parse_version(text: &str) -> Option<(u8, u32, u32)> {
    let rest = text.strip_prefix('v')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..end].parse().ok()?;
    match &rest[end..] {
        "" => Some((2, major, 0)),
        beta if beta.starts_with("beta") => Some((1, major, beta[4..].parse().ok()?)),
        alpha if alpha.starts_with("alpha") => Some((0, major, alpha[5..].parse().ok()?)),
        _ => None,
    }
}

/// `/api`; `address` is where clients reach the server.
pub fn core_versions(address: &str) -> Value {
    let server =
        Value::from([("clientCIDR", "0.0.0.0/0".into()), ("serverAddress", address.into())]);
    Value::from([
        ("kind", "APIVersions".into()),
        ("versions", vec!["v1".into()].into()),
        ("serverAddressByClientCIDRs", vec![server].into()),
    ])
}

/// `/apis`.
pub fn group_list(registry: &Registry) -> Value {
    let named = groups(registry).into_iter().filter(|(group, _)| !group.is_empty());
    let list: Vec<Value> = named.map(|group| group_entry(&group)).collect();
    Value::from([
        ("kind", "APIGroupList".into()),
        ("apiVersion", "v1".into()),
        ("groups", list.into()),
    ])
}

/// `/apis/<group>`; `None` where nothing is served there.
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let all = groups(registry);
    let found = all.iter().find(|(group, _)| *group == name && !group.is_empty())?;
    let mut entry = group_entry(found);
    entry.set("kind", "APIGroup");
    entry.set("apiVersion", "v1");
    Some(entry)
}

fn group_entry((group, versions): &Group<'_>) -> Value {
    let version = |name: &str| {
        Value::from([("groupVersion", api_version(group, name).into()), ("version", name.into())])
    };
    let all: Vec<Value> = versions.iter().map(|(name, _)| version(name)).collect();
    let preferred = all.first().cloned().unwrap_or_default();
    Value::from([
        ("name", (*group).into()),
        ("versions", all.into()),
        ("preferredVersion", preferred),
    ])
}

/// `/api/v1` or `/apis/<group>/<version>`; `None` where nothing is served there.
pub fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let here = |r: &&Arc<Resource>| r.group == group && r.version == version;
    let resources: Vec<&Arc<Resource>> = registry.iter().filter(here).collect();
    if resources.is_empty() {
        return None;
    }
    let entries: Vec<Value> = resources
        .iter()
        .flat_map(|resource| {
            let below = resource.subresources.iter().map(|sub| legacy_subresource(resource, sub));
            std::iter::once(legacy_resource(resource)).chain(below)
        })
        .collect();
    Some(Value::from([
        ("kind", "APIResourceList".into()),
        ("apiVersion", "v1".into()),
        ("groupVersion", api_version(group, version).into()),
        ("resources", entries.into()),
    ]))
}

fn texts<T: AsRef<str>>(list: &[T]) -> Value {
    Value::Array(list.iter().map(|text| text.as_ref().into()).collect())
}

/// Sets a field unless it would be empty.
fn set_if(value: &mut Value, key: &str, field: Value) {
    if !field.is_empty() {
        value.set(key, field);
    }
}

fn legacy_resource(resource: &Resource) -> Value {
    let mut entry = Value::from([
        ("name", resource.plural.as_str().into()),
        ("singularName", resource.singular.as_str().into()),
        ("namespaced", resource.namespaced().into()),
        ("kind", resource.kind.as_str().into()),
        ("verbs", texts(&resource.verbs)),
    ]);
    set_if(&mut entry, "shortNames", texts(&resource.short_names));
    set_if(&mut entry, "categories", texts(&resource.categories));
    if resource.serves("list") {
        entry.set("storageVersionHash", storage_hash(resource));
    }
    entry
}

/// Tells clients that migrate storage whether the stored version changed.
fn storage_hash(resource: &Resource) -> String {
    let text = format!("{}/{}/{}", resource.group, resource.version, resource.kind);
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    STANDARD.encode(&hash.as_ref()[..8])
}

/// Group, version and kind that a subresource speaks.
fn body_of<'a>(resource: &'a Resource, sub: &'a Subresource) -> (&'a str, &'a str, &'a str) {
    sub.body.unwrap_or((&resource.group, &resource.version, &resource.kind))
}

fn legacy_subresource(resource: &Resource, sub: &Subresource) -> Value {
    let (group, version, kind) = body_of(resource, sub);
    let mut entry = Value::from([
        ("name", format!("{}/{}", resource.plural, sub.name).into()),
        ("singularName", "".into()),
        ("namespaced", resource.namespaced().into()),
        ("kind", kind.into()),
        ("verbs", texts(sub.verbs)),
    ]);
    if (group, version) != (&resource.group, &resource.version) {
        set_if(&mut entry, "group", group.into());
        entry.set("version", version);
    }
    entry
}

/// All of `/api` (`core`) or all of `/apis` in one document, `apidiscovery.k8s.io/v2`.
pub fn aggregated(registry: &Registry, core: bool) -> Value {
    let wanted = groups(registry).into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = wanted.map(|group| aggregated_group(&group)).collect();
    Value::from([
        ("kind", "APIGroupDiscoveryList".into()),
        ("apiVersion", "apidiscovery.k8s.io/v2".into()),
        ("metadata", Value::object()),
        ("items", items.into()),
    ])
}

fn aggregated_group((group, versions): &Group<'_>) -> Value {
    let mut metadata = Value::from([("creationTimestamp", Value::Null)]);
    set_if(&mut metadata, "name", (*group).into());
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, resources)| {
            let resources: Vec<Value> =
                resources.iter().map(|resource| aggregated_resource(resource)).collect();
            Value::from([
                ("version", (*version).into()),
                ("resources", resources.into()),
                ("freshness", "Current".into()),
            ])
        })
        .collect();
    Value::from([("metadata", metadata), ("versions", versions.into())])
}

fn response_kind((group, version, kind): (&str, &str, &str)) -> Value {
    Value::from([("group", group.into()), ("version", version.into()), ("kind", kind.into())])
}

fn aggregated_resource(resource: &Resource) -> Value {
    let own = (resource.group.as_str(), resource.version.as_str(), resource.kind.as_str());
    let scope = if resource.namespaced() { "Namespaced" } else { "Cluster" };
    let mut entry = Value::from([
        ("resource", resource.plural.as_str().into()),
        ("responseKind", response_kind(own)),
        ("scope", scope.into()),
        ("singularResource", resource.singular.as_str().into()),
        ("verbs", texts(&resource.verbs)),
    ]);
    set_if(&mut entry, "shortNames", texts(&resource.short_names));
    set_if(&mut entry, "categories", texts(&resource.categories));
    let below: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            Value::from([
                ("subresource", sub.name.into()),
                ("responseKind", response_kind(body_of(resource, sub))),
                ("verbs", texts(sub.verbs)),
            ])
        })
        .collect();
    set_if(&mut entry, "subresources", below.into());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_preference() {
        let mut versions =
            ["v1alpha1", "v2beta1", "foo", "v1", "v2", "v10beta3", "v1beta2", "bar", "v11alpha2"];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(
            versions,
            ["v2", "v1", "v10beta3", "v2beta1", "v1beta2", "v11alpha2", "v1alpha1", "bar", "foo"]
        );
    }

    #[test]
    fn the_documents_agree() {
        let registry = crate::api::registry::builtin();
        let list = group_list(&registry);
        let all = aggregated(&registry, false);
        let names: Vec<&str> =
            list.get("groups").items().iter().map(|g| g.get("name").str()).collect();
        let items = all.get("items").items().iter();
        let discovered: Vec<&str> = items.map(|g| g.at(&["metadata", "name"]).str()).collect();
        assert_eq!(names, discovered);
        for entry in list.get("groups").items() {
            let name = entry.get("name").str();
            let one = group(&registry, name).unwrap();
            assert_eq!(one.get("preferredVersion"), entry.get("preferredVersion"));
            for version in entry.get("versions").items() {
                let resources =
                    resource_list(&registry, name, version.get("version").str()).unwrap();
                assert_eq!(resources.get("groupVersion"), version.get("groupVersion"));
                assert!(!resources.get("resources").items().is_empty());
            }
        }
        assert!(resource_list(&registry, "", "v1").is_some());
        assert!(group(&registry, "none.example.com").is_none());
    }
}
