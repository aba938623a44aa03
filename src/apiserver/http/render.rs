//! Objects, lists and events as documents in the form that a client takes.
//!
//! Where stored bytes are what the client wants, they are passed on as they are; every other form
//! is made on demand, object by object, while the answer is sent.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::accept::{Accepted, Media, Shape};
use super::body::{Body, Rope, Writer};
use super::raw;
use crate::api::codec::{self, protobuf};
use crate::api::meta::split_api_version;
use crate::api::registry::{Column, Context, Resource};
use crate::api::schema::Schema;
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::apiserver::engine::{Answer, Frame, List, as_served, is_identity};
use crate::history::{self, Object};
use crate::limits;
use crate::util::clock;

/// How much of an object a table row carries: `includeObject`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// Reads the parameter.
    ///
    /// # Errors
    /// 400 for an unknown word.
    pub fn parse(text: &str) -> Result<Self, Status> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::None),
            "Object" => Ok(Self::Object),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: \
                 must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// Makes documents of objects of one resource in one form.
pub struct Renderer {
    resource: Arc<Resource>,
    accepted: Accepted,
    include: Include,
    /// `{"kind":"Pod","apiVersion":"v1",` : what list items of built-in kinds go without.
    prefix: Bytes,
    columns: Vec<Column>,
    context: Context,
    /// Whether a table on a watch has named its columns.
    headed: bool,
}

impl Renderer {
    /// A renderer for `resource`.
    pub fn new(resource: &Arc<Resource>, accepted: Accepted, include: Include) -> Self {
        let prefix = type_prefix(&resource.kind, &resource.api_version());
        let columns = match accepted.shape {
            Shape::Table(_) => resource.rules.columns(),
            _ => Vec::new(),
        };
        Self {
            resource: Arc::clone(resource),
            accepted,
            include,
            prefix: prefix.into(),
            columns,
            context: Context { now: clock::now() },
            headed: false,
        }
    }

    /// The form that is made.
    pub const fn accepted(&self) -> Accepted {
        self.accepted
    }

    /// One object, or what a subresource answers.
    ///
    /// # Errors
    /// When the object cannot be shown in this form.
    pub fn answer(&self, answer: Answer) -> Result<Rope, Status> {
        match (self.accepted.media, &answer) {
            (Media::Json, Answer::Stored(object)) => {
                let mut out = Writer::default();
                self.object(object, &mut out)?;
                Ok(out.finish())
            }
            _ => {
                let value = self.shaped(answer.into_value(&self.resource)?);
                encode(&value, self.accepted.media)
            }
        }
    }

    /// One stored object in JSON, with its type.
    fn object(&self, object: &Arc<Object>, out: &mut Writer) -> Result<(), Status> {
        match self.accepted.shape {
            Shape::Whole if is_identity(&self.resource, object) => out.share(object.body.clone()),
            Shape::Whole => out.text(history::encode(&as_served(&self.resource, object)?)),
            Shape::Metadata => metadata(object, out),
            Shape::Table(_) => {
                let value = as_served(&self.resource, object)?;
                out.text(history::encode(&self.shaped(value)));
            }
        }
        Ok(())
    }

    /// A whole object in the shape that is wanted. Other kinds (a `Status`) are left as they are.
    fn shaped(&self, value: Value) -> Value {
        if value.get("kind").str() != self.resource.kind {
            return value;
        }
        match self.accepted.shape {
            Shape::Whole => value,
            Shape::Metadata => partial(&value),
            Shape::Table(version) => {
                let revision = value.at(&["metadata", "resourceVersion"]).clone();
                let mut table = self.table_head(version);
                if !revision.is_null() {
                    table.entry("metadata").set("resourceVersion", revision);
                }
                table.set("rows", vec![self.row(&value)]);
                table
            }
        }
    }

    fn table_head(&self, version: &str) -> Value {
        Value::from([
            ("kind", "Table".into()),
            ("apiVersion", format!("meta.k8s.io/{version}").into()),
            ("metadata", Value::object()),
            ("columnDefinitions", self.column_definitions()),
        ])
    }

    /// The columns; null once a watch has told them.
    fn column_definitions(&self) -> Value {
        match self.headed {
            true => Value::Null,
            false => self.columns.iter().map(column).collect::<Vec<_>>().into(),
        }
    }

    fn row(&self, object: &Value) -> Value {
        let cells = self.resource.rules.row(object, self.context);
        let shown = match self.include {
            Include::None => Value::Null,
            Include::Metadata => {
                let mut shown = partial(object);
                self.resource.rules.row_metadata(shown.entry("metadata"));
                shown
            }
            Include::Object => object.clone(),
        };
        Value::from([("cells", cells.into()), ("object", shown)])
    }

    /// A list: its head, its items as they are sent, its tail.
    ///
    /// # Errors
    /// When it cannot be shown in this form.
    pub fn list(self, list: List) -> Result<Body, Status> {
        match self.accepted.media {
            Media::Json => Ok(self.json_list(list)),
            Media::Yaml => Ok(encode(&self.whole_list(&list)?, Media::Yaml)?.into()),
            Media::Protobuf => self.protobuf_list(&list),
        }
    }

