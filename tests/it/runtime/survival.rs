//! What outlives whom.

use super::basics::ready;
use super::world::{World, run};
use rk::runtime::{ContainerSpec, ExecSpec, ExitCause, Phase, Runtime};
use rk::sys::channel::Listener;
use rk::sys::{fd, process};
use std::os::fd::AsRawFd;
use std::time::Duration;

const COUNTER: &str = "echo ready; i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";

fn no_gap(world: &World, id: &str) -> usize {
    let logged = world.logged(id);
    let numbers: Vec<usize> =
        logged.lines().filter_map(|line| line.split(' ').next_back()?.parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{logged}");
    numbers.len()
}

#[tokio::test]
async fn pods_outlive_the_runtime_and_are_found_again() {
    let world = World::new();
    let runtime = world.open().await;
    let mut sandbox = world.pod("p");
    sandbox.labels = [("name".to_owned(), "web".to_owned())].into();
    let pod = runtime.run_pod(sandbox.clone()).await.unwrap();
    let mut spec = world.container("c", COUNTER);
    spec.labels = [("attempt".to_owned(), "3".to_owned())].into();
    pod.create(spec).await.unwrap();
    pod.start("c").await.unwrap();
    let goes = ContainerSpec { ..world.container("goes", "sleep 0.1; exit 12") };
    pod.create(goes).await.unwrap();
    pod.start("goes").await.unwrap();
    ready(&world, "c").await;
    let before = pod.container("c").unwrap();
    drop((pod, runtime));
    // While nobody looks, one goes on and one ends.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let runtime = world.open().await;
    let pod = runtime.pod("p").unwrap();
    assert_eq!(*pod.sandbox(), sandbox);
    assert_eq!(pod.container("c").unwrap(), before);
    assert_eq!(before.labels["attempt"], "3");
    assert_eq!(pod.wait("goes").await.unwrap().code, 12);
    let args = ["sh", "-c", "exit 5"].map(str::to_owned).to_vec();
    let spec = ExecSpec { args, ..ExecSpec::default() };
    assert_eq!(pod.exec("c", &spec).await.unwrap().wait().await.code, 5);
    assert_eq!(run(&pod, world.container("late", "exit 6")).await.code, 6);
    assert!(no_gap(&world, "c") > 10);
    runtime.remove_pod("p").await.unwrap();
    runtime.close().await.unwrap();
}

/// Not a test by itself: the process that the next test kills.
#[tokio::test]
#[ignore = "run by killed_runtimes_lose_nothing"]
async fn victim() {
    let Some(path) = std::env::var_os("RK_IT_WORLD") else { return };
    let group = std::env::var("RK_IT_GROUP").unwrap();
    let world = World::again(path.into(), group);
    let runtime = world.open().await;
    for number in 0.. {
        let id = format!("p{number}");
        if runtime.pod(&id).is_some() {
            continue;
        }
        let pod = runtime.run_pod(world.pod(&id)).await.unwrap();
        let id = format!("c{number}");
        pod.create(world.container(&id, COUNTER)).await.unwrap();
        pod.start(&id).await.unwrap();
        run(&pod, world.container(&format!("d{number}"), "exit 0")).await;
    }
}

fn entries(world: &World, place: &str) -> usize {
    std::fs::read_dir(world.path(place)).map_or(0, Iterator::count)
}

async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

/// Whether a container runs: on a machine that is busy, later rounds may have to make it.
async fn runs(world: &World) -> bool {
    let pods = world.open().await.pods();
    pods.iter().any(|pod| pod.containers().iter().any(|one| one.phase == Phase::Running))
}

/// A process that makes pods is killed at arbitrary moments; what stands goes on, what was half
/// made is cleared away or carried on by the next.
#[tokio::test]
async fn killed_runtimes_lose_nothing() {
    let world = World::new();
    let mut rounds = 0..;
    while let Some(round) = rounds.next()
        && (round < 12 || (round < 60 && !runs(&world).await))
    {
        let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::survival::victim", "--ignored"])
            .env("RK_IT_WORLD", world.path(""))
            .env("RK_IT_GROUP", &world.group)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // From when it makes something, the first rounds a pod and the later ones a container, so
        // that each is caught in another state however busy the machine is.
        let place = if round < 6 { "run/pods" } else { "logs" };
        let before = entries(&world, place);
        until(|| entries(&world, place) > before).await;
        tokio::time::sleep(Duration::from_millis(round % 6 * 17 * (1 + round / 12))).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
        let runtime = world.open().await;
        for pod in runtime.pods() {
            if pod.is_dead() {
                // Killed before its shim was there; none of its containers has run.
                assert!(pod.containers().iter().all(|one| one.phase == Phase::Exited));
                runtime.remove_pod(&pod.sandbox().id).await.unwrap();
                continue;
            }
            for one in pod.containers().iter().filter(|one| one.id.starts_with('c')) {
                assert_ne!(one.phase, Phase::Exited, "{one:?}");
            }
        }
    }
    let runtime = world.open().await;
    let mut counted = 0;
    for pod in runtime.pods() {
        let running = pod.containers().into_iter().filter(|one| one.phase == Phase::Running);
        for one in running {
            ready(&world, &one.id).await;
            counted += no_gap(&world, &one.id);
        }
    }
    assert!(counted > 20, "{counted}");
    for pod in runtime.pods() {
        runtime.remove_pod(&pod.sandbox().id).await.unwrap();
    }
    runtime.close().await.unwrap();
}

async fn with_two_containers(world: &World) -> (Runtime, i32) {
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    run(&pod, world.container("ended", "exit 4")).await;
    pod.create(world.container("runs", COUNTER)).await.unwrap();
    pod.start("runs").await.unwrap();
    let shim = world.shim("p");
    (runtime, shim)
}

async fn expect_dead(world: &World, runtime: &Runtime, cause: ExitCause) {
    let pod = runtime.pod("p").unwrap();
    let exit = pod.wait("runs").await.unwrap();
    assert_eq!((exit.code, exit.cause), (255, cause));
    assert!(pod.is_dead());
    assert_eq!(pod.wait("ended").await.unwrap().code, 4);
    let cgroups = rk::sys::cgroup::Cgroups::detect().unwrap();
    assert!(cgroups.processes(&format!("{}/kubepods", world.group)).unwrap().is_empty());
    assert!(runtime.run_pod(world.pod("p")).await.is_err());
    pod.remove("ended").await.unwrap();
    runtime.remove_pod("p").await.unwrap();
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    assert_eq!(run(&pod, world.container("runs", "exit 1")).await.code, 1);
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn the_death_of_a_shim_ends_its_pod() {
    let world = World::new();
    let (runtime, shim) = with_two_containers(&world).await;
    let exec = ExecSpec { args: vec!["sleep".into(), "1000".into()], ..ExecSpec::default() };
    let session = runtime.pod("p").unwrap().exec("runs", &exec).await.unwrap();
    process::kill(shim, libc::SIGKILL).unwrap();
    assert_eq!(session.wait().await.cause, ExitCause::ShimDied);
    expect_dead(&world, &runtime, ExitCause::ShimDied).await;
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn the_death_of_a_shim_is_found_out_later() {
    let world = World::new();
    let (runtime, shim) = with_two_containers(&world).await;
    drop(runtime);
    process::kill(shim, libc::SIGKILL).unwrap();
    let runtime = world.open().await;
    expect_dead(&world, &runtime, ExitCause::ShimDied).await;
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn a_shim_that_does_not_answer_is_killed() {
    let world = World::new();
    let (runtime, shim) = with_two_containers(&world).await;
    drop(runtime);
    // It holds its lock, so the runtime waits for it for a while.
    process::kill(shim, libc::SIGSTOP).unwrap();
    let runtime = world.open().await;
    assert!(!std::path::Path::new(&format!("/proc/{shim}/exe")).exists());
    expect_dead(&world, &runtime, ExitCause::ShimDied).await;
    runtime.close().await.unwrap();
}

/// Answers the first hello on a pod's socket, as a shim of another version would.
fn pretend(world: &World, version: u32) -> std::thread::JoinHandle<()> {
    let listener = Listener::bind(&world.path("run/shim/p.sock")).unwrap();
    std::thread::spawn(move || {
        let called = fd::Interest { fd: listener.as_raw_fd(), read: true, write: false };
        fd::wait(&[called], Some(Duration::from_secs(20))).unwrap();
        let channel = listener.accept().unwrap();
        fd::set_nonblocking(&channel, false).unwrap();
        let mut buffer = vec![0; 4096];
        let (length, _) = channel.receive(&mut buffer).unwrap().unwrap();
        let hello: serde_json::Value = serde_json::from_slice(&buffer[..length]).unwrap();
        let answer = serde_json::json!({"hello": {"version": version, "pid": 1, "execs": []}});
        let reply = serde_json::json!({"number": hello["number"], "outcome": {"Ok": answer}});
        let reply = serde_json::json!({"reply": reply}).to_string();
        channel.send(reply.as_bytes(), &[]).unwrap();
    })
}

/// What cannot be talked to cannot be looked after: it is ended, and another takes its place.
#[tokio::test]
async fn a_shim_of_a_version_that_is_not_spoken_is_ended() {
    for version in [0, 99] {
        let world = World::new();
        let (runtime, shim) = with_two_containers(&world).await;
        drop(runtime);
        let pretender = pretend(&world, version);
        let runtime = world.open().await;
        pretender.join().unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{shim}/exe")).exists());
        expect_dead(&world, &runtime, ExitCause::ShimDied).await;
        runtime.close().await.unwrap();
    }
}

#[tokio::test]
async fn after_a_reboot_containers_have_ended() {
    let world = World::new();
    let (runtime, shim) = with_two_containers(&world).await;
    drop(runtime);
    process::kill(shim, libc::SIGKILL).unwrap();
    // A reboot empties the run directory; what is kept has another boot's number.
    rk::sys::mount::detach_below(&world.path("run")).unwrap();
    std::fs::remove_dir_all(world.path("run")).unwrap();
    let record = world.path("state/pods/p/pod.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    std::fs::write(&record, text.replace(boot.trim(), "another")).unwrap();
    let runtime = world.open().await;
    expect_dead(&world, &runtime, ExitCause::Restarted).await;
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn broken_records_harm_nobody() {
    let world = World::new();
    let (runtime, _) = with_two_containers(&world).await;
    drop(runtime);
    for (path, text) in [
        ("run/pods/junk/pod.json", "{"),
        ("state/pods/empty/x", ""),
        ("state/pods/p/c/half/status.json", "not json"),
    ] {
        let path = world.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let runtime = world.open().await;
    assert_eq!(runtime.pods().len(), 1);
    let pod = runtime.pod("p").unwrap();
    assert_eq!(pod.container("runs").unwrap().phase, Phase::Running);
    runtime.remove_pod("p").await.unwrap();
    runtime.close().await.unwrap();
}

#[tokio::test]
async fn two_runtimes_share_a_shim_for_a_while() {
    let world = World::new();
    let old = world.open().await;
    let pod = old.run_pod(world.pod("p")).await.unwrap();
    let new = world.open().await;
    run(&pod, world.container("c", "exit 8")).await;
    // The other one hears of it too, if not in the same moment.
    let seen = new.pod("p").unwrap();
    while seen.container("c").is_none() {
        new.next_change().await;
    }
    assert_eq!(seen.wait("c").await.unwrap().code, 8);
    new.remove_pod("p").await.unwrap();
    new.close().await.unwrap();
}
