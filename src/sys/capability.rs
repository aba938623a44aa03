//! Capabilities of a process: their names, what this process holds, and giving them up.

use super::fd::check;
use std::io;

/// Names in the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The set of one, by name in any case, with or without `CAP_`.
    pub fn named(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES.iter().position(|known| *known == short).map(|number| Self(1 << number))
    }

    /// Members of either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Members of this one that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Members of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether every member of `other` is in this one.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Names with `CAP_`, by number.
    pub fn names(self) -> Vec<String> {
        let held = |(number, _): &(usize, &&str)| self.0 >> number & 1 == 1;
        NAMES.iter().enumerate().filter(held).map(|(_, name)| format!("CAP_{name}")).collect()
    }
}

/// The kernel's `__user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// The kernel's `__user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// What this process may use.
pub fn permitted() -> io::Result<Set> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    let (h, d) = (&raw mut header, data.as_mut_ptr());
    // SAFETY: header and data have the kernel's layout for this version and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, h, d) };
    check(i32::try_from(result).unwrap_or(-1))?;
    Ok(Set(u64::from(data[1].permitted) << 32 | u64::from(data[0].permitted)))
}

/// Gives up for good, for this process and what it executes, all that is not in `keep`.
pub fn limit_bounding(keep: Set) -> io::Result<()> {
    for number in (0..NAMES.len() as libc::c_ulong).filter(|n| keep.0 >> n & 1 == 0) {
        // SAFETY: takes integers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }) {
            // A kernel that does not know the capability cannot grant it.
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Sets what this process may use and does use to `keep`; nothing is inherited over exec but by
/// root or by file capabilities.
pub fn keep_only(keep: Set) -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of the 64 bits")]
    let half = |bits: u64| Data { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let data = [half(keep.0), half(keep.0 >> 32)];
    let (h, d) = (&raw const header, data.as_ptr());
    // SAFETY: header and data have the kernel's layout for this version and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, h, d) };
    check(i32::try_from(result).unwrap_or(-1)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_form_and_have_the_kernels_numbers() {
        assert_eq!(Set::named("net_admin"), Some(Set(1 << 12)));
        assert_eq!(Set::named("CAP_SYS_ADMIN"), Some(Set(1 << 21)));
        assert_eq!(Set::named("CHECKPOINT_RESTORE"), Some(Set(1 << 40)));
        assert_eq!(Set::named("NOPE"), None);
        assert_eq!(Set::ALL.names().len(), 41);
    }

    #[test]
    fn sets_behave_as_sets() {
        let (a, b) = (Set::named("KILL").unwrap(), Set::named("MKNOD").unwrap());
        assert!(a.with(b).contains(a) && !a.contains(b));
        assert_eq!(a.with(b).without(a), b);
        assert_eq!(a.with(b).and(b).names(), ["CAP_MKNOD"]);
    }
}
