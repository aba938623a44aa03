//! Pods come and go, and nothing of them stays: on the machine, and in rk itself.
//!
//! In short by default; the whole run, with its minutes of waiting and its look at memory, is
//! `RK_LEAK_RUN=full cargo test --test it nothing_is_left_of_pods -- --nocapture`. It takes twenty
//! minutes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rk::server::Places;
use rk::sys::cgroup::Cgroups;
use rk::util::clock;

use crate::guestbook;
use crate::harness::Cluster;

/// How many rounds there are, and how many pods in a wave and waves in a round.
struct Extent {
    /// Waves before anything is measured. What rk remembers is bounded, the recent past and events
    /// above all: when these bounds are reached, it must not grow any more.
    warm_up: usize,
    rounds: usize,
    waves: usize,
    pods: usize,
    /// How long after a round memory is looked at.
    rest: Option<Duration>,
}

fn extent() -> Extent {
    match std::env::var("RK_LEAK_RUN").as_deref() {
        Ok("full") => Extent {
            warm_up: 6,
            rounds: 3,
            waves: 2,
            pods: 100,
            rest: Some(Duration::from_secs(60)),
        },
        // More pods than the node has addresses (62).
        _ => Extent { warm_up: 1, rounds: 2, waves: 1, pods: 40, rest: None },
    }
}

/// What pods of this test do, in turn.
const KINDS: [&str; 4] = ["ends", "keeps", "crashes", "sleeps"];

fn wave(round: &str, count: usize) -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: words}\ndata: {a: b}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {name: secret}\nstringData: {a: b}\n",
    );
    for number in 0..count {
        let kind = KINDS[number % KINDS.len()];
        let _ = write!(text, "---\n{}", pod(&format!("{kind}-{round}-{number}"), kind));
    }
    text
}

fn pod(name: &str, kind: &str) -> String {
    let (script, restart) = match kind {
        "ends" => ("echo done", "Never"),
        "crashes" => ("echo broken; exit 1", "Always"),
        _ => ("trap exit TERM; sleep 1000 & wait", "Always"),
    };
    let volumes = "[{name: disk, emptyDir: {}}, {name: words, configMap: {name: words}}, \
                   {name: secret, secret: {secretName: secret}}]";
    let mounts = "[{name: disk, mountPath: /disk}, {name: words, mountPath: /words}, \
                  {name: secret, mountPath: /secret}, {name: words, mountPath: /a, subPath: a}]";
    let (volumes, mounts) = if kind == "keeps" { (volumes, mounts) } else { ("[]", "[]") };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{wave: w}}}}\nspec:\n  \
         restartPolicy: {restart}\n  terminationGracePeriodSeconds: 2\n  volumes: {volumes}\n  \
         containers:\n  - name: c\n    image: guestbook/web:1\n    imagePullPolicy: Never\n    \
         command: [sh, -c, \"{script}\"]\n    volumeMounts: {mounts}\n"
    )
}

/// Runs a wave of pods to where each was meant to come, then deletes it.
fn run_wave(cluster: &Cluster, name: &str, count: usize) {
    cluster.kubectl_with(&["create", "-f", "-"], &wave(name, count)).ok();
    // By name, phase and restarts.
    let columns = "get pods --no-headers -o custom-columns=A:.metadata.name,B:.status.phase,\
                   C:.status.containerStatuses[0].restartCount";
    guestbook::eventually("the pods come where they should", || {
        let table = cluster.kubectl(columns).ok();
        let is_there = |line: &&str| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, phase, _] if name.starts_with("ends") => phase == "Succeeded",
            [name, _, restarts] if name.starts_with("crashes") => {
                restarts.parse::<u32>().is_ok_and(|restarts| restarts > 0)
            }
            [_, phase, _] => phase == "Running",
            _ => false,
        };
        let there = table.lines().filter(is_there).count();
        if there == count { Ok(()) } else { Err(format!("{there} of {count}:\n{table}")) }
    });
    for number in (3..count).step_by(KINDS.len()) {
        let out = cluster.kubectl(&format!("exec sleeps-{name}-{number} -- echo hello")).ok();
        assert_eq!(out, "hello\n");
    }
    cluster.kubectl("delete --wait=false configmap/words secret/secret").ok();
    cluster.kubectl("delete pods -l wave=w --timeout=120s").ok();
}

/// What there is of a kind, and how often.
type Counts = BTreeMap<String, usize>;

