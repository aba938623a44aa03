//! Pods and containers from beginning to end.

use super::world::{World, run};
use rk::runtime::{ExitCause, Phase};

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
