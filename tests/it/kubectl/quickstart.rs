//! The quick start through kubectl, compared with what a real control plane answers.
//!
//! `tests/data/kubectl/quickstart.txt` is the list of commands. The goldens beside it, one per
//! version of kubectl, were recorded from a real kube-apiserver, kube-controller-manager,
//! kube-scheduler and kubelet (with a container runtime that only pretends) by
//! `tests/data/kubectl/record.sh`, which runs [`record`].

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::image::archive;
use super::known::{self, KNOWN};
use super::normal;
use super::program::{self, Kubectl};
use super::script::{self, Change, Step};
use crate::guestbook::eventually;
use crate::harness::{Cluster, Ran};

/// Longest that one command may take, in seconds.
const PATIENCE: &str = "90";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubectl").join(name)
}

/// Where the list is run, and by which kubectl.
struct Shell<'a> {
    /// rk's cluster, or the one that `KUBECONFIG` names.
    cluster: Option<&'a Cluster>,
    home: tempfile::TempDir,
}

impl<'a> Shell<'a> {
    fn new(cluster: Option<&'a Cluster>, kubectl: &Kubectl) -> Self {
        let home = tempfile::Builder::new().prefix("rk-it-home-").tempdir().unwrap();
        symlink(&kubectl.program, home.path().join("kubectl")).unwrap();
        Self { cluster, home }
    }

    /// Runs a line of shell to its end.
    fn run(&self, line: &str) -> Ran {
        let arguments = [PATIENCE, "sh", "-c", line];
        let mut command = match self.cluster {
            Some(cluster) => cluster.command("timeout"),
            None => Command::new("timeout"),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.home.path().display()));
        command.env("HOME", self.home.path()).env("TZ", "UTC").env_remove("KUBE_EDITOR");
        command.args(arguments).current_dir(data("files"));
        match self.cluster {
            Some(cluster) => cluster.machine.finish(&mut command, ""),
            None => {
                let output = command.output().unwrap();
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let (out, err) = (text(output.stdout), text(output.stderr));
                Ran { words: line.to_owned(), status: output.status, out, err }
            }
        }
    }

    /// Takes one step and says what it printed, in normal form.
    fn step(&self, step: &Step) -> Step {
        if step.until {
            eventually(&step.command, || {
                let ran = self.run(&step.command);
                if ran.status.success() { Ok(()) } else { Err(ran.out + &ran.err) }
            });
            return step.clone();
        }
        let ran = self.run(&step.command);
        let mut output = normal::lines(&ran.out);
        output.extend(normal::lines(&ran.err).iter().map(|line| format!("! {line}")));
        if !ran.status.success() {
            output.push(format!("? {}", ran.status.code().unwrap_or(-1)));
        }
        Step { output, ..step.clone() }
    }
}

fn list() -> Vec<Step> {
    script::parse(&fs::read_to_string(data("quickstart.txt")).unwrap())
}

/// Replays the list against rk, with the machine's kubectl or the newest.
fn replay(which: usize) {
    let Some(kubectl) = program::both().into_iter().nth(which) else { return };
    let Ok(golden) = fs::read_to_string(data(&format!("{}.txt", kubectl.version))) else {
        eprintln!("skipped: nothing is recorded for kubectl {}", kubectl.version);
        return;
    };
    let golden = script::parse(&golden);
    let cluster = Cluster::start(&[]);
    fs::write(cluster.path("images.tar"), archive()).unwrap();
    let images = cluster.path("images.tar");
    let mut import = cluster.rk("images", &["import", images.to_str().unwrap()]);
    cluster.machine.finish(&mut import, "").ok();
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=60s").ok();
    let shell = Shell::new(Some(&cluster), &kubectl);
    let said: Vec<Step> = list().iter().map(|step| shell.step(step)).collect();
    let name = format!("quickstart-{}.txt", kubectl.version);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = script::print(&said);
    fs::write(&kept, &text).unwrap();
    compare(&golden, &script::parse(&text));
}

/// Holds rk's answers against the golden ones.
fn compare(golden: &[Step], said: &[Step]) {
    let commands = |steps: &[Step]| steps.iter().map(|s| s.command.clone()).collect::<Vec<_>>();
    assert_eq!(commands(golden), commands(said), "the list has changed: record it again");
    let (mut report, mut used) = (String::new(), BTreeSet::new());
    for (wanted, said) in golden.iter().zip(said) {
        let mut faults = String::new();
        for change in script::changes(&wanted.output, &said.output) {
            let entries = known::meant(said, &change);
            match change {
                _ if !entries.is_empty() => used.extend(entries),
                Change::Missing(line) => faults += &format!("  - {line}\n"),
                Change::Extra(line) => faults += &format!("  + {line}\n"),
            }
        }
        if !faults.is_empty() {
            report += &format!("$ {}\n{faults}", said.command);
        }
    }
    for (at, known) in KNOWN.iter().enumerate() {
        for (n, line) in known.lines.iter().enumerate() {
            if !used.contains(&(at, n)) {
                report +=
                    &format!("no longer differs: {} {line:?} ({})\n", known.command, known.reason);
            }
        }
    }
    assert!(report.is_empty(), "rk answers otherwise (- a real control plane, + rk):\n{report}");
}

#[test]
fn the_machines_kubectl_sees_a_real_cluster() {
    replay(0);
}

#[test]
fn the_newest_kubectl_sees_a_real_cluster() {
    replay(1);
}

/// Writes the goldens anew from the cluster that `KUBECONFIG` names.
#[test]
#[ignore = "needs a real control plane: run by tests/data/kubectl/record.sh"]
fn record() {
    for kubectl in program::both() {
        let shell = Shell::new(None, &kubectl);
        let said: Vec<Step> = list().iter().map(|step| shell.step(step)).collect();
        fs::write(data(&format!("{}.txt", kubectl.version)), script::print(&said)).unwrap();
    }
}
