//! Version 1 over the object of version 2: what it has no fields for is in annotations, metrics in
//! version 1's own form and behavior in that of upstream's unversioned types.
//!
//! An annotation that cannot be read says nothing, and goes.

use crate::api::kinds::autoscaling::default_metric;
use crate::api::meta::Meta;
use crate::api::quantity::Quantity;
use crate::api::tree::Value;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// All annotations that stand for fields, with two that older servers made.
const KEPT: &[&str] = &[
    METRICS,
    CURRENT,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// The kinds of metrics: how their field is called.
const SOURCES: &[&str] = &["object", "pods", "resource", "containerResource", "external"];

/// What says of whom a resource is measured, the same in both versions.
const IDENTITY: &[&str] = &["name", "container"];

/// An object of v1 as one of v2.
pub(super) fn newer(object: &Value) -> Value {
    let mut new = object.clone();
    let kept = |key: &str| {
        let text = object.annotation(key)?;
        Value::parse(text.as_bytes()).ok()
    };
    let list = |key: &str, measured: bool| {
        let list = kept(key)?;
        let items = listed(&list)?.iter();
        items.map(|metric| metric_from_v1(metric, measured)).collect::<Option<Vec<Value>>>()
    };
    let spec = new.entry("spec");
    let mut metrics = list(METRICS, false).unwrap_or_default();
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").as_int() {
        metrics.push(cpu("target", percent));
    }
    spec.remove("metrics");
    if metrics.is_empty() {
        metrics.push(default_metric());
    }
    spec.set("metrics", metrics);
    if let Some(behavior) = kept(BEHAVIOR).and_then(|given| behavior_from_v1(&given)) {
        spec.set("behavior", behavior);
    }
    if let Some(status) = new.get_mut("status") {
        let percent = status.remove("currentCPUUtilizationPercentage").as_int();
        let now = percent.map(|percent| vec![cpu("current", percent)]);
        if let Some(now) = list(CURRENT, true).or(now) {
            status.set("currentMetrics", now);
        }
        if let Some(conditions) = kept(CONDITIONS).filter(|list| listed(list).is_some()) {
            status.set("conditions", conditions);
        }
    }
    forget(new.entry("metadata"));
    new
}

/// An object of v2 as one of v1.
pub(super) fn older(object: &Value) -> Value {
    let mut old = object.clone();
    forget(old.entry("metadata"));
    let mut keep: Vec<(&str, String)> = Vec::new();
    let spec = old.entry("spec");
    let (metrics, behavior) = (spec.remove("metrics"), spec.remove("behavior"));
    let (shares, others): (Vec<&Value>, Vec<&Value>) =
        metrics.items().iter().partition(|metric| share(metric, "target").is_some());
    if let Some(percent) = shares.first().and_then(|metric| share(metric, "target")) {
        spec.set("targetCPUUtilizationPercentage", percent);
    }
    let text = |list: Vec<Value>| written(&Value::from(list));
    if !others.is_empty() {
        keep.push((METRICS, text(others.into_iter().map(|m| metric_to_v1(m, false)).collect())));
    }
    if !behavior.is_null() {
        keep.push((BEHAVIOR, behavior_to_v1(&behavior)));
    }
    if let Some(status) = old.get_mut("status") {
        let (now, conditions) = (status.remove("currentMetrics"), status.remove("conditions"));
        let last = now.items().iter().filter_map(|metric| share(metric, "current")).next_back();
        if let Some(percent) = last {
            status.set("currentCPUUtilizationPercentage", percent);
        }
        if !now.is_empty() {
            keep.push((CURRENT, text(now.items().iter().map(|m| metric_to_v1(m, true)).collect())));
        }
        if !conditions.is_empty() {
            keep.push((CONDITIONS, written(&conditions)));
        }
    }
    for (key, value) in keep {
        old.entry_at(&["metadata", "annotations"]).set(key, value);
    }
    old
}

