//! Probes and lifecycle hooks: one handler each.

use crate::api::kinds::check::{self, At, Rule, required};
use crate::api::kinds::text;
use crate::api::registry::Errors;
use crate::api::tree::Value;

const PROBE: &[(&str, Rule)] = &[
    ("initialDelaySeconds", Rule::NotNegative),
    ("timeoutSeconds", Rule::NotNegative),
    ("periodSeconds", Rule::NotNegative),
    ("successThreshold", Rule::NotNegative),
    ("failureThreshold", Rule::NotNegative),
    ("terminationGracePeriodSeconds", Rule::Positive),
];

/// Checks a container's three probes. `grace` is the pod's grace period.
pub fn probes(container: At<'_>, grace: Option<i64>, errors: &mut Errors) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.field(name);
        if probe.is_null() {
            continue;
        }
        handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace, errors);
        check::apply(PROBE, probe, errors);
        let (success, own_grace) =
            (probe.field("successThreshold"), probe.field("terminationGracePeriodSeconds"));
        if name != "readinessProbe" && success.as_int() != Some(1) {
            errors.invalid(success, &success, "must be 1");
        }
        if name == "readinessProbe" && !own_grace.is_null() {
            errors.invalid(own_grace, &own_grace, "must not be set for readinessProbes");
        }
    }
}

/// Checks a container's hooks.
pub fn lifecycle(container: At<'_>, grace: Option<i64>, errors: &mut Errors) {
    let lifecycle = container.field("lifecycle");
    for name in ["postStart", "preStop"] {
        let hook = lifecycle.field(name);
        if !hook.is_null() {
            handler(hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
        }
    }
}

fn handler(at: At<'_>, kinds: &[&str], grace: Option<i64>, errors: &mut Errors) {
    let given: Vec<&&str> = kinds.iter().filter(|kind| !at.get(kind).is_null()).collect();
    for (number, kind) in given.iter().enumerate() {
        let action = at.field(kind);
        match **kind {
            _ if number > 0 => errors.forbidden(action, "may not specify more than 1 handler type"),
            "exec" => drop(required(action.field("command"), "", errors)),
            "httpGet" => http_get(action, errors),
            "sleep" => sleep(action, grace, errors),
            _ => port(action.field("port"), errors),
        }
    }
    if given.is_empty() {
        errors.required(at, "must specify a handler type");
    }
}

fn http_get(at: At<'_>, errors: &mut Errors) {
    required(at.field("path"), "", errors);
    port(at.field("port"), errors);
    check::one_of(at.field("scheme"), &["HTTP", "HTTPS"], errors);
    let headers = at.field("httpHeaders");
    for header in headers.value().items() {
        for fault in text::http_header(header.get("name").str()) {
            errors.invalid(headers, header.get("name"), &fault);
        }
    }
}

fn sleep(at: At<'_>, grace: Option<i64>, errors: &mut Errors) {
    let seconds = at.get("seconds").as_int().unwrap_or(0);
    let Some(grace) = grace else { return };
    if !(0..=grace).contains(&seconds) {
        let why =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(at, &seconds.into(), &why);
    }
}

/// A port by number or name.
pub fn port(at: At<'_>, errors: &mut Errors) {
    match at.value() {
        Value::Str(_) => check::formatted(at, text::port_name, errors),
        other => {
            let number = other.as_int().unwrap_or(0);
            if !(1..=65535).contains(&number) {
                errors.invalid(at, &number.into(), &text::between(1, 65535));
            }
        }
    }
}
