//! The paths of a resource, and what may be done at each, as OpenAPI operations.

use super::definition_name;
use super::definitions::{Dialect, group_version_kind};
use super::descriptions::Descriptions;
use crate::api::registry::{Resource, Subresource};
use crate::api::schema::{Kind, Type, builtin};
use crate::api::tree::Value;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Parameters of lists that are not served.
const LIST_LEAVES_OUT: &[&str] = &["shardSelector"];
const COLLECTION_LEAVES_OUT: &[&str] = &["allowWatchBookmarks", "shardSelector", "watch"];
const DELETE_LEAVES_OUT: &[&str] = &["preconditions"];

/// The name of a definition in `meta/v1`.
pub(super) fn meta(kind: &str) -> String {
    format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}")
}

/// A verb at a path: everything that goes into an operation.
struct Operation<'a> {
    /// The method, and the key in a path item.
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// `read`, `list`, ...: what the operation's id begins with.
    id: &'static str,
    description: String,
    parameters: Vec<Value>,
    body: Option<Body>,
    /// The definition that is answered; "" for a stream or text.
    answer: String,
    codes: &'static [(&'static str, &'static str)],
    /// Group, version and kind that the operation is about.
    about: (&'a str, &'a str, &'a str),
    media: Vec<&'static str>,
}

/// What a request carries.
struct Body {
    definition: String,
    media: Vec<&'static str>,
    required: bool,
}

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");

/// Makes the path items of one resource.
pub(super) struct Paths<'a> {
    pub(super) dialect: Dialect,
    pub(super) texts: &'a Descriptions,
    pub(super) resource: &'a Resource,
}

impl<'a> Paths<'a> {
    /// All paths of the resource with their items.
    pub(super) fn items(&self) -> Vec<(String, Value)> {
        let resource = self.resource;
        let base = base(&resource.group, &resource.version);
        let plural = &resource.plural;
        let mut items = Vec::new();
        let collection = if resource.namespaced() {
            if resource.serves("list") {
                items.push((format!("{base}/{plural}"), self.all_namespaces()));
            }
            format!("{base}/namespaces/{{namespace}}/{plural}")
        } else {
            format!("{base}/{plural}")
        };
        items.push((collection.clone(), self.collection()));
        if ["get", "update", "patch", "delete"].iter().any(|verb| resource.serves(verb)) {
            items.push((format!("{collection}/{{name}}"), self.object()));
        }
        for sub in &resource.subresources {
            let path = format!("{collection}/{{name}}/{}", sub.name);
            if sub.name == "proxy" {
                items.push((format!("{path}/{{path}}"), self.subresource(sub, "WithPath")));
            }
            items.push((path, self.subresource(sub, "")));
        }
        items
    }

    fn kind(&self) -> (&'a str, &'a str, &'a str) {
        let resource = self.resource;
        (&resource.group, &resource.version, &resource.kind)
    }

    fn definition(&self) -> String {
        definition_name(self.resource)
    }

