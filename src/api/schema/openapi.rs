//! OpenAPI documents: version 3 per group and version, version 2 for everything, in JSON and in
//! protobuf.
//!
//! A document is made when it is first asked for, piece by piece: only one path or definition is a
//! tree at any time, so that a document costs little more than its text. The caller keeps the text
//! (compressed, if it likes) under [`fingerprint`], which also is the document's `?hash=` and ETag:
//! it is made of what goes into the document, not of the document, and so costs nothing to know.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA512};

use super::{Type, builtin};
use crate::api::registry::Resource;
use crate::api::tree::Value;

mod custom;
mod definitions;
mod descriptions;
mod gnostic;
mod paths;

use definitions::{Dialect, definition, group_version_kind, kinds_of, targets};
use descriptions::Descriptions;
use paths::Paths;

/// The media type of version 2 in protobuf.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What tells a document from any other: it changes when the document does. `served` are the
/// resources of the document; hexadecimal.
pub fn fingerprint(served: &[&Resource]) -> String {
    let mut hash = Context::new(&SHA512);
    let mut add = |text: &str| {
        hash.update(&text.len().to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(env!("CARGO_PKG_VERSION"));
    add(builtin().release());
    for resource in served {
        for text in [&resource.group, &resource.version, &resource.kind, &resource.plural] {
            add(text);
        }
        add(if resource.namespaced() { "namespaced" } else { "cluster" });
        add(&resource.verbs.join(","));
        for sub in &resource.subresources {
            add(sub.name);
            add(&sub.verbs.join(","));
        }
        if let Some(open_api) = resource.schema.open_api() {
            add(open_api);
        }
    }
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The document that lists the documents of version 3: for each path such as `apis/apps/v1` its
/// fingerprint.
pub fn v3_index<'a>(documents: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut paths = Value::object();
    for (path, hash) in documents {
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.set(path, Value::from([("serverRelativeURL", url.into())]));
    }
    Value::from([("paths", paths)])
}

/// The document of version 3 for one group and version, as JSON. `served` are its resources.
pub fn v3(group: &str, version: &str, served: &[&Resource]) -> Vec<u8> {
    let mut document = Document::new(Dialect::V3, served);
    document.add_discovery(group, version);
    let mut text = Text::default();
    text.open(None);
    text.open(Some("components"));
    text.open(Some("schemas"));
    document.each_definition(|name, schema| text.put(name, &schema));
    text.close();
    text.put("securitySchemes", &security_definitions());
    text.close();
    text.put("info", &info());
    text.put("openapi", &"3.0.0".into());
    text.open(Some("paths"));
    document.each_path(|path, item| text.put(path, &item));
    text.close();
    text.put("security", &security());
    text.close();
    text.out
}

/// The document of version 2 as JSON. `served` are all resources.
pub fn v2(served: &[&Resource]) -> Vec<u8> {
    let document = Document::v2(served);
    let mut text = Text::default();
    text.open(None);
    text.open(Some("definitions"));
    document.each_definition(|name, schema| text.put(name, &schema));
    text.close();
    text.put("info", &info());
    text.open(Some("paths"));
    document.each_path(|path, item| text.put(path, &item));
    text.close();
    text.put("security", &security());
    text.put("securityDefinitions", &security_definitions());
    text.put("swagger", &"2.0".into());
    text.close();
    text.out
}

/// The document of version 2 in protobuf.
pub fn v2_protobuf(served: &[&Resource]) -> Vec<u8> {
    let document = Document::v2(served);
    let mut out = gnostic::Writer::default();
    out.head("2.0", &info());
    document.each_path(|path, item| out.path(path, &item));
    document.each_definition(|name, schema| out.definition(name, &schema));
    out.finish(&security(), &security_definitions())
}

fn info() -> Value {
    Value::from([("title", "Kubernetes".into()), ("version", builtin().release().into())])
}

fn security() -> Value {
    Value::from(vec![Value::from([("BearerToken", Value::Array(Vec::new()))])])
}

fn security_definitions() -> Value {
    let token = Value::from([
        ("description", "Bearer Token authentication".into()),
        ("in", "header".into()),
        ("name", "authorization".into()),
        ("type", "apiKey".into()),
    ]);
    Value::from([("BearerToken", token)])
}

/// The name of a resource's definition.
fn definition_name(resource: &Resource) -> String {
    if resource.custom {
        return custom::name(&resource.group, &resource.version, &resource.kind);
    }
    let node = builtin().kind(&resource.group, &resource.version, &resource.kind);
    node.and_then(|node| node.fields_type()).map_or("", Type::name).to_owned()
}

/// What goes into a document.
struct Document<'a> {
    dialect: Dialect,
    texts: Descriptions,
    served: &'a [&'a Resource],
    /// Groups and versions whose discovery is a path of the document.
    groups: BTreeSet<(String, String)>,
}

