//! What a process costs, by `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a process has used since it began.
#[derive(Clone, Copy)]
pub struct Used {
    /// Time on a processor.
    pub cpu: Duration,
    /// How often a thread of it went to sleep, which is as often as one woke up.
    pub sleeps: u64,
    /// Bytes that it caused to be written to a disk.
    pub written: u64,
}

impl Used {
    /// By process `pid` and all its threads that live.
    pub fn by(pid: i32) -> Self {
        let mut used = Self { cpu: Duration::ZERO, sleeps: 0, written: 0 };
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let task = task.unwrap().path();
            let run = fs::read_to_string(task.join("schedstat")).unwrap();
            let run = run.split(' ').next().unwrap().parse().unwrap();
            used.cpu += Duration::from_nanos(run);
            used.sleeps += field(&task.join("status"), "voluntary_ctxt_switches:");
        }
        used.written = field(Path::new(&format!("/proc/{pid}/io")), "write_bytes:");
        used
    }

    /// What has been used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            sleeps: self.sleeps.saturating_sub(earlier.sleeps),
            written: self.written - earlier.written,
        }
    }
}

/// Memory of a process, in bytes.
pub struct Memory {
    /// What of it is in memory.
    pub resident: u64,
    /// What of that no other process has.
    pub private: u64,
    /// What of that is no file's.
    pub anonymous: u64,
}

impl Memory {
    /// Of process `pid`.
    pub fn of(pid: i32) -> Self {
        let file = format!("/proc/{pid}/smaps_rollup");
        let kb = |name| field(Path::new(&file), name) * 1024;
        let private = kb("Private_Clean:") + kb("Private_Dirty:");
        Self { resident: kb("Rss:"), private, anonymous: kb("Anonymous:") }
    }

    /// The most of process `pid` that was resident since [`Memory::forget_highest`], in bytes.
    pub fn highest(pid: i32) -> u64 {
        field(Path::new(&format!("/proc/{pid}/status")), "VmHWM:") * 1024
    }

    /// Begins anew to look for the highest.
    pub fn forget_highest(pid: i32) {
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    }
}

/// The number after a name in one of the kernel's lists.
fn field(path: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The processes whose arguments contain all of `words`, by id.
pub fn found(words: &[&str]) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse() else { continue };
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if words.iter().all(|word| line.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// The bytes of all files below a folder.
pub fn stored(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// This machine in a line.
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let count = std::thread::available_parallelism().unwrap();
    let memory = field(Path::new("/proc/meminfo"), "MemTotal:") / 1_000_000;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let load = fs::read_to_string("/proc/loadavg").unwrap();
    let load = load.split(' ').next().unwrap().to_owned();
    format!("{count} cores of {model}, {memory} GB, Linux {} (load before: {load})", kernel.trim())
}
