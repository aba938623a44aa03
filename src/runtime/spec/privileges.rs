//! What a container may do: its capabilities and its devices.

use super::{ContainerSpec, Device};
use crate::sys::capability::Set;
use crate::sys::cgroup::{DeviceKind, DeviceRule};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Docker's and containerd's default set.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Why capabilities cannot be given.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// No such capability.
    #[error("unknown capability {0:?}")]
    Unknown(String),
    /// rk itself does not hold it, so it cannot give it.
    #[error("cannot add capability {0}: rk does not hold it itself")]
    NotHeld(String),
}

/// The capabilities of a container, when rk itself holds `held`.
pub fn capabilities(spec: &ContainerSpec, held: Set) -> Result<Set, Error> {
    if spec.privileged {
        return Ok(held);
    }
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let changes = &spec.capabilities;
    let mut set = match (changes.add.iter().any(is_all), changes.drop.iter().any(is_all)) {
        (true, false) => held,
        (_, true) => Set::default(),
        (false, false) => {
            let known = DEFAULT.iter().filter_map(|name| Set::named(name));
            known.fold(Set::default(), Set::with).and(held)
        }
    };
    for name in changes.add.iter().filter(|name| !is_all(name)) {
        let one = Set::named(name).ok_or_else(|| Error::Unknown(name.clone()))?;
        if !held.contains(one) {
            return Err(Error::NotHeld(name.clone()));
        }
        set = set.with(one);
    }
    for name in changes.drop.iter().filter(|name| !is_all(name)) {
        set = set.without(Set::named(name).ok_or_else(|| Error::Unknown(name.clone()))?);
    }
    Ok(set)
}

/// A device node to make in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where, below `/dev`.
    pub path: PathBuf,
    /// Block or character.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

impl Node {
    /// The host's node at `host`, to stand at `path`; `None` when it is no device.
    fn read(host: &Path, path: PathBuf) -> io::Result<Option<Self>> {
        let meta = fs::metadata(host)?;
        let kind = match meta.file_type() {
            kind if kind.is_block_device() => DeviceKind::Block,
            kind if kind.is_char_device() => DeviceKind::Character,
            _ => return Ok(None),
        };
        let (major, minor) =
            (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Some(Self {
            path,
            kind,
            major: number(major),
            minor: number(minor),
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
        }))
    }
}

/// The nodes of one device, or of the devices directly in a directory.
pub fn nodes(device: &Device) -> io::Result<Vec<Node>> {
    let named = |error: io::Error| {
        let path = device.host_path.display();
        io::Error::new(error.kind(), format!("device {path}: {error}"))
    };
    if let Some(node) =
        Node::read(&device.host_path, device.container_path.clone()).map_err(named)?
    {
        return Ok(vec![node]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&device.host_path).map_err(named)? {
        let entry = entry?;
        found.extend(Node::read(&entry.path(), device.container_path.join(entry.file_name()))?);
    }
    if found.is_empty() {
        return Err(named(io::Error::new(io::ErrorKind::InvalidInput, "is not a device")));
    }
    Ok(found)
}

/// Every device node below `/dev` of the host but for terminals and what containers have their own
/// of.
pub fn all_nodes() -> io::Result<Vec<Node>> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from("/dev")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            let own =
                ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/console", "/dev/ptmx"];
            if own.iter().any(|own| path == Path::new(own)) {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_char_device() || kind.is_block_device() {
                match Node::read(&path, path.clone()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    node => found.extend(node?),
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// What the device controller shall allow, when it is not everything.
pub fn device_rules(spec: &ContainerSpec, nodes: &[(Node, String)]) -> Option<Vec<DeviceRule>> {
    if spec.privileged {
        return None;
    }
    let rule = |kind, major, minor, access: &str| DeviceRule {
        kind,
        major,
        minor,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    };
    let character = |major, minor| rule(DeviceKind::Character, Some(major), minor, "rwm");
    let mut rules = vec![
        // Making a node is harmless while it cannot be opened.
        rule(DeviceKind::Character, None, None, "m"),
        rule(DeviceKind::Block, None, None, "m"),
        character(1, Some(3)), // null
        character(1, Some(5)), // zero
        character(1, Some(7)), // full
        character(1, Some(8)), // random
        character(1, Some(9)), // urandom
        character(5, Some(0)), // tty
        character(5, Some(1)), // console
        character(5, Some(2)), // ptmx
        character(136, None),  // pts
    ];
    rules.extend(
        nodes
            .iter()
            .map(|(node, access)| rule(node.kind, Some(node.major), Some(node.minor), access)),
    );
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::spec::Capabilities;

    fn set(add: &[&str], drop: &[&str]) -> Result<Vec<String>, Error> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let capabilities = Capabilities { add: owned(add), drop: owned(drop) };
        let spec = ContainerSpec { capabilities, ..ContainerSpec::default() };
        let held = Set::ALL.without(Set::named("SYS_RESOURCE").unwrap());
        super::capabilities(&spec, held).map(Set::names)
    }

    #[test]
    fn capabilities_are_the_default_changed() {
        assert_eq!(set(&[], &[]).unwrap().len(), 14);
        assert_eq!(set(&["NET_ADMIN"], &["KILL", "cap_chown"]).unwrap().len(), 13);
        assert_eq!(set(&["NET_BIND_SERVICE"], &["ALL"]).unwrap(), ["CAP_NET_BIND_SERVICE"]);
        assert_eq!(set(&["ALL"], &["SYS_ADMIN"]).unwrap().len(), 39);
        assert_eq!(set(&["NOPE"], &[]), Err(Error::Unknown("NOPE".into())));
        assert_eq!(set(&["SYS_RESOURCE"], &[]), Err(Error::NotHeld("SYS_RESOURCE".into())));
    }

    #[test]
    fn devices_are_read_from_the_host() {
        let device = |path: &str| Device {
            host_path: path.into(),
            container_path: "/dev/here".into(),
            permissions: "rw".into(),
        };
        let null = &nodes(&device("/dev/null")).unwrap()[0];
        assert_eq!((null.major, null.minor, null.kind), (1, 3, DeviceKind::Character));
        assert_eq!(null.path, Path::new("/dev/here"));
        assert!(nodes(&device("/etc/passwd")).is_err());
        assert!(nodes(&device("/dev/does-not-exist")).is_err());
        assert!(all_nodes().unwrap().iter().any(|node| node.path == Path::new("/dev/zero")));
    }
}
