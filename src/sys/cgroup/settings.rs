//! Limits as the files of either version spell them.

use super::{Version, named};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Limits of a group; an absent one is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Weight in v1's terms, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; negative: none.
    pub cpu_quota_us: Option<i64>,
    /// Microseconds.
    pub cpu_period_us: Option<u64>,
    /// CPUs as a list.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes as a list.
    pub cpuset_mems: Option<String>,
    /// Bytes; negative: none.
    pub memory_bytes: Option<i64>,
    /// Processes and threads; negative: none.
    pub pids: Option<i64>,
    /// Bytes by page size.
    pub hugepages: BTreeMap<String, u64>,
    /// Out of memory kills the whole group (v2).
    pub oom_group: bool,
}

/// Controllers that have settings here, in the order of applying.
pub(super) const CONTROLLERS: &[&str] = &["cpuset", "cpu", "memory", "pids", "hugetlb"];

/// One file and what to write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    file: String,
    value: String,
    /// The kernel may lack the file (swap accounting, for one).
    optional: bool,
}

fn setting(file: impl Into<String>, value: impl ToString) -> Setting {
    Setting { file: file.into(), value: value.to_string(), optional: false }
}

fn optional(file: &str, value: impl ToString) -> Setting {
    Setting { optional: true, ..setting(file, value) }
}

impl Limits {
    /// What to write for one controller, in order.
    pub(super) fn settings(&self, version: Version, controller: &str) -> Vec<Setting> {
        match (controller, version) {
            ("cpuset", _) => self.cpuset(),
            ("cpu", Version::V1) => self.cpu_v1(),
            ("cpu", Version::V2) => self.cpu_v2(),
            ("memory", Version::V1) => self.memory_v1(),
            ("memory", Version::V2) => self.memory_v2(),
            ("pids", _) => self.pids.map(|n| setting("pids.max", or_max(n))).into_iter().collect(),
            ("hugetlb", _) => self.hugetlb(version),
            _ => Vec::new(),
        }
    }

    fn cpuset(&self) -> Vec<Setting> {
        let cpus = self.cpuset_cpus.iter().map(|list| setting("cpuset.cpus", list));
        let mems = self.cpuset_mems.iter().map(|list| setting("cpuset.mems", list));
        cpus.chain(mems).collect()
    }

    fn cpu_v1(&self) -> Vec<Setting> {
        let shares = self.cpu_shares.map(|n| setting("cpu.shares", n.clamp(2, 262_144)));
        let period = self.cpu_period_us.map(|n| setting("cpu.cfs_period_us", n));
        let quota = self.cpu_quota_us.map(|n| setting("cpu.cfs_quota_us", n.max(-1)));
        shares.into_iter().chain(period).chain(quota).collect()
    }

    fn cpu_v2(&self) -> Vec<Setting> {
        let weight = self.cpu_shares.map(|shares| setting("cpu.weight", weight(shares)));
        let max = (self.cpu_quota_us.is_some() || self.cpu_period_us.is_some()).then(|| {
            let quota = or_max(self.cpu_quota_us.unwrap_or(-1));
            setting("cpu.max", format!("{quota} {}", self.cpu_period_us.unwrap_or(100_000)))
        });
        weight.into_iter().chain(max).collect()
    }

    fn memory_v1(&self) -> Vec<Setting> {
        let Some(bytes) = self.memory_bytes else { return Vec::new() };
        let bytes = bytes.max(-1);
        // memsw bounds memory and swap together and may never be below the limit of memory alone:
        // lifting needs it first, lowering needs it last, so it is written on both sides.
        let both = optional("memory.memsw.limit_in_bytes", bytes);
        vec![both.clone(), setting("memory.limit_in_bytes", bytes), both]
    }

    fn memory_v2(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        if let Some(bytes) = self.memory_bytes {
            all.push(setting("memory.max", or_max(bytes)));
            // As v1 with memsw: no swap on top of a limit.
            all.push(optional("memory.swap.max", if bytes < 0 { "max" } else { "0" }));
        }
        if self.oom_group {
            all.push(optional("memory.oom.group", 1));
        }
        all
    }

    fn hugetlb(&self, version: Version) -> Vec<Setting> {
        let suffix = match version {
            Version::V1 => "limit_in_bytes",
            Version::V2 => "max",
        };
        let named =
            |(size, bytes): (&String, &u64)| setting(format!("hugetlb.{size}.{suffix}"), bytes);
        self.hugepages.iter().map(named).collect()
    }
}

fn or_max(value: i64) -> String {
    if value < 0 { "max".into() } else { value.to_string() }
}

/// Shares (2..=262144, default 1024) as a weight (1..=10000, default 100), by the curve that
/// runtimes agreed on in 2025, which keeps both ends and maps default to default.
fn weight(shares: u64) -> u64 {
    let log = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // The ends are exact but for rounding noise, which ceil would turn into one too many.
    let value = (10f64.powf(exponent) - 1e-6).ceil();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
    let weight = value as u64;
    weight.clamp(1, 10_000)
}

/// Writes the settings in order. The first of a file that stands twice may fail.
pub(super) fn write_all(directory: &Path, settings: &[Setting]) -> io::Result<()> {
    for (index, setting) in settings.iter().enumerate() {
        let file = directory.join(&setting.file);
        let again = settings[index + 1..].contains(setting);
        if setting.optional && !file.exists() {
            continue;
        }
        match fs::write(&file, &setting.value) {
            Err(error) if !again => return Err(named(error, &file)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(limits: &Limits, version: Version) -> Vec<String> {
        let all = CONTROLLERS.iter().flat_map(|name| limits.settings(version, name));
        all.map(|setting| format!("{}={}", setting.file, setting.value)).collect()
    }

    fn some_limits() -> Limits {
        Limits {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_bytes: Some(64 << 20),
            pids: Some(100),
            hugepages: BTreeMap::from([("2MB".into(), 4 << 20)]),
            oom_group: true,
            ..Limits::default()
        }
    }

    #[test]
    fn v1_spells_limits_its_way() {
        assert_eq!(
            written(&some_limits(), Version::V1),
            [
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.memsw.limit_in_bytes=67108864",
                "memory.limit_in_bytes=67108864",
                "memory.memsw.limit_in_bytes=67108864",
                "pids.max=100",
                "hugetlb.2MB.limit_in_bytes=4194304",
            ]
        );
    }

    #[test]
    fn v2_spells_limits_its_way() {
        assert_eq!(
            written(&some_limits(), Version::V2),
            [
                "cpu.weight=100",
                "cpu.max=50000 100000",
                "memory.max=67108864",
                "memory.swap.max=0",
                "memory.oom.group=1",
                "pids.max=100",
                "hugetlb.2MB.max=4194304",
            ]
        );
    }

    #[test]
    fn no_limit_is_spelled_out_and_absent_ones_are_left_alone() {
        assert!(written(&Limits::default(), Version::V1).is_empty());
        assert!(written(&Limits::default(), Version::V2).is_empty());
        let none = Limits {
            cpu_quota_us: Some(-1),
            memory_bytes: Some(-1),
            pids: Some(-1),
            ..Limits::default()
        };
        assert_eq!(
            written(&none, Version::V2),
            ["cpu.max=max 100000", "memory.max=max", "memory.swap.max=max", "pids.max=max"]
        );
    }

    #[test]
    fn weights_keep_ends_and_default() {
        assert_eq!([2, 1024, 262_144].map(weight), [1, 100, 10_000]);
        assert!(weight(512) < 100 && weight(2048) > 100);
    }
}