    /// The media types in which objects go over the wire.
    fn media(&self) -> Vec<&'static str> {
        if self.resource.custom { vec![JSON, YAML] } else { vec![JSON, PROTOBUF, YAML] }
    }

    fn all_namespaces(&self) -> Value {
        let id = id(self.resource, "list", &["", self.kind().2, "ForAllNamespaces"]);
        let mut item = Value::object();
        self.put(&mut item, self.list(), id);
        item.set("parameters", self.path_parameters(self.kind().2, &["pretty"]));
        item
    }

    fn list(&self) -> Operation<'a> {
        let mut media = self.media();
        media.push("application/json;stream=watch");
        if !self.resource.custom {
            media.push("application/vnd.kubernetes.protobuf;stream=watch");
        }
        Operation {
            method: "get",
            action: "list",
            id: "list",
            description: format!("list or watch objects of kind {}", self.kind().2),
            parameters: self.options("ListOptions", LIST_LEAVES_OUT),
            body: None,
            answer: format!("{}List", self.definition()),
            codes: &[OK],
            about: self.kind(),
            media,
        }
    }

    fn create(&self) -> Operation<'a> {
        let kind = self.kind().2;
        Operation {
            method: "post",
            action: "post",
            id: "create",
            description: format!("create {} {kind}", article(kind)),
            parameters: self.options("CreateOptions", &[]),
            body: Some(Body { definition: self.definition(), media: vec!["*/*"], required: true }),
            answer: self.definition(),
            codes: &[OK, CREATED, ACCEPTED],
            about: self.kind(),
            media: self.media(),
        }
    }

    fn delete(&self, action: &'static str, description: String) -> Operation<'a> {
        let mut parameters = self.options("DeleteOptions", DELETE_LEAVES_OUT);
        if action == "deletecollection" {
            parameters.extend(self.options("ListOptions", COLLECTION_LEAVES_OUT));
            parameters.sort_by_key(|parameter| parameter.get("name").str().to_owned());
        }
        Operation {
            method: "delete",
            action,
            id: "delete",
            description,
            parameters,
            body: Some(Body {
                definition: meta("DeleteOptions"),
                media: vec!["*/*"],
                required: false,
            }),
            answer: meta("Status"),
            codes: if action == "delete" { &[OK, ACCEPTED] } else { &[OK] },
            about: self.kind(),
            media: self.media(),
        }
    }

    /// Reading, replacing or patching an object or its part.
    fn access(
        &self,
        verb: &str,
        part: &str,
        about: (&'a str, &'a str, &'a str),
        definition: &str,
    ) -> Option<Operation<'a>> {
        let (method, id, words, codes): (_, _, _, &'static [_]) = match verb {
            "get" => ("get", "read", "read", &[OK]),
            "update" => ("put", "replace", "replace", &[OK, CREATED]),
            "patch" => ("patch", "patch", "partially update", &[OK, CREATED]),
            _ => return None,
        };
        let part = if part.is_empty() { String::new() } else { format!("{part} of ") };
        let (parameters, body) = match verb {
            "update" => {
                let definition = definition.to_owned();
                let body = Body { definition, media: vec!["*/*"], required: true };
                (self.options("UpdateOptions", &[]), Some(body))
            }
            "patch" => (self.options("PatchOptions", &[]), Some(self.patch_body())),
            _ => (Vec::new(), None),
        };
        Some(Operation {
            method,
            action: method,
            id,
            description: format!("{words} {part}the specified {}", self.kind().2),
            parameters,
            body,
            answer: definition.to_owned(),
            codes,
            about,
            media: self.media(),
        })
    }

    fn patch_body(&self) -> Body {
        let mut media = vec![
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
        ];
        if !self.resource.custom {
            media.push("application/strategic-merge-patch+json");
        }
        Body { definition: meta("Patch"), media, required: true }
    }

    fn collection(&self) -> Value {
        let resource = self.resource;
        let mut item = Value::object();
        let names = ["Namespaced", self.kind().2, ""];
        if resource.serves("list") {
            self.put(&mut item, self.list(), id(resource, "list", &names));
        }
        if resource.serves("create") {
            self.put(&mut item, self.create(), id(resource, "create", &names));
        }
        if resource.serves("deletecollection") {
            let description = format!("delete collection of {}", self.kind().2);
            let operation = self.delete("deletecollection", description);
            let names = ["CollectionNamespaced", self.kind().2, ""];
            self.put(&mut item, operation, id(resource, "delete", &names));
        }
        item.set("parameters", self.path_parameters(self.kind().2, &["namespace", "pretty"]));
        item
    }

    fn object(&self) -> Value {
        let resource = self.resource;
        let mut item = Value::object();
        let names = ["Namespaced", self.kind().2, ""];
        for verb in ["get", "update", "patch"].into_iter().filter(|verb| resource.serves(verb)) {
            if let Some(operation) = self.access(verb, "", self.kind(), &self.definition()) {
                let id = id(resource, operation.id, &names);
                self.put(&mut item, operation, id);
            }
        }
        if resource.serves("delete") {
            let kind = self.kind().2;
            let operation = self.delete("delete", format!("delete {} {kind}", article(kind)));
            self.put(&mut item, operation, id(resource, "delete", &names));
        }
        item.set(
            "parameters",
            self.path_parameters(self.kind().2, &["name", "namespace", "pretty"]),
        );
        item
    }

    fn subresource(&self, sub: &Subresource, suffix: &str) -> Value {
        let resource = self.resource;
        let about = sub.body.unwrap_or(self.kind());
        let definition = sub.body.map_or_else(|| self.definition(), built_in);
        let part = format!("{}{suffix}", capital(sub.name));
        let names = ["Namespaced", self.kind().2, &part];
        let mut item = Value::object();
        let mut common = vec!["name", "namespace"];
        let options = sub.body.filter(|(_, _, kind)| kind.ends_with("Options"));
        if let Some((_, _, options)) = options {
            for operation in self.connects(sub, options, about) {
                let method = capital(operation.method);
                let group = group_id(&resource.group, &resource.version);
                let id = format!("connect{group}{method}{}", join(resource, &names));
                self.put(&mut item, operation, id);
            }
        } else {
            for verb in sub.verbs {
                let operation = match *verb {
                    "create" => Some(self.create_part(sub, about, &definition)),
                    verb => self.access(verb, sub.name, about, &definition),
                };
                if let Some(operation) = operation {
                    let operation = if sub.name == "log" { self.log(operation) } else { operation };
                    let id = id(resource, operation.id, &names);
                    self.put(&mut item, operation, id);
                }
            }
            common.push("pretty");
        }
        if suffix == "WithPath" {
            common.push("path");
        }
        item.set("parameters", self.path_parameters(about.2, &common));
        item
    }

    fn create_part(
        &self,
        sub: &Subresource,
        about: (&'a str, &'a str, &'a str),
        definition: &str,
    ) -> Operation<'a> {
        let kind = self.kind().2;
        let definition = definition.to_owned();
        Operation {
            description: format!("create {} of {} {kind}", sub.name, article(kind)),
            body: Some(Body { definition: definition.clone(), media: vec!["*/*"], required: true }),
            answer: definition,
            about,
            ..self.create()
        }
    }

    /// Logs are text, and what is wanted of them stands in the query.
    fn log(&self, operation: Operation<'a>) -> Operation<'a> {
        let parameters = self.options_of(builtin().kind("", "v1", "PodLogOptions"), &[]);
        let media = [self.media(), vec!["text/plain"]].concat();
        Operation { parameters, media, answer: String::new(), ..operation }
    }

    /// One operation for each method that a stream or proxy takes.
    fn connects(
        &self,
        sub: &Subresource,
        options: &str,
        about: (&'a str, &'a str, &'a str),
    ) -> Vec<Operation<'a>> {
        let methods: &[&'static str] = match sub.name {
            "proxy" => &["delete", "get", "head", "options", "patch", "post", "put"],
            _ => &["get", "post"],
        };
        let connect = |method: &&'static str| Operation {
            method,
            action: "connect",
            id: "connect",
            description: format!(
                "connect {} requests to {} of {}",
                method.to_uppercase(),
                sub.name,
                self.kind().2
            ),
            parameters: self.options_of(builtin().kind("", "v1", options), &[]),
            body: None,
            answer: String::new(),
            codes: &[OK],
            about,
            media: vec!["*/*"],
        };
        methods.iter().map(connect).collect()
    }

    /// The query parameters that an options kind of `meta/v1` stands for.
    fn options(&self, kind: &str, leave_out: &[&str]) -> Vec<Value> {
        self.options_of(builtin().kind("meta.k8s.io", "v1", kind), leave_out)
    }

    fn options_of(
        &self,
        node: Option<crate::api::schema::Node<'_>>,
        leave_out: &[&str],
    ) -> Vec<Value> {
        let Some(ty) = node.and_then(|node| node.fields_type()) else { return Vec::new() };
        let wanted =
            |name: &str| !matches!(name, "apiVersion" | "kind") && !leave_out.contains(&name);
        let fields = ty.fields().filter(|field| wanted(field.name()));
        fields.map(|field| self.query(ty, field.name())).collect()
    }

    /// A field of an options kind as a query parameter.
    fn query(&self, ty: Type<'_>, name: &str) -> Value {
        let field = ty.field(name);
        let node = field.map(|field| field.node());
        let kind = node.and_then(|node| node.elem()).or(node).map(|node| node.kind());
        let kind = match kind {
            Some(Kind::Bool) => "boolean",
            Some(Kind::Int32 | Kind::Int64) => "integer",
            _ => "string",
        };
        let text = field.map_or("", |field| self.texts.get(field.description()));
        self.parameter("query", name, kind, text, false)
    }

    fn parameter(&self, place: &str, name: &str, kind: &str, text: &str, required: bool) -> Value {
        let mut parameter = Value::from([("in", place.into()), ("name", name.into())]);
        if !text.is_empty() {
            parameter.set("description", text);
        }
        if required {
            parameter.set("required", true);
        }
        let mut schema = Value::from([("type", kind.into()), ("uniqueItems", true.into())]);
        match self.dialect {
            Dialect::V3 => parameter.set("schema", schema),
            Dialect::V2 => {
                for key in ["type", "uniqueItems"] {
                    parameter.set(key, schema.remove(key));
                }
            }
        }
        parameter
    }

    /// The parameters that all operations at a path share.
    fn path_parameters(&self, kind: &str, names: &[&str]) -> Vec<Value> {
        let resource = self.resource;
        let names = names.iter().filter(|name| **name != "namespace" || resource.namespaced());
        let parameter = |name: &&str| match *name {
            "name" => {
                let text = format!("name of the {kind}");
                self.parameter("path", "name", "string", &text, true)
            }
            "namespace" => {
                let text = "object name and auth scope, such as for teams and projects";
                self.parameter("path", "namespace", "string", text, true)
            }
            "path" => self.parameter("path", "path", "string", "path to the resource", true),
            name => {
                let text = "If 'true', then the output is pretty printed. Defaults to 'false' \
                            unless the user-agent indicates a browser or command-line HTTP tool \
                            (curl and wget).";
                self.parameter("query", name, "string", text, false)
            }
        };
        names.map(parameter).collect()
    }

    /// Puts an operation into a path item.
    fn put(&self, item: &mut Value, operation: Operation<'_>, id: String) {
        let resource = self.resource;
        let method = operation.method;
        let tag = tag(&resource.group, &resource.version);
        item.set(method, operation.render(self.dialect, id, tag));
    }
}

