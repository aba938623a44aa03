//! Jobs and CronJobs.

pub mod indexes;
mod policy;
mod spec;
mod status;
mod update;

use super::check::{self, At, Rule};
use super::core::pod::defaults;
use super::fallback::{self, Fallback};
use super::table::{AGE, Heading, NAME, ago, columns, or_none};
use super::workload::{
    CONTAINERS, IMAGES, layout, name_warning, spec_with_template, template_warnings,
};
use super::{selector, text};
use crate::api::cron::{self, Schedule};
use crate::api::meta::Meta;
use crate::api::registry::{Column, Context, Errors, Rules, age, human_duration};
use crate::api::time;
use crate::api::tree::Value;
use crate::history::Fields;

/// The rules of jobs.
pub struct Job;

/// The rules of cron jobs.
pub struct CronJob;

/// Labels that name a pod's job, with and without Kubernetes' prefix.
pub const JOB_NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
/// Labels that hold the UID of a pod's job, with and without Kubernetes' prefix.
pub const CONTROLLER_UID_LABELS: [&str; 2] =
    ["batch.kubernetes.io/controller-uid", "controller-uid"];

/// A CronJob appends a dash and the minute to its name.
const CRON_NAME_MAX: usize = 52;
/// Above these an indexed job may fail in too many places to be written down.
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_AT_ONCE: i64 = 10_000;

const SELECTOR: Heading = ("Selector", "string", 1, "The labels of the pods that are counted");

impl Rules for Job {
    fn default(&self, object: &mut Value) {
        let spec = spec_with_template(object);
        numbers(spec);
        fallback::apply(
            spec,
            &[
                ("completionMode", Fallback::TextIfAbsent("NonIndexed")),
                ("suspend", Fallback::Flag(false)),
                ("manualSelector", Fallback::Flag(false)),
            ],
        );
        conditions(spec);
        let labels = spec.at(&["template", "metadata", "labels"]).clone();
        if !labels.is_null() && object.metadata().get("labels").is_empty() {
            object.entry("metadata").set("labels", labels);
        }
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", Value::object());
    }

    fn identify(&self, object: &mut Value) -> bool {
        let generates = !object.at(&["spec", "manualSelector"]).is_true();
        if generates {
            generate_selector(object);
        }
        generates
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        let root = At::root(object);
        update::generated_selector(object, true, errors);
        spec::validate(root.field("spec"), errors);
        spec::selector(root.field("spec"), errors);
        spec::name(object, errors);
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let root = At::root(object);
        spec::validate(root.field("spec"), errors);
        spec::selector(root.field("spec"), errors);
        spec::name(object, errors);
        update::validate(object, old, errors);
    }

