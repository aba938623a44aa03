//! The tests of this program themselves, for tables that name some.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

static ALL: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let program = std::env::current_exe().expect("this program");
    let listed = Command::new(program).args(["--list", "--format", "terse"]).output();
    let text = String::from_utf8(listed.expect("a list").stdout).expect("a text");
    let name = |line: &str| line.strip_suffix(": test").map(str::to_owned);
    text.lines().filter_map(name).collect()
});

/// The full names of all tests of this program.
pub fn all() -> &'static BTreeSet<String> {
    &ALL
}
