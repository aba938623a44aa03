//! What a policy must say: that its expressions make sense, each with what it may read.

use super::expressions::{Access, Expression, Variables, environment, kept, patch};
use super::matching::{conditions, match_resources, no_deletion, param_kind};
use crate::api::cel::shape;
use crate::api::cel::types::Type;
use crate::api::kinds::check::{self, At};
use crate::api::kinds::text;
use crate::api::meta::Meta;
use crate::api::registry::Errors;

/// How many annotations a policy may make.
const ANNOTATIONS_MAX: usize = 20;
/// How long an expression may be that makes one.
const ANNOTATION_BYTES_MAX: usize = 5 * 1024;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];

/// Checks a `ValidatingAdmissionPolicy`.
pub(super) fn validating(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let params = common(spec, errors);
    let known = variables(spec, params, None, errors);
    let (validations, annotations) = (spec.field("validations"), spec.field("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(validations, why);
        errors.required(annotations, why);
    }
    validations.items().for_each(|one| validation(one, params, &known, errors));
    if annotations.value().items().len() > ANNOTATIONS_MAX {
        let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.invalid(annotations, &annotations, &why);
    }
    let policy = root.value().name();
    annotations.items().for_each(|one| annotation(one, policy, params, &known, errors));
    check::unique(annotations, "key", errors);
}

/// Checks a `MutatingAdmissionPolicy`.
pub(super) fn mutating(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let params = common(spec, errors);
    let constraints = spec.field("matchConstraints");
    no_deletion(constraints.field("resourceRules"), errors);
    let known = variables(spec, params, Some(Vec::new()), errors);
    spec.field("mutations").items().for_each(|one| mutation(one, params, &known, errors));
}

/// What both kinds of policies say; true if there are parameters.
fn common(spec: At<'_>, errors: &mut Errors) -> bool {
    let kind = spec.field("paramKind");
    let params = !kind.is_null();
    if params {
        param_kind(kind, errors);
    }
    let constraints = spec.field("matchConstraints");
    match_resources(constraints, errors);
    let rules = constraints.field("resourceRules");
    if !constraints.is_null() && rules.is_empty() {
        errors.required(rules, "");
    }
    conditions(spec.field("matchConditions"), params, errors);
    params
}

/// The variables of a policy, each of which may read those before it.
fn variables(spec: At<'_>, params: bool, before: Variables, errors: &mut Errors) -> Variables {
    let list = spec.field("variables");
    let mut known = if list.is_empty() { before } else { Some(Vec::new()) };
    for variable in list.items() {
        let (name, expression) = (variable.field("name"), variable.field("expression"));
        if name.value().str().trim().is_empty() {
            errors.required(name, "name is not specified");
        } else if !is_identifier(name.value().str()) {
            errors.invalid(name, &name, "must be a valid CEL identifier");
        }
        if expression.value().str().trim().is_empty() {
            errors.required(expression, "expression is not specified");
            continue;
        }
        let access = Access { params, authorizer: true, patches: false };
        let ty = Expression::whole(expression).check(&environment(access, &known), &[], errors);
        let named = known.get_or_insert_default();
        named.retain(|(other, _)| other != name.value().str());
        named.push((name.value().str().to_owned(), kept(&ty)));
    }
    known
}

fn is_identifier(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    let goes_on = name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    starts && goes_on && !shape::is_word(name)
}

fn validation(at: At<'_>, params: bool, known: &Variables, errors: &mut Errors) {
    let has_lines = |text: &str| text.contains(['\n', '\r']);
    let expression = at.field("expression");
    let access = Access { params, authorizer: true, patches: false };
    if expression.value().str().trim().is_empty() {
        errors.required(expression, "expression is not specified");
    } else {
        let environment = environment(access, known);
        Expression::whole(expression).check(&environment, &[Type::Bool], errors);
    }
    let made = at.field("messageExpression");
    match (made.value().str(), made.value().str().trim()) {
        ("", _) => {}
        (_, "") => errors.invalid(made, &made, "must be non-empty if specified"),
        _ => {
            let environment = environment(Access { authorizer: false, ..access }, known);
            Expression::whole(made).check(&environment, &[Type::Str], errors);
        }
    }
    let message = at.field("message");
    match (message.value().str(), message.value().str().trim()) {
        ("", _) => {}
        (_, "") => errors.invalid(message, &message, "must be non-empty if specified"),
        (_, text) if has_lines(text) => {
            errors.invalid(message, &message, "must not contain line breaks");
        }
        _ => {}
    }
    let reason = at.field("reason");
    if !reason.is_null() {
        check::one_of(reason, REASONS, errors);
    }
}

fn annotation(at: At<'_>, policy: &str, params: bool, known: &Variables, errors: &mut Errors) {
    let (key, value) = (at.field("key"), at.field("valueExpression"));
    if policy.is_empty() {
        errors.invalid(key, &key.value().str().into(), "requires metadata.name be non-empty");
    } else {
        let whole = format!("{policy}/{}", key.value().str());
        for fault in text::label_key(&whole) {
            errors.invalid(key, &whole.as_str().into(), &fault);
        }
    }
    let text = value.value().str().trim();
    if text.is_empty() {
        errors.required(value, "valueExpression is not specified");
    } else if text.len() > ANNOTATION_BYTES_MAX {
        let why = format!("must not exceed {ANNOTATION_BYTES_MAX} bytes in length");
        errors.required(value, &why);
    } else {
        let access = Access { params, authorizer: true, patches: false };
        let expression = Expression { at: value, text, shown: value.value().str() };
        expression.check(&environment(access, known), &[Type::Str, Type::Null], errors);
    }
}

fn mutation(at: At<'_>, params: bool, known: &Variables, errors: &mut Errors) {
    let (apply, steps) = (at.field("applyConfiguration"), at.field("jsonPatch"));
    let (wanted, other, ty) = match at.get("patchType").str() {
        "ApplyConfiguration" => (apply, steps, patch("Object")),
        "JSONPatch" => (steps, apply, Type::list(patch("JSONPatch"))),
        _ => return,
    };
    let kind = at.get("patchType").str();
    if wanted.is_null() {
        errors.required(wanted, &format!("must be specified when patchType is {kind}"));
    }
    if !other.is_null() {
        let field = if kind == "JSONPatch" { "{applyConfiguration}" } else { "{jsonPatch}" };
        let why = format!("must not be specified when patchType is {kind}");
        errors.invalid(other, &field.into(), &why);
    }
    let expression = wanted.field("expression");
    if wanted.is_null() {
        return;
    }
    if expression.value().str().trim().is_empty() {
        return errors.required(expression, "");
    }
    let access = Access { params, authorizer: true, patches: true };
    Expression::trimmed(expression).check(&environment(access, known), &[ty], errors);
}
