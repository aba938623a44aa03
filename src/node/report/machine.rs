//! What the machine is: read from the kernel's and the distribution's files.

use std::fs;
use std::path::Path;

/// A machine, as far as its node tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// Processors that are online.
    pub cpus: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Swap in bytes.
    pub swap_bytes: i64,
    /// Size of the file system that holds volumes and images.
    pub disk_bytes: i64,
    /// Reserved huge pages: size as `2Mi`, and bytes.
    pub hugepages: Vec<(String, i64)>,
    /// Changes with every boot.
    pub boot_id: String,
    /// The distribution's identity of the machine.
    pub machine_id: String,
    /// The firmware's.
    pub system_uuid: String,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution's name.
    pub os_image: String,
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim_end_matches(['\n', '\0']).to_owned()
}

impl Machine {
    /// Reads what this machine is; `data_dir` tells which disk counts.
    pub fn read(data_dir: &Path) -> Self {
        let meminfo = text("/proc/meminfo");
        let room = crate::sys::fs::room(data_dir).ok();
        let disk = room.and_then(|room| i64::try_from(room.capacity_bytes).ok()).unwrap_or(0);
        let machine_id = text("/etc/machine-id");
        Self {
            architecture: architecture().to_owned(),
            cpus: cpus(&text("/sys/devices/system/cpu/online")),
            memory_bytes: kibibytes(&meminfo, "MemTotal"),
            swap_bytes: kibibytes(&meminfo, "SwapTotal"),
            disk_bytes: disk,
            hugepages: hugepages(Path::new("/sys/kernel/mm/hugepages")),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            system_uuid: system_uuid(&machine_id),
            machine_id,
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: os_image(&text("/etc/os-release")),
        }
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How many processors a list such as `0-3,6` has; at least one.
fn cpus(list: &str) -> i64 {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.trim().parse::<i64>(), last.trim().parse::<i64>()) {
            (Ok(first), Ok(last)) => (last - first + 1).max(0),
            _ => 0,
        }
    };
    list.split(',').map(count).sum::<i64>().max(1)
}

/// The bytes of one line of `/proc/meminfo`.
fn kibibytes(meminfo: &str, name: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    number.map_or(0, |n: i64| n << 10)
}

fn hugepages(directory: &Path) -> Vec<(String, i64)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let size = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let kb: i64 =
            name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?;
        let count: i64 = count.trim().parse().ok()?;
        let size =
            if kb % (1 << 20) == 0 { format!("{}Gi", kb >> 20) } else { format!("{}Mi", kb >> 10) };
        Some((size, (count * kb) << 10))
    };
    let mut sizes: Vec<_> = entries.flatten().filter_map(size).collect();
    sizes.sort();
    sizes
}

fn system_uuid(machine_id: &str) -> String {
    let sources = ["/sys/class/dmi/id/product_uuid", "/proc/device-tree/serial-number"];
    let found = sources.iter().map(|path| text(path)).find(|uuid| !uuid.is_empty());
    found.unwrap_or_else(|| machine_id.to_owned())
}

fn os_image(os_release: &str) -> String {
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.trim_matches(['"', '\'']).to_owned())
    };
    value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or_else(|| "Linux".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_read() {
        assert_eq!(cpus("0-3,6"), 5);
        assert_eq!(cpus(""), 1);
        assert_eq!(kibibytes("MemTotal:       2048 kB\nSwapTotal: 0 kB", "MemTotal"), 2 << 20);
        assert_eq!(os_image("NAME=\"x\"\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
    }

    #[test]
    fn this_machine_is_something() {
        let machine = Machine::read(Path::new("/"));
        assert!(machine.memory_bytes > 1 << 20 && machine.disk_bytes > 1 << 20);
        assert!(!machine.kernel.is_empty() && !machine.boot_id.is_empty());
    }
}
