//! Events, in two shapes over one storage.
//!
//! They are stored as the core group's `Event`. events.k8s.io's is the same object under other
//! field names; its rules are stricter and are checked on the stored shape, under its field names.

use crate::api::kinds::check::{self, At};
use crate::api::kinds::table::{Heading, NAME, ago, columns};
use crate::api::kinds::text::{self, Format};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules};
use crate::api::time;
use crate::api::tree::Value;
use crate::history::Fields;

/// The core group's events.
pub struct Event;

/// The events of events.k8s.io/v1.
pub struct NewEvent;

/// Who reports, what it did and why: names, not prose.
const WORD_BYTES_MAX: usize = 128;
/// What is reported.
const NOTE_BYTES_MAX: usize = 1024;

/// Fields that the shapes name differently: core's name, events.k8s.io's.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// A `v1` event as `events.k8s.io/v1` has it, but for its `apiVersion`.
pub fn to_new(event: &mut Value) {
    RENAMED.iter().for_each(|(core, new)| rename(event, core, new));
}

/// An `events.k8s.io/v1` event as `v1` has it, but for its `apiVersion`.
pub fn to_core(event: &mut Value) {
    RENAMED.iter().for_each(|(core, new)| rename(event, new, core));
}

/// A copy in the stored shape, on which rules and rows work.
fn core_of(event: &Value) -> Value {
    let mut core = event.clone();
    to_core(&mut core);
    core
}

fn rename(object: &mut Value, from: &str, to: &str) {
    // Times that are not set are written as null.
    if let Some(value) = object.as_object_mut().and_then(|fields| fields.remove(from)) {
        object.set(to, value);
    }
}

impl Rules for Event {
    /// Old clients' names are as they are; those of events with a time are looked at.
    fn name_format(&self) -> Format {
        text::path_segment
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        if !object.get("eventTime").is_empty() && !object.name().is_empty() {
            for fault in text::dns_subdomain(object.name()) {
                errors.invalid("metadata.name", &object.name().into(), &fault);
            }
        }
        validate(object, "reportingComponent", errors);
    }

    fn fields(&self, object: &Value) -> Fields {
        let involved = object.get("involvedObject");
        let source = match object.at(&["source", "component"]).str() {
            "" => object.get("reportingComponent").str(),
            component => component,
        };
        let own = [
            ("reason", object.get("reason").str()),
            ("reportingComponent", object.get("reportingComponent").str()),
            ("source", source),
            ("type", object.get("type").str()),
        ];
        let involved = INVOLVED.iter().map(|(path, key)| (*path, involved.get(key).str()));
        involved.chain(own).map(|(path, text)| (path, text.into())).collect()
    }

    fn selectable(&self) -> &[&'static str] {
        SELECTABLE
    }

    fn columns(&self) -> Vec<Column> {
        columns(HEADINGS)
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        row(object, context)
    }
}

/// The rules of the newer shape. Selectors name its own fields, as upstream's do.
impl Rules for NewEvent {
    fn to_storage(&self, object: &mut Value) {
        to_core(object);
    }

    fn of_storage(&self, object: &mut Value) {
        to_new(object);
    }

    fn converts(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let core = core_of(object);
        validate(&core, "reportingController", errors);
        series(&core, errors);
        unset(&core, errors);
        if core.get("eventTime").is_empty() {
            errors.required("eventTime", "");
        }
        let kind = core.get("type").str();
        if !matches!(kind, "Normal" | "Warning") {
            errors.invalid("type", &"".into(), &format!("has invalid value: {kind}"));
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let (core, old) = (core_of(object), core_of(old));
        validate(&core, "reportingController", errors);
        if core.get("series") != old.get("series") {
            series(&core, errors);
        }
        let root = At::root(&core);
        for field in FIXED {
            check::immutable(root.field(field), old.get(field), errors);
        }
        check::immutable(
            At::path("reportingController", core.get("reportingComponent")),
            old.get("reportingComponent"),
            errors,
        );
        let micros = |event: &Value| time::parse(event.get("eventTime").str()).map(|t| t.0 / 1000);
        if micros(&core) != micros(&old) {
            check::immutable(root.field("eventTime"), old.get("eventTime"), errors);
        }
    }

    fn fields(&self, object: &Value) -> Fields {
        Event.fields(&core_of(object))
    }

    fn selectable(&self) -> &[&'static str] {
        &NAMES
    }

    fn indexed<'p>(&self, named: &'p str) -> &'p str {
        SELECTORS.iter().find(|(new, _)| *new == named).map_or(named, |(_, core)| core)
    }

    fn columns(&self) -> Vec<Column> {
        columns(HEADINGS)
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        row(&core_of(object), context)
    }
}

