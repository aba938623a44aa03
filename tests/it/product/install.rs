//! install.sh and `rk uninstall`: what one puts in place, the other takes away.

use std::io::Write;
use std::path::Path;

use super::machine::Fresh;
use crate::harness::RK;

const FILE: (&str, &str) = ("INSTALL_RK_FILE", RK);

/// As if systemd ran there: what it is told is written down, and is so.
fn with_systemd(machine: &Fresh) {
    machine
        .sh("mkdir -p /run/systemd/system
             cat >/usr/local/bin/systemctl <<'END'
#!/bin/sh
echo \"$*\" >>/tmp/systemctl.log
case $1 in
    is-active|is-enabled) [ -e /run/systemd/on ] ;;
    enable) : >/run/systemd/on ;;
    disable) rm -f /run/systemd/on ;;
esac
END
             chmod 755 /usr/local/bin/systemctl; mount -t tmpfs tmpfs /tmp")
        .ok();
}

#[test]
fn a_service_is_installed_as_systemd_wants_it_and_removed() {
    let machine = Fresh::one();
    with_systemd(&machine);
    let before = machine.traces();
    let words = ["server", "--node-label", "a=b c%d$e", "--disable-agent"];
    let said = machine.script("install.sh", &words, &[FILE, ("RK_TOKEN", "secret")]).ok();
    assert!(said.contains("started rk"), "{said}");
    let unit = machine.sh("cat /etc/systemd/system/rk.service").ok();
    let start = "ExecStart=/usr/local/bin/rk server --node-label \"a=b c%%d$$e\" --disable-agent";
    for line in [start, "Type=notify", "KillMode=process", "Delegate=yes", "Restart=always"] {
        assert!(unit.lines().any(|other| other == line), "{line}: {unit}");
    }
    // It leaves a file of its own.
    let verify = "systemd-analyze verify /etc/systemd/system/rk.service";
    machine.sh(&format!("{verify}; rm -f /run/systemd/systemd-units-load")).ok();
    let env =
        machine.sh("cd /etc/systemd/system && stat -c %a rk.service.env && cat rk.service.env");
    assert_eq!(env.ok(), "600\nRK_TOKEN=secret\n");
    let log = machine.sh("cat /tmp/systemctl.log").ok();
    assert_eq!(log, "daemon-reload\nenable --quiet rk\nrestart rk\n");
    // Nothing new: nothing is restarted. What is new is.
    machine.script("install.sh", &words, &[FILE, ("RK_TOKEN", "secret")]).ok();
    let said = machine.script("install.sh", &words, &[FILE, ("RK_TOKEN", "other")]).ok();
    assert!(said.contains("started rk"), "{said}");
    let log = machine.sh("grep -c restart /tmp/systemctl.log").ok();
    assert_eq!(log, "2\n");
    let refused = machine.sh("rk uninstall");
    assert!(!refused.status.success() && refused.out.contains("  service rk\n"), "{refused:?}");
    machine.sh("rk uninstall --yes").ok();
    machine.is_untouched(&before);
    let log = machine.sh("tail -n 2 /tmp/systemctl.log").ok();
    assert_eq!(log, "reset-failed --quiet rk\ndaemon-reload\n");
}

#[test]
fn a_download_must_be_what_was_announced() {
    let machine = Fresh::one();
    let before = machine.traces();
    let folder = machine.shared("http");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(RK, folder.join("rk")).unwrap();
    let root = folder.to_str().unwrap();
    let httpd = format!("busybox httpd -f -p 127.0.0.1:8000 -h {root} >/dev/null 2>&1 &");
    machine.sh(&format!("{httpd} echo $! >/run/httpd.pid")).ok();
    let url = ("INSTALL_RK_ARTIFACT_URL", "http://127.0.0.1:8000/rk");
    let there = "curl -s --retry 50 --retry-connrefused --retry-max-time 20 -o /dev/null";
    machine.sh(&format!("{there} {}", url.1)).ok();
    let skip = ("INSTALL_RK_SKIP_START", "true");
    let install = |more: (&str, &str)| machine.script("install.sh", &[], &[url, skip, more]);
    let none = install(("A", "")).fails();
    assert!(none.contains("no checksum at http://127.0.0.1:8000/rk.sha256"), "{none}");
    let wrong = install(("INSTALL_RK_SHA256", "1234")).fails();
    assert!(wrong.contains("the checksum of") && wrong.contains("not 1234"), "{wrong}");
    machine.sh("! ls -A /usr/local/bin | grep rk").ok();
    let sum = machine.sh(&format!("cd {root} && sha256sum rk | tee rk.sha256")).ok();
    install(("A", "")).ok();
    install(("INSTALL_RK_SHA256", sum.split(' ').next().unwrap())).ok();
    machine.sh("cmp /usr/local/bin/rk $0".replace("$0", RK).as_str()).ok();
    machine.sh("rk uninstall --yes; kill $(cat /run/httpd.pid); rm /run/httpd.pid").ok();
    machine.is_untouched(&before);
}

