//! The policy of legacy iptables chains, which nf_tables does not show.
//!
//! Contract: reads only what exists; asking for a table that does not would make it.

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const TABLE: &str = "filter";
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
const NAME_LEN: usize = 32;
/// Name, valid hooks, five entries, five underflows, number of entries, their size.
const INFO_LEN: usize = NAME_LEN + 4 * 13;
/// Name, size and padding before the entries.
const ENTRIES_OFFSET: usize = NAME_LEN + 8;
/// Where an entry says where its target starts.
const TARGET_OFFSET: usize = 88;
/// A standard target's verdict comes after its header.
const VERDICT_OFFSET: usize = 32;
/// Verdicts are stored as their negative less one.
const DROP: i32 = -1;

/// Whether the filter table of the calling thread's namespace drops what its chain at `hook`
/// (input 1, forward 2, output 3) does not decide. False where there is no such table.
pub fn drops(hook: usize) -> io::Result<bool> {
    let names = match fs::read_to_string("/proc/thread-self/net/ip_tables_names") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    if !names.lines().any(|name| name == TABLE) {
        return Ok(false);
    }
    let (info, entries) = read()?;
    Ok(policy(&info, &entries, hook) == Some(DROP))
}

/// The table's description and its entries.
fn read() -> io::Result<(Vec<u8>, Vec<u8>)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)?;
    let mut info = vec![0; INFO_LEN];
    info[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    get(&fd, GET_INFO, &mut info)?;
    let size = u32_at(&info, INFO_LEN - 4).unwrap_or(0);
    let mut entries = vec![0; ENTRIES_OFFSET + size as usize];
    entries[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    entries[NAME_LEN..NAME_LEN + 4].copy_from_slice(&size.to_ne_bytes());
    get(&fd, GET_ENTRIES, &mut entries)?;
    Ok((info, entries.split_off(ENTRIES_OFFSET)))
}

fn get(fd: &OwnedFd, option: libc::c_int, buf: &mut [u8]) -> io::Result<()> {
    let mut len = buf.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which the buffer has.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            buf.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    Errno::result(rc)?;
    Ok(())
}

/// The verdict of the last entry of a chain.
fn policy(info: &[u8], entries: &[u8], hook: usize) -> Option<i32> {
    let underflow = u32_at(info, NAME_LEN + 4 * (1 + 5 + hook))? as usize;
    let entry = entries.get(underflow..)?;
    let target = u16::from_ne_bytes(entry.get(TARGET_OFFSET..)?.get(..2)?.try_into().ok()?);
    Some(u32_at(entry, usize::from(target) + VERDICT_OFFSET)? as i32)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns;
    use std::os::fd::AsFd;

    #[test]
    fn a_fresh_table_accepts_and_no_table_is_made_by_asking() {
        let ns = netns::create().unwrap();
        let names = || fs::read_to_string("/proc/thread-self/net/ip_tables_names");
        let seen = netns::within(ns.as_fd(), || {
            if names().is_err() {
                eprintln!("skipped: this kernel has no legacy iptables");
                return;
            }
            assert!(!drops(2).unwrap());
            assert_eq!(names().unwrap(), "");
            // Asking for its entries makes it.
            let (info, entries) = read().unwrap();
            assert_eq!(names().unwrap(), "filter\n");
            assert_eq!(policy(&info, &entries, 2), Some(-2));
            assert!(!drops(2).unwrap());
            // What the same bytes say of a table that drops.
            let mut entries = entries;
            let at = u32_at(&info, NAME_LEN + 4 * 8).unwrap() as usize;
            let target = usize::from(entries[at + TARGET_OFFSET]);
            entries[at + target + VERDICT_OFFSET..][..4].copy_from_slice(&DROP.to_ne_bytes());
            assert_eq!(policy(&info, &entries, 2), Some(DROP));
            assert_eq!(policy(&info, &entries, 1), Some(-2));
            assert_eq!(policy(&info, &entries[..9], 1), None);
        });
        seen.unwrap();
    }
}
