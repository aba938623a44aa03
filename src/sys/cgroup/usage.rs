//! What a group has used, from the files of either version.

/// Usage of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu_ns: u64,
    /// Memory in bytes, page cache included.
    pub memory_bytes: u64,
    /// Memory without inactive page cache: what cannot be taken back at once.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Page faults.
    pub page_faults: u64,
    /// Page faults that read a disk.
    pub major_page_faults: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Limit on memory, when there is one.
    pub memory_limit_bytes: Option<u64>,
}

/// v1 writes this (rounded down to pages) for no limit.
const V1_NO_LIMIT: u64 = 0x7fff_ffff_ffff_f000;

type Read<'a> = &'a dyn Fn(&str, &str) -> Option<String>;

pub(super) fn read_v1(read: impl Fn(&str, &str) -> Option<String>) -> Usage {
    let read: Read<'_> = &read;
    let stat = read("memory", "memory.stat").unwrap_or_default();
    let memory = number(read, "memory", "memory.usage_in_bytes");
    let limit = number(read, "memory", "memory.limit_in_bytes");
    let inactive = keyed(&stat, "total_inactive_file").unwrap_or(0);
    Usage {
        cpu_ns: number(read, "cpuacct", "cpuacct.usage"),
        memory_bytes: memory,
        working_set_bytes: memory.saturating_sub(inactive),
        rss_bytes: keyed(&stat, "total_rss").unwrap_or(0),
        page_faults: keyed(&stat, "total_pgfault").unwrap_or(0),
        major_page_faults: keyed(&stat, "total_pgmajfault").unwrap_or(0),
        pids: number(read, "pids", "pids.current"),
        memory_limit_bytes: (1..V1_NO_LIMIT).contains(&limit).then_some(limit),
    }
}

pub(super) fn read_v2(read: impl Fn(&str, &str) -> Option<String>) -> Usage {
    let read: Read<'_> = &read;
    let stat = read("memory", "memory.stat").unwrap_or_default();
    // cpu.stat has the time even where the controller itself could not be had.
    let cpu = ["cpu", "memory", "pids"].iter().find_map(|name| read(name, "cpu.stat"));
    let memory = number(read, "memory", "memory.current");
    let inactive = keyed(&stat, "inactive_file").unwrap_or(0);
    Usage {
        cpu_ns: keyed(&cpu.unwrap_or_default(), "usage_usec").unwrap_or(0).saturating_mul(1000),
        memory_bytes: memory,
        working_set_bytes: memory.saturating_sub(inactive),
        rss_bytes: keyed(&stat, "anon").unwrap_or(0),
        page_faults: keyed(&stat, "pgfault").unwrap_or(0),
        major_page_faults: keyed(&stat, "pgmajfault").unwrap_or(0),
        pids: number(read, "pids", "pids.current"),
        memory_limit_bytes: read("memory", "memory.max").and_then(|text| text.trim().parse().ok()),
    }
}

fn number(read: Read<'_>, controller: &str, file: &str) -> u64 {
    read(controller, file).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The number after `key` in lines of `key number`.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    let pair = |line: &str| line.split_once(' ').filter(|(name, _)| *name == key)?.1.parse().ok();
    text.lines().find_map(pair)
}