impl<'a> Document<'a> {
    fn new(dialect: Dialect, served: &'a [&'a Resource]) -> Self {
        Self { dialect, texts: Descriptions::unpack(), served, groups: BTreeSet::new() }
    }

    fn v2(served: &'a [&'a Resource]) -> Self {
        let mut document = Self::new(Dialect::V2, served);
        for resource in served {
            document.add_discovery(&resource.group, &resource.version);
        }
        document
    }

    fn add_discovery(&mut self, group: &str, version: &str) {
        self.groups.insert((group.to_owned(), version.to_owned()));
    }

    /// All paths in order. Resources of one prefix are made together and then forgotten.
    fn each_path(&self, mut take: impl FnMut(&str, Value)) {
        let mut items: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (group, version) in &self.groups {
            let (path, item) = paths::discovery(group, version, self.dialect);
            items.insert(path, item.encode());
        }
        for resource in self.served {
            let paths = Paths { dialect: self.dialect, texts: &self.texts, resource };
            for (path, item) in paths.items() {
                items.insert(path, item.encode());
            }
        }
        for (path, item) in items {
            take(&path, Value::parse(&item).unwrap_or_default());
        }
    }

    /// All definitions that the paths need, in order.
    fn each_definition(&self, mut take: impl FnMut(&str, Value)) {
        let mut customs: BTreeMap<String, (&Resource, bool)> = BTreeMap::new();
        for resource in self.served.iter().filter(|resource| resource.custom) {
            let name = definition_name(resource);
            customs.insert(format!("{name}List"), (resource, true));
            customs.insert(name, (resource, false));
        }
        let mut names: BTreeSet<&str> = self.needed();
        names.extend(customs.keys().map(String::as_str));
        for name in names {
            let schema = match customs.get(name) {
                Some((resource, true)) => custom::list(resource, self.dialect, &self.texts),
                Some((resource, false)) => custom::object(resource, self.dialect, &self.texts),
                None => match builtin().type_named(name) {
                    Some(ty) => self.built_in(ty),
                    None => continue,
                },
            };
            take(name, schema);
        }
    }

    fn built_in(&self, ty: Type<'_>) -> Value {
        let mut schema = definition(ty, self.dialect, &self.texts);
        let kinds = match ty.short_name() {
            kind @ ("DeleteOptions" | "WatchEvent") => in_all_groups(kind),
            _ => kinds_of(ty.name()),
        };
        if !kinds.is_empty() {
            schema.set("x-kubernetes-group-version-kind", kinds);
        }
        schema
    }

    /// The built-in definitions that are referred to, directly or not.
    fn needed(&self) -> BTreeSet<&'static str> {
        let mut needed: BTreeSet<&'static str> = BTreeSet::new();
        let mut open: Vec<&'static str> = Vec::new();
        let meta =
            ["APIResourceList", "DeleteOptions", "Patch", "Status", "ObjectMeta", "ListMeta"];
        open.extend(meta.iter().filter_map(|kind| known(&paths::meta(kind))));
        for resource in self.served {
            let bodies = resource.subresources.iter().filter_map(|sub| sub.body);
            let bodies = bodies.filter(|(_, _, kind)| !kind.ends_with("Options"));
            let own = (resource.group.as_str(), resource.version.as_str());
            let kinds = [(own.0, own.1, &*resource.kind), (own.0, own.1, &*resource.list_kind)];
            for (group, version, kind) in bodies.chain(kinds) {
                let node = builtin().kind(group, version, kind);
                open.extend(node.and_then(|node| node.fields_type()).map(Type::name));
            }
        }
        while let Some(name) = open.pop() {
            if needed.insert(name) {
                open.extend(builtin().type_named(name).into_iter().flat_map(targets));
            }
        }
        needed
    }
}

/// The table's own text of a definition's name.
fn known(name: &str) -> Option<&'static str> {
    builtin().type_named(name).map(Type::name)
}

/// A kind that every group and version has, in the built-in ones.
fn in_all_groups(kind: &str) -> Vec<Value> {
    let groups = builtin().kinds().map(|(group, version, _, _)| (group, version));
    let groups: BTreeSet<(&str, &str)> =
        groups.filter(|(group, _)| *group != "meta.k8s.io").collect();
    groups.into_iter().map(|(group, version)| group_version_kind(group, version, kind)).collect()
}

/// A JSON object that is written field by field.
#[derive(Default)]
struct Text {
    out: Vec<u8>,
}

impl Text {
    fn key(&mut self, key: &str) {
        if !matches!(self.out.last(), None | Some(b'{')) {
            self.out.push(b',');
        }
        self.out.extend(Value::from(key).encode());
        self.out.push(b':');
    }

    fn open(&mut self, key: Option<&str>) {
        if let Some(key) = key {
            self.key(key);
        }
        self.out.push(b'{');
    }

    fn close(&mut self) {
        self.out.push(b'}');
    }

    fn put(&mut self, key: &str, value: &Value) {
        self.key(key);
        self.out.extend(value.encode());
    }
}

#[cfg(test)]
mod tests;
