//! Logs, commands, terminals and ports of pods, as kubectl and kube-rs ask for them: through the
//! API server, from a node on another machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, TerminalSize};
use rk::util::clock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::World;
use crate::guestbook::eventually;
use crate::harness::Ran;

/// A child that does not outlive its test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// kubectl as it runs on, and the lines of its output.
fn follow(world: &World, words: &str) -> (Guarded, impl Iterator<Item = String> + use<>) {
    let mut kubectl = world.cluster.command("kubectl");
    kubectl.args(words.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = world.cluster.machine.spawn(&mut kubectl);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    (Guarded(child), lines)
}

#[test]
fn logs_are_read_as_one_asks() {
    let world = World::far();
    let script = "for i in 1 2 3; do echo line $i; done; echo wrong;
        while ! test -e /tmp/go; do sleep 0.1; done; echo late; sleep 600";
    world.pod("talks", script);
    let logs = |with: &str| world.kubectl(&format!("logs talks {with}")).ok();
    eventually("the log", || match logs("") {
        log if log == "line 1\nline 2\nline 3\nwrong\n" => Ok(()),
        log => Err(log),
    });
    assert_eq!(logs("--tail=2"), "line 3\nwrong\n");
    assert_eq!(logs("--limit-bytes=8"), "line 1\nl");
    assert_eq!(logs("--prefix --tail=1"), "[pod/talks/main] wrong\n");
    let timed = logs("--timestamps --tail=1");
    let (time, text) = timed.split_once(' ').unwrap();
    assert!(text == "wrong\n" && time.len() == 30 && time.ends_with('Z'), "{timed}");
    assert_eq!(logs("--since-time=2199-01-01T00:00:00Z"), "");
    assert_eq!(logs("--since=1h").lines().count(), 4);
    let (child, mut lines) = follow(&world, "logs -f --tail=1 talks");
    assert_eq!(lines.next().unwrap(), "wrong");
    world.kubectl("exec talks -- touch /tmp/go").ok();
    assert_eq!(lines.next().unwrap(), "late");
    // It ends with the container.
    world.kubectl("delete pod talks").ok();
    assert_eq!(lines.next(), None);
    drop(child);

    let said = world.kubectl("logs nobody").fails();
    assert!(said.contains("pods \"nobody\" not found"), "{said}");
    world.pod("quiet", "sleep 600");
    let said = world.kubectl("logs quiet --previous").fails();
    let wanted = "previous terminated container \"main\" in pod \"quiet\" not found";
    assert!(said.contains(wanted), "{said}");
    let said = world.kubectl("logs quiet -c other").fails();
    assert!(said.contains("container other is not valid for pod quiet"), "{said}");
}

/// kubectl's exec by one of the two protocols that it speaks.
fn exec(world: &World, websocket: bool, words: &[&str], input: &str) -> Ran {
    let mut kubectl = world.cluster.command("kubectl");
    kubectl.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websocket.to_string());
    kubectl.arg("exec").args(words);
    world.cluster.machine.finish(&mut kubectl, input)
}

#[test]
fn commands_run_in_containers() {
    let world = World::far();
    world.pod("box", "sleep 600");
    for websocket in [true, false] {
        let script = "echo out; echo err >&2; cat; exit 3";
        let ran = exec(&world, websocket, &["-i", "box", "--", "sh", "-c", script], "typed\n");
        assert_eq!(ran.status.code(), Some(3), "{ran:?}");
        assert_eq!(ran.out, "out\ntyped\n", "{ran:?}");
        assert!(ran.err.starts_with("err\n"), "{ran:?}");
        // Much in both directions, and every byte of it.
        let much = "0123456789abcdef".repeat(1 << 16);
        let ran = exec(&world, websocket, &["-i", "box", "--", "cat"], &much);
        assert_eq!(ran.out.len(), much.len(), "{}", ran.err);
        assert!(ran.out == much);
        let said = exec(&world, websocket, &["box", "--", "nothing"], "").fails();
        assert!(said.contains("\"nothing\": executable file not found in $PATH"), "{said}");
        let said = exec(&world, websocket, &["box", "-c", "other", "--", "true"], "").fails();
        assert!(said.contains("container other is not valid for pod box"), "{said}");
    }
    let said = exec(&world, true, &["nobody", "--", "true"], "").fails();
    assert!(said.contains("pods \"nobody\" not found"), "{said}");
}