impl Operation<'_> {
    fn render(self, dialect: Dialect, id: String, tag: String) -> Value {
        let mut value = Value::from([
            ("description", self.description.into()),
            ("operationId", id.into()),
            ("tags", vec![tag.into()].into()),
        ]);
        if !self.action.is_empty() {
            let (group, version, kind) = self.about;
            value.set("x-kubernetes-action", self.action);
            let about = group_version_kind(group, version, kind);
            value.set("x-kubernetes-group-version-kind", about);
        }
        value.set("responses", responses(dialect, &self.answer, self.codes, &self.media));
        let mut parameters = self.parameters;
        match (dialect, self.body) {
            (Dialect::V3, Some(body)) => value.set("requestBody", body.v3()),
            (Dialect::V3, None) => {}
            (Dialect::V2, body) => {
                let any = if self.action.is_empty() { self.media.clone() } else { vec!["*/*"] };
                let consumes = body.as_ref().map_or(any, |body| body.media.clone());
                value.set("consumes", texts(&consumes));
                value.set("produces", texts(&self.media));
                value.set("schemes", texts(&["https"]));
                parameters.splice(0..0, body.map(|body| body.v2()));
            }
        }
        if !parameters.is_empty() {
            value.set("parameters", parameters);
        }
        value
    }
}

