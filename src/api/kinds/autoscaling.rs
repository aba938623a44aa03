//! HorizontalPodAutoscalers in both versions over one stored object, which is v2's. Nothing in rk
//! scales by them yet.
//!
//! What v1 cannot say stays in its annotations, as upstream keeps it.

use super::check::{At, Rule};
use super::fallback::Fallback;
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text::{self, Format};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules};
use crate::api::tree::Value;

/// The annotations that hold what v1 has no fields for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Version 2.
pub const V2: Tabled = Tabled {
    defaults: &[("spec.minReplicas", Fallback::NumberIfAbsent(1))],
    rules: &[
        ("spec.scaleTargetRef.kind", Rule::RequiredText(text::path_segment)),
        ("spec.scaleTargetRef.name", Rule::RequiredText(text::path_segment)),
        ("spec.metrics[].type", Rule::RequiredOneOf(METRIC_TYPES)),
        ("spec.metrics[].resource?.name", Rule::Required("must specify a resource name")),
        ("spec.metrics[].resource?.target.type", Rule::RequiredOneOf(TARGETS)),
        ("spec.behavior.scaleUp.selectPolicy", Rule::OneOf(SELECT)),
        ("spec.behavior.scaleDown.selectPolicy", Rule::OneOf(SELECT)),
    ],
    check: bounds,
    status: true,
    columns: &[
        (NAME, Cell::Name),
        (("Reference", "string", 0, "What is scaled."), Cell::Made(reference)),
        (("Targets", "string", 0, "The metrics, and what they are to be."), Cell::Made(targets)),
        (("MinPods", "string", 0, "The fewest pods."), Cell::Made(least)),
        (("MaxPods", "integer", 0, "The most pods."), Cell::At("spec.maxReplicas")),
        (("Replicas", "integer", 0, "The pods there are."), Cell::Made(current)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores HorizontalPodAutoscalers, but does not scale by them yet",
    ..Tabled::PLAIN
};

const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const TARGETS: &[&str] = &["AverageValue", "Utilization", "Value"];
const SELECT: &[&str] = &["Disabled", "Max", "Min"];

fn bounds(root: At<'_>, errors: &mut Errors) {
    let spec = root.field("spec");
    let (min, max) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    let (least, most) = (min.as_int().unwrap_or(1), max.as_int().unwrap_or(0));
    if least < 1 {
        errors.invalid(min, &min, "must be greater than or equal to 1");
    }
    if most < 1 {
        errors.invalid(max, &most.into(), "must be greater than 0");
    } else if most < least {
        errors.invalid(max, &max, "must be greater than or equal to `minReplicas`");
    }
}

fn reference(object: &Value) -> Value {
    let target = object.at(&["spec", "scaleTargetRef"]);
    format!("{}/{}", target.get("kind").str(), target.get("name").str()).into()
}

fn least(object: &Value) -> Value {
    match object.at(&["spec", "minReplicas"]).as_int() {
        Some(count) => count.to_string().into(),
        None => "<unset>".into(),
    }
}

fn current(object: &Value) -> Value {
    object.at(&["status", "currentReplicas"]).as_int().unwrap_or(0).into()
}

/// `cpu: <unknown>/80%`, one for each metric.
fn targets(object: &Value) -> Value {
    let metrics = object.at(&["spec", "metrics"]).items();
    let one = |metric: &Value| {
        let source = metric.get("resource");
        let target = source.get("target");
        let wanted = match target.get("averageUtilization").as_int() {
            Some(percent) => format!("{percent}%"),
            None => target.get("averageValue").str().to_owned(),
        };
        match source.is_null() {
            true => "<unknown>/<auto>".to_owned(),
            false => format!("{}: <unknown>/{wanted}", source.get("name").str()),
        }
    };
    match metrics.iter().map(one).collect::<Vec<_>>().as_slice() {
        [] => "<none>".into(),
        shown => shown.join(", ").into(),
    }
}

/// Version 1.
pub struct V1;

impl Rules for V1 {
    fn name_format(&self) -> Format {
        V2.name_format()
    }

    fn default(&self, object: &mut Value) {
        V2.default(object);
    }

    fn prepare_create(&self, object: &mut Value, context: Context) {
        let mut new = newer(object);
        V2.prepare_create(&mut new, context);
        *object = older(&new);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, context: Context) {
        // What of the status v1 keeps in annotations is no more the client's than the rest.
        let mut new = newer(object);
        V2.prepare_update(&mut new, &newer(old), context);
        *object = older(&new);
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        V2.validate(&newer(object), errors);
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        V2.warnings(object, old)
    }

    fn to_storage(&self, object: &mut Value) {
        *object = newer(object);
    }

    fn of_storage(&self, object: &mut Value) {
        *object = older(object);
    }

    fn converts(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        V2.columns()
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        V2.row(&newer(object), context)
    }
}

/// The metric that v1 has a field for.
fn utilization(percent: i64, field: &str, value: &str) -> Value {
    let amounts = Value::from([("type", "Utilization".into()), (value, percent.into())]);
    let resource = Value::from([("name", "cpu".into()), (field, amounts)]);
    Value::from([("type", "Resource".into()), ("resource", resource)])
}

fn is_utilization(metric: &Value, field: &str) -> Option<i64> {
    let resource = metric.get("resource");
    let is_cpu = metric.get("type").str() == "Resource" && resource.get("name").str() == "cpu";
    is_cpu.then(|| resource.at(&[field, "averageUtilization"]).as_int()).flatten()
}

/// An object of v1 as one of v2.
fn newer(object: &Value) -> Value {
    let mut new = object.clone();
    let kept =
        |key: &str| object.annotation(key).and_then(|text| Value::parse(text.as_bytes()).ok());
    let mut metrics = kept(METRICS).map(|list| list.items().to_vec()).unwrap_or_default();
    let spec = new.entry("spec");
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").as_int() {
        metrics.insert(0, utilization(percent, "target", "averageUtilization"));
    }
    if !metrics.is_empty() {
        spec.set("metrics", metrics);
    }
    if let Some(behavior) = kept(BEHAVIOR) {
        spec.set("behavior", behavior);
    }
    let mut now = kept(CURRENT).map(|list| list.items().to_vec()).unwrap_or_default();
    if let Some(status) = new.get_mut("status") {
        if let Some(percent) = status.remove("currentCPUUtilizationPercentage").as_int() {
            let mut metric = utilization(percent, "current", "averageUtilization");
            metric.entry_at(&["resource", "current"]).remove("type");
            now.insert(0, metric);
        }
        if !now.is_empty() {
            status.set("currentMetrics", now);
        }
        if let Some(conditions) = kept(CONDITIONS) {
            status.set("conditions", conditions);
        }
    }
    if let Some(annotations) = new.entry("metadata").get_mut("annotations") {
        [METRICS, CURRENT, CONDITIONS, BEHAVIOR]
            .iter()
            .for_each(|key| drop(annotations.remove(key)));
    }
    if new.metadata().get("annotations").is_empty() {
        new.entry("metadata").remove("annotations");
    }
    new
}

/// An object of v2 as one of v1.
fn older(object: &Value) -> Value {
    let mut old = object.clone();
    let mut keep: Vec<(&str, Value)> = Vec::new();
    let spec = old.entry("spec");
    let (metrics, behavior) = (spec.remove("metrics"), spec.remove("behavior"));
    let (percent, rest) = split(&metrics, "target");
    if let Some(percent) = percent {
        spec.set("targetCPUUtilizationPercentage", percent);
    }
    keep.push((METRICS, rest.into()));
    keep.push((BEHAVIOR, behavior));
    if let Some(status) = old.get_mut("status") {
        let (percent, rest) = split(&status.remove("currentMetrics"), "current");
        if let Some(percent) = percent {
            status.set("currentCPUUtilizationPercentage", percent);
        }
        keep.push((CURRENT, rest.into()));
        keep.push((CONDITIONS, status.remove("conditions")));
    }
    for (key, value) in keep.into_iter().filter(|(_, value)| !value.is_empty()) {
        old.entry_at(&["metadata", "annotations"]).set(key, value.to_string());
    }
    old
}

/// The first utilisation of the processor among metrics, and all others.
fn split(metrics: &Value, field: &str) -> (Option<i64>, Vec<Value>) {
    let mut rest = metrics.items().to_vec();
    let place = rest.iter().position(|metric| is_utilization(metric, field).is_some());
    let found = place.map(|place| rest.remove(place));
    (found.and_then(|metric| is_utilization(&metric, field)), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_cannot_say_is_in_its_annotations() {
        let text = r#"{"metadata":{"name":"h"},"spec":{"behavior":{"scaleUp":{"selectPolicy":"Min"}},"maxReplicas":3,"metrics":[{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"},{"pods":{"metric":{"name":"x"}},"type":"Pods"}]},"status":{"conditions":[{"type":"AbleToScale"}]}}"#;
        let new = Value::parse(text.as_bytes()).unwrap();
        let old = older(&new);
        assert_eq!(old.at(&["spec", "targetCPUUtilizationPercentage"]).as_int(), Some(80));
        assert!(old.at(&["spec", "metrics"]).is_null());
        assert!(old.annotation(METRICS).unwrap().starts_with(r#"[{"pods""#));
        assert_eq!(newer(&old), new);
    }

    #[test]
    fn a_client_of_v1_does_not_write_the_status() {
        let context = Context { now: crate::util::clock::now() };
        let status = r#"{"conditions":[{"type":"AbleToScale"}]}"#;
        let text = format!(
            r#"{{"metadata":{{"name":"h"}},"spec":{{"maxReplicas":3}},"status":{status}}}"#
        );
        let stored = older(&Value::parse(text.as_bytes()).unwrap());
        let forged = r#"{"metadata":{"name":"h","annotations":{"autoscaling.alpha.kubernetes.io/conditions":"[{\"type\":\"Forged\"}]"}},"spec":{"maxReplicas":4}}"#;
        for sent in [forged, r#"{"metadata":{"name":"h"},"spec":{"maxReplicas":4}}"#] {
            let mut object = Value::parse(sent.as_bytes()).unwrap();
            V1.prepare_update(&mut object, &stored, context);
            assert_eq!(newer(&object).get("status").to_string(), status, "{sent}");
        }
    }

    #[test]
    fn bounds_are_checked_in_both_versions() {
        let parse = |text: &str| Value::parse(text.as_bytes()).unwrap();
        let object = parse(
            r#"{"spec":{"scaleTargetRef":{"kind":"D","name":"d"},"minReplicas":3,"maxReplicas":2}}"#,
        );
        for rules in [&V1 as &dyn Rules, &V2] {
            let mut errors = Errors::default();
            rules.validate(&object, &mut errors);
            let causes = errors.into_causes();
            assert_eq!(causes.len(), 1);
            assert!(causes[0].message.ends_with("must be greater than or equal to `minReplicas`"));
        }
    }
}
