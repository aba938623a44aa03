//! Who an image's `user` is, by the image's own `/etc/passwd` and `/etc/group`.
//!
//! The rules are those of docker and containerd: a name must be known, a number need not be; an
//! explicit group replaces the primary one and brings no others.

use std::io::Read;
use std::path::Path;

use super::error::{Error, Result};
use crate::limits;
use crate::sys::fs::Dir;

/// A user as the kernel knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Groups of which `/etc/group` makes it a member, the primary one aside.
    pub groups: Vec<u32>,
    /// Its name, if `/etc/passwd` has one.
    pub name: Option<String>,
    /// Its home directory, if `/etc/passwd` has one.
    pub home: Option<String>,
}

struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

struct GroupEntry {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// Resolves `user` (empty, `uid`, `name`, `uid:gid`, `name:group` or mixed) in a root file system.
///
/// # Errors
/// [`Error::User`] for a name that the root file system does not know.
pub fn resolve_user(rootfs: &Path, user: &str) -> Result<ResolvedUser> {
    let passwd = read(rootfs, "etc/passwd");
    let group = read(rootfs, "etc/group");
    resolve(user, &passwd, &group)
}

/// [`resolve_user`] on the texts of the two files.
fn resolve(user: &str, passwd: &str, group: &str) -> Result<ResolvedUser> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let mut users = passwd.lines().filter_map(PasswdEntry::parse);
    // A name made of digits is a number, as in Kubernetes' own checks.
    let entry = users.find(|entry| match number {
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let mut resolved = match (entry, number) {
        (Some(entry), _) => ResolvedUser {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            name: Some(entry.name),
            home: Some(entry.home),
        },
        (None, Some(uid)) => ResolvedUser { uid, ..ResolvedUser::default() },
        (None, None) => {
            let text = format!("unable to find user {user}: no matching entries in passwd file");
            return Err(Error::User(text));
        }
    };
    match wanted_group {
        Some(wanted) => resolved.gid = resolve_group(wanted, group)?,
        None => resolved.groups = memberships(&resolved, group),
    }
    Ok(resolved)
}

fn resolve_group(wanted: &str, group: &str) -> Result<u32> {
    if let Ok(gid) = wanted.parse::<u32>() {
        return Ok(gid);
    }
    let mut groups = group.lines().filter_map(GroupEntry::parse);
    groups.find(|entry| entry.name == wanted).map(|entry| entry.gid).ok_or_else(|| {
        Error::User(format!("unable to find group {wanted}: no matching entries in group file"))
    })
}

fn memberships(user: &ResolvedUser, group: &str) -> Vec<u32> {
    let Some(name) = &user.name else { return Vec::new() };
    let mut gids: Vec<u32> = group
        .lines()
        .filter_map(GroupEntry::parse)
        .filter(|entry| entry.gid != user.gid && entry.members.contains(name))
        .map(|entry| entry.gid)
        .collect();
    gids.sort_unstable();
    gids.dedup();
    gids
}

impl PasswdEntry {
    /// `name:password:uid:gid:comment:home:shell`; lines that are not are passed over.
    fn parse(line: &str) -> Option<PasswdEntry> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_string();
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(PasswdEntry { name, uid, gid, home: fields.nth(1).unwrap_or_default().to_string() })
    }
}

impl GroupEntry {
    /// `name:password:gid:member,member`.
    fn parse(line: &str) -> Option<GroupEntry> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_string();
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').map(str::to_string).collect();
        Some(GroupEntry { name, gid, members })
    }
}

/// The text of a file of the image; nothing if there is none that can be read.
fn read(rootfs: &Path, path: &str) -> String {
    let mut text = Vec::new();
    let read = Dir::open(rootfs)
        .and_then(|root| root.open_file_beneath(Path::new(path)))
        .and_then(|file| file.take(limits::PASSWD_BYTES_MAX).read_to_end(&mut text));
    if let Err(e) = read {
        tracing::debug!(path, error = %e, "image has no such file");
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:x\n\
        www:x:33:34:web:/var/www:/bin/false\n1000:x:5:5::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:root,www\nweb:x:34:www\nssl:x:7:www,root\n";

    fn ids(user: &str) -> (u32, u32, Vec<u32>) {
        let user = resolve(user, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups)
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(ids(""), (0, 0, vec![4, 7]));
        assert_eq!(ids("root"), (0, 0, vec![4, 7]));
        assert_eq!(ids("www"), (33, 34, vec![4, 7]));
        assert_eq!(ids("33"), (33, 34, vec![4, 7]));
        assert_eq!(ids("33:"), (33, 34, vec![4, 7]));
        assert_eq!(ids("1000"), (1000, 0, vec![]));
        assert_eq!(ids("www:ssl"), (33, 7, vec![]));
        assert_eq!(ids("www:99"), (33, 99, vec![]));
        assert_eq!(ids(":web"), (0, 34, vec![]));
        let www = resolve("www", PASSWD, GROUP).unwrap();
        assert_eq!((www.name.as_deref(), www.home.as_deref()), (Some("www"), Some("/var/www")));
    }

    #[test]
    fn unknown_names_are_named() {
        for (user, part) in
            [("nobody", "user nobody"), ("www:nogroup", "group nogroup"), ("-1", "user -1")]
        {
            let error = resolve(user, PASSWD, GROUP).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(resolve("4294967296", PASSWD, GROUP).is_err());
    }

    #[test]
    fn the_files_are_the_images_own() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::create_dir(tmp.path().join("etc")).unwrap();
        assert_eq!(resolve_user(tmp.path(), "5:6").unwrap().gid, 6);
        assert!(resolve_user(tmp.path(), "root").is_err(), "the host's passwd was read");
        // A link to the host's file must lead into the image.
        std::os::unix::fs::symlink("/etc/passwd.real", tmp.path().join("etc/passwd")).unwrap();
        std::fs::write(tmp.path().join("etc/passwd.real"), "me:x:12:13::/:\n").unwrap();
        let me = resolve_user(tmp.path(), "me").unwrap();
        assert_eq!((me.uid, me.gid), (12, 13));
    }
}
