//! Lifecycle hooks: what runs right after a container's start and right before its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::command;
use super::probe::http;
use crate::runtime::PodHandle;

/// Where a hook runs.
pub struct Target<'a> {
    /// The pod.
    pub pod: &'a PodHandle,
    /// The container's spec.
    pub container: &'a Container,
    /// The runtime's name for it.
    pub id: &'a str,
    /// The pod's address.
    pub ip: &'a str,
}

/// Runs a hook, for at most `timeout`.
///
/// # Errors
/// Why it failed.
pub async fn run(
    handler: &LifecycleHandler,
    target: &Target<'_>,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let args = exec.command.clone().unwrap_or_default();
        let ended = command::run(target.pod, target.id, &args, timeout).await?;
        return match ended.code {
            0 => Ok(()),
            code => Err(format!("command exited with {code}: {}", ended.output.trim_end())),
        };
    }
    if let Some(action) = &handler.http_get {
        let to = http::Target::new(action, target.container, target.ip)?;
        // Any answer will do: the hook was heard.
        return http::get(&to, timeout).await.map(drop);
    }
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        let ended = target.pod.over(target.id);
        // The container may end before its hook does.
        let _ = tokio::time::timeout(Duration::from_secs(seconds).min(timeout), ended).await;
        return Ok(());
    }
    Ok(())
}
