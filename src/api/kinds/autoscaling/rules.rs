//! What an autoscaler must say: its bounds, what it measures, and how fast it scales.

use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::core::pod::resources::container_resource as container_resource_name;
use crate::api::kinds::text;
use crate::api::quantity::Quantity;
use crate::api::registry::Errors;
use crate::api::tree::Value;

const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const TARGETS: &[&str] = &["AverageValue", "Utilization", "Value"];
const SELECT: &[&str] = &["Disabled", "Max", "Min"];
const POLICIES: &[&str] = &["Percent", "Pods"];
/// How long what was recommended may be looked back at, in seconds.
const WINDOW_MAX: i64 = 3600;
/// How long a policy's period may be, in seconds.
const PERIOD_MAX: i64 = 1800;

/// Checks all but what names what is scaled: see `new_target`.
pub(super) fn check(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let target = spec.field("scaleTargetRef");
    let (min, max) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    let most = max.as_int().unwrap_or(0);
    if min.as_int().is_some_and(|least| most < least) {
        errors.invalid(max, &most.into(), "must be greater than or equal to `minReplicas`");
    }
    for field in ["kind", "name"] {
        Rule::RequiredText(text::path_segment).check(target.field(field), errors);
    }
    let metrics = spec.field("metrics");
    metrics.items().for_each(|metric| self::metric(metric, errors));
    let counts_others = |metric: &Value| matches!(metric.get("type").str(), "External" | "Object");
    let to_zero = spec.get("minReplicas").as_int() == Some(0);
    if to_zero && !metrics.value().items().iter().any(counts_others) {
        let why = "must specify at least one Object or External metric to support scaling to zero \
                   replicas";
        errors.forbidden(metrics, why);
    }
    let behavior = spec.field("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        scaling(behavior.field(direction), errors);
    }
}

/// Checks the versions that a new autoscaler names, and then its bounds. Only replication
/// controllers have no group.
pub(super) fn new_versions(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    scaled_version(spec, errors);
    described_versions(spec, errors);
    bounds(spec, errors);
}

/// The same for a changed one, which may keep what it named.
pub(super) fn changed_versions(root: At<'_>, old: &Value, errors: &mut Errors) {
    let spec = root.field("spec");
    let (now, before) = (spec.get("scaleTargetRef"), old.at(&["spec", "scaleTargetRef"]));
    if ["apiVersion", "kind"].iter().any(|field| now.get(field).str() != before.get(field).str()) {
        scaled_version(spec, errors);
    }
    let mut wrong = Errors::default();
    described_versions(At::root(old).field("spec"), &mut wrong);
    if wrong.is_empty() {
        described_versions(spec, errors);
    }
    bounds(spec, errors);
}

fn scaled_version(spec: At<'_>, errors: &mut Errors) {
    let target = spec.field("scaleTargetRef");
    let groupless = target.get("kind").str() == "ReplicationController";
    version(target.field("apiVersion"), groupless, errors);
}

fn described_versions(spec: At<'_>, errors: &mut Errors) {
    for metric in spec.field("metrics").items() {
        let object = metric.field("object");
        if !object.is_null() {
            version(object.field("describedObject").field("apiVersion"), true, errors);
        }
    }
}

fn version(at: At<'_>, groupless: bool, errors: &mut Errors) {
    let text = at.value().str();
    let slashes = text.matches('/').count();
    if slashes > 1 {
        let why = format!("unexpected GroupVersion string: {text}");
        errors.invalid(at, &text.into(), &why);
    } else if !groupless && (slashes == 0 || text.starts_with('/')) {
        errors.invalid(at, &text.into(), "apiVersion must specify API group");
    }
}

/// Each bound by itself: upstream's newer validators, whose this is, come last.
fn bounds(spec: At<'_>, errors: &mut Errors) {
    let max = spec.field("maxReplicas");
    check::not_negative(spec.field("minReplicas"), errors);
    match max.as_int().unwrap_or(0) {
        0 => errors.required(max, ""),
        ..0 => errors.invalid(max, &max, "must be greater than or equal to 1"),
        _ => {}
    }
}

