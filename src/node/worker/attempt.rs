//! What is written on a container so that whoever adopts it knows its place.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::node::pod::{Attempt, Crash, End};
use crate::runtime::{ContainerStatus, Exit, ExitCause};
use crate::util::clock::Wall;

/// The labels of one attempt.
pub(super) fn labels(
    container: &str,
    attempt: &Attempt,
    crash: Option<Crash>,
) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("container".to_owned(), container.to_owned()),
        ("number".to_owned(), attempt.number.to_string()),
        ("epoch".to_owned(), attempt.epoch.to_string()),
        ("image-asked".to_owned(), attempt.image_asked.clone()),
        ("image".to_owned(), attempt.image.clone()),
        ("image-id".to_owned(), attempt.image_id.clone()),
    ]);
    if let Some(Ok(text)) = attempt.resources.as_ref().map(serde_json::to_string) {
        labels.insert("resources".to_owned(), text);
    }
    if let Some(crash) = crash {
        labels.insert("crash-delay".to_owned(), crash.delay.as_millis().to_string());
        labels.insert("crash-at".to_owned(), crash.at.0.to_string());
    }
    labels
}

/// The attempt that a container of the runtime is, with its name and back-off. Its end has no
/// message yet.
pub(super) fn read(status: &ContainerStatus) -> Option<(String, Attempt, Option<Crash>)> {
    let label = |name: &str| status.labels.get(name).cloned();
    let attempt = Attempt {
        id: status.id.clone(),
        number: label("number")?.parse().ok()?,
        epoch: label("epoch")?.parse().ok()?,
        image_asked: label("image-asked").unwrap_or_default(),
        image: label("image").unwrap_or_default(),
        image_id: label("image-id").unwrap_or_default(),
        resources: label("resources").and_then(|text| serde_json::from_str(&text).ok()),
        started: status.started_ns.map(Wall),
        end: status.exit.as_ref().map(end),
    };
    let delay = label("crash-delay").and_then(|text| text.parse().ok());
    let at = label("crash-at").and_then(|text| text.parse().ok());
    let crash = delay
        .zip(at)
        .map(|(delay, at)| Crash { delay: Duration::from_millis(delay), at: Wall(at) });
    Some((label("container")?, attempt, crash))
}

fn end(exit: &Exit) -> End {
    let (reason, message) = match exit.cause {
        ExitCause::Restarted => ("Unknown", "the machine was restarted"),
        ExitCause::ShimDied => ("ContainerStatusUnknown", "the pod's shim died"),
        ExitCause::Program if exit.oom_killed => ("OOMKilled", ""),
        ExitCause::Program if exit.code == 0 => ("Completed", ""),
        ExitCause::Program => ("Error", ""),
    };
    End {
        code: exit.code,
        signal: None,
        reason: reason.to_owned(),
        message: message.to_owned(),
        finished: Wall(exit.finished_ns),
        resized: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Phase;

    #[test]
    fn an_attempt_is_known_again_by_its_labels() {
        let attempt = Attempt {
            id: "x".into(),
            number: 3,
            epoch: 2,
            image_asked: "web".into(),
            image: "docker.io/library/web:latest".into(),
            image_id: "sha256:1".into(),
            resources: serde_json::from_str(r#"{"limits":{"cpu":"1"}}"#).unwrap(),
            started: Some(Wall(5)),
            end: None,
        };
        let crash = Crash { delay: Duration::from_secs(20), at: Wall(7) };
        let mut status = ContainerStatus {
            id: "x".into(),
            phase: Phase::Running,
            pid: Some(1),
            created_ns: 1,
            started_ns: Some(5),
            exit: None,
            labels: labels("app", &attempt, Some(crash)),
        };
        assert_eq!(read(&status), Some(("app".into(), attempt.clone(), Some(crash))));
        status.exit = Some(Exit {
            code: 137,
            signal: Some(9),
            oom_killed: true,
            finished_ns: 9,
            cause: ExitCause::Program,
        });
        let end = read(&status).unwrap().1.end.unwrap();
        assert_eq!((end.code, &*end.reason, end.finished), (137, "OOMKilled", Wall(9)));
        status.labels.clear();
        assert_eq!(read(&status), None);
    }
}
