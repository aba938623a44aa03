//! A pod's row: one word for what all its containers do.

use crate::api::kinds::table::{AGE, Heading, NAME, or_none};
use crate::api::meta::Meta;
use crate::api::registry::{Context, age, since};
use crate::api::time;
use crate::api::tree::Value;
use crate::util::clock::Wall;

/// The columns of pods.
pub const HEADINGS: &[Heading] = &[
    NAME,
    ("Ready", "string", 0, "The aggregate readiness state of this pod for accepting traffic."),
    ("Status", "string", 0, "The aggregate status of the containers in this pod."),
    ("Restarts", "string", 0, "How often containers of this pod were restarted, and when last."),
    AGE,
    ("IP", "string", 1, "The pod's address"),
    ("Node", "string", 1, "The node that runs the pod"),
    ("Nominated Node", "string", 1, "The node on which room is being made for the pod"),
    ("Readiness Gates", "string", 1, "How many of the extra conditions of readiness hold"),
];

/// The cells of a pod's row.
pub fn row(pod: &Value, context: Context) -> Vec<Value> {
    let summary = summary(pod);
    let status = pod.get("status");
    let text = |value: &Value| Value::from(or_none(value.str().to_owned()));
    let ip = status.get("podIPs").items().first().map_or(&Value::Null, |ip| ip.get("ip"));
    vec![
        pod.name().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.word.into(),
        restarts(summary.restarts, summary.last, context).into(),
        age(pod, context),
        text(ip),
        text(pod.at(&["spec", "nodeName"])),
        text(status.get("nominatedNodeName")),
        gates(pod).into(),
    ]
}

/// What the row says of the containers.
struct Summary {
    word: String,
    ready: usize,
    total: usize,
    restarts: i64,
    /// When a container was restarted last.
    last: Option<Wall>,
}

fn summary(pod: &Value) -> Summary {
    let (spec, status) = (pod.get("spec"), pod.get("status"));
    let sidecars = spec.get("initContainers").items().iter().filter(|c| is_sidecar(c)).count();
    let mut summary = Summary {
        word: first_word(status),
        ready: 0,
        total: spec.get("containers").items().len() + sidecars,
        restarts: 0,
        last: None,
    };
    let mut of_sidecars = (0, None);
    let initializing = init(spec, status, &mut summary, &mut of_sidecars);
    if !initializing || holds(status, "Initialized") {
        (summary.restarts, summary.last) = of_sidecars;
        containers(status, &mut summary);
    }
    deletion(pod, &mut summary.word);
    summary
}