impl Body {
    fn v3(&self) -> Value {
        let mut content = Value::object();
        for media in &self.media {
            let schema = Dialect::V3.reference(&self.definition);
            content.set(media, Value::from([("schema", schema)]));
        }
        let mut request = Value::from([("content", content)]);
        if self.required {
            request.set("required", true);
        }
        request
    }

    fn v2(&self) -> Value {
        let mut parameter = Value::from([
            ("in", "body".into()),
            ("name", "body".into()),
            ("schema", Dialect::V2.reference(&self.definition)),
        ]);
        if self.required {
            parameter.set("required", true);
        }
        parameter
    }
}

fn responses(dialect: Dialect, answer: &str, codes: &[(&str, &str)], media: &[&str]) -> Value {
    let schema = || match answer {
        "" => Value::from([("type", "string".into())]),
        name => dialect.reference(name),
    };
    let mut responses = Value::object();
    for (code, words) in codes {
        let mut response = Value::from([("description", (*words).into())]);
        match dialect {
            Dialect::V3 => {
                let mut content = Value::object();
                for media in media {
                    content.set(media, Value::from([("schema", schema())]));
                }
                response.set("content", content);
            }
            Dialect::V2 => response.set("schema", schema()),
        }
        responses.set(code, response);
    }
    responses.set("401", Value::from([("description", "Unauthorized".into())]));
    responses
}

