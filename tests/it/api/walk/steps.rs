//! One resource from its first object to its last.

use std::time::Duration;

use rk::api::tree::Value;
use rk::util::clock;

use super::SPACE;
use super::caller::{Answer, Call, Caller, JSON};
use super::served::Served;

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const PARTIALS: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
/// How long controllers may take over an end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The walk over one resource.
struct Walk<'w> {
    caller: &'w Caller,
    resource: &'w Served,
    /// As it is sent.
    object: Value,
    /// The path of the collection.
    all: String,
    /// The path of the object.
    one: String,
    faults: Vec<String>,
}

/// Walks; says what went wrong.
pub async fn walk(caller: &Caller, resource: &Served, object: Value) -> Vec<String> {
    let all = resource.collection(SPACE);
    let one = format!("{all}/{}", object.at(&["metadata", "name"]).str());
    let mut walk = Walk { caller, resource, object, all, one, faults: Vec::new() };
    walk.refuses().await;
    let before = walk.revision().await;
    if walk.creates().await {
        walk.tells().await;
        walk.changes().await;
        walk.patches().await;
        walk.packs().await;
        walk.status().await;
        walk.scale().await;
        walk.deletes().await;
        walk.watches(&before).await;
        walk.deletes_all().await;
    }
    walk.faults
}

