//! Whether the rules in CEL of a schema may stand: that they make sense, and that no object can
//! make them cost too much.

use std::sync::Arc;

use crate::api::cel::shape::{Shape, escape};
use crate::api::kinds::check::{At, one_of};
use crate::api::kinds::custom::rules::{FIELD, Rule, field_path};
use crate::api::registry::Errors;
use crate::api::tree::Value;

/// What one rule may cost, on the largest object that fits a request.
const RULE_COST_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost together.
const SCHEMA_COST_MAX: u64 = 100_000_000;
/// The largest request that the estimates reckon with.
const REQUEST_BYTES: u64 = 3 * 1024 * 1024;
/// How many of the dearest rules are named.
const DEAREST: usize = 4;
const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// Reports what is wrong with the rules below `at`, a version's `openAPIV3Schema`.
pub(super) fn check(at: At<'_>, errors: &mut Errors) {
    if !at.value().to_string().contains(FIELD) {
        return;
    }
    let shape = Shape::of(at.value(), "selfType", true).map(Arc::new);
    let mut walk = Walk { errors, total: 0, dearest: Vec::new() };
    let place = Place { count: Some(1), apart: None, shape };
    walk.schema(at, &place, true);
    walk.finish(at);
}

/// Where in the schema we are.
#[derive(Clone)]
struct Place {
    /// How often a value of this schema can stand in an object; none if nothing bounds it.
    count: Option<u64>,
    /// The schema whose parts cannot be found again after an update.
    apart: Option<String>,
    shape: Option<Arc<Shape>>,
}

struct Walk<'e> {
    errors: &'e mut Errors,
    total: u64,
    dearest: Vec<(u64, String)>,
}