/// The path at which a group's version lists its resources.
pub(super) fn discovery(group: &str, version: &str, dialect: Dialect) -> (String, Value) {
    let operation = Operation {
        method: "get",
        action: "",
        id: "get",
        description: "get available resources".to_owned(),
        parameters: Vec::new(),
        body: None,
        answer: meta("APIResourceList"),
        codes: &[OK],
        about: ("", "", ""),
        media: vec![JSON, PROTOBUF, YAML],
    };
    let id = format!("get{}APIResources", group_id(group, version));
    let get = operation.render(dialect, id, tag(group, version));
    (format!("{}/", base(group, version)), Value::from([("get", get)]))
}

/// The definition's name of a built-in kind.
fn built_in((group, version, kind): (&str, &str, &str)) -> String {
    let node = builtin().kind(group, version, kind);
    node.and_then(|node| node.fields_type()).map_or("", Type::name).to_owned()
}

/// `/api/v1`, `/apis/apps/v1`.
fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn texts(words: &[&str]) -> Vec<Value> {
    words.iter().map(|word| Value::from(*word)).collect()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

/// A group's parts without `k8s.io`, capitalised; `Core` for the core group.
fn group_words(group: &str) -> Vec<String> {
    let group = if group.is_empty() { "core" } else { group };
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    group.split(['.', '-']).map(capital).collect()
}

/// `AppsV1`, `RbacAuthorizationV1`.
fn group_id(group: &str, version: &str) -> String {
    format!("{}{}", group_words(group).concat(), capital(version))
}

/// `apps_v1`, `rbacAuthorization_v1`.
fn tag(group: &str, version: &str) -> String {
    let words = group_words(group).concat();
    let mut chars = words.chars();
    let first = chars.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    format!("{first}{}_{version}", chars.as_str())
}

/// The names that end an operation's id; `Namespaced` only where there are namespaces.
fn join(resource: &Resource, names: &[&str; 3]) -> String {
    let [first, kind, last] = names;
    let first = match (resource.namespaced(), first.strip_suffix("Namespaced")) {
        (false, Some(rest)) => rest,
        _ => first,
    };
    format!("{first}{kind}{last}")
}

fn id(resource: &Resource, verb: &str, names: &[&str; 3]) -> String {
    let group = group_id(&resource.group, &resource.version);
    format!("{verb}{group}{}", join(resource, names))
}
