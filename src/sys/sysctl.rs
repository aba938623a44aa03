//! Kernel settings below `/proc/sys`. Those below `net` are the calling thread's namespace's.

use std::fs;
use std::io;
use std::path::PathBuf;

/// Sets `name`, such as `net/ipv4/ip_forward`, unless it already has the value: a setting that was
/// made by hand on a read-only `/proc/sys` then does no harm.
pub fn write(name: &str, value: &str) -> io::Result<()> {
    if read(name).is_ok_and(|old| same(&old, value)) {
        return Ok(());
    }
    fs::write(path(name), value)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot set {name} to {value}: {e}")))
}

/// The value of `name`, without its line's end.
pub fn read(name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(path(name))?.trim_end().to_owned())
}

/// The path of a parameter by either way of writing names: whichever of `.` and `/` comes first
/// separates, and the other stands for a dot.
pub fn place(name: &str) -> String {
    let slashes = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    if slashes { name.to_owned() } else { swapped(name) }
}

/// A parameter's name with dots between its parts.
pub fn dotted(name: &str) -> String {
    swapped(&place(name))
}

fn swapped(name: &str) -> String {
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// The kernel separates numbers by tabs.
fn same(old: &str, new: &str) -> bool {
    old.split_whitespace().eq(new.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns;
    use std::os::fd::AsFd;

    #[test]
    fn names_are_written_either_way() {
        for name in ["net.ipv4.conf.eth0/1.x", "net/ipv4/conf/eth0.1/x"] {
            assert_eq!(place(name), "net/ipv4/conf/eth0.1/x");
            assert_eq!(dotted(name), "net.ipv4.conf.eth0/1.x");
        }
        assert_eq!((place("x"), dotted("x")), ("x".to_owned(), "x".to_owned()));
    }

    #[test]
    fn settings_are_the_namespaces_own() {
        let ns = netns::create().unwrap();
        let inside = netns::within(ns.as_fd(), || {
            write("net/ipv4/ip_forward", "1").unwrap();
            write("net/ipv4/ping_group_range", "0 7").unwrap();
            (read("net/ipv4/ip_forward").unwrap(), read("net/ipv4/ping_group_range").unwrap())
        });
        assert_eq!(inside.unwrap(), ("1".to_owned(), "0\t7".to_owned()));
        assert_eq!(read("net/ipv4/ping_group_range").unwrap(), "1\t0");
        let error = write("net/ipv4/no_such", "1").unwrap_err().to_string();
        assert!(error.starts_with("cannot set net/ipv4/no_such to 1: "), "{error}");
    }
}
