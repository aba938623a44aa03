//! What flows while a command runs: logs, exec, attach, cp, port-forward, watches; each with both
//! kubectls, against a pod that really runs.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::program::{Kubectl, both};
use crate::guestbook;
use crate::harness::Cluster;

/// How long a line may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command that is talked to while it runs.
struct Talk {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    heard: String,
}

impl Talk {
    fn start(cluster: &Cluster, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = cluster.machine.spawn(&mut command);
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { stdin: child.stdin.take(), child, lines, heard: String::new() }
    }

    fn kubectl(cluster: &Cluster, kubectl: &Kubectl, words: &str) -> Self {
        let words: Vec<&str> = words.split(' ').collect();
        Self::start(cluster, kubectl.command(cluster, &words))
    }

    /// The same on a terminal, by `script` of util-linux.
    fn terminal(cluster: &Cluster, kubectl: &Kubectl, words: &str) -> Self {
        let mut script = cluster.command("script");
        let line = format!("stty rows 33 cols 101; {} {words}", kubectl.program.display());
        script.args(["--quiet", "--return", "--echo", "never", "--command", &line, "/dev/null"]);
        Self::start(cluster, script)
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Listens until a line has `mark` in it.
    #[track_caller]
    fn hear(&mut self, mark: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|e| panic!("no {mark:?}: {e}\n{}", self.heard));
            self.heard += &format!("{line}\n");
            if line.contains(mark) {
                return line;
            }
        }
    }

    /// Listens to the end, and says all that was heard and the exit code.
    #[track_caller]
    fn end(mut self) -> (String, Option<i32>) {
        drop(self.stdin.take());
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.heard += &format!("{line}\n"),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(e) => panic!("does not end: {e}\n{}", self.heard),
            }
        }
        let status = self.child.wait().unwrap();
        (std::mem::take(&mut self.heard), status.code())
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a pod, waits until it is ready, does something with each kubectl.
fn with_each(pod: &str, script: &str, work: impl Fn(&Cluster, &Kubectl, &str)) {
    let cluster = guestbook::cluster(&[]);
    for kubectl in both() {
        let name = format!("{pod}-{}", kubectl.version.replace('.', "-"));
        let mut words = vec!["run", &name, "--image=guestbook/web:1"];
        if !script.is_empty() {
            words.extend(["--command", "--", "sh", "-c", script]);
        }
        kubectl.run_with(&cluster, &words, "").ok();
        kubectl.run(&cluster, &format!("wait --for=condition=Ready pod/{name} --timeout=60s")).ok();
        work(&cluster, &kubectl, &name);
        kubectl.run(&cluster, &format!("delete pod {name} --grace-period=1")).ok();
    }
}

#[test]
fn logs_follow_to_the_end() {
    let script = "echo first; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo second; sleep 1000";
    with_each("log", script, |cluster, kubectl, pod| {
        let mut follow = Talk::kubectl(cluster, kubectl, &format!("logs -f {pod}"));
        follow.hear("first");
        kubectl.run(cluster, &format!("exec {pod} -- touch /tmp/go")).ok();
        follow.hear("second");
        assert_eq!(kubectl.run(cluster, &format!("logs {pod} --tail=1")).ok(), "second\n");
        kubectl.run(cluster, &format!("delete pod {pod} --grace-period=1")).ok();
        assert_eq!(follow.end(), ("first\nsecond\n".to_owned(), Some(0)));
        kubectl.run(cluster, &format!("run {pod} --image=guestbook/web:1")).ok();
    });
}

#[test]
fn exec_runs_programs_with_and_without_a_terminal() {
    with_each("exec", "", |cluster, kubectl, pod| {
        let env = kubectl.run(cluster, &format!("exec {pod} -- env")).ok();
        assert!(env.contains(&format!("HOSTNAME={pod}\n")), "{env}");
        assert!(env.contains("KUBERNETES_SERVICE_PORT=443\n"), "{env}");
        let list = kubectl.run(cluster, &format!("exec {pod} -- ls /www")).ok();
        assert_eq!(list, "cgi-bin\n");
        let echo = kubectl.run_with(cluster, &["exec", "-i", pod, "--", "cat"], "typed\n");
        assert_eq!(echo.ok(), "typed\n");
        let failed =
            kubectl.run_with(cluster, &["exec", pod, "--", "sh", "-c", "echo no >&2; exit 7"], "");
        assert_eq!(failed.status.code(), Some(7));
        assert_eq!(failed.err, "no\ncommand terminated with exit code 7\n");

        let words = format!("exec -it {pod} -- sh");
        let mut shell = Talk::terminal(cluster, kubectl, &words);
        shell.say("stty size; tty");
        shell.hear("33 101");
        shell.hear("/dev/pts/");
        shell.say("exit 5");
        assert_eq!(shell.end().1, Some(5));
    });
}

