//! What a failed pod means for its job, and when an indexed job has succeeded early.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement as ExitCodes,
    PodFailurePolicyOnPodConditionsPattern as ConditionPattern, SuccessPolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::Work;
use super::progress::Progress;
use crate::api::kinds::batch::indexes::Indexes;

/// What a failure comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One more failure.
    Count,
    /// The pod's index is not tried again.
    FailIndex,
    /// The job fails, for this reason.
    FailJob(String),
    /// As if it had not been.
    Ignore,
}

impl Verdict {
    /// Whether the failure is counted.
    pub(super) fn counts(&self) -> bool {
        *self != Self::Ignore
    }
}

/// The verdict on a failed pod: that of the first rule which matches.
pub(super) fn verdict(spec: &JobSpec, pod: &Pod) -> Verdict {
    let Some(policy) = &spec.pod_failure_policy else { return Verdict::Count };
    for (number, rule) in policy.rules.iter().enumerate() {
        let found = match (&rule.on_exit_codes, &rule.on_pod_conditions) {
            (Some(codes), _) => exited(pod, codes),
            (None, Some(patterns)) => conditioned(pod, patterns),
            (None, None) => None,
        };
        let Some(what) = found else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => {
                Verdict::FailJob(format!("{what} matching FailJob rule at index {number}"))
            }
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

fn full_name(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}

/// The container that ended with such a code.
fn exited(pod: &Pod, codes: &ExitCodes) -> Option<String> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let mut containers = lists.into_iter().flatten().flatten();
    let matching = |container: &&ContainerStatus| {
        let named = codes.container_name.as_ref().is_none_or(|name| *name == container.name);
        named && exit_code(container).is_some_and(|code| code != 0 && has_code(codes, code))
    };
    let found = containers.find(matching)?;
    Some(format!(
        "Container {} for pod {} failed with exit code {}",
        found.name,
        full_name(pod),
        exit_code(found)?
    ))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    Some(container.state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn has_code(codes: &ExitCodes, code: i32) -> bool {
    match codes.operator.as_str() {
        "In" => codes.values.contains(&code),
        "NotIn" => !codes.values.contains(&code),
        _ => false,
    }
}

/// The condition of the pod that is one of these.
fn conditioned(pod: &Pod, patterns: &[ConditionPattern]) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| {
        patterns.iter().any(|pattern| {
            let wanted = pattern.status.as_deref().unwrap_or("True");
            pattern.type_ == condition.type_ && wanted == condition.status
        })
    })?;
    Some(format!("Pod {} has condition {}", full_name(pod), found.type_))
}

/// The first rule of the success policy that is met, in the words of the condition.
pub(super) fn success(work: &Work<'_>, progress: &Progress<'_>) -> Option<String> {
    let mut rules = work.spec.success_policy.as_ref()?.rules.iter();
    if progress.succeeded_indexes.is_empty() {
        return None;
    }
    let met = |rule: &SuccessPolicyRule| is_met(rule, &progress.succeeded_indexes, work);
    let number = rules.position(met)?;
    Some(format!("Matched rules at index {number}"))
}

fn is_met(rule: &SuccessPolicyRule, succeeded: &Indexes, work: &Work<'_>) -> bool {
    let wanted = rule.succeeded_count.map(i64::from);
    let Some(text) = &rule.succeeded_indexes else {
        return wanted.is_some_and(|wanted| succeeded.len() >= wanted);
    };
    let required = Indexes::parse_below(text, work.completions());
    let there = required.overlap(succeeded);
    !required.is_empty()
        && (there == required.len() || wanted.is_some_and(|wanted| there >= wanted))
}