impl Walk<'_> {
    fn schema(&mut self, at: At<'_>, place: &Place, root: bool) {
        let embedded = at.get("x-kubernetes-embedded-resource").is_true();
        self.rules(at, at.value(), place, root || embedded);
        let count = place.count.and_then(|count| Some(count.saturating_mul(elements(at.value())?)));
        let below = |shape: Option<Arc<Shape>>, apart| Place { count, apart, shape };
        let inner = place.shape.as_ref().and_then(|shape| shape.inner().cloned());
        let properties = at.field("properties");
        for (name, property) in properties.keys() {
            let shape = match escape(name) {
                Some(_) => place.shape.as_ref().and_then(|shape| shape.field(name).cloned()),
                None => None,
            };
            self.schema(property, &below(shape, place.apart.clone()), false);
        }
        let values = at.field("additionalProperties");
        if values.as_object().is_some() {
            self.schema(values, &below(inner.clone(), place.apart.clone()), false);
        }
        if !at.get("items").is_null() {
            let map = at.get("x-kubernetes-list-type").str() == "map";
            let apart = if map { place.apart.clone() } else { Some(at.to_string()) };
            self.schema(at.field("items"), &below(inner, apart), false);
        }
        for all in at.field("allOf").items() {
            self.rules(all, at.value(), place, root || embedded);
        }
    }

    /// The rules that stand at `at`, about values of `schema`.
    fn rules(&mut self, at: At<'_>, schema: &Value, place: &Place, resource: bool) {
        let list = at.field(FIELD);
        if list.is_empty() {
            return;
        }
        let before = self.errors.len();
        list.items().for_each(|rule| fields(rule, schema, self.errors));
        if self.errors.len() > before {
            return;
        }
        let own = || Shape::of(schema, "selfType", resource).map(Arc::new);
        let Some(shape) = place.shape.clone().or_else(own) else {
            let why = "values of this schema cannot be read by rules";
            return self.errors.forbidden(list, why);
        };
        for rule in list.items() {
            self.rule(rule, &Rule::new(&rule, schema, &shape), place, &shape);
        }
    }

    fn rule(&mut self, at: At<'_>, rule: &Rule, place: &Place, shape: &Shape) {
        let text = at.field("rule");
        match &rule.program {
            Err(why) => self.errors.invalid(text, at.value(), why),
            Ok(program) => {
                let most = REQUEST_BYTES / (shape.size_min + 1);
                let cost = program.cost_max().saturating_mul(place.count.unwrap_or(most));
                self.cost(text, "estimated rule cost", cost);
            }
        }
        let message = at.field("messageExpression");
        match &rule.message {
            Some(Err(why)) => self.errors.invalid(message, at.value(), why),
            Some(Ok(program)) => {
                self.cost(message, "estimated messageExpression cost", program.cost_max());
            }
            None => {}
        }
        if rule.uses_old {
            if let Some(apart) = &place.apart {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within \
                     {apart}"
                );
                self.errors.invalid(text, &text, &why);
            }
        } else if rule.program.is_ok() && !at.get("optionalOldSelf").is_null() {
            let optional = at.field("optionalOldSelf");
            let why = "may not be set if oldSelf is not used in rule";
            self.errors.invalid(optional, &optional, why);
        }
    }

    fn cost(&mut self, at: At<'_>, what: &str, cost: u64) {
        if cost > RULE_COST_MAX {
            self.errors.forbidden(at, &exceeds(what, cost, RULE_COST_MAX));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_COST_MAX / 100 {
            self.dearest.push((cost, at.to_string()));
            self.dearest.sort_by(|(one, _), (other, _)| other.cmp(one));
            self.dearest.truncate(DEAREST);
        }
    }

    fn finish(self, at: At<'_>) {
        if self.total <= SCHEMA_COST_MAX {
            return;
        }
        for (_, path) in self.dearest {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire \
                       OpenAPIv3 schema";
            self.errors.forbidden(path, why);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        self.errors.forbidden(at, &exceeds(what, self.total, SCHEMA_COST_MAX));
    }
}

/// How many values each value of a schema has below it; none if nothing bounds them.
fn elements(schema: &Value) -> Option<u64> {
    let limit = |key: &str| schema.get(key).as_int().map(|n| u64::try_from(n).unwrap_or(0));
    match schema.get("type").str() {
        "object" if !schema.get("additionalProperties").is_null() => limit("maxProperties"),
        "array" => limit("maxItems"),
        _ => Some(1),
    }
}

#[allow(clippy::cast_precision_loss, reason = "a factor is told with one digit")]
fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding \
         maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// The fields of a rule besides what its expressions say.
fn fields(at: At<'_>, schema: &Value, errors: &mut Errors) {
    let lines = |text: &str| text.contains(['\n', '\r']);
    let (rule, message) = (at.field("rule"), at.field("message"));
    if rule.str().trim().is_empty() {
        errors.required(rule, "rule is not specified");
    } else if !message.str().is_empty() && message.str().trim().is_empty() {
        errors.invalid(message, &message, "must be non-empty if specified");
    } else if lines(message.str().trim()) {
        errors.invalid(message, &message, "must not contain line breaks");
    } else if lines(rule.str().trim()) && message.str().trim().is_empty() {
        errors.required(message, "message must be specified if rule contains line breaks");
    }
    let expression = at.field("messageExpression");
    if !expression.str().is_empty() && expression.str().trim().is_empty() {
        errors.required(expression, "messageExpression must be non-empty if specified");
    }
    if !at.get("reason").is_null() {
        one_of(at.field("reason"), REASONS, errors);
    }
    let path = at.field("fieldPath");
    if path.str().is_empty() {
        return;
    }
    if path.str().trim().is_empty() {
        errors.invalid(path, &path, "must be non-empty if specified");
    }
    if lines(path.str()) {
        errors.invalid(path, &path, "must not contain line breaks");
    }
    if field_path(path.str(), schema).is_none() {
        errors.invalid(path, &path, "must be a valid path");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(schema: &str) -> Vec<String> {
        let schema = Value::parse(schema.as_bytes()).unwrap();
        let mut errors = Errors::default();
        check(At::path("s", &schema), &mut errors);
        errors.into_causes().into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    fn spec(schema: &str) -> Vec<String> {
        faults(&format!(r#"{{"type":"object","properties":{{"spec":{schema}}}}}"#))
    }

    #[test]
    fn rules_must_make_sense() {
        let rule = |rule: &str| {
            spec(&format!(
                r#"{{"type":"object","properties":{{"a":{{"type":"integer"}}}},
                    "x-kubernetes-validations":[{rule}]}}"#
            ))
        };
        assert!(rule(r#"{"rule":"self.a > 1"}"#).is_empty());
        let at = "s.properties[spec].x-kubernetes-validations[0]";
        let found = rule(r#"{"rule":"self.b > 1"}"#);
        assert_eq!(
            found,
            [format!(
                "{at}.rule: Invalid value: {{\"rule\":\"self.b > 1\"}}: compilation failed: \
                 ERROR: <input>:1:5: undefined field 'b'\n | self.b > 1\n | ....^"
            )]
        );
        let cases = [
            (r#"{"rule":"self.a"}"#, ".rule: Invalid value", "must evaluate to a bool"),
            (r#"{"rule":" "}"#, ".rule: Required value", "rule is not specified"),
            (r#"{"rule":"true\n&& true"}"#, ".message: Required value", "line breaks"),
            (r#"{"rule":"true","messageExpression":"1"}"#, ".messageExpression", "to a string"),
            (
                r#"{"rule":"true","reason":"Bad"}"#,
                ".reason: Unsupported value",
                "FieldValueInvalid",
            ),
            (r#"{"rule":"true","fieldPath":".x"}"#, ".fieldPath: Invalid value", "valid path"),
            (r#"{"rule":"true","optionalOldSelf":true}"#, ".optionalOldSelf", "may not be set"),
        ];
        for (given, field, why) in cases {
            let found = rule(given);
            assert!(found.len() == 1 && found[0].starts_with(&format!("{at}{field}")), "{found:?}");
            assert!(found[0].contains(why), "{found:?}");
        }
    }

    #[test]
    fn transitions_need_something_to_compare_with() {
        let list = |kind: &str| {
            spec(&format!(
                r#"{{"type":"array","maxItems":10,"x-kubernetes-list-type":"{kind}",
                 "x-kubernetes-list-map-keys":["k"],
                 "items":{{"type":"object","properties":{{"k":{{"type":"string"}}}},
                   "x-kubernetes-validations":[{{"rule":"self.k == oldSelf.k"}}]}}}}"#
            ))
        };
        assert!(list("map").iter().all(|fault| !fault.contains("uncorrelatable")));
        let found = list("atomic");
        assert!(found.iter().any(|fault| fault.contains(
            "oldSelf cannot be used on the uncorrelatable portion of the schema within \
             s.properties[spec]"
        )));
    }

    #[test]
    fn what_can_cost_too_much_is_refused() {
        let nested = |limit: &str| {
            spec(&format!(
                r#"{{"type":"array"{limit},"items":{{"type":"string","maxLength":10}},
                 "x-kubernetes-validations":[{{"rule":"self.all(a, self.all(b, a == b))"}}]}}"#
            ))
        };
        assert!(nested(r#","maxItems":20"#).is_empty());
        let found = nested("");
        assert!(
            found[0].contains("estimated rule cost exceeds budget by factor of more than 100x")
        );
        assert!(found.iter().any(|f| f.contains("rule cost total for entire OpenAPIv3 schema")));
        assert!(found.iter().any(|fault| fault.contains("contributed to estimated rule cost")));
    }
}
