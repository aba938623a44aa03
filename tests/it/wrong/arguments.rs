//! Every flag with a value that makes no sense, on the command line and in the file; wrong tokens.

use std::fs;
use std::process::Command;

use rk::cli::flags::{self, Takes};

use crate::harness::{Cluster, Machine, PORT, RK, SERVER};

/// A flag, a bad value, and a part of what is said.
const BAD: &[(&str, &str, &str)] = &[
    ("data-dir", "relative", "\"relative\" is not an absolute path"),
    ("run-dir", "relative", "\"relative\" is not an absolute path"),
    ("bind-address", "here", "\"here\" is not an IP address"),
    ("https-listen-port", "70000", "\"70000\" is not a port between 1 and 65535"),
    ("advertise-address", "::1", "\"::1\" is not an IPv4 address"),
    ("tls-san", "a_b!", "\"a_b!\" is neither an address nor a name"),
    ("write-kubeconfig", "relative", "\"relative\" is not an absolute path"),
    ("write-kubeconfig-mode", "999", "\"999\" is not an octal mode such as 600"),
    ("kube-apiserver-arg", "bogus=1", "bogus"),
    ("token", "K10abc", "the token is not whole"),
    ("token-file", "/nowhere/token", "cannot read /nowhere/token: No such file"),
    ("disable-agent", "perhaps", "neither true nor false"),
    ("cluster-cidr", "10.42.0.1/16", "has bits beyond its prefix: write 10.42.0.0/16"),
    ("service-cidr", "services", "\"services\" is not a network such as 10.42.0.0/16"),
    ("cluster-dns", "1.2.3.4", "1.2.3.4 is not one of 10.43.0.0/16"),
    ("cluster-domain", "-", "\"-\" is not a domain"),
    ("service-node-port-range", "5-1", "\"5-1\" is not a range such as 30000-32767"),
    ("node-name", "a_b", "\"a_b\" cannot name a node"),
    ("node-ip", "here", "\"here\" is not an IPv4 address"),
    ("node-label", "=x", "\"=x\" is no label"),
    ("node-taint", "a=b", "\"a=b\" is no taint: it has no effect; write KEY=VALUE:EFFECT"),
    ("private-registry", "relative", "\"relative\" is not an absolute path"),
    ("debug", "perhaps", "neither true nor false"),
];

/// What `rk server` says that must not start.
fn refused(machine: &Machine, arguments: &[String]) -> String {
    let mut rk = Command::new(RK);
    rk.env_clear().env("PATH", "/nowhere").arg("server").args(arguments);
    machine.finish(&mut rk, "").fails()
}

#[test]
fn every_bad_value_is_named_with_its_flag() {
    let (machine, _other) = Machine::pair();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    for (name, value, part) in BAD {
        let config = "/dev/null".to_owned();
        let flag = format!("--{name}={value}");
        let said = refused(&machine, &["--config".to_owned(), config, flag]);
        assert!(said.contains(&format!("--{name}: ")) && said.contains(part), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "one fault, one line: {said}");
        let listed = matches!(flags::find(name).unwrap().takes, Takes::Many(_));
        let value = if listed { format!("[{value:?}]") } else { format!("{value:?}") };
        fs::write(&file, format!("{name}: {value}\n")).unwrap();
        let said = refused(&machine, &["--config".to_owned(), file.display().to_string()]);
        assert!(said.contains(part) && said.contains("config.yaml"), "{name}: {said}");
    }
}

/// A new flag needs a row above.
#[test]
fn no_flag_is_left_out() {
    for flag in flags::of(flags::SERVER).filter(|flag| flag.name != "config") {
        assert!(BAD.iter().any(|(name, ..)| *name == flag.name), "{}", flag.name);
    }
    let said = refused(&Machine::pair().0, &["--config=/nowhere/config.yaml".to_owned()]);
    assert!(said.contains("cannot read /nowhere/config.yaml: No such file"), "{said}");
}

#[test]
fn wrong_credentials_open_nothing() {
    let cluster = Cluster::start(&["--disable-agent"]);
    let url = format!("--server=https://{SERVER}:{PORT}");
    let authority = cluster.path("data/server/tls/server-ca.crt");
    let authority = format!("--certificate-authority={}", authority.display());
    for credentials in ["--token=wrong", "--token=eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.AAAA"] {
        let mut kubectl = cluster.command("kubectl");
        kubectl.args(["--kubeconfig=/dev/null", &url, &authority, credentials, "get", "pods"]);
        let said = cluster.machine.finish(&mut kubectl, "").fails();
        assert!(said.contains("You must be logged in to the server"), "{said}");
    }
    // Without the right authority the client does not trust the server, nor the other way round.
    let mut kubectl = cluster.command("kubectl");
    kubectl.args(["--kubeconfig=/dev/null", &url, "--token=x", "get", "pods"]);
    let said = cluster.machine.finish(&mut kubectl, "").fails();
    assert!(said.contains("certificate signed by unknown authority"), "{said}");
    assert_eq!(cluster.kubectl("get --raw /readyz").ok(), "ok");
}