    fn json_list(self, list: List) -> Body {
        let (head, tail) = self.list_ends(&list);
        let mut items = list.items.into_iter();
        let mut comma = false;
        let mut portion = move |mut out: Writer| -> io::Result<(Rope, bool)> {
            for object in items.by_ref().take(limits::LIST_PORTION) {
                if std::mem::replace(&mut comma, true) {
                    out.text(",");
                }
                self.item(&object, &mut out).map_err(io::Error::other)?;
            }
            let done = items.len() == 0;
            if done {
                out.text(tail);
            }
            Ok((out.finish(), done))
        };
        let mut first = Writer::default();
        first.text(head);
        match portion(first) {
            Ok((rope, true)) => rope.into(),
            Ok((rope, false)) => {
                let rest = stream::unfold(Some(portion), |portion| async {
                    let mut portion = portion?;
                    match portion(Writer::default()) {
                        Ok((rope, done)) => Some((Ok(rope), (!done).then_some(portion))),
                        Err(error) => Some((Err(error), None)),
                    }
                });
                Body::stream(stream::iter([Ok(rope)]).chain(rest))
            }
            Err(error) => Body::stream(stream::iter([Err(error)])),
        }
    }

    /// What stands before and after the items of a list.
    fn list_ends(&self, list: &List) -> (String, &'static [u8]) {
        let meta = list_meta(list).to_string();
        let (kind, version, items) = match self.accepted.shape {
            Shape::Whole => (&*self.resource.list_kind, self.resource.api_version(), "items"),
            Shape::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".into(), "items"),
            Shape::Table(version) => ("Table", format!("meta.k8s.io/{version}"), "rows"),
        };
        let columns = match self.accepted.shape {
            Shape::Table(_) => format!(r#""columnDefinitions":{},"#, self.column_definitions()),
            _ => String::new(),
        };
        let prefix = type_prefix(kind, &version);
        (format!(r#"{prefix}"metadata":{meta},{columns}"{items}":["#), b"]}")
    }

    /// One item of a list in JSON. Built-in kinds go without their type there, as upstream's.
    fn item(&self, object: &Arc<Object>, out: &mut Writer) -> Result<(), Status> {
        match self.accepted.shape {
            Shape::Table(_) => {
                out.text(self.row(&as_served(&self.resource, object)?).encode());
            }
            Shape::Whole if self.resource.custom => self.object(object, out)?,
            Shape::Whole => {
                let body = match is_identity(&self.resource, object) {
                    true => object.body.clone(),
                    false => history::encode(&as_served(&self.resource, object)?).into(),
                };
                out.text("{");
                out.share(body.slice(self.prefix.len().min(body.len())..));
            }
            Shape::Metadata => metadata(object, out),
        }
        Ok(())
    }

    /// A list as one tree.
    fn whole_list(&self, list: &List) -> Result<Value, Status> {
        let mut objects = Vec::with_capacity(list.items.len());
        for object in &list.items {
            objects.push(as_served(&self.resource, object)?);
        }
        let typed = |kind: &str, version: String| {
            Value::from([
                ("kind", kind.into()),
                ("apiVersion", version.into()),
                ("metadata", list_meta(list)),
            ])
        };
        let mut whole = match self.accepted.shape {
            Shape::Table(version) => self.table_head(version),
            Shape::Metadata => typed("PartialObjectMetadataList", "meta.k8s.io/v1".into()),
            Shape::Whole => typed(&self.resource.list_kind, self.resource.api_version()),
        };
        match self.accepted.shape {
            Shape::Table(_) => {
                whole.set("metadata", list_meta(list));
                whole.set("rows", objects.iter().map(|o| self.row(o)).collect::<Vec<_>>());
            }
            Shape::Metadata => {
                whole.set("items", objects.iter().map(partial).collect::<Vec<_>>());
            }
            Shape::Whole => whole.set("items", objects),
        }
        Ok(whole)
    }

    fn protobuf_list(&self, list: &List) -> Result<Body, Status> {
        // Messages are shorter than JSON.
        let room = list.items.iter().map(|object| object.body.len()).sum();
        let mut out = protobuf::List::with_room(room);
        for object in list.items.iter().rev() {
            let value = self.shaped(as_served(&self.resource, object)?);
            let written = match self.accepted.shape {
                Shape::Whole => out.item(&value, &self.resource.schema),
                _ => out.item(&value, &schema_of(&value)?),
            };
            written.map_err(broken)?;
        }
        let (kind, version) = match self.accepted.shape {
            Shape::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".into()),
            _ => (&*self.resource.list_kind, self.resource.api_version()),
        };
        let sealed = out.seal(&version, kind, &list_meta(list)).map_err(broken)?;
        Ok(Rope::from(sealed).into())
    }

    /// Events of a watch, framed.
    ///
    /// # Errors
    /// When an object cannot be shown in this form.
    pub fn frames(&mut self, frames: &[Frame]) -> Result<Rope, Status> {
        let mut out = Writer::default();
        for frame in frames {
            match frame {
                Frame::Added(object) => self.event("ADDED", object, &mut out)?,
                Frame::Modified(object) => self.event("MODIFIED", object, &mut out)?,
                Frame::Deleted(object) => self.event("DELETED", object, &mut out)?,
                Frame::Bookmark { revision, initial_end } => {
                    let bookmark = self.bookmark(*revision, *initial_end);
                    self.framed("BOOKMARK", &bookmark, &mut out)?;
                }
                Frame::Error(status) => self.framed("ERROR", &status.to_value(), &mut out)?,
            }
        }
        Ok(out.finish())
    }

    fn event(&mut self, word: &str, object: &Arc<Object>, out: &mut Writer) -> Result<(), Status> {
        if self.accepted.media == Media::Protobuf {
            let value = self.shaped(as_served(&self.resource, object)?);
            return self.framed(word, &value, out);
        }
        open_event(word, out);
        self.object(object, out)?;
        out.text("}\n");
        self.headed = true;
        Ok(())
    }

    /// Any event whose object is at hand as a tree.
    fn framed(&self, word: &str, object: &Value, out: &mut Writer) -> Result<(), Status> {
        if self.accepted.media == Media::Protobuf {
            out.share(protobuf::watch_frame(word, &sealed(object)?).into());
            return Ok(());
        }
        open_event(word, out);
        out.text(history::encode(object));
        out.text("}\n");
        Ok(())
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> Value {
        let (kind, version) = match self.accepted.shape {
            Shape::Whole => (&*self.resource.kind, self.resource.api_version()),
            Shape::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".into()),
            Shape::Table(version) => ("Table", format!("meta.k8s.io/{version}")),
        };
        let mut metadata = Value::from([
            ("resourceVersion", revision.to_string().into()),
            ("creationTimestamp", Value::Null),
        ]);
        if initial_end {
            metadata.set("annotations", [("k8s.io/initial-events-end", "true".into())]);
        }
        let mut bookmark = Value::from([
            ("kind", kind.into()),
            ("apiVersion", version.into()),
            ("metadata", metadata),
        ]);
        if matches!(self.accepted.shape, Shape::Table(_)) {
            bookmark.set("columnDefinitions", Value::Null);
            bookmark.set("rows", Vec::new());
        }
        bookmark
    }
}

/// `{"kind":"Pod","apiVersion":"v1",`
fn type_prefix(kind: &str, api_version: &str) -> String {
    format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#)
}

/// `{"type":"ADDED","object":`
fn open_event(word: &str, out: &mut Writer) {
    for piece in [r#"{"type":""#, word, r#"","object":"#] {
        out.text(piece);
    }
}

/// Only an object's metadata, without decoding the rest.
fn metadata(object: &Object, out: &mut Writer) {
    out.text(r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1""#);
    if let Some(range) = raw::member(&object.body, "metadata") {
        out.text(r#","metadata":"#);
        out.share(object.body.slice(range));
    }
    out.text("}");
}

fn partial(object: &Value) -> Value {
    Value::from([
        ("kind", "PartialObjectMetadata".into()),
        ("apiVersion", "meta.k8s.io/v1".into()),
        ("metadata", object.get("metadata").clone()),
    ])
}

fn list_meta(list: &List) -> Value {
    let mut meta = Value::from([("resourceVersion", list.revision.to_string().into())]);
    if !list.resume.is_empty() {
        meta.set("continue", list.resume.as_str());
    }
    if let Some(remaining) = list.remaining {
        meta.set("remainingItemCount", i64::try_from(remaining).unwrap_or(i64::MAX));
    }
    meta
}

fn column(column: &Column) -> Value {
    Value::from([
        ("name", column.name.as_str().into()),
        ("type", column.kind.as_str().into()),
        ("format", column.format.as_str().into()),
        ("description", column.description.as_str().into()),
        ("priority", column.priority.into()),
    ])
}

/// Any tree as a document. Kinds in protobuf are found by the type that the tree says itself.
///
/// # Errors
/// 406 for a kind that has no protobuf form, 500 for one that does not fit its form.
pub fn encode(value: &Value, media: Media) -> Result<Rope, Status> {
    match media {
        Media::Json => Ok(history::encode(value).into()),
        Media::Yaml => serde_saphyr::to_string(value)
            .map(Rope::from)
            .map_err(|error| Status::internal(error.to_string())),
        Media::Protobuf => sealed(value).map(Rope::from),
    }
}

/// The types of the kind that an object says it is.
fn schema_of(value: &Value) -> Result<Schema, Status> {
    let (group, version) = split_api_version(value.get("apiVersion").str());
    let kind = value.get("kind").str();
    Schema::of(group, version, kind)
        .or_else(|| Schema::of("meta.k8s.io", version, kind))
        .ok_or_else(|| Status::not_acceptable(Media::Json.name()))
}

fn sealed(value: &Value) -> Result<Vec<u8>, Status> {
    protobuf::encode_sealed(value, &schema_of(value)?).map_err(broken)
}

fn broken(error: codec::Error) -> Status {
    Status::internal(format!("an object cannot be written as protobuf: {error}"))
}