#[test]
fn cp_copies_files_and_folders_both_ways() {
    with_each("cp", "", |cluster, kubectl, pod| {
        let (folder, back) = (cluster.path(pod), cluster.path(&format!("{pod}-back")));
        std::fs::create_dir_all(folder.join("below")).unwrap();
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(folder.join("below/large"), &large).unwrap();
        std::fs::write(folder.join("small"), "small\n").unwrap();
        let copy = |from: &str, to: &str| kubectl.run_with(cluster, &["cp", from, to], "").ok();
        copy(&folder.display().to_string(), &format!("{pod}:/tmp/there"));
        let small = kubectl.run(cluster, &format!("exec {pod} -- cat /tmp/there/small")).ok();
        assert_eq!(small, "small\n");
        copy(&format!("{pod}:/tmp/there"), &back.display().to_string());
        assert_eq!(std::fs::read(back.join("below/large")).unwrap(), large);
        let one = cluster.path(&format!("{pod}-one"));
        copy(&format!("{pod}:/tmp/there/small"), &one.display().to_string());
        assert_eq!(std::fs::read(one).unwrap(), b"small\n");
    });
}

#[test]
fn port_forward_reaches_pods_and_services() {
    let script = "echo A page of a pod >/tmp/index.html; exec httpd -f -p 8080 -h /tmp";
    with_each("forward", script, |cluster, kubectl, pod| {
        kubectl.run(cluster, &format!("expose pod {pod} --port=80 --target-port=8080")).ok();
        let to = [format!("pod/{pod} :8080"), format!("service/{pod} :80")];
        for words in to {
            let mut forward = Talk::kubectl(
                cluster,
                kubectl,
                &format!("port-forward --address 127.0.0.1 {words}"),
            );
            let line = forward.hear("Forwarding from 127.0.0.1:");
            let address = line.split(' ').nth(2).unwrap();
            // Several pages over one tunnel.
            for _ in 0..3 {
                let mut curl = cluster.command("curl");
                curl.args(["--silent", "--show-error", "--fail", "--max-time", "10"]);
                curl.arg(format!("http://{address}/index.html"));
                let page = cluster.machine.finish(&mut curl, "").ok();
                assert_eq!(page, "A page of a pod\n");
            }
        }
    });
}

#[test]
fn attach_talks_to_what_runs() {
    let cluster = guestbook::cluster(&[]);
    for kubectl in both() {
        let script = "while read -r word; do echo got $word; done; echo bye";
        let run = ["run", "a", "--image=guestbook/web:1", "-i", "--quiet", "--restart=Never"];
        let words = [&run[..], &["--rm", "--command", "--", "sh", "-c", script]].concat();
        let said = kubectl.run_with(&cluster, &words, "one\ntwo\n").ok();
        assert!(said.contains("got two\nbye\n"), "{said}");
        kubectl.run(&cluster, "wait --for=delete pod/a --timeout=30s").ok();

        let overrides = r#"{"spec":{"containers":[{"name":"t","image":"guestbook/web:1",
            "stdin":true,"tty":true,"command":["sh"]}]}}"#;
        let words = ["run", "t", "--image=guestbook/web:1", "--overrides", overrides];
        kubectl.run_with(&cluster, &words, "").ok();
        kubectl.run(&cluster, "wait --for=condition=Ready pod/t --timeout=60s").ok();
        let mut attached = Talk::terminal(&cluster, &kubectl, "attach -it t");
        attached.say("echo $((6*7))");
        attached.hear("42");
        // kubectl first makes the terminal one larger, so that programs draw themselves anew.
        attached.say("until [ \"$(stty size)\" = '33 101' ]; do sleep 0.1; done; echo si''zed");
        attached.hear("sized");
        attached.say("exit");
        assert_eq!(attached.end().1, Some(0));
        kubectl.run(&cluster, "delete pod t --grace-period=1").ok();
    }
}

#[test]
fn a_watch_shows_a_pod_come_and_go() {
    let cluster = guestbook::cluster(&[]);
    // A pod that fits nowhere is in the list, so that it can be seen that the watch has begun.
    let nowhere = r#"--overrides={"spec":{"nodeSelector":{"no":"node"}}}"#;
    let words = ["run", "nowhere", "--image=guestbook/web:1", nowhere];
    cluster.machine.finish(cluster.command("kubectl").args(words), "").ok();
    cluster.kubectl("wait --for=condition=PodScheduled=False pod/nowhere --timeout=60s").ok();
    for kubectl in both() {
        let mut watch = Talk::kubectl(&cluster, &kubectl, "get pods -w");
        watch.hear("nowhere");
        kubectl.run(&cluster, "run mynginx --image=guestbook/web:1").ok();
        for status in ["Pending", "ContainerCreating", "Running"] {
            watch.hear(status);
        }
        kubectl.run(&cluster, "delete pod mynginx --grace-period=1").ok();
        watch.hear("Terminating");
    }
}
