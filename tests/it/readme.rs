//! The README's tables are those of the program. `RK_REWRITE=1` writes them anew.

use std::path::{Path, PathBuf};

use rk::api::kinds::not_yet;
use rk::cli::flags;

/// The text between `<!-- name -->` and `<!-- /name -->`.
fn part<'a>(readme: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let start = readme.find(&open).unwrap() + open.len();
    &readme[start..readme.find(&close).unwrap()]
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// Writes the part `name` anew.
pub fn put(name: &str, wanted: &str) {
    let readme = std::fs::read_to_string(path()).unwrap();
    let found = part(&readme, name);
    let rewritten = readme.replacen(
        &format!("<!-- {name} -->\n{found}"),
        &format!("<!-- {name} -->\n{wanted}"),
        1,
    );
    std::fs::write(path(), rewritten).unwrap();
}

fn check(name: &str, wanted: &str) {
    let readme = std::fs::read_to_string(path()).unwrap();
    let fresh = part(&readme, name) == wanted;
    if !fresh && std::env::var_os("RK_REWRITE").is_some() {
        return put(name, wanted);
    }
    assert!(fresh, "README.md: the part {name} is stale; run this test with RK_REWRITE=1");
}

#[test]
fn flags_are_those_of_the_program() {
    check("flags", &flags::markdown(flags::SERVER));
}

#[test]
fn what_is_not_there_yet_is_what_is_refused() {
    let mut text = String::new();
    for (kind, rows) in not_yet::TABLES {
        let paths: Vec<String> = rows.iter().map(|(path, _)| format!("`{path}`")).collect();
        text.push_str(&format!("- **{kind}**: {}\n", paths.join(", ")));
    }
    check("not-yet", &text);
}