fn count(names: impl IntoIterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Everything on the machine that pods could leave.
fn on_the_machine(cluster: &Cluster) -> Counts {
    let dir = cluster.dir.path();
    let mut all = Vec::new();
    files(&cluster.path("data/agent"), &mut all);
    files(&cluster.path("run"), &mut all);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = mounts.lines().filter(|line| line.contains(dir.to_str().unwrap()));
    all.extend(own.map(|line| format!("mount {}", line.split(' ').nth(4).unwrap())));
    let group = Places::new(&cluster.path("data")).cgroup;
    let cgroups = Cgroups::detect().unwrap();
    all.extend(cgroups.processes(&group).unwrap().iter().map(|pid| format!("process {pid}")));
    for hierarchy in cgroups.hierarchies() {
        folders(&hierarchy.mount.join(&group), &mut all);
    }
    for words in [
        &["ip", "-o", "link"][..],
        &["ip", "route", "show", "table", "all"],
        &["ip", "neighbour"],
        &["nft", "list", "ruleset"],
    ] {
        let mut command = cluster.command(words[0]);
        let lines = cluster.machine.finish(command.args(&words[1..]), "").ok();
        // The neighbour of the machine itself comes and goes; counters of links do not matter.
        let lines = lines.lines().filter(|line| !line.contains("192.168.77."));
        all.extend(lines.map(|line| format!("{}: {line}", words[0])));
    }
    count(all)
}

/// Every file and folder below `path`; of images only those that containers are made from.
fn files(path: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        all.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != "layers" {
            files(&entry.path(), all);
        }
    }
}

fn folders(path: &Path, all: &mut Vec<String>) {
    all.push(format!("cgroup {}", path.display()));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders(&entry.path(), all);
        }
    }
}

/// Everything in rk itself: descriptors by what they are of, threads, children.
fn in_rk(pid: i32) -> Counts {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let text = target.display().to_string();
        all.push(format!("fd {}", text.split(":[").next().unwrap_or_default()));
    }
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        all.push("thread".to_owned());
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().map(|_| "child".to_owned()));
    }
    count(all)
}

/// What `now` has beyond `before`.
fn more(before: &Counts, now: &Counts) -> Vec<String> {
    let was = |name: &String| before.get(name).copied().unwrap_or(0);
    let grown = now.iter().filter(|(name, count)| was(name) < **count);
    grown.map(|(name, count)| format!("{name}: {count} instead of {}", was(name))).collect()
}

/// RSS and private memory in kB.
fn memory(pid: i32) -> [u64; 2] {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let sum = |names: &[&str]| {
        let lines = text.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
        lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
    };
    [sum(&["Rss:"]), sum(&["Private_Clean:", "Private_Dirty:"])]
}

fn wait(time: Duration) {
    let (_never, timer) = std::sync::mpsc::channel::<()>();
    let _ = timer.recv_timeout(time);
}

/// Waits until nothing is there that was not before.
fn settle(what: &str, before: &Counts, look: impl Fn() -> Counts) {
    guestbook::eventually(what, || {
        let more = more(before, &look());
        if more.is_empty() { Ok(()) } else { Err(more.join("\n")) }
    });
}

#[test]
fn nothing_is_left_of_pods() {
    let extent = extent();
    let cidr: &[&str] = if extent.rest.is_some() { &[] } else { &["--cluster-cidr=10.42.0.0/26"] };
    let cluster = guestbook::cluster(cidr);
    let pid = cluster.pid();
    for wave in 0..extent.warm_up {
        run_wave(&cluster, &format!("warm-{wave}"), extent.pods);
    }
    // Threads that wait for work end after ten seconds without any.
    wait(extent.rest.unwrap_or(Duration::from_secs(11)));
    let (machine, own) = (on_the_machine(&cluster), in_rk(pid));
    let warm = memory(pid);
    eprintln!("after the warm-up: {warm:?} kB, {own:?}");
    for round in 0..extent.rounds {
        for wave in 0..extent.waves {
            run_wave(&cluster, &format!("{round}-{wave}"), extent.pods);
        }
        settle("pods leave the machine as it was", &machine, || on_the_machine(&cluster));
        settle("pods leave rk as it was", &own, || in_rk(pid));
        let Some(rest) = extent.rest else { continue };
        let deadline = clock::instant() + rest;
        wait(deadline.saturating_duration_since(clock::instant()));
        let now = memory(pid);
        eprintln!("after round {round}: {now:?} kB, {:?}", in_rk(pid));
        for (now, warm) in now.into_iter().zip(warm) {
            assert!(now <= warm + warm / 10 && now <= warm + 4096, "{now} kB after {warm} kB");
        }
    }
}