    fn validate_subresource(
        &self,
        _subresource: &str,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        status::validate(object, old, errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = name_warning(object, old);
        if old.is_null() || old.get("spec") != object.get("spec") {
            warnings.extend(many_warning("spec", object.get("spec")));
        }
        warnings.extend(template_warnings(object, old, &["spec", "template"]));
        warnings
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn fields(&self, object: &Value) -> Fields {
        let succeeded = object.at(&["status", "succeeded"]).as_int().unwrap_or(0);
        vec![("status.successful", succeeded.to_string().into())]
    }

    fn selectable(&self) -> &[&'static str] {
        &["status.successful"]
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Status", "string", 0, "Status of the job."),
            ("Completions", "string", 0, "The number of pods that reached phase Succeeded"),
            ("Duration", "string", 0, "Time required to complete the job."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let spec = object.get("spec");
        let [names, images] = layout(spec.get("template"));
        vec![
            object.name().into(),
            state(object).into(),
            completions(object).into(),
            took(object.get("status"), context).into(),
            age(object, context),
            names,
            images,
            selector::shown(spec.get("selector")).into(),
        ]
    }
}

/// How many completions at once, and how many failures are borne.
fn numbers(spec: &mut Value) {
    if spec.get("completions").is_null() && spec.get("parallelism").is_null() {
        spec.set("completions", 1);
    }
    let per_index = !spec.get("backoffLimitPerIndex").is_null();
    let limit = if per_index { i64::from(i32::MAX) } else { 6 };
    let policy = !spec.get("podFailurePolicy").is_null();
    let replaced = if policy { "Failed" } else { "TerminatingOrFailed" };
    fallback::apply(
        spec,
        &[
            ("parallelism", Fallback::NumberIfAbsent(1)),
            ("backoffLimit", Fallback::NumberIfAbsent(limit)),
            ("podReplacementPolicy", Fallback::TextIfAbsent(replaced)),
        ],
    );
}

fn conditions(spec: &mut Value) {
    const PATH: &str = "podFailurePolicy.rules[].onPodConditions[].status";
    fallback::apply(spec, &[(PATH, Fallback::Text("True"))]);
}

/// Gives a job's pods labels that no other job's have, and the job a selector for them.
fn generate_selector(object: &mut Value) {
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    let template = object.entry_at(&["spec", "template", "metadata", "labels"]);
    let given = template.clone();
    let names = JOB_NAME_LABELS.iter().map(|label| (label, &name));
    let uids = CONTROLLER_UID_LABELS.iter().map(|label| (label, &uid));
    for (label, value) in names.chain(uids) {
        if template.get(label).is_null() {
            template.set(label, value.as_str());
        }
    }
    let labels = template.clone();
    // A job that got its labels from its template has these too, as upstream's.
    if !given.is_empty() && *object.metadata().get("labels") == given {
        object.entry("metadata").set("labels", labels);
    }
    let selects = object.entry_at(&["spec", "selector", "matchLabels"]);
    if selects.get(CONTROLLER_UID_LABELS[0]).is_null() {
        selects.set(CONTROLLER_UID_LABELS[0], uid);
    }
}

fn many_warning(path: &str, spec: &Value) -> Option<String> {
    let above = |field: &str, bound| spec.get(field).as_int().is_some_and(|n| n > bound);
    let many = spec.get("completionMode").str() == "Indexed"
        && above("completions", MANY_COMPLETIONS)
        && above("parallelism", MANY_AT_ONCE);
    many.then(|| {
        format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a \
             parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes \
             when a big number of indexes fail"
        )
    })
}

/// Whether a status has a condition that is true.
pub(in crate::api) fn holds(status: &Value, condition: &str) -> bool {
    let mut conditions = status.get("conditions").items().iter();
    conditions.any(|c| c.get("type").str() == condition && c.get("status").str() == "True")
}

fn state(job: &Value) -> &'static str {
    let status = job.get("status");
    match () {
        () if holds(status, "Complete") => "Complete",
        () if holds(status, "Failed") => "Failed",
        () if job.is_deleting() => "Terminating",
        () if holds(status, "Suspended") => "Suspended",
        () if holds(status, "FailureTarget") => "FailureTarget",
        () if holds(status, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = job.at(&["status", "succeeded"]).as_int().unwrap_or(0);
    let spec = job.get("spec");
    match (spec.get("completions").as_int(), spec.get("parallelism").as_int().unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, at_once @ 2..) => format!("{succeeded}/1 of {at_once}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn took(status: &Value, context: Context) -> String {
    let at = |field: &str| time::parse(status.get(field).str());
    let Some(start) = at("startTime") else { return String::new() };
    human_duration(at("completionTime").unwrap_or(context.now).since(start).as_secs())
}

impl Rules for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = object.entry("spec");
        let job = spec.entry_at(&["jobTemplate", "spec"]);
        defaults::spec(job.entry_at(&["template", "spec"]));
        conditions(job);
        fallback::apply(
            spec,
            &[
                ("concurrencyPolicy", Fallback::Text("Allow")),
                ("suspend", Fallback::Flag(false)),
                ("successfulJobsHistoryLimit", Fallback::NumberIfAbsent(3)),
                ("failedJobsHistoryLimit", Fallback::NumberIfAbsent(1)),
            ],
        );
    }

    fn prepare_create(&self, object: &mut Value, _context: Context) {
        object.set("status", Value::object());
    }

    fn prepare_update(&self, object: &mut Value, old: &Value, _context: Context) {
        object.set("status", old.get("status").clone());
    }

    fn validate(&self, object: &Value, errors: &mut Errors) {
        cron_spec(object, true, errors);
        if object.name().len() > CRON_NAME_MAX {
            let why = "must be no more than 52 characters";
            errors.invalid("metadata.name", &object.name().into(), why);
        }
    }

    fn validate_update(&self, object: &Value, old: &Value, errors: &mut Errors) {
        let zone = |cron: &Value| cron.at(&["spec", "timeZone"]).clone();
        cron_spec(object, zone(object) != zone(old), errors);
    }

    fn warnings(&self, object: &Value, old: &Value) -> Vec<String> {
        let mut warnings = name_warning(object, old);
        if old.is_null() || old.get("spec") != object.get("spec") {
            let job = object.at(&["spec", "jobTemplate", "spec"]);
            warnings.extend(many_warning("spec.jobTemplate.spec", job));
        }
        let path = &["spec", "jobTemplate", "spec", "template"];
        warnings.extend(template_warnings(object, old, path));
        warnings
    }

    fn counts_generations(&self, _object: &Value) -> bool {
        true
    }

    fn columns(&self) -> Vec<Column> {
        columns(&[
            NAME,
            ("Schedule", "string", 0, "The schedule in Cron format"),
            ("Timezone", "string", 0, "The time zone of the schedule"),
            ("Suspend", "boolean", 0, "Whether later runs are held back"),
            ("Active", "integer", 0, "How many jobs run now"),
            ("Last Schedule", "string", 0, "When the job was last scheduled"),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ])
    }

    fn row(&self, object: &Value, context: Context) -> Vec<Value> {
        let (spec, status) = (object.get("spec"), object.get("status"));
        let job = spec.at(&["jobTemplate", "spec"]);
        let [names, images] = layout(job.get("template"));
        let last = status.get("lastScheduleTime");
        let last = if last.is_null() { "<none>".into() } else { ago(last, context) };
        vec![
            object.name().into(),
            spec.get("schedule").str().into(),
            spec.get("timeZone").as_str().unwrap_or("<none>").into(),
            if spec.get("suspend").is_true() { "True" } else { "False" }.into(),
            i64::try_from(status.get("active").items().len()).unwrap_or(i64::MAX).into(),
            last.into(),
            age(object, context),
            names,
            images,
            or_none(selector::shown(job.get("selector"))).into(),
        ]
    }
}

fn cron_spec(object: &Value, zone_is_new: bool, errors: &mut Errors) {
    const RULES: &[(&str, Rule)] = &[
        ("schedule", Rule::Each(schedule)),
        ("startingDeadlineSeconds", Rule::NotNegative),
        ("concurrencyPolicy", Rule::RequiredOneOf(&["Allow", "Forbid", "Replace"])),
        ("jobTemplate.spec", Rule::Each(spec::validate)),
        ("successfulJobsHistoryLimit", Rule::NotNegative),
        ("failedJobsHistoryLimit", Rule::NotNegative),
    ];
    let root = At::root(object);
    let spec = root.field("spec");
    check::apply(RULES, spec, errors);
    if zone_is_new {
        time_zone(spec.field("timeZone"), errors);
    }
    let template = spec.field("jobTemplate");
    let job = template.field("spec");
    let (selector, manual) = (job.field("selector"), job.field("manualSelector"));
    if !selector.is_null() {
        errors.invalid(selector, &selector, "`selector` will be auto-generated");
    }
    if manual.is_true() {
        errors.not_supported(manual, &manual, &["nil", "false"]);
    }
    // Upstream's newer validators, whose this is, come last.
    check::required(spec.field("schedule"), "", errors);
}

fn schedule(at: At<'_>, errors: &mut Errors) {
    if at.is_empty() {
        return;
    }
    if let Err(why) = Schedule::parse(at.str()) {
        errors.invalid(at, &at, &why);
    }
    if at.str().contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(at, &at, why);
    }
}

fn time_zone(at: At<'_>, errors: &mut Errors) {
    let name = at.str();
    if at.is_null() {
        return;
    }
    if name.is_empty() {
        return errors.invalid(at, &at, "timeZone must be nil or non-empty string");
    }
    if name.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in \
                   https://www.iana.org/time-zones";
        return errors.invalid(at, &at, why);
    }
    if let Err(why) = cron::zone(name) {
        errors.invalid(at, &at, &why);
    }
}

/// A path below a domain, as `example.com/controller`.
pub(super) fn domain_prefixed(at: At<'_>, errors: &mut Errors) {
    match at.str().split_once('/') {
        _ if at.is_empty() => errors.required(at, ""),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            for fault in text::dns_subdomain(domain) {
                errors.invalid(at, &domain.into(), &fault);
            }
        }
        _ => errors.invalid(at, &at, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
}
