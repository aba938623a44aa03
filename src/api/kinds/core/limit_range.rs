//! LimitRanges: what pods and claims of a namespace may ask for, and what they get unasked.

use crate::api::amounts::Amounts;
use crate::api::kinds::check::At;
use crate::api::kinds::core::pod::{defaults, resources};
use crate::api::kinds::{table, text};
use crate::api::quantity::Quantity;
use crate::api::registry::{Column, Context, Errors, Rules};
use crate::api::tree::Value;

/// The rules of limit ranges.
pub struct LimitRange;

/// The lists of amounts in a limit.
const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

impl Rules for LimitRange {
    fn default(&self, object: &mut Value) {
        let limits = object.entry("spec").get_mut("limits");
        for limit in limits.map(Value::items_mut).unwrap_or_default() {
            for list in LISTS {
                if let Some(list) = limit.get_mut(list) {
                    defaults::amounts(list);
                }
            }
            if limit.get("type").str() == "Container" {
                complete(limit);
            }
        }
    }

    fn names_the_nameless(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        let spec = root.field("spec");
        let mut seen: Vec<&str> = Vec::new();
        for limit in spec.field("limits").items() {
            let kind = limit.value().get("type").str();
            type_name(limit.field("type"), kind, errors);
            if seen.contains(&kind) {
                errors.duplicate(limit.field("type"), &kind.into());
            }
            seen.push(kind);
            names(limit, kind, errors);
            Bounds::of(limit, kind).check(errors);
        }
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        false
    }

    fn columns(&self) -> Vec<Column> {
        table::name_and_created()
    }

    fn row(&self, object: &Value, _context: Context) -> Vec<Value> {
        table::created(object)
    }
}

/// A container gets as a default what it may have at most, and as a request what is its limit by
/// default, or else the least that it must ask for.
fn complete(limit: &mut Value) {
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
    {
        let given = limit.get(from).clone();
        for (name, amount) in given.fields() {
            if limit.at(&[to, name]).is_null() {
                *limit.entry_at(&[to, name]) = amount.clone();
            }
        }
    }
}

fn type_name(at: At<'_>, kind: &str, errors: &mut Errors) {
    let faults = text::label_key(kind);
    for fault in &faults {
        errors.invalid(at, &kind.into(), fault);
    }
    let known = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
    if faults.is_empty() && !kind.contains('/') && !known {
        errors.invalid(at, &kind.into(), "must be a standard limit type or fully qualified");
    }
}

/// The names of the resources, and the lists that there may be.
fn names(limit: At<'_>, kind: &str, errors: &mut Errors) {
    for list in LISTS {
        let at = limit.field(list);
        if kind == "Pod" && list.starts_with("default") {
            if at.fields().next().is_some() {
                errors.forbidden(at, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, amount) in at.keys() {
            match kind {
                "Pod" | "Container" => resources::container_resource(amount, name, errors),
                _ => drop(resources::resource_name(amount, name, errors)),
            }
        }
    }
    let bounded = |list: &str| !limit.at(&[list, "storage"]).is_null();
    if kind == "PersistentVolumeClaim" && !bounded("min") && !bounded("max") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(limit.field("limits"), why);
    }
}

/// The amounts of one limit.
struct Bounds<'a> {
    at: At<'a>,
    max: Amounts,
    min: Amounts,
    default: Amounts,
    request: Amounts,
    ratio: Amounts,
}

impl<'a> Bounds<'a> {
    fn of(at: At<'a>, kind: &str) -> Self {
        let [max, min, mut default, mut request, ratio] =
            LISTS.map(|list| Amounts::of(at.value().get(list)));
        if kind == "Pod" {
            (default, request) = (Amounts::default(), Amounts::default());
        }
        Self { at, max, min, default, request, ratio }
    }

    fn check(&self, errors: &mut Errors) {
        let lists = [&self.max, &self.min, &self.default, &self.request, &self.ratio];
        let mut names: Vec<&str> =
            lists.iter().flat_map(|list| list.iter()).map(|(n, _)| n).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.order(name, errors);
            self.ratio(name, errors);
            self.whole(name, errors);
        }
    }

    /// The least is not above the most, and defaults lie between.
    fn order(&self, name: &str, errors: &mut Errors) {
        let (min, max) = (self.min.get(name), self.max.get(name));
        let (default, request) = (self.default.get(name), self.request.get(name));
        // A lower and an upper amount with their names, and the list and amount that are blamed.
        let pairs = [
            ((min, "min value"), (max, "max value"), ("min", min)),
            ((min, "min value"), (request, "default request value"), ("defaultRequest", request)),
            ((request, "default request value"), (max, "max value"), ("defaultRequest", request)),
            (
                (request, "default request value"),
                (default, "default limit value"),
                ("defaultRequest", request),
            ),
            ((min, "min value"), (default, "default value"), ("default", min)),
            ((default, "default value"), (max, "max value"), ("default", max)),
        ];
        for ((low, low_name), (high, high_name), (list, blamed)) in pairs {
            let (Some(low), Some(high), Some(blamed)) = (low, high, blamed) else { continue };
            if low > high {
                let why = format!("{low_name} {low} is greater than {high_name} {high}");
                self.blame(list, name, blamed, &why, errors);
            }
        }
    }

    fn ratio(&self, name: &str, errors: &mut Errors) {
        let Some(ratio) = self.ratio.get(name) else { return };
        if ratio < Quantity::whole(1) {
            let why = format!("ratio {ratio} is less than 1");
            self.blame("maxLimitRequestRatio", name, ratio, &why, errors);
        }
        let (Some(min), Some(max)) = (self.min.get(name), self.max.get(name)) else { return };
        let most = max.ratio_to(min);
        if ratio.ratio_to(Quantity::whole(1)) > most {
            let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
            self.blame("maxLimitRequestRatio", name, ratio, &why, errors);
        }
    }

    /// Of what cannot be promised twice, the default request is the default limit.
    fn whole(&self, name: &str, errors: &mut Errors) {
        let (Some(default), Some(request)) = (self.default.get(name), self.request.get(name))
        else {
            return;
        };
        if !resources::is_overcommitted(name) && default != request {
            let why = format!(
                "default value {default} must equal to defaultRequest value {request} in {name}"
            );
            self.blame("defaultRequest", name, request, &why, errors);
        }
    }

    fn blame(&self, list: &str, name: &str, amount: Quantity, why: &str, errors: &mut Errors) {
        let list = self.at.field(list);
        errors.invalid(list.key(name), &amount.to_string().into(), why);
    }
}