/// Drops from an object's metadata the annotations that stand for fields.
pub(super) fn forget(metadata: &mut Value) {
    let Some(annotations) = metadata.get_mut("annotations") else { return };
    KEPT.iter().for_each(|key| drop(annotations.remove(key)));
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
}

/// The metric that v1 has a field for.
fn cpu(what: &str, percent: i64) -> Value {
    let mut amounts = Value::from([("averageUtilization", percent.into())]);
    if what == "target" {
        amounts.set("type", "Utilization");
    }
    let resource = Value::from([("name", "cpu".into()), (what, amounts)]);
    Value::from([("type", "Resource".into()), ("resource", resource)])
}

fn share(metric: &Value, what: &str) -> Option<i64> {
    let resource = metric.get("resource");
    let is_cpu = metric.get("type").str() == "Resource" && resource.get("name").str() == "cpu";
    is_cpu.then(|| resource.at(&[what, "averageUtilization"]).as_int()).flatten()
}

/// Copies a value under another name if it is there.
fn carry(from: &Value, to: &mut Value, name: &str) {
    if !from.is_null() {
        to.set(name, from.clone());
    }
}

/// What the amounts of a source are called in v1: the whole, the average, the share.
const fn names(source: &str, measured: bool) -> (&'static str, &'static str, &'static str) {
    match (source.as_bytes()[0], measured) {
        (b'o', false) => ("targetValue", "averageValue", ""),
        (b'o', true) => ("currentValue", "averageValue", ""),
        (_, false) => ("targetValue", "targetAverageValue", "targetAverageUtilization"),
        (_, true) => ("currentValue", "currentAverageValue", "currentAverageUtilization"),
    }
}

/// What v1 cannot leave out of a source.
fn always(source: &str, measured: bool) -> Option<&'static str> {
    match (source, measured) {
        ("object", false) => Some("targetValue"),
        ("object" | "external", true) => Some("currentValue"),
        ("pods", false) => Some("targetAverageValue"),
        ("pods" | "resource" | "containerResource", true) => Some("currentAverageValue"),
        _ => None,
    }
}

const fn selector_of(source: &str) -> &'static str {
    if source.as_bytes()[0] == b'e' { "metricSelector" } else { "selector" }
}

fn metric_to_v1(metric: &Value, measured: bool) -> Value {
    let mut out = Value::from([("type", metric.get("type").clone())]);
    let what = if measured { "current" } else { "target" };
    for source in SOURCES {
        let given = metric.get(source);
        if given.is_null() {
            continue;
        }
        let mut made = Value::object();
        IDENTITY.iter().for_each(|field| carry(given.get(field), &mut made, field));
        carry(given.get("describedObject"), &mut made, "target");
        carry(given.at(&["metric", "name"]), &mut made, "metricName");
        carry(given.at(&["metric", "selector"]), &mut made, selector_of(source));
        let (whole, average, share) = names(source, measured);
        let amounts = given.get(what);
        for (field, name) in
            [("value", whole), ("averageValue", average), ("averageUtilization", share)]
        {
            carry(amounts.get(field), &mut made, name);
        }
        if let Some(name) = always(source, measured).filter(|name| made.get(name).is_null()) {
            made.set(name, "0");
        }
        out.set(source, made);
    }
    out
}

/// None where v1 could not read it.
fn metric_from_v1(metric: &Value, measured: bool) -> Option<Value> {
    metric.as_object()?;
    let mut out = Value::object();
    carry(&texted(metric.get("type"))?, &mut out, "type");
    for source in SOURCES {
        let given = metric.get(source);
        if given.is_null() {
            continue;
        }
        given.as_object()?;
        out.set(source, source_from_v1(source, given, measured)?);
    }
    Some(out)
}

