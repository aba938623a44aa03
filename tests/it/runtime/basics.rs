//! Pods and containers from beginning to end.

use super::world::{World, run};
use rk::runtime::{ContainerSpec, Error, ExitCause, FaultKind, Phase, PodHandle, User};
use std::time::Duration;

#[tokio::test]
async fn a_container_runs_logs_and_exits() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let script = "echo out; echo err >&2; hostname; exit 7";
    let exit = run(&pod, world.container("c", script)).await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    assert_eq!(exit.cause, ExitCause::Program);
    let logged = world.logged("c");
    for line in ["stdout F out\n", "stderr F err\n", "stdout F host-p\n"] {
        assert!(logged.contains(line), "{logged}");
    }
    let status = pod.container("c").unwrap();
    assert_eq!((status.phase, status.pid), (Phase::Exited, None));
    assert!(status.created_ns < status.started_ns.unwrap());
    pod.remove("c").await.unwrap();
    pod.remove("c").await.unwrap();
    assert!(pod.containers().is_empty());
    runtime.remove_pod("p").await.unwrap();
    runtime.remove_pod("p").await.unwrap();
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn containers_of_a_pod_share_its_namespaces_and_have_their_own_processes() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let script = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done
        touch /dev/shm/from-$0; ls /dev/shm | wc -l; ip addr show lo | grep -c 'inet 127'; echo $$";
    for id in ["a", "b", "c"] {
        let mut spec = world.container(id, script);
        spec.args.push(id.to_owned());
        assert_eq!(run(&pod, spec).await.code, 0);
    }
    let lines = |id: &str| world.logged(id).lines().map(str::to_owned).collect::<Vec<_>>();
    let (a, b, c) = (lines("a"), lines("b"), lines("c"));
    assert_eq!(a[..3], b[..3]);
    for (index, lines) in [a, b, c].iter().enumerate() {
        assert_eq!(lines[4], format!("stdout F {}", index + 1));
        assert_eq!(lines[5..], ["stdout F 1", "stdout F 1"]);
    }
    let host = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(!world.logged("a").contains(host.to_str().unwrap()));
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn containers_end_by_signals_and_by_request() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let started = async |spec: ContainerSpec| {
        let id = spec.id.clone();
        pod.create(spec).await.unwrap();
        pod.start(&id).await.unwrap();
        ready(&world, &id).await;
    };
    let polite = "trap 'echo bye; exit 5' TERM; trap 'exit 6' QUIT; echo ready;
        while :; do sleep 0.01; done";
    started(world.container("polite", polite)).await;
    let minute = Duration::from_secs(60);
    assert_eq!(pod.stop("polite", None, minute).await.unwrap().code, 5);
    assert!(world.logged("polite").contains("bye"));
    let own = Some("SIGQUIT".to_owned());
    started(ContainerSpec { stop_signal: own, ..world.container("own", polite) }).await;
    assert_eq!(pod.stop("own", None, minute).await.unwrap().code, 6);
    // A shell as PID 1 ignores what it has no handler for.
    started(world.container("deaf", "echo ready; while :; do sleep 1; done")).await;
    let exit = pod.stop("deaf", None, Duration::from_millis(50)).await.unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    pod.stop("deaf", None, minute).await.unwrap();
    pod.kill("deaf", 9, true).await.unwrap();
    started(world.container("rest", "sleep 1000 & echo ready; wait")).await;
    pod.kill("rest", 9, false).await.unwrap();
    assert_eq!(pod.wait("rest").await.unwrap().signal, Some(9));
    runtime.remove_pod("p").await.unwrap();
}

