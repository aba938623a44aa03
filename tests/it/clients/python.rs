//! The Python client from PyPI: reads, writes, watches, patches, custom objects, exec.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::guestbook;

/// The client, as pip numbers it.
const PACKAGE: &str = "kubernetes==37.0.2";
/// What is done with it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/clients/walk.py");

/// The Python of an environment that has the client, or why there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    let python = kept.join("bin/python");
    if kept.join("done").exists() {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&kept))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGE]))?;
    std::fs::write(kept.join("done"), "").unwrap();
    Ok(python)
});

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {said}")) }
}

#[test]
fn the_python_client_reads_writes_and_follows() {
    let Some(python) = crate::go::or_skip(PYTHON.as_ref()) else { return };
    let cluster = guestbook::cluster(&[]);
    let mut walk = cluster.command(python);
    assert_eq!(cluster.machine.finish(walk.arg(SCRIPT), "").ok(), "done\n");
}