fn source_from_v1(source: &str, given: &Value, measured: bool) -> Option<Value> {
    let (whole, average, share) = names(source, measured);
    let mut made = Value::object();
    if source.ends_with("esource") {
        for field in IDENTITY {
            carry(&texted(given.get(field))?, &mut made, field);
        }
    } else {
        let mut metric = Value::object();
        carry(&texted(given.get("metricName"))?, &mut metric, "name");
        carry(given.get(selector_of(source)), &mut metric, "selector");
        made.set("metric", metric);
    }
    if source == "object" {
        carry(given.get("target"), &mut made, "describedObject");
    }
    let mut value = amount(given.get(whole))?;
    let average = amount(given.get(average))?;
    let percent = given.get(share);
    let ty = match source {
        "object" if average.is_null() => "Value",
        "external" if !value.is_null() => "Value",
        "resource" | "containerResource" if !percent.is_null() => "Utilization",
        _ => "AverageValue",
    };
    // What v1 cannot leave out says nothing where it is 0 beside an average.
    if source == "object" && !measured && !average.is_null() && value.str() == "0" {
        value = Value::Null;
    }
    let mut amounts = Value::object();
    if !measured {
        amounts.set("type", ty);
    }
    carry(&value, &mut amounts, "value");
    carry(&average, &mut amounts, "averageValue");
    if source.ends_with("esource") && !percent.is_null() {
        amounts.set("averageUtilization", percent.as_int()?);
    }
    let what = if measured { "current" } else { "target" };
    if let Some(name) = always(source, measured).filter(|name| given.get(name).is_null()) {
        let field = if name.ends_with("AverageValue") { "averageValue" } else { "value" };
        let zero = !(source == "object" && !measured && !average.is_null());
        if zero {
            amounts.set(field, "0");
        }
    }
    made.set(what, amounts);
    Some(made)
}

/// A text, or nothing; none for what is neither.
fn texted(value: &Value) -> Option<Value> {
    (value.is_null() || value.as_str().is_some()).then(|| value.clone())
}

/// An amount in its canonical form, or nothing; none for what is neither.
fn amount(value: &Value) -> Option<Value> {
    if value.is_null() {
        return Some(Value::Null);
    }
    Quantity::of(value).ok().map(|amount| amount.to_string().into())
}

/// How behavior is written in v1: by upstream's names of fields, all of them, in this order.
const DIRECTION: &[(&str, &str)] = &[
    ("StabilizationWindowSeconds", "stabilizationWindowSeconds"),
    ("SelectPolicy", "selectPolicy"),
    ("Policies", "policies"),
    ("Tolerance", "tolerance"),
];
const POLICY: &[(&str, &str)] =
    &[("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];

fn behavior_to_v1(behavior: &Value) -> String {
    let fields = |value: &Value, table: &[(&str, &str)], inner: &dyn Fn(&Value) -> String| {
        let one = |(name, field): &(&str, &str)| format!("\"{name}\":{}", inner(value.get(field)));
        format!("{{{}}}", table.iter().map(one).collect::<Vec<_>>().join(","))
    };
    let policy = |value: &Value| fields(value, POLICY, &Value::to_string);
    let part = |value: &Value| match listed(value) {
        Some(list) => format!("[{}]", list.iter().map(policy).collect::<Vec<_>>().join(",")),
        None => value.to_string(),
    };
    let direction = |value: &Value| match value.is_null() {
        true => "null".to_owned(),
        false => fields(value, DIRECTION, &part),
    };
    fields(behavior, &[("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")], &direction)
}

/// None where there is nothing, or where it cannot be read.
fn behavior_from_v1(given: &Value) -> Option<Value> {
    given.as_object()?;
    let mut out = Value::object();
    for field in ["scaleUp", "scaleDown"] {
        let given = found(given, field);
        if !given.is_null() {
            out.set(field, direction_from_v1(given)?);
        }
    }
    (!out.is_empty()).then_some(out)
}

fn direction_from_v1(given: &Value) -> Option<Value> {
    given.as_object()?;
    let mut out = Value::object();
    let window = "stabilizationWindowSeconds";
    carry(&counted(found(given, window))?, &mut out, window);
    carry(&texted(found(given, "selectPolicy"))?, &mut out, "selectPolicy");
    let policies = found(given, "policies");
    if !policies.is_null() {
        let policies = listed(policies)?.iter().map(policy_from_v1);
        out.set("policies", policies.collect::<Option<Vec<Value>>>()?);
    }
    carry(&amount(found(given, "tolerance"))?, &mut out, "tolerance");
    Some(out)
}

fn policy_from_v1(given: &Value) -> Option<Value> {
    given.as_object()?;
    let mut out = Value::object();
    carry(&texted(found(given, "type"))?, &mut out, "type");
    for field in ["value", "periodSeconds"] {
        carry(&counted(found(given, field))?, &mut out, field);
    }
    Some(out)
}

/// A field by its name in any case, as upstream reads it.
fn found<'v>(value: &'v Value, name: &str) -> &'v Value {
    let mut fields = value.fields();
    let field = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
    field.map_or(&Value::Null, |(_, found)| found)
}