/// Waits for the line `ready` in a container's log.
pub async fn ready(world: &World, id: &str) {
    let path = world.log(id);
    let options = rk::runtime::logs::ReadOptions::default();
    let never = std::future::pending();
    let mut reader = rk::runtime::logs::LogReader::follow(&path, options, never).unwrap();
    let mut text = String::new();
    while !text.contains("ready") {
        text += std::str::from_utf8(&reader.next().await.unwrap().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn operations_may_be_repeated_and_say_what_is_wrong() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    runtime.run_pod(world.pod("p")).await.unwrap();
    let mut other = world.pod("p");
    other.hostname = "other".into();
    assert!(matches!(runtime.run_pod(other).await, Err(Error::Differs(_))));
    assert!(matches!(runtime.run_pod(world.pod("a/b")).await, Err(Error::BadId(_))));
    let spec = world.container("c", "echo ready; sleep 1000");
    pod.create(spec.clone()).await.unwrap();
    pod.create(spec.clone()).await.unwrap();
    assert_eq!(pod.container("c").unwrap().phase, Phase::Created);
    let changed = ContainerSpec { tty: true, ..spec.clone() };
    assert!(matches!(pod.create(changed).await, Err(Error::Differs(_))));
    pod.start("c").await.unwrap();
    pod.start("c").await.unwrap();
    pod.remove("c").await.unwrap();
    assert!(pod.start("c").await.unwrap_err().is_not_found());
    assert!(pod.wait("c").await.unwrap_err().is_not_found());
    pod.create(spec).await.unwrap();
    assert_eq!(pod.stop("c", None, Duration::ZERO).await.unwrap().signal, Some(9));
    assert!(pod.start("c").await.is_err());
    runtime.remove_pod("p").await.unwrap();
    assert!(pod.is_dead());
    assert!(matches!(pod.start("c").await, Err(Error::ShimDead(_))));
}

async fn refused(pod: &PodHandle, spec: ContainerSpec) -> Error {
    let id = spec.id.clone();
    let error = pod.create(spec).await.unwrap_err();
    assert!(pod.container(&id).is_none());
    error
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_its_reason() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let with = |args: &[&str]| {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        ContainerSpec { args, ..world.container("c", "") }
    };
    // One attempt after the other: none is in the way of what the last one cleans up.
    for _ in 0..12 {
        let error = refused(&pod, with(&["nope"])).await;
        assert!(error.is_program());
        assert_eq!(error.to_string(), r#"exec: "nope": executable file not found in $PATH"#);
    }
    let error = refused(&pod, with(&["/etc/passwd"])).await;
    assert_eq!(error.to_string(), r#"exec: "/etc/passwd": permission denied"#);
    let cwd = ContainerSpec { cwd: "/etc/passwd/x".into(), ..with(&["sh"]) };
    let error = refused(&pod, cwd).await.to_string();
    assert!(error.contains("working directory \"/etc/passwd/x\": Not a directory"), "{error}");
    let user = User { image: "nobody".into(), ..User::default() };
    let error = refused(&pod, ContainerSpec { user, ..with(&["sh"]) }).await;
    assert!(matches!(&error, Error::Fault(fault) if fault.kind == FaultKind::Invalid));
    assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
    let mut missing = with(&["sh"]);
    missing.mounts = vec![super::isolation::bind("/does/not/exist", "/data")];
    let error = refused(&pod, missing).await.to_string();
    assert!(error.contains("/does/not/exist") && error.contains("No such file"), "{error}");
    let mut caps = with(&["sh"]);
    caps.capabilities.add = vec!["FLY".into()];
    assert_eq!(refused(&pod, caps).await.to_string(), "unknown capability \"FLY\"");
    // After all of that the id is free and the pod as good as new.
    assert_eq!(run(&pod, world.container("c", "exit 3")).await.code, 3);
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_after_all_is_said_at_start() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let script = "printf 'no program' > /data/odd; chmod +x /data/odd; sleep 0";
    assert_eq!(run(&pod, world.container("maker", script)).await.code, 0);
    let odd = world.path("layers/maker/upper/data/odd");
    let mut spec = world.container("c", "");
    spec.mounts = vec![super::isolation::bind(odd.to_str().unwrap(), "/data/odd")];
    spec.args = vec!["/data/odd".into()];
    pod.create(spec).await.unwrap();
    let error = pod.start("c").await.unwrap_err();
    assert!(error.is_program());
    assert_eq!(error.to_string(), "exec /data/odd: exec format error");
    assert_eq!(pod.wait("c").await.unwrap().code, 255);
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn changes_are_named_once_however_many() {
    let world = World::new();
    let runtime = world.open().await;
    let (a, b) = tokio::join!(runtime.run_pod(world.pod("a")), runtime.run_pod(world.pod("b")));
    run(&a.unwrap(), world.container("x", "")).await;
    run(&b.unwrap(), world.container("y", "")).await;
    assert_eq!(runtime.next_change().await, "a");
    assert_eq!(runtime.next_change().await, "b");
    let none = tokio::time::timeout(Duration::from_millis(50), runtime.next_change()).await;
    assert!(none.is_err());
    runtime.remove_pod("a").await.unwrap();
    assert_eq!(runtime.next_change().await, "a");
    runtime.remove_pod("b").await.unwrap();
    runtime.close().await.unwrap();
}
