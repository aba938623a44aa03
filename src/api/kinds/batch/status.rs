//! What a job's status may say, and how it may change: whoever runs a job is held to it.

use super::holds;
use super::indexes::Indexes;
use crate::api::kinds::check::{self, At};
use crate::api::registry::Errors;
use crate::api::time;
use crate::api::tree::Value;

/// A job's status beside the one before.
struct Change<'a> {
    spec: &'a Value,
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn is(&self, condition: &str) -> bool {
        holds(self.new, condition)
    }

    fn was(&self, condition: &str) -> bool {
        holds(self.old, condition)
    }

    /// Whether a condition came or went.
    fn turned(&self, condition: &str) -> bool {
        self.is(condition) != self.was(condition)
    }

    fn changed(&self, field: &str) -> bool {
        self.new.get(field) != self.old.get(field)
    }

    fn count(status: &Value, field: &str) -> i64 {
        status.get(field).as_int().unwrap_or(0)
    }

    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn finish_turned(&self) -> bool {
        self.is_finished() != (self.was("Complete") || self.was("Failed"))
    }

    fn is_indexed(&self) -> bool {
        self.spec.get("completionMode").str() == "Indexed"
    }
}

/// Checks an update of a job's status.
pub(super) fn validate(job: &Value, old: &Value, errors: &mut Errors) {
    let root = At::root(job);
    let status = root.field("status");
    let change = Change { spec: job.get("spec"), new: job.get("status"), old: old.get("status") };
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        check::not_negative(status.field(field), errors);
    }
    uncounted(status.field("uncountedTerminatedPods"), errors);
    counters(&change, status, errors);
    conditions(&change, status.field("conditions"), errors);
    completion(&change, status, errors);
    finished(&change, status, errors);
    start(&change, status.field("startTime"), errors);
    indexes(&change, status, errors);
}

fn uncounted(at: At<'_>, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for list in ["succeeded", "failed"] {
        for item in at.field(list).items() {
            let uid = item.str();
            if uid.is_empty() {
                errors.invalid(item, &item, "must not be empty");
            } else if seen.iter().any(|other| other == uid) {
                errors.duplicate(item, &item);
            } else {
                seen.push(uid.to_owned());
            }
        }
    }
}

fn counters(change: &Change<'_>, status: At<'_>, errors: &mut Errors) {
    let mut shrinks = |field: &str| {
        let now = Change::count(change.new, field);
        if now < Change::count(change.old, field) {
            let why = format!("cannot decrease the {field} counter");
            errors.invalid(status.field(field), &now.into(), &why);
        }
    };
    shrinks("failed");
    let elastic = change.spec.get("completions") == change.spec.get("parallelism");
    if !change.is_indexed() || !elastic {
        shrinks("succeeded");
    }
    let ready = status.field("ready");
    let more = Change::count(change.new, "ready") > Change::count(change.new, "active");
    if more && (change.changed("ready") || change.changed("active")) {
        errors.invalid(ready, &ready, "cannot set more ready pods than active");
    }
}

