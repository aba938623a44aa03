//! Limits, usage, and that nothing stays.

use super::world::{Census, World, run};
use rk::runtime::{ContainerSpec, ExecSpec, Resources};
use std::time::Duration;

#[tokio::test]
async fn limits_are_set_seen_and_changed_while_running() {
    let world = World::new();
    let runtime = world.open().await;
    let mut sandbox = world.pod("p");
    sandbox.resources.memory_bytes = Some(512 << 20);
    let pod = runtime.run_pod(sandbox).await.unwrap();
    let resources = Resources {
        cpu_shares: Some(512),
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(100_000),
        memory_bytes: Some(64 << 20),
        pids: Some(50),
        ..Resources::default()
    };
    let spec = ContainerSpec {
        resources,
        ..world.container("c", "echo ready; i=0; while :; do i=$((i+1)); done")
    };
    pod.create(spec).await.unwrap();
    pod.start("c").await.unwrap();
    super::basics::ready(&world, "c").await;
    let seen = async |script: &str| {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        let spec = ExecSpec { args, stdout: true, ..ExecSpec::default() };
        let mut session = pod.exec("c", &spec).await.unwrap();
        super::streams::all(&mut session.stdout).await
    };
    let limit =
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    assert_eq!(seen(limit).await, format!("{}\n", 64 << 20));
    let more = Resources { memory_bytes: Some(128 << 20), ..Resources::default() };
    pod.update("c", more).await.unwrap();
    assert_eq!(seen(limit).await, format!("{}\n", 128 << 20));
    let less = Resources { memory_bytes: Some(32 << 20), ..Resources::default() };
    pod.update("c", less).await.unwrap();
    assert_eq!(seen(limit).await, format!("{}\n", 32 << 20));
    let stats = pod.stats().await.unwrap();
    let usage = &stats.containers["c"];
    assert!(usage.cpu_ns > 0 && usage.memory_bytes > 0 && usage.pids >= 1, "{usage:?}");
    assert!(usage.working_set_bytes <= usage.memory_bytes);
    assert_eq!(usage.memory_limit_bytes, Some(32 << 20));
    assert_eq!(stats.pod.memory_limit_bytes, Some(512 << 20));
    assert!(stats.pod.cpu_ns >= usage.cpu_ns);
    let facts = runtime.facts();
    assert!(facts.missing.is_empty() && facts.seccomp && facts.overlayfs, "{facts:?}");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn a_container_out_of_memory_is_killed_and_said_so() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let resources = Resources { memory_bytes: Some(24 << 20), ..Resources::default() };
    let hungry = "head -c 100m /dev/zero | tail";
    let spec = ContainerSpec { resources: resources.clone(), ..world.container("c", hungry) };
    let exit = run(&pod, spec).await;
    assert!(exit.oom_killed && exit.code != 0, "{exit:?}");
    let spec = ContainerSpec { resources, ..world.container("d", "echo fine; exit 1") };
    let exit = run(&pod, spec).await;
    assert!(!exit.oom_killed && exit.code == 1);
    let resources = Resources { pids: Some(10), ..Resources::default() };
    let forker = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo unreached";
    let spec = ContainerSpec { resources, ..world.container("f", forker) };
    assert_ne!(run(&pod, spec).await.code, 0);
    assert!(!world.logged("f").contains("unreached"));
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn scores_of_the_oom_killer_reach_the_container_alone() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let own: i32 =
        std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    for (id, wanted) in [("high", 700), ("low", -900)] {
        let spec = ContainerSpec {
            oom_score_adj: wanted,
            ..world.container(id, "cat /proc/self/oom_score_adj")
        };
        assert_eq!(run(&pod, spec).await.code, 0);
        let got: i32 = world.logged(id).split(' ').next_back().unwrap().trim().parse().unwrap();
        // Without CAP_SYS_RESOURCE the score cannot go below the present one.
        assert!(got == wanted || (wanted < own && got <= own), "{id}: {got}");
    }
    let spec = world.container("zero", "cat /proc/self/oom_score_adj");
    assert_eq!(run(&pod, spec).await.code, 0);
    assert_eq!(world.logged("zero"), "stdout F 0\n");
    runtime.remove_pod("p").await.unwrap();
}

/// A pod's whole life, with an exec in it.
async fn life(world: &World, runtime: &rk::runtime::Runtime, id: &str) {
    let pod = runtime.run_pod(world.pod(id)).await.unwrap();
    let one = format!("{id}-one");
    pod.create(world.container(&one, "echo ready; sleep 1000")).await.unwrap();
    pod.start(&one).await.unwrap();
    let args = vec!["true".to_owned()];
    let spec = ExecSpec { args, stdout: true, ..ExecSpec::default() };
    assert_eq!(pod.exec(&one, &spec).await.unwrap().wait().await.code, 0);
    run(&pod, world.container(&format!("{id}-two"), "exit 0")).await;
    runtime.remove_pod(id).await.unwrap();
}

#[test]
fn pods_leave_nothing() {
    super::world::alone("runtime::limits::a_hundred_pods_leave_nothing");
}

#[tokio::test]
#[ignore = "counts descriptors, so it runs in a process of its own: pods_leave_nothing"]
async fn a_hundred_pods_leave_nothing() {
    let world = World::new();
    let runtime = world.open().await;
    life(&world, &runtime, "first").await;
    let before = Census::take(&world);
    for wave in 0..25 {
        let ids: Vec<String> = (0..4).map(|n| format!("w{wave}-{n}")).collect();
        let lives = ids.iter().map(|id| life(&world, &runtime, id));
        futures_util::future::join_all(lives).await;
    }
    assert!(runtime.pods().is_empty());
    assert_eq!(Census::take(&world), before);
    runtime.close().await.unwrap();
    for directory in ["run/pods", "run/ns", "run/shim", "run/rootfs", "state/pods"] {
        assert!(!world.path(directory).exists(), "{directory}");
    }
}

#[tokio::test]
async fn a_pod_with_much_in_it_goes_at_once() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    for number in 0..8 {
        let id = format!("c{number}");
        let script = "trap '' TERM; sleep 1000 & sleep 1000 & echo ready; wait; wait";
        pod.create(world.container(&id, script)).await.unwrap();
        pod.start(&id).await.unwrap();
    }
    let removed = tokio::time::timeout(Duration::from_secs(60), runtime.remove_pod("p"));
    removed.await.unwrap().unwrap();
    runtime.close().await.unwrap();
}