/// A kind of metric, the field that holds it, and what is to be said there.
type Source = (&'static str, &'static str, fn(At<'_>, &mut Errors));

/// The field that holds each kind of metric, in the order in which they are looked at.
const SOURCES: &[Source] = &[
    ("Object", "object", object),
    ("External", "external", external),
    ("Pods", "pods", pods),
    ("Resource", "resource", resource),
    ("ContainerResource", "containerResource", container_resource),
];

fn metric(at: At<'_>, errors: &mut Errors) {
    let ty = at.field("type");
    if ty.is_empty() {
        errors.required(ty, "must specify a metric source type");
    }
    if !METRIC_TYPES.contains(&ty.value().str()) {
        errors.not_supported(ty, &ty.value().str().into(), METRIC_TYPES);
    }
    let given = || SOURCES.iter().filter(|(_, field, _)| !at.get(field).is_null());
    if let Some((_, field, check)) = given().next() {
        check(at.field(field), errors);
    }
    let wanted = SOURCES.iter().find(|(name, ..)| *name == ty.value().str());
    if let Some((_, field, _)) = wanted.filter(|(_, field, _)| at.get(field).is_null()) {
        errors.required(at.field(field), "must populate information for the given metric source");
    }
    if given().count() != 1 {
        let others = given().filter(|(_, field, _)| Some(*field) != wanted.map(|(_, f, _)| *f));
        for (_, field, _) in others {
            errors.forbidden(at.field(field), "must populate the given metric source only");
        }
    }
}

fn object(at: At<'_>, errors: &mut Errors) {
    let described = at.field("describedObject");
    for field in ["kind", "name"] {
        Rule::RequiredText(text::path_segment).check(described.field(field), errors);
    }
    identified(at, errors);
    let target = at.field("target");
    if target.get("value").is_null() && target.get("averageValue").is_null() {
        let why = "must set either a target value or averageValue";
        errors.required(target.field("averageValue"), why);
    }
}

fn external(at: At<'_>, errors: &mut Errors) {
    let target = at.field("target");
    identified(at, errors);
    match (target.get("value").is_null(), target.get("averageValue").is_null()) {
        (true, true) => errors.required(
            target.field("averageValue"),
            "must set either a target value for metric or a per-pod target",
        ),
        (false, false) => errors.forbidden(
            target.field("value"),
            "may not set both a target value for metric and a per-pod target",
        ),
        _ => {}
    }
}

fn pods(at: At<'_>, errors: &mut Errors) {
    let target = at.field("target");
    identified(at, errors);
    if target.get("averageValue").is_null() {
        let why = "must specify a positive target averageValue";
        errors.required(target.field("averageValue"), why);
    }
}

fn resource(at: At<'_>, errors: &mut Errors) {
    check::required(at.field("name"), "must specify a resource name", errors);
    amounts(at, errors);
}

fn container_resource(at: At<'_>, errors: &mut Errors) {
    let (name, container) = (at.field("name"), at.field("container"));
    if check::required(name, "must specify a resource name", errors) {
        container_resource_name(name, name.value().str(), errors);
    }
    if check::required(container, "must specify a container", errors) {
        check::formatted(container, text::dns_label, errors);
    }
    amounts(at, errors);
}

/// The target of a resource: an amount, or a share of what is requested.
fn amounts(at: At<'_>, errors: &mut Errors) {
    let wanted = at.field("target");
    target(wanted, errors);
    match (wanted.get("averageUtilization").is_null(), wanted.get("averageValue").is_null()) {
        (true, true) => errors.required(
            wanted.field("averageUtilization"),
            "must set either a target raw value or a target utilization",
        ),
        (false, false) => errors.forbidden(
            wanted.field("averageValue"),
            "may not set both a target raw value and a target utilization",
        ),
        _ => {}
    }
}

/// A metric by its name, and what it is to be.
fn identified(at: At<'_>, errors: &mut Errors) {
    let metric = at.field("metric");
    let name = metric.field("name");
    if check::required(name, "must specify a metric name", errors) {
        check::formatted(name, text::path_segment, errors);
    }
    target(at.field("target"), errors);
}

fn target(at: At<'_>, errors: &mut Errors) {
    let ty = at.field("type");
    if ty.is_empty() {
        errors.required(ty, "must specify a metric target type");
    }
    if !TARGETS.contains(&ty.value().str()) {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.invalid(ty, &ty.value().str().into(), why);
    }
    for field in ["value", "averageValue"] {
        let amount = at.field(field);
        let positive = Quantity::of(&amount).is_ok_and(|q| !q.is_zero() && !q.is_negative());
        if !amount.is_null() && !positive {
            errors.invalid(amount, &amount, "must be positive");
        }
    }
    let share = at.field("averageUtilization");
    if share.as_int().is_some_and(|percent| percent < 1) {
        errors.invalid(share, &share, "must be greater than 0");
    }
}

/// How fast it scales in one direction.
fn scaling(at: At<'_>, errors: &mut Errors) {
    if at.is_null() {
        return;
    }
    let window = at.field("stabilizationWindowSeconds");
    match window.as_int() {
        Some(..0) => errors.invalid(window, &window, "must be greater than or equal to zero"),
        Some(seconds) if seconds > WINDOW_MAX => {
            let why = format!("must be less than or equal to {WINDOW_MAX}");
            errors.invalid(window, &window, &why);
        }
        _ => {}
    }
    let select = at.field("selectPolicy");
    if !select.is_null() {
        check::one_of(select, SELECT, errors);
    }
    let policies = at.field("policies");
    check::required(policies, "must specify at least one Policy", errors);
    policies.items().for_each(|one| policy(one, errors));
    let tolerance = at.field("tolerance");
    if Quantity::of(&tolerance).is_ok_and(Quantity::is_negative) {
        errors.invalid(tolerance, &tolerance, "must be greater than or equal to 0");
    }
}

fn policy(at: At<'_>, errors: &mut Errors) {
    let ty = at.field("type");
    if !POLICIES.contains(&ty.value().str()) {
        errors.not_supported(ty, &ty.value().str().into(), POLICIES);
    }
    for field in ["value", "periodSeconds"] {
        let number = at.field(field);
        let given = number.as_int().unwrap_or(0);
        if given <= 0 {
            errors.invalid(number, &given.into(), "must be greater than zero");
        }
    }
    let period = at.field("periodSeconds");
    if period.as_int().is_some_and(|seconds| seconds > PERIOD_MAX) {
        let why = format!("must be less than or equal to {PERIOD_MAX}");
        errors.invalid(period, &period, &why);
    }
}
