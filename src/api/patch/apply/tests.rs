//! Apply and update as tables: objects in YAML, owners as `manager: paths`.

use super::*;
use crate::api::codec::conform;

/// An object of one kind and those who write to it.
struct World {
    schema: Schema,
    api_version: &'static str,
    kind: &'static str,
    object: Option<Value>,
    managers: Managers,
    clock: usize,
}

impl World {
    fn new(group: &str, api_version: &'static str, kind: &'static str) -> Self {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let schema = Schema::of(group, version, kind).unwrap();
        Self { schema, api_version, kind, object: None, managers: Managers::default(), clock: 0 }
    }

    fn deployment() -> Self {
        Self::new("apps", "apps/v1", "Deployment")
    }

    fn shaped(&self, text: &str) -> Value {
        let mut object = Config::read(text.as_bytes()).unwrap().object;
        object.set("apiVersion", self.api_version);
        object.set("kind", self.kind);
        object
    }

    fn conformed(&self, object: Value) -> Value {
        conform(object, &self.schema).unwrap().value
    }

    fn with_context<T>(
        &mut self,
        subresource: &str,
        then: impl FnOnce(&Context<'_>, &Value, Managers) -> T,
    ) -> T {
        self.clock += 1;
        let empty = self.conformed(self.shaped("{}"));
        let live = self.object.clone().unwrap_or_else(|| empty.clone());
        let context = Context {
            schema: &self.schema,
            api_version: self.api_version,
            kind: self.kind,
            subresource,
            reset: Reset::of("things", subresource, true, false),
            now: &format!("2026-01-01T00:00:{:02}Z", self.clock),
            empty: &empty,
            convert: &|_, _| None,
            schema_of: &|_| None,
        };
        then(&context, &live, self.managers.clone())
    }

    fn apply(&mut self, manager: &str, force: bool, text: &str) -> Result<bool, Error> {
        let config = self.shaped(text);
        let applied = self.with_context("", |context, live, managers| {
            apply(live, &config, managers, manager, force, context)
        })?;
        let mut object = self.conformed(applied.object);
        object.entry("metadata").set("uid", "u");
        self.object = Some(object);
        self.managers = applied.managers;
        Ok(applied.changed)
    }

    fn update(&mut self, manager: &str, subresource: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.object.clone().unwrap_or_else(|| self.shaped("{}"));
        change(&mut object);
        let object = self.conformed(object);
        self.managers = self.with_context(subresource, |context, live, managers| {
            update(live, &object, managers, manager, context)
        });
        self.object = Some(object);
        self.object.as_mut().unwrap().entry("metadata").set("uid", "u");
    }

    fn owners(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (manager, owned) in &self.managers.entries {
            let operation = if manager.applies { "applies" } else { "updates" };
            let paths: Vec<String> = owned.set.paths().iter().map(|path| set::show(path)).collect();
            let at = owned.time.as_deref().map_or("-", |time| &time[17..19]);
            lines.push(format!("{} {operation} at {at} {}", manager.name, paths.join(" ")));
        }
        lines
    }

    fn object(&self) -> &Value {
        self.object.as_ref().unwrap()
    }
}

#[test]
fn what_is_not_applied_any_more_goes_unless_somebody_else_has_it() {
    let mut world = World::new("", "v1", "ConfigMap");
    world.apply("a", false, "metadata: {name: x}\ndata: {one: '1', two: '2', three: '3'}").unwrap();
    world.apply("b", false, "metadata: {name: x}\ndata: {two: '2'}").unwrap();
    world.apply("a", false, "metadata: {name: x}\ndata: {one: '1'}").unwrap();
    assert_eq!(world.object().get("data").to_string(), r#"{"one":"1","two":"2"}"#);
    assert_eq!(world.owners(), ["a applies at 03 .data.one", "b applies at - .data.two"]);
}

#[test]
fn conflicts_are_told_as_upstream_tells_them() {
    let mut world = World::deployment();
    let one = "metadata: {name: x}\nspec: {replicas: 1, paused: true}";
    world.apply("a", false, one).unwrap();
    let two = "metadata: {name: x}\nspec: {replicas: 2}";
    let error = world.apply("b", false, two).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas"
    );
    let status = Status::from(error);
    let cause = &status.details.as_ref().unwrap().causes[0];
    assert_eq!((status.code, status.reason), (409, "Conflict"));
    assert_eq!((cause.reason, &*cause.field), ("FieldManagerConflict", ".spec.replicas"));
    assert_eq!(cause.message, "conflict with \"a\"");

    world.update("kubectl edit", "", |object| object.entry("spec").set("paused", false));
    world.update("kubectl edit", "", |object| object.entry("spec").set("minReadySeconds", 3));
    let three = "metadata: {name: x}\nspec: {replicas: 3, minReadySeconds: 9}";
    assert_eq!(
        world.apply("b", false, three).unwrap_err().to_string(),
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.replicas\nconflicts with \
         \"kubectl edit\" using apps/v1:\n- .spec.minReadySeconds"
    );
    world.apply("b", true, three).unwrap();
    assert_eq!(world.object().at(&["spec", "replicas"]).as_int(), Some(3));
    assert_eq!(world.owners(), ["b applies at 06 .spec.minReadySeconds .spec.replicas"]);
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut world = World::deployment();
    let text = "metadata: {name: x, labels: {a: b}}\nspec: {replicas: 2}";
    assert!(world.apply("a", false, text).unwrap());
    let before = (world.object.clone(), world.managers.clone());
    assert!(!world.apply("a", false, text).unwrap());
    assert_eq!((world.object, world.managers), before);
}

#[test]
fn items_are_told_apart_by_their_keys_with_defaults() {
    let mut world = World::new("", "v1", "Service");
    world.apply("a", false, "metadata: {name: x}\nspec: {ports: [{port: 53}]}").unwrap();
    let both = "metadata: {name: x}\nspec: {ports: [{port: 53, protocol: UDP, name: u}]}";
    world.apply("b", false, both).unwrap();
    assert_eq!(world.object().at(&["spec", "ports"]).items().len(), 2);
    assert_eq!(
        world.owners()[0],
        "a applies at 01 .spec.ports[port=53,protocol=\"TCP\"] \
         .spec.ports[port=53,protocol=\"TCP\"].port"
    );
    let twice = "metadata: {name: x}\nspec: {ports: [{port: 1}, {port: 1, protocol: TCP}]}";
    let refused = world.apply("a", false, twice).unwrap_err().to_string();
    assert!(
        refused.ends_with(".spec.ports: duplicate entries for key [port=1,protocol=\"TCP\"]"),
        "{refused}"
    );
}

#[test]
fn configurations_of_the_wrong_shape_are_refused() {
    let mut world = World::deployment();
    let tried = |world: &mut World, text: &str| world.apply("a", false, text).unwrap_err();
    assert_eq!(
        tried(&mut world, "metadata: {name: x, namespace: ns}\nspec: {foo: 1}").to_string(),
        "failed to create typed patch object (ns/x; apps/v1, Kind=Deployment): .spec.foo: field not \
         declared in schema"
    );
    assert_eq!(
        tried(&mut world, "metadata: {name: x}\nspec: {replicas: many}").to_string(),
        "failed to create typed patch object (/x; apps/v1, Kind=Deployment): .spec.replicas: \
         expected numeric (int or float), got string"
    );
    assert_eq!(
        tried(&mut world, "metadata: {name: x, managedFields: []}"),
        Error::BadRequest("metadata.managedFields must be nil".to_owned())
    );
    let mut config = world.shaped("metadata: {name: x}");
    config.set("kind", "ReplicaSet");
    let other = world.with_context("", |context, live, managers| {
        apply(live, &config, managers, "a", false, context)
    });
    let why = "invalid object type: apps/v1, Kind=ReplicaSet".to_owned();
    assert_eq!(other, Err(Error::BadRequest(why)));
}

#[test]
fn who_updates_takes_over_what_changed() {
    let mut world = World::deployment();
    world.update("kubectl-create", "", |object| {
        object.entry("metadata").set("name", "x");
        object.entry("spec").set("replicas", 1);
        object.entry("status").set("replicas", 5);
    });
    assert_eq!(world.owners(), ["kubectl-create updates at 01 .spec.replicas"]);
    world.update("controller", "status", |object| {
        object.entry("status").set("replicas", 1);
        object.entry("spec").set("replicas", 9);
    });
    world.update("scaler", "", |object| object.entry("spec").set("replicas", 2));
    assert_eq!(
        world.owners(),
        ["controller updates at 02 .status.replicas", "scaler updates at 03 .spec.replicas"]
    );
    let encoded = world.managers.encode();
    assert_eq!(encoded.items()[0].get("subresource").str(), "status");
}

#[test]
fn objects_without_owners_get_some_with_the_first_apply() {
    let mut world = World::new("", "v1", "ConfigMap");
    world.object = Some(world.shaped("metadata: {name: x, uid: u}\ndata: {a: '1'}"));
    world.update("somebody", "", |object| object.entry("data").set("b", "2"));
    assert!(world.owners().is_empty());
    let error = world.apply("me", false, "metadata: {name: x}\ndata: {a: '9'}").unwrap_err();
    let message = error.to_string();
    assert!(message.ends_with("with \"before-first-apply\" using v1: .data.a"), "{message}");
}

#[test]
fn what_kubectl_applied_on_the_client_is_no_conflict() {
    let noted =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"1"}}"#;
    let mut world = World::new("", "v1", "ConfigMap");
    world.update("kubectl-client-side-apply", "", |object| {
        object.entry("metadata").set("name", "x");
        object.entry("data").set("a", "1");
        let annotations = object.entry_at(&["metadata", "annotations"]);
        annotations.set("kubectl.kubernetes.io/last-applied-configuration", noted);
    });
    let text = "metadata: {name: x}\ndata: {a: '2<'}";
    assert!(world.apply("other", false, text).is_err());
    world.apply("kubectl", false, text).unwrap();
    let annotations = world.object().at(&["metadata", "annotations"]);
    let noted = annotations.get("kubectl.kubernetes.io/last-applied-configuration").str();
    assert_eq!(
        noted,
        "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\\u003c\"},\"kind\":\"ConfigMap\",\
         \"metadata\":{\"name\":\"x\"}}\n"
    );
}

