//! client-go and controller-runtime: a walk through the typed clientset and its informers, and an
//! operator with a kind of its own, leader election, server-side apply, events and a finalizer.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::go;
use crate::guestbook::eventually;
use crate::harness::Cluster;

/// The module of both programs.
const SOURCE: &str = "tests/data/clients/operator";
/// The built program, or why there is none.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("operator");
    go::Program::of(SOURCE).build(&program).map(|()| program)
});

/// The forms in which built-in kinds are sent.
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: echoes.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: echoes, singular: echo, kind: Echo}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [text]
            properties:
              text: {type: string}
              times: {type: integer, minimum: 1, default: 2}
          status:
            type: object
            properties:
              observedGeneration: {type: integer, format: int64}
              by: {type: string}
              conditions:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [type]
                items:
                  type: object
                  required: [type, status, lastTransitionTime, reason, message]
                  properties:
                    type: {type: string}
                    status: {type: string}
                    observedGeneration: {type: integer, format: int64}
                    lastTransitionTime: {type: string, format: date-time}
                    reason: {type: string}
                    message: {type: string}
"#;

const ECHO: &str = "
apiVersion: example.com/v1
kind: Echo
metadata: {name: e}
spec: {text: ab}
";

#[test]
fn client_go_reads_writes_and_follows() {
    let Some(program) = go::or_skip(PROGRAM.as_ref()) else { return };
    let cluster = Cluster::start(&["--disable-agent"]);
    for media in [JSON, PROTOBUF] {
        let mut walk = cluster.command(&program);
        walk.args(["-content-type", media, "walk"]);
        assert_eq!(cluster.machine.finish(&mut walk, "").ok(), "done\n", "{media}");
        cluster.kubectl("wait --for=delete namespace/walk --timeout=60s").ok();
    }
}

/// A running operator, and what it says.
struct Operator {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Operator {
    fn start(cluster: &Cluster, program: &Path, identity: &str) -> Self {
        let mut command = cluster.command(program);
        // Of itself it sends built-in kinds as protobuf, its own as JSON.
        command.args(["-identity", identity, "operator"]);
        let log = cluster.path(identity);
        let file = std::fs::File::create(&log).unwrap();
        let mut child = cluster.machine.spawn(command.stdout(Stdio::piped()).stderr(file));
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { child, lines, log }
    }

    /// Waits until it leads.
    #[track_caller]
    fn leads(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(60)).expect("a leader")
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- the operator's log ---\n{log}");
        }
    }
}

/// Waits until a path of an object reads as wanted.
#[track_caller]
fn reads(cluster: &Cluster, object: &str, path: &str, wanted: &str) {
    let words = ["get", object, "-o", &format!("jsonpath={{{path}}}")].map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    eventually(&format!("{path} of {object} is {wanted}"), || {
        let ran = cluster.kubectl_with(&words, "");
        if ran.out == wanted { Ok(()) } else { Err(format!("{}{}", ran.out, ran.err)) }
    });
}

#[test]
fn an_operator_does_its_work() {
    let Some(program) = go::or_skip(PROGRAM.as_ref()) else { return };
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.apply(DEFINITION).ok();
    cluster.kubectl("wait --for=condition=Established crd/echoes.example.com --timeout=30s").ok();
    let first = Operator::start(&cluster, &program, "first");
    assert_eq!(first.leads(), "leads: first");
    let second = Operator::start(&cluster, &program, "second");
    cluster.apply(ECHO).ok();
    reads(&cluster, "configmap/e", ".data.text", "abab");
    reads(&cluster, "echo/e", ".status.by", "first");
    reads(&cluster, "echo/e", ".status.conditions[0].type", "Ready");
    reads(&cluster, "configmap/e", ".metadata.managedFields[0].operation", "Apply");
    eventually("there is an event", || {
        let events = cluster.kubectl("events --for=echo/e").ok();
        if events.contains("repeated 2 times") { Ok(()) } else { Err(events) }
    });
    // What others change of the operator's own fields is put right, the rest is left alone.
    cluster
        .kubectl_with(&["patch", "configmap", "e", "-p", r#"{"data":{"text":"x","own":"y"}}"#], "")
        .ok();
    reads(&cluster, "configmap/e", ".data.text", "abab");
    reads(&cluster, "configmap/e", ".data.own", "y");
    // The leader goes without a word: the other one takes over when the lease has run out.
    drop(first);
    assert_eq!(second.leads(), "leads: second");
    let patch = r#"{"spec":{"times":3}}"#;
    cluster.kubectl_with(&["patch", "echo", "e", "--type=merge", "-p", patch], "").ok();
    reads(&cluster, "configmap/e", ".data.text", "ababab");
    reads(&cluster, "echo/e", ".status.by", "second");
    cluster.kubectl("delete echo e --timeout=60s").ok();
    reads(&cluster, "configmap/farewell", ".data.to", "e");
    cluster.kubectl("wait --for=delete configmap/e --timeout=60s").ok();
}
