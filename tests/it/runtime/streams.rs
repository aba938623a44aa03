//! Exec, attach, terminals and logs.

use super::basics::ready;
use super::world::{World, run};
use rk::runtime::logs::{LogReader, ReadOptions};
use rk::runtime::{ContainerSpec, ExecSpec, LogTarget, Output, PodHandle, Runtime, TerminalSize};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Everything until the end of a stream.
pub async fn all(output: &mut Option<Output>) -> String {
    let mut text = String::new();
    output.as_mut().unwrap().read_to_string(&mut text).await.unwrap();
    text
}

/// What a terminal shows until `mark` appears.
async fn until(output: &mut Option<Output>, mark: &str) -> String {
    let mut text = String::new();
    while !text.contains(mark) {
        let mut buffer = [0; 1024];
        let count = output.as_mut().unwrap().read(&mut buffer).await.unwrap();
        assert!(count > 0, "ended before {mark:?}: {text}");
        text += &String::from_utf8_lossy(&buffer[..count]);
    }
    text
}

async fn sleeper(world: &World) -> (Runtime, PodHandle) {
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let spec = ContainerSpec {
        env: vec![("FROM".into(), "container".into())],
        cwd: "/data".into(),
        ..world.container("c", "echo ready; exec sleep 1000")
    };
    pod.create(spec).await.unwrap();
    pod.start("c").await.unwrap();
    ready(world, "c").await;
    (runtime, pod)
}

fn sh(script: &str) -> ExecSpec {
    ExecSpec {
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..ExecSpec::default()
    }
}

