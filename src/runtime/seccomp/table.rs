//! The table of system calls in `embedded/seccomp/syscalls.txt`, read when a filter is made: by a
//! process that ends soon after, so that nobody keeps it in memory.

use super::profile::Arch;

const TEXT: &str = include_str!("../../../embedded/seccomp/syscalls.txt");

/// One system call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    numbers: [Option<u32>; 4],
    /// See the head of the file.
    pub(super) gate: &'static str,
}

impl Row {
    pub(super) fn number(&self, arch: Arch) -> Option<u32> {
        self.numbers[match arch {
            Arch::X86_64 => 0,
            Arch::X86 => 1,
            Arch::Aarch64 => 2,
            Arch::Arm => 3,
        }]
    }
}

pub(super) fn rows() -> impl Iterator<Item = Row> {
    TEXT.lines().filter(|line| !line.starts_with('#')).filter_map(row)
}

fn row(line: &'static str) -> Option<Row> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let mut numbers = [None; 4];
    for number in &mut numbers {
        *number = words.next()?.parse().ok();
    }
    Some(Row { name, numbers, gate: words.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_whole_and_in_order() {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#')).count();
        let all: Vec<Row> = rows().collect();
        assert_eq!(all.len(), lines);
        assert!(all.is_sorted_by(|a, b| a.name < b.name));
        assert!(all.iter().all(|row| row.numbers.iter().any(Option::is_some)));
        let read = all.iter().find(|row| row.name == "read").unwrap();
        assert_eq!(read.number(Arch::X86_64), Some(0));
        assert_eq!(read.number(Arch::Aarch64), Some(63));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_agree_with_the_c_library() {
        let number = |name| rows().find(|row| row.name == name)?.number(Arch::X86_64);
        for (name, expected) in [
            ("unshare", libc::SYS_unshare),
            ("keyctl", libc::SYS_keyctl),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
        ] {
            assert_eq!(number(name).map(i64::from), Some(expected), "{name}");
        }
    }
}
