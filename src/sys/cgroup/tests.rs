//! Finding, making and setting cgroups on trees of plain files.

use super::*;

const HYBRID: &str = "\
24 20 0:22 / /sys/fs/cgroup rw shared:1 - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:2 - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/memory rw,nosuid shared:3 - cgroup cgroup rw,memory
27 24 0:25 / /sys/fs/cgroup/systemd rw,nosuid shared:4 - cgroup cgroup rw,xattr,name=systemd
28 24 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:5 - cgroup2 cgroup2 rw
29 24 0:24 / /elsewhere/memory rw,nosuid shared:3 - cgroup cgroup rw,memory
";

#[test]
fn knows_hierarchies_from_the_mount_table() {
    let cgroups = Cgroups::from_mountinfo(HYBRID).unwrap();
    assert_eq!(cgroups.mode(), Mode::Hybrid);
    assert_eq!(cgroups.controllers(), ["cpu", "cpuacct", "memory"]);
    assert_eq!(cgroups.hierarchies().len(), 2);
    let without_v2: String =
        HYBRID.lines().filter(|l| !l.contains("cgroup2")).map(|l| format!("{l}\n")).collect();
    assert_eq!(Cgroups::from_mountinfo(&without_v2).unwrap().mode(), Mode::V1);
    assert!(Cgroups::from_mountinfo("24 20 0:22 / / rw - ext4 /dev/vda rw\n").is_err());
}

/// A v2 tree of ordinary files: what the kernel would make appear, the test makes.
fn fake_v2(root: &Path) -> Cgroups {
    fs::write(root.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
    fs::write(root.join("cgroup.subtree_control"), "cpu\n").unwrap();
    let table = format!("24 20 0:22 / {} rw - cgroup2 cgroup2 rw\n", root.display());
    Cgroups::from_mountinfo(&table).unwrap()
}

#[test]
fn v2_hands_controllers_down_and_writes_limits() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = fake_v2(root.path());
    assert_eq!(cgroups.mode(), Mode::V2);
    cgroups.create("rk/pods/one").unwrap();
    // The last one written; the kernel would collect them.
    let enabled = fs::read_to_string(root.path().join("cgroup.subtree_control")).unwrap();
    assert_eq!(enabled, "+pids");
    let limits = Limits {
        cpu_quota_us: Some(10_000),
        memory_bytes: Some(1 << 20),
        hugepages: [("2MB".to_owned(), 0)].into(),
        ..Limits::default()
    };
    assert_eq!(cgroups.apply("rk/pods/one", &limits).unwrap(), ["hugetlb"]);
    let group = root.path().join("rk/pods/one");
    assert_eq!(fs::read_to_string(group.join("cpu.max")).unwrap(), "10000 100000");
    assert_eq!(fs::read_to_string(group.join("memory.max")).unwrap(), "1048576");
    cgroups.join("rk/pods/one", 42).unwrap();
    assert_eq!(cgroups.processes("rk/pods").unwrap(), [42]);
}

#[test]
fn v2_usage_is_read() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = fake_v2(root.path());
    cgroups.create("rk/one").unwrap();
    let group = root.path().join("rk/one");
    let files = [
        ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
        ("memory.current", "5000\n"),
        ("memory.max", "max\n"),
        ("memory.stat", "anon 3000\nfile 2000\ninactive_file 1200\npgfault 7\npgmajfault 1\n"),
        ("pids.current", "4\n"),
        ("memory.events", "low 0\noom 2\noom_kill 1\noom_group_kill 0\n"),
    ];
    for (name, text) in files {
        fs::write(group.join(name), text).unwrap();
    }
    let usage = cgroups.usage("rk/one").unwrap();
    assert_eq!(
        (usage.cpu_ns, usage.memory_bytes, usage.working_set_bytes),
        (1_500_000, 5000, 3800)
    );
    assert_eq!((usage.rss_bytes, usage.pids, usage.memory_limit_bytes), (3000, 4, None));
    assert_eq!((usage.page_faults, usage.major_page_faults), (7, 1));
    assert_eq!(cgroups.oom_kills("rk/one"), 1);
    assert!(cgroups.usage("rk/two").is_err());
}

#[test]
fn the_root_and_paths_out_of_it_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let cgroups = fake_v2(root.path());
    for bad in ["", "/", "a/../..", ".", "a/./b"] {
        assert!(cgroups.create(bad).is_err(), "{bad}");
        assert!(cgroups.remove(bad).is_err(), "{bad}");
        assert!(cgroups.kill(bad).is_err(), "{bad}");
    }
}

/// Against the machine's own groups, whichever version they have.
#[test]
fn kills_what_keeps_forking_and_removes_the_group() {
    let cgroups = Cgroups::detect().unwrap();
    let path = format!("rk-test-{}", std::process::id());
    let below = format!("{path}/inner");
    cgroups.create(&below).unwrap();
    let limits = Limits { pids: Some(200), ..Limits::default() };
    cgroups.apply(&path, &limits).unwrap();
    let forker = "while :; do sleep 100 & done";
    let mut child = std::process::Command::new("/bin/sh").args(["-c", forker]).spawn().unwrap();
    cgroups.join(&below, i32::try_from(child.id()).unwrap()).unwrap();
    let outcome = cgroups.kill(&path);
    let left = cgroups.processes(&path);
    child.kill().unwrap();
    child.wait().unwrap();
    cgroups.kill(&path).unwrap();
    cgroups.remove(&path).unwrap();
    outcome.unwrap();
    assert!(left.unwrap().is_empty());
    assert!(cgroups.usage(&path).is_err());
    cgroups.kill(&path).unwrap();
    cgroups.remove(&path).unwrap();
}
