//! The README's commands, as they stand there.

use std::path::Path;

use super::machine::Fresh;
use crate::guestbook;
use crate::harness::{RK, SERVER};

#[test]
fn one_command_leads_to_a_page() {
    let machine = Fresh::one();
    let before = machine.traces();
    let images = guestbook::IMAGES.to_str().unwrap();
    let given = [("INSTALL_RK_FILE", RK), ("GUESTBOOK_IMAGES", images)];
    let said = machine.script("examples/quickstart.sh", &[], &given).ok();
    assert!(said.contains("export KUBECONFIG=/etc/rk/rk.yaml"), "{said}");
    let curl = said.lines().find_map(|line| line.split_once("curl ")).expect("how to fetch").1;
    let page = machine.sh(&format!("curl --silent --show-error --fail --max-time 10 {curl}")).ok();
    assert!(page.contains("<title>"), "{page}");
    // Once more: nothing is installed twice, and all is still there.
    machine.script("examples/quickstart.sh", &[], &given).ok();
    machine.sh("rk uninstall --yes").ok();
    machine.is_untouched(&before);
}

/// The lines of the first block of shell below a heading, without comments.
fn block(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let below = text.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let block = below.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    block.lines().map(|line| line.split("  #").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn commands_of_use_do_what_they_say() {
    let (machine, other) = Fresh::pair();
    let before = machine.traces();
    let root = env!("CARGO_MANIFEST_DIR");
    let archive = guestbook::IMAGES.join("guestbook-web.tar");
    let mut said = String::new();
    for line in block("Using it") {
        let on = if line.starts_with("RK_URL=") { &other } else { &machine };
        let token = || machine.sh("rk token").ok().trim().to_owned();
        let line = match line.split_once("RK_TOKEN=...") {
            Some(_) => line.replace("//server:", &format!("//{SERVER}:")).replace("...", &token()),
            None => line.replace("image.tar", archive.to_str().unwrap()),
        };
        said.push_str(&on.sh(&format!("cd {root}; export INSTALL_RK_FILE={RK}; {line}")).ok());
    }
    for what in ["runs in the background", "guestbook/web:1", "removed"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    machine.is_untouched(&before);
}
