//! What a container can see and do, and what not.

use super::world::{World, run};
use rk::runtime::{
    Capabilities, ContainerSpec, Device, Mount, MountSource, PidShare, PodHandle, PodSandbox,
    Propagation, Seccomp, Share, User,
};
use rk::sys::mount::{self, Passing};
use std::path::Path;

pub fn bind(source: &str, destination: &str) -> Mount {
    Mount {
        destination: destination.into(),
        source: MountSource::Bind { path: source.into(), propagation: Propagation::Private },
        read_only: false,
        recursive_read_only: false,
    }
}

/// What a container prints.
async fn printed(world: &World, pod: &PodHandle, spec: ContainerSpec) -> String {
    let id = spec.id.clone();
    run(pod, spec).await;
    let text = std::fs::read_to_string(world.log(&id)).unwrap_or_default();
    text.lines().map(|line| format!("{}\n", line.splitn(4, ' ').nth(3).unwrap())).collect()
}

#[tokio::test]
async fn dangerous_system_calls_are_refused_by_default() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    // Creating a user namespace needs no capability: only the filter stands in the way.
    let script = "grep Seccomp: /proc/self/status
        unshare -U true 2>&1; unshare -n true 2>&1; mount -t tmpfs x /tmp 2>&1; echo end";
    let text = printed(&world, &pod, world.container("default", script)).await;
    assert_eq!(text.matches("Operation not permitted").count(), 2, "{text}");
    assert!(text.contains("Seccomp:\t2") && text.contains("permission denied"), "{text}");
    let open = ContainerSpec {
        seccomp: Seccomp::Unconfined,
        capabilities: Capabilities { add: vec!["SYS_ADMIN".into()], drop: vec![] },
        ..world.container("open", script)
    };
    let text = printed(&world, &pod, open).await;
    assert_eq!(text, "Seccomp:\t0\nend\n");
    // The same capability opens the calls in the default profile.
    let admin = ContainerSpec {
        capabilities: Capabilities { add: vec!["SYS_ADMIN".into()], drop: vec![] },
        ..world.container("admin", script)
    };
    assert_eq!(printed(&world, &pod, admin).await, "Seccomp:\t2\nend\n");
    let profile = world.path("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64",
        "SCMP_ARCH_AARCH64"],"syscalls":[{"names":["mkdir","mkdirat"],
        "action":"SCMP_ACT_ERRNO","errnoRet":122}]}"#;
    std::fs::write(&profile, text).unwrap();
    let local = ContainerSpec {
        seccomp: Seccomp::Localhost(profile),
        no_new_privileges: true,
        ..world.container("local", "mkdir /x 2>&1; touch /y && echo made")
    };
    let text = printed(&world, &pod, local).await;
    assert_eq!(text, "mkdir: can't create directory '/x': Disk quota exceeded\nmade\n");
    let missing = ContainerSpec {
        seccomp: Seccomp::Localhost(world.path("none.json")),
        ..world.container("missing", "")
    };
    let error = pod.create(missing).await.unwrap_err().to_string();
    assert!(error.contains("none.json: No such file"), "{error}");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn capabilities_are_what_was_asked_for() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let script = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)|NoNew' /proc/self/status | tr '\\n' ' '";
    let caps = |add: &[&str], drop: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Capabilities { add: owned(add), drop: owned(drop) }
    };
    let expect = |text: &str, inner: &str, bounding: &str| {
        assert!(text.contains("CapInh:\t0000000000000000"), "{text}");
        assert!(text.contains(&format!("CapEff:\t{inner}")), "{text}");
        assert!(text.contains(&format!("CapBnd:\t{bounding}")), "{text}");
        assert!(text.contains("CapAmb:\t0000000000000000"), "{text}");
    };
    let (docker, none) = ("00000000a80425fb", "0000000000000000");
    let plain = world.container("plain", script);
    let text = printed(&world, &pod, plain).await;
    expect(&text, docker, docker);
    assert!(text.contains("NoNewPrivs:\t0"));
    let spec = ContainerSpec {
        capabilities: caps(&["NET_BIND_SERVICE"], &["ALL"]),
        no_new_privileges: true,
        ..world.container("one", script)
    };
    let text = printed(&world, &pod, spec).await;
    expect(&text, "0000000000000400", "0000000000000400");
    assert!(text.contains("NoNewPrivs:\t1"));
    let user = User { uid: Some(1000), ..User::default() };
    let spec = ContainerSpec { user, ..world.container("user", script) };
    expect(&printed(&world, &pod, spec).await, none, docker);
    let held = std::fs::read_to_string("/proc/self/status").unwrap();
    let held = held.lines().find_map(|line| line.strip_prefix("CapPrm:\t")).unwrap();
    let spec = ContainerSpec { privileged: true, ..world.container("all", script) };
    expect(&printed(&world, &pod, spec).await, held, held);
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn users_groups_environment_and_directory_are_set() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let spec = ContainerSpec {
        user: User { image: "web".into(), additional_gids: vec![2000], ..User::default() },
        env: vec![("A".into(), "x=y z".into())],
        cwd: "/made/deep".into(),
        ..world
            .container("c", "id -u; id -g; id -G; pwd; echo $A $HOME $HOSTNAME $PATH; env | wc -l")
    };
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let text = printed(&world, &pod, spec).await;
    // The shell adds PWD, SHLVL and the like of its own accord.
    assert!(
        text.starts_with(&format!("33\n34\n34 40 2000\n/made/deep\nx=y z /srv host-p {path}\n")),
        "{text}"
    );
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn file_systems_are_read_only_where_they_shall_be() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let volume = world.path("volume");
    std::fs::create_dir_all(volume.join("sub")).unwrap();
    std::fs::write(volume.join("file"), "content").unwrap();
    let volume = volume.to_str().unwrap();
    let script = "touch /x 2>&1; touch /ro/x 2>&1; touch /rw/x && cat /rw/file /one && echo
        touch /tmp/x && df /tmp | tail -1 | awk '{print $2}'; stat -c %a /tmp
        echo 1 > /proc/sys/kernel/panic; cat /proc/kcore 2>/dev/null | wc -c
        ls /sys/firmware | wc -l
        touch /sys/fs/cgroup/memory/x /sys/x 2>&1 | grep -c 'Read-only'";
    let mut spec = ContainerSpec { read_only_root: true, ..world.container("c", script) };
    spec.mounts = vec![
        Mount { read_only: true, ..bind(volume, "/ro") },
        bind(volume, "/rw"),
        bind(&format!("{volume}/file"), "/one"),
        Mount {
            destination: "/tmp".into(),
            source: MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: 0o1777 },
            read_only: false,
            recursive_read_only: false,
        },
    ];
    let text = printed(&world, &pod, spec).await;
    let expected = "touch: /x: Read-only file system\ntouch: /ro/x: Read-only file system\n\
        contentcontent\n1024\n1777\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("can't create /proc/sys/kernel/panic: Read-only"), "{text}");
    assert!(text.ends_with("0\n0\n2\n"), "{text}");
    let spec = ContainerSpec {
        unmasked_proc: true,
        ..world.container("open", "test -w /proc/sys/kernel/panic && echo open")
    };
    assert_eq!(printed(&world, &pod, spec).await, "open\n");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn mounts_pass_as_wished() {
    let world = World::new();
    let shared = world.path("shared");
    std::fs::create_dir(&shared).unwrap();
    mount::tmpfs(&shared, "size=1m").unwrap();
    mount::set_passing(&shared, Passing::Shared, false).unwrap();
    for directory in ["from-host", "from-container"] {
        std::fs::create_dir(shared.join(directory)).unwrap();
    }
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    let script = "echo ready; read go; ls /v/from-host
        mount -t tmpfs x /v/from-container && touch /v/from-container/seen; echo done; read go";
    for (id, propagation, down, up) in [
        ("private", Propagation::Private, false, false),
        ("slave", Propagation::HostToContainer, true, false),
        ("both", Propagation::Bidirectional, true, true),
    ] {
        let mut spec = ContainerSpec {
            capabilities: Capabilities { add: vec!["SYS_ADMIN".into()], drop: vec![] },
            stdin: true,
            ..world.container(id, script)
        };
        spec.mounts = vec![Mount {
            source: MountSource::Bind { path: shared.clone(), propagation },
            ..bind("", "/v")
        }];
        pod.create(spec).await.unwrap();
        pod.start(id).await.unwrap();
        super::basics::ready(&world, id).await;
        let mut session = pod.attach(id, true, true, false).await.unwrap();
        mount::tmpfs(&shared.join("from-host"), "size=1m").unwrap();
        std::fs::write(shared.join("from-host/seen"), "").unwrap();
        let (mut input, mut output) =
            (session.stdin.take().unwrap(), session.stdout.take().unwrap());
        tokio::io::AsyncWriteExt::write_all(&mut input, b"go\n").await.unwrap();
        let mut text = String::new();
        while !text.contains("done") {
            let mut buffer = [0; 1024];
            let count = tokio::io::AsyncReadExt::read(&mut output, &mut buffer).await.unwrap();
            text += std::str::from_utf8(&buffer[..count]).unwrap();
        }
        assert_eq!(text.contains("seen"), down, "{id}: {text}");
        assert_eq!(shared.join("from-container/seen").exists(), up, "{id}");
        pod.remove(id).await.unwrap();
        mount::detach(&shared.join("from-host")).unwrap();
        mount::detach(&shared.join("from-container")).unwrap();
    }
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn devices_are_limited_and_the_hosts_are_left_alone() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    // loop-control stands for a device that is not among the default ones.
    let (major, minor) = (10, 237);
    let script = format!(
        "head -c 3 /dev/zero | wc -c; mknod /tmp/d c {major} {minor} && echo made
        : < /tmp/d && echo opened; ls /dev | tr '\\n' ' '"
    );
    let text = printed(&world, &pod, world.container("plain", &script)).await;
    assert!(text.starts_with("3\nmade\n"), "{text}");
    assert!(text.contains("can't open /tmp/d") && !text.contains("opened"), "{text}");
    let device = Device {
        host_path: "/dev/loop-control".into(),
        container_path: "/dev/mine".into(),
        permissions: "rw".into(),
    };
    if device.host_path.exists() {
        let spec = ContainerSpec {
            devices: vec![device],
            ..world.container("one", ": < /dev/mine && echo opened")
        };
        assert_eq!(printed(&world, &pod, spec).await, "opened\n");
    }
    let before = std::fs::symlink_metadata("/dev/ptmx").unwrap();
    let all = "test -e /dev/vda && echo disk; ls /dev | wc -l";
    let spec = ContainerSpec { privileged: true, ..world.container("all", all) };
    let text = printed(&world, &pod, spec).await;
    assert!(text.starts_with("disk\n") == Path::new("/dev/vda").exists(), "{text}");
    let mut spec = ContainerSpec { privileged: true, ..world.container("dev", "ls /dev | sort") };
    spec.mounts = vec![bind("/dev", "/dev"), bind("/dev/shm", "/dev/shm")];
    let text = printed(&world, &pod, spec).await;
    let mut host: Vec<_> =
        std::fs::read_dir("/dev").unwrap().map(|e| e.unwrap().file_name()).collect();
    host.sort();
    let host: String = host.iter().map(|name| format!("{}\n", name.display())).collect();
    assert_eq!(text, host);
    let after = std::fs::symlink_metadata("/dev/ptmx").unwrap();
    assert_eq!(before.file_type(), after.file_type());
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn a_shared_pid_namespace_has_a_reaper_that_leads_nowhere() {
    let world = World::new();
    let runtime = world.open().await;
    let sandbox = PodSandbox { pid: PidShare::Pod, ..world.pod("p") };
    let pod = runtime.run_pod(sandbox).await.unwrap();
    let sleeper = world.container("sleeper", "echo ready; exec sleep 1234");
    pod.create(sleeper).await.unwrap();
    pod.start("sleeper").await.unwrap();
    super::basics::ready(&world, "sleeper").await;
    // An orphan is taken in by PID 1; with the capability to trace, its links can be followed, and
    // there is nothing behind them.
    let script = "ps | grep -c '[s]leep 1234'; cat /proc/1/comm; ls /proc/1/root | wc -l
        sh -c 'sleep 0.05 & echo $!' > /tmp/orphan; sleep 0.2; ls -d /proc/$(cat /tmp/orphan) 2>&1
        : >> /proc/1/exe";
    let spec = ContainerSpec {
        capabilities: Capabilities { add: vec!["SYS_PTRACE".into()], drop: vec![] },
        ..world.container("looker", script)
    };
    let text = printed(&world, &pod, spec).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["1", "rk-pause", "0"], "{text}");
    assert!(lines[3].contains("No such file"), "{text}");
    assert!(lines[4].contains("/proc/1/exe"), "{text}");
    // Its processes end with the container, though the namespace lives on.
    let script = "sleep 4321 & echo ready; exit 0";
    assert_eq!(run(&pod, world.container("leaver", script)).await.code, 0);
    let text = printed(&world, &pod, world.container("after", "ps | grep -c '[s]leep 4321'")).await;
    assert_eq!(text, "0\n");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn one_container_joins_the_processes_of_another() {
    let world = World::new();
    let runtime = world.open().await;
    let pod = runtime.run_pod(world.pod("p")).await.unwrap();
    pod.create(world.container("target", "echo ready; exec sleep 1234")).await.unwrap();
    pod.start("target").await.unwrap();
    super::basics::ready(&world, "target").await;
    let spec = ContainerSpec {
        pid_of: Some("target".into()),
        ..world.container("debugger", "ps | grep -c '[s]leep 1234'")
    };
    assert_eq!(printed(&world, &pod, spec).await, "1\n");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn host_namespaces_are_the_hosts() {
    let world = World::new();
    let runtime = world.open().await;
    let sandbox = PodSandbox {
        net: Share::Host,
        uts: Share::Host,
        ipc: Share::Host,
        pid: PidShare::Host,
        ..world.pod("p")
    };
    let pod = runtime.run_pod(sandbox).await.unwrap();
    assert_eq!(pod.netns(), None);
    let script =
        "for n in net uts ipc pid; do readlink /proc/self/ns/$n; done; sleep 1000 & exit 0";
    let text = printed(&world, &pod, world.container("c", script)).await;
    let host: String = ["net", "uts", "ipc", "pid"]
        .iter()
        .map(|kind| {
            format!("{}\n", std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display())
        })
        .collect();
    assert_eq!(text, host);
    let group = format!("{}/kubepods/burstable/podp/c", world.group);
    let left = rk::sys::cgroup::Cgroups::detect().unwrap().processes(&group).unwrap();
    assert!(left.is_empty(), "{left:?}");
    runtime.remove_pod("p").await.unwrap();
}

#[tokio::test]
async fn kernel_parameters_are_the_pods_own() {
    let world = World::new();
    let runtime = world.open().await;
    let before = std::fs::read_to_string("/proc/sys/kernel/shmmax").unwrap();
    let mut sandbox = world.pod("p");
    sandbox.sysctls = [
        ("net.ipv4.ip_unprivileged_port_start".to_owned(), "77".to_owned()),
        ("kernel.shmmax".to_owned(), "123456".to_owned()),
    ]
    .into();
    let pod = runtime.run_pod(sandbox).await.unwrap();
    let script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax";
    assert_eq!(printed(&world, &pod, world.container("c", script)).await, "77\n123456\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/shmmax").unwrap(), before);
    let mut sandbox = world.pod("q");
    sandbox.sysctls = [("vm.swappiness".to_owned(), "1".to_owned())].into();
    let error = runtime.run_pod(sandbox).await.err().unwrap().to_string();
    assert!(error.contains("sysctl vm.swappiness does not belong"), "{error}");
    assert!(runtime.pod("q").is_none());
    runtime.remove_pod("p").await.unwrap();
    runtime.close().await.unwrap();
}
