//! Go programs that the tests use: real clients and Kubernetes' own code, built from their modules.
//!
//! A build takes minutes the first time. Its result is kept in the target folder by the name that
//! its user gives it, and put in place by a rename, so that any number of test processes may want
//! it at once. Where there is no Go toolchain or no module proxy a test is skipped and says so; in
//! CI nothing is skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Go is when it is not on the path.
const GO: &str = "/usr/local/go/bin/go";

/// A program to build.
pub struct Program {
    /// The folder of its module, below the project's.
    pub module: &'static str,
    /// The package, `.` for the module's own.
    pub package: &'static str,
    /// What the linker is told.
    pub link: String,
}

impl Program {
    /// The program of a module's own package.
    pub fn of(module: &'static str) -> Self {
        Self { module, package: ".", link: "-s -w".to_owned() }
    }

    /// Builds it, unless that has been done; `name` must tell it from every other build.
    ///
    /// # Errors
    /// Why it cannot be built here.
    pub fn built(&self, name: &str) -> Result<PathBuf, String> {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if kept.exists() {
            return Ok(kept);
        }
        self.build(&kept)?;
        Ok(kept)
    }

    /// Builds it anew, as far as Go finds that necessary.
    ///
    /// # Errors
    /// Why it cannot be built here.
    pub fn build(&self, into: &Path) -> Result<(), String> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let built = folder.path().join("built");
        let mut go = Command::new(if Path::new(GO).exists() { GO } else { "go" });
        go.args(["build", "-trimpath", "-ldflags", &self.link, "-o"]).arg(&built);
        go.arg(self.package).env("CGO_ENABLED", "0");
        go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(self.module));
        let output = go.output().map_err(|e| format!("cannot run go: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cannot build {} of {}: {said}", self.package, self.module));
        }
        fs::rename(&built, into).unwrap();
        Ok(())
    }
}

/// The program, unless there is none: then why, as a failure in CI and a note elsewhere.
pub fn or_skip(built: Result<&PathBuf, &String>) -> Option<PathBuf> {
    match built {
        Ok(program) => Some(program.clone()),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

/// The version of a module that `go.mod` of a folder below the project's asks for.
pub fn version(module: &str, of: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(module).join("go.mod");
    let text = fs::read_to_string(&path).unwrap();
    let mut words = text.lines().map(|line| line.trim().trim_start_matches("require "));
    let found = words.find_map(|line| line.strip_prefix(of)?.split_whitespace().next());
    found.unwrap_or_else(|| panic!("{} asks for no {of}", path.display())).to_owned()
}