impl Walk<'_> {
    /// Notes a fault unless something holds.
    fn expect(&mut self, holds: bool, what: &str, answer: &Answer) -> bool {
        if !holds {
            let text = answer.text().chars().take(400).collect::<String>();
            let one = &self.one;
            self.faults.push(format!("{one}: {what}: {} {text}{}", answer.code, answer.warnings));
        }
        holds
    }

    async fn send(&self, method: &str, path: &str, sends: &str, body: &Value) -> Answer {
        self.caller.send(method, path, sends, &body.encode()).await
    }

    async fn revision(&self) -> String {
        let list = self.caller.get(&format!("{}?limit=1", self.all)).await.json();
        list.at(&["metadata", "resourceVersion"]).str().to_owned()
    }

    /// Strict validation, warnings, and a creation that is only tried.
    async fn refuses(&mut self) {
        let mut wrong = self.object.clone();
        wrong.set("bogus", true);
        let try_as = |mode: &str| format!("{}?dryRun=All&fieldValidation={mode}", self.all);
        let (strict, warn) = (try_as("Strict"), try_as("Warn"));
        let answer = self.send("POST", &strict, JSON, &wrong).await;
        let named = r#"unknown field \"bogus\""#;
        self.expect(answer.code == 400 && answer.text().contains(named), "strict", &answer);
        let answer = self.send("POST", &warn, JSON, &wrong).await;
        self.expect(answer.code == 201 && answer.warnings.contains("bogus"), "warn", &answer);
        let answer = self.caller.get(&self.one).await;
        self.expect(answer.code == 404, "a dry run leaves nothing", &answer);
    }

    async fn creates(&mut self) -> bool {
        let answer = self.send("POST", &self.all, JSON, &self.object).await;
        let made = answer.json();
        let metadata = made.get("metadata");
        let whole = ["uid", "resourceVersion", "creationTimestamp"]
            .iter()
            .all(|field| !metadata.get(field).is_empty());
        let typed = made.get("kind").str() == self.resource.kind
            && made.get("apiVersion").str() == self.resource.api_version();
        if !self.expect(answer.code == 201 && whole && typed, "create", &answer) {
            return false;
        }
        let answer = self.send("POST", &self.all, JSON, &self.object).await;
        let taken = answer.json().get("reason").str() == "AlreadyExists";
        self.expect(answer.code == 409 && taken, "create again", &answer);
        let answer = self.caller.get(&self.one).await;
        let same = answer.json().at(&["metadata", "uid"]) == metadata.get("uid");
        self.expect(answer.code == 200 && same, "get", &answer)
    }

    /// Lists and forms.
    async fn tells(&mut self) {
        let name = self.object.at(&["metadata", "name"]).str().to_owned();
        let named = format!("{}?fieldSelector=metadata.name%3D{name}", self.all);
        let list = self.caller.get(&named).await;
        let items = list.json().get("items").items().len();
        let kind = format!("{}List", self.resource.kind);
        let whole = items == 1 && list.json().get("kind").str() == kind;
        self.expect(list.code == 200 && whole, "list", &list);
        for (path, form) in [(&named, TABLE), (&self.one.clone(), TABLE)] {
            let table = self.caller.get_as(path, form).await;
            let told = table.json();
            let columns = told.get("columnDefinitions").items().len();
            let rows = told.get("rows").items();
            // A kind of upstream has one cell more than it names columns.
            let even = rows.len() == 1 && rows[0].get("cells").items().len() >= columns;
            self.expect(told.get("kind").str() == "Table" && even && columns > 1, "table", &table);
        }
        for (path, form) in [(&named, PARTIALS), (&self.one.clone(), PARTIAL)] {
            let bare = self.caller.get_as(path, form).await;
            let wanted = form.split_once("as=").and_then(|(_, rest)| rest.split_once(';'));
            let kind = bare.json().get("kind").str().to_owned();
            self.expect(Some(&*kind) == wanted.map(|(kind, _)| kind), "bare metadata", &bare);
        }
        let yaml = self.caller.get_as(&self.one, "application/yaml").await;
        self.expect(yaml.code == 200 && yaml.text().contains("\nkind: "), "yaml", &yaml);
        let other = self.caller.get_as(&self.one, "text/html").await;
        self.expect(other.code == 406, "a form that is not there", &other);
    }

    /// Replaces the object at its newest revision; controllers may write at the same time.
    async fn put(&self, path: &str, change: impl Fn(&mut Value)) -> (Value, Answer) {
        loop {
            let old = self.caller.get(path).await.json();
            let mut new = old.clone();
            change(&mut new);
            let answer = self.send("PUT", path, JSON, &new).await;
            if answer.code != 409 {
                return (old, answer);
            }
        }
    }

    async fn changes(&mut self) {
        let one = self.one.clone();
        let label = |value: &str| {
            let value = value.to_owned();
            move |object: &mut Value| object.entry_at(&["metadata", "labels"]).set("put", &*value)
        };
        let (mut old, answer) = self.put(&one, label("1")).await;
        let stored = answer.json();
        let told = stored.at(&["metadata", "labels", "put"]).str() == "1";
        self.expect(answer.code == 200 && told, "update", &answer);
        label("2")(&mut old);
        let answer = self.send("PUT", &one, JSON, &old).await;
        let reason = answer.json().get("reason").str().to_owned();
        self.expect(answer.code == 409 && reason == "Conflict", "a stale update", &answer);
        let mut other = stored.clone();
        other.entry("metadata").set("name", "other");
        let answer = self.send("PUT", &one, JSON, &other).await;
        self.expect(answer.code == 400, "an update of another name", &answer);
        let mut strict = stored;
        strict.set("bogus", true);
        strict.entry("metadata").set("resourceVersion", "");
        let answer =
            self.send("PUT", &format!("{one}?fieldValidation=Strict"), JSON, &strict).await;
        self.expect(answer.code == 400, "a strict update", &answer);
    }

    /// All four patches, tried and done.
    async fn patches(&mut self) {
        let labels = |key: &str| {
            Value::from([("metadata", Value::from([("labels", Value::from([(key, "1".into())]))]))])
        };
        let mut applied = labels("apply");
        applied.set("apiVersion", self.resource.api_version());
        applied.set("kind", self.resource.kind.as_str());
        applied.entry("metadata").set("name", self.object.at(&["metadata", "name"]).clone());
        let operation = r#"[{"op":"add","path":"/metadata/labels/json","value":"1"}]"#;
        let operations = Value::parse(operation.as_bytes()).expect("JSON");
        let one = self.one.clone();
        for (key, sends, body) in [
            ("merge", MERGE, labels("merge")),
            ("strategic", STRATEGIC, labels("strategic")),
            ("json", OPERATIONS, operations),
            ("apply", APPLY, applied),
        ] {
            let manager = "fieldManager=walker";
            let is_custom = self.resource.group == "example.com" && key == "strategic";
            let answer =
                self.send("PATCH", &format!("{one}?{manager}&dryRun=All"), sends, &body).await;
            let wanted = if is_custom { 415 } else { 200 };
            self.expect(answer.code == wanted, &format!("a {key} patch, tried"), &answer);
            let answer = self.send("PATCH", &format!("{one}?{manager}"), sends, &body).await;
            let told = is_custom || answer.json().at(&["metadata", "labels", key]).str() == "1";
            self.expect(answer.code == wanted && told, &format!("a {key} patch"), &answer);
        }
        let answer = self.caller.get(&one).await;
        let owns = |entry: &Value| {
            entry.get("manager").str() == "walker" && entry.get("operation").str() == "Apply"
        };
        let metadata = answer.json().get("metadata").clone();
        let owned = metadata.get("managedFields").items().iter().any(owns);
        self.expect(owned, "who applied is known", &answer);
    }

    /// In protobuf and back: nothing changes.
    async fn packs(&mut self) {
        let one = self.one.clone();
        if self.resource.group == "example.com" {
            let answer = self.caller.get_as(&one, PROTOBUF).await;
            self.expect(answer.code == 406, "no protobuf of custom objects", &answer);
            return;
        }
        loop {
            let before = self.caller.get(&one).await;
            let packed = self.caller.get_as(&one, PROTOBUF).await;
            let put = Call {
                method: "PUT",
                path: &format!("{one}?dryRun=All"),
                sends: PROTOBUF,
                takes: JSON,
                body: packed.body.clone(),
            };
            let answer = self.caller.call(put).await;
            let settled = self.caller.get(&one).await.body == before.body;
            if settled {
                let magic = packed.body.starts_with(b"k8s\0");
                self.expect(magic, "protobuf", &packed);
                let strip = |answer: &Answer| {
                    let mut object = answer.json();
                    object.entry("metadata").remove("managedFields");
                    // A time that is not there is a null in JSON.
                    let is_null = |key: &&str| object.get(key).is_null();
                    let times = ["deprecatedFirstTimestamp", "deprecatedLastTimestamp"];
                    for key in times.into_iter().filter(is_null).collect::<Vec<_>>() {
                        object.remove(key);
                    }
                    object
                };
                let same = answer.code == 200 && strip(&answer) == strip(&before);
                self.expect(same, "protobuf, there and back", &answer);
                return;
            }
        }
    }

    /// The status is written by its own path only.
    async fn status(&mut self) {
        let condition = r#"{"status":{"conditions":[{"type":"Walked","status":"True",
            "reason":"R","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
        let patch = Value::parse(condition.as_bytes()).expect("JSON");
        let path = format!("{}/status", self.one);
        let Some((_, below)) = self.resource.below.iter().find(|(name, _)| name == "status") else {
            let answer = self.caller.get(&path).await;
            self.expect(answer.code == 404, "no status", &answer);
            return;
        };
        let verbs = below.verbs.iter().map(String::as_str).collect::<Vec<_>>();
        let answer = self.caller.get(&path).await;
        self.expect(answer.code == 200 && verbs == ["get", "patch", "update"], "status", &answer);
        let one = self.one.clone();
        let answer = self.send("PATCH", &one, MERGE, &patch).await;
        let told = answer.text().contains(r#""type":"Walked""#);
        self.expect(answer.code == 200 && !told, "status by the main path", &answer);
        let (_, answer) = self.put(&path, |_| {}).await;
        self.expect(answer.code == 200, "update of the status", &answer);
        let (_, answer) = self.put(&path, |object| object.set("bogus", 1i64)).await;
        self.expect(answer.code == 200, "a lax update of the status", &answer);
        let empty = Value::from([("status", Value::object())]);
        for sends in [MERGE, STRATEGIC] {
            if sends == STRATEGIC && self.resource.group == "example.com" {
                continue;
            }
            let answer = self.send("PATCH", &path, sends, &empty).await;
            self.expect(answer.code == 200, "patch of the status", &answer);
        }
    }

    async fn scale(&mut self) {
        if !self.resource.below.iter().any(|(name, _)| name == "scale") {
            return;
        }
        let path = format!("{}/scale", self.one);
        let answer = self.caller.get(&path).await;
        self.expect(answer.json().get("kind").str() == "Scale", "scale", &answer);
        let replicas =
            |count: i64| Value::from([("spec", Value::from([("replicas", count.into())]))]);
        for (count, sends) in [(3i64, MERGE), (2, STRATEGIC)] {
            let answer = self.send("PATCH", &path, sends, &replicas(count)).await;
            let told = answer.json().at(&["spec", "replicas"]).as_int() == Some(count);
            self.expect(answer.code == 200 && told, "patch of the scale", &answer);
        }
        let (_, answer) = self.put(&path, |scale| scale.entry("spec").set("replicas", 0i64)).await;
        self.expect(answer.code == 200, "update of the scale", &answer);
        let stored = self.caller.get(&self.one).await;
        let none = stored.json().at(&["spec", "replicas"]).as_int() == Some(0);
        self.expect(none, "the scale is the object's", &stored);
        let mut wrong = replicas(-1);
        wrong.set("kind", "Scale");
        let answer = self.send("PATCH", &path, MERGE, &wrong).await;
        self.expect(answer.code == 422, "a negative scale", &answer);
    }

    async fn deletes(&mut self) {
        let one = self.one.clone();
        let nothing = Value::object();
        let tried = Value::from([("dryRun", vec!["All".into()].into())]);
        let answer = self.send("DELETE", &one, JSON, &tried).await;
        self.expect(answer.is_ok(), "a deletion that is tried", &answer);
        let answer = self.caller.get(&one).await;
        let alive = answer.json().at(&["metadata", "deletionTimestamp"]).is_null();
        self.expect(answer.code == 200 && alive, "it is still there", &answer);
        let other = r#"{"preconditions":{"uid":"other"}}"#;
        let answer = self.caller.send("DELETE", &one, JSON, other.as_bytes()).await;
        self.expect(answer.code == 409, "a deletion of another", &answer);
        let answer = self.send("DELETE", &one, JSON, &nothing).await;
        self.expect(answer.is_ok(), "a deletion", &answer);
        self.goes().await;
    }

    /// Waits for the end of the object.
    async fn goes(&mut self) {
        let deadline = clock::instant() + PATIENCE;
        loop {
            let answer = self.caller.get(&self.one).await;
            if answer.code == 404 {
                return;
            }
            if clock::instant() > deadline {
                self.expect(false, "it does not go", &answer);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The whole life, as a watcher sees it.
    async fn watches(&mut self, since: &str) {
        let name = self.object.at(&["metadata", "name"]).str().to_owned();
        let is_ours = |event: &Value| event.at(&["object", "metadata", "name"]).str() == name;
        let path = format!("{}?watch=1&resourceVersion={since}&timeoutSeconds=20", self.all);
        let last = |event: &Value| event.get("type").str() == "DELETED" && is_ours(event);
        let events = self.caller.lines(&path, last).await;
        let ours: Vec<&Value> = events.iter().filter(|event| is_ours(event)).collect();
        let types: Vec<&str> = ours.iter().map(|event| event.get("type").str()).collect();
        let revision = |event: &&Value| {
            event.at(&["object", "metadata", "resourceVersion"]).str().parse::<u64>().unwrap_or(0)
        };
        let revisions: Vec<u64> = ours.iter().map(revision).collect();
        let whole = types.len() > 3
            && types[0] == "ADDED"
            && types[1..types.len() - 1].iter().all(|kind| *kind == "MODIFIED")
            && types.last() == Some(&"DELETED")
            && revisions.is_sorted_by(|a, b| a < b);
        if !whole {
            self.faults.push(format!("{}: a watcher sees {types:?} {revisions:?}", self.one));
        }
    }

    async fn deletes_all(&mut self) {
        if !self.resource.verbs.contains("deletecollection") {
            return;
        }
        let mut object = self.object.clone();
        object.entry_at(&["metadata", "labels"]).set("walk", "again");
        let answer = self.send("POST", &self.all, JSON, &object).await;
        self.expect(answer.code == 201, "create anew", &answer);
        let path = format!("{}?labelSelector=walk%3Dagain", self.all);
        let nothing = Value::object();
        let tried = format!("{path}&dryRun=All");
        let answer = self.caller.send("DELETE", &tried, JSON, b"").await;
        self.expect(answer.is_ok(), "a deletion of all that is tried", &answer);
        let answer = self.caller.get(&self.one).await;
        self.expect(answer.code == 200, "all are still there", &answer);
        let answer = self.send("DELETE", &path, JSON, &nothing).await;
        self.expect(answer.is_ok(), "a deletion of all", &answer);
        self.goes().await;
    }
}
