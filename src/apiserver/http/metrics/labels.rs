//! What requests are counted by. Nothing of it is copied for a request: names of resources come
//! from the registry, so that clients cannot make up new series, and are shared with it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

use crate::api::registry::{Called, Resource};
use crate::api::selector::FieldSelector;
use crate::apiserver::http::request::{RequestInfo, ResourcePath, Target};

/// Subresources that are streams, which have one verb.
const CONNECTED: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// What a request was about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    /// The verb, as upstream writes it here: `LIST`.
    pub verb: &'static str,
    /// The resource, if it is about one that is served.
    pub called: Option<Arc<Called>>,
    /// The subresource, if it is served.
    pub subresource: &'static str,
    /// Whether it is about one object, those of a namespace, or all.
    pub scope: &'static str,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
}

impl Labels {
    /// The labels of a request for a resource, where one is served at its path; `applies` says
    /// whether its body is an applied configuration.
    pub fn of(info: &RequestInfo, resource: Option<&Resource>, applies: bool) -> Self {
        let path = match &info.target {
            Target::Resource(path) => Some(path),
            Target::Path => None,
        };
        let below = path.map_or("", |path| &path.subresource);
        let subresource = resource.and_then(|resource| resource.subresource(below));
        Self {
            verb: if CONNECTED.contains(&below) { "CONNECT" } else { verb(info.verb, applies) },
            called: resource.map(|resource| Arc::clone(&resource.called)),
            subresource: subresource.map_or("", |subresource| subresource.name),
            scope: path.map_or("", |path| scope(info, path)),
            dry_run: info.query.get("dryRun") == "All",
        }
    }

    /// Group, version and plural name; empty for what is no resource.
    pub fn named(&self) -> [&str; 3] {
        match &self.called {
            Some(called) => [&called.group, &called.version, &called.plural],
            None => [""; 3],
        }
    }
}

/// Whether a request is about one object, those of a namespace, or all. A selector by name makes a
/// collection one object, and one by namespace a namespace's.
fn scope(info: &RequestInfo, path: &ResourcePath) -> &'static str {
    if !path.name.is_empty() || info.verb == "create" {
        return "resource";
    }
    let fields = match info.query.get("fieldSelector") {
        "" => None,
        text => FieldSelector::parse(text).ok(),
    };
    let wants = |field: &str| fields.as_ref().is_some_and(|f| f.required(field).is_some());
    match () {
        () if wants("metadata.name") => "resource",
        () if !path.namespace.is_empty() || wants("metadata.namespace") => "namespace",
        () => "cluster",
    }
}

fn verb(verb: &str, applies: bool) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if applies => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    }
}

/// The labels of a series; some have a code, and some (`DRY`) tell dry runs apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Series<const DRY: bool> {
    labels: Labels,
    code: Option<u16>,
}

impl<const DRY: bool> Series<DRY> {
    pub(super) fn new(labels: &Labels, code: Option<u16>) -> Self {
        let labels = Labels { dry_run: DRY && labels.dry_run, ..labels.clone() };
        Self { labels, code }
    }
}

impl<const DRY: bool> EncodeLabelSet for Series<DRY> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let labels = &self.labels;
        let [group, version, resource] = labels.named();
        ("verb", labels.verb).encode(encoder.encode_label())?;
        if DRY {
            let dry_run = if labels.dry_run { "All" } else { "" };
            ("dry_run", dry_run).encode(encoder.encode_label())?;
        }
        for label in [
            ("group", group),
            ("version", version),
            ("resource", resource),
            ("subresource", labels.subresource),
            ("scope", labels.scope),
            ("component", "apiserver"),
        ] {
            label.encode(encoder.encode_label())?;
        }
        match self.code {
            Some(code) => ("code", code).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}
