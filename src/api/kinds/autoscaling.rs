//! HorizontalPodAutoscalers in both versions over one stored object, which is v2's. Nothing in rk
//! scales by them yet.

mod rules;
mod v1;

use super::fallback::Fallback;
use super::table::{AGE, NAME};
use super::tabled::{Cell, Tabled};
use super::text::Format;
use crate::api::registry::{Column, Context, Errors, Rules};
use crate::api::tree::Value;
use v1::{newer, older};

/// The share of the processor that is aimed at where nothing is said.
const DEFAULT_UTILIZATION: i64 = 80;
/// How many metrics a row shows.
const SHOWN_MAX: usize = 2;

/// Version 2.
pub const V2: Tabled = Tabled {
    defaults: &[
        ("spec.minReplicas", Fallback::NumberIfAbsent(1)),
        ("status.desiredReplicas", Fallback::NumberIfAbsent(0)),
        ("status.currentMetrics", Fallback::Null),
    ],
    complete,
    check: rules::check,
    check_create: rules::new_versions,
    check_update: rules::changed_versions,
    status: true,
    generations: true,
    columns: &[
        (NAME, Cell::Name),
        (("Reference", "string", 0, "What is scaled."), Cell::Made(reference)),
        (("Targets", "string", 0, "The metrics, and what they are to be."), Cell::Made(targets)),
        (("MinPods", "string", 0, "The fewest pods."), Cell::Made(least)),
        (("MaxPods", "string", 0, "The most pods."), Cell::At("spec.maxReplicas")),
        (("Replicas", "string", 0, "The pods there are."), Cell::Made(current)),
        (AGE, Cell::Age),
    ],
    unserved: "rk stores HorizontalPodAutoscalers, but does not scale by them yet",
    ..Tabled::PLAIN
};

/// The metric of an autoscaler that names none.
fn default_metric() -> Value {
    let target = Value::from([
        ("averageUtilization", DEFAULT_UTILIZATION.into()),
        ("type", "Utilization".into()),
    ]);
    let resource = Value::from([("name", "cpu".into()), ("target", target)]);
    Value::from([("type", "Resource".into()), ("resource", resource)])
}

/// A metric where there is none, and all of how fast it scales where anything of that is given.
fn complete(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    if spec.get("metrics").is_empty() {
        spec.set("metrics", vec![default_metric()]);
    }
    let Some(behavior) = spec.get_mut("behavior").filter(|given| given.as_object().is_some())
    else {
        return;
    };
    let policy = |ty: &str, value: i64| {
        Value::from([("type", ty.into()), ("value", value.into()), ("periodSeconds", 15.into())])
    };
    let up = behavior.entry("scaleUp");
    if up.get("stabilizationWindowSeconds").is_null() {
        up.set("stabilizationWindowSeconds", 0);
    }
    if up.get("policies").is_null() {
        up.set("policies", vec![policy("Pods", 4), policy("Percent", 100)]);
    }
    let down = behavior.entry("scaleDown");
    if down.get("policies").is_null() {
        down.set("policies", vec![policy("Percent", 100)]);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = behavior.entry(direction);
        if rules.get("selectPolicy").is_null() {
            rules.set("selectPolicy", "Max");
        }
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

/// `cpu: <unknown>/80%`, one for each metric, but only so many.
fn targets(object: &Value) -> Value {
    let metrics = object.at(&["spec", "metrics"]).items();
    let now = object.at(&["status", "currentMetrics"]).items();
    let one = |(at, metric): (usize, &Value)| target(metric, now.get(at).unwrap_or(&Value::Null));
    let shown: Vec<String> = metrics.iter().enumerate().map(one).take(SHOWN_MAX).collect();
    match metrics.len() {
        0 => "<none>".into(),
        count if count > SHOWN_MAX => {
            format!("{} + {} more...", shown.join(", "), count - SHOWN_MAX).into()
        }
        _ => shown.join(", ").into(),
    }
}

fn target(metric: &Value, now: &Value) -> String {
    let field = match metric.get("type").str() {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (source, measured) = (metric.get(field), now.get(field));
    let (wanted, current) = (source.get("target"), measured.get("current"));
    // What a metric of this kind must have is shown as upstream shows what it lacks.
    let amount = |of: &Value, name: &str| match of.get(name).as_str() {
        Some(text) => text.to_owned(),
        None => "<nil>".to_owned(),
    };
    let found = |name: &str, known: bool| match known {
        true => amount(current, name),
        false => "<unknown>".to_owned(),
    };
    let averaged = !wanted.get("averageValue").is_null();
    let average = amount(wanted, "averageValue");
    match field {
        "pods" => format!("{}/{average}", found("averageValue", !measured.is_null())),
        "external" | "object" if averaged => {
            let known = !current.get("averageValue").is_null();
            format!("{}/{average} (avg)", found("averageValue", known))
        }
        "external" | "object" => {
            format!("{}/{}", found("value", !measured.is_null()), amount(wanted, "value"))
        }
        _ if averaged => {
            let name = source.get("name").str();
            format!("{name}: {}/{average}", found("averageValue", !measured.is_null()))
        }
        _ => {
            let share = |of: &Value, other: &str| match of.get("averageUtilization").as_int() {
                Some(percent) => format!("{percent}%"),
                None => other.to_owned(),
            };
            let name = source.get("name").str();
            format!("{name}: {}/{}", share(current, "<unknown>"), share(wanted, "<auto>"))
        }
    }
}

/// Version 1.
pub struct V1;

impl Rules for V1 {
    fn name_format(&self) -> Format {
        V2.name_format()
    }

    fn default(&self, object: &mut Value) {
        super::fallback::apply(
            object,
            &[
                ("spec.minReplicas", Fallback::NumberIfAbsent(1)),
                ("status.currentReplicas", Fallback::NumberIfAbsent(0)),
                ("status.desiredReplicas", Fallback::NumberIfAbsent(0)),
            ],
        );
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        let mut new = newer(object);
        new.set("status", Value::object());
        *object = older(&new);
        self.default(object);
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

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        V2.validate_update(&newer(object), &newer(old), errors);
    }

    fn counts_generations(&self, object: &Value) -> bool {
        V2.counts_generations(object)
    }

    fn raises_generation(&self, object: &Value, old: &Value) -> bool {
        V2.raises_generation(&newer(object), &newer(old))
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        V2.warnings(object, old)
    }

    fn to_storage(&self, object: &mut Value) {
        *object = newer(object);
        V2.default(object);
    }

    fn of_storage(&self, object: &mut Value) {
        *object = older(object);
        self.default(object);
    }

    fn converts(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        V2.columns()
    }

    fn row_metadata(&self, metadata: &mut Value) {
        v1::forget(metadata);
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        V2.row(&newer(object), context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            r#"{"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"D","name":"d"},
                "minReplicas":3,"maxReplicas":2}}"#,
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