#[test]
fn a_node_is_upgraded_under_its_pods_and_leaves_nothing() {
    let (machine, other) = Fresh::pair();
    let (before, before_other) = (machine.traces(), other.traces());
    machine.script("install.sh", &["server", "--node-name", "one"], &[FILE]).ok();
    let token = machine.sh("rk token").ok();
    let join = [FILE, ("RK_URL", "https://192.168.77.1:6443"), ("RK_TOKEN", token.trim())];
    other.script("install.sh", &["--node-name", "two"], &join).ok();
    other.sh("test -f /etc/rk/installed/rk-agent").ok();
    let image = crate::guestbook::IMAGES.join("guestbook-web.tar");
    for node in [&machine, &other] {
        node.sh(&format!("rk images import {}", image.display())).ok();
    }
    machine
        .sh("kubectl create deployment web --image=guestbook/web:1 --replicas=4
             kubectl rollout status deployment/web --timeout=60s")
        .ok();
    let pods = "kubectl get pods -o custom-columns=A:.metadata.name,B:.spec.nodeName,\
                C:.status.containerStatuses[0].containerID,D:.status.containerStatuses[0].restartCount";
    let running = machine.sh(pods).ok();
    assert!(running.contains(" one ") && running.contains(" two "), "{running}");
    // Another build: its bytes differ.
    let newer = machine.shared("rk-newer");
    std::fs::copy(RK, &newer).unwrap();
    std::fs::File::options().append(true).open(&newer).unwrap().write_all(b"newer").unwrap();
    for (node, words, join) in [(&machine, "one", &join[..1]), (&other, "two", &join[..])] {
        let newer = [("INSTALL_RK_FILE", newer.to_str().unwrap())];
        let variables = [&newer[..], &join[1..]].concat();
        let pid = node.sh("cat /run/rk*.pid").ok();
        let role = if join.len() > 1 { "agent" } else { "server" };
        node.script("install.sh", &[role, "--node-name", words], &variables).ok();
        assert_ne!(node.sh("cat /run/rk*.pid").ok(), pid);
        node.sh(&format!("cmp /usr/local/bin/rk {}", newer[0].1)).ok();
    }
    machine.sh("kubectl wait --for=condition=Ready node --all --timeout=60s").ok();
    assert_eq!(machine.sh(pods).ok(), running);
    let said = other.sh("rk uninstall --yes").ok();
    for what in ["removed process", "removed cgroup rk", "removed network", "removed mount"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    other.is_untouched(&before_other);
    // A server that was killed, and a shim as well: only what is there is looked at.
    machine.sh("kill -9 $(cat /run/rk.pid) $(pgrep -o -f '^rk shim')").ok();
    machine.sh("rk uninstall --yes").ok();
    machine.is_untouched(&before);
    let again = machine.run(&mut machine.command(&[RK, "uninstall", "--yes"])).ok();
    assert_eq!(again, "nothing of rk is here\n");
}

#[test]
fn scripts_are_as_shellcheck_wants_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut shellcheck = std::process::Command::new("shellcheck");
    shellcheck.current_dir(root).args(["install.sh", "examples/quickstart.sh", "tests/run.sh"]);
    shellcheck.args([
        "examples/guestbook/images.sh",
        "examples/oci.sh",
        "tests/it/product/enter.sh",
    ]);
    shellcheck.args(["tests/conformance/images.sh", "tests/conformance/run.sh", ".ci/run"]);
    let checked = shellcheck.output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