#[test]
fn a_write_may_send_owners_or_clear_them() {
    let entry = r#"{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1",
        "fieldsV1":{"f:data":{}}}"#;
    let object = |managed: &str| {
        let text = format!(r#"{{"metadata":{{"managedFields":{managed}}}}}"#);
        Value::parse(text.as_bytes()).unwrap()
    };
    let live = object(&format!("[{entry}]"));
    let count =
        |sent: &str, subresource| owners_before(&live, &object(sent), subresource).entries.len();
    assert_eq!(count("null", ""), 1);
    assert_eq!(count("[]", ""), 0);
    assert_eq!(count("[{}]", ""), 0);
    assert_eq!(count("[{}]", "status"), 1);
    assert_eq!(count(r#"[{"operation":"?"}]"#, ""), 1);
    let two = format!("[{entry},{}]", entry.replace("\"m\"", "\"n\""));
    assert_eq!(count(&two, ""), 2);
}

#[test]
fn the_owners_of_a_scale_are_those_of_the_replicas() {
    let mut world = World::deployment();
    let text = "metadata: {name: x}\nspec: {replicas: 2, paused: true}";
    world.apply("a", false, text).unwrap();
    let replicas = Replicas { api_version: "apps/v1", path: &["spec", "replicas"] };
    let scale = replicas.to_scale(&world.managers);
    assert_eq!(scale.encode().items()[0].get("apiVersion").str(), "autoscaling/v1");
    assert_eq!(replicas.of_scale(world.managers.clone(), scale), world.managers);
    let mut other = Managers::default();
    let manager = Manager { name: "hpa".to_owned(), ..Manager::default() };
    let set = Set::of_fields(&["spec", "replicas"]);
    other.entries.insert(manager, managers::Owned { set, ..managers::Owned::default() });
    world.managers = replicas.of_scale(world.managers.clone(), other);
    assert_eq!(world.owners(), ["a applies at 01 .spec.paused", "hpa updates at - .spec.replicas"]);
}
