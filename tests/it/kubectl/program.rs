//! The two kubectls: what the machine has, and the newest, built from its Go module.
//!
//! A build takes minutes the first time. Its result is kept in the target folder by version, and
//! put in place by a rename, so that any number of test processes may want it at once. Where there
//! is no Go toolchain or no module proxy, only the machine's kubectl is tried; in CI both must be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::harness::{Cluster, Ran};

/// Where the newest kubectl's module is.
const SOURCE: &str = "tests/data/kubectl";
/// Where Go is when it is not on the path.
const GO: &str = "/usr/local/go/bin/go";

/// The built program, or why there is none.
static NEWEST: LazyLock<Result<PathBuf, String>> = LazyLock::new(build);

/// A kubectl.
pub struct Kubectl {
    /// Its version as `1.37`.
    pub version: String,
    /// The executable.
    pub program: PathBuf,
}

/// The machine's kubectl and the newest.
pub fn both() -> Vec<Kubectl> {
    let mut both = vec![Kubectl::of(on_path("kubectl"))];
    match &*NEWEST {
        Ok(program) => both.push(Kubectl::of(program.clone())),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped with the newest kubectl: {why}");
        }
    }
    both
}

impl Kubectl {
    fn of(program: PathBuf) -> Self {
        let said = Command::new(&program).args(["version", "--client"]).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = said.trim_start_matches("Client Version: v").splitn(3, '.');
        let version = version.take(2).collect::<Vec<_>>().join(".");
        Self { version, program }
    }

    /// The command, as the cluster's administrator.
    pub fn command(&self, cluster: &Cluster, words: &[&str]) -> Command {
        let mut command = cluster.command(&self.program);
        command.args(words);
        command
    }

    /// Runs it to its end; words are split at spaces.
    pub fn run(&self, cluster: &Cluster, words: &str) -> Ran {
        self.run_with(cluster, &words.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// Runs it to its end with `input` on its standard input.
    pub fn run_with(&self, cluster: &Cluster, words: &[&str], input: &str) -> Ran {
        cluster.machine.finish(&mut self.command(cluster, words), input)
    }
}

fn on_path(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|p| p.exists());
    found.unwrap_or_else(|| panic!("there is no {name} on the path"))
}

/// Builds the newest kubectl, unless that has been done.
fn build() -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE);
    let version = version_in(&fs::read_to_string(source.join("go.mod")).unwrap());
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubectl-{version}"));
    if kept.exists() {
        return Ok(kept);
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let built = folder.path().join("kubectl");
    let stamp = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
    let mut go = Command::new(if Path::new(GO).exists() { GO } else { "go" });
    go.args(["build", "-trimpath", "-ldflags", &stamp, "-o"]).arg(&built).arg(".");
    let output = go.current_dir(source).env("CGO_ENABLED", "0").output();
    let output = output.map_err(|e| format!("cannot run go: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cannot build the newest kubectl: {said}"));
    }
    fs::rename(&built, &kept).unwrap();
    Ok(kept)
}

/// The version of kubectl that a module wants, as Kubernetes numbers it.
fn version_in(module: &str) -> String {
    let line = module.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubectl v0."));
    format!("v1.{}", line.expect("a version of kubectl"))
}
