//! The levels as a table of checks, and what a pod does against one of them.

use super::pod::Pod;
use super::policy::{Level, LevelVersion};
use super::{baseline, restricted};

/// The newest minor version in which a level has changed: `latest` and all later ones are this.
const NEWEST: u32 = 37;

/// What is forbidden, and who does it.
#[derive(Debug)]
pub struct Violation {
    /// A few words, the same for all pods.
    reason: String,
    /// Names and values.
    detail: String,
}

/// Finds one thing that a pod may not do.
pub type Test = fn(Pod<'_>) -> Option<Violation>;

/// A violation by its reason and detail.
pub fn violation(reason: &str, detail: impl Into<String>) -> Option<Violation> {
    Some(Violation { reason: reason.to_owned(), detail: detail.into() })
}

/// One check: its upstream name, the minor version that brought it, the test.
struct Check(&'static str, u32, Test);

/// What `baseline` forbids, and `restricted` too; in the order of the names, which clients see.
const BASELINE: &[Check] = &[
    Check("appArmorProfile", 0, baseline::app_armor),
    Check("capabilities_baseline", 0, baseline::capabilities),
    Check("hostNamespaces", 0, baseline::host_namespaces),
    Check("hostPathVolumes", 0, baseline::host_paths),
    Check("hostPorts", 0, baseline::host_ports),
    Check("hostProbesAndHostLifecycle", 34, baseline::hosts),
    Check("privileged", 0, baseline::privileged),
    Check("procMount", 0, baseline::proc_mount),
    Check("seLinuxOptions", 0, baseline::selinux),
    Check("seccompProfile_baseline", 0, baseline::seccomp),
    Check("sysctls", 0, baseline::sysctls),
    Check("windowsHostProcess", 0, baseline::host_process),
];

/// What only `restricted` forbids.
const RESTRICTED: &[Check] = &[
    Check("allowPrivilegeEscalation", 8, restricted::escalation),
    Check("capabilities_restricted", 22, restricted::capabilities),
    Check("procMount_restricted", 35, baseline::any_proc_mount),
    Check("restrictedVolumes", 0, restricted::volumes),
    Check("runAsNonRoot", 0, restricted::non_root),
    Check("runAsUser", 23, restricted::user),
    Check("seccompProfile_restricted", 19, restricted::seccomp),
];

/// A check of `restricted` that says all that one of `baseline` says, which is then left out.
const INSTEAD: &[(&str, &str)] = &[
    ("capabilities_restricted", "capabilities_baseline"),
    ("procMount_restricted", "procMount"),
    ("restrictedVolumes", "hostPathVolumes"),
    ("seccompProfile_restricted", "seccompProfile_baseline"),
];

/// What a pod does that a level forbids.
pub fn violations(by: LevelVersion, pod: Pod<'_>) -> Vec<Violation> {
    let minor = by.version.map_or(NEWEST, |minor| minor.min(NEWEST));
    let pod = Pod { minor, ..pod };
    let there = |checks: &'static [Check]| checks.iter().filter(move |check| check.1 <= minor);
    let find = |check: &Check| (check.2)(pod);
    match by.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => there(BASELINE).filter_map(find).collect(),
        Level::Restricted => {
            let covered = |name: &str| {
                INSTEAD.iter().any(|(by, of)| *of == name && there(RESTRICTED).any(|c| c.0 == *by))
            };
            let kept = there(BASELINE).filter(|check| !covered(check.0));
            kept.chain(there(RESTRICTED)).filter_map(find).collect()
        }
    }
}

/// `reason (detail), reason (detail)`.
pub fn details(violations: &[Violation]) -> String {
    let one = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `reason, reason`.
pub fn reasons(violations: &[Violation]) -> String {
    let reasons: Vec<&str> = violations.iter().map(|v| v.reason.as_str()).collect();
    reasons.join(", ")
}