fn listed(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// A whole number, or nothing; none for what is neither.
fn counted(value: &Value) -> Option<Value> {
    (value.is_null() || value.as_int().is_some()).then(|| value.clone())
}

/// The order in which v1 writes fields.
const ORDER: &[&str] = &[
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "observedGeneration",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "target",
    "kind",
    "name",
    "apiVersion",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "targetAverageValue",
    "currentAverageValue",
    "container",
    "selector",
    "averageValue",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
];

/// A value in JSON with its fields in v1's order.
fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(","))
        }
        Value::Object(_) => {
            let place = |key: &str| ORDER.iter().position(|known| *known == key);
            let mut fields: Vec<(&str, &Value)> = value.fields().collect();
            fields.sort_by_key(|(key, _)| place(key).unwrap_or(ORDER.len()));
            let one = |(key, value): &(&str, &Value)| {
                let value = if *key == "matchLabels" { value.to_string() } else { written(value) };
                format!("\"{key}\":{value}")
            };
            format!("{{{}}}", fields.iter().map(one).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_v1_cannot_say_is_in_its_annotations() {
        let text = r#"{"metadata":{"name":"h"},"spec":{"behavior":{"scaleUp":{"selectPolicy":"Min"}},"maxReplicas":3,"metrics":[{"pods":{"metric":{"name":"x"},"target":{"averageValue":"1","type":"AverageValue"}},"type":"Pods"},{"resource":{"name":"cpu","target":{"averageUtilization":80,"type":"Utilization"}},"type":"Resource"}]},"status":{"conditions":[{"type":"AbleToScale"}]}}"#;
        let new = parse(text);
        let old = older(&new);
        assert_eq!(old.at(&["spec", "targetCPUUtilizationPercentage"]).as_int(), Some(80));
        assert!(old.at(&["spec", "metrics"]).is_null());
        let metrics = r#"[{"type":"Pods","pods":{"metricName":"x","targetAverageValue":"1"}}]"#;
        assert_eq!(old.annotation(METRICS).unwrap(), metrics);
        let behavior = r#"{"ScaleUp":{"StabilizationWindowSeconds":null,"SelectPolicy":"Min","Policies":null,"Tolerance":null},"ScaleDown":null}"#;
        assert_eq!(old.annotation(BEHAVIOR).unwrap(), behavior);
        assert_eq!(newer(&old), new);
    }

    #[test]
    fn annotations_that_cannot_be_read_say_nothing() {
        for text in ["{", "1", "[1]", r#"[{"type":1}]"#, r#"[{"pods":{"targetAverageValue":"x"}}]"#]
        {
            let mut object = parse(r#"{"metadata":{"name":"h"},"spec":{"maxReplicas":3}}"#);
            object.entry_at(&["metadata", "annotations"]).set(METRICS, text);
            let new = newer(&object);
            assert_eq!(new.at(&["spec", "metrics"]).items(), [default_metric()], "{text}");
            assert!(new.metadata().get("annotations").is_null());
        }
    }
}