#[tokio::test]
async fn exec_has_streams_an_exit_code_and_the_containers_surroundings() {
    let world = World::new();
    let (runtime, pod) = sleeper(&world).await;
    let script = "cat; echo err >&2; pwd; echo $FROM $MORE; grep -c 'Seccomp:.2' /proc/self/status
        grep CapEff /proc/self/status; exit 9";
    let mut spec = sh(script);
    spec.env = vec![("MORE".into(), "exec".into())];
    let mut session = pod.exec("c", &spec).await.unwrap();
    session.stdin.take().unwrap().write_all(b"typed\n").await.unwrap();
    assert_eq!(
        all(&mut session.stdout).await,
        "typed\n/data\ncontainer exec\n1\nCapEff:\t00000000a80425fb\n"
    );
    assert_eq!(all(&mut session.stderr).await, "err\n");
    assert_eq!(session.wait().await.code, 9);
    assert_eq!(session.wait().await.code, 9);
    session.kill(9).await.unwrap();
    let error =
        pod.exec("c", &ExecSpec { args: vec!["nope".into()], ..sh("") }).await.err().unwrap();
    assert!(error.is_program());
    assert_eq!(error.to_string(), r#"exec: "nope": executable file not found in $PATH"#);
    let cwd = ExecSpec { cwd: "/none".into(), ..sh("pwd") };
    assert!(pod.exec("c", &cwd).await.err().unwrap().is_program());
    let long = pod.exec("c", &sh("sleep 1000")).await.unwrap();
    long.kill(9).await.unwrap();
    assert_eq!(long.wait().await.signal, Some(9));
    assert!(pod.exec("none", &sh("")).await.err().unwrap().is_not_found());
    runtime.remove_pod("p").await.unwrap();
}

#[test]
fn execs_leave_nothing() {
    super::world::alone("runtime::streams::many_execs_at_once_are_kept_apart_and_leave_nothing");
}

#[tokio::test]
#[ignore = "counts descriptors, so it runs in a process of its own: execs_leave_nothing"]
async fn many_execs_at_once_are_kept_apart_and_leave_nothing() {
    let world = World::new();
    let (runtime, pod) = sleeper(&world).await;
    let one = async |number: usize| {
        let mut session =
            pod.exec("c", &sh(&format!("echo {number}; exit {number}"))).await.unwrap();
        assert_eq!(all(&mut session.stdout).await, format!("{number}\n"));
        assert_eq!(session.wait().await.code, i32::try_from(number).unwrap());
    };
    one(0).await;
    let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
    for wave in 0..4 {
        futures_util::future::join_all((0..25).map(|n| one(wave * 25 + n))).await;
    }
    assert_eq!(std::fs::read_dir("/proc/self/fd").unwrap().count(), before);
    let left = std::fs::read_dir(world.path("run/pods/p/x")).unwrap().count();
    assert_eq!(left, 0);
    let shim = world.shim("p");
    let open = std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    assert!(open < 20, "the shim has {open} descriptors");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn exec_with_a_terminal_has_its_size_and_its_end() {
    let world = World::new();
    let (runtime, pod) = sleeper(&world).await;
    let size = |width, height| Some(TerminalSize { width, height });
    let script = "trap 'stty size' WINCH; stty size; echo $TERM; tty
        until read a; do :; done; echo got $a; until read b; do :; done; exit 4";
    let spec = ExecSpec { tty: true, size: size(80, 24), ..sh(script) };
    let mut session = pod.exec("c", &spec).await.unwrap();
    let text = until(&mut session.stdout, "/dev/pts/").await;
    assert!(text.contains("24 80\r\nxterm\r\n"), "{text}");
    assert!(session.stderr.is_none());
    session.resize(size(111, 33).unwrap()).unwrap();
    let mut input = session.stdin.take().unwrap();
    input.write_all(b"hello\n").await.unwrap();
    until(&mut session.stdout, "got hello").await;
    let mut again = pod
        .exec("c", &ExecSpec { tty: true, size: size(50, 40), ..sh("stty size") })
        .await
        .unwrap();
    until(&mut again.stdout, "40 50").await;
    input.write_all(b"bye\n").await.unwrap();
    all(&mut session.stdout).await;
    assert_eq!(session.wait().await.code, 4);
    // Whoever hangs up hangs up the terminal.
    let spec = ExecSpec {
        tty: true,
        ..sh("trap 'echo hung > /data/hup; exit' HUP; echo up; sleep 1000 & wait")
    };
    let mut session = pod.exec("c", &spec).await.unwrap();
    until(&mut session.stdout, "up").await;
    drop(session);
    let wait = sh("while ! test -s /data/hup; do sleep 0.01; done; cat /data/hup");
    let mut session = pod.exec("c", &wait).await.unwrap();
    assert_eq!(all(&mut session.stdout).await, "hung\n");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn attaching_shows_output_and_feeds_stdin() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let echo = "echo ready; while read line; do echo out $line; echo err $line >&2; done; exit 3";
    for (id, once) in [("once", true), ("open", false)] {
        let spec = ContainerSpec { stdin: true, stdin_once: once, ..world.container(id, echo) };
        pod.create(spec).await.unwrap();
        pod.start(id).await.unwrap();
        ready(&world, id).await;
        let mut session = pod.attach(id, true, true, true).await.unwrap();
        let mut watcher = pod.attach(id, false, true, false).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"a\n").await.unwrap();
        until(&mut session.stdout, "out a\n").await;
        until(&mut session.stderr, "err a\n").await;
        until(&mut watcher.stdout, "out a\n").await;
        drop(session);
        if once {
            assert_eq!(pod.wait(id).await.unwrap().code, 3);
            assert_eq!(all(&mut watcher.stdout).await, "");
        } else {
            let mut session = pod.attach(id, true, true, false).await.unwrap();
            session.stdin.as_mut().unwrap().write_all(b"b\n").await.unwrap();
            until(&mut session.stdout, "out b\n").await;
            until(&mut watcher.stdout, "out b\n").await;
        }
        assert!(world.logged(id).contains("stderr F err a\n"));
    }
    assert!(pod.attach("once", true, true, true).await.is_err());
    pod.create(world.container("deaf", "echo ready; cat; sleep 1000")).await.unwrap();
    pod.start("deaf").await.unwrap();
    assert!(pod.attach("deaf", true, false, false).await.is_err());
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn a_container_with_a_terminal_is_attached_to_and_resized() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let script = "echo ready; while read line; do stty size; tty > /dev/console; done";
    let spec = ContainerSpec { tty: true, stdin: true, ..world.container("c", script) };
    pod.create(spec).await.unwrap();
    pod.start("c").await.unwrap();
    ready(&world, "c").await;
    let mut session = pod.attach("c", true, true, false).await.unwrap();
    pod.resize("c", TerminalSize { width: 99, height: 11 }).await.unwrap();
    let mut input = session.stdin.take().unwrap();
    input.write_all(b"x\n").await.unwrap();
    let text = until(&mut session.stdout, "/dev/").await;
    assert!(text.contains("x\r\n11 99\r\n"), "{text}");
    // End of file, as a user types it.
    input.write_all(&[4]).await.unwrap();
    all(&mut session.stdout).await;
    assert_eq!(pod.wait("c").await.unwrap().code, 0);
    assert!(pod.resize("c", TerminalSize { width: 1, height: 1 }).await.is_err());
    assert!(world.logged("c").contains("stdout F 11 99\n"));
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn a_reader_that_stops_holds_up_neither_others_nor_for_long() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let script = "echo ready; read go; yes | head -c 20m; echo end";
    let spec = ContainerSpec { stdin: true, ..world.container("c", script) };
    pod.create(ContainerSpec { log: None, ..spec }).await.unwrap();
    pod.start("c").await.unwrap();
    let stuck = pod.attach("c", true, true, false).await.unwrap();
    let mut stuck_input = stuck.stdin.unwrap();
    stuck_input.write_all(b"go\n").await.unwrap();
    // The shim goes on serving others meanwhile.
    assert_eq!(run(&pod, world.container("other", "exit 2")).await.code, 2);
    let ended = tokio::time::timeout(Duration::from_secs(40), pod.wait("c")).await;
    assert_eq!(ended.unwrap().unwrap().code, 0);
    drop(stuck.stdout);
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn an_attached_reader_gets_every_byte() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let spec = ContainerSpec { stdin: true, ..world.container("c", "read go; seq 200000") };
    pod.create(spec).await.unwrap();
    pod.start("c").await.unwrap();
    let mut session = pod.attach("c", true, true, false).await.unwrap();
    session.stdin.take().unwrap().write_all(b"go\n").await.unwrap();
    let text = all(&mut session.stdout).await;
    assert!(text.lines().eq((1..=200_000).map(|n| n.to_string())));
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn logs_rotate_while_they_are_followed() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let log = LogTarget { path: world.log("c"), max_bytes: 100_000, max_files: 1000 };
    let script = "seq 100000; head -c 50000 /dev/zero | tr '\\0' x; echo; printf unended";
    let spec = ContainerSpec { log: Some(log), ..world.container("c", script) };
    pod.create(spec).await.unwrap();
    let mut reader =
        LogReader::follow(&world.log("c"), ReadOptions::default(), pod.over("c")).unwrap();
    pod.start("c").await.unwrap();
    let mut text = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        text.extend(chunk);
    }
    let text = String::from_utf8(text).unwrap();
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(text.strip_prefix(&expected), Some(&*format!("{}\nunended", "x".repeat(50_000))));
    let files = rk::runtime::logs::files(&world.log("c")).unwrap();
    assert!(files.len() > 10);
    assert!(files.iter().all(|file| std::fs::metadata(file).unwrap().len() < 200_000));
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let small = world.path("small");
    std::fs::create_dir(&small).unwrap();
    rk::sys::mount::tmpfs(&small, "size=64k").unwrap();
    let log = LogTarget { path: small.join("0.log"), max_bytes: 10 << 20, max_files: 3 };
    let spec = ContainerSpec { log: Some(log), ..world.container("c", "seq 100000; exit 6") };
    let exit = run(&pod, spec).await;
    assert_eq!(exit.code, 6);
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn a_log_moved_away_is_opened_anew() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let spec =
        ContainerSpec { stdin: true, ..world.container("c", "echo ready; read x; echo after") };
    pod.create(spec).await.unwrap();
    pod.start("c").await.unwrap();
    ready(&world, "c").await;
    let moved = world.path("moved.log");
    std::fs::rename(world.log("c"), &moved).unwrap();
    pod.reopen_log("c").await.unwrap();
    let mut session = pod.attach("c", true, false, false).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
    pod.wait("c").await.unwrap();
    assert_eq!(world.logged("c"), "stdout F after\n");
    assert!(std::fs::read_to_string(moved).unwrap().contains("ready"));
    runtime.remove_pod("p").await.unwrap();
}
