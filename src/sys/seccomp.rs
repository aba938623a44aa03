//! Loading a seccomp filter, which is a classic BPF program.

use super::fd::check;
use std::io;

/// One instruction of the filter machine.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a test holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    length: libc::c_ushort,
    filter: *const Instruction,
}

/// Puts this process, and what it executes, under `program` for good. Needs CAP_SYS_ADMIN or
/// [`forbid_new_privileges`].
pub fn load(program: &[Instruction]) -> io::Result<()> {
    let length = libc::c_ushort::try_from(program.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "seccomp filter is too long"))?;
    let program = Program { length, filter: program.as_ptr() };
    let (call, filter_mode) = (libc::SYS_seccomp, 1u32); // SECCOMP_SET_MODE_FILTER
    // SAFETY: the program has the kernel's layout, and the kernel copies it during the call.
    let result = unsafe { libc::syscall(call, filter_mode, 0u32, &raw const program) };
    check(i32::try_from(result).unwrap_or(-1)).map(drop)
}

/// Executing a set-user-id program gains nothing from now on.
pub fn forbid_new_privileges() -> io::Result<()> {
    // SAFETY: takes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Whether this kernel has seccomp filters.
pub fn available() -> bool {
    std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}
