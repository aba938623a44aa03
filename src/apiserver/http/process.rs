//! What the process itself uses, read off the kernel when somebody asks.

use std::fs;

/// Clock ticks of `/proc` in a second: fixed in the kernel's interface.
const TICKS_PER_S: f64 = 100.0;

/// The figures of this process.
#[derive(Debug, Default, Clone, Copy)]
pub struct Process {
    /// Processor time in seconds.
    pub cpu_s: f64,
    /// Memory that is in use, in bytes.
    pub resident_bytes: i64,
    /// Addresses that are in use, in bytes.
    pub virtual_bytes: i64,
    /// Open file descriptors.
    pub files: i64,
    /// How many there may be.
    pub files_max: i64,
}

impl Process {
    /// Reads them. What cannot be read is zero.
    pub fn read() -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
        let status = text("status").unwrap_or_default();
        Self {
            cpu_s: text("stat").ok().and_then(|stat| cpu_s(&stat)).unwrap_or_default(),
            resident_bytes: kilobytes(&status, "VmRSS:").unwrap_or_default(),
            virtual_bytes: kilobytes(&status, "VmSize:").unwrap_or_default(),
            files: fs::read_dir("/proc/self/fd").map_or(0, |files| count(files.count())),
            files_max: text("limits").ok().and_then(|limits| files_max(&limits)).unwrap_or(0),
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Time in user and in kernel mode. The name before them may hold spaces and brackets.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    Some((f64::from(ticks.next()??) + f64::from(ticks.next()??)) / TICKS_PER_S)
}

fn kilobytes(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: i64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn files_max(limits: &str) -> Option<i64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_texts_are_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_s(stat), Some(2.0));
        assert_eq!(kilobytes("Name:\trk\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12 * 1024));
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(files_max(limits), Some(1024));
        let own = Process::read();
        assert!(own.resident_bytes > 0 && own.files > 0 && own.files_max > 0, "{own:?}");
    }
}
