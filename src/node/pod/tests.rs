//! A pod's life as a table: what is seen, what is done, what is reported.

#![allow(clippy::too_many_lines, reason = "each is one table of cases")]

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::*;

const NOW: Wall = Wall::from_seconds(1_000_000);

fn at(offset: &str) -> Wall {
    Wall(NOW.0 + offset.parse::<i64>().unwrap() * 1_000_000_000)
}

/// A pod from its containers: `a`, `init:a`, `side:a`, `debug:a`, and fields of the spec as JSON.
fn pod(containers: &str, extra: &str, meta: &str, status: &str) -> Pod {
    let (mut apps, mut inits, mut debug) = (Vec::new(), Vec::new(), Vec::new());
    for word in containers.split_whitespace() {
        let (kind, name) = word.split_once(':').unwrap_or(("app", word));
        let plain = format!(r#"{{"name":"{name}","image":"i"}}"#);
        match kind {
            "init" => inits.push(plain),
            "side" => {
                inits.push(format!(r#"{{"name":"{name}","image":"i","restartPolicy":"Always"}}"#))
            }
            "debug" => debug.push(plain),
            _ => apps.push(plain),
        }
    }
    let comma = if extra.is_empty() { "" } else { "," };
    let json = format!(
        r#"{{"metadata":{{"name":"p","namespace":"n","uid":"u","generation":3{meta}}},
        "spec":{{"containers":[{}],"initContainers":[{}],"ephemeralContainers":[{}]{comma}{extra}}},
        "status":{{{status}}}}}"#,
        apps.join(","),
        inits.join(","),
        debug.join(",")
    );
    serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

/// `up` or `bare` or `lost`, then containers as `a=run`, `a=exit:1@-5`, with `+` for more.
fn seen(text: &str) -> Observed {
    let mut words = text.split_whitespace();
    let mut seen = Observed { since: Some(at("-50")), epoch: 1, ..Observed::default() };
    (seen.sandbox, seen.volumes) = match words.next() {
        Some("bare") => (Sandbox::Absent, Volumes::Absent),
        Some("mounted") => (Sandbox::Absent, Volumes::Ready),
        Some("lost") => (Sandbox::Lost, Volumes::Ready),
        _ => (Sandbox::Ready, Volumes::Ready),
    };
    if seen.sandbox == Sandbox::Ready {
        seen.ips = vec!["10.42.0.9".parse().unwrap()];
    }
    for word in words {
        let (name, parts) = word.split_once('=').unwrap();
        seen.containers.insert(name.to_owned(), container(parts));
    }
    seen
}

fn container(parts: &str) -> Seen {
    let mut seen = Seen::default();
    let attempt =
        || Attempt { id: "x".into(), epoch: 1, image_asked: "i".into(), ..Attempt::default() };
    for part in parts.split('+') {
        let (key, value) = part.split_once(':').unwrap_or((part, ""));
        let (value, time) = value.split_once('@').unwrap_or((value, "-1"));
        if matches!(key, "run" | "exit") {
            seen.current = Some(attempt());
        }
        let mut nothing = Attempt::default();
        let current = seen.current.as_mut().unwrap_or(&mut nothing);
        match key {
            "none" => {}
            "run" => current.started = Some(at("-40")),
            "exit" => {
                let code = value.parse().unwrap();
                let reason = if code == 0 { "Completed" } else { "Error" };
                current.started = Some(at("-40"));
                current.end = Some(End {
                    code,
                    signal: None,
                    reason: reason.into(),
                    message: String::new(),
                    finished: at(time),
                    resized: false,
                });
            }
            "number" => current.number = value.parse().unwrap(),
            "old" => current.epoch = 0,
            "image" => current.image_asked = value.into(),
            "crash" => {
                let delay = Duration::from_secs(value.parse().unwrap());
                seen.crash = Some(Crash { delay, at: at(time) });
            }
            "starting" => seen.busy = Some(Busy::Starting),
            "hook" => seen.busy = Some(Busy::Hook),
            "stopping" => seen.busy = Some(Busy::Stopping { deadline: at(value) }),
            "trouble" => {
                let (reason, message) = (value.to_owned(), String::new());
                seen.trouble = Some(Trouble { reason, message, later: None, retry: at(time) });
            }
            "unstarted" => seen.probes.startup = None,
            "nostartup" => seen.probes.startup = Some(false),
            "dead" => seen.probes.live = false,
            "unready" => seen.probes.ready = false,
            other => panic!("{other}"),
        }
    }
    seen
}

fn offset(time: Wall) -> i64 {
    (time.0 - NOW.0) / 1_000_000_000
}

fn actions(step: &Step) -> String {
    let text = |action: &Action| match action {
        Action::Mount => "mount".to_owned(),
        Action::MakeSandbox { epoch } => format!("sandbox{epoch}"),
        Action::Start { container, number, .. } => format!("start:{container}#{number}"),
        Action::Stop { container, deadline, .. } => {
            format!("stop:{container}@{}", offset(*deadline))
        }
        Action::Restart { container, deadline, .. } => {
            format!("restart:{container}@{}", offset(*deadline))
        }
        Action::Resize => "resize".to_owned(),
        Action::EndSandbox => "end".to_owned(),
        Action::Unmount => "unmount".to_owned(),
        Action::Remove => "remove".to_owned(),
    };
    step.actions.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Phase, which of Initialized and Ready hold, and the state of each container.
fn report(step: &Step) -> String {
    let status = &step.status;
    let mut out = status.phase.clone().unwrap_or_default();
    for condition in status.conditions.iter().flatten() {
        if condition.status == "True" && matches!(&*condition.type_, "Initialized" | "Ready") {
            out += &format!(" {}", condition.type_);
        }
    }
    let lists = [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ];
    for container in lists.into_iter().flatten().flatten() {
        let state = container.state.clone().unwrap_or_default();
        let text = match (state.waiting, state.running, state.terminated) {
            (Some(waiting), _, _) => waiting.reason.unwrap_or_default(),
            (_, Some(_), _) => "Running".to_owned(),
            (_, _, Some(ended)) => ended.reason.unwrap_or_default(),
            _ => "?".to_owned(),
        };
        out += &format!(" {}={text}", container.name);
    }
    out
}

struct Row {
    name: &'static str,
    containers: &'static str,
    spec: &'static str,
    meta: &'static str,
    seen: &'static str,
    actions: &'static str,
    report: &'static str,
    wake: Option<i64>,
}

const ROW: Row = Row {
    name: "",
    containers: "a",
    spec: "",
    meta: "",
    seen: "up",
    actions: "",
    report: "",
    wake: None,
};
const NEVER: &str = r#""restartPolicy":"Never""#;
const ON_FAILURE: &str = r#""restartPolicy":"OnFailure""#;
const DELETED: &str =
    r#","deletionTimestamp":"1970-01-12T13:46:40Z","deletionGracePeriodSeconds":20"#;

fn check(rows: &[Row]) {
    for row in rows {
        let pod = pod(row.containers, row.spec, row.meta, "");
        let step = step(&pod, &seen(row.seen), &["192.0.2.1".to_owned()], NOW);
        assert_eq!(actions(&step), row.actions, "actions: {}", row.name);
        assert_eq!(report(&step), row.report, "report: {}", row.name);
        assert_eq!(step.wake.map(offset), row.wake, "wake: {}", row.name);
    }
}

#[test]
fn comes_up() {
    check(&[
        Row {
            name: "a new pod is mounted and gets a sandbox at once",
            seen: "bare",
            actions: "mount sandbox2",
            report: "Pending Initialized a=ContainerCreating",
            ..ROW
        },
        Row {
            name: "containers wait for both",
            seen: "mounted",
            actions: "sandbox2",
            report: "Pending Initialized a=ContainerCreating",
            ..ROW
        },
        Row {
            name: "the first container starts, the second waits for it",
            containers: "b a",
            actions: "start:b#0",
            report: "Pending Initialized a=ContainerCreating b=ContainerCreating",
            ..ROW
        },
        Row {
            name: "a postStart hook holds the next one back",
            containers: "b a",
            seen: "up b=run+hook",
            report: "Pending Initialized a=ContainerCreating b=Running",
            ..ROW
        },
        Row {
            name: "all run",
            containers: "b a",
            seen: "up b=run a=run",
            report: "Running Initialized Ready a=Running b=Running",
            ..ROW
        },
        Row {
            name: "unready by its probe",
            seen: "up a=run+unready",
            report: "Running Initialized a=Running",
            ..ROW
        },
        Row {
            name: "not started by its startup probe, so not ready",
            seen: "up a=run+unstarted",
            report: "Running Initialized a=Running",
            ..ROW
        },
        Row {
            name: "one in trouble does not keep the other from starting",
            containers: "a b",
            seen: "up a=none+trouble:ErrImagePull@7",
            actions: "start:b#0",
            report: "Pending Initialized a=ErrImagePull b=ContainerCreating",
            wake: Some(7),
            ..ROW
        },
        Row {
            name: "an ephemeral container starts beside running ones",
            containers: "a debug:d",
            seen: "up a=run",
            actions: "start:d#0",
            report: "Running Initialized Ready a=Running d=ContainerCreating",
            ..ROW
        },
        Row {
            name: "and is not restarted",
            containers: "a debug:d",
            seen: "up a=run d=exit:1",
            report: "Running Initialized Ready a=Running d=Error",
            ..ROW
        },
    ]);
}

#[test]
fn restarts_what_ended() {
    check(&[
        Row {
            name: "the first restart is immediate",
            seen: "up a=exit:1@-1",
            actions: "start:a#1",
            report: "Running Initialized a=Error",
            ..ROW
        },
        Row {
            name: "the second waits",
            seen: "up a=exit:1@-4+number:1+crash:10@-6",
            report: "Running Initialized a=CrashLoopBackOff",
            wake: Some(6),
            ..ROW
        },
        Row {
            name: "until its time has come",
            seen: "up a=exit:0@-10+number:1+crash:10@-16",
            actions: "start:a#2",
            report: "Running Initialized a=Completed",
            ..ROW
        },
        Row {
            name: "ten minutes of running forgive all",
            seen: "up a=exit:1@-1+number:7+crash:300@-700",
            actions: "start:a#8",
            report: "Running Initialized a=Error",
            ..ROW
        },
        Row {
            name: "OnFailure restarts only failures",
            containers: "a b",
            spec: ON_FAILURE,
            seen: "up a=exit:0 b=exit:3",
            actions: "start:b#1",
            report: "Running Initialized a=Completed b=Error",
            ..ROW
        },
        Row {
            name: "Never leaves one container dead beside the others",
            containers: "a b",
            spec: NEVER,
            seen: "up a=run b=exit:3",
            report: "Running Initialized a=Running b=Error",
            ..ROW
        },
        Row {
            name: "a failed liveness probe",
            spec: r#""terminationGracePeriodSeconds":5"#,
            seen: "up a=run+dead",
            actions: "stop:a@5",
            report: "Running Initialized Ready a=Running",
            ..ROW
        },
        Row {
            name: "a failed startup probe",
            seen: "up a=run+nostartup",
            actions: "stop:a@30",
            report: "Running Initialized a=Running",
            ..ROW
        },
        Row {
            name: "another image",
            seen: "up a=run+image:other",
            actions: "stop:a@30",
            report: "Running Initialized Ready a=Running",
            ..ROW
        },
        Row {
            name: "a lost sandbox is taken down first",
            seen: "lost a=exit:255",
            actions: "end",
            report: "Running Initialized a=Error",
            ..ROW
        },
    ]);
}

#[test]
fn runs_init_containers_in_order() {
    check(&[
        Row {
            name: "the first",
            containers: "init:i init:j a",
            actions: "start:i#0",
            report: "Pending i=PodInitializing j=PodInitializing a=PodInitializing",
            ..ROW
        },
        Row {
            name: "the second after the first",
            containers: "init:i init:j a",
            seen: "up i=exit:0",
            actions: "start:j#0",
            report: "Pending i=Completed j=PodInitializing a=PodInitializing",
            ..ROW
        },
        Row {
            name: "a failed one again",
            containers: "init:i a",
            seen: "up i=exit:1@-2+number:1+crash:10@-3",
            report: "Pending i=CrashLoopBackOff a=PodInitializing",
            wake: Some(8),
            ..ROW
        },
        Row {
            name: "a failed one never",
            containers: "init:i a",
            spec: NEVER,
            seen: "up i=exit:1",
            actions: "end",
            report: "Failed i=Error a=PodInitializing",
            ..ROW
        },
        Row {
            name: "then the others",
            containers: "init:i a",
            seen: "up i=exit:0",
            actions: "start:a#0",
            report: "Pending Initialized i=Completed a=PodInitializing",
            ..ROW
        },
        Row {
            name: "a new sandbox starts over",
            containers: "init:i a",
            seen: "up i=exit:0+old a=exit:255+old",
            actions: "start:i#1",
            report: "Running Initialized i=Completed a=Error",
            ..ROW
        },
        Row {
            name: "a sidecar must have started",
            containers: "side:s a",
            seen: "up s=run+unstarted",
            report: "Pending s=Running a=PodInitializing",
            ..ROW
        },
        Row {
            name: "and lets the others in",
            containers: "side:s a",
            seen: "up s=run",
            actions: "start:a#0",
            report: "Pending Initialized s=Running a=PodInitializing",
            ..ROW
        },
        Row {
            name: "a sidecar is restarted beside running containers",
            containers: "side:s a",
            spec: NEVER,
            seen: "up s=exit:0 a=run",
            actions: "start:s#1",
            report: "Running Initialized s=Completed a=Running",
            ..ROW
        },
    ]);
}

#[test]
fn ends() {
    check(&[
        Row {
            name: "done well",
            spec: NEVER,
            seen: "up a=exit:0",
            actions: "end",
            report: "Succeeded Initialized a=Completed",
            ..ROW
        },
        Row {
            name: "done badly, volumes last",
            spec: NEVER,
            seen: "mounted a=exit:2",
            actions: "unmount",
            report: "Failed Initialized a=Error",
            ..ROW
        },
        Row {
            name: "done, but a sidecar runs: not over yet",
            containers: "side:s side:t a",
            spec: NEVER,
            seen: "up s=run t=run a=exit:0",
            actions: "stop:t@30",
            report: "Running Initialized s=Running t=Running a=Completed",
            ..ROW
        },
        Row {
            name: "deleted: stop with the deletion's grace",
            containers: "side:s a b",
            meta: DELETED,
            seen: "up s=run a=run b=run",
            actions: "stop:a@20 stop:b@20",
            report: "Running Initialized Ready s=Running a=Running b=Running",
            ..ROW
        },
        Row {
            name: "already stopping in time",
            meta: DELETED,
            seen: "up a=run+stopping:10",
            report: "Running Initialized Ready a=Running",
            ..ROW
        },
        Row {
            name: "stopping too late: hurry",
            meta: DELETED,
            seen: "up a=run+stopping:30",
            actions: "stop:a@20",
            report: "Running Initialized Ready a=Running",
            ..ROW
        },
        Row {
            name: "a start in progress is waited for",
            meta: DELETED,
            seen: "up a=none+starting",
            report: "Pending Initialized a=ContainerCreating",
            ..ROW
        },
        Row {
            name: "nothing left: remove",
            meta: DELETED,
            seen: "bare a=exit:143",
            actions: "remove",
            report: "Failed Initialized a=Error",
            ..ROW
        },
        Row {
            name: "deleted before it ran",
            meta: DELETED,
            seen: "bare",
            actions: "remove",
            report: "Failed Initialized a=ContainerCreating",
            ..ROW
        },
        Row {
            name: "past its deadline",
            spec: r#""activeDeadlineSeconds":49"#,
            seen: "up a=run",
            actions: "stop:a@30",
            report: "Running Initialized Ready a=Running",
            ..ROW
        },
        Row {
            name: "before its deadline",
            spec: r#""activeDeadlineSeconds":60"#,
            seen: "up a=run",
            report: "Running Initialized Ready a=Running",
            wake: Some(10),
            ..ROW
        },
    ]);
}

#[test]
fn a_missed_deadline_is_told() {
    let pod = pod("a", r#""activeDeadlineSeconds":9"#, "", "");
    let step = step(&pod, &seen("bare a=exit:137"), &[], NOW);
    assert_eq!(step.status.phase.as_deref(), Some("Failed"));
    assert_eq!(step.status.reason.as_deref(), Some("DeadlineExceeded"));
}

#[test]
fn what_is_over_stays_over() {
    let pod = pod("a", "", "", r#""phase":"Succeeded""#);
    let step = step(&pod, &seen("bare a=exit:0"), &[], NOW);
    assert_eq!(
        (actions(&step), report(&step)),
        (String::new(), "Succeeded Initialized a=Completed".into())
    );
    assert!(step.done);
}

#[test]
fn a_rejected_pod_fails_without_a_trace() {
    let verdict = Verdict {
        reason: "OutOfcpu".into(),
        message: "Pod was rejected: no".into(),
        rejected: true,
    };
    let seen = Observed { verdict: Some(verdict), ..Observed::default() };
    let step = step(&pod("a", "", "", ""), &seen, &[], NOW);
    assert_eq!(report(&step), "Failed");
    assert_eq!(step.status.reason.as_deref(), Some("OutOfcpu"));
    assert!(step.actions.is_empty() && step.done);
}

#[test]
fn a_crash_loop_names_its_delay_and_keeps_the_last_end() {
    let step = step(&pod("a", "", "", ""), &seen("up a=exit:1@-1+number:4+crash:80@-3"), &[], NOW);
    let status = &step.status.container_statuses.as_ref().unwrap()[0];
    let waiting = status.state.as_ref().unwrap().waiting.as_ref().unwrap();
    let message = "back-off 1m20s restarting failed container=a pod=p_n(u)";
    assert_eq!(waiting.message.as_deref(), Some(message));
    let last = status.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.container_id.as_deref()), (1, Some("rk://x")));
    assert_eq!(status.restart_count, 4);
}

#[test]
fn conditions_keep_their_transition_and_say_why() {
    let old = r#""conditions":[
        {"type":"Ready","status":"False","lastTransitionTime":"2020-01-01T00:00:00Z"},
        {"type":"gate","status":"False"}]"#;
    let gated =
        pod("a", r#""readinessGates":[{"conditionType":"gate"},{"conditionType":"no"}]"#, "", old);
    let step = step(&gated, &seen("up a=run"), &[], NOW);
    let conditions = step.status.conditions.unwrap();
    let ready = conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.reason.as_deref(), Some("ReadinessGatesNotReady"));
    assert_eq!(
        ready.message.as_deref(),
        Some(
            "the status of pod readiness gate \"gate\" is not \"True\", but False, corresponding \
             condition of pod readiness gate \"no\" does not exist."
        )
    );
    assert_eq!(ready.last_transition_time.as_ref().unwrap().0.as_second(), 1_577_836_800);
    assert_eq!(ready.observed_generation, Some(3));
}

#[test]
fn back_off_doubles_to_five_minutes() {
    let mut crash = None;
    let delays: Vec<u64> = (0..7)
        .map(|i| {
            crash = Some(Crash::next(crash, at(&i.to_string()), at(&i.to_string())));
            crash.unwrap().delay.as_secs()
        })
        .collect();
    assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn restart_rules_of_a_container_come_first() {
    let rules = r#""restartPolicy":"Never","containers":[{"name":"a","image":"i",
        "restartPolicyRules":[{"action":"Restart","exitCodes":{"operator":"In","values":[42]}}]}]"#;
    let text = format!(r#"{{"metadata":{{"name":"p"}},"spec":{{{rules}}}}}"#);
    let pod: Pod = serde_json::from_str(&text).unwrap();
    assert_eq!(actions(&step(&pod, &seen("up a=exit:42"), &[], NOW)), "start:a#1");
    assert_eq!(actions(&step(&pod, &seen("up a=exit:1"), &[], NOW)), "end");
}

#[test]
fn a_replacement_is_told_once_it_runs_or_takes_long() {
    let (usual, never) = (pod("a", "", "", ""), pod("a", NEVER, "", ""));
    for (a, quiet, wake) in [
        ("exit:0@0+image:old", true, Some(1)),
        ("exit:0@0+image:old+starting", true, Some(1)),
        ("exit:0@-2+image:old", false, None),
        ("exit:0@0", false, None),
        ("run+image:old+stopping:9", false, None),
    ] {
        let step = step(&usual, &seen(&format!("up a={a}")), &["192.0.2.1".to_owned()], NOW);
        assert_eq!((step.quiet, step.wake.map(offset)), (quiet, wake), "{a}");
    }
    let over = step(&never, &seen("up a=exit:0@0+image:old"), &[], NOW);
    assert!(!over.quiet, "it is not replaced");
}
