//! The expressions of webhooks and policies: what they may read, and what must come of them.
//!
//! Objects are of no known type here; the request and its namespace are as Kubernetes declares
//! them.

use std::sync::{Arc, LazyLock};

use crate::api::cel::Environment;
use crate::api::cel::check::patch_named;
use crate::api::cel::functions::{AUTHORIZER, RESOURCE_CHECK};
use crate::api::cel::shape::{Kind, Shape};
use crate::api::cel::types::Type;
use crate::api::kinds::check::At;
use crate::api::registry::Errors;

/// What an expression may read besides objects, request and namespace.
#[derive(Clone, Copy, Default)]
pub(super) struct Access {
    /// The parameters of a policy.
    pub params: bool,
    /// Who may do what.
    pub authorizer: bool,
    /// Whether it makes a patch.
    pub patches: bool,
}

/// The variables of a policy as far as they are read; none at all where it has none.
pub(super) type Variables = Option<Vec<(String, Type)>>;

/// Where an expression stands, and its text.
#[derive(Clone, Copy)]
pub(super) struct Expression<'a> {
    /// Where.
    pub at: At<'a>,
    /// What is compiled.
    pub text: &'a str,
    /// What is shown if it is wrong.
    pub shown: &'a str,
}

impl<'a> Expression<'a> {
    /// The text at a place, as it is.
    pub fn whole(at: At<'a>) -> Self {
        let text = at.value().str();
        Self { at, text, shown: text }
    }

    /// The text at a place without the space around it.
    pub fn trimmed(at: At<'a>) -> Self {
        let text = at.value().str().trim();
        Self { at, text, shown: text }
    }

    /// Reports what is wrong with it, or that what comes of it is none of these types; any will do
    /// where none is named. What comes of it is the answer.
    pub fn check(&self, at: &Environment, wanted: &[Type], errors: &mut Errors) -> Type {
        let program = match at.compile(self.text) {
            Ok(program) => program,
            Err(why) => {
                let why = format!("compilation failed: {why}");
                errors.invalid(self.at, &self.shown.into(), &why);
                return Type::Dyn;
            }
        };
        let found = program.result();
        if !wanted.is_empty() && !wanted.contains(found) {
            let all: Vec<String> = wanted.iter().map(shown).collect();
            let one =
                if all.len() == 1 { all.concat() } else { format!("one of [{}]", all.join(" ")) };
            let why = format!("must evaluate to {one} but got {}", shown(found));
            errors.invalid(self.at, &self.shown.into(), &why);
        }
        found.clone()
    }
}

/// A type in the words of upstream's library, which calls this one otherwise elsewhere.
fn shown(ty: &Type) -> String {
    if *ty == Type::Null { "null_type".to_owned() } else { ty.to_string() }
}

/// What an expression may read.
pub(super) fn environment(access: Access, variables: &Variables) -> Environment {
    let mut made = Environment::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with_shape("namespaceObject", &NAMESPACE)
        .with_shape("request", &REQUEST);
    if access.params {
        made = made.with("params", Type::Dyn);
    }
    if access.authorizer {
        made = made
            .with("authorizer", Type::Opaque(AUTHORIZER))
            .with("authorizer.requestResource", Type::Opaque(RESOURCE_CHECK));
    }
    if let Some(variables) = variables {
        let none = Arc::new(Shape::object("kubernetes.variables", Vec::new()));
        made = made.with("variables", Type::Object(none));
        for (name, ty) in variables {
            made = made.with(&format!("variables.{name}"), ty.clone());
        }
    }
    if access.patches { made.with_patches() } else { made }
}

/// What of a variable's type is known where it is read: objects are of no known type there.
pub(super) fn kept(ty: &Type) -> Type {
    match ty {
        Type::List(inner) => Type::list(kept(inner)),
        Type::Map(both) => Type::map(kept(&both.0), kept(&both.1)),
        Type::Null
        | Type::Bool
        | Type::Int
        | Type::Uint
        | Type::Double
        | Type::Str
        | Type::Bytes
        | Type::Duration
        | Type::Timestamp => ty.clone(),
        _ => Type::Dyn,
    }
}

/// A type that patches are made of.
pub(super) fn patch(name: &str) -> Type {
    patch_named(name).unwrap_or(Type::Dyn)
}

fn text() -> Arc<Shape> {
    Arc::new(Shape::text())
}

fn texts(name: &str, fields: &[&str]) -> Arc<Shape> {
    Arc::new(Shape::object(name, fields.iter().map(|field| (*field, text())).collect()))
}

/// The request that is decided.
static REQUEST: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let kind = texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let resource = texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = vec![
        ("username", text()),
        ("uid", text()),
        ("groups", Arc::new(Shape::list(Shape::text()))),
        ("extra", Arc::new(Shape::map(Shape::list(Shape::text())))),
    ];
    let fields = vec![
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("subResource", text()),
        ("requestKind", kind),
        ("requestResource", resource),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", Arc::new(Shape::object("kubernetes.UserInfo", user))),
        ("dryRun", Arc::new(Shape::plain(Kind::Bool))),
        ("options", Shape::any()),
    ];
    Arc::new(Shape::object("kubernetes.AdmissionRequest", fields))
});

/// The namespace of the request.
static NAMESPACE: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let time = || Arc::new(Shape::plain(Kind::Timestamp));
    let number = || Arc::new(Shape::plain(Kind::Int));
    let list = || Arc::new(Shape::list(Shape::text()));
    let map = || Arc::new(Shape::map(Shape::text()));
    let condition = vec![
        ("status", text()),
        ("type", text()),
        ("lastTransitionTime", time()),
        ("message", text()),
        ("reason", text()),
    ];
    let conditions = Shape::list(Shape::object("kubernetes.NamespaceCondition", condition));
    let status = vec![("conditions", Arc::new(conditions)), ("phase", text())];
    let metadata = vec![
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", map()),
        ("annotations", map()),
        ("UID", text()),
        ("creationTimestamp", time()),
        ("deletionGracePeriodSeconds", number()),
        ("deletionTimestamp", time()),
        ("generation", number()),
        ("resourceVersion", text()),
        ("finalizers", list()),
    ];
    let spec = vec![("finalizers", list())];
    let fields = vec![
        ("metadata", Arc::new(Shape::object("kubernetes.NamespaceMetadata", metadata))),
        ("spec", Arc::new(Shape::object("kubernetes.NamespaceSpec", spec))),
        ("status", Arc::new(Shape::object("kubernetes.NamespaceStatus", status))),
    ];
    Arc::new(Shape::object("kubernetes.Namespace", fields))
});
