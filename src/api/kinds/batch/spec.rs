//! The rules of a job's spec, which jobs and the templates of cron jobs share.

use super::{domain_prefixed, policy};
use crate::api::kinds::check::{self, At, Rule};
use crate::api::kinds::core::pod;
use crate::api::kinds::{not_yet, selector as selectors, text};
use crate::api::meta::Meta;
use crate::api::registry::Errors;
use crate::api::selector::LabelSelector;
use crate::api::tree::Value;

/// More pods at a time or failed indexes would make `completedIndexes` too long.
const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// Jobs with more completions than this are held to the bounds below.
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const PARALLELISM_MAX_OF_MANY: i64 = 10_000;
const FAILED_INDEXES_MAX_OF_MANY: i64 = 10_000;
const MANAGED_BY_BYTES_MAX: usize = 63;

const RULES: &[(&str, Rule)] = &[
    ("parallelism", Rule::NotNegative),
    ("completions", Rule::NotNegative),
    ("activeDeadlineSeconds", Rule::NotNegative),
    ("backoffLimit", Rule::NotNegative),
    ("ttlSecondsAfterFinished", Rule::NotNegative),
    ("backoffLimitPerIndex", Rule::NotNegative),
    ("maxFailedIndexes", Rule::NotNegative),
    ("managedBy", Rule::Each(managed_by)),
    ("completionMode", Rule::OneOf(&["NonIndexed", "Indexed"])),
];

/// Checks a job's spec but for its selector.
pub(super) fn validate(spec: At<'_>, errors: &mut Errors) {
    check::apply(RULES, spec, errors);
    let per_index = spec.field("backoffLimitPerIndex");
    if !spec.get("maxFailedIndexes").is_null() && per_index.is_null() {
        errors.required(per_index, "when maxFailedIndexes is specified");
    }
    match spec.get("completionMode").str() {
        "Indexed" => indexed(spec, errors),
        "NonIndexed" | "" => {
            for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                let at = spec.field(name);
                if !at.is_null() {
                    errors.invalid(at, &at, "requires indexed completion mode");
                }
            }
        }
        _ => {}
    }
    policies(spec, errors);
    pods(spec, errors);
    not_yet::refuse(not_yet::JOB, spec, errors);
}

fn managed_by(at: At<'_>, errors: &mut Errors) {
    domain_prefixed(at, errors);
    if at.str().len() > MANAGED_BY_BYTES_MAX {
        errors.too_long(at, MANAGED_BY_BYTES_MAX);
    }
}

fn indexed(spec: At<'_>, errors: &mut Errors) {
    let (completions, parallelism) = (spec.field("completions"), spec.field("parallelism"));
    let failures = spec.field("maxFailedIndexes");
    if completions.is_null() {
        errors.required(completions, "when completion mode is Indexed");
    }
    let mut at_most = |at: At<'_>, bound: i64, why: &str| {
        if at.as_int().is_some_and(|n| n > bound) {
            errors.invalid(at, &at, &format!("must be less than or equal to {why}"));
        }
    };
    let mode = format!("{PARALLELISM_MAX} when completion mode is Indexed");
    at_most(parallelism, PARALLELISM_MAX, &mode);
    at_most(failures, completions.as_int().unwrap_or(i64::MAX), "completions");
    at_most(failures, FAILED_INDEXES_MAX, &FAILED_INDEXES_MAX.to_string());
    let many = completions.as_int().is_some_and(|n| n > COMPLETIONS_SOFT_MAX);
    if !many || spec.get("backoffLimitPerIndex").is_null() {
        return;
    }
    let when = format!(
        "when completions are above {COMPLETIONS_SOFT_MAX} and used with backoff limit per index"
    );
    at_most(parallelism, PARALLELISM_MAX_OF_MANY, &format!("{PARALLELISM_MAX_OF_MANY} {when}"));
    let of_many = format!("{FAILED_INDEXES_MAX_OF_MANY} {when}");
    at_most(failures, FAILED_INDEXES_MAX_OF_MANY, &of_many);
    if failures.is_null() {
        let why = format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}");
        errors.required(failures, &why);
    }
}

fn policies(spec: At<'_>, errors: &mut Errors) {
    let (failure, success) = (spec.field("podFailurePolicy"), spec.field("successPolicy"));
    let replacement = spec.field("podReplacementPolicy");
    let known: &[&str] =
        if failure.is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
    if !replacement.is_null() {
        check::one_of(replacement, known, errors);
    }
    if !failure.is_null() {
        policy::failure(spec, errors);
    }
    match (success.is_null(), spec.get("completionMode").str()) {
        (true, _) => {}
        (false, "Indexed") => policy::success(spec, errors),
        (false, _) => errors.invalid(success, &success, "requires indexed completion mode"),
    }
}

/// The pods of a job end.
fn pods(spec: At<'_>, errors: &mut Errors) {
    let template = spec.field("template");
    pod::spec::template(template, errors);
    let pod = template.field("spec");
    not_yet::refuse(not_yet::POD, pod, errors);
    let restart = pod.field("restartPolicy");
    match restart.str() {
        "Always" | "" => {
            errors.required(restart, r#"valid values: "OnFailure", "Never""#);
        }
        "OnFailure" if !spec.get("podFailurePolicy").is_null() => {
            let why = r#"only "Never" is supported when podFailurePolicy is specified"#;
            errors.invalid(restart, &restart, why);
        }
        _ => check::one_of(restart, &["OnFailure", "Never"], errors),
    }
}

/// Checks the selector of a job's spec and that its pods match it.
pub(super) fn selector(spec: At<'_>, errors: &mut Errors) {
    let selector = spec.field("selector");
    if selector.is_null() {
        errors.required(selector, "");
    } else {
        selectors::validate(selector, errors);
    }
    let template = spec.field("template");
    let metadata = template.field("metadata");
    let labels = metadata.field("labels");
    let selects = match selector.is_null() {
        true => Ok(LabelSelector::nothing()),
        false => LabelSelector::from_object(&selector),
    };
    if selects.is_ok_and(|selects| !selects.matches(labels.value())) {
        errors.invalid(labels, &labels, "`selector` does not match template `labels`");
    }
}

/// An indexed job's name must leave room for an index in the names of its pods' hosts.
pub(super) fn name(job: &Value, errors: &mut Errors) {
    let spec = job.get("spec");
    let completions = spec.get("completions").as_int().unwrap_or(0);
    if spec.get("completionMode").str() != "Indexed" || completions <= 0 {
        return;
    }
    let host = format!("{}-{}", job.name(), completions - 1);
    if !text::dns_label(&host).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {host}");
        errors.invalid("metadata.name", &job.name().into(), &why);
    }
}
