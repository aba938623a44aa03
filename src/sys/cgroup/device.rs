//! Which devices a group may use: lists on v1, a small program in the kernel on v2.

use super::named;
use crate::sys::fd::check;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Block or character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Block device.
    Block,
    /// Character device.
    Character,
}

/// Devices that are allowed, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Which kind.
    pub kind: DeviceKind,
    /// Major number; `None`: any.
    pub major: Option<u32>,
    /// Minor number; `None`: any.
    pub minor: Option<u32>,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be made by mknod.
    pub mknod: bool,
}

impl DeviceRule {
    fn list_entry(&self) -> String {
        let kind = if self.kind == DeviceKind::Block { 'b' } else { 'c' };
        let part = |number: Option<u32>| number.map_or("*".into(), |n| n.to_string());
        let allowed = [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')];
        let access: String = allowed.iter().filter(|(on, _)| *on).map(|(_, c)| c).collect();
        format!("{kind} {}:{} {access}", part(self.major), part(self.minor))
    }
}

pub(super) fn write_lists(directory: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let write = |name: &str, text: &str| {
        let file = directory.join(name);
        fs::write(&file, text).map_err(|error| named(error, &file))
    };
    write("devices.deny", "a")?;
    rules.iter().try_for_each(|rule| write("devices.allow", &rule.list_entry()))
}

/// One instruction of the kernel's eBPF machine.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

const LOAD_WORD: u8 = 0x61; // to = *(u32 *)(from + offset)
const COPY: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const SET: u8 = 0xb7;
const EXIT: u8 = 0x95;
const SKIP_UNLESS_EQUAL: u8 = 0x55;

/// Answers 1 for what a rule allows, else 0. The context is three words: access in the upper and
/// type in the lower half of the first, then major and minor.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(COPY, 3, 2, 0, 0),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(AND, 2, 0, 0, 0xffff),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        code.extend(rule_code(rule));
    }
    code.extend([op(SET, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    code
}

fn rule_code(rule: &DeviceRule) -> Vec<Instruction> {
    let kind = if rule.kind == DeviceKind::Block { 1 } else { 2 };
    let allowed = i32::from(rule.mknod) | i32::from(rule.read) << 1 | i32::from(rule.write) << 2;
    let mut tests = vec![
        op(SKIP_UNLESS_EQUAL, 2, 0, 0, kind),
        op(COPY, 6, 3, 0, 0),
        op(AND, 6, 0, 0, !allowed & 7),
        op(SKIP_UNLESS_EQUAL, 6, 0, 0, 0),
    ];
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            tests.push(op(SKIP_UNLESS_EQUAL, register, 0, 0, number.cast_signed()));
        }
    }
    tests.extend([op(SET, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
    // A failed test skips the rest of this rule.
    let length = tests.len();
    for (index, test) in tests.iter_mut().enumerate() {
        if test.code == SKIP_UNLESS_EQUAL {
            test.offset = i16::try_from(length - index - 1).unwrap_or(i16::MAX);
        }
    }
    tests
}

/// The members of the kernel's `union bpf_attr` for loading a program.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same for attaching one.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

pub(super) fn attach(directory: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let group = fs::File::open(directory).map_err(|error| named(error, directory))?;
    let code = program(rules);
    let load = LoadAttributes {
        kind: 15, // BPF_PROG_TYPE_CGROUP_DEVICE
        count: u32::try_from(code.len()).unwrap_or(u32::MAX),
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    let raw = bpf(5, &load)?;
    // SAFETY: loading has just made this descriptor.
    let program = unsafe { OwnedFd::from_raw_fd(raw) };
    let number = |fd: i32| u32::try_from(fd).unwrap_or(u32::MAX);
    let attach = AttachAttributes {
        target: number(group.as_raw_fd()),
        program: number(program.as_raw_fd()),
        kind: 6,  // BPF_CGROUP_DEVICE
        flags: 2, // BPF_F_ALLOW_MULTI: programs of the groups above go on to apply
    };
    bpf(8, &attach).map(drop)
}

fn bpf<T>(command: u32, attributes: &T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the attributes start as the kernel's union does for this command, have the given
    // size, and all they point to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size) };
    check(i32::try_from(result).unwrap_or(-1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NULL: DeviceRule = DeviceRule {
        kind: DeviceKind::Character,
        major: Some(1),
        minor: Some(3),
        read: true,
        write: true,
        mknod: false,
    };

    #[test]
    fn lists_are_spelled_as_the_kernel_reads_them() {
        assert_eq!(NULL.list_entry(), "c 1:3 rw");
        let any = DeviceRule {
            kind: DeviceKind::Block,
            major: None,
            minor: None,
            read: false,
            write: false,
            mknod: true,
        };
        assert_eq!(any.list_entry(), "b *:* m");
    }

    /// The kernel's verifier is the judge of the program; attaching is tested with it when there is
    /// a v2 hierarchy to attach to.
    #[test]
    fn the_program_denies_what_no_rule_allows() {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let v2 = table.lines().filter_map(super::super::hierarchy);
        let Some(v2) = v2.into_iter().find(|h| h.version == super::super::Version::V2) else {
            return;
        };
        let group = v2.mount.join(format!("rk-device-test-{}", std::process::id()));
        fs::create_dir(&group).unwrap();
        let outcome = attach(&group, &[NULL]).map(|()| {
            let shell = "echo 0 > $0/cgroup.procs; true < /dev/null && ! true < /dev/zero";
            let mut command = std::process::Command::new("/bin/sh");
            command.args(["-c", shell]).arg(&group).status().unwrap().success()
        });
        fs::remove_dir(&group).unwrap();
        assert!(outcome.unwrap());
    }
}