/// The phase, or the reason for it.
fn first_word(status: &Value) -> String {
    let gated = status.get("conditions").items().iter().any(|condition| {
        condition.get("type").str() == "PodScheduled"
            && condition.get("reason").str() == "SchedulingGated"
    });
    match status.get("reason").str() {
        _ if gated => "SchedulingGated".into(),
        "" => status.get("phase").str().into(),
        reason => reason.into(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    container.get("restartPolicy").str() == "Always"
}

fn holds(status: &Value, kind: &str) -> bool {
    let mut conditions = status.get("conditions").items().iter();
    conditions
        .find(|condition| condition.get("type").str() == kind)
        .is_some_and(|condition| condition.get("status").str() == "True")
}

fn finished(container: &Value) -> Option<Wall> {
    time::parse(container.at(&["lastState", "terminated", "finishedAt"]).str())
}

/// Looks at init containers up to the first that is not done; true if there is one.
fn init(
    spec: &Value,
    status: &Value,
    summary: &mut Summary,
    of_sidecars: &mut (i64, Option<Wall>),
) -> bool {
    let inits = spec.get("initContainers").items();
    for (index, container) in status.get("initContainerStatuses").items().iter().enumerate() {
        let count = container.get("restartCount").as_int().unwrap_or(0);
        let name = container.get("name");
        let sidecar = inits.iter().any(|init| init.get("name") == name && is_sidecar(init));
        summary.restarts += count;
        summary.last = summary.last.max(finished(container));
        if sidecar {
            of_sidecars.0 += count;
            of_sidecars.1 = of_sidecars.1.max(finished(container));
        }
        let end = container.at(&["state", "terminated"]);
        if !end.is_null() && end.get("exitCode").as_int().unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && container.get("started").is_true() {
            summary.ready += usize::from(container.get("ready").is_true());
            continue;
        }
        summary.word = init_word(container, index, inits.len());
        return true;
    }
    false
}

fn init_word(container: &Value, index: usize, total: usize) -> String {
    let end = container.at(&["state", "terminated"]);
    let waiting = container.at(&["state", "waiting", "reason"]).str();
    match waiting {
        _ if !end.is_null() => format!("Init:{}", end_word(end)),
        "" | "PodInitializing" => format!("Init:{index}/{total}"),
        reason => format!("Init:{reason}"),
    }
}

fn end_word(end: &Value) -> String {
    let number = |key: &str| end.get(key).as_int().unwrap_or(0);
    match (end.get("reason").str(), number("signal")) {
        ("", 0) => format!("ExitCode:{}", number("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Looks at ordinary containers, the first one's word winning.
fn containers(status: &Value, summary: &mut Summary) {
    let (mut running, mut failed) = (false, None);
    for container in status.get("containerStatuses").items().iter().rev() {
        summary.restarts += container.get("restartCount").as_int().unwrap_or(0);
        summary.last = summary.last.max(finished(container));
        let state = container.get("state");
        let (waiting, end) = (state.at(&["waiting", "reason"]).str(), state.get("terminated"));
        if !waiting.is_empty() {
            summary.word = waiting.to_owned();
        } else if !end.is_null() {
            summary.word = end_word(end);
            if end.get("exitCode").as_int().unwrap_or(0) != 0 {
                failed = Some(summary.word.clone());
            }
        } else if container.get("ready").is_true() && !state.get("running").is_null() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.word == "Completed" {
        let ready = holds(status, "Ready");
        match (running, failed) {
            (true, _) if ready => summary.word = "Running".into(),
            (_, Some(word)) => summary.word = word,
            (true, None) => summary.word = "NotReady".into(),
            (false, None) => {}
        }
    }
}

fn deletion(pod: &Value, word: &mut String) {
    let status = pod.get("status");
    if !pod.is_deleting() {
        return;
    }
    if status.get("reason").str() == "NodeLost" {
        *word = "Unknown".into();
    } else if !matches!(status.get("phase").str(), "Failed" | "Succeeded") {
        *word = "Terminating".into();
    }
}

fn restarts(count: i64, last: Option<Wall>, context: Context) -> String {
    match last {
        Some(last) if count != 0 => format!("{count} ({} ago)", since(last, context)),
        _ => count.to_string(),
    }
}

fn gates(pod: &Value) -> String {
    let gates = pod.at(&["spec", "readinessGates"]).items();
    let status = pod.get("status");
    let open = gates.iter().filter(|gate| holds(status, gate.get("conditionType").str())).count();
    match gates.len() {
        0 => "<none>".into(),
        total => format!("{open}/{total}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Context = Context { now: Wall::from_seconds(1_795_168_080) };

    fn cells(spec: &str, status: &str, meta: &str) -> String {
        let pod = format!(
            r#"{{"metadata":{{"name":"p","creationTimestamp":"2026-11-20T09:43:00Z"{meta}}},
                "spec":{spec},"status":{status}}}"#
        );
        let row = row(&Value::parse(pod.as_bytes()).unwrap(), NOW);
        row.iter().map(|cell| cell.str().to_owned()).collect::<Vec<_>>().join("|")
    }

    const ONE: &str = r#"{"containers":[{"name":"c"}],"nodeName":"n1"}"#;

    #[test]
    fn a_running_pod() {
        let status = r#"{"phase":"Running","podIPs":[{"ip":"10.42.0.5"}],"containerStatuses":[{
            "name":"c","ready":true,"restartCount":2,"state":{"running":{}},
            "lastState":{"terminated":{"finishedAt":"2026-11-20T09:45:30Z"}}}]}"#;
        assert_eq!(
            cells(ONE, status, ""),
            "p|1/1|Running|2 (2m30s ago)|5m|10.42.0.5|n1|<none>|<none>"
        );
        let deleting = r#","deletionTimestamp":"2026-11-20T09:47:00Z""#;
        assert_eq!(cells(ONE, status, deleting).split('|').nth(2), Some("Terminating"));
    }

    #[test]
    fn words_for_trouble() {
        let word = |status: &str| cells(ONE, status, "").split('|').nth(2).unwrap().to_owned();
        let state = |state: &str| {
            word(&format!(r#"{{"phase":"Running","containerStatuses":[{{"state":{state}}}]}}"#))
        };
        assert_eq!(state(r#"{"waiting":{"reason":"CrashLoopBackOff"}}"#), "CrashLoopBackOff");
        assert_eq!(state(r#"{"terminated":{"exitCode":0,"reason":"Completed"}}"#), "Completed");
        assert_eq!(state(r#"{"terminated":{"exitCode":3}}"#), "ExitCode:3");
        assert_eq!(state(r#"{"terminated":{"signal":9}}"#), "Signal:9");
        assert_eq!(word(r#"{"phase":"Failed","reason":"Evicted"}"#), "Evicted");
        assert_eq!(
            word(
                r#"{"phase":"Pending","conditions":[{"type":"PodScheduled","reason":"SchedulingGated"}]}"#
            ),
            "SchedulingGated"
        );
    }

    #[test]
    fn words_for_init_containers() {
        let spec = r#"{"containers":[{"name":"c"}],
            "initContainers":[{"name":"a"},{"name":"s","restartPolicy":"Always"}]}"#;
        let row = |status: &str| {
            let cells = cells(spec, &format!(r#"{{"phase":"Pending",{status}}}"#), "");
            cells.split('|').skip(1).take(2).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            row(r#""initContainerStatuses":[{"name":"a","state":{"running":{}}}]"#),
            "0/2 Init:0/2"
        );
        assert_eq!(
            row(
                r#""initContainerStatuses":[{"name":"a","state":{"terminated":{"exitCode":1,"reason":"Error"}}}]"#
            ),
            "0/2 Init:Error"
        );
        assert_eq!(
            row(r#""initContainerStatuses":[{"name":"a","state":{"terminated":{"exitCode":0}}},
                {"name":"s","started":true,"ready":true,"state":{"running":{}}}],
                "containerStatuses":[{"state":{"waiting":{"reason":"PodInitializing"}}}]"#),
            "1/2 PodInitializing"
        );
    }

    #[test]
    fn a_completed_container_beside_a_running_one() {
        let status = |ready: &str, code: u8| {
            format!(
                r#"{{"phase":"Running","conditions":[{{"type":"Ready","status":"{ready}"}}],
                "containerStatuses":[{{"state":{{"terminated":{{"exitCode":{code},"reason":"Completed"}}}}}},
                {{"ready":true,"state":{{"running":{{}}}}}}]}}"#
            )
        };
        let word = |status: String| cells(ONE, &status, "").split('|').nth(2).unwrap().to_owned();
        assert_eq!(word(status("True", 0)), "Running");
        assert_eq!(word(status("False", 0)), "NotReady");
    }
}