/// What an update through events.k8s.io may not change.
const FIXED: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "action",
    "related",
    "reportingInstance",
];

const INVOLVED: &[(&str, &str)] = &[
    ("involvedObject.apiVersion", "apiVersion"),
    ("involvedObject.fieldPath", "fieldPath"),
    ("involvedObject.kind", "kind"),
    ("involvedObject.name", "name"),
    ("involvedObject.namespace", "namespace"),
    ("involvedObject.resourceVersion", "resourceVersion"),
    ("involvedObject.uid", "uid"),
];

const SELECTABLE: &[&str] = &[
    "involvedObject.apiVersion",
    "involvedObject.fieldPath",
    "involvedObject.kind",
    "involvedObject.name",
    "involvedObject.namespace",
    "involvedObject.resourceVersion",
    "involvedObject.uid",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

/// What selectors of the newer shape name, and how the stored shape has it.
const SELECTORS: [(&str, &str); 10] = [
    ("reason", "reason"),
    ("regarding.apiVersion", "involvedObject.apiVersion"),
    ("regarding.fieldPath", "involvedObject.fieldPath"),
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.namespace", "involvedObject.namespace"),
    ("regarding.resourceVersion", "involvedObject.resourceVersion"),
    ("regarding.uid", "involvedObject.uid"),
    ("reportingController", "reportingComponent"),
    ("type", "type"),
];

const NAMES: [&str; SELECTORS.len()] = {
    let mut names = [""; SELECTORS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = SELECTORS[at].0;
        at += 1;
    }
    names
};

/// What every event must satisfy; old clients' events, without a time, only in their namespace.
fn validate(event: &Value, reporter: &str, errors: &mut Errors) {
    let involved = event.at(&["involvedObject", "namespace"]);
    let namespace = event.namespace();
    let new = !event.get("eventTime").is_empty();
    let agrees = match (involved.str(), new) {
        ("", false) => matches!(namespace, "" | "default"),
        ("", true) => matches!(namespace, "default" | "kube-system"),
        (other, false) => other == namespace,
        (_, true) => true,
    };
    if !agrees {
        let given = involved.str().into();
        errors.invalid("involvedObject.namespace", &given, "does not match event.namespace");
    }
    if new {
        words(event, reporter, errors);
    }
}

fn words(event: &Value, reporter: &str, errors: &mut Errors) {
    let controller = At::path(reporter, event.get("reportingComponent"));
    check::required(controller, "", errors);
    check::formatted(controller, text::label_key, errors);
    for field in ["reportingInstance", "action", "reason"] {
        let at = At::path(field, event.get(field));
        check::required(at, "", errors);
        at_most(at, WORD_BYTES_MAX, errors);
    }
    at_most(At::path("message", event.get("message")), NOTE_BYTES_MAX, errors);
}

fn at_most(at: At<'_>, max: usize, errors: &mut Errors) {
    if at.str().len() > max {
        errors.invalid(at, &"".into(), &format!("can have at most {max} characters"));
    }
}

fn series(event: &Value, errors: &mut Errors) {
    let series = event.get("series");
    if series.is_null() {
        return;
    }
    if series.get("count").as_int().unwrap_or(0) < 2 {
        errors.invalid("series.count", &"".into(), "should be at least 2");
    }
    if series.get("lastObservedTime").is_empty() {
        errors.required("series.lastObservedTime", "");
    }
}

/// What events of the newer shape carry no more.
fn unset(event: &Value, errors: &mut Errors) {
    let source = event.get("source");
    let given = [
        ("firstTimestamp", !event.get("firstTimestamp").is_empty()),
        ("lastTimestamp", !event.get("lastTimestamp").is_empty()),
        ("count", !event.get("count").is_empty()),
        ("source", !(source.get("component").is_empty() && source.get("host").is_empty())),
    ];
    for (field, _) in given.iter().filter(|(_, given)| *given) {
        errors.invalid(*field, &"".into(), "needs to be unset");
    }
}

const HEADINGS: &[Heading] = &[
    ("Last Seen", "string", 0, "When it was reported last"),
    ("Type", "string", 0, "Normal or Warning"),
    ("Reason", "string", 0, "Why, in one word"),
    ("Object", "string", 0, "What it is about"),
    ("Subobject", "string", 1, "Which part of the object it is about"),
    ("Source", "string", 1, "Who reported it"),
    ("Message", "string", 0, "What happened"),
    ("First Seen", "string", 1, "When it was reported first"),
    ("Count", "string", 1, "How often it was reported"),
    (NAME.0, NAME.1, 1, NAME.3),
];

fn row(event: &Value, context: Context) -> Vec<Value> {
    let involved = event.get("involvedObject");
    let kind = involved.get("kind").str().to_lowercase();
    let target = match involved.get("name").str() {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let (first, last) = times(event);
    vec![
        ago(last, context).into(),
        event.get("type").str().into(),
        event.get("reason").str().into(),
        target.into(),
        involved.get("fieldPath").str().into(),
        source(event).into(),
        event.get("message").str().trim().into(),
        ago(first, context).into(),
        times_seen(event).into(),
        event.name().into(),
    ]
}

/// When the event was seen first and last, whichever fields its reporter uses.
fn times(event: &Value) -> (&Value, &Value) {
    let first = match event.get("firstTimestamp") {
        absent if absent.is_empty() => event.get("eventTime"),
        given => given,
    };
    let series = event.get("series");
    let last = match event.get("lastTimestamp") {
        _ if !series.is_null() => series.get("lastObservedTime"),
        absent if absent.is_empty() => first,
        given => given,
    };
    (first, last)
}

/// How often the event was seen; one without a count was seen once.
fn times_seen(event: &Value) -> i64 {
    let series = event.get("series");
    let count = if series.is_null() { event.get("count") } else { series.get("count") };
    match count.as_int().unwrap_or(0) {
        0 if series.is_null() => 1,
        count => count,
    }
}

/// `component, host`, whichever fields the reporter uses.
fn source(event: &Value) -> String {
    let either = |old: &str, new: &str| match event.at(&["source", old]).str() {
        "" => event.get(new).str().to_owned(),
        given => given.to_owned(),
    };
    let component = either("component", "reportingComponent");
    match either("host", "reportingInstance").as_str() {
        "" => component,
        host => format!("{component}, {host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::clock::Wall;

    fn parse(json: &str) -> Value {
        Value::parse(json.as_bytes()).unwrap()
    }

    const CORE: &str = r#"{"apiVersion":"v1","involvedObject":{"kind":"Pod","name":"p","namespace":"n"},"kind":"Event","message":"m","metadata":{"name":"e","namespace":"n"},"reason":"R","reportingComponent":"c","type":"Normal"}"#;

    fn new_shape() -> Value {
        let mut event = parse(CORE);
        NewEvent.of_storage(&mut event);
        event
    }

    #[test]
    fn both_shapes_are_one_object() {
        let mut new = new_shape();
        assert_eq!(new.get("note").str(), "m");
        assert_eq!(new.get("reportingController").str(), "c");
        assert_eq!(new.get("regarding").get("name").str(), "p");
        assert_eq!(NewEvent.fields(&new), Event.fields(&parse(CORE)));
        NewEvent.to_storage(&mut new);
        assert_eq!(new.to_string(), CORE);
    }

    #[test]
    fn the_newer_shape_is_strict() {
        let mut errors = Errors::default();
        Event.validate(&parse(CORE), &mut errors);
        assert!(errors.is_empty());
        NewEvent.validate(&new_shape(), &mut errors);
        let fields: Vec<String> = errors.into_causes().into_iter().map(|c| c.field).collect();
        assert_eq!(fields, ["eventTime"]);
        let mut errors = Errors::default();
        let mut changed = new_shape();
        changed.set("note", "other");
        NewEvent.validate_update(&changed, &new_shape(), &mut errors);
        let fields: Vec<String> = errors.into_causes().into_iter().map(|c| c.field).collect();
        assert_eq!(fields, ["message"]);
    }

    #[test]
    fn events_stay_in_their_namespace() {
        let mut event = parse(CORE);
        event.entry("metadata").set("namespace", "other");
        let mut errors = Errors::default();
        Event.validate(&event, &mut errors);
        assert_eq!(errors.into_causes()[0].field, "involvedObject.namespace");
    }

    #[test]
    fn rows_show_times_and_sources() {
        let mut event = parse(CORE);
        event.set("firstTimestamp", "2026-11-20T09:48:00Z");
        event.set("lastTimestamp", "2026-11-20T09:49:00Z");
        event.set("count", 3);
        event.set("source", [("component", "kubelet".into()), ("host", "n1".into())]);
        let now = Context { now: Wall::from_seconds(1_795_168_200) };
        let cells: Vec<String> = row(&event, now).iter().map(Value::to_string).collect();
        assert_eq!(
            cells.join(" "),
            r#""60s" "Normal" "R" "pod/p" "" "kubelet, n1" "m" "2m" 3 "e""#
        );
    }
}
