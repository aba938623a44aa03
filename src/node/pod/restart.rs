//! Whether a container that ended starts again, and when.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::Kind;
use crate::limits::{CRASH_BACKOFF_FIRST, CRASH_BACKOFF_MAX};
use crate::util::clock::Wall;

/// The back-off of one container: how long after an exit it must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// The wait.
    pub delay: Duration,
    /// When the wait last grew: the last restart.
    pub at: Wall,
}

/// A container that ran this long has recovered.
const RECOVERED: Duration = CRASH_BACKOFF_MAX.saturating_mul(2);

impl Crash {
    /// The back-off that still counts for a container that ended at `finished`.
    fn still(crash: Option<Self>, finished: Wall) -> Option<Self> {
        crash.filter(|crash| finished.since(crash.at) <= RECOVERED)
    }

    /// When a container that ended at `finished` may start again.
    pub fn ready_at(crash: Option<Self>, finished: Wall) -> Wall {
        Self::still(crash, finished).map_or(finished, |crash| finished.after(crash.delay))
    }

    /// The back-off after a restart at `now`.
    pub fn next(crash: Option<Self>, finished: Wall, now: Wall) -> Self {
        let delay = Self::still(crash, finished)
            .map_or(CRASH_BACKOFF_FIRST, |crash| (crash.delay * 2).min(CRASH_BACKOFF_MAX));
        Self { delay, at: now }
    }
}

/// Whether a container of `pod` that ended with `code` is started again.
pub(super) fn restarts(pod: &Pod, kind: Kind, container: &Container, code: i32) -> bool {
    match kind {
        Kind::Sidecar => return true,
        Kind::Ephemeral => return false,
        Kind::Init | Kind::App => {}
    }
    if let Some(restart) = by_rule(container, code) {
        return restart;
    }
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let policy = container.restart_policy.as_deref().or(of_pod).unwrap_or("Always");
    match (policy, kind) {
        ("Never", _) => false,
        ("OnFailure", _) | (_, Kind::Init) => code != 0,
        _ => true,
    }
}

/// What the first matching restart rule of a container says.
fn by_rule(container: &Container, code: i32) -> Option<bool> {
    container.restart_policy_rules.iter().flatten().find_map(|rule| {
        let on = rule.exit_codes.as_ref()?;
        let listed = on.values.iter().flatten().any(|value| *value == code);
        let matches = if on.operator == "NotIn" { !listed } else { listed };
        matches.then_some(rule.action == "Restart")
    })
}

/// A duration as Go prints it, in whole seconds: `10s`, `1m20s`, `5m0s`.
pub(super) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}