#[test]
fn a_container_is_added_to_look_into_a_pod() {
    let world = World::far();
    world.pod("box", "sleep 600");
    let image = world.get("pod/box", "{.spec.containers[0].image}");
    let debug = format!("debug box --image={image} --target=main -c look --profile=general -- ");
    world.kubectl(&format!("{debug}ps")).ok();
    let status = |path: &str| {
        world.get("pod/box", &format!("{{.status.ephemeralContainerStatuses[0].{path}}}"))
    };
    eventually("the end of it", || match status("state.terminated.reason") {
        reason if reason.is_empty() => Err(status("state")),
        _ => Ok(()),
    });
    // It shares the processes of the container that it looks at.
    let log = world.kubectl("logs box -c look").ok();
    assert!(log.contains("sleep 600"), "{log}");
    let restarts = world.get("pod/box", "{.status.containerStatuses[0].restartCount}");
    assert_eq!(restarts, "0", "the pod goes on");
}

#[test]
fn terminals_have_a_size_and_end_with_their_command() {
    let world = World::far();
    world.pod("box", "sleep 600");
    world.cluster.with_client(async |client| {
        let pods: Api<Pod> = Api::default_namespaced(client);
        let params = AttachParams::interactive_tty();
        let mut running = pods.exec("box", ["sh"], &params).await.unwrap();
        let mut size = running.terminal_size().unwrap();
        let wanted = TerminalSize { width: 91, height: 37 };
        futures_util::SinkExt::send(&mut size, wanted).await.unwrap();
        let mut stdin = running.stdin().unwrap();
        let mut stdout = running.stdout().unwrap();
        let status = running.take_status().unwrap();
        let script = "until [ \"$(stty size)\" = '37 91' ]; do sleep 0.1; done\n\
            tty; echo si\"\"zed; exit 5\n";
        stdin.write_all(script.as_bytes()).await.unwrap();
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("/dev/pts/") && text.contains("sized\r\n"), "{text}");
        let status = status.await.unwrap();
        assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
        let cause = status.details.unwrap().causes.unwrap().remove(0);
        assert_eq!(cause.reason.as_deref(), Some("ExitCode"));
        assert_eq!(cause.message.as_deref(), Some("5"));
    });
}

#[test]
fn a_containers_own_input_and_output_are_attached() {
    let world = World::far();
    let script = "while read line; do echo got $line; done; echo end";
    let container = json!({"name": "main", "image": "test/busybox:1", "stdin": true,
        "stdinOnce": true, "command": ["sh", "-c", script]});
    world.run("reads", json!({"containers": [container], "restartPolicy": "Never"}));
    let mut attach = world.cluster.command("kubectl");
    attach.args(["attach", "-i", "-q", "reads"]);
    let ran = world.cluster.machine.finish(&mut attach, "one\ntwo\n").ok();
    assert_eq!(ran, "got one\ngot two\nend\n");
    assert_eq!(world.kubectl("logs reads").ok(), "got one\ngot two\nend\n");
}

#[test]
fn ports_of_pods_are_forwarded() {
    let world = World::far();
    world.pod("web", "mkdir /w; echo page > /w/f; httpd -f -p 127.0.0.1:8080 -h /w");
    let (_child, mut lines) = follow(&world, "port-forward --address=127.0.0.1 web 18080:8080");
    let line = lines.next().unwrap();
    assert_eq!(line, "Forwarding from 127.0.0.1:18080 -> 8080");
    // Several at once, one after the other over the same tunnel.
    let begun = clock::instant();
    let mut fetches = Vec::new();
    for _ in 0..8 {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "http://127.0.0.1:18080/f"]);
        curl.stdout(Stdio::piped());
        fetches.push(world.cluster.machine.spawn(&mut curl));
    }
    for fetch in fetches {
        let output = fetch.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "page\n");
    }
    assert!(clock::instant() - begun < Duration::from_secs(30));
}

#[test]
fn a_nodes_server_is_reached_through_the_api() {
    let world = World::far();
    world.pod("box", "sleep 600");
    for node in ["node-2", "node-2:10250", "https:node-2:10250"] {
        let pods = world.kubectl(&format!("get --raw /api/v1/nodes/{node}/proxy/pods")).ok();
        assert!(pods.contains("\"name\":\"box\""), "{node}: {pods}");
    }
    let said = world.kubectl("get --raw /api/v1/nodes/node-2:1/proxy/pods").fails();
    assert!(said.contains("error trying to reach 192.168.77.2:1"), "{said}");
    let said = world.kubectl("get --raw /api/v1/nodes/node-9:10250/proxy/pods").fails();
    assert!(said.contains("nodes \"node-9\" not found"), "{said}");
}
