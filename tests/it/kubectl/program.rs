//! The two kubectls: what the machine has, and the newest, built from its Go module.
//!
//! Where the newest cannot be built, only the machine's is tried; in CI both must be.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::go;
use crate::harness::{Cluster, Ran};

/// Where the newest kubectl's module is.
const SOURCE: &str = "tests/data/kubectl";

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
    let newest = go::or_skip(NEWEST.as_ref());
    [on_path("kubectl")].into_iter().chain(newest).map(Kubectl::of).collect()
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
    // The module is numbered v0, Kubernetes v1.
    let version = go::version(SOURCE, "k8s.io/kubectl").replacen("v0", "v1", 1);
    let link = format!("-s -w -X k8s.io/component-base/version.gitVersion={version}");
    let program = go::Program { link, ..go::Program::of(SOURCE) };
    program.built(&format!("kubectl-{version}"))
}
