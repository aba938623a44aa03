//! Flags and files: what is wrong is named, all of it, with what was meant.

use std::fs;
use std::process::Command;

use crate::harness::{Machine, RK};

fn fails(arguments: &[&str]) -> String {
    let mut rk = Command::new(RK);
    rk.env_clear().env("PATH", "/nowhere").args(arguments);
    Machine::pair().0.finish(&mut rk, "").fails()
}

#[test]
fn unknown_flags_are_named_with_the_nearest_known_one() {
    let said = fails(&["server", "--cluster-cdir", "10.0.0.0/8"]);
    assert!(said.contains("'--cluster-cdir'") && said.contains("'--cluster-cidr'"), "{said}");
    let said = fails(&["sever"]);
    assert!(said.contains("'sever'") && said.contains("'server'"), "{said}");
}

#[test]
fn a_file_s_faults_and_the_flags_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.yaml");
    fs::write(&config, "cluster-cdir: 10.0.0.0/8\nhttps-listen-port: [1]\n").unwrap();
    let said = fails(&["server", "--config", config.to_str().unwrap()]);
    assert!(said.contains("unknown key \"cluster-cdir\""), "{said}");
    assert!(said.contains("did you mean \"cluster-cidr\"?"), "{said}");
    assert!(said.contains("https-listen-port in"), "{said}");

    fs::write(&config, "service-cidr: 10.42.0.0/24\n").unwrap();
    let folder = dir.path().join("config.yaml.d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("10.yaml"), "node-label: [a=b]\nnode-label+: ['?=c']\n").unwrap();
    let said = fails(&["server", "--config", config.to_str().unwrap(), "--token", "K10x::y"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(said.contains("overlaps with 10.42.0.0/16"), "{said}");
    assert!(said.contains("\"?=c\" is no label"), "{said}");
    assert!(said.contains("--token: the token is not whole"), "{said}");
}

#[test]
fn commands_without_a_server_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let said = fails(&["token", "--data-dir", dir.path().to_str().unwrap()]);
    assert!(said.contains("there is no server here"), "{said}");
    let said = fails(&["kubectl", "version"]);
    assert!(said.contains("kubectl is not installed"), "{said}");
}

#[test]
fn completions_are_valid_shell() {
    for shell in ["bash", "zsh"] {
        let machine = Machine::pair().0;
        let script = machine.finish(Command::new(RK).args(["completion", shell]), "").ok();
        let script = script.replace("autoload", ": autoload").replace("bashcompinit\n", "true\n");
        machine.finish(Command::new("bash").arg("-n"), &script).ok();
    }
}