fn conditions(change: &Change<'_>, at: At<'_>, errors: &mut Errors) {
    let mut fault = |is: bool, why: &str| {
        if is {
            errors.invalid_unshown(at, why);
        }
    };
    let (complete, failed) = (change.is("Complete"), change.is("Failed"));
    let (target, met) = (change.is("FailureTarget"), change.is("SuccessCriteriaMet"));
    for terminal in ["Failed", "Complete", "FailureTarget"] {
        let lost = change.was(terminal) && !change.is(terminal);
        fault(lost, &format!("cannot disable the terminal {terminal}=True condition"));
    }
    let lost = change.was("SuccessCriteriaMet") && !met;
    fault(lost, "cannot disable the SuccessCriteriaMet=True condition");
    fault(
        change.was("Complete") && !change.was("SuccessCriteriaMet") && met,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
    );
    let turned = change.turned("Complete") || change.turned("Failed");
    fault(complete && failed && turned, "cannot set Complete=True and Failed=true conditions");
    let turned = change.turned("Complete") || change.turned("FailureTarget");
    let why = "cannot set Complete=True and FailureTarget=true conditions";
    fault(complete && target && turned, why);
    let turned = change.turned("Failed") || change.changed("failedIndexes");
    let why = "cannot set Failed=True condition without the FailureTarget=true condition";
    fault(failed && !target && turned, why);
    let turned = change.turned("Complete") || change.turned("SuccessCriteriaMet");
    let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
    fault(complete && !met && turned, why);
    fault(met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    fault(met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    let policy = !change.spec.get("successPolicy").is_null();
    let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
    fault(policy && complete && !met, why);
}

fn completion(change: &Change<'_>, status: At<'_>, errors: &mut Errors) {
    let at = status.field("completionTime");
    let complete = change.is("Complete");
    if change.turned("Complete") || change.changed("completionTime") {
        match (at.is_null(), complete) {
            (false, false) => {
                let why = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid(at, &at, why);
            }
            (true, true) => errors.required(at, "completionTime is required for Complete jobs"),
            _ => {}
        }
    }
    let both = !at.is_null() && !change.old.get("completionTime").is_null();
    if both && change.changed("completionTime") {
        errors.invalid(at, &at, "field is immutable");
    }
    let times = [change.new.get("startTime"), at.value()].map(|t| time::parse(t.str()));
    let dated = change.changed("startTime") || change.changed("completionTime");
    if let [Some(start), Some(end)] = times
        && end < start
        && dated
    {
        errors.invalid(at, &at, "must be equal to or after `startTime`");
    }
}

fn finished(change: &Change<'_>, status: At<'_>, errors: &mut Errors) {
    if !change.is_finished() {
        return;
    }
    for field in ["active", "terminating"] {
        let at = status.field(field);
        let counted = Change::count(change.new, field) > 0;
        if counted && (change.finish_turned() || change.changed(field)) {
            errors.invalid(at, &at, &format!("{field}>0 is invalid for finished job"));
        }
    }
    let start = status.field("startTime");
    let nothing =
        change.spec.get("suspend").is_true() && change.spec.get("completions").as_int() == Some(0);
    let turned = change.finish_turned() || change.changed("startTime");
    if start.is_null() && turned && !nothing {
        errors.required(start, "startTime is required for finished job");
    }
    let pods = status.field("uncountedTerminatedPods");
    let some = !pods.get("succeeded").is_empty() || !pods.get("failed").is_empty();
    if some && (change.finish_turned() || change.changed("uncountedTerminatedPods")) {
        errors.invalid(pods, &pods, "must be empty for finished job");
    }
}

fn start(change: &Change<'_>, at: At<'_>, errors: &mut Errors) {
    let resumed = {
        let mut conditions = change.new.get("conditions").items().iter();
        let is_false =
            |c: &Value| c.get("type").str() == "Suspended" && c.get("status").str() == "False";
        change.was("Suspended") && conditions.any(is_false)
    };
    let moved = !change.old.get("startTime").is_null() && change.changed("startTime");
    if moved && !resumed && !change.spec.get("suspend").is_true() {
        errors.invalid(at, &at, "field is immutable for unsuspended job once set");
    }
}

fn indexes(change: &Change<'_>, status: At<'_>, errors: &mut Errors) {
    let (completed, failed) = (status.field("completedIndexes"), status.field("failedIndexes"));
    let completions = change.spec.get("completions").as_int();
    let per_index = !change.spec.get("backoffLimitPerIndex").is_null();
    let mut parse = |at: At<'_>, name: &str, wanted: bool| {
        let parsed = Indexes::parse(at.value().str(), completions.unwrap_or(0));
        if let Err(why) = parsed.as_ref()
            && change.changed(name)
            && wanted
            && completions.is_some()
        {
            errors.invalid(at, &at, &format!("error parsing {name}: {why}"));
        }
        parsed.unwrap_or_default()
    };
    let done = parse(completed, "completedIndexes", true);
    let lost = parse(failed, "failedIndexes", per_index);
    if change.changed("completedIndexes") && !completed.is_empty() && !change.is_indexed() {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(completed, &completed, why);
    }
    if change.changed("failedIndexes") && !failed.is_null() && !per_index {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(failed, &failed, why);
    }
    let turned = change.changed("failedIndexes") || change.changed("completedIndexes");
    if let Some(index) = done.first_common(&lost).filter(|_| turned && completions.is_some()) {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(failed, &failed, &why);
    }
}
